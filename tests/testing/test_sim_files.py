"""Simulated files lose what files lose, the storage on them survives whole worlds, and bugs in it do not."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from attrs import evolve

from zkcore.storage import log as log_module
from zkcore.storage import opening, records, snapshots
from zkcore.storage.files import File, Files
from zkcore.storage.log import Log
from zkcore.testing.checkers import Violation
from zkcore.testing.faults import draw_plan
from zkcore.testing.file_disk import FileDisk
from zkcore.testing.sim_files import SimFiles
from zkcore.testing.strikes import NodeStrikes
from zkcore.testing.trace import NANOSECONDS
from zkcore.testing.world import Report, simulate
from zkcore.zab.limits import Limits
from zkcore.zab.messages import Damage
from zkcore.zab.ready import Append, SaveEpochs, Write
from zkcore.zxid import make_zxid


def images(files: SimFiles) -> set[tuple[tuple[str, bytes], ...]]:
    return {image.image_key() for image in files.crash_images()}


def test_what_is_not_synced_may_be_there_sector_by_sector() -> None:
    files = SimFiles()
    file = files.open("a", create=True)
    file.write(0, bytes(1024))
    file.sync()
    files.sync()
    file.write(500, b"x" * 24)
    assert file.read(500, 24) == b"x" * 24
    first, second = bytes(500) + b"x" * 12 + bytes(512), bytes(512) + b"x" * 12 + bytes(500)
    both = bytes(500) + b"x" * 24 + bytes(500)
    assert images(files) == {(("a", content),) for content in (bytes(1024), first, second, both)}
    file.sync()
    assert images(files) == {(("a", both),)}


def test_names_need_a_sync_of_their_own() -> None:
    files = SimFiles()
    files.open("a", create=True).sync()
    assert images(files) == {(), (("a", b""),)}
    files.sync()
    files.rename("a", "b")
    assert images(files) == {(("a", b""),), (("b", b""),)}
    files.sync()
    files.remove("b")
    assert images(files) == {(("b", b""),), ()}


def test_after_a_failed_sync_the_next_one_succeeds_and_stores_nothing() -> None:
    files = SimFiles()
    file = files.open("a", create=True)
    files.sync()
    file.write(0, b"lost")
    files.sync_fails = "once"
    with pytest.raises(OSError, match="simulated"):
        file.sync()
    file.sync()
    assert file.read(0, 4) == b"lost"
    assert images(files) == {(("a", b""),)}


def test_a_full_disk_takes_what_fits() -> None:
    files = SimFiles()
    files.capacity_bytes = 3
    file = files.open("a", create=True)
    with pytest.raises(OSError, match="simulated"):
        file.write(0, b"four")
    assert file.read(0, 9) == b"fou"
    with pytest.raises(OSError, match="simulated"):
        file.allocate(9)


def test_a_sector_that_cannot_be_read_can_be_written() -> None:
    files = SimFiles()
    file = files.open("a", create=True)
    file.write(0, bytes(1024))
    files.make_unreadable("a", 600)
    assert file.read(0, 512) == bytes(512)
    with pytest.raises(OSError, match="simulated"):
        file.read(0, 513)
    file.write(512, bytes(512))
    assert file.read(0, 1024) == bytes(1024)


# --- a disk with the storage on it

FIRST = make_zxid(1, 1)


@pytest.mark.parametrize("survives", [False, True])
def test_a_part_of_a_save_is_told_as_it_came_about(survives: bool) -> None:
    kept = set()
    for seed in range(60):
        told: list[Write] = []
        disk, rng = FileDisk(1, told.append), Random(seed)
        writes = [SaveEpochs(1, 0), Append(FIRST, (b"a" * 300, b"b" * 300)), SaveEpochs(1, 1)]
        kept.add(disk.save_part(writes, rng, survives=survives))
        saved = disk.load()
        assert saved.last == (told[1].first + 1 if len(told) > 1 and isinstance(told[1], Append) else 0)
        assert (saved.accepted_epoch, saved.current_epoch) == (min(len(told), 1), int(len(told) == 3))
        disk.lose_power(rng)
        assert disk.load() == saved
    assert kept == {0, 1, 2, 3}


def test_a_disk_that_lost_something_says_so() -> None:
    left = set()
    for count in range(2, 40):
        disk = FileDisk(1, lambda write: None)
        disk.save([SaveEpochs(1, 1)])
        for place in range(count):
            disk.save([Append(FIRST + place, (b"a record",))])
        disk.lose(FIRST + count // 2)
        saved = disk.load()
        assert saved.damage is Damage.LOG or saved.last == FIRST + count - 1
        left.add((saved.last - FIRST) / count)
        disk.wipe()
        assert disk.load().damage is Damage.EPOCHS
    assert len(left) > 10


# --- bugs in the storage, found in worlds


def no_sync(plant: pytest.MonkeyPatch) -> None:
    plant.setattr(Log, "sync", lambda self: None)


def no_sync_of_names(plant: pytest.MonkeyPatch) -> None:
    real = log_module.make_durable

    def files_only(what: File | Files, where: str) -> None:
        if not isinstance(what, SimFiles):
            real(what, where)

    for module in (log_module, records, snapshots, opening):
        plant.setattr(module, "make_durable", files_only)


def cut_at_damage(plant: pytest.MonkeyPatch) -> None:
    real = opening.survey

    def unharmed(*arguments, **options):  # type: ignore[no-untyped-def]
        found = real(*arguments, **options)
        found.harms.clear()
        return found

    plant.setattr(opening, "survey", unharmed)


@pytest.mark.parametrize("bug", [no_sync, no_sync_of_names, cut_at_damage])
def test_a_bug_in_the_storage_breaks_a_world(
    bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    bug(monkeypatch)
    assert any(simulate(seed).violation is not None for seed in range(1, 80, 2))


# --- strikes at disks in use, at syncs, and at whole directories


def on_files(fault: str, seed: int) -> Report:
    return simulate(
        seed,
        plan=evolve(
            draw_plan(seed), voters=(1, 2, 3), observers=(), groups=(), weights=(), limits=Limits(),
            tick_ns=(10_000_000,) * 3, rates={fault: 2.0, "crash": 0.5, "partition": 0.5}, load_rate=10.0,
            chaos_ns=20 * NANOSECONDS, spike_share=0.0, delay_ns=1_000_000, jitter_ns=0, relink_ns=1_000_000,
            transfer_share=0.0,
        ),
        on_files=True,
    )  # fmt: skip


def first_violation(fault: str) -> Violation | None:
    return next((found for seed in range(40) if (found := on_files(fault, seed).violation) is not None), None)


def test_damage_that_is_met_in_use_or_at_the_next_start_is_told_or_the_world_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut_at_damage(monkeypatch)
    found = first_violation("hit")
    assert found is not None
    assert "says nothing of it" in found.message


@pytest.mark.parametrize("fault", ["lying-sync", "roll-back"])
def test_what_is_lost_in_silence_breaks_a_world_unless_the_others_can_spare_it(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So these are no empty threats, and that the others can spare it is what saves the worlds with them."""
    monkeypatch.setattr(NodeStrikes, "can_spare", lambda self, node: True)
    found = first_violation(fault)
    assert found is not None
    assert found.invariant != "raised"


def test_a_disk_that_lied_and_one_that_is_put_back_hold_what_they_held_before() -> None:
    rng = Random(1)
    disk = FileDisk(1, lambda write: None)
    disk.save([SaveEpochs(1, 1), Append(FIRST, (b"stored",))])
    copy = disk.copy(rng)
    disk.lie()
    assert disk.unsound
    disk.save([Append(FIRST + 1, (b"a" * 600,))])
    disk.settle()
    disk.lose_power(rng)
    assert disk.load().last == FIRST + 1
    assert not disk.face_harm()
    lost = set()
    for seed in range(20):
        other = FileDisk(2, lambda write: None)
        other.save([SaveEpochs(1, 1), Append(FIRST, (b"stored",))])
        other.lie()
        other.save([Append(FIRST + 1, (b"a" * 600,))])
        other.lose_power(Random(seed), spared=seed % 5 > 0)
        assert other.face_harm() == (other.load().last == FIRST)
        lost.add((other.load().last, seed % 5 > 0))
    assert (FIRST, True) in lost
    assert (FIRST, False) not in lost
    disk.roll_back(copy)
    assert disk.face_harm()
    assert disk.load().last == FIRST
    disk.save([Append(FIRST + 1, (b"again",))])


def test_a_disk_that_was_hit_is_unsound_until_it_was_looked_through() -> None:
    told = 0
    for seed in range(40):
        disk, rng = FileDisk(1, lambda write: None), Random(seed)
        disk.save([SaveEpochs(1, 1)])
        for place in range(10):
            disk.save([Append(FIRST + place, (bytes([place]) * 300,))])
        disk.hit(rng)
        assert disk.unsound
        disk.lose_power(rng)
        assert not disk.unsound
        if disk.face_harm():
            assert disk.load().damage is not None
            told += 1
        else:
            assert disk.load().last == FIRST + 9
    assert 10 < told < 40
