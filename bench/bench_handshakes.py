"""TLS handshakes a second: SecP384r1MLKEM1024, ML-DSA-87 on both ends, new connections each.

Ours is `Endpoint.connect` to `Endpoint.accept` over loopback, our verification of both chains
included, until both ends know who the other is. Beside it, in the same rounds and in the same
two threads, stands pyOpenSSL with the same group, keys and certificates: once with OpenSSL's own
verification against the pinned root, once with none. Nothing is resumed anywhere. The threads
share a process, so that the CPU time is that of both ends together.
"""

import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL, crypto
from OpenSSL._util import lib
from report import Report

from cronos.crypto.pki.authority import Authority, found
from cronos.crypto.pki.credential import Credential
from cronos.crypto.pki.profile import MLDSA
from cronos.crypto.pki.revocation import Revocations
from cronos.crypto.roots.machine import MachineConfig, MachineRoot
from cronos.link.tls import HYBRID_GROUP, Endpoint
from cronos.runtime.world import SystemClock

ROUNDS = 5
HANDSHAKES = 150
WARM = 20
NO_AUTO_CHAIN = 0x8

Shake = Callable[[socket.socket], Any]


def authority_in(folder: Path) -> Authority:
    folder.chmod(0o700)
    root = MachineRoot(MachineConfig(), folder)
    return found(folder / "ca", "plant.example", folder / "root", root, root, clock=SystemClock())


def bare_context(credential: Credential, *, server: bool, verified: bool) -> Any:
    """Configure pyOpenSSL as any program would."""
    context: Any = SSL.Context(SSL.TLS_SERVER_METHOD if server else SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_options(SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(NO_AUTO_CHAIN)
    raw = context._context
    assert lib.SSL_CTX_set1_curves_list(raw, HYBRID_GROUP.encode())
    assert lib.SSL_CTX_set1_sigalgs_list(raw, b"mldsa87")
    leaf, issuer = map(x509.load_der_x509_certificate, credential.chains.of(MLDSA))
    context.use_certificate(leaf)
    context.add_extra_chain_cert(issuer)
    key: Any = crypto.load_privatekey(crypto.FILETYPE_PEM, credential.key_pem(MLDSA))
    lib.SSL_CTX_use_PrivateKey(raw, key._pkey)
    demanded = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    if verified:
        root = x509.load_der_x509_certificate(credential.trust.mldsa_root)
        context.get_cert_store().add_cert(crypto.X509.from_cryptography(root))
        context.set_verify(demanded)
    else:
        # A demand with no callback is OpenSSL's verification; this is the least there is.
        context.set_verify(demanded, lambda *_: True)
    return context


def bare(credentials: list[Credential], *, verified: bool) -> tuple[Shake, Shake]:
    """Give both ends of a bare handshake."""
    client = bare_context(credentials[0], server=False, verified=verified)
    server = bare_context(credentials[1], server=True, verified=verified)

    def shake(context: Any, connected: socket.socket, *, accepting: bool) -> None:
        tls = SSL.Connection(context, connected)
        tls.set_accept_state() if accepting else tls.set_connect_state()
        tls.do_handshake()
        assert tls.get_group_name() == HYBRID_GROUP
        if accepting:
            tls.send(b"x")  # as ours: the client hears that it was taken
        else:
            assert tls.recv(1) == b"x"

    return (
        lambda connected: shake(client, connected, accepting=False),
        lambda connected: shake(server, connected, accepting=True),
    )


def run(near: Callable[[tuple[str, int]], None], far: Shake, count: int) -> tuple[float, float]:
    """Do handshakes one after the other; give wall and CPU seconds of one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(count):
                connected, _ = listener.accept()
                with connected:
                    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    far(connected)

        thread = threading.Thread(target=serve)
        thread.start()
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            near(listener.getsockname())
        thread.join()
        return (time.perf_counter() - wall) / count, (time.process_time() - cpu) / count


def dialled(shake: Shake) -> Callable[[tuple[str, int]], None]:
    def near(address: tuple[str, int]) -> None:
        with socket.create_connection(address) as connected:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            shake(connected)

    return near


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="cronos-bench-") as name:
        authority = authority_in(Path(name))
        credentials = [authority.issue("service", one, ()) for one in ("near", "far")]
        lists = Revocations(authority.trust, authority.lists())
    ends = [Endpoint(one, one.trust, lists, SystemClock()) for one in credentials]

    def our_near(address: tuple[str, int]) -> None:
        link = ends[0].connect(address, name="far")
        assert link.receive(1) == b"x"
        assert link.group == HYBRID_GROUP
        ends[0].release(link)

    def our_far(connected: socket.socket) -> None:
        link = ends[1].accept(connected)
        assert link.identity is not None
        link.send(b"x")
        ends[1].release(link)

    verified, unverified = (bare(credentials, verified=one) for one in (True, False))
    runs = {
        "ours, both chains verified by us": (our_near, our_far),
        "pyOpenSSL, verified by OpenSSL": (dialled(verified[0]), verified[1]),
        "pyOpenSSL, chains not verified": (dialled(unverified[0]), unverified[1]),
    }
    figures: dict[str, list[tuple[float, float]]] = {what: [] for what in runs}
    for near, far in runs.values():
        run(near, far, WARM)
    for _ in range(ROUNDS):
        for what, (near, far) in runs.items():
            figures[what].append(run(near, far, HANDSHAKES))
    tell(figures)


def tell(figures: dict[str, list[tuple[float, float]]]) -> None:
    report = Report("handshakes")
    ours, *peers = figures
    for what, rounds in figures.items():
        report.add(what, [1 / wall for wall, _ in rounds], "1/s", HANDSHAKES)
        report.add("  CPU of both ends", [1e3 * cpu for _, cpu in rounds], "ms", HANDSHAKES)
    for peer in peers:
        ratios = [
            theirs / own for (_, own), (_, theirs) in zip(figures[ours], figures[peer], strict=True)
        ]
        report.add(f"ours per CPU second, beside {peer}", ratios, "ratio", HANDSHAKES)
    report.show()


if __name__ == "__main__":
    main()
