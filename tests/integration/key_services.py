"""Where root keys live, for tests: a real software token, and doubles of AWS KMS and of Vault.

The doubles answer over HTTP on loopback. The one of KMS hands each request to moto; the one of
Vault keeps to the documented transit API, and to nothing else of Vault.
"""

import base64
import binascii
import contextlib
import datetime as dt
import http.server
import ipaddress
import json
import os
import re
import secrets
import shutil
import ssl
import subprocess
import threading
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
HAS_SOFTHSM = SOFTHSM.exists() and shutil.which("softhsm2-util") is not None
PIN = "314159"
_NOT_ITS_KEY = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this"
    " region, or you are not allowed to access."
)


class Gate:
    """An egress gate that writes down what was asked of it, and opens unless told not to."""

    def __init__(self, closed=None):
        self.asked = []
        self.closed = closed

    def permit(self, host, port, purpose):
        self.asked.append((host, port, purpose))
        if self.closed is not None:
            raise self.closed


def secret_file(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def make_token(folder, label="cronos-test"):
    """Make a token of SoftHSM that lies in `folder`, whatever this user has of his own."""
    import pkcs11  # noqa: PLC0415 - an extra

    (folder / "tokens").mkdir()
    conf = folder / "softhsm2.conf"
    conf.write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n"
        "log.level = ERROR\n"
    )
    command = ["softhsm2-util", "--init-token", "--free", "--label", label]
    command += ["--pin", PIN, "--so-pin", "271828"]
    own = {**os.environ, "SOFTHSM2_CONF": str(conf)}
    subprocess.run(command, check=True, capture_output=True, timeout=60, env=own)
    former = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(conf)
    try:
        # The library looks up where its tokens lie once, when it is initialised.
        pkcs11.lib(str(SOFTHSM)).reinitialize()
    finally:
        del os.environ["SOFTHSM2_CONF"]
        if former is not None:
            os.environ["SOFTHSM2_CONF"] = former


@contextlib.contextmanager
def serving(handler, context=None):
    """Serve HTTP, or HTTPS with `context`, on a free port of loopback; gives the port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join(20)
        server.server_close()


class _Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def reply(self, status, data, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True


class VaultDouble:
    """A double of Vault's transit engine: two keys, one token, and the errors Vault documents."""

    token = "hvs.a-token-that-no-log-may-show"

    def __init__(self):
        self.keys = {"cronos-root": secrets.token_bytes(32), "other": secrets.token_bytes(32)}
        self.mode = "well"
        self.seen = []
        double = self

        class Handler(_Quiet):
            def do_POST(self):
                double.seen.append((self.path, dict(self.headers)))
                status, answer = double.answer(self.path, self.headers, self.body())
                self.reply(status, answer if isinstance(answer, bytes) else _json(answer))

        self.handler = Handler

    def answer(self, path, headers, body):
        modes = {
            "sealed": (503, {"errors": ["Vault is sealed"]}),
            "busy": (429, {"errors": ["rate limit quota exceeded"]}),
            "broken": (500, {"errors": ["internal error"]}),
            "html": (200, b"<html>a proxy's page</html>"),
            "empty": (200, {"data": {}}),
            "list": (200, ["no", "object"]),
            "moved": (307, {}),
            "deep": (200, b"[" * 100_000),
            "plain": (200, {"data": {"ciphertext": "in the clear", "plaintext": "%%%"}}),
        }
        if self.mode in modes:
            return modes[self.mode]
        if headers.get("X-Vault-Token") != self.token:
            return 403, {"errors": ["permission denied"]}
        found = re.fullmatch(r"/v1/transit/(encrypt|decrypt)/([a-z-]+)", path)
        if found is None or found[2] not in self.keys:
            return 404, {"errors": []}
        asked = json.loads(body)
        try:
            return self._transit(found[1], AESGCM(self.keys[found[2]]), asked)
        except (InvalidTag, ValueError, KeyError, binascii.Error):
            return 400, {"errors": ["cipher: message authentication failed"]}

    def _transit(self, verb, cipher, asked):
        bound = base64.b64decode(asked["associated_data"])
        if verb == "encrypt":
            nonce = secrets.token_bytes(12)
            sealed = nonce + cipher.encrypt(nonce, base64.b64decode(asked["plaintext"]), bound)
            return 200, {"data": {"ciphertext": f"vault:v1:{_base64(sealed)}", "key_version": 1}}
        engine, version, text = asked["ciphertext"].split(":")
        if (engine, version) != ("vault", "v1"):
            raise ValueError("invalid ciphertext: version")
        sealed = base64.b64decode(text)  # as lenient as Vault's own
        return 200, {
            "data": {"plaintext": _base64(cipher.decrypt(sealed[:12], sealed[12:], bound))}
        }


class KmsDouble:
    """A double of AWS KMS: moto, behind a server of our own since it would want Flask."""

    def __init__(self):
        from moto.core.request import Request  # noqa: PLC0415 - takes a second to import
        from moto.kms.models import kms_backends  # noqa: PLC0415
        from moto.kms.responses import KmsResponse  # noqa: PLC0415

        self.backend = kms_backends["123456789012"]["eu-central-1"]
        self.fault = None
        self.seen = []
        double = self

        class Handler(_Quiet):
            def do_POST(self):
                body = self.body()
                double.seen.append(dict(self.headers))
                if double.fault is not None:
                    status, code = double.fault
                    self.reply(status, _json({"__type": code, "message": "as it was told to"}))
                    return
                url = "https://kms.eu-central-1.amazonaws.com" + self.path
                request = Request.from_primitives("POST", url, self.headers, body)
                status, _, answer = KmsResponse.dispatch(request)
                data = answer.encode() if isinstance(answer, str) else answer
                if data == b'{"__type":"AccessDeniedException"}':
                    # moto leaves out what it means to say, which KMS says.
                    data = _json({"__type": "AccessDeniedException", "message": _NOT_ITS_KEY})
                self.reply(status, data, "application/x-amz-json-1.1")

        self.handler = Handler

    def new_key(self):
        made = self.backend.create_key(
            policy=None,
            key_usage="ENCRYPT_DECRYPT",
            key_spec="SYMMETRIC_DEFAULT",
            description="of a test",
            tags=[],
        )
        return made.id


def tls_files(folder):
    """Make a certificate for 127.0.0.1 that vouches for itself; gives its file and the key's."""
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a double of Vault")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA384())
    )
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "ca.pem", folder / "key.pem"


def tls_server(folder, newest=ssl.TLSVersion.TLSv1_3):
    """Give the server's side of TLS, with nothing newer than `newest`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = newest
    context.load_cert_chain(*tls_files(folder))
    return context


def _json(data):
    return json.dumps(data).encode()


def _base64(data):
    return base64.b64encode(data).decode()
