"""The HTTP client for foreign systems, against whatever a server may do."""

import msgspec
import pytest
from tests.integration.doubles.service import Double, RefusedError
from tests.integration.key_services import Gate, secret_file, tls_server

from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.link.rest import (
    CONFLICT,
    MAX_ANSWER_BYTES,
    Answer,
    ForeignConfig,
    RestClient,
    json_body,
    path,
    place_of,
    private_text,
    said,
)


class Echo(Double):
    """Says what it was asked; `status` and `body` say otherwise."""

    def __init__(self):
        super().__init__()
        self.status, self.body = 200, None

    def answer(self, method, where, headers, body):
        if self.status != 200:
            raise RefusedError(self.status, self.body)
        return self.body if self.body is not None else {"method": method, "path": where}


@pytest.fixture
def echo():
    double = Echo()
    with double.serving():
        yield double


def client_of(double, gate=None, **more):
    given = {"url": double.url() + "/base/", "timeout_ms": 5000, **more}
    return RestClient(msgspec.convert(given, ForeignConfig), gate or Gate(), "test")


def test_it_calls_what_it_was_told_and_asks_the_gate_first(echo):
    gate = Gate()
    answer = client_of(echo, gate).call("PUT", "/x?y=1", {"X-A": "b"}, json_body({"c": 1}))
    assert msgspec.json.decode(answer.body) == {"method": "PUT", "path": "/base/x?y=1"}
    assert gate.asked == [("127.0.0.1", echo.port, "test")]
    _, _, headers, body = echo.seen[0]
    assert (headers["X-A"], body) == ("b", b'{"c":1}')


def test_a_proxy_of_the_environment_is_not_used(echo, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert client_of(echo).call("GET", "/", {}).status == 200


def test_a_redirect_is_not_followed(echo):
    echo.mood = "moved"
    with pytest.raises(DeniedError) as raised:
        client_of(echo).call("GET", "/", {})
    assert raised.value.code == "link.foreign_redirect"
    assert len(echo.seen) == 1


@pytest.mark.parametrize("mood", ["silent", "drip", "huge"])
def test_no_answer_takes_longer_or_more_than_it_may(echo, mood):
    echo.mood = mood
    with pytest.raises(UnreachableError) as raised:
        client_of(echo, timeout_ms=300).call("GET", "/", {})
    assert echo.url().removeprefix("http://") in raised.value.sentence


def test_an_answer_as_long_as_it_may_be_is_taken(echo):
    echo.body = b"x" * MAX_ANSWER_BYTES
    assert len(client_of(echo, timeout_ms=5000).call("GET", "/", {}).body) == MAX_ANSWER_BYTES


def test_where_nobody_listens_it_says_so(echo):
    client = client_of(echo)
    echo_port = echo.port
    with pytest.raises(UnreachableError) as raised:
        RestClient(ForeignConfig(url="http://127.0.0.1:1"), Gate(), "test").call("GET", "/", {})
    assert "ConnectionRefused" in raised.value.sentence
    assert client.place.port == echo_port


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (401, DeniedError, "link.foreign_denied"),
        (403, DeniedError, "link.foreign_denied"),
        (404, CronosError, "link.foreign_refused"),
        (409, CronosError, CONFLICT),
        (412, CronosError, CONFLICT),
        (422, CronosError, "link.foreign_refused"),
        (429, UnreachableError, "link.foreign_silent"),
        (503, UnreachableError, "link.foreign_silent"),
    ],
)
def test_each_refusal_is_an_error_of_its_kind(echo, status, kind, code):
    echo.status = status
    client = client_of(echo)
    answer = client.call("GET", "/", {})
    with pytest.raises(kind) as raised:
        client.raise_for(answer)
    assert raised.value.code == code
    client.raise_for(Answer(204, b""))


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b'{"method": 7}', b"\xff", b"null"])
def test_what_does_not_decode_is_a_sentence(echo, body):
    class Wanted(msgspec.Struct):
        method: str

    client = client_of(echo)
    with pytest.raises(UnreachableError):
        client.decoded(Answer(200, body), Wanted)


@pytest.mark.parametrize("url", ["", "ftp://x", "http://", "https://u:p@h", "https://h:0",
                                 "https://h:99999", "https://h h/", "https://h/\n", "x",
                                 "https://h\u00e4/", "http://[::1"])  # fmt: skip
def test_what_is_no_address_is_refused(url):
    with pytest.raises(InputError):
        place_of(url, "test")


@pytest.mark.parametrize("url", ["http://192.0.2.1", "http://localhost.example", "http://0x7f.1"])
def test_nothing_leaves_this_machine_unencrypted(url):
    with pytest.raises(DeniedError):
        place_of(url, "test")


def test_on_this_machine_it_may_be_plain():
    assert str(place_of("http://localhost/a/", "test")) == "localhost:80"
    assert place_of("http://[::1]:81/a/", "test").prefix == "/a"
    assert place_of("https://h", "test").port == 443


@pytest.mark.parametrize("name", ["", ".", "..", "a\nb", "a\x7f", "\u202ex", "\ud800"])
def test_a_name_that_walks_about_or_steers_is_refused(name):
    with pytest.raises(InputError):
        path("users", name)


@pytest.mark.parametrize("name", ["../x", "a/b", "a?b#c", "%2e%2e", "a b", "ä", "...", "a\\b"])
def test_no_name_leads_anywhere_else(name, echo):
    where = path("users", name, "end")
    assert where.count("/") == 3
    assert not {"?", "#", " ", "\\"} & set(where)
    client_of(echo).call("GET", where, {})
    assert echo.seen[0][1] == "/base" + where
    assert path("a", query={"b": "c&d"}) == "/a?b=c%26d"


def test_a_header_cannot_be_split(echo):
    with pytest.raises(UnreachableError):
        client_of(echo).call("GET", "/", {"X": "a\r\nY: b"})
    assert not echo.seen


@pytest.mark.parametrize("data", [b"", b"  \n", b"a\nb", b"\xff", b"a\x00b"])
def test_a_file_without_one_secret_is_refused(tmp_path, data):
    file = tmp_path / "secret"
    file.write_bytes(data)
    file.chmod(0o600)
    with pytest.raises(InputError) as raised:
        private_text(str(file), "token_file", "test")
    assert raised.value.code == "link.secret_empty"


def test_a_secret_is_read_without_its_line_end_and_only_where_nobody_else_may(tmp_path):
    name = secret_file(tmp_path / "secret", "sesame\n")
    assert private_text(name, "token_file", "test") == "sesame"
    (tmp_path / "secret").chmod(0o640)
    with pytest.raises(DeniedError):
        private_text(name, "token_file", "test")
    for missing in (str(tmp_path / "none"), str(tmp_path), "", "a\0b"):
        with pytest.raises(InputError):
            private_text(missing, "token_file", "test")


def test_certificates_that_are_none_are_refused(tmp_path):
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    for name in (str(bad), str(tmp_path / "none"), "a\0b"):
        with pytest.raises(InputError):
            RestClient(ForeignConfig(url="https://h", ca_file=name), Gate(), "test")


def test_a_certificate_for_another_name_is_refused(tmp_path):
    context = tls_server(tmp_path)
    double = Echo()
    with double.serving(context):
        config = ForeignConfig(
            url=f"https://localhost:{double.port}", ca_file=str(tmp_path / "ca.pem")
        )
        with pytest.raises(UnreachableError) as raised:
            RestClient(config, Gate(), "test").call("GET", "/", {})
    assert "not trusted" in raised.value.sentence
    assert not double.seen


def test_foreign_text_is_made_fit_to_be_shown():
    assert said(b"") == ""
    shown = said(b"\x1b[31m\xff evil\xe2\x80\xae \n" + b"x" * 5000)
    assert shown.isprintable()
    assert len(shown) < 250
