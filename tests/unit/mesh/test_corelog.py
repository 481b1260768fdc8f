"""What gRPC writes of failed handshakes: reasons and addresses are taken, and nothing else."""

import os
import subprocess
import sys
import time

import pytest

from cronos.mesh.corelog import CoreLog, Failed, core_settings, failures, place_of
from cronos.mesh.strangers import REASONS

HEAD = b"I1129 14:26:08.795713    3816 handshaker.cc:155] "
ARGS = (
    b"\n=== Source Location Trace: ===\nsrc/core/util/status_helper.cc:68\n shutdown=false "
    b"index=2, args={endpoint=0x7f9a, args={grpc.internal.endpoint_local_address=ipv4:127.0.0.1:1, "
    b"grpc.internal.endpoint_peer_address=%s, grpc.internal.server_credentials=0x55762d7,"
    b" other=1}}\n"
)
SSL = b"UNKNOWN: Ssl handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000009c:"
SSL += b"SSL routines:OPENSSL_internal:%s: Invalid certificate verification context: OK"


def line(error, peer=b"ipv4:192.0.2.7:56308"):
    return HEAD + b"CallNextHandshakerLocked: error=" + error + ARGS % peer


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SSL % b"HTTP_REQUEST", "mesh.no_tls"),
        (SSL % b"WRONG_VERSION_NUMBER", "mesh.no_tls"),
        (SSL % b"NO_SHARED_CIPHER", "mesh.old_tls"),
        (SSL % b"UNSUPPORTED_PROTOCOL", "mesh.old_tls"),
        (SSL % b"PEER_DID_NOT_RETURN_A_CERTIFICATE", "mesh.no_certificate"),
        (SSL % b"CERTIFICATE_VERIFY_FAILED", "mesh.foreign_certificate"),
        (SSL % b"SSLV3_ALERT_BAD_CERTIFICATE", "mesh.unfinished"),
        (b"UNAVAILABLE: Handshake read failed (Socket closed)", "mesh.unfinished"),
        (b"UNAVAILABLE: Handshake read failed (Endpoint closing)", "mesh.unfinished"),
        (b"UNKNOWN: something of a later version", "mesh.handshake_failed"),
    ],
)
def test_a_failure_has_a_reason_and_an_address(error, reason):
    assert reason in REASONS
    assert list(failures(line(error))) == [Failed(reason, "192.0.2.7", 56308)]


def test_what_went_well_and_what_this_node_dialled_are_none():
    assert list(failures(line(b"OK"))) == []
    dialled = line(SSL % b"HTTP_REQUEST").replace(b"server_credentials", b"channel_credentials")
    assert list(failures(dialled)) == []
    assert list(failures(b"error=UNKNOWN: " + ARGS % b"ipv4:192.0.2.7:1")) == []


def test_what_says_no_address_costs_no_more_than_what_does():
    endless = HEAD + b"CallNextHandshakerLocked: error=" + b"x" * 600 + b"\n" + b"y" * 4_000
    text = (endless + b"\ngrpc.internal.server_credentials=0x1\n") * 400
    began = time.process_time()
    assert list(failures(text)) == []
    assert time.process_time() - began < 1


def test_several_in_one_piece_are_told_apart():
    text = (
        line(SSL % b"HTTP_REQUEST", b"ipv6:%5B2001:db8::1%5D:1")
        + line(b"OK")
        + line(b"X: read failed")
    )
    assert [(one.reason, one.host) for one in failures(text)] == [
        ("mesh.no_tls", "2001:db8::1"),
        ("mesh.unfinished", "192.0.2.7"),
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"ipv4:192.0.2.1:80", ("192.0.2.1", 80)),
        (b"ipv6:[::ffff:192.0.2.1]:80", ("192.0.2.1", 80)),
        (b"ipv6:%5B::1%5D:80", ("::1", 80)),
        (b"ipv6:%5Bfe80::1%25eth0%5D:80", ("fe80::1", 80)),
        (b"ipv4:192.0.2.1", None),
        (b"ipv4::80", None),
        (b"unix:/run/x", None),
        (b"ipv4:192.0.2.1:800000", None),
    ],
)
def test_an_address_is_read_as_grpc_writes_it(text, place):
    assert place_of(text) == place


def test_without_a_reader_grpc_is_told_to_say_nothing():
    assert core_settings() == {"GRPC_VERBOSITY": "NONE"}


SCRIPT = """
import asyncio, os, sys
from cronos.mesh.corelog import CoreLog, core_settings
core = CoreLog()
assert core_settings()["GRPC_TRACE"].startswith("handshaker,")
heard = []
core.told = heard.append
one = bytes.fromhex(sys.argv[1])
async def work():
    os.write(2, one)               # before it listens: left out
    core.listen()
    for n in range(2000):          # far more than the pipe holds: nobody waits, the rest is lost
        try:
            os.write(2, one)
        except BlockingIOError:
            break
    while len(heard) < n:
        await asyncio.sleep(0.01)
asyncio.run(work())
print(len(heard), heard[0].reason, core._rest == b"")
"""


def test_in_a_flood_whoever_writes_never_waits_and_the_reader_takes_its_time():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, line(SSL % b"HTTP_REQUEST").hex()],
        check=True,
        capture_output=True,
        timeout=60,
        env={**os.environ},
    )
    count, reason, empty = done.stdout.decode().split()
    assert (reason, empty) == ("mesh.no_tls", "True")
    assert 64 <= int(count) < 2_000
    assert done.stderr == b""


def test_a_message_that_the_end_of_a_turn_cuts_is_read_with_the_next(monkeypatch):
    core = CoreLog.__new__(CoreLog)
    heard, text = [], line(SSL % b"HTTP_REQUEST")
    core._rest, core.told = b"", heard.append
    monkeypatch.setattr("cronos.mesh.corelog._TURN_BYTES", 200)
    core.take(text[:200])
    assert heard == []
    core.take(text[200:])
    assert len(heard) == 1
