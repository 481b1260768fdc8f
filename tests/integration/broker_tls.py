"""Certificates for brokers and their clients: a small authority of the test's own."""

import datetime as dt
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_NOW = dt.datetime.now(dt.UTC)


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """Issues to a folder: ``NAME.pem``, ``NAME.key``, and ``ca.pem`` of its own."""

    def __init__(self, folder, name="a broker's authority"):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(name)
        self.certificate = self._signed(self.name, self.key.public_key(), authority=True)
        self.ca = self._written("ca.pem", self.certificate.public_bytes(_PEM))

    def issue(self, name):
        """Make a certificate for 127.0.0.1, for either side; give its file and its key's."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(_name(name), key.public_key(), authority=False)
        private = key.private_bytes(
            _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return (
            self._written(f"{name}.pem", certificate.public_bytes(_PEM)),
            self._written(f"{name}.key", private),
        )

    def client(self, name):
        """Give what a client's table needs."""
        certificate, key = self.issue(name)
        return {"ca_file": self.ca, "cert_file": certificate, "key_file": key}

    def _signed(self, subject, public, *, authority):
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_NOW - dt.timedelta(hours=1))
            .not_valid_after(_NOW + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            builder = builder.add_extension(
                x509.SubjectAlternativeName([address]), critical=False
            ).add_extension(x509.ExtendedKeyUsage(both), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def _written(self, name, data):
        path = self.folder / name
        path.write_bytes(data)
        path.chmod(0o600)
        return str(path)


_PEM = serialization.Encoding.PEM
