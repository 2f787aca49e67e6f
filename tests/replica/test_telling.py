"""What a host tells of slowness: once for each save that lasts, and once in a while for all, with the number of the
others."""

from __future__ import annotations

from zkcore.events import NodeEvent, SlowSave
from zkcore.replica.replica import Replica
from zkcore.replica.telling import Telling
from zkcore.storage.storage import MemoryStorage
from zkcore.zab.quorum import EnsembleConfig


def test_what_is_slow_is_told_once_in_a_while_with_the_number_of_those_that_were_not() -> None:
    now = 0.0
    told: list[NodeEvent] = []
    replica = Replica(1, EnsembleConfig([1]), MemoryStorage())
    telling = Telling(replica, None, slow_request_seconds=1.0, slow_save_seconds=1.0)
    telling.on_started(lambda: now)
    telling.events.subscribe(told.append)
    telling.on_saved(1.0)
    assert told == [], "that is not above the threshold"
    for _ in range(3):
        telling.on_saving(2.0)  # looked after three times
    telling.on_saved(2.5)
    for _ in range(4):
        telling.on_saved(3.0)
    now = 11.0
    telling.on_saving(4.0)
    telling.on_saved(4.0)
    assert told == [
        SlowSave(node=1, seconds=2.0, under_way=True),
        SlowSave(node=1, seconds=2.5),
        SlowSave(node=1, seconds=4.0, under_way=True),
        SlowSave(node=1, seconds=4.0, suppressed=4),
    ]
    assert (telling.measures.saves, telling.measures.slow_saves) == (7, 6)
