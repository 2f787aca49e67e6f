"""A tree beside a live Apache ZooKeeper: the same requests, and the same comes of them.

Skipped where there is none. `DIFFERENCES` are those that are meant, by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

import pytest
from beside import Beside, acl_of
from live import MISSING, Server, Session, answer_of
from watched import Watched

from zkcore.errors import AuthFailedError, MultiError, RequestError
from zkcore.jute.records import OPEN_ACL, READ_ACL
from zkcore.tree.acl import Access
from zkcore.tree.requests import (
    Check,
    Create,
    CreateContainer,
    CreateTTL,
    Delete,
    Exists,
    GetACL,
    GetAllChildrenNumber,
    GetChildren,
    GetChildren2,
    GetData,
    GetEphemerals,
    Multi,
    MultiRead,
    PlainCreate,
    Request,
    SetACL,
    SetData,
    WhoAmI,
)
from zkcore.tree.watch_requests import AddWatch, CheckWatches, RemoveWatches
from zkcore.tree.znode import MAX_TTL

pytestmark = [pytest.mark.zookeeper, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("zookeeper")) as server:
        yield server


@pytest.fixture(scope="module")
def beside(server: Server) -> Beside:
    return Beside(server)


# --- anything --------------------------------------------------------------------------------------------------------

PATHS = [
    "/a", "/a", "/a", "/b", "/b", "/q-", "/a/a", "/a/a", "/a/b", "/a/q-", "/a/", "/a/a/a", "/b/a", "/b/a/q-",
]  # fmt: skip
ODD_PATHS = [
    "/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", "/a//b", "/a/..", "/./a", "/...", "a", "a/b", "/b/",
    "/a\x00", "/a/\x01", "/a/\x7f", "/a/\ue000", "/a/\ufff0", "/a/\U0001f512", "/ä", "/a b", "//", "/a/b/", "/nope/x",
    "/q-0000000000", "/zookeeper/a", "/zookeeper/config/a",
]  # fmt: skip
DATA = [b"", b"x", b"some more", None, b"much more of it"]
BOB, EVE = "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=", "eve:x"
WORLD = (31, "world", "anyone")
ACLS = [
    *[OPEN_ACL] * 60, READ_ACL, (), acl_of(WORLD, WORLD), acl_of((31, "auth", "")), acl_of((7, "auth", "x"), WORLD),
    acl_of((31, "digest", BOB), (1, "world", "anyone")), acl_of((31, "digest", BOB)), acl_of((31, "digest", EVE)),
    acl_of((30, "world", "anyone")), acl_of((27, "world", "anyone")), acl_of((15, "world", "anyone")),
    acl_of((23, "world", "anyone"), (8, "ip", "127.0.0.0/8")), acl_of((31, "ip", "10.0.0.1")), acl_of((99, *WORLD[1:])),
    acl_of((0, *WORLD[1:])), acl_of((31, "world", "x")), acl_of((31, "nope", "x")), acl_of((31, "digest", "x")),
    acl_of((31, "ip", "1.2.3.4/33")), acl_of((31, "super", "")),
]  # fmt: skip
VERSIONS = [-1, -1, -1, -1, -1, 0, 0, 1, 2, -2, 2**31 - 1]
CREDENTIALS = [b"bob:pw", b"bob:pw", b"eve:pw", b"super:pw", b":", b"a:b:c", b"no colon", b""]


def a_path(rng: Random) -> str:
    return rng.choice(PATHS if rng.random() < 0.93 else ODD_PATHS)


def a_write(rng: Random) -> Request[Any]:
    """One that may stand in a multi."""
    path, data, acl, version = a_path(rng), rng.choice(DATA), rng.choice(ACLS), rng.choice(VERSIONS)
    mode, ttl_ms = rng.choice([0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 7, -1]), rng.choice([1, 10**6, MAX_TTL, 0, -1, 2**40])
    return rng.choices(
        [
            Create(path, data, acl=acl, mode=mode),
            PlainCreate(path, data, acl=acl, mode=mode),
            Create(path, data, acl=acl, mode=4),
            CreateContainer(path, data, acl=acl),
            CreateTTL(path, data, acl=acl, mode=rng.choice([5, 6]), ttl_ms=ttl_ms),
            Delete(path, version),
            SetData(path, data, version=version),
            Check(path, version),
        ],
        [6, 6, 1, 1, 1, 6, 6, 2],
    )[0]


def a_read(rng: Random, *, watch: bool = False) -> Request[Any]:
    path = a_path(rng)
    return rng.choice([
        GetData(path, watch), Exists(path, watch), GetChildren(path, watch), GetChildren2(path, watch), GetACL(path),
        GetAllChildrenNumber(path), GetEphemerals(rng.choice(["", "/", "/a", "/q", "x"])), WhoAmI(),
        MultiRead([rng.choice([GetData, GetChildren])(a_path(rng)) for _ in range(rng.randrange(4))]),
    ])  # fmt: skip


def a_request(rng: Random, *, lasting: bool) -> Request[Any]:
    """`lasting` is whether it may ask for a lasting watch, or else for one-shot ones."""
    luck = rng.random()
    if luck < 0.5:
        while True:
            write = a_write(rng)
            if not isinstance(write, Check):  # which a server takes only in a multi
                return write
    if luck < 0.62:
        return Multi([a_write(rng) for _ in range(rng.choice([0, 1, 2, 2, 3, 3, 5]))])
    if luck < 0.68:
        return SetACL(a_path(rng), rng.choice(ACLS), version=rng.choice(VERSIONS))
    if luck < 0.72:
        path = rng.choice(PATHS).rstrip("/")
        if lasting and rng.random() < 0.7:
            return AddWatch(path, len(path) % 2)  # a path has one mode: see DIFFERENCES
        return RemoveWatches(path, 3 if lasting else rng.choice([1, 2, 3]))
    if luck < 0.722:
        return rng.choice([SetData, Create])(a_path(rng), bytes(1_000_000))
    return a_read(rng, watch=not lasting and rng.random() < 0.5)


def play(beside: Beside, seed: int, requests: int) -> None:
    """So many requests by two sessions at a time; then everything is as it was, but for what was counted."""
    rng = Random(seed)
    sessions = [beside.open(), beside.open()]
    beside.authenticate(sessions[0], b"bob:pw")
    asked = 0
    while asked < requests:
        turn = rng.randrange(2)
        luck = rng.random()
        if luck < 0.01:
            beside.close(sessions[turn])
            sessions[turn] = beside.open()
        elif luck < 0.03:
            beside.authenticate(sessions[turn], rng.choice(CREDENTIALS))
        burst: list[Request[Any]] = []
        for _ in range(rng.choice([1, 1, 2, 4, 8])):
            burst.append(a_request(rng, lasting=turn == 1))
            if isinstance(burst[-1], SetACL):  # which ZooKeeper heeds only when it is applied, be that as it may
                break
        beside.ask(sessions[turn], burst)
        asked += len(burst)
    for session in sessions:
        beside.close(session)
    beside.alone.tree.check()
    sweep(beside)


def sweep(beside: Beside) -> None:
    """Look at every znode, and delete what is not ZooKeeper's own."""
    root = beside.open()
    beside.authenticate(root, b"super:pw")
    paths = ["/"]
    for path in paths:
        (names, _), *_ = beside.ask(root, [GetChildren2(path), GetData(path), GetACL(path)])
        paths += [f"{path.rstrip('/')}/{name}" for name in names]
    zookeepers = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"]
    beside.ask(root, [Delete(path) for path in reversed(paths) if path not in zookeepers])
    beside.ask(root, [SetACL(path, OPEN_ACL) for path in zookeepers])
    beside.close(root)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_asked_comes_out_alike(beside: Beside, seed: int) -> None:
    play(beside, seed, 500)


@pytest.mark.parametrize("path", sorted({*PATHS, *ODD_PATHS}))
def test_every_request_about_a_path_is_answered_alike(beside: Beside, path: str) -> None:
    session = beside.open()
    beside.ask(session, [Create("/a"), Create("/a/b", mode=1)])
    reads: list[Request[Any]] = [
        GetData(path), Exists(path), GetChildren(path), GetChildren2(path), GetACL(path), GetAllChildrenNumber(path),
        GetEphemerals(path), MultiRead([GetData(path), GetChildren(path)]),
    ]  # fmt: skip
    beside.ask(session, reads)
    for mode in (0, 2, 1, 3, 4):
        beside.ask(session, [Create(path, mode=mode), PlainCreate(path, mode=mode), CreateContainer(path)])
    beside.ask(session, [*reads, Multi([Check(path)]), SetData(path, b"x"), Multi([SetData(path, b""), Delete(path)])])
    beside.ask(session, [SetACL(path, READ_ACL), *reads])
    beside.ask(session, [Delete(path, 7), Delete(path), *reads, Exists(path, True), GetData(path, True)])
    beside.close(session)
    sweep(beside)


# --- quotas ----------------------------------------------------------------------------------------------------------

QUOTA, LIMIT, USAGE = (f"/zookeeper/quota/a{name}" for name in ("", "/zookeeper_limits", "/zookeeper_stats"))
LIMITS = [
    b"count=-1,bytes=-1", b"count=2,bytes=10", b"count=-1,bytes=-1=;byteHardLimit=20;countHardLimit=3",
    b"count=1,bytes=-1=;byteHardLimit=-1;countHardLimit=2", b"count=-1,bytes=1=;byteHardLimit=4;countHardLimit=-1",
    b"count=-1,bytes=-1=;byteHardLimit=0;countHardLimit=1",
]  # fmt: skip


def play_with_a_quota(beside: Beside, seed: int, requests: int) -> None:
    """One operation at a time: ZooKeeper does not count what is in flight, nor in the same multi."""
    rng = Random(seed)
    session = beside.open()
    beside.ask(session, [Create("/a", b"123"), Create("/a/b"), Create("/ab"), Create(QUOTA), Create(LIMIT)])
    # ZooKeeper answers with the length that the data had before it was brought up to date.
    beside.ask(session, [PlainCreate(USAGE, b"count=0,bytes=0")])
    for _ in range(requests):
        path, data = rng.choice(["/a", "/a/b", "/a/c", "/a/b/d", "/ab", "/ab/c"]), rng.choice(DATA)
        request = rng.choice([
            Create(path, data, mode=rng.choice([0, 1, 2])), Delete(path), GetData(USAGE),
            SetData(path, data, version=rng.choice([-1, 9])), SetData(LIMIT, rng.choice(LIMITS)),
            Multi([Create(path, data, mode=2)]),
        ])  # fmt: skip
        beside.ask(session, [request])
    beside.close(session)
    beside.alone.tree.check()
    sweep(beside)


@pytest.mark.parametrize("seed", range(2))
def test_quotas_are_kept_alike(beside: Beside, seed: int) -> None:
    play_with_a_quota(beside, seed, 200)


# --- differences that are meant --------------------------------------------------------------------------------------


class Difference(NamedTuple):
    """What a server and a tree answer to `request`, after `before` by the same session and `others` by another: 0, or
    the code of an error. `until` is the first version of ZooKeeper that answers as the tree does."""

    why: str
    request: Request[Any]
    live: int
    ours: int
    before: tuple[Request[Any], ...] = ()
    others: tuple[Request[Any], ...] = ()
    until: tuple[int, ...] | None = None


NOBODYS = acl_of((31, "digest", EVE))

# And some that an answer to one request cannot show:
# - An ACL counts from when it is proposed; ZooKeeper heeds the old one for what comes before it is applied, until 3.10.
# - ZooKeeper gives a sequential number out again when 2147483647 has been reached; here the parent has none left.
# - A quota counts what is in flight, and all quotas above a znode count; in ZooKeeper what is applied, and one of them.
# - A create of mode 4 is a container; ZooKeeper makes an ordinary znode of it, but for a create inside a multi.
DIFFERENCES = {
    "exists needs READ": Difference(
        "ZOOKEEPER-2590", Exists("/d1"), 0, -102, before=(Create("/d1", acl=NOBODYS),), until=(3, 9, 2)
    ),
    "an ACL may name addresses of IPv6": Difference(
        "later servers know them", Create("/d2", acl=acl_of((31, "ip", "::1"))), -114, 0, until=(3, 10, 0)
    ),
    "a lasting watch is one of the asker": Difference(
        "ZOOKEEPER-4466: any session's was found", CheckWatches("/d3", 3), 0, -121, others=(AddWatch("/d3"),),
        until=(3, 9, 0),
    ),
    "two lasting watches on one path": Difference(
        "ZOOKEEPER-4466: the later took the place of the earlier, and went alone", RemoveWatches("/d4", 2), 0, -121,
        before=(AddWatch("/d4", 1), AddWatch("/d4", 0)), until=(3, 9, 0),
    ),
    "a lasting watch needs a path": Difference(
        "what can never come shall not be waited for without an end", AddWatch("no path"), 0, -8
    ),
    "the empty path is none": Difference(
        "in ZooKeeper it is another name of the root, by how its table is keyed", GetData(""), 0, -101
    ),
    "a container is one in a multi, too": Difference(
        "ZooKeeper goes by the flags there, which its clients never send like this", Create("/d6/x"), -108, 0,
        before=(Multi([CreateContainer("/d6", mode=1)]),),
    ),
    "a time to live goes with its mode in a multi, too": Difference(
        "as above: ZooKeeper makes an ordinary znode", Multi([CreateTTL("/d7", mode=0, ttl_ms=5)]), 0, -8
    ),
    "a create in a multi has no time to live": Difference(
        "the operation says so; ZooKeeper fails over its own flags and answers that the frame is malformed",
        Multi([Create("/d8", mode=5)]), -5, -8,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENCES)
def test_what_differs_is_known(beside_differences: Server, name: str) -> None:
    server, difference = beside_differences, DIFFERENCES[name]
    mine, other = Session(server), Session(server)
    tree = Watched(1, 2)
    for live, session, asked in ((other, 2, difference.others), (mine, 1, difference.before)):
        for request, reply in zip(asked, live.ask(asked), strict=True):
            assert reply.error == code_of(tree, session, request) == 0
    (reply,) = mine.ask([difference.request])
    codes = [reply.error]
    if isinstance(difference.request, Multi) and not reply.error:
        codes = [value for kind, value in answer_of(difference.request, reply) if kind == -1] or [0]
    mended = difference.until is not None and server.version >= difference.until
    assert codes == [difference.ours if mended else difference.live]
    assert code_of(tree, 1, difference.request) == difference.ours


@pytest.fixture(scope="module")
def beside_differences(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own: from here on the two are no longer alike."""
    with Server(tmp_path_factory.mktemp("different")) as server:
        yield server


def code_of(tree: Watched, session: int, request: Request[Any]) -> Any:
    """0, or the code of the error that the tree answers with."""
    try:
        if request.writes:
            tree.do(request, session=session)
        elif tree.watches.read(tree.tree, request, session=session) is None and isinstance(request, Exists):
            return -101
    except MultiError as error:
        return error.error.code
    except RequestError as error:
        return error.code
    return 0


def test_credentials_that_prove_nothing_end_the_connection_with_an_error(server: Server) -> None:
    live = Session(server)
    assert live.authenticate("nope", b"") == AuthFailedError.code
    with pytest.raises(AuthFailedError):
        Access().authenticate("nope", b"")
    with pytest.raises(ConnectionError):
        live.catch_up()
