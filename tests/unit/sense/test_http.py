"""Requests in a stream, whatever lies between them."""

import pytest

from cronos.sense.http import HttpStream
from cronos.types import Scalar

_WIRE = (
    b"GET /a?b=c HTTP/1.1\r\nHost: plant.example\r\nUser-Agent: curl/8\r\n\r\n"
    b"POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 21\r\n\r\nGET /no HTTP/1.1\r\n\r\nx"
    b"POST /up HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    b"HEAD /z HTTP/1.0\r\n\r\n"
)


def paths(found: list[dict[str, Scalar]]) -> list[Scalar]:
    return [fields["http_request.url.path"] for fields in found]


@pytest.mark.parametrize("step", [1, 7, 50, 1000])
def test_requests_are_told_with_bodies_passed_over(step: int) -> None:
    stream, found = HttpStream(), []
    for at in range(0, len(_WIRE), step):
        found += stream.feed(_WIRE[at : at + step])
    assert paths(found) == ["/a?b=c", "/form", "/up", "/z"]
    assert found[0] == {
        "http_request.http_method": "GET",
        "http_request.url.path": "/a?b=c",
        "url.hostname": "plant.example",
        "http_request.user_agent": "curl/8",
    }


def test_after_a_loss_the_next_request_is_found() -> None:
    stream = HttpStream()
    assert stream.feed(b"GET /half HTTP/1.1\r\nHo") == []
    stream.reset()
    assert paths(stream.feed(b"rest: 1\r\n\r\nGET /next HTTP/1.1\r\n\r\n")) == ["/next"]


def test_bytes_that_are_no_http_are_not_kept() -> None:
    stream = HttpStream()
    for _ in range(100):
        assert stream.feed(b"\x16\x03\x01" * 1000) == []
    assert paths(stream.feed(b"\nGET / HTTP/1.1\r\n\r\n")) == ["/"]
