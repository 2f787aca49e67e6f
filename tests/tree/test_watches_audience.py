"""Who is told of znodes that not everybody may read."""

from __future__ import annotations

from typing import Any

import pytest
from watched import CHILDREN, CREATED, DATA, DELETED, Watched

from zkcore.errors import NoAuthError
from zkcore.jute.records import ACL, ANYONE, Id
from zkcore.tree.acl import Caller, Permission
from zkcore.tree.applied import Applied, EventType, WatchEvent
from zkcore.tree.requests import Create, Delete, GetChildren, GetData, GetEphemerals, Request, SetACL, SetData
from zkcore.tree.watch_audience import audience_of
from zkcore.tree.watch_history import Reader
from zkcore.tree.znode import CreateMode

ANN, BOB = Id("ip", "10.0.0.1"), Id("ip", "10.0.0.2")
IDS = {1: (ANN,), 2: (BOB,), 3: ()}
FOR_ANN = (ACL(Permission.READ, ANN), ACL(31 - Permission.READ, ANYONE))
FOR_BOB = (ACL(Permission.READ, BOB), ACL(31 - Permission.READ, ANYONE))
FOR_NOBODY = (ACL(31 - Permission.READ, ANYONE),)


class Guarded(Watched):
    """Session 1 is Ann, 2 is Bob, 3 is nobody in particular and acts."""

    def __init__(self) -> None:
        super().__init__(1, 2, 3)
        self.ids = dict(IDS)

    def may_know(self, request: Request[Any]) -> dict[tuple[EventType, str], list[int] | None]:
        """Who may be told of each event of `request`; None where nobody need be asked."""
        self.propose(request, session=3)
        applied = self.commit_quietly()[1]
        assert applied.error == 0
        return self.judged(applied)

    def judged(self, applied: Applied) -> dict[Any, list[int] | None]:
        audience = audience_of(self.tree, applied, lambda session: self.ids.get(session, ()))
        events = [WatchEvent(kind, path, applied.zxid) for kind, path in applied.changes]
        events += [
            WatchEvent(CHILDREN, event.path.rpartition("/")[0] or "/", applied.zxid)
            for event in events
            if event.type is not DATA
        ]
        return {(event.type, event.path): self.readers(audience and audience(event)) for event in events}

    def readers(self, reader: Reader | None) -> list[int] | None:
        return None if reader is None else [session for session in IDS if reader(session)]


def test_of_open_znodes_everybody_may_know_and_nobody_is_asked_about() -> None:
    world = Guarded()
    world.do(Create("/p"))
    for request in (Create("/p/n"), SetData("/p/n", b""), Delete("/p/n")):
        world.propose(request)
        assert audience_of(world.tree, world.commit_quietly()[1], lambda session: ()) is None


@pytest.mark.parametrize("acl", [FOR_ANN, FOR_NOBODY])
def test_the_acl_of_the_znode_counts_and_for_children_that_of_the_parent(acl: tuple[ACL, ...]) -> None:
    world = Guarded()
    readers = [1] if acl is FOR_ANN else []
    assert world.may_know(Create("/p", acl=acl)) == {(CREATED, "/p"): readers, (CHILDREN, "/"): None}
    assert world.may_know(SetData("/p", b"")) == {(DATA, "/p"): readers}
    assert world.may_know(Create("/p/n")) == {(CREATED, "/p/n"): None, (CHILDREN, "/p"): readers}
    assert world.may_know(Delete("/p/n")) == {(DELETED, "/p/n"): None, (CHILDREN, "/p"): readers}
    assert world.may_know(Delete("/p")) == {(DELETED, "/p"): readers, (CHILDREN, "/"): None}


def test_the_acl_of_the_moment_counts_and_not_that_under_which_a_watch_was_set() -> None:
    world = Guarded()
    world.do(Create("/p", acl=FOR_ANN))
    world.do(SetACL("/p", FOR_BOB))
    assert world.may_know(SetData("/p", b"")) == {(DATA, "/p"): [2]}


def test_who_somebody_is_counts_when_it_is_asked() -> None:
    world = Guarded()
    world.ids[3] = (ANN,)
    assert world.may_know(Create("/p", acl=FOR_ANN))[CREATED, "/p"] == [1, 3]
    del world.ids[1]
    assert world.may_know(SetData("/p", b""))[DATA, "/p"] == [3]


def test_a_znode_made_anew_in_one_transaction_is_judged_by_its_new_acl_and_its_end_by_the_old_one() -> None:
    world = Guarded()
    world.do(Create("/p", acl=FOR_BOB))
    applied = Applied(world.zxid, 3, 1, 14, 0, "", ((DELETED, "/p"), (CREATED, "/p")), (), (("/p", FOR_ANN),))
    judged = world.judged(applied)
    assert judged[DELETED, "/p"] == [1]
    assert judged[CREATED, "/p"] == [2]


def test_a_parent_that_goes_with_its_child_is_judged_by_the_acl_it_had() -> None:
    world = Guarded()
    applied = Applied(world.zxid, 3, 1, 14, 0, "", ((DELETED, "/p/n"), (DELETED, "/p")), (), (("/p", FOR_ANN),))
    judged = world.judged(applied)
    assert judged == {
        (DELETED, "/p/n"): None, (CHILDREN, "/p"): [1], (DELETED, "/p"): [1], (CHILDREN, "/"): None,
    }  # fmt: skip


def test_watches_ask_and_tell_accordingly() -> None:
    world = Guarded()
    world.do(Create("/p", acl=FOR_ANN))
    world.watches.read(world.tree, GetData("/p", True), session=1, caller=Caller(1, (ANN,)))
    with pytest.raises(NoAuthError):
        world.watches.read(world.tree, GetChildren("/p", True), session=2, caller=Caller(2, (BOB,)))
    assert len(world.watches) == 1
    world.propose(SetData("/p", b""))
    applied = world.commit_quietly()[1]
    audience = audience_of(world.tree, applied, lambda session: IDS[session])
    assert world.watches.trigger(applied, audience) == [(1, WatchEvent(DATA, "/p", world.zxid))]


def test_without_a_caller_it_is_the_session_that_asks() -> None:
    world = Guarded()
    world.do(Create("/e", mode=CreateMode.EPHEMERAL), session=2)
    assert world.watches.read(world.tree, GetEphemerals("/"), session=2) == ("/e",)
    assert world.watches.read(world.tree, GetEphemerals("/"), session=1) == ()
