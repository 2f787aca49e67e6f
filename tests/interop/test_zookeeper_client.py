"""Our client of ZooKeeper's protocol: the verbs, transactions, watches and sessions, on ensembles of three kinds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ensembles import Ensemble, cut_off, drop, drop_and_return, expire, run, until

import zkcore
from zkcore.client.client import Client
from zkcore.client.zookeeper import ZookeeperClient
from zkcore.errors import (
    AuthFailedError,
    BadArgumentsError,
    BadVersionError,
    ConnectionLostError,
    MultiError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    OutcomeForgottenError,
    SessionClosedError,
    SessionExpiredError,
    ThrottledError,
    UnsupportedError,
)
from zkcore.tree.applied import EventType
from zkcore.tree.requests import (
    Check,
    CheckAbsent,
    CheckStat,
    Condition,
    Create,
    CreateIfAbsent,
    Delete,
    Multi,
    Once,
    SetData,
)
from zkcore.tree.watch_requests import Resync

State = zkcore.SessionState


# --- verbs


def test_the_verbs_do_what_their_names_say(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        assert await zk.create("/a", b"one") == "/a"
        assert await zk.create("/a/b/c", b"x", makepath=True) == "/a/b/c"
        made = await zk.create("/a/n-", b"12", sequence=True, ephemeral=True, include_data=True)
        assert made.path == "/a/n-0000000001"
        assert (made.stat.ephemeral_owner, made.stat.data_length) == (zk.session_id, 2)
        data, stat = await zk.get("/a")
        assert (data, stat.version, stat.num_children) == (b"one", 0, 2)
        assert (await zk.set("/a", b"two", version=0)).version == 1
        assert await zk.get_children("/a") == ["b", "n-0000000001"]
        names, stat = await zk.get_children("/a", include_data=True)
        assert (names, stat.num_children) == (("b", "n-0000000001"), 2)
        assert await zk.get_ephemerals("/a") == ["/a/n-0000000001"]
        assert await zk.get_all_children_number("/a") == 3
        assert await zk.exists("/nope") is None
        assert zk.last_zxid >= stat.pzxid
        await zk.create("/box", container=True)
        await zk.delete("/a/b/c")
        assert await zk.exists("/a/b/c") is None
        assert "ip" in [id.scheme for id in await zk.who_am_i()]

    ensemble.use(use)


def test_what_does_not_hold_is_refused(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        await zk.create("/a/b", makepath=True)
        for kind, path, call in (
            (NodeExistsError, "/a", zk.create("/a")), (NoNodeError, "/x/y", zk.create("/x/y")),
            (NoNodeError, "/nope", zk.get("/nope")), (BadVersionError, "/a", zk.set("/a", b"", version=7)),
            (NotEmptyError, "/a", zk.delete("/a")), (BadArgumentsError, "no", zk.get("no")),
        ):  # fmt: skip
            with pytest.raises(kind) as raised:
                await call
            assert raised.value.path == path

    ensemble.use(use)


def test_what_zookeeper_lacks(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        assert (await zk.create("/d/e/f", b"1", makepath=True, include_data=True)).stat.data_length == 1
        with pytest.raises(NodeExistsError):
            await zk.create("/d/e/f", makepath=True)
        assert await zk.create("/d/e/f", b"2", makepath=True, exist_ok=True) == "/d/e/f"
        assert await zk.create("/d/g", b"3", exist_ok=True) == "/d/g"
        assert await zk.create("/d/g", b"4", exist_ok=True) == "/d/g"
        assert (await zk.get("/d/g")).data == b"3"
        await zk.create("/d/q/n-", makepath=True, ephemeral=True, sequence=True)
        page = await zk.list_children("/d", with_stat=True, with_data=True, limit=2)
        assert [(child.name, child.data, child.stat is not None) for child in page.children] == [
            ("e", b"", True), ("g", b"3", True)
        ]  # fmt: skip
        assert page.after == "g"
        page = await zk.list_children("/d", after="g")
        assert ([child.name for child in page.children], page.after) == (["q"], None)
        page = await zk.list_children("/d/q", kind=zkcore.ChildKind.PERSISTENT)
        assert page.children == ()
        await zk.delete("/d/gone", missing_ok=True)
        await zk.delete("/d/g", missing_ok=True)
        with pytest.raises(NotEmptyError):
            await zk.delete("/d", missing_ok=True)
        await zk.delete("/d", recursive=True)
        assert await zk.exists("/d") is None
        with pytest.raises(NoNodeError):
            await zk.delete("/d", recursive=True)

    ensemble.use(use)


def test_more_below_than_fit_one_transaction(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        await zk.create("/many")
        for batch in range(6):
            async with zk.transaction() as t:
                for number in range(200):
                    t.create(f"/many/{batch}-{number}")
        await zk.delete("/many", recursive=True)
        assert await zk.exists("/many") is None

    ensemble.use(use)


def test_requests_are_answered_in_their_order(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        await zk.create("/n", b"0")
        answers = await asyncio.gather(
            *(each for number in range(1, 101) for each in (zk.set("/n", b"%d" % number), zk.get("/n")))
        )
        assert [answer.version for answer in answers[::2]] == list(range(1, 101))
        assert [answer.data for answer in answers[1::2]] == [b"%d" % number for number in range(1, 101)]

    ensemble.use(use)


def test_too_much_under_way_is_refused(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        zk.whole._most_requests = 5
        answers: list[Any] = await asyncio.gather(*(zk.exists("/") for _ in range(6)), return_exceptions=True)
        assert [type(answer).__name__ for answer in answers[4:]] == ["Stat", "ThrottledError"]
        assert isinstance(answers[5], ThrottledError)
        assert await zk.exists("/")

    ensemble.use(use)


def test_reads_as_fresh_as_one_asks(ensemble: Ensemble) -> None:
    async def use(one: ZookeeperClient, two: ZookeeperClient) -> None:
        for number in range(20):
            stat = await one.set("/", b"%d" % number)
            assert (await two.get("/", read=zkcore.Read.LINEARIZABLE)).data == b"%d" % number
            assert (await two.get("/", read=zkcore.Read.at_least(stat.mzxid))).stat.mzxid >= stat.mzxid
        assert await two.sync() >= stat.mzxid
        assert await two.exists("/", read=zkcore.Read.LOCAL)
        with pytest.raises(BadArgumentsError):
            await two.get("/", read=zkcore.Read.at_least(1 << 60))

    ensemble.use_two(use)


# --- transactions


def test_a_transaction_is_all_or_nothing(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        async with zk.transaction() as t:
            t.create("/a", b"1")
            t.create("/a/n-", b"22", sequence=True, ephemeral=True)
            t.set("/a", b"3")
            t.check("/a", version=1)
        assert t.results[1] == "/a/n-0000000000"
        assert t.zxid == (await zk.get("/a")).stat.mzxid
        failing = zk.transaction()
        failing.set("/a", b"4")
        failing.check("/a", version=9)
        failing.delete("/a")
        with pytest.raises(MultiError) as raised:
            await failing.commit()
        error = raised.value
        assert (error.index, error.path, error.codes) == (1, "/a", (0, -103, -2))
        assert isinstance(error.error, BadVersionError)
        assert (await zk.get("/a")).data == b"3"

    ensemble.use(use)


def test_a_transaction_tells_the_stats_of_what_it_created(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        request = Multi([zkcore_create("/s", b"123"), SetData("/s", b"4"), zkcore_create("/s/t"), Delete("/s/t")])
        created, changed, gone, _ = await zk.port.request(request)
        now = await zk.exists("/s")
        assert created.path == "/s"
        assert (created.stat.czxid, created.stat.mzxid, created.stat.ctime) == (now.czxid, now.czxid, now.ctime)
        assert (created.stat.version, created.stat.data_length, created.stat.num_children) == (0, 3, 0)
        assert (changed.version, changed.mzxid) == (1, now.czxid)
        assert (gone.path, gone.stat.czxid) == ("/s/t", now.czxid)

    def zkcore_create(path: str, data: bytes = b"") -> Any:
        return zkcore_requests.Create(path, data, acl=DEFAULT_ACL)

    from zkcore.tree import requests as zkcore_requests
    from zkcore.tree.acl import DEFAULT_ACL

    ensemble.use(use)


def test_conditions_on_what_was_read(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        await zk.create("/c", b"1")
        stat = (await zk.get("/c")).stat
        field, relation = zkcore.StatField, zkcore.Relation
        async with zk.transaction() as t:
            t.check_stat("/c", [Condition(field.MZXID, relation.EQUAL, stat.mzxid)])
            t.set("/c", b"2")
        failing = zk.transaction()
        failing.check("/c", version=1)
        failing.check_stat("/c", [Condition(field.CZXID, relation.GREATER, stat.czxid)])
        with pytest.raises(MultiError) as raised:
            await failing.commit()
        assert (raised.value.index, raised.value.codes) == (1, (0, -103))
        with pytest.raises(MultiError) as raised:
            await zk.port.request(Multi([CheckStat("/none", []), Delete("/c")]))
        assert isinstance(raised.value.error, NoNodeError)
        assert await zk.exists("/c")

    ensemble.use(use)


def test_what_cannot_be_emulated_is_refused_and_says_what_to_use(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        await zk.create("/u")
        children = Condition(zkcore.StatField.NUM_CHILDREN, zkcore.Relation.EQUAL, 0)
        version = Condition(zkcore.StatField.VERSION, zkcore.Relation.EQUAL, 1)
        several: list[tuple[str, list[Any]]] = [
            ("before, by", [CreateIfAbsent("/v"), SetData("/u", b"")]),
            ("in the data", [CheckStat("/u", [children]), SetData("/u", b"")]),
            ("check it first", [SetData("/u", b"1", version=0), CheckStat("/u", [version])]),
        ]
        for says, operations in several:
            if ensemble.is_zkcore:
                await zk.port.request(Multi(operations))
                await zk.delete("/u")
                await zk.create("/u")
            else:
                with pytest.raises(UnsupportedError, match=says):
                    await zk.port.request(Multi(operations))
        absent, reads = zk.transaction(), zk.multi_read()
        absent.check_absent("/w/x")
        reads.get_acls("/u")
        if ensemble.is_zkcore:
            await absent.commit()
            await reads.fetch()
        else:
            for says, call in (("check the parent", absent.commit()), ("by itself", reads.fetch())):
                with pytest.raises(UnsupportedError, match=says):
                    await call

    ensemble.use(use)


def test_several_reads_are_of_one_state(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        await zk.create("/u/a", b"1", makepath=True)
        async with zk.multi_read() as reads:
            reads.get("/u")
            reads.get_children("/u")
            reads.get("/nope")
            reads.exists("/u/a")
            reads.exists("/nope")
            reads.get_children("/u", include_data=True)
            reads.get_children("/nope", include_data=True)
            reads.get("/u/a")
        data, names, nope, there, missing, children, childless, last = reads.results
        assert (data.data, names, last.data) == (b"", ("a",), b"1")
        assert there == last.stat == await zk.exists("/u/a")
        assert children == (("a",), await zk.exists("/u"))
        assert missing is None
        assert isinstance(nope, NoNodeError)
        assert isinstance(childless, NoNodeError)

    ensemble.use(use)


def test_what_is_absent_is_checked_and_made_in_a_transaction(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        await zk.create("/a")
        version = Condition(zkcore.StatField.VERSION, zkcore.Relation.EQUAL, 0)
        checks: list[Any] = [CheckAbsent("/b"), CheckStat("/a", [version]), CheckAbsent("/c")]
        answers: Any = await zk.port.request(Multi([*checks, SetData("/a", b"1"), Create("/b", b"2")]))
        assert answers[:3] == (None, None, None)
        assert (answers[3].version, answers[4].path, answers[4].stat.data_length) == (1, "/b", 1)
        assert await zk.get_children("/") == ["a", "b"]
        for index, operations in (
            (2, [CheckAbsent("/c"), CheckAbsent("/d"), CheckAbsent("/b"), SetData("/a", b"")]),
            (1, [CheckAbsent("/c"), Check("/a", 7), CheckAbsent("/d")]),
        ):
            with pytest.raises(MultiError) as raised:
                await zk.port.request(Multi(operations))
            assert raised.value.index == index
            assert isinstance(raised.value.error, NodeExistsError if index == 2 else BadVersionError)
        assert (await zk.get("/a")).data == b"1"
        made: Any = await zk.port.request(Multi([CreateIfAbsent("/b", b"x"), CreateIfAbsent("/e", b"333")]))
        assert [(each.path, each.stat.data_length) for each in made] == [("/b", 1), ("/e", 3)]
        again: Any = await zk.port.request(Multi([CreateIfAbsent("/b"), CreateIfAbsent("/e")]))
        assert again == made
        with pytest.raises(MultiError) as raised:
            await zk.port.request(Multi([CreateIfAbsent("/f"), CreateIfAbsent("/b"), CreateIfAbsent("/no/g")]))
        assert (raised.value.index, type(raised.value.error)) == (2, NoNodeError)
        assert await zk.exists("/f") is None

    ensemble.use(use)


# --- watches


class Told(list[Any]):
    """What a watcher was called with: the kind and the path, or None."""

    def __call__(self, event: Any) -> None:
        self.append(event if event is None or isinstance(event, Resync) else (event.type, event.path))


def test_watches_tell_of_changes_and_once(ensemble: Ensemble) -> None:
    async def use(one: ZookeeperClient, two: ZookeeperClient) -> None:
        await one.create("/w", b"1")
        data, absent, children, kept, below = (Told() for _ in range(5))
        await one.get("/w", data)
        await one.exists("/later", absent)
        await one.get_children("/w", children)
        await one.add_watch("/w", kept)
        await one.add_watch("/", below, recursive=True)  # before 3.9 a path has one kind of lasting watch at a time
        await two.set("/w", b"2")
        await two.create("/w/c")
        await two.delete("/w/c")
        await two.create("/later")
        await until(lambda: len(below) == 4)
        assert data == [(EventType.NODE_DATA_CHANGED, "/w")]
        assert absent == [(EventType.NODE_CREATED, "/later")]
        assert children == [(EventType.NODE_CHILDREN_CHANGED, "/w")]
        assert [kind for kind, _ in kept] == [3, 4, 4]
        assert below == [(3, "/w"), (1, "/w/c"), (2, "/w/c"), (1, "/later")]
        await one.remove_watch("/w", kept)
        await one.remove_watch("/", below)
        await two.set("/w", b"3")
        assert (await one.get("/w", read=zkcore.Read.LINEARIZABLE)).data == b"3"
        assert (len(kept), len(below)) == (3, 4)

    ensemble.use_two(use)


def test_watches_outlive_the_connection(ensemble: Ensemble) -> None:
    async def use(one: ZookeeperClient, two: ZookeeperClient) -> None:
        for path in ("/w", "/still", "/gone"):
            await one.create(path)
        changed, still, gone, absent, children, kept = (Told() for _ in range(6))
        await one.get("/w", changed)
        await one.get("/still", still)
        await one.get("/gone", gone)
        await one.exists("/later", absent)
        await one.get_children("/w", children)
        await one.add_watch("/w", kept)
        come_back = cut_off(one)
        await two.set("/w", b"2")
        await two.create("/w/c")
        await two.delete("/gone")
        await two.create("/later")
        come_back()
        await until(lambda: all([changed, gone, absent, children, kept]))
        assert changed == [(3, "/w")]
        assert gone == [(2, "/gone")]
        assert absent == [(1, "/later")]
        assert children == [(4, "/w")]
        if ensemble.is_zkcore:
            assert kept == [(3, "/w"), (4, "/w")]
        else:
            assert isinstance(kept[-1], Resync)
        assert still == []
        await two.set("/still", b"1")
        await two.set("/w", b"3")
        await until(lambda: still and kept[-1] == (3, "/w"))
        assert still == [(3, "/still")]

    ensemble.use_two(use)


def test_an_iterator_over_events_says_where_some_are_missing(ensemble: Ensemble) -> None:
    async def use(one: ZookeeperClient, two: ZookeeperClient) -> None:
        events = one.watch("/i")
        assert isinstance(await anext(events), Resync)
        await drop_and_return(one)
        if not ensemble.is_zkcore:
            assert isinstance(await anext(events), Resync)
        await two.create("/i")
        assert (await anext(events)).type is EventType.NODE_CREATED  # type: ignore[union-attr]
        await events.aclose()

    ensemble.use_two(use)


# --- sessions


def test_a_broken_connection_costs_no_session(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        states: list[State] = []
        zk.add_listener(states.append)
        await zk.create("/mine", ephemeral=True)
        session = zk.session_id
        await drop_and_return(zk)
        assert zk.session_id == session
        assert (await zk.exists("/mine")).ephemeral_owner == session  # type: ignore[union-attr]
        assert states == [State.SUSPENDED, State.CONNECTED]

    ensemble.use(use)


def test_what_was_under_way_is_unknown_and_reads_behind_it_are_asked_again(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        first = asyncio.ensure_future(zk.get("/"))
        write = asyncio.ensure_future(zk.set("/", b"1"))
        last = asyncio.ensure_future(zk.get("/"))
        await asyncio.sleep(0)
        drop(zk)
        waited = asyncio.ensure_future(zk.exists("/"))
        for lost in (first, write):
            with pytest.raises(ConnectionLostError):
                await lost
        assert (await last).data in (b"", b"1")
        assert await waited is not None

    ensemble.use(use)


def test_a_request_may_be_given_up(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        come_back = cut_off(zk)
        with pytest.raises(zkcore.OperationTimeoutError):
            await zk.port.request(SetData("/", b"never"), timeout=0.01)
        come_back()
        assert (await zk.get("/")).data == b""

    ensemble.use(use)


def test_an_expired_session_is_told(ensemble: Ensemble) -> None:
    async def use(one: ZookeeperClient, two: ZookeeperClient) -> None:
        told, gone = Told(), Told()
        await one.create("/mine", ephemeral=True)
        await one.get("/mine", told)
        await two.exists("/mine", gone)
        states: list[State] = []
        one.add_listener(states.append)
        await expire(one)
        await until(lambda: one.state is State.LOST)
        await until(lambda: gone)
        assert told[-1] in (None, (2, "/mine"))
        assert states[-1] is State.LOST
        assert one.port.session.lost.is_set()
        with pytest.raises(SessionExpiredError):
            await one.get("/")
        await one.close()
        assert one.state is State.CLOSED

    ensemble.use_two(use)


def test_a_client_that_finds_nobody_counts_on_its_session_no_longer_than_it_may(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        async with ensemble.client(timeout=4.0) as short:
            granted = short.session_timeout
            before = short.port.now()
            assert before < short.port.session.alive_until <= before + granted
            cut_off(short)
            short.whole._confirm(before - granted)  # the time is up
            await until(lambda: short.state is State.LOST)
            with pytest.raises(SessionExpiredError):
                await short.get("/")

    ensemble.use(use)


def test_heartbeats_keep_a_session(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        until_then = zk.port.session.alive_until
        zk.whole._beat()
        await until(lambda: zk.port.session.alive_until > until_then)

    ensemble.use(use)


def test_a_server_that_falls_silent_is_left(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        link = zk.whole._link
        assert link is not None
        zk.whole._listen_for_life()
        assert not link.over
        link.heard_at -= zk.session_timeout
        zk.whole._listen_for_life()
        assert link.over
        await until(lambda: zk.state is State.CONNECTED)

    ensemble.use(use)


def test_the_end_of_a_client_is_the_end_of_its_session(ensemble: Ensemble) -> None:
    async def use(one: ZookeeperClient, two: ZookeeperClient) -> None:
        states: list[State] = []
        one.add_listener(states.append)
        await one.create("/mine", ephemeral=True)
        told = Told()
        await one.exists("/later", told)
        await one.close()
        assert (one.state, states, told) == (State.CLOSED, [State.CLOSED], [None])
        await two.sync()
        assert await two.exists("/mine") is None
        with pytest.raises(SessionClosedError):
            await one.get("/")
        await one.close()

    ensemble.use_two(use)


def test_who_one_is_goes_along_to_the_next_server(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        acl = [zkcore.ACL(31, zkcore.digest_id("ada", "pw"))]
        async with ensemble.client(auth=[("digest", "ada:pw")]) as ada:
            await ada.create("/secret", b"1", acl=acl)
            with pytest.raises(NoAuthError):
                await zk.get("/secret")
            drop(ada)
            assert (await ada.get("/secret")).data == b"1"
        await zk.add_auth("digest", "ada:pw")
        assert (await zk.get("/secret")).data == b"1"
        await drop_and_return(zk)
        assert (await zk.get("/secret")).data == b"1"

    ensemble.use(use)


def test_credentials_that_are_refused(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        with pytest.raises(AuthFailedError):
            await zk.add_auth("nobody-knows-this", "x")
        await until(lambda: zk.state is State.CONNECTED)
        assert await zk.exists("/")
        with pytest.raises(AuthFailedError):
            async with ensemble.client(auth=[("nobody-knows-this", b"x")]):
                raise AssertionError("it was let in")

    ensemble.use(use)


# --- once


def test_a_request_that_is_asked_again_is_carried_out_once_or_said_to_be_forgotten(ensemble: Ensemble) -> None:
    """The answer is lost each time: what was carried out shows only by looking."""

    async def lose(zk: ZookeeperClient, request: Once) -> None:
        future = asyncio.ensure_future(zk.port.request(request))
        while not zk.whole._unanswered:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        drop(zk)
        with pytest.raises(ConnectionLostError):
            await future
        await until(lambda: zk.state is State.CONNECTED)
        await zk.sync()

    async def use(zk: ZookeeperClient) -> None:
        number = iter(range(10_000, 11_000)).__next__
        create = await made(zk, "/e")
        await lose(zk, create)
        created = await zk.port.request(create)
        now = await zk.exists("/e")
        assert (created.path, created.stat.czxid) == ("/e", now.czxid)  # type: ignore[attr-defined, union-attr]
        delete = Once(zk.session_id, number(), Delete("/e"))
        await lose(zk, delete)
        await zk.port.request(delete)
        assert await zk.exists("/e") is None
        write = Once(zk.session_id, number(), SetData("/", b"1"))
        await lose(zk, write)
        if ensemble.is_zkcore:
            await zk.port.request(write)
            assert (await zk.get("/")).stat.version == 1
        else:
            with pytest.raises(OutcomeForgottenError):
                await zk.port.request(write)

    async def made(zk: ZookeeperClient, path: str) -> Once:
        from zkcore.tree.requests import CreateWithParents
        from zkcore.tree.znode import CreateMode

        return Once(zk.session_id, 9_999, CreateWithParents(path, mode=CreateMode.EPHEMERAL))

    ensemble.use(use)


# --- one chroot in another, and no server


def test_a_chroot_within_a_chroot(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        await zk.create("/app")
        app: Client = zk.chroot("/app")
        assert await app.create("/x", b"1") == "/x"
        assert (await zk.get("/app/x")).data == b"1"

    ensemble.use(use)


def test_before_its_start_a_client_says_so_and_where_nobody_listens_it_waits() -> None:
    async def main() -> None:
        client = zkcore.connect("zk://127.0.0.1:1")
        assert repr(client) == "<Client not started>"
        with pytest.raises(SessionClosedError, match="not started"):
            await client.get("/")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.start()
        with pytest.raises(SessionClosedError):
            await client.get("/")
        with pytest.raises(SessionClosedError, match="make a new one"):
            await client.start()

    run(main())
