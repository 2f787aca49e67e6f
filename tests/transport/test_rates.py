"""Token buckets, and a log that does not repeat itself: by a table, and bounded whatever the keys."""

from __future__ import annotations

from zkcore.transport.rates import _MAX_KEYS, Buckets, Seldom


def test_a_bucket_gives_a_burst_and_then_what_has_come_in_since() -> None:
    buckets = Buckets(per_second=2, burst=3)
    taken = [buckets.take("a", now) for now in (0, 0, 0, 0, 0.4, 0.5, 0.6, 1.0, 100, 100, 100, 100)]
    assert taken == [True, True, True, False, False, True, False, True, True, True, True, False]


def test_every_key_has_a_bucket_of_its_own() -> None:
    buckets = Buckets(per_second=1, burst=1)
    assert [buckets.take(key, 0) for key in ("a", "b", "a", "b")] == [True, True, False, False]


def test_the_key_not_seen_for_longest_is_forgotten_where_there_are_too_many() -> None:
    buckets, seldom = Buckets(per_second=1, burst=1), Seldom(60)
    for key in range(_MAX_KEYS):
        buckets.take(key, 0)
        seldom.may_say(key, 0)
    assert not buckets.take(0, 0)
    assert seldom.may_say(0, 0) is None
    buckets.take(-1, 0)
    seldom.may_say(-1, 0)
    assert len(buckets._left) == len(seldom._said) == _MAX_KEYS
    assert not buckets.take(0, 0)
    assert buckets.take(1, 0)  # forgotten


def test_the_same_is_said_once_in_a_while_with_how_often_it_was_not() -> None:
    seldom = Seldom(10)
    assert [seldom.may_say("a", now) for now in (0, 1, 9, 10, 11, 25)] == [0, None, None, 2, None, 1]
    assert seldom.may_say("b", 1) == 0
