"""The checks on what clients are told: for each, an answer made by hand that is wrong.

The committed sequence is real: transactions are prepared as a leader would and told to an Oracle of one voter.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zkcore.errors import BadVersionError, ConnectionLostError, NodeExistsError, NoNodeError, ZkcoreError
from zkcore.replica.levels import Read, ReadLevel, Sync
from zkcore.testing.checkers import Oracle, Violation
from zkcore.testing.clients import Client, Reference
from zkcore.tree.applied import EventType, WatchEvent
from zkcore.tree.prepare import Preparer
from zkcore.tree.requests import (
    CloseSession,
    Create,
    CreateSession,
    Delete,
    Exists,
    GetData,
    NodeData,
    Request,
    SetData,
)
from zkcore.zab.messages import Role
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import Append, RoleChanged, Saved, SaveEpochs
from zkcore.zxid import Zxid, make_zxid

FIRST = make_zxid(1, 1)


class Ensemble:
    """One voter that commits what it is given, and a client with a session."""

    def __init__(self) -> None:
        self.oracle = Oracle(EnsembleConfig((1,)))
        self.oracle.started(1, Saved())
        self.oracle.wrote(1, SaveEpochs(1, 1))
        self.oracle.told(1, RoleChanged(Role.LEADING, 1, 1, True, "alone"))
        self.reference = Reference(self.oracle)
        self.preparer = Preparer(self.reference.tree)
        self.next = FIRST
        self.client = Client(1)
        self.client.session = 77
        self.commit(0, CreateSession(10_000))

    def commit(self, xid: int, request: Request[object], session: int = 77) -> Zxid:
        return self.save(self.propose(xid, request, session))

    def propose(self, xid: int, request: Request[object], session: int = 77) -> bytes:
        payload = self.preparer.prepare(self.next, 0, session, xid, request)
        self.oracle.bear(1, self.next, (payload,))
        return payload

    def save(self, payload: bytes) -> Zxid:
        zxid = self.next
        self.next += 1
        self.oracle.wrote(1, Append(zxid, (payload,)))
        self.oracle.commit(1, zxid)
        return zxid

    def write(self, xid: int, request: Request[object]) -> Zxid:
        """A write that goes as it should, up to the answer."""
        self.reference.submitted(self.client, xid, request)
        zxid = self.commit(xid, request)
        self.reference.catch_up()
        return zxid

    def answer(self, xid: int, request: Request[object]) -> None:
        """The right answer to a write."""
        applied = self.reference._applied[77, xid][1]
        self.reference.replied(self.client, xid, self.reference.tree.result(request, applied), None)

    def set_up(self, path: str = "/a") -> Zxid:
        create = Create(path, b"1")
        zxid = self.write(1, create)
        self.answer(1, create)
        return zxid

    def read(
        self, xid: int, request: Request[object], result: object, error: ZkcoreError | None = None,
        *, read: ReadLevel = Read.SESSION,
    ) -> None:  # fmt: skip
        self.reference.submitted(self.client, xid, request, read=read)
        self.reference.replied(self.client, xid, result, error)

    def others_set(self, path: str, data: bytes) -> Zxid:
        """A write of nobody who is watched here."""
        zxid = self.commit(0, SetData(path, data))
        self.reference.catch_up()
        return zxid

    def node(self, path: str) -> NodeData:
        return self.reference.tree.read(GetData(path))


def answers_out_of_order(e: Ensemble) -> None:
    e.write(1, Create("/a"))
    e.write(2, Create("/b"))
    e.answer(2, Create("/b"))


def answers_reads_out_of_order(e: Ensemble) -> None:
    for xid in (1, 2):
        e.reference.submitted(e.client, xid, Exists("/a"))
    for xid in (2, 1):
        e.reference.replied(e.client, xid, None, None)


def answers_for_a_connection_before(e: Ensemble) -> None:
    e.write(1, Create("/a"))
    e.client.leave()
    e.answer(1, Create("/a"))


def confirms_what_is_not_committed(e: Ensemble) -> None:
    e.reference.submitted(e.client, 1, Create("/a"))
    e.reference.replied(e.client, 1, None, None)


def leaves_the_outcome_open_in_an_answer(e: Ensemble) -> None:
    e.reference.submitted(e.client, 1, Create("/a"))
    e.reference.replied(e.client, 1, None, ConnectionLostError())


def refuses_what_is_applied_later(e: Ensemble) -> None:
    e.reference.submitted(e.client, 1, Create("/a"))
    e.reference.replied(e.client, 1, None, NodeExistsError())
    e.commit(1, Create("/a"))
    e.reference.check_end()


def says_failed_of_what_was_done(e: Ensemble) -> None:
    e.write(1, Create("/a"))
    e.reference.replied(e.client, 1, None, NodeExistsError())


def says_done_of_what_failed(e: Ensemble) -> None:
    e.write(1, Delete("/a"))
    e.reference.replied(e.client, 1, None, None)


def tells_another_error(e: Ensemble) -> None:
    e.write(1, Delete("/a"))
    e.reference.replied(e.client, 1, None, BadVersionError())


def tells_the_result_of_another_write(e: Ensemble) -> None:
    e.set_up()
    e.write(2, SetData("/a", b"2"))
    stat = e.node("/a").stat
    e.write(3, SetData("/a", b"3"))
    e.reference.replied(e.client, 2, stat, None)
    e.reference.replied(e.client, 3, stat, None)


def applies_a_request_twice(e: Ensemble) -> None:
    e.commit(1, Create("/a"))
    e.commit(1, Create("/b"))
    e.reference.catch_up()


def orders_a_write_before_one_already_answered(e: Ensemble) -> None:
    e.commit(0, CreateSession(10_000), session=78)
    first = e.commit(9, Create("/a"), session=78)
    e.set_up("/b")
    other = Client(2)
    other.session = 78
    e.reference.submitted(other, 9, Create("/a"))
    zxid, applied = e.reference._applied[78, 9]
    assert zxid == first < e.reference.answered
    e.reference.replied(other, 9, e.reference.tree.result(Create("/a"), applied), None)


def reads_what_never_was(e: Ensemble) -> None:
    e.set_up()
    e.read(2, GetData("/a"), NodeData(b"nonsense", e.node("/a").stat))


def reads_its_own_write_not(e: Ensemble) -> None:
    e.set_up()
    old = e.node("/a")
    e.write(2, SetData("/a", b"2"))
    e.answer(2, SetData("/a", b"2"))
    e.read(3, GetData("/a"), old)


def goes_back_in_time(e: Ensemble) -> None:
    e.set_up()
    old = e.node("/a")
    e.commit(0, SetData("/a", b"2"))
    e.reference.catch_up()
    e.read(2, GetData("/a"), e.node("/a"))
    e.read(3, GetData("/a"), old)


def goes_back_in_time_by_another_path(e: Ensemble) -> None:
    e.set_up()
    old = e.node("/a")
    e.commit(0, SetData("/a", b"2"))
    e.commit(0, Create("/b", b"3"))
    e.reference.catch_up()
    e.read(2, Exists("/b"), e.node("/b").stat)
    e.read(3, GetData("/a"), old)


def finds_nothing_where_something_is(e: Ensemble) -> None:
    e.set_up()
    e.read(2, GetData("/a"), None, NoNodeError(path="/a"))


def finds_nothing_by_exists(e: Ensemble) -> None:
    e.set_up()
    e.read(2, Exists("/a"), None)


def finds_what_it_deleted(e: Ensemble) -> None:
    e.set_up()
    old = e.node("/a")
    e.write(2, Delete("/a"))
    e.answer(2, Delete("/a"))
    e.read(3, GetData("/a"), old)


def reads_with_an_absurd_error(e: Ensemble) -> None:
    e.read(1, GetData("/a"), None, BadVersionError())


def sees_what_it_asks_for_later(e: Ensemble) -> None:
    e.set_up()
    e.reference.submitted(e.client, 2, GetData("/a"))
    e.write(3, SetData("/a", b"2"))
    e.reference.replied(e.client, 2, e.node("/a"), None)


def finds_missing_what_it_deletes_later(e: Ensemble) -> None:
    e.set_up()
    e.reference.submitted(e.client, 2, GetData("/a"))
    e.write(3, Delete("/a"))
    e.reference.replied(e.client, 2, None, NoNodeError(path="/a"))


def reads_at_once_and_goes_back(e: Ensemble) -> None:
    e.set_up()
    old = e.node("/a")
    e.write(2, SetData("/a", b"2"))
    e.answer(2, SetData("/a", b"2"))
    e.reference.read_at_once(e.client, GetData("/a"), old, None)


def reads_linearizably_what_was_replaced(e: Ensemble) -> None:
    e.set_up()
    old = e.node("/a")
    e.others_set("/a", b"2")
    e.read(2, GetData("/a"), old, read=Read.LINEARIZABLE)


def finds_linearizably_nothing_of_what_is_there(e: Ensemble) -> None:
    e.commit(0, Create("/a"))
    e.read(1, Exists("/a"), None, read=Read.LINEARIZABLE)


def reads_less_than_it_asks_for(e: Ensemble) -> None:
    e.set_up()
    old = e.node("/a")
    zxid = e.others_set("/a", b"2")
    e.others_set("/a", b"3")
    e.read(2, GetData("/a"), old, read=Read.at_least(zxid))


def reads_after_a_sync_what_was_replaced_before(e: Ensemble) -> None:
    e.set_up()
    old = e.node("/a")
    zxid = e.others_set("/a", b"2")
    e.read(2, Sync(), zxid, read=Read.LINEARIZABLE)
    e.read(3, GetData("/a"), old)


def syncs_to_less_than_was_committed(e: Ensemble) -> None:
    e.read(1, Sync(), e.set_up() - 1, read=Read.LINEARIZABLE)


def syncs_to_less_than_was_committed_when_a_former_leader_proposes(e: Ensemble) -> None:
    committed = e.commit(0, Create("/a"))
    e.oracle.born[make_zxid(0, 9)] = b"too late"
    e.read(1, Sync(), committed - 1, read=Read.LINEARIZABLE)


def syncs_to_less_than_was_proposed(e: Ensemble) -> None:
    committed = e.set_up()
    payload = e.propose(0, SetData("/a", b"2"))
    e.reference.submitted(e.client, 2, Sync(), read=Read.LINEARIZABLE)
    e.save(payload)
    e.reference.replied(e.client, 2, committed, None)


def syncs_to_what_is_not_committed(e: Ensemble) -> None:
    e.read(1, Sync(), e.set_up() + 1, read=Read.LINEARIZABLE)


def syncs_to_less_than_it_wrote_before(e: Ensemble) -> None:
    committed = e.set_up()
    e.reference.submitted(e.client, 2, SetData("/a", b"2"))
    e.reference.submitted(e.client, 3, Sync(), read=Read.LINEARIZABLE)
    e.commit(2, SetData("/a", b"2"))
    e.reference.catch_up()
    e.answer(2, SetData("/a", b"2"))
    e.reference.replied(e.client, 3, committed, None)


def goes_back_behind_a_linearizable_read(e: Ensemble) -> None:
    e.set_up()
    old = e.node("/a")
    e.commit(0, Create("/b"))
    e.others_set("/a", b"2")
    e.read(2, Exists("/b"), e.node("/b").stat, read=Read.LINEARIZABLE)
    e.read(3, GetData("/a"), old)


def goes_back_behind_a_linearizable_read_of_nothing(e: Ensemble) -> None:
    e.set_up()
    old = e.node("/a")
    e.others_set("/a", b"2")
    e.read(2, Exists("/b"), None, read=Read.LINEARIZABLE)
    e.read(3, GetData("/a"), old)


def fails_to_sync(e: Ensemble) -> None:
    e.read(1, Sync(), None, NoNodeError(), read=Read.LINEARIZABLE)


def sees_a_change_before_its_watch(e: Ensemble) -> None:
    e.set_up()
    e.read(2, GetData("/a", True), e.node("/a"))
    e.commit(0, SetData("/a", b"2"))
    e.reference.catch_up()
    e.read(3, GetData("/a"), e.node("/a"))


def sees_a_creation_before_its_watch(e: Ensemble) -> None:
    e.read(1, Exists("/a", True), None)
    e.commit(0, Create("/a", b"2"))
    e.reference.catch_up()
    e.read(2, Exists("/a"), e.node("/a").stat)


def a_watch_goes_off_twice(e: Ensemble) -> None:
    e.set_up()
    e.read(2, GetData("/a", True), e.node("/a"))
    event = WatchEvent(EventType.NODE_DATA_CHANGED, "/a", FIRST + 2)
    e.reference.watch_fired(e.client, event)
    e.reference.watch_fired(e.client, event)


def attaches_where_less_is_applied(e: Ensemble) -> None:
    zxid = e.set_up()
    e.reference.attached(e.client, zxid - 1)


def applies_an_old_request_after_the_session_moved(e: Ensemble) -> None:
    e.reference.submitted(e.client, 1, Create("/a"))
    e.client.leave()
    e.reference.attached(e.client, FIRST)
    e.commit(1, Create("/a"))
    e.reference.check_end()


BROKEN: list[tuple[str, Callable[[Ensemble], None]]] = [
    ("X17", answers_out_of_order),
    ("X17", answers_reads_out_of_order),
    ("X18", answers_for_a_connection_before),
    ("X17", confirms_what_is_not_committed),
    ("X17", leaves_the_outcome_open_in_an_answer),
    ("X17", refuses_what_is_applied_later),
    ("X17", says_failed_of_what_was_done),
    ("X17", says_done_of_what_failed),
    ("X17", tells_another_error),
    ("X17", tells_the_result_of_another_write),
    ("X17", applies_a_request_twice),
    ("X17", orders_a_write_before_one_already_answered),
    ("X17", reads_what_never_was),
    ("X17", reads_its_own_write_not),
    ("X17", goes_back_in_time),
    ("X17", goes_back_in_time_by_another_path),
    ("X17", finds_nothing_where_something_is),
    ("X17", finds_nothing_by_exists),
    ("X17", finds_what_it_deleted),
    ("X17", reads_with_an_absurd_error),
    ("X17", sees_what_it_asks_for_later),
    ("X17", finds_missing_what_it_deletes_later),
    ("X17", reads_at_once_and_goes_back),
    ("X17", reads_linearizably_what_was_replaced),
    ("X17", finds_linearizably_nothing_of_what_is_there),
    ("X17", reads_less_than_it_asks_for),
    ("X17", reads_after_a_sync_what_was_replaced_before),
    ("X17", syncs_to_less_than_was_committed),
    ("X17", syncs_to_less_than_was_committed_when_a_former_leader_proposes),
    ("X17", syncs_to_less_than_was_proposed),
    ("X17", syncs_to_what_is_not_committed),
    ("X17", syncs_to_less_than_it_wrote_before),
    ("X17", goes_back_behind_a_linearizable_read),
    ("X17", goes_back_behind_a_linearizable_read_of_nothing),
    ("X17", fails_to_sync),
    ("X18", sees_a_change_before_its_watch),
    ("X18", sees_a_creation_before_its_watch),
    ("X18", a_watch_goes_off_twice),
    ("X17", attaches_where_less_is_applied),
    ("X17", applies_an_old_request_after_the_session_moved),
]


@pytest.mark.parametrize(("invariant", "breaking"), BROKEN, ids=[breaking.__name__ for _, breaking in BROKEN])
def test_a_wrong_answer_is_found(invariant: str, breaking: Callable[[Ensemble], None]) -> None:
    ensemble = Ensemble()
    with pytest.raises(Violation) as found:
        breaking(ensemble)
    assert found.value.invariant == invariant


def test_right_answers_to_reads_of_every_level_pass() -> None:
    e = Ensemble()
    e.set_up()
    old = e.node("/a")
    second = e.others_set("/a", b"2")
    new = e.node("/a")
    e.reference.submitted(e.client, 2, GetData("/a"), read=Read.LINEARIZABLE)
    third = e.others_set("/a", b"3")
    e.reference.replied(e.client, 2, new, None)  # what was committed when it was asked; it may be newer, too
    e.read(3, GetData("/a"), new, read=Read.at_least(second))
    e.reference.submitted(e.client, 4, GetData("/a"), read=Read.LINEARIZABLE)
    assert e.others_set("/a", b"4") > third
    e.reference.replied(e.client, 4, e.node("/a"), None)
    payload = e.propose(0, Delete("/a"))
    e.reference.submitted(e.client, 5, Sync(), read=Read.LINEARIZABLE)
    e.reference.replied(e.client, 5, e.save(payload), None)
    e.read(6, GetData("/a"), None, NoNodeError(path="/a"))
    with pytest.raises(Violation):
        e.read(7, GetData("/a"), old)


def test_right_answers_pass() -> None:
    e = Ensemble()
    e.set_up()
    old = e.node("/a")
    e.commit(0, SetData("/a", b"2"))
    e.reference.catch_up()
    e.read(2, GetData("/a", True), old)  # not the newest, and not older than what the client has seen: allowed
    e.reference.watch_fired(e.client, WatchEvent(EventType.NODE_DATA_CHANGED, "/a", FIRST + 2))
    e.read(3, GetData("/a"), e.node("/a"))
    e.write(4, Delete("/a"))
    e.answer(4, Delete("/a"))
    e.read(5, GetData("/a"), None, NoNodeError(path="/a"))
    e.read(6, Exists("/a"), None)
    e.reference.submitted(e.client, 7, GetData("/a"))
    e.write(8, Create("/a", b"4"))
    e.reference.replied(e.client, 7, None, NoNodeError(path="/a"))
    e.answer(8, Create("/a", b"4"))
    e.reference.read_at_once(e.client, GetData("/a"), e.node("/a"), None)
    e.client.leave()
    e.reference.attached(e.client, e.next - 1)
    e.commit(9, CloseSession())
    assert e.reference.catch_up() == [77]
    e.commit(6, Delete("/a"))  # asked for on the connection before: it comes too late for anything
    e.reference.check_end()
