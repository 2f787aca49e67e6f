"""Three real processes on this machine, with their data on disk, that are killed, frozen, cut off from each other, left
without room and restarted while clients write.

Every write that was acknowledged is there afterwards, on all of them, and what the clients saw is linearizable. More
rounds, and of five members, are played by hand: `python tests/processes/real_processes.py --members 5 --rounds 30`. So
are larger changes of the members: `python tests/processes/changing.py replace`, and `grow`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from changing import Changing, Straight, replace
from disks import SmallDisks
from members import Log, Processes
from real_processes import (
    fill_a_disk,
    freeze_leader,
    kill_all,
    kill_leader,
    mute_leader,
    play,
    restart_one_by_one,
)
from wires import Proxies

PAUSE = 0.02
"""Between two calls: processes that do nothing else take all there is of the machine."""


@pytest.fixture
def wires() -> Iterator[Proxies]:
    proxies = Proxies(3)
    yield proxies
    proxies.close()


@pytest.fixture
def ensemble(tmp_path: Path, wires: Proxies) -> Iterator[Processes]:
    processes = Processes(tmp_path, wires, 3, pause=PAUSE)
    yield processes
    processes.close()


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[SmallDisks]:
    try:
        small = SmallDisks(tmp_path, range(1, 2))
    except OSError as error:
        pytest.skip(f"a small disk in memory cannot be mounted here: {error}")
    yield small
    small.close()


def test_what_was_acknowledged_outlives_whatever_befalls_the_processes(ensemble: Processes) -> None:
    play(ensemble, [kill_leader, freeze_leader, mute_leader, kill_all, restart_one_by_one], Random(0))
    report = ensemble.check()
    assert report["writes"] > 100
    assert report["operations"] > 100
    assert report["leads"] >= 5
    assert len(ensemble.notices) == 2


def test_a_member_without_room_goes_on_when_there_is_some(tmp_path: Path, wires: Proxies, disks: SmallDisks) -> None:
    ensemble = Processes(tmp_path, wires, 3, disks=disks, pause=PAUSE)
    try:
        play(ensemble, [fill_a_disk], Random(0))
        ensemble.check()
    finally:
        ensemble.close()


def test_a_machine_is_replaced_by_another_that_knows_its_address(tmp_path: Path) -> None:
    wires = Straight(2)
    ensemble = Changing(tmp_path, wires, 2, first=1, pause=PAUSE)
    try:
        replace(ensemble)
        report = ensemble.judge()
        assert report["leads"] == 2
        assert [line for line in ensemble.lines() if " voters 2 " in line]
    finally:
        ensemble.close()
        wires.close()


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
