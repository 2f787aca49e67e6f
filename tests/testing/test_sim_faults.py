"""What each class of fault does to a world, and what it must never do."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from attrs import evolve

from zkcore.testing.faults import CLASSES, ON_FILES, Plan, draw_plan
from zkcore.testing.sightings import SOMETIMES
from zkcore.testing.trace import NANOSECONDS
from zkcore.testing.world import Report, World, simulate
from zkcore.zab.limits import Limits
from zkcore.zab.quorum import EnsembleConfig


def only(classes: Iterable[str], *, rate: float = 0.5, seed: int = 1) -> Plan:
    """A plan of three voters in which nothing else goes wrong."""
    return evolve(
        draw_plan(seed), seed=seed, voters=(1, 2, 3), observers=(), groups=(), weights=(), limits=Limits(),
        rates=dict.fromkeys(classes, rate), chaos_ns=30 * NANOSECONDS, load_rate=10.0, batch=3, transfer_share=0.0,
        delay_ns=1_000_000, jitter_ns=0, spike_share=0.0, relink_ns=1_000_000, tick_ns=(10_000_000,) * 3,
    )  # fmt: skip


@pytest.mark.parametrize("fault", CLASSES)
def test_a_class_alone_strikes_and_the_ensemble_survives(fault: str) -> None:
    """All but one: nobody is out of line with a leader unless something else has happened."""
    classes = ["crash", fault] if fault == "cut-in-sync" else [fault]
    on_files = True if fault in ON_FILES else None
    reports = [simulate(seed, plan=only(classes, seed=seed), on_files=on_files) for seed in range(3)]
    assert [report.violation for report in reports] == [None] * 3
    assert {name for report in reports for name in report.node_faults} == set(classes)


def test_messages_are_late_by_themselves() -> None:
    """Some are lost as well, where a leader loses patience and breaks the link."""
    report = simulate(1, plan=only(["clog", "slow-link"]))
    assert report.violation is None
    assert set(report.message_faults) <= {"clog", "slow", "lost"}
    assert report.message_faults["clog"] > 10
    assert report.message_faults["slow"] > 10


@pytest.mark.parametrize("fault", ["wipe", "lose-log", "hit", "lying-sync"])
def test_no_second_disk_is_damaged_before_the_first_is_whole(fault: str) -> None:
    """And never where the others are no quorum."""
    plan = evolve(only([fault], rate=5.0), voters=(1, 2, 3, 4, 5), tick_ns=(10_000_000,) * 5)
    world = World(plan.seed, plan=plan, on_files=fault in ON_FILES)
    damaged: list[int] = []

    def look() -> None:
        disks = zip(world.nodes.values(), world.oracle.durable.values(), strict=True)
        damaged.append(sum(node.disk.unsound or disk.damage is not None for node, disk in disks))

    for time in range(0, plan.chaos_ns, NANOSECONDS // 20):
        world.at(time, look)
    world.run()
    assert set(damaged) == {0, 1}
    assert world.faults.counts[fault] > 3


def test_two_voters_have_no_disk_to_lose() -> None:
    plan = evolve(only(["wipe", "lose-log", *ON_FILES], rate=5.0), voters=(1, 2), tick_ns=(10_000_000,) * 2)
    report = simulate(1, plan=plan, on_files=True)
    assert report.violation is None
    assert report.node_faults == {}


def test_every_member_of_a_plan_takes_part() -> None:
    plans = [draw_plan(seed) for seed in range(300)]
    for plan in plans:
        assert isinstance(plan.config, EnsembleConfig)
        assert len(plan.tick_ns) == len(plan.config.members)
    assert any(plan.groups for plan in plans)
    assert any(plan.observers for plan in plans)
    assert any(not plan.config.can_lead(voter) for plan in plans for voter in plan.voters)


def test_the_rare_paths_that_are_seen_are_known() -> None:
    reports: list[Report] = [simulate(seed) for seed in range(8)]
    seen = {name for report in reports for name in report.sometimes}
    assert seen <= set(SOMETIMES)
    assert len(seen) > 15
    assert len(set(SOMETIMES)) == len(SOMETIMES)
