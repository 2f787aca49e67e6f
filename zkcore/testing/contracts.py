"""Proofs for plugs of your own: what every Storage and every Transport must do, as test classes to inherit.

Give a class the name that your test runner looks for, say how your plug is made, and run it::

    class TestRocksStorage(StorageContract):
        def make_storage(self):
            self.directory = tempfile.mkdtemp()
            return RocksStorage(self.directory)

        def reopen(self, storage):
            storage.close()
            return RocksStorage(self.directory)

The methods are plain ``test_*`` methods that raise AssertionError; each is one promise of the protocol's docstring, and
each begins with plugs of its own. They need pytest only for being found. What a crash leaves behind is not asked here:
it depends on how the plug is made, and its own tests must ask it.

This module must not know any particular plug.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

from zkcore.storage.storage import Storage
from zkcore.transport.transport import Inbox, Transport
from zkcore.zab.messages import Ack, Forward, Message, PeerId, Ping, Proposal, SnapData
from zkcore.zab.ready import (
    Append,
    Compact,
    Entry,
    InstallSnapshot,
    Saved,
    SaveEpochs,
    SnapshotChunk,
    SnapshotRef,
    Truncate,
    Write,
)
from zkcore.zxid import Zxid, epoch_of, format_zxid, make_zxid

__all__ = ["RecordingInbox", "StorageContract", "TransportContract"]

ALL = 1 << 40
"""More bytes than any test saves."""


def expect(what: str, actual: object, expected: object) -> None:
    """AssertionError, with both values, unless they are equal."""
    if actual != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {actual!r}")


# --- storage ---------------------------------------------------------------------------------------------------------


class StorageContract:
    """Every promise of `zkcore.storage.Storage`. Override `make_storage`, and `reopen` where it means something."""

    histories = 20
    """How many random histories `test_any_history_reads_as_it_was_written` tries."""

    def make_storage(self) -> Storage:
        """A new, empty storage. May be called several times in a test; the storages then share nothing."""
        raise NotImplementedError

    def reopen(self, storage: Storage) -> Storage:
        """The same storage as the replica's next life finds it: close it and open it again. What was given is not used
        any more."""
        return storage

    # --- epochs and records ---

    def test_a_new_storage_is_empty(self) -> None:
        storage = self.make_storage()
        self._holds(storage, Saved(), [])

    def test_epochs_are_saved_together(self) -> None:
        storage = self.make_storage()
        storage.save([SaveEpochs(3, 2)])
        storage = self._holds(storage, Saved(accepted_epoch=3, current_epoch=2), [])
        storage.save([SaveEpochs(5, 5)])
        self._holds(storage, Saved(accepted_epoch=5, current_epoch=5), [])

    def test_records_are_read_back_as_they_were_appended(self) -> None:
        storage = self.make_storage()
        storage.save([Append(_Z(1, 1), (b"one", b"", b"\x00three\xff"))])
        storage.save([Append(_Z(1, 4), (b"four",))])
        entries = [
            Entry(_Z(1, 1), b"one"), Entry(_Z(1, 2), b""), Entry(_Z(1, 3), b"\x00three\xff"), Entry(_Z(1, 4), b"four")
        ]  # fmt: skip
        self._holds(storage, Saved(last=_Z(1, 4), epoch_ends=(_Z(1, 4),)), entries)

    def test_epochs_of_the_log_may_be_left_out(self) -> None:
        storage = self.make_storage()
        storage.save([Append(_Z(1, 1), (b"a", b"b")), Append(_Z(4, 1), (b"c",)), Append(_Z(9, 1), (b"d", b"e"))])
        saved = Saved(last=_Z(9, 2), epoch_ends=(_Z(1, 2), _Z(4, 1), _Z(9, 2)))
        entries = [*_entries(_Z(1, 1), b"a", b"b"), Entry(_Z(4, 1), b"c"), *_entries(_Z(9, 1), b"d", b"e")]
        self._holds(storage, saved, entries)

    def test_one_save_holds_many_writes_in_order(self) -> None:
        storage = self.make_storage()
        storage.save([Append(_Z(1, 1), (b"a", b"b", b"c")), SaveEpochs(1, 1)])
        storage.save([SaveEpochs(3, 1), Truncate(_Z(1, 1)), Append(_Z(2, 1), (b"d",)), SaveEpochs(3, 3)])
        saved = Saved(3, 3, last=_Z(2, 1), epoch_ends=(_Z(1, 1), _Z(2, 1)))
        self._holds(storage, saved, [Entry(_Z(1, 1), b"a"), Entry(_Z(2, 1), b"d")])

    def test_entries_begin_after_any_record(self) -> None:
        storage = self.make_storage()
        storage.save([Append(_Z(1, 1), (b"a", b"b")), Append(_Z(3, 1), (b"c", b"d"))])
        everything = _entries(_Z(1, 1), b"a", b"b") + _entries(_Z(3, 1), b"c", b"d")
        for place, entry in enumerate(everything):
            after = list(storage.entries(entry.zxid, ALL))
            expect(f"entries after {format_zxid(entry.zxid)}", after, everything[place + 1 :])

    def test_entries_stop_before_too_many_bytes(self) -> None:
        storage = self.make_storage()
        storage.save([Append(_Z(1, 1), (b"1234", b"5678", b"90"))])
        for max_bytes, count in [(4, 1), (7, 1), (8, 2), (9, 2), (10, 3)]:
            expect(f"how many fit into {max_bytes} bytes", len(storage.entries(0, max_bytes)), count)

    def test_entries_give_one_record_however_large(self) -> None:
        storage = self.make_storage()
        storage.save([Append(_Z(1, 1), (b"large", b"larger"))])
        for max_bytes in (0, 1):
            expect("the first record", list(storage.entries(0, max_bytes)), [Entry(_Z(1, 1), b"large")])

    # --- truncation ---

    def test_truncation_removes_what_comes_after(self) -> None:
        cases: list[tuple[Zxid, tuple[Zxid, ...], int]] = [
            (_Z(3, 2), (_Z(1, 2), _Z(3, 2)), 4),
            (_Z(3, 1), (_Z(1, 2), _Z(3, 1)), 3),
            (_Z(1, 2), (_Z(1, 2),), 2),
            (_Z(1, 1), (_Z(1, 1),), 1),
            (0, (), 0),
        ]
        everything = _entries(_Z(1, 1), b"a", b"b") + _entries(_Z(3, 1), b"c", b"d")
        for zxid, epoch_ends, kept in cases:
            storage = self.make_storage()
            storage.save([Append(_Z(1, 1), (b"a", b"b")), Append(_Z(3, 1), (b"c", b"d")), Truncate(zxid)])
            self._holds(storage, Saved(last=zxid, epoch_ends=epoch_ends), everything[:kept])

    def test_another_history_may_follow_a_truncation(self) -> None:
        storage = self.make_storage()
        storage.save([Append(_Z(1, 1), (b"a", b"wrong", b"wrong"))])
        storage.save([Truncate(_Z(1, 1))])
        storage.save([Append(_Z(1, 2), (b"right",)), Append(_Z(2, 1), (b"new",))])
        saved = Saved(last=_Z(2, 1), epoch_ends=(_Z(1, 2), _Z(2, 1)))
        self._holds(storage, saved, [*_entries(_Z(1, 1), b"a", b"right"), Entry(_Z(2, 1), b"new")])

    # --- snapshots ---

    def test_a_snapshot_is_read_back_in_pieces(self) -> None:
        storage = self.make_storage()
        ref = SnapshotRef(_Z(1, 2))
        storage.save([Append(_Z(1, 1), (b"a", b"b", b"c"))])
        storage.save_snapshot(ref, iter([b"state ", b"", b"as of two"]))
        entries = _entries(_Z(1, 1), b"a", b"b", b"c")
        storage = self._holds(storage, Saved(last=_Z(1, 3), epoch_ends=(_Z(1, 3),)), entries)
        for again in self._lives(storage):
            expect("a piece", again.read_snapshot(ref, 0, 5), b"state")
            expect("a piece from within", again.read_snapshot(ref, 6, 5), b"as of")
            expect("the last piece", again.read_snapshot(ref, 12, 50), b"two")
            expect("what is at its end", again.read_snapshot(ref, 15, 50), b"")

    def test_the_newest_snapshot_and_that_at_the_base_are_kept(self) -> None:
        storage = self.make_storage()
        storage.save([Append(_Z(1, 1), tuple(b"%d" % number for number in range(8)))])
        storage.save_snapshot(SnapshotRef(_Z(1, 1)), [b"at 1"])
        storage.save([Compact(SnapshotRef(_Z(1, 1)))])
        for counter in range(2, 7):
            storage.save_snapshot(SnapshotRef(_Z(1, counter)), [b"at %d" % counter])
            storage = self.reopen(storage)
            for kept in (1, counter):
                self._keeps(storage, SnapshotRef(_Z(1, kept)), b"at %d" % kept)

    def test_a_snapshot_that_is_not_kept_is_a_lookup_error(self) -> None:
        storage = self.make_storage()
        try:
            found = storage.read_snapshot(SnapshotRef(_Z(1, 2)), 0, 5)
        except LookupError:
            return
        raise AssertionError(f"a snapshot that was never saved reads as {found!r}")

    def test_compaction_forgets_the_records_of_the_snapshot(self) -> None:
        everything = _entries(_Z(1, 1), b"a", b"b") + _entries(_Z(3, 1), b"c", b"d")
        cases: list[tuple[Zxid, tuple[Zxid, ...], int]] = [
            (_Z(1, 1), (_Z(1, 2), _Z(3, 2)), 1),
            (_Z(1, 2), (_Z(1, 2), _Z(3, 2)), 2),
            (_Z(3, 1), (_Z(3, 2),), 3),
            (_Z(3, 2), (_Z(3, 2),), 4),
        ]
        for zxid, epoch_ends, gone in cases:
            storage = self.make_storage()
            ref = SnapshotRef(zxid)
            storage.save([Append(_Z(1, 1), (b"a", b"b")), Append(_Z(3, 1), (b"c", b"d"))])
            storage.save_snapshot(ref, [b"state"])
            storage.save([Compact(ref)])
            storage = self._holds(storage, Saved(base=zxid, last=_Z(3, 2), epoch_ends=epoch_ends), everything[gone:])
            self._keeps(storage, ref, b"state")

    def test_the_log_goes_on_after_compaction(self) -> None:
        storage = self.make_storage()
        ref = SnapshotRef(_Z(2, 2))
        storage.save([Append(_Z(2, 1), (b"a", b"b"))])
        storage.save_snapshot(ref, [b"state"])
        storage.save([Compact(ref)])
        storage.save([Append(_Z(2, 3), (b"c", b"d")), Append(_Z(3, 1), (b"e",))])
        saved = Saved(base=_Z(2, 2), last=_Z(3, 1), epoch_ends=(_Z(2, 4), _Z(3, 1)))
        storage = self._holds(storage, saved, [*_entries(_Z(2, 3), b"c", b"d"), Entry(_Z(3, 1), b"e")])
        storage.save([Truncate(_Z(2, 2))])
        self._holds(storage, Saved(base=_Z(2, 2), last=_Z(2, 2), epoch_ends=(_Z(2, 2),)), [])

    def test_pieces_put_aside_change_nothing_yet(self) -> None:
        storage = self.make_storage()
        old = SnapshotRef(_Z(1, 1))
        storage.save([Append(_Z(1, 1), (b"a", b"b"))])
        storage.save_snapshot(old, [b"old"])
        storage.save([Compact(old), SnapshotChunk(SnapshotRef(_Z(5, 7)), 0, b"new")])
        saved = Saved(base=_Z(1, 1), last=_Z(1, 2), epoch_ends=(_Z(1, 2),))
        storage = self._holds(storage, saved, [Entry(_Z(1, 2), b"b")])
        self._keeps(storage, old, b"old")

    def test_an_installed_snapshot_replaces_the_log(self) -> None:
        # First one that lies beyond the log, then one that another history than the log's led to.
        for before, ref in [(_Z(1, 1), SnapshotRef(_Z(5, 7))), (_Z(6, 1), SnapshotRef(_Z(5, 7)))]:
            storage = self.make_storage()
            storage.save([SaveEpochs(6, 6), Append(before, (b"a", b"b"))])
            storage.save([SnapshotChunk(ref, 0, b"sta"), SnapshotChunk(ref, 3, b"te"), InstallSnapshot(ref, 5)])
            storage = self._holds(storage, Saved(6, 6, base=_Z(5, 7), last=_Z(5, 7), epoch_ends=(_Z(5, 7),)), [])
            self._keeps(storage, ref, b"state")
            storage.save([Append(_Z(5, 8), (b"c",)), Append(_Z(7, 1), (b"d",))])
            saved = Saved(6, 6, base=_Z(5, 7), last=_Z(7, 1), epoch_ends=(_Z(5, 8), _Z(7, 1)))
            self._holds(storage, saved, [Entry(_Z(5, 8), b"c"), Entry(_Z(7, 1), b"d")])

    def test_a_piece_at_offset_0_begins_anew(self) -> None:
        storage = self.make_storage()
        given_up, ref = SnapshotRef(_Z(1, 9)), SnapshotRef(_Z(2, 3))
        storage.save([SnapshotChunk(given_up, 0, b"given up"), SnapshotChunk(ref, 0, b"given up too")])
        storage.save([SnapshotChunk(ref, 0, b"st"), SnapshotChunk(ref, 2, b"ate"), InstallSnapshot(ref, 5)])
        storage = self._holds(storage, Saved(base=_Z(2, 3), last=_Z(2, 3), epoch_ends=(_Z(2, 3),)), [])
        self._keeps(storage, ref, b"state")

    # --- all of it together ---

    def test_any_history_reads_as_it_was_written(self) -> None:
        for seed in range(self.histories):
            storage, model, rng = self.make_storage(), _Model(), Random(seed)
            for _ in range(30):
                for ref, state in model.write_something(storage, rng):
                    self._keeps(storage, ref, state)
                if rng.random() < 0.1:
                    storage = self.reopen(storage)
                expect(f"load with seed {seed}", storage.load(), model.saved())
                expect(f"entries with seed {seed}", list(storage.entries(model.base, ALL)), model.entries)

    def _holds(self, storage: Storage, saved: Saved, entries: Sequence[Entry]) -> Storage:
        """Check all that can be asked of the log, now and in the next life; returns the storage of that life."""
        for again in self._lives(storage):
            expect("load", again.load(), saved)
            expect("entries", list(again.entries(saved.base, ALL)), list(entries))
            expect("entries after the last", list(again.entries(saved.last, ALL)), [])
            storage = again
        return storage

    def _keeps(self, storage: Storage, ref: SnapshotRef, state: bytes) -> None:
        try:
            found = storage.read_snapshot(ref, 0, ALL)
        except LookupError as problem:
            raise AssertionError(f"{ref} must be kept, but {problem}") from problem
        expect(str(ref), found, state)

    def _lives(self, storage: Storage) -> Iterator[Storage]:
        yield storage
        yield self.reopen(storage)


_Z = make_zxid


def _entries(first: Zxid, *payloads: bytes) -> list[Entry]:
    return [Entry(first + place, payload) for place, payload in enumerate(payloads)]


class _Model:
    """What a storage must hold, kept in the plainest way there is."""

    def __init__(self) -> None:
        self.accepted = self.current = 0
        self.base: Zxid = 0
        self.entries: list[Entry] = []

    @property
    def last(self) -> Zxid:
        return self.entries[-1].zxid if self.entries else self.base

    def saved(self) -> Saved:
        """What `load` must say."""
        ends: dict[int, Zxid] = {epoch_of(self.base): self.base} if self.base else {}
        for entry in self.entries:
            ends[epoch_of(entry.zxid)] = entry.zxid
        return Saved(self.accepted, self.current, self.base, self.last, tuple(ends.values()))

    def write_something(self, storage: Storage, rng: Random) -> list[tuple[SnapshotRef, bytes]]:
        """Draw a write, do it here and there; returns the snapshots that must now be readable."""
        zxids = [self.base, *(entry.zxid for entry in self.entries)]
        match rng.choice(("append", "append", "append", "truncate", "compact", "install", "epochs")):
            case "append":
                storage.save(self._appends(rng))
            case "truncate":
                zxid = rng.choice(zxids[len(zxids) // 2 :])
                self.entries = [entry for entry in self.entries if entry.zxid <= zxid]
                storage.save([Truncate(zxid)])
            case "compact" if self.entries:
                ref, state = SnapshotRef(rng.choice(zxids[1:])), rng.randbytes(rng.randrange(1, 50))
                self.base, self.entries = ref.zxid, [entry for entry in self.entries if entry.zxid > ref.zxid]
                storage.save_snapshot(ref, [state[:7], state[7:]])
                storage.save([Compact(ref)])
                return [(ref, state)]
            case "install":
                ref, state = SnapshotRef(self._next(rng) + rng.randrange(9)), rng.randbytes(rng.randrange(2, 50))
                self.base, self.entries = ref.zxid, []
                storage.save([SnapshotChunk(ref, 0, state[:1]), SnapshotChunk(ref, 1, state[1:])])
                storage.save([InstallSnapshot(ref, len(state))])
                return [(ref, state)]
            case _:
                self.accepted += rng.randrange(3)
                self.current = rng.randint(self.current, self.accepted)
                storage.save([SaveEpochs(self.accepted, self.current)])
        return []

    def _appends(self, rng: Random) -> list[Write]:
        writes: list[Write] = []
        for _ in range(rng.randrange(1, 4)):
            first = self._next(rng)
            payloads = tuple(rng.randbytes(rng.randrange(20)) for _ in range(rng.randrange(1, 6)))
            self.entries += _entries(first, *payloads)
            writes.append(Append(first, payloads))
        return writes

    def _next(self, rng: Random) -> Zxid:
        if self.last and rng.random() < 0.7:
            return self.last + 1
        return _Z(epoch_of(self.last) + rng.randrange(1, 4), 1)


# --- transport -------------------------------------------------------------------------------------------------------


class RecordingInbox:
    """An Inbox that writes down what it is told, and whether the law of the transport held.

    `record` holds ``("linked", peer)``, ``("lost", peer)`` and ``("message", peer, message)`` in the order of arrival.
    """

    def __init__(self) -> None:
        self.record: list[tuple[str, PeerId] | tuple[str, PeerId, Message]] = []

    def receive(self, sender: PeerId, message: Message) -> None:
        self.record.append(("message", sender, message))

    def report_linked(self, peer: PeerId) -> None:
        self.record.append(("linked", peer))

    def report_lost(self, peer: PeerId) -> None:
        self.record.append(("lost", peer))

    def is_linked(self, peer: PeerId) -> bool:
        """Whether the last that was heard of the link to `peer` is that it is up."""
        return [what for what in self.record if what[0] != "message" and what[1] == peer][-1:] == [("linked", peer)]

    def messages(self, peer: PeerId) -> list[list[Message]]:
        """What came from `peer`: a list for each link there was."""
        links: list[list[Message]] = []
        for what in list(self.record):
            if what == ("linked", peer):
                links.append([])
            elif len(what) == 3 and what[1] == peer:
                links[-1].append(what[2])
        return links

    def check_law(self) -> None:
        """AssertionError where a link was reported out of order, or a message came without a link."""
        up: set[PeerId] = set()
        for place, (kind, peer, *_) in enumerate(list(self.record)):
            if (kind == "linked") == (peer in up):
                state = "linked" if peer in up else "not linked"
                raise AssertionError(f"{kind} while {peer} is {state}: {self.record[max(place - 5, 0) : place + 1]}")
            if kind == "linked":
                up.add(peer)
            elif kind == "lost":
                up.remove(peer)


class TransportContract:
    """The law of `zkcore.transport.Transport`. Override `connect`, and `wait_until` where messages need time.

    A test's transports can be stopped in `teardown_method`, which pytest calls after each.
    """

    def connect(self, inboxes: Mapping[PeerId, Inbox]) -> Mapping[PeerId, Transport]:
        """A transport for every Inbox; each shall be linked with every other, at once or soon."""
        raise NotImplementedError

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Let the transports work until `condition` holds; AssertionError if it does not within your patience."""
        if not condition():
            raise AssertionError("what was waited for has not come about")

    def test_everyone_is_linked_with_everyone_else(self) -> None:
        inboxes, _ = self._start(1, 2, 3)
        for me, inbox in inboxes.items():
            expect(f"the peers of {me}", {what[1] for what in inbox.record}, set(inboxes) - {me})

    def test_messages_arrive_whole_and_in_order(self) -> None:
        inboxes, transports = self._start(1, 2)
        sent: list[Message] = [Ping(number) for number in range(100)]
        sent += [Proposal(_Z(1, 1), (b"", b"payload")), SnapData(3, b"\x00\xff", True), Forward(b"x" * 1_000_000)]
        sent += [Ack(number) for number in range(100)]
        for message in sent:
            transports[1].send(2, message)
        self._settle(inboxes, lambda: inboxes[2].messages(1) == [sent])

    def test_every_link_is_of_its_own(self) -> None:
        inboxes, transports = self._start(1, 2, 3)
        pairs = [(sender, to) for sender in transports for to in transports if sender != to]
        sent: dict[tuple[PeerId, PeerId], list[Message]] = {pair: [] for pair in pairs}
        for number in range(20):
            for sender, to in pairs:
                message = Forward(b"%d to %d: %d" % (sender, to, number))
                sent[sender, to].append(message)
                transports[sender].send(to, message)
        self._settle(inboxes, lambda: all(inboxes[to].messages(sender) == [sent[sender, to]] for sender, to in pairs))

    def test_without_a_link_a_message_is_dropped(self) -> None:
        inboxes, transports = self._start(1, 2)
        transports[1].send(200, Ping(1))
        transports[1].close(200)
        transports[1].send(2, Ping(2))
        self._settle(inboxes, lambda: inboxes[2].messages(1) == [[Ping(2)]])

    def test_close_breaks_both_ends_and_they_are_linked_again(self) -> None:
        inboxes, transports = self._start(1, 2)
        for closing, other in [(1, 2), (2, 1)] * 5:
            links = len(inboxes[1].messages(2)), len(inboxes[2].messages(1))
            transports[closing].close(other)
            self._wait_for_new_links(inboxes, *links)
            transports[1].send(2, Ping(1))
            transports[2].send(1, Ping(2))
            self._settle(inboxes, lambda: inboxes[2].messages(1)[-1] == [Ping(1)])
            self._settle(inboxes, lambda: inboxes[1].messages(2)[-1] == [Ping(2)])

    def test_close_leaves_other_links_alone(self) -> None:
        inboxes, transports = self._start(1, 2, 3)
        transports[1].close(2)
        self._wait_for_new_links(inboxes, 1, 1)
        transports[1].send(3, Ping(1))
        self._settle(inboxes, lambda: inboxes[3].messages(1) == [[Ping(1)]])
        expect("the links between 1 and 3", (len(inboxes[1].messages(3)), len(inboxes[3].messages(1))), (1, 1))

    def test_nothing_sent_before_the_sender_closed_arrives_after_it(self) -> None:
        self._nothing_outlives_its_link(closing=1, other=2)

    def test_nothing_sent_before_the_receiver_closed_arrives_after_it(self) -> None:
        self._nothing_outlives_its_link(closing=2, other=1)

    def _nothing_outlives_its_link(self, closing: PeerId, other: PeerId) -> None:
        inboxes, transports = self._start(1, 2)
        sent: list[Message] = [Ping(number) for number in range(200)]
        for message in sent:
            transports[1].send(2, message)
        transports[closing].close(other)
        self._wait_for_new_links(inboxes, 1, 1)
        transports[1].send(2, Ack(1))
        self._settle(inboxes, lambda: bool(inboxes[2].messages(1)[-1]))
        before, *_, after = inboxes[2].messages(1)
        expect("what arrived before the loss", before, sent[: len(before)])
        expect("what arrived after the loss", after, [Ack(1)])

    def _start(self, *peers: PeerId) -> tuple[dict[PeerId, RecordingInbox], Mapping[PeerId, Transport]]:
        inboxes = {me: RecordingInbox() for me in peers}
        transports = self.connect(inboxes)
        self._settle(inboxes, lambda: all(inboxes[a].is_linked(b) for a in peers for b in peers if a != b))
        return inboxes, transports

    def _wait_for_new_links(self, inboxes: Mapping[PeerId, RecordingInbox], links_of_1: int, links_of_2: int) -> None:
        self._settle(inboxes, lambda: len(inboxes[1].messages(2)) > links_of_1 and inboxes[1].is_linked(2))
        self._settle(inboxes, lambda: len(inboxes[2].messages(1)) > links_of_2 and inboxes[2].is_linked(1))

    def _settle(self, inboxes: Mapping[PeerId, RecordingInbox], condition: Callable[[], bool]) -> None:
        def lawfully() -> bool:
            for inbox in inboxes.values():
                inbox.check_law()
            return condition()

        self.wait_until(lawfully)
