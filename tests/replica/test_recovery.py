"""A new ensemble is begun with what is left of one, by those who are told what may be lost; never by halves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

import pytest

import zkcore
from zkcore.errors import ConfigurationError, StorageError
from zkcore.replica.members import Change, Members, Note
from zkcore.replica.recovery import EPOCHS_SKIPPED, recover
from zkcore.storage import FileStorage
from zkcore.tree.snapshot import dump
from zkcore.tree.tree import Tree
from zkcore.zab.membership import configuration_record
from zkcore.zab.quorum import EnsembleConfig, Transition
from zkcore.zab.ready import Append, Compact, SaveEpochs, SnapshotRef
from zkcore.zxid import make_zxid as Z

T = TypeVar("T")

TRIO = EnsembleConfig([1, 2, 3])


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Megabytes that nobody writes to need not be reserved here."""
    real = FileStorage.__init__

    def small(self: FileStorage, directory: Any, **options: Any) -> None:
        real(self, directory, **{"segment_bytes": 1 << 13, **options})

    monkeypatch.setattr(FileStorage, "__init__", small)


def survivor(
    path: Path, node: int, records: Iterable[tuple[int, bytes]], *, epochs: tuple[int, int], cluster: str = "old",
    ensemble: EnsembleConfig | None = TRIO, snapshot: int = 0, tree: Tree | None = None,
) -> Path:  # fmt: skip
    """The directory of a member that has stopped."""
    where = path / f"node-{node}"
    with FileStorage(where, node=node, cluster=cluster, ensemble=ensemble, new=True) as storage:
        storage.save([*(Append(zxid, (payload,)) for zxid, payload in records), SaveEpochs(*epochs)])
        if snapshot:
            storage.save_snapshot(SnapshotRef(snapshot), dump(tree if tree is not None else Tree()))
            storage.save([Compact(SnapshotRef(snapshot))])
    return where


def plain(*zxids: int) -> list[tuple[int, bytes]]:
    return [(zxid, b"%d" % zxid) for zxid in zxids]


def contents(path: Path) -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in path.rglob("*") if each.is_file()}


def held(where: Path, *, node: int, cluster: str) -> tuple[Any, list[Any]]:
    with FileStorage(where, node=node, cluster=cluster) as storage:
        saved = storage.load()
        return saved, list(storage.entries(saved.base, 1 << 30))


# --- what is said before


def test_nothing_is_changed_without_force_and_what_may_be_lost_is_said(tmp_path: Path) -> None:
    where = survivor(tmp_path, 2, plain(Z(1, 1), Z(1, 2), Z(3, 1), Z(3, 2)), epochs=(4, 3))
    before = contents(tmp_path)
    told = recover([where], cluster="new")
    assert contents(tmp_path) == before
    assert not told.done
    assert told.maybe_lost_after == Z(3, 2)
    assert str(told).splitlines() == [
        f"member 2 in {where}: epoch 3, log up to 0x3_00000002",
        "member 2 is the only survivor that was named",
        "the members were voters 1 2 3; what is left of them, 2, is no quorum",
        "kept, and known to be committed: everything up to 0x1_00000002",
        "kept, and perhaps never committed: what comes after 0x1_00000002, up to 0x3_00000002; who wrote it may have "
        "been told of an error",
        "perhaps lost: what comes after 0x3_00000002 and only others had; nobody can know whether there was anything, "
        "and who wrote it was told that it was done",
        "the new ensemble is 'new', of voter 2 alone, from 0x3ec_00000001 on; members of 'old' are refused there, and "
        "begin anew",
        "nothing was changed yet: this takes force",
    ]


def test_what_is_in_a_snapshot_is_known_to_be_committed(tmp_path: Path) -> None:
    where = survivor(tmp_path, 1, plain(Z(1, 1), Z(1, 2), Z(1, 3)), epochs=(1, 1), snapshot=Z(1, 2))
    assert recover([where], cluster="new").chosen.committed == Z(1, 2)


@pytest.mark.parametrize(
    ("first", "second", "chosen", "why"),
    [
        (((1, 1), (Z(1, 1), Z(1, 2))), ((2, 2), (Z(1, 1),)), 2, "it has a later epoch than member 1"),
        (((9, 2), (Z(1, 1), Z(1, 2))), ((2, 2), (Z(1, 1),)), 1, "it has a longer log than member 2"),
        # What was received of a later epoch follows on all of the one before, though it is no part of this one yet.
        (((5, 1), (Z(1, 1), Z(4, 1))), ((3, 3), (Z(1, 1), Z(3, 1))), 1, "it has a later epoch than member 2"),
        (((2, 2), (Z(1, 1),)), ((3, 2), (Z(1, 1),)), 1, "member 2 has the same history"),
    ],
    ids=["epoch", "log", "received", "equal"],
)
def test_of_several_the_most_advanced_is_chosen_and_why(
    tmp_path: Path, first: Any, second: Any, chosen: int, why: str
) -> None:
    five = EnsembleConfig([1, 2, 3, 4, 5])
    where = [
        survivor(tmp_path, node, plain(*zxids), epochs=epochs, ensemble=five)
        for node, (epochs, zxids) in enumerate((first, second), 1)
    ]
    told = recover(where[::-1], cluster="new")
    assert told.chosen.node == chosen
    assert f"member {chosen} is chosen: {why}" in str(told)
    assert told.members.version == Z(max(first[0][0], second[0][0], told.chosen.epoch) + EPOCHS_SKIPPED, 1)


# --- what is refused


def refused(tmp_path: Path, where: list[Path], why: str, **options: Any) -> None:
    before = contents(tmp_path)
    with pytest.raises(StorageError, match=why):
        recover(where, **{"cluster": "new", "force": True, **options})
    assert contents(tmp_path) == before


def test_those_that_are_a_quorum_are_told_to_start(tmp_path: Path) -> None:
    where = [survivor(tmp_path, node, plain(Z(1, 1)), epochs=(1, 1)) for node in (1, 3)]
    refused(tmp_path, where, r"members 1 3 are a quorum of voters 1 2 3: nothing is lost. Start them")
    assert recover(where[:1], cluster="new").done is False


def test_while_the_members_are_changed_it_takes_a_quorum_of_both(tmp_path: Path) -> None:
    change = configuration_record(Transition(TRIO, EnsembleConfig([3, 4, 5])))
    where = [survivor(tmp_path, node, [*plain(Z(1, 1)), (Z(1, 2), change)], epochs=(1, 1)) for node in (1, 2)]
    told = str(recover(where, cluster="new"))
    assert "a change under way is given up: the members were voters 1 2 3 -> voters 3 4 5; what is left" in told
    where.extend(survivor(tmp_path, node, plain(Z(1, 1)), epochs=(1, 1)) for node in (4, 5))
    refused(tmp_path, where, "members 1 2 4 5 are a quorum of voters 1 2 3 -> voters 3 4 5")


def test_the_newest_members_count_and_not_those_of_the_beginning(tmp_path: Path) -> None:
    """Of a snapshot, too, and behind it."""
    tree = Tree()
    tree.configure(Z(1, 2), configuration_record(EnsembleConfig([1, 2, 3, 4, 5])))
    where = [
        survivor(tmp_path, node, plain(Z(1, 1), Z(1, 2), Z(1, 3)), epochs=(1, 1), snapshot=Z(1, 3), tree=tree)
        for node in (1, 2)
    ]
    assert "the members were voters 1 2 3 4 5; what is left of them, 1 2" in str(recover(where, cluster="new"))
    with FileStorage(where[1], node=2, cluster="old") as storage:
        storage.save([Append(Z(1, 4), (configuration_record(EnsembleConfig([2])),))])
    refused(tmp_path, where, "members 1 2 are a quorum of voters 2")


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    where = survivor(tmp_path, 1, plain(Z(1, 1)), epochs=(1, 1))
    with FileStorage(where, node=1, cluster="old"), pytest.raises(StorageError, match="in use by another process"):
        recover([where], cluster="new")


def test_survivors_are_of_one_ensemble_and_each_is_named_once(tmp_path: Path) -> None:
    one = survivor(tmp_path / "a", 1, plain(Z(1, 1)), epochs=(1, 1))
    copy = survivor(tmp_path / "b", 1, plain(Z(1, 1)), epochs=(1, 1))
    other = survivor(tmp_path / "c", 2, plain(Z(1, 1)), epochs=(1, 1), cluster="other")
    refused(tmp_path, [one, copy], "are both of member 1: one of them is a copy")
    refused(tmp_path, [one, other], "name directories of one ensemble")
    refused(tmp_path, [], "name the directory of one")
    refused(tmp_path, [one], "is of 'old' already", cluster="old")
    with pytest.raises(ConfigurationError, match="no name for a cluster"):
        recover([one], cluster="")
    with pytest.raises(ConfigurationError, match=r"addresses\[1\] is 'nowhere'"):
        recover([one], cluster="new", address="nowhere")


def damage(where: Path, what: str, at: int) -> None:
    path = sorted(where.glob(what))[-1]
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_damage_is_refused_unless_it_is_accepted(tmp_path: Path) -> None:
    where = survivor(tmp_path, 1, [(Z(1, number), b"%d" % number * 100) for number in range(1, 20)], epochs=(1, 1))
    damage(where, "log-*", 1200)
    refused(tmp_path, [where], "is not whole: .* Leave it out; or accept the damage")
    told = recover([where], cluster="new", force=True, accept_damage=True)
    assert told.problems
    assert str(told).splitlines()[1].startswith("damaged: ")
    saved, entries = held(where, node=1, cluster="new")
    assert saved.damage is None
    assert 0 < told.chosen.last < Z(1, 19)
    assert [entry.zxid for entry in entries] == [*range(Z(1, 1), told.chosen.last + 1), told.members.version]


def test_who_is_damaged_does_not_vote_and_counts_for_no_quorum(tmp_path: Path) -> None:
    records = [(Z(1, number), b"%d" % number * 100) for number in range(1, 20)]
    where = [survivor(tmp_path, node, records, epochs=(1, 1)) for node in (1, 2)]
    damage(where[1], "log-*", 1200)
    told = recover(where, cluster="new", accept_damage=True)
    assert told.chosen.node == 1
    assert "member 1 is chosen: it has a longer log than member 2" in str(told)


def test_without_its_snapshot_no_damage_is_accepted(tmp_path: Path) -> None:
    where = survivor(tmp_path, 1, plain(Z(1, 1), Z(1, 2)), epochs=(1, 1), snapshot=Z(1, 1))
    damage(where, "snapshot-*", 600)
    refused(tmp_path, [where], "log repair .* --apply", accept_damage=True)


# --- what is done


def test_the_log_goes_on_with_the_only_member_in_an_epoch_of_its_own(tmp_path: Path) -> None:
    three = Members(TRIO, addresses={1: "a:1", 2: "b:1", 3: "c:1"}, clients={2: "0.0.0.0:2181"})
    change = configuration_record(TRIO, Note(5, 6, 7, three, three).encode())
    where = survivor(tmp_path, 2, [*plain(Z(1, 1)), (Z(1, 2), change), *plain(Z(2, 1))], epochs=(7, 2))
    told = recover([where], cluster="new", force=True)
    assert told.done
    assert str(told).endswith("\ndone")
    saved, entries = held(where, node=2, cluster="new")
    epoch = 7 + EPOCHS_SKIPPED
    assert (saved.accepted_epoch, saved.current_epoch, saved.last) == (epoch, epoch, Z(epoch, 1))
    assert [entry.zxid for entry in entries] == [Z(1, 1), Z(1, 2), Z(2, 1), Z(epoch, 1)]
    made = Change.read(*entries[-1])
    assert made.members == told.members == Members(
        EnsembleConfig([2]), addresses={2: "b:1"}, clients={2: "0.0.0.0:2181"}, version=Z(epoch, 1)
    )
    assert made.replaced is None
    with pytest.raises(StorageError, match="'new', not of member 2 of 'old'"):
        FileStorage(where, node=2, cluster="old")
    refused(tmp_path, [where], "is of 'new' already: start member 2")


def test_an_address_that_is_given_is_the_members(tmp_path: Path) -> None:
    where = survivor(tmp_path, 2, plain(Z(1, 1)), epochs=(1, 1))
    assert recover([where], cluster="new", address="d:1").members.addresses == {2: "d:1"}


def test_what_does_not_say_who_the_members_were_is_recovered_too(tmp_path: Path) -> None:
    where = survivor(tmp_path, 2, plain(Z(1, 1)), epochs=(1, 1), ensemble=None)
    told = recover([where], cluster="new", force=True)
    assert "nothing says who the members were" in str(told)
    assert told.done


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(30):
            return await coroutine

    return asyncio.run(bounded())


def test_a_member_that_was_recovered_leads_alone_with_all_that_it_had(tmp_path: Path) -> None:
    async def before() -> int:
        async with zkcore.local_cluster(3, data_dir=tmp_path, new=True) as cluster, cluster.client() as zk:
            await zk.create("/kept", b"data")
            return await cluster.wait_for_leader()

    async def after(leader: int, *created: str) -> tuple[bytes, int, str]:
        network = zkcore.LocalNetwork()
        async with zkcore.Node(
            leader, EnsembleConfig([leader]), transport=lambda inbox: network.attach(leader, inbox),
            data_dir=tmp_path / f"node-{leader}", cluster="again",
        ) as node, node.client() as zk:  # fmt: skip
            for path in created:
                await zk.create(path)
            kept, stat = await zk.get("/kept")
            members = (await zk.get("/zookeeper/config")).data
            return kept, (await zk.get("/new")).stat.czxid - stat.czxid, members.decode()

    leader = run(before())
    told = recover([tmp_path / f"node-{leader}"], cluster="again", force=True)
    for created in (("/new",), ()):
        kept, ahead, members = run(after(leader, *created))
        assert kept == b"data"
        assert ahead > Z(EPOCHS_SKIPPED, 0)
        assert members == told.members.text()
