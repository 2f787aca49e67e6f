"""Three real processes on this machine, with their data on disk, killed, frozen and restarted while clients write.

Every write that was acknowledged is there afterwards, on all of them, and what the clients saw is linearizable. More
rounds are played by hand: `python tests/processes/real_processes.py --rounds 30`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from ports import Ports
from real_processes import Log, Processes, freeze_leader, kill_all, kill_leader, play, restart_one_by_one


@pytest.fixture
def ensemble(tmp_path: Path) -> Iterator[Processes]:
    ports = Ports()
    processes = Processes(tmp_path, {me: ports.take() for me in (1, 2, 3)})
    yield processes
    processes.close()
    ports.close()


def test_what_was_acknowledged_outlives_whatever_befalls_the_processes(ensemble: Processes) -> None:
    play(ensemble, [kill_leader, freeze_leader, kill_all, restart_one_by_one], Random(0))
    report = ensemble.check()
    assert report["writes"] > 100
    assert report["operations"] > 100
    assert report["leads"] >= 4


# --- the judge --------------------------------------------------------------------------------------------------------


def judged(ensemble: Processes, lines: list[dict[str, object]], **found: set[str]) -> None:
    """What is said of an ensemble in which that was written down, and found at the end."""
    ensemble.logs = {1: Log(ensemble.folder / "none")}
    for line in lines:
        ensemble.logs[1].take(line)
    ensemble.found = lambda: {1: found.get("one", set()), 2: found.get("two", set())}  # type: ignore[method-assign]
    ensemble.check()


def test_a_write_that_is_lost_is_found(ensemble: Processes) -> None:
    lines: list[dict[str, object]] = [{"acked": "/acked/a"}, {"acked": "/acked/b"}]
    judged(ensemble, lines, one={"/acked/a", "/acked/b"}, two={"/acked/b", "/acked/a"})
    with pytest.raises(AssertionError, match="member 2 has lost 1 of 2 writes"):
        judged(ensemble, lines, one={"/acked/a", "/acked/b"}, two={"/acked/b"})
    with pytest.raises(AssertionError, match="the members differ"):
        judged(ensemble, lines, one={"/acked/a", "/acked/b"}, two={"/acked/b", "/acked/a", "/acked/c"})


def did(number: str, do: list[object], begin: int, end: int, result: object) -> list[dict[str, object]]:
    return [
        {"call": number, "at": begin, "key": "/r", "do": do},
        {"returned": number, "at": end, "result": result},
    ]


def test_a_read_of_the_past_is_found(ensemble: Processes) -> None:
    wrote = did("1", ["create", "a"], 0, 1, 0) + did("2", ["write", "b", None], 2, 3, 1)
    judged(ensemble, wrote + did("3", ["read"], 4, 5, ["b", 1]))
    with pytest.raises(AssertionError, match="no order of the operations explains"):
        judged(ensemble, wrote + did("3", ["read"], 4, 5, ["a", 0]))


def test_a_write_that_happened_twice_is_found(ensemble: Processes) -> None:
    wrote = did("1", ["create", "a"], 0, 1, 0) + did("2", ["write", "b", None], 2, 3, 1)
    with pytest.raises(AssertionError, match="no order of the operations explains"):
        judged(ensemble, wrote + did("3", ["read"], 4, 5, ["b", 2]))


def test_a_write_without_an_answer_may_have_happened_or_not(ensemble: Processes) -> None:
    wrote = [*did("1", ["create", "a"], 0, 1, 0), {"call": "2", "at": 2, "key": "/r", "do": ["write", "b", None]}]
    judged(ensemble, wrote + did("3", ["read"], 4, 5, ["a", 0]))
    judged(ensemble, wrote + did("3", ["read"], 4, 5, ["b", 1]))
