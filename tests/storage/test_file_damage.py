"""Damage is told, whatever is hit, and what is whole is kept; a torn end is no damage."""

from __future__ import annotations

import pytest
from file_crashes import ALL, open_sim, state_of

from zkcore.testing.sim_files import SimFiles
from zkcore.zab.messages import Damage
from zkcore.zab.ready import Append, Compact, Entry, Repair, SaveEpochs, SnapshotRef
from zkcore.zxid import make_zxid as Z

OLD, REF = SnapshotRef(Z(1, 2)), SnapshotRef(Z(1, 4))
RECORD = bytes(range(100, 240))


def used() -> SimFiles:
    """Records up to (2, 3) in several flushes and segments, two snapshots, the second of them in use."""
    files = SimFiles()
    storage = open_sim(files, new=True, segment_bytes=2048)
    storage.save([SaveEpochs(1, 1), Append(Z(1, 1), (RECORD, RECORD))])
    storage.save_snapshot(OLD, [b"old state"])
    storage.save([Append(Z(1, 3), (RECORD,) * 4)])
    storage.save_snapshot(REF, [b"state"])
    storage.save([Append(Z(1, 7), (RECORD,) * 5), Compact(REF, Z(1, 2)), SaveEpochs(2, 2)])
    storage.save([Append(Z(2, 1), (RECORD, RECORD))])
    storage.save([Append(Z(2, 3), (RECORD,))])
    storage.close()
    return files


def everything() -> list[Entry]:
    zxids = [Z(1, counter) for counter in range(1, 12)] + [Z(2, counter) for counter in range(1, 4)]
    return [Entry(zxid, RECORD) for zxid in zxids]


WHOLE = state_of(open_sim(used()), [REF])


def segments(files: SimFiles) -> list[str]:
    return [name for name in files.names() if name.startswith("log-")]


def check_honest(files: SimFiles, what: str) -> None:
    """Nothing is lost, or the loss is told, and what is told is a part of what was saved; so again in the next life."""
    storage = open_sim(files, segment_bytes=2048)
    state = state_of(storage, [REF])
    saved, entries, snapshots = state
    if saved.damage is None:
        assert saved.last == Z(2, 3), what
        assert (saved.accepted_epoch, saved.current_epoch) == (2, 2), what
    assert list(entries) == [entry for entry in everything() if saved.base < entry.zxid <= saved.last], what
    if saved.snapshot == REF.zxid:
        assert snapshots == ((REF.zxid, b"state"),), what
    elif saved.snapshot:
        assert storage.read_snapshot(OLD, 0, ALL) == b"old state", what
    else:
        assert saved.base == 0, what
    storage.close()
    assert state_of(open_sim(files, segment_bytes=2048), [REF]) == state, f"{what}, then opened again"


@pytest.mark.parametrize("kind", ["log", "records", "snapshot"])
def test_no_flipped_bit_goes_unnoticed(kind: str) -> None:
    """One in every byte; which one makes no difference, so that they take turns."""
    pristine = used()
    for name in (name for name in pristine.names() if name.startswith(kind)):
        for place in range(0, len(pristine.content_of(name).rstrip(b"\0")), 1 if kind == "log" else 3):
            files = copy_of(pristine)
            files.flip(name, 8 * place + place % 8)
            check_honest(files, f"{name}, byte {place}")


def copy_of(files: SimFiles) -> SimFiles:
    """Another one like it: nothing is pending, so there is one image."""
    return next(files.crash_images())


@pytest.mark.parametrize("harm", ["zeros", "unreadable", "from elsewhere"])
def test_no_lost_sector_goes_unnoticed(harm: str) -> None:
    pristine = used()
    for name in pristine.names():
        for place in range(0, len(pristine.content_of(name).rstrip(b"\0")), 512):
            files = copy_of(pristine)
            if harm == "unreadable":
                files.make_unreadable(name, place)
            elif harm == "zeros":
                files.overwrite(name, place, bytes(min(512, files.size_of(name) - place)))
            else:
                files.overwrite(name, place, files.content_of(segments(files)[0])[512:1024])
            check_honest(files, f"{harm} at {name}, byte {place}")


@pytest.mark.parametrize("index", range(4))
def test_no_lost_file_goes_unnoticed(index: int) -> None:
    pristine = used()
    for name in pristine.names():
        files = copy_of(pristine)
        files.remove(name)
        files.sync()
        check_honest(files, f"{name} is gone")


def test_a_directory_that_lost_everything_says_so() -> None:
    files = used()
    files.wipe()
    for _ in range(2):
        storage = open_sim(files)
        assert storage.load().damage is Damage.EPOCHS
        storage.close()
    storage = open_sim(files)
    storage.save([SaveEpochs(3, 3), Repair()])
    storage.close()
    assert open_sim(files).load().damage is None


def hit(files: SimFiles) -> None:
    """Change a byte in the flush of (1, 7) to (1, 11)."""
    name = next(name for name in segments(files) if RECORD * 5 in files.content_of(name))
    files.flip(name, 8 * files.content_of(name).index(RECORD * 5))


def test_damage_is_reported_as_ranges_and_kept_aside_until_the_repair() -> None:
    files = used()
    hit(files)
    storage = open_sim(files, segment_bytes=2048)
    saved = storage.load()
    assert (saved.last, saved.damage) == (Z(1, 6), Damage.LOG)
    assert [(harm.after, harm.upto) for harm in storage.harms] == [(Z(1, 6), Z(1, 11))]
    assert "was changed" in str(storage.harms[0]) or "does not read back" in str(storage.harms[0])
    assert RECORD in files.content_of(storage.harms[0].file.removeprefix("sim/"))
    storage.save([Append(Z(3, 1), (b"from the leader",)), SaveEpochs(3, 3), Repair()])
    storage.close()
    again = open_sim(files, segment_bytes=2048).load()
    assert (again.last, again.damage) == (Z(3, 1), None)


def test_whole_segments_behind_damage_are_put_aside_until_the_repair() -> None:
    files = used()
    first = segments(files)[0]
    files.flip(first, 8 * files.content_of(first).rindex(RECORD))
    storage = open_sim(files, segment_bytes=2048)
    assert storage.load().damage is Damage.LOG
    assert any(name.startswith("damaged-log-") for name in files.names())
    storage.close()
    storage = open_sim(files, segment_bytes=2048)
    assert any(name.startswith("damaged-log-") for name in files.names())
    storage.save([Repair()])
    assert not any(name.startswith("damaged-") for name in files.names())


def test_an_older_snapshot_and_the_log_make_up_for_a_damaged_one() -> None:
    files = used()
    name = next(name for name in files.names() if name.startswith("snapshot-") and name.endswith(f"{REF.zxid:016x}"))
    files.flip(name, 8 * files.content_of(name).index(b"state"))
    storage = open_sim(files, segment_bytes=2048)
    saved = storage.load()
    assert (saved.snapshot, saved.last, saved.damage) == (OLD.zxid, Z(2, 3), None)
    assert list(storage.entries(OLD.zxid, ALL)) == everything()[2:]


def lose_the_end(files: SimFiles) -> None:
    """The last record's sectors are as if they had never been written."""
    name = segments(files)[-1]
    content = files.content_of(name)
    place = content.rindex(b"zkF1")
    files.overwrite(name, place, bytes(len(content.rstrip(b"\0")) - place))


def test_the_mark_tells_a_lost_end_from_a_torn_one() -> None:
    files = used()
    lose_the_end(files)
    assert open_sim(files, segment_bytes=2048).load().damage is Damage.LOG


def test_without_the_mark_a_lost_end_looks_torn() -> None:
    """What the mark is for: as long as it is not stored, there is nothing to tell them apart."""
    files = used()
    lose_the_end(files)
    files.overwrite("records", 8192, bytes(512))
    saved = open_sim(files, segment_bytes=2048).load()
    assert (saved.last, saved.damage) == (Z(2, 2), None)


def test_records_that_cannot_be_read_later_end_this_life_of_the_storage() -> None:
    files = used()
    storage = open_sim(files, segment_bytes=2048)
    hit(files)
    with pytest.raises(Exception, match="does not read back"):
        storage.entries(REF.zxid, ALL)
    with pytest.raises(Exception, match="does not read back"):
        storage.save([Append(Z(2, 4), (b"more",))])
    assert storage.load().damage is Damage.LOG


@pytest.mark.parametrize("lies", [1, 2, 3])
def test_a_sync_that_lied_is_found_out(lies: int) -> None:
    """The mark was stored, what it vouches for was not."""
    files = used()
    storage = open_sim(files, segment_bytes=2048)
    files.sync_fails = "lies"
    for counter in range(4, 4 + lies):
        storage.save([Append(Z(2, counter), (RECORD,))])
    told = []
    for image in files.crash_images():
        saved = open_sim(image, segment_bytes=2048).load()
        told.append((saved.last, saved.damage))
    assert (Z(2, 3), Damage.LOG) in told
    assert (Z(2, 3 + lies), None) in told
