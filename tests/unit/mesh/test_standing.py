"""What a delivery says of itself can be shown as it is."""

import msgspec

from cronos.mesh.standing import Counts, Standing


def test_counts_begin_at_nothing_and_are_shown_by_name():
    shown = msgspec.to_builtins(Counts(posted=2))
    assert shown["posted"] == 2
    assert sum(shown.values()) == 2


def test_how_a_peer_is_doing_does_not_change_under_whoever_reads_it():
    told = Standing("b", linked=True, held=4, signed=3, waiting=2)
    assert msgspec.structs.replace(told, held=5) != told
    assert hash(told) == hash(Standing("b", True, 4, 3, 2))
