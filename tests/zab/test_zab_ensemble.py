"""Peers among themselves: they elect, agree, survive crashes, and take in those who come back."""

from __future__ import annotations

import pytest
from dialogue import Z, stored
from ensemble import Ensemble

from zkcore.storage.storage import MemoryStorage
from zkcore.zab.limits import Limits
from zkcore.zab.ready import SnapshotRef


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_an_ensemble_begins_to_serve_and_all_have_what_is_proposed(size: int) -> None:
    ensemble = Ensemble(range(1, size + 1))
    ensemble.run(ensemble.all_serve)
    ensemble.propose(b"a", b"b")
    ensemble.propose(b"c")
    ensemble.run(lambda: ensemble.all_have([b"a", b"b", b"c"]))


@pytest.mark.parametrize("size", [3, 5])
def test_what_was_committed_outlives_every_leader_of_a_majority_that_stays(size: int) -> None:
    ensemble = Ensemble(range(1, size + 1))
    expected: list[bytes] = []
    for number in range(2 * size):
        ensemble.run(ensemble.all_serve)
        leader = ensemble.leader
        assert leader is not None
        expected.append(b"%d" % number)
        ensemble.propose(expected[-1])
        ensemble.run(lambda: ensemble.all_have(expected))
        ensemble.crash(leader)
        ensemble.run(lambda gone=leader: ensemble.all_serve() and ensemble.leader != gone)  # type: ignore[misc]
        ensemble.start(leader)
    ensemble.run(lambda: ensemble.all_serve() and ensemble.all_have(expected))
    epochs = [event.epoch for host in ensemble.hosts.values() for event in host.leaders]
    assert len(epochs) == len(set(epochs))


def test_without_a_majority_nothing_is_committed_and_with_it_everything_goes_on() -> None:
    ensemble = Ensemble((1, 2, 3))
    ensemble.run(ensemble.all_serve)
    leader = ensemble.leader
    assert leader is not None
    followers = [me for me in ensemble.hosts if me != leader]
    for me in followers:
        ensemble.crash(me)
    ensemble.propose(b"alone")
    ensemble.run(lambda: ensemble.leader is None)
    assert ensemble.hosts[leader].state == []
    ensemble.start(followers[0])
    ensemble.run(lambda: ensemble.all_serve() and ensemble.all_have([b"alone"]))


@pytest.mark.parametrize("chunk", [3, 4, 1000])
def test_who_comes_back_after_the_log_was_compacted_gets_a_snapshot(chunk: int) -> None:
    ensemble = Ensemble((1, 2, 3), limits=Limits(snapshot_chunk_bytes=chunk, retained_records=1))
    ensemble.run(ensemble.all_serve)
    ensemble.crash(1)
    words = [b"w%d" % number for number in range(9)]
    ensemble.run(ensemble.all_serve)
    ensemble.propose(*words)
    ensemble.run(lambda: ensemble.all_have(words))
    leader = ensemble.leader
    assert leader is not None
    host, peer = ensemble.hosts[leader], ensemble.peer(leader)
    ref = SnapshotRef(peer.last_committed)
    host.storage.save_snapshot(ref, [b" ".join(words)])
    peer.compact(ref)
    ensemble.act(leader)
    ensemble.propose(b"later")
    ensemble.start(1)
    ensemble.run(lambda: ensemble.all_serve() and ensemble.all_have([*words, b"later"]))
    assert ensemble.hosts[leader].storage.load().base == ref.zxid - 1
    assert ensemble.hosts[1].storage.load().base == ref.zxid


def test_the_ghosts_of_old_leaders_are_cut() -> None:
    # Every node has a tail of its own that no other has; only what is in the elected leader's log survives.
    storages = {
        1: stored((1, 3), (2, 2), accepted=9),
        2: stored((1, 3), (3, 1), accepted=9),
        3: stored((1, 2), accepted=9),
    }
    ensemble = Ensemble((1, 2, 3), storages)
    ensemble.run(ensemble.all_serve)
    assert ensemble.leader == 2
    assert ensemble.all_have([b"1.1", b"1.2", b"1.3", b"3.1"])
    assert all(host.storage.load().epoch_ends == (Z(1, 3), Z(3, 1)) for host in ensemble.hosts.values())


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("gap", [1, 2, 40])
def test_a_voter_that_promised_far_too_much_is_taken_back(size: int, gap: int) -> None:
    # It survived elections that nobody won, and must refuse every epoch below its promise.
    ensemble = Ensemble(range(1, size + 1), {1: MemoryStorage()})
    ensemble.run(ensemble.all_serve)
    ensemble.crash(1)
    ensemble.run(ensemble.all_serve)
    epoch = ensemble.peer(size).epoch
    promised = stored(accepted=epoch + gap, current=ensemble.hosts[1].storage.load().current_epoch)
    ensemble.hosts[1].storage = promised
    ensemble.start(1)
    ensemble.run(lambda: ensemble.all_serve() and ensemble.peer(1).established)
    established = sorted({event.epoch for host in ensemble.hosts.values() for event in host.leaders})
    assert established[-1] > epoch + gap
    assert len([e for e in established if e > epoch]) <= 2, "one leader steps down for it, not one for every epoch"
