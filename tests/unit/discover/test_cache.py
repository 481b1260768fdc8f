"""What is remembered, and for how long."""

from cronos.discover.cache import CAPACITY, TtlCache


def test_what_was_put_is_given_until_it_is_too_old():
    cache = TtlCache(ttl_ns=100)
    cache.put("a", "x", 0)

    assert cache.get("a", 99) == "x"
    assert cache.get("a", 100) is None
    assert len(cache) == 0
    assert (cache.hits, cache.misses) == (1, 1)


def test_looking_makes_nothing_younger_and_putting_does():
    cache = TtlCache(ttl_ns=100)
    cache.put("a", "x", 0)
    cache.get("a", 90)
    assert cache.get("a", 110) is None
    cache.put("a", "x", 200)
    cache.put("a", "y", 250)

    assert cache.get("a", 349) == "y"


def test_the_least_used_makes_room():
    cache = TtlCache(capacity=2)
    cache.put("a", 1, 0)
    cache.put("b", 2, 0)
    cache.get("a", 1)
    cache.put("c", 3, 1)

    assert [cache.get(key, 2) for key in "abc"] == [1, None, 3]


def test_ten_thousand_are_kept_and_no_more():
    cache = TtlCache()
    for number in range(CAPACITY + 500):
        cache.put(str(number), number, 0)

    assert len(cache) == CAPACITY == 10_000
    assert cache.get("499", 1) is None
    assert cache.get("500", 1) == 500


def test_a_key_or_all_keys_of_a_value_are_forgotten():
    cache = TtlCache()
    for number in range(10):
        cache.put(str(number), number % 2, 0)
    cache.drop("1")
    cache.drop("nothing")

    assert cache.drop_value(1) == 4
    assert len(cache) == 5
