"""The tables of decoders keep what flows rely on."""

from cronos.sense.decoders import APPLICATIONS, DATAGRAMS, STREAMS, HttpDecoder, Message


def test_every_decoded_port_has_an_application_name() -> None:
    assert set(STREAMS) | set(DATAGRAMS) == set(APPLICATIONS)


def test_each_stream_decoder_survives_noise_and_gaps_in_both_directions() -> None:
    for make in STREAMS.values():
        decoder = make()
        for client in (True, False):
            decoder.gap(client)
            for found in decoder.feed(client, b"\xff\0" * 50):
                assert isinstance(found, str | Message)


def test_only_the_client_of_http_is_read() -> None:
    request = b"GET / HTTP/1.1\r\n\r\n"
    assert HttpDecoder().feed(False, request) == []
    assert len(HttpDecoder().feed(True, request)) == 1
