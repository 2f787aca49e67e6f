"""Whole worlds: no violation in a sample of seeds, the same seed gives the same world, and faults do strike."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest
from attrs import evolve

from zkcore.testing.checkers import Violation
from zkcore.testing.faults import CLASSES, Plan, draw_plan
from zkcore.testing.load import BarePeers, ChangingPeers, Program
from zkcore.testing.replicas import Replicas
from zkcore.testing.trace import NANOSECONDS
from zkcore.testing.world import World, simulate
from zkcore.zab.limits import Limits
from zkcore.zab.messages import Role

SAMPLE = range(30)


def quiet(voters: int) -> Plan:
    """A plan without faults."""
    return evolve(
        draw_plan(1), voters=tuple(range(1, voters + 1)), observers=(), groups=(), weights=(), rates={},
        tick_ns=(10_000_000,) * voters, transfer_share=0.0, limits=Limits(),
        chaos_ns=3 * NANOSECONDS, load_rate=20.0, delay_ns=100_000, jitter_ns=0, spike_share=0.0, relink_ns=1_000_000,
    )  # fmt: skip


@pytest.mark.parametrize("first", SAMPLE[::5])
@pytest.mark.parametrize("program", [Replicas, BarePeers, ChangingPeers])
def test_no_invariant_breaks(first: int, program: Callable[[Plan], Program]) -> None:
    for seed in range(first, first + 3):
        report = simulate(seed, make_program=program)
        assert report.violation is None, f"sim replay --seed {seed}: {report.violation}"


def test_every_class_of_fault_strikes_in_the_sample() -> None:
    node_faults: Counter[str] = Counter()
    message_faults: Counter[str] = Counter()
    for seed in SAMPLE:
        if len(draw_plan(seed).voters) == 3:
            report = simulate(seed, on_files=True)
            node_faults.update(report.node_faults)
            message_faults.update(report.message_faults)
    assert set(node_faults) == set(CLASSES)
    assert set(message_faults) == {"clog", "lost", "slow", "spike", "swallowed"}


def test_some_seeds_are_pure_and_most_are_not() -> None:
    plans = [draw_plan(seed) for seed in range(1000)]
    classes = [len(plan.rates) + (plan.spike_share > 0) for plan in plans]
    assert 20 < classes.count(0) < 80
    assert 100 < classes.count(1) < 250
    assert sum(count >= 4 for count in classes) > 600
    assert sum(len(plan.voters) == 1 for plan in plans) > 20


def test_a_strike_that_is_left_out_does_not_change_what_the_others_draw() -> None:
    seed = 12
    whole = simulate(seed, keep_trace=True)
    partitions = [name for name in whole.strikes if name.startswith("partition/")]
    assert len(partitions) > 1
    less = simulate(seed, leave_out=frozenset(partitions[:1]), keep_trace=True)
    assert partitions[0] not in less.strikes
    assert simulate(seed, leave_out=frozenset({"partition/100000"})).digest == whole.digest
    for name in partitions[1:]:  # when it comes, how it silences, how long it lasts; whom it hits may be the leader
        lines = [next(line for line in report.lines or () if f"{name} of" in line) for report in (whole, less)]
        (begun, _, rest), (other_begun, _, other_rest) = (line.partition(name) for line in lines)
        assert (begun, rest.partition("muted")[2]) == (other_begun, other_rest.partition("muted")[2])


def test_load_is_left_out_by_name() -> None:
    quiet_plan = quiet(3)
    whole = simulate(1, plan=quiet_plan)
    assert whole.loads > 30
    names = {f"load/{number}" for number in range(whole.loads)}
    half = simulate(1, plan=quiet_plan, leave_out=frozenset(sorted(names)[::2]))
    assert 0.3 < half.committed / whole.committed < 0.7
    assert simulate(1, plan=quiet_plan, leave_out=frozenset(names)).committed < 10


def test_without_everything_that_struck_it_is_a_world_without_faults() -> None:
    seed = 12
    everything = frozenset(simulate(seed).strikes)
    again: set[str] = set()
    while left := set((report := simulate(seed, leave_out=everything | again)).strikes) - again:
        again |= left
    assert not report.node_faults


def test_a_seed_is_one_world() -> None:
    for seed in (3, 7):
        once, again = simulate(seed, make_program=Replicas), simulate(seed, make_program=Replicas)
        kept = simulate(seed, make_program=Replicas, keep_trace=True)
        assert once == again
        assert once.digest == kept.digest
        assert kept.lines
    assert simulate(3).digest != simulate(7).digest


def test_a_world_over_the_wire_is_the_same_world() -> None:
    """Messages that went through bytes and back are the messages that were sent."""
    plans = [evolve(draw_plan(5), over_wire=over_wire) for over_wire in (False, True)]
    worlds = [World(5, plan=plan, make_program=Replicas) for plan in plans]
    for world in worlds:
        world.run()
    assert worlds[0].trace.digest == worlds[1].trace.digest


def test_the_hash_seed_changes_nothing() -> None:
    program = (
        "from zkcore.testing.replicas import Replicas; from zkcore.testing.world import simulate; "
        "print(simulate(4, make_program=Replicas).digest)"
    )
    expected = str(simulate(4, make_program=Replicas).digest)
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == expected


@pytest.mark.parametrize("voters", [1, 2, 3, 5])
@pytest.mark.parametrize("program", [Replicas, BarePeers])
def test_without_faults_there_is_one_epoch_and_all_is_committed(
    voters: int, program: Callable[[Plan], Program]
) -> None:
    world = World(1, plan=quiet(voters), make_program=program)
    world.run()
    assert world.oracle.tag == 1
    assert len(world.oracle.committed) > 20
    assert world.converge_ns < NANOSECONDS
    assert sum(node.peer is not None and node.peer.role is Role.LEADING for node in world.nodes.values()) == 1


def test_a_world_that_does_not_recover_is_a_violation() -> None:
    world = World(1, plan=quiet(3))
    world.faults.stop = lambda: [world.network.block(1, other) for other in (2, 3)]  # type: ignore[assignment]
    with pytest.raises(Violation, match="no agreement"):
        world.run()


def test_an_exception_out_of_the_core_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("zkcore.zab.learner.Learner.flush", broken)
    violation = simulate(3).violation
    assert violation is not None
    assert violation.invariant == "raised"
    assert "ZeroDivisionError" in str(violation)
