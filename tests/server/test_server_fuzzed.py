"""Whatever is said to a server ends the connection on which it is said at most. More of it by hand: `garbling.py`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from random import Random

import pytest
from garbling import Arena, Frames, garble, record
from hypothesis import given, settings
from hypothesis import strategies as st

from zkcore.jute.codec import encode
from zkcore.testing.zookeeper import ZookeeperServer, zookeeper_server
from zkcore.tree.requests import Create, GetData, Multi, SetACL, SetData, encode_request
from zkcore.tree.watch_requests import AddWatch, SetWatches2

GREETING = struct.pack(">iiqiqi16s?", 45, 0, 0, 10_000, 0, 16, bytes(16), False)

BODIES = [
    encode_request(request)[1]
    for request in (Create("/a"), GetData("/a", True), SetData("/a", b"1"), SetACL("/", ()), Multi([Create("/m")]))
] + [encode(AddWatch("/a", 0)), encode(SetWatches2(0, data=["/a"]))]


@pytest.fixture(scope="module")
def server() -> Iterator[ZookeeperServer]:
    with zookeeper_server() as running:
        yield running


@pytest.fixture(scope="module")
def recordings(server: ZookeeperServer) -> list[Frames]:
    return record(server)


@pytest.fixture
def arena(server: ZookeeperServer) -> Iterator[Arena]:
    arena = Arena(server)
    with arena.judge.listening():
        yield arena
        arena.check()
        arena.leave()


def test_what_clients_say_is_recorded_whole(recordings: list[Frames]) -> None:
    for frames in recordings:
        assert len(frames) > 15
        assert struct.unpack_from(">i", frames[0])[0] in (44, 45)
        assert struct.unpack_from(">ii", frames[-1], 4)[1] == -11, "it closes its session at the end"


def test_recordings_garbled_end_their_connections_and_nothing_else(arena: Arena, recordings: list[Frames]) -> None:
    rng = Random(1)
    for _ in range(250):
        arena.say(garble(rng, recordings))
    arena.check()
    assert len(arena.judge.reasons) > 10, "they end for many a reason"


_opcodes = st.one_of(st.integers(-11, 107), st.integers(1000, 1012), st.integers(-(2**31), 2**31 - 1))
_cut = st.tuples(st.sampled_from(BODIES), st.integers(0, 40), st.binary(max_size=8))
_bodies = st.one_of(
    st.binary(max_size=60), st.sampled_from(BODIES), _cut.map(lambda parts: parts[0][: parts[1]] + parts[2])
)
_requests = st.tuples(st.integers(-9, 9), _opcodes, _bodies).map(
    lambda asked: struct.pack(">iii", 8 + len(asked[2]), asked[0], asked[1]) + asked[2]
)


@settings(max_examples=60, deadline=None, database=None)
@given(st.one_of(st.binary(max_size=100), st.lists(_requests, max_size=12).map(lambda all_: GREETING + b"".join(all_))))
def test_requests_made_up_end_their_connection_and_nothing_else(server: ZookeeperServer, said: bytes) -> None:
    arena = Arena(server)
    with arena.judge.listening():
        arena.say(said)
        arena.check()
        arena.leave()
