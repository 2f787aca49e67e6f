"""A tree beside a live Apache ZooKeeper: the same requests, and the same comes of them.

Skipped where there is none. `DIFFERENCES` are those that are meant, by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from anything import NOBODYS, ODD_PATHS, PATHS, play, play_with_a_quota, sweep
from beside import Beside, acl_of
from live import MISSING, Server, Session, answer_of
from watched import Watched

from zkcore.errors import AuthFailedError, MultiError, RequestError
from zkcore.jute.records import READ_ACL
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
)
from zkcore.tree.watch_requests import AddWatch, CheckWatches, RemoveWatches

pytestmark = [pytest.mark.zookeeper, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("zookeeper")) as server:
        yield server


@pytest.fixture(scope="module")
def beside(server: Server) -> Beside:
    return Beside(server)


# --- anything --------------------------------------------------------------------------------------------------------


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
