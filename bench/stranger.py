"""Whoever can reach a node's port and is nobody: bytes, handshakes and silence, from one process.

``python -m bench.stranger HOST:PORT SECONDS``: garbage and half-said handshakes by TCP, connections
that say nothing and stay, connections as fast as they are taken, and a flood of datagrams.
Prints one line of JSON: how many of each it got to send.
"""

import contextlib
import json
import os
import random
import socket
import sys
import threading
import time

SLOW = 200
# The head of a TLS record that announces a hello and never says it.
_HALF = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
_WORDS = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    bytes(4096),
    _HALF + bytes(500),
    b"\x15\x03\x01\x00\x02\x02\x28",
)


def connections(where, until, counts):
    """Connect, say something that is no hello, and go, again and again."""
    random.seed(os.getpid())
    while time.monotonic() < until:
        try:
            with socket.create_connection(where, timeout=1) as one:
                one.sendall(random.choice(_WORDS))
                counts["connections"] += 1
        except OSError:
            counts["refused"] += 1
            time.sleep(0.005)


def silent(where, until, counts):
    """Keep many connections open that say a byte of a hello now and then."""
    held = []
    while time.monotonic() < until:
        if len(held) < SLOW:
            with contextlib.suppress(OSError):
                one = socket.create_connection(where, timeout=1)
                one.sendall(_HALF[:3])
                held.append(one)
                counts["slow"] += 1
        else:
            time.sleep(0.1)
        for one in list(held):
            if random.random() < 0.02:
                try:
                    one.sendall(b"\x00")
                except OSError:
                    held.remove(one)
                    one.close()
                    counts["cut"] += 1
    for one in held:
        one.close()


def datagrams(where, until, counts):
    """Send datagrams of every length as fast as the socket takes them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        block = random.randbytes(4096)
        while time.monotonic() < until:
            for n in range(200):
                with contextlib.suppress(OSError):
                    one.sendto(block[n : n + 1 + n * 7 % 1_400], where)
                    counts["datagrams"] += 1
            time.sleep(0.002)


def main(address, seconds):
    host, _, port = address.rpartition(":")
    where = host, int(port)
    counts = dict.fromkeys(("connections", "refused", "slow", "cut", "datagrams"), 0)
    until = time.monotonic() + float(seconds)
    threads = [
        threading.Thread(target=work, args=(where, until, counts))
        for work in (connections, silent, datagrams)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    print(json.dumps({"what": "strange", "at": time.time_ns(), **counts}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
