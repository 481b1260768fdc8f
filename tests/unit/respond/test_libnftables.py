import ctypes

import pytest

from cronos.errors import InputError
from cronos.respond.libnftables import Nft, NftError


def test_a_machine_without_the_library_is_told_what_to_install(monkeypatch):
    def none(*_args, **_more):
        raise OSError("cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", none)
    with pytest.raises(InputError, match=r"libnftables\.so\.1") as missing:
        Nft()
    assert "apt-get install libnftables1" in missing.value.remedy


def test_a_command_that_is_none_is_refused_with_the_librarys_words():
    try:
        nft = Nft()
    except InputError as error:
        pytest.skip(error.sentence)
    with pytest.raises(NftError, match="syntax error"):
        nft.run("flurb")
    nft.close()
    nft.close()
