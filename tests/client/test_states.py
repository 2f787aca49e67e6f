"""The states of a session: the chart, those who listen, and the iterator, which hides much and never LOST."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

import pytest

import zkcore
import zkcore.sync as blocking
from zkcore import SessionState, WatchEvent
from zkcore.client.cluster import LocalCluster, local_cluster
from zkcore.client.session import OwnSession
from zkcore.client.signals import AsyncSignal
from zkcore.client.states import TRANSITIONS, States
from zkcore.errors import InvariantViolation, SessionClosedError
from zkcore.zab.limits import Limits

CONNECTED, SUSPENDED, READ_ONLY, LOST, CLOSED = SessionState

QUICK = Limits(sync_limit_ticks=20, ping_ticks=5, vote_resend_ticks=2, vote_resend_max_ticks=8, finalize_ticks=2)


async def without_quorum(cluster: LocalCluster) -> list[int]:
    killed = list(cluster.nodes)[:2]
    for me in killed:
        cluster.kill(me)
    return killed


# --- the chart -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", SessionState)
@pytest.mark.parametrize("after", SessionState)
def test_the_chart_is_kept(before: SessionState, after: SessionState) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    session = OwnSession(AsyncSignal(loop, 0), lambda: 0, 1.0)
    way = [] if before is SUSPENDED else [before]
    for state in way:
        session.become(state)
    assert session.state is before
    if after in TRANSITIONS[before]:
        session.become(after)
        assert session.state is after
    else:
        with pytest.raises(InvariantViolation, match=f"from {before} to {after}"):
            session.become(after)
        assert session.state is before


def test_the_chart_says_what_the_documentation_says() -> None:
    arrows = {(before, after) for before, afters in TRANSITIONS.items() for after in afters}
    assert arrows == {
        (CONNECTED, SUSPENDED), (SUSPENDED, CONNECTED), (CONNECTED, LOST), (SUSPENDED, LOST), (CONNECTED, CLOSED),
        (SUSPENDED, CLOSED), (LOST, CLOSED), (SUSPENDED, READ_ONLY), (READ_ONLY, SUSPENDED), (READ_ONLY, LOST),
        (READ_ONLY, CLOSED),
    }  # fmt: skip


# --- listeners -------------------------------------------------------------------------------------------------------


def test_listeners_hear_of_every_state_in_order(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), local_cluster(3, limits=QUICK) as cluster:
            client = await cluster.client(timeout=20).start()
            heard: list[SessionState] = []
            hushed: list[SessionState] = []

            def fail(state: SessionState) -> None:
                raise LookupError

            for listener in (fail, hushed.append, heard.append, heard.append):
                client.add_listener(listener)
            client.remove_listener(hushed.append)
            client.remove_listener(hushed.append)
            killed = await without_quorum(cluster)
            while client.state is not SUSPENDED:
                await asyncio.sleep(0.001)
            for me in killed:
                cluster.start_node(me)
            await client.exists("/")
            await cluster.kill_session(client.session_id)
            await client.port.wait(client.port.session.lost)
            await client.close()
            await client.close()
            assert heard == [SUSPENDED, CONNECTED, LOST, CLOSED]
            assert hushed == []

    asyncio.run(main())
    assert sum("a listener of session" in record.getMessage() for record in caplog.records) == 4


def test_a_client_that_goes_is_closed() -> None:
    async def main() -> None:
        async with asyncio.timeout(20), local_cluster(1) as cluster:
            for end in (lambda client: client.abandon(), lambda client: asyncio.ensure_future(client.close())):
                client = await cluster.client().start()
                heard: list[SessionState] = []
                client.add_listener(heard.append)
                await (end(client) or asyncio.sleep(0))
                assert heard == [CLOSED]

    asyncio.run(main())


# --- the iterator ----------------------------------------------------------------------------------------------------


class Told:
    """A Port of which only the states matter, told by hand."""

    def __init__(self) -> None:
        self.session = self
        self.state = CONNECTED
        self.listeners: list[Callable[[SessionState], None]] = []
        self.loop = asyncio.get_running_loop()

    def signal(self) -> AsyncSignal:
        return AsyncSignal(self.loop, threading.get_ident())

    async def wait(self, signal: AsyncSignal) -> None:
        while not signal.is_set():
            await asyncio.sleep(0)

    def listen(self, listener: Callable[[SessionState], None]) -> None:
        self.listeners.append(listener)

    def unlisten(self, listener: Callable[[SessionState], None]) -> None:
        self.listeners = [each for each in self.listeners if each != listener]

    def become(self, *states: SessionState) -> None:
        for self.state in states:
            for listener in self.listeners:
                listener(self.state)


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        ([SUSPENDED], [SUSPENDED]),
        ([SUSPENDED, CONNECTED, SUSPENDED], [SUSPENDED]),
        ([SUSPENDED, CONNECTED] * 9 + [SUSPENDED], [SUSPENDED]),
        ([SUSPENDED, CONNECTED] * 9 + [LOST], [LOST]),
        ([SUSPENDED, LOST, CLOSED], [LOST, CLOSED]),
        ([LOST, CLOSED], [LOST, CLOSED]),
        ([SUSPENDED, CONNECTED, CLOSED], [CLOSED]),
    ],
)
def test_the_iterator_hides_what_came_and_went_and_never_lost(
    between: list[SessionState], expected: list[SessionState]
) -> None:
    async def main() -> None:
        port = Told()
        states = States(port)  # type: ignore[arg-type]
        assert await anext(states) is CONNECTED
        port.become(*between)
        assert [await anext(states) for _ in expected] == expected
        if expected[-1] is CLOSED:
            with pytest.raises(StopAsyncIteration):
                await anext(states)
            await states.aclose()

    asyncio.run(main())


def test_a_state_that_is_the_same_again_is_no_news() -> None:
    async def main() -> None:
        port = Told()
        states = States(port)  # type: ignore[arg-type]
        assert await anext(states) is CONNECTED
        waiting = asyncio.create_task(anext(states))  # type: ignore[arg-type]
        port.become(SUSPENDED, CONNECTED)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        port.become(SUSPENDED)
        assert await waiting is SUSPENDED
        waiting = asyncio.create_task(anext(states))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await states.aclose()
        with pytest.raises(StopAsyncIteration):
            await waiting
        assert port.listeners == []

    asyncio.run(main())


def test_the_states_of_a_client() -> None:
    async def main() -> None:
        async with asyncio.timeout(20), local_cluster(3, limits=QUICK) as cluster:
            client = await cluster.client(timeout=20).start()
            seen: list[SessionState] = []
            async for state in client.states():
                seen.append(state)
                if seen == [CONNECTED]:
                    killed = await without_quorum(cluster)
                elif seen == [CONNECTED, SUSPENDED]:
                    for me in killed:
                        cluster.start_node(me)
                elif seen == [CONNECTED, SUSPENDED, CONNECTED]:
                    await cluster.kill_session(client.session_id)
                elif state is LOST:
                    await client.close()
            assert seen == [CONNECTED, SUSPENDED, CONNECTED, LOST, CLOSED]

    asyncio.run(main())


# --- blocking code ---------------------------------------------------------------------------------------------------


def test_callbacks_may_block_and_come_one_after_the_other_in_order() -> None:
    with blocking.local_cluster(3) as cluster, cluster.client() as client:
        told: SimpleQueue[tuple[str, object, threading.Thread]] = SimpleQueue()

        def watcher(event: WatchEvent | None) -> None:
            if event is not None:
                assert client.get("/a").data == b"x"  # a blocking read, and a blocking write
                client.create("/seen-", sequence=True)
            told.put(("watch", event and event.path, threading.current_thread()))

        def lasting(event: object) -> None:
            if isinstance(event, WatchEvent):
                with blocking.Lock(client, "/lock"):  # and a recipe
                    told.put(("lasting", event.type.name, threading.current_thread()))

        client.add_watch("/b", lasting)
        client.create("/a", b"x")
        client.exists("/b", watcher)
        client.create("/b")
        client.set("/b", b"x")
        client.get_children("/b", watcher)
        client.create("/b/c")
        seen = [told.get(timeout=20) for _ in range(5)]
        assert [(kind, what) for kind, what, _ in seen] == [
            ("watch", "/b"), ("lasting", "NODE_CREATED"), ("lasting", "NODE_DATA_CHANGED"), ("watch", "/b"),
            ("lasting", "NODE_CHILDREN_CHANGED"),
        ]  # fmt: skip
        assert len({thread for _, _, thread in seen}) == 1
        assert seen[0][2].name == "zkcore-callbacks"
        client.remove_watch("/b", lasting)
        client.set("/b", b"y")
        assert told.empty()


def test_blocking_listeners_hear_of_every_state_and_then_their_thread_ends() -> None:
    threads: set[threading.Thread] = set()
    heard: list[SessionState] = []

    def listener(state: SessionState) -> None:
        threads.add(threading.current_thread())
        heard.append(state)
        with pytest.raises(SessionClosedError):
            client.get("/")

    with blocking.local_cluster(1) as cluster, cluster.client() as client:
        client.add_listener(heard.append)
        client.remove_listener(heard.append)
        client.add_listener(listener)
    assert heard == [CLOSED]
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("how", ["client", "cluster", "callback"])
def test_whatever_closes_a_client_ends_its_thread_with_the_last_event(how: str) -> None:
    told: list[object] = []
    threads: set[threading.Thread] = set()
    done = threading.Event()
    with blocking.local_cluster(1) as cluster:
        client = cluster.client().start()

        def watcher(event: WatchEvent | None) -> None:
            threads.add(threading.current_thread())
            told.append(event)
            if event is not None and how == "callback":
                client.close()
                done.set()

        client.create("/a")
        client.get("/a", watcher)
        client.exists("/b", watcher)
        client.set("/a", b"")
        while not told:
            pass
        if how == "client":
            client.close()
        elif how == "cluster":
            cluster.close()
        else:
            assert done.wait(20)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert [event and "event" for event in told] == ["event", None]


def test_what_a_callback_raises_is_logged_and_the_next_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    told = threading.Event()

    def fail(event: object) -> None:
        raise LookupError

    with blocking.local_cluster(1) as cluster, cluster.client() as client:
        client.exists("/a", fail)
        client.exists("/a", lambda event: told.set())
        client.create("/a")
        assert told.wait(20)
    assert [record.levelno for record in caplog.records if "a callback failed" in record.getMessage()] == [
        logging.ERROR
    ]


def test_blocking_code_can_go_through_the_states() -> None:
    with blocking.local_cluster(1) as cluster:
        client = cluster.client().start()
        seen: list[SessionState] = []
        for state in client.states():
            seen.append(state)
            if state is CONNECTED:
                cluster.kill_session(client.session_id)
            elif state is LOST:
                client.close()
        assert seen == [CONNECTED, LOST, CLOSED]

        other = cluster.client().start()
        states = other.states()
        assert next(states) is CONNECTED
        ended = threading.Event()

        def wait() -> None:
            assert list(states) in ([], [CLOSED])
            ended.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        cluster.close()
        waiting.join(20)
        assert ended.is_set()


def test_a_view_has_the_states_of_its_session() -> None:
    async def main() -> None:
        async with asyncio.timeout(20), local_cluster(1) as cluster:
            client = await cluster.client().start()
            view = client.chroot("/app").with_retry()
            heard: list[SessionState] = []
            view.add_listener(heard.append)
            states = view.states()
            assert await anext(states) is CONNECTED
            await client.close()
            assert [state async for state in states] == [CLOSED]
            assert heard == [CLOSED]
            assert isinstance(view, zkcore.Client)

    asyncio.run(main())
