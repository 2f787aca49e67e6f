"""Requests of every kind, drawn by a seed: what is played to a server and to a tree beside it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Protocol

from beside import acl_of

from zkcore.jute.records import OPEN_ACL, READ_ACL
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
from zkcore.tree.watch_requests import AddWatch, RemoveWatches, SetWatches2
from zkcore.tree.znode import MAX_TTL

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
NOBODYS = acl_of((31, "digest", EVE))
CREDENTIALS = [b"bob:pw", b"bob:pw", b"eve:pw", b"super:pw", b":", b"a:b:c", b"no colon", b""]


class Played(Protocol):
    """Two sides that are asked the same; what differs is an AssertionError."""

    def open(self) -> int: ...
    def close(self, session: int) -> None: ...
    def come_back(self, session: int, watches: SetWatches2, *, ago: int) -> None: ...
    def authenticate(self, session: int, credentials: bytes) -> None: ...
    def ask(self, session: int, asked: Sequence[Request[Any]]) -> list[Any]: ...
    def check(self) -> None: ...


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


def some_watches(rng: Random, *, lasting: bool) -> SetWatches2:
    """What a session that has lost its connection has set again."""
    paths = sorted({path.rstrip("/") for path in PATHS})
    rng.shuffle(paths)
    some = paths[: rng.randrange(len(paths) + 1)]
    if lasting:
        modes = [[path for path in some if len(path) % 2 == mode] for mode in (0, 1)]
        return SetWatches2(0, persistent=modes[0], recursive=modes[1])
    return SetWatches2(0, data=some[::3], exist=some[1::3], child=some[2::3])


def play(beside: Played, seed: int, requests: int) -> None:
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
        elif luck < 0.04:
            watches = some_watches(rng, lasting=turn == 1)
            beside.come_back(sessions[turn], watches, ago=rng.choice([0, 1, 3, 10, 50]))
        burst: list[Request[Any]] = []
        for _ in range(rng.choice([1, 1, 2, 4, 8])):
            burst.append(a_request(rng, lasting=turn == 1))
            if isinstance(burst[-1], SetACL):  # which ZooKeeper heeds only when it is applied, be that as it may
                break
        beside.ask(sessions[turn], burst)
        asked += len(burst)
    for session in sessions:
        beside.close(session)
    beside.check()
    sweep(beside)


def sweep(beside: Played) -> None:
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


# --- quotas ----------------------------------------------------------------------------------------------------------

QUOTA, LIMIT, USAGE = (f"/zookeeper/quota/a{name}" for name in ("", "/zookeeper_limits", "/zookeeper_stats"))
LIMITS = [
    b"count=-1,bytes=-1", b"count=2,bytes=10", b"count=-1,bytes=-1=;byteHardLimit=20;countHardLimit=3",
    b"count=1,bytes=-1=;byteHardLimit=-1;countHardLimit=2", b"count=-1,bytes=1=;byteHardLimit=4;countHardLimit=-1",
    b"count=-1,bytes=-1=;byteHardLimit=0;countHardLimit=1",
]  # fmt: skip


def play_with_a_quota(beside: Played, seed: int, requests: int) -> None:
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
    beside.check()
    sweep(beside)
