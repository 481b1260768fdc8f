"""What really went over the wire: the hello in the clear, and what the traffic secrets open.

pyOpenSSL does not say with which algorithm a peer signed its handshake. So the records are kept,
and the CertificateVerify messages are read from them with the secrets that OpenSSL logs.
"""

import socket
import struct
import threading

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

MLDSA87 = 0x0906
SECP384R1MLKEM1024 = 0x11ED
X25519MLKEM768 = 0x11EC


class Wire:
    """A relay between a client and a server on loopback that keeps all bytes of both ways."""

    def __init__(self, upstream):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.client, self.server = bytearray(), bytearray()
        self._upstream = upstream
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        near, _ = self.listener.accept()
        far = socket.create_connection(self._upstream)
        ways = [(near, far, self.client), (far, near, self.server)]
        threads = [threading.Thread(target=_pump, args=way, daemon=True) for way in ways]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        near.close()
        far.close()

    def close(self):
        self.listener.close()
        self._thread.join(30)


def _pump(source, sink, kept):
    try:
        while data := source.recv(65536):
            kept += data
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def records(data):
    at = 0
    while at + 5 <= len(data):
        kind, _, length = struct.unpack_from(">BHH", data, at)
        yield kind, bytes(data[at : at + 5]), bytes(data[at + 5 : at + 5 + length])
        at += 5 + length


def hello_list(data, extension):
    """The 16-bit numbers that a ClientHello offers in an extension (10 groups, 13 signatures)."""
    hello = b"".join(body for kind, _, body in records(data) if kind == 22)
    at = 4 + 2 + 32
    at += 1 + hello[at]
    at += 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 1 + hello[at]
    end = at + 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 2
    while at < end:
        kind, length = struct.unpack_from(">HH", hello, at)
        if kind == extension:
            body = hello[at + 6 : at + 4 + length]
            return list(struct.unpack(f">{len(body) // 2}H", body))
        at += 4 + length
    return []


def signed_with(data, secret):
    """The signature scheme in the CertificateVerify of one side, by its handshake secret."""
    key, iv = _expand(secret, b"key", 32), _expand(secret, b"iv", 12)
    cipher, plain, number = AESGCM(key), b"", 0
    for kind, header, body in records(data):
        if kind != 23:
            continue
        nonce = (int.from_bytes(iv, "big") ^ number).to_bytes(12, "big")
        try:
            inner = cipher.decrypt(nonce, body, header).rstrip(b"\0")
        except Exception:  # noqa: BLE001 - from here on the application's own keys are used
            break
        number += 1
        if inner[-1] == 22:
            plain += inner[:-1]
    at = 0
    while at + 4 <= len(plain):
        length = int.from_bytes(plain[at + 1 : at + 4], "big")
        if plain[at] == 15:
            return int.from_bytes(plain[at + 4 : at + 6], "big")
        at += 4 + length
    return None


def _expand(secret, label, length):
    full = b"tls13 " + label
    info = struct.pack(">HB", length, len(full)) + full + b"\0"
    return HKDFExpand(SHA384(), length, info).derive(secret)
