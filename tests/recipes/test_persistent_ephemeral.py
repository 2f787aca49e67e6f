"""The persistent ephemeral: it comes back with a new session, and with nobody's but its own znode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from faults import ACTIONS
from scripted import Asking, Interrupted, Point, Run, World

from zkcore.client.client import Client
from zkcore.client.port import Port, SessionState
from zkcore.errors import (
    BadArgumentsError,
    LeaseLostError,
    NodeExistsError,
    NotStartedError,
    SessionClosedError,
    SessionExpiredError,
)
from zkcore.recipes.lease import Lease
from zkcore.recipes.persistent_ephemeral import PersistentEphemeral
from zkcore.tree.requests import Create, CreateWithParents, Delete, Exists, GetData, Multi
from zkcore.tree.znode import CreateMode

PATH = "/services/web"


class Next:
    """A client as `reconnect` makes them: its session begins when it is started, and ends when it is closed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client: Client | None = None

    @property
    def port(self) -> Port:
        assert self.client is not None
        return self.client.port

    async def start(self) -> None:
        self.client = self.world.client()

    async def close(self) -> None:
        if self.client is not None and not self.client.port.session.lost.is_set():
            self.world.expire(self.client)


class Place:
    """A world, and one who wants to be there."""

    def __init__(self, **options: Any) -> None:
        self.world = World()
        self.client = self.world.client()
        self.others: list[Next] = []
        self.web = PersistentEphemeral(self.client, PATH, data=b"port=80", reconnect=self.reconnect, **options)

    def reconnect(self) -> Next:
        self.others.append(Next(self.world))
        return self.others[-1]

    def start(self) -> Lease:
        lease: Lease = self.world.run(self.web.start())
        return lease

    @property
    def owner(self) -> int | None:
        stat = self.world.tree.read(Exists(PATH))
        return None if stat is None else stat.ephemeral_owner

    def newest(self) -> Client:
        """The client whose session it is in."""
        client = self.others[-1].client if self.others else self.client
        assert client is not None
        return client

    def settle(self) -> None:
        self.world.settle()
        self.world.sleep(1)


def test_it_is_there_until_it_is_closed() -> None:
    place = Place()
    lease = place.start()
    lease.check()
    assert place.owner == place.client.session_id
    assert place.world.tree.read(GetData(PATH)).data == b"port=80"
    assert "there" in repr(place.web)
    with pytest.raises(NotStartedError, match="started before"):
        place.start()
    place.world.run(place.web.close())
    place.world.run(place.web.close())
    assert place.owner is None
    assert lease.is_lost()
    assert not place.client.port.session.lost.is_set(), "it was not its own"


def test_it_comes_back_with_a_new_session_again_and_again() -> None:
    place = Place()
    tokens = [place.start().fencing_token]
    for number in range(4):
        place.world.expire(place.newest())
        place.settle()
        assert len(place.others) == number + 1
        assert place.owner == place.newest().session_id
        lease = place.web.lease
        assert lease is not None
        tokens.append(lease.fencing_token)
    assert tokens == sorted(set(tokens))
    sessions = [each.client.port.session.lost.is_set() for each in place.others if each.client is not None]
    assert sessions == [True, True, True, False]
    place.world.run(place.web.close())
    assert place.owner is None
    assert place.newest().port.session.lost.is_set(), "a session of its own is closed with it"


def test_who_looks_on_is_told_when_it_is_there_and_when_not() -> None:
    place = Place()
    seen: list[Lease | None] = []

    async def look() -> None:
        async for lease in place.web.changes():
            seen.append(lease)

    first = place.start()
    looking = place.world.start(look())
    place.world.settle()
    place.world.expire(place.client)
    place.settle()
    assert seen[0] is first
    assert first.is_lost()
    assert seen[-1] is place.web.lease is not None
    with pytest.raises(LeaseLostError):
        first.check()
    place.world.run(place.web.close())
    place.settle()
    with pytest.raises((NotStartedError, SessionClosedError)):
        looking.outcome()


def test_what_is_left_of_its_own_last_session_is_replaced_and_never_missing() -> None:
    """Its client gave that session up first, and the ensemble has not found out yet."""
    place = Place()
    place.start()
    gone: list[int | None] = []

    def script(run: Run, point: Point) -> str | None:
        gone.append(place.owner)
        return None

    place.world.script = script
    port: Any = place.client.port
    port.session.lost.set()
    port.watchers.fire_all()
    place.settle()
    assert place.owner == place.newest().session_id
    assert None not in gone
    assert [type(op) for _, op in place.world.asked if type(op) is Multi] == []
    place.world.expire(place.client)  # late, and nothing of it is there any more
    place.settle()
    assert place.owner == place.newest().session_id


def test_what_is_somebody_elses_is_waited_for() -> None:
    place = Place()
    other = place.world.client()
    place.world.do(other.session_id, CreateWithParents(PATH, b"", mode=CreateMode.EPHEMERAL))
    hasty = place.world.start(place.web.start(timeout=1))
    place.world.settle()
    place.world.sleep(1)
    with pytest.raises(NodeExistsError, match=f"session {other.session_id:#x} has it"):
        hasty.outcome()
    place.settle()
    starting = place.world.start(place.web.start())
    place.world.settle()
    assert f"session {other.session_id:#x} has it" in repr(place.web)
    assert place.owner == other.session_id
    place.world.expire(other)
    place.settle()
    starting.outcome().check()
    assert place.owner == place.client.session_id


def test_a_znode_that_is_not_ephemeral_is_in_the_way() -> None:
    place = Place()
    place.world.do(place.client.session_id, CreateWithParents(PATH))
    with pytest.raises(NodeExistsError, match="is not ephemeral; delete it"):
        place.start()
    assert place.owner == 0


def test_whoever_deletes_it_finds_it_made_again() -> None:
    place = Place()
    first = place.start()
    place.world.do(place.world.client().session_id, Delete(PATH))
    place.settle()
    assert first.is_lost()
    again = place.web.lease
    assert again is not None
    assert again.fencing_token > first.fencing_token
    assert place.owner == place.client.session_id


def test_it_ends_with_its_client_and_says_so() -> None:
    place = Place()
    place.start()
    port: Any = place.client.port
    port.session.state = SessionState.CLOSED
    place.world.do(place.client.session_id, Delete(PATH))
    port.session.lost.set()
    port.watchers.fire_all()
    place.settle()
    assert place.others == []
    assert place.web.lease is None
    assert "over" in repr(place.web)
    with pytest.raises(SessionClosedError, match="its client was closed"):
        place.world.run(anext_of(place.web))


async def anext_of(web: PersistentEphemeral) -> Lease | None:
    return await anext(web.changes())


def test_what_keeps_it_from_reconnecting_is_told() -> None:
    place = Place()

    def fail() -> Any:
        raise SessionClosedError("the cluster is closed")

    web = PersistentEphemeral(place.client, PATH, reconnect=fail)
    place.world.run(web.start())
    place.world.expire(place.client)
    place.settle()
    with pytest.raises(SessionClosedError, match="the cluster is closed"):
        place.world.run(anext_of(web))


@pytest.mark.parametrize("path", ["", "/", "web", "/web/"])
def test_it_needs_a_path_of_its_own(path: str) -> None:
    with pytest.raises(BadArgumentsError):
        PersistentEphemeral(World().client(), path, reconnect=lambda: Next(World()))


def test_it_must_be_told_how_to_reconnect() -> None:
    client = World().client()
    not_callable: Any = client
    with pytest.raises(BadArgumentsError, match=r"such as cluster\.client"):
        PersistentEphemeral(client, PATH, reconnect=not_callable)
    web = PersistentEphemeral(client, PATH, reconnect=lambda: Next(World()))
    assert web.lease is None
    changes: Callable[[], Any] = web.changes
    with pytest.raises(NotStartedError):
        World().run(next_of(changes()))


async def next_of(changes: Any) -> Any:
    return await anext(changes)


# --- everything at every await


@pytest.mark.parametrize("action", [*ACTIONS, "throttled"])
def test_whatever_fails_it_is_there_in_the_end_and_gone_when_it_is_closed(action: str) -> None:
    for at in range(40):
        place = Place()
        count = [0]
        started: list[Run] = []

        def script(run: Run, point: Point, at: int = at, count: list[int] = count, it: list[Run] = started) -> Any:
            if action.startswith("interrupted") and it and run is not it[0]:
                return None  # only who waits is cancelled
            count[0] += 1
            return action if count[0] - 1 == at else None

        place.world.script = script
        started.append(run := place.world.start(place.web.start()))
        place.settle()
        if run.error is None:
            place.world.expire(place.newest())
        place.settle()
        place.world.script = lambda run, point: None
        place.settle()
        assert run.is_over, f"{action} at {at}: {run.at}"
        if run.error is None:
            assert place.owner == place.newest().session_id, f"{action} at {at}"
            place.world.run(place.web.close())
        else:
            assert isinstance(run.error, (Interrupted, SessionExpiredError))
        assert place.owner is None, f"{action} at {at}"
        if count[0] <= at:
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("action", ["lost before", "lost after", "throttled"])
def test_who_closes_it_in_the_midst_leaves_nothing_behind(action: str) -> None:
    for at in range(12):
        place = Place()
        count = [0]

        def script(run: Run, point: Point, at: int = at, count: list[int] = count) -> str | None:
            if isinstance(point, Asking):
                count[0] += 1
                if count[0] - 1 == at:
                    return action
            return None

        place.world.script = script
        starting = place.world.start(place.web.start())
        for _ in range(at * 2):
            for run in list(place.world.runs):
                place.world.step(run)
        if not starting.is_over:
            place.world.interrupt(starting)
        closing = place.world.start(place.web.close())
        place.settle()
        assert closing.is_over
        assert place.owner is None, f"{action} at {at}"


def test_a_create_that_is_cancelled_before_its_answer_is_taken_back() -> None:
    place = Place()
    place.world.do(place.client.session_id, Create("/services"))
    place.world.script = lambda run, point: (
        "stuck after" if isinstance(point, Asking) and "Once" in str(point) and place.owner is None else None
    )
    starting = place.world.start(place.web.start())
    place.world.settle()
    assert place.owner == place.client.session_id
    assert not starting.is_over
    place.world.script = lambda run, point: None
    place.world.interrupt(starting)
    for run in list(place.world.runs):
        if isinstance(run.at, Asking) and run.at.is_stuck:
            run.throw(Interrupted())  # what is cancelled waits no longer
    place.settle()
    assert place.owner is None
