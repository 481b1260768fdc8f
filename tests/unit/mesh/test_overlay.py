"""The overlay: few links each, few hops from each to each, and two ways for all news."""

import pytest

from cronos.mesh.overlay import FULL_MESH, Ring, offsets


def ring(count):
    made = Ring()
    for n in range(count):
        made.add(f"node-{n}")
    return made


def graph(count):
    made = ring(count)
    return {f"node-{n}": made.near(f"node-{n}") for n in range(count)}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 16, FULL_MESH])
def test_few_members_are_all_neighbours(count):
    for name, near in graph(count).items():
        assert set(near) == set(graph(count)) - {name}


@pytest.mark.parametrize("count", [18, 19, 50, 100, 1000])
def test_many_members_have_few_neighbours_and_neighbours_agree(count):
    links = graph(count)

    degrees = {len(near) for near in links.values()}
    assert max(degrees) <= 16
    assert min(degrees) >= 8
    assert all(name in links[other] for name, near in links.items() for other in near)


@pytest.mark.parametrize(("count", "hops"), [(50, 4), (100, 5), (1000, 7)])
def test_news_is_everywhere_after_a_few_hops(count, hops):
    links = graph(count)
    reached = {"node-0"}
    for _ in range(hops):
        reached |= {other for name in reached for other in links[name]}

    assert len(reached) == count


@pytest.mark.parametrize("count", [18, 23, 50, 217, 400])
def test_what_the_neighbours_of_one_say_reaches_all_on_the_word_of_two_past_a_silent_one(count):
    links = graph(count)
    for subject in list(links)[:12]:
        witnesses = links[subject]
        for silent in (witnesses[0], witnesses[-1], max(set(links) - {subject})):
            believed = set(witnesses) - {silent}
            growing = True
            while growing:
                more = {
                    name
                    for name in set(links) - believed - {subject, silent}
                    if len(believed.intersection(links[name])) >= 2
                }
                believed |= more
                growing = bool(more)
            assert believed == set(links) - {subject, silent}


def test_leaving_and_joining_moves_few_links():
    made = ring(200)
    before = {f"node-{n}": made.near(f"node-{n}") for n in range(200)}

    made.remove("node-77")
    made.remove("nobody")
    made.add("node-1")

    moved = [
        len(set(made.near(name)) ^ set(near)) for name, near in before.items() if name != "node-77"
    ]
    assert len(made) == 199
    assert made.near("node-77") == ()
    assert max(moved) <= 16


def test_offsets_come_in_pairs():
    found = offsets(1000)

    assert found == (1, 2, 6, 7, 36, 37, 216, 217)
