"""Frames: found in whatever pieces they arrive, and sealed so that nothing can be done to them unnoticed."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zkcore.errors import FrameTooLargeError, MalformedFrameError, ProtocolError
from zkcore.transport.framing import SEAL_BYTES, FrameReader, Seal, frame

BODIES = st.lists(st.binary(max_size=40), max_size=8)


def read_all(reader: FrameReader, data: bytes) -> list[bytes]:
    reader.feed(data)
    return list(iter(reader.next, None))


@given(BODIES, st.integers(1, 50), st.lists(st.sampled_from(["feed", "next", "peek"])))
@example([b"a", b""], 6, ["next", "feed", "feed"])
def test_frames_are_found_in_whatever_pieces_they_arrive(bodies: list[bytes], size: int, before: list[str]) -> None:
    """And in whatever order one feeds, and asks."""
    reader, found = FrameReader(40), []
    stream = b"".join(map(frame, bodies))
    pieces = deque(stream[begin : begin + size] for begin in range(0, len(stream), size))
    given_out = fed = 0
    for what in before:
        if what == "feed" and pieces:
            fed += len(pieces[0])
            reader.feed(pieces.popleft())
        elif what == "peek":
            assert reader.peek(6) == stream[given_out:fed][:6]
        elif what == "next" and (body := reader.next()) is not None:
            found.append(body)
            given_out += len(frame(body))
    for piece in (*pieces, b""):
        found += read_all(reader, piece)
    assert found == bodies


def test_a_frame_that_is_not_whole_is_not_given_out() -> None:
    reader = FrameReader(10)
    assert read_all(reader, frame(b"one") + frame(b"two")[:-1]) == [b"one"]
    assert read_all(reader, b"") == []
    assert read_all(reader, b"o") == [b"two"]


def test_a_frame_is_refused_when_its_length_is_known() -> None:
    reader = FrameReader(10)
    reader.feed(frame(b"x" * 10) + struct.pack(">I", 11))
    assert reader.next() == b"x" * 10
    with pytest.raises(FrameTooLargeError, match="a frame of 11 bytes; at most 10"):
        reader.next()


def test_the_limit_may_change_between_two_frames() -> None:
    reader = FrameReader(3)
    reader.feed(frame(b"abc") + frame(b"abcd"))
    assert reader.next() == b"abc"
    reader.max_bytes = 4
    assert reader.next() == b"abcd"


@given(st.lists(st.binary(max_size=64), max_size=10))
def test_garbage_gives_frames_or_is_refused_and_nothing_else(pieces: list[bytes]) -> None:
    reader = FrameReader(16)
    try:
        for piece in pieces:
            read_all(reader, piece)
    except FrameTooLargeError:
        pass


# --- seals ------------------------------------------------------------------------------------------------------------

KEY = bytes(32)


def opened(frames: list[bytes]) -> list[bytes]:
    """The bodies up to the first frame whose seal is wrong."""
    seal, bodies = Seal(KEY), []
    for each in frames:
        try:
            bodies.append(seal.open(each))
        except MalformedFrameError:
            break
    return bodies


@given(BODIES)
def test_what_was_sealed_opens_in_its_order(bodies: list[bytes]) -> None:
    seal = Seal(KEY)
    assert opened([seal.seal(body) for body in bodies]) == bodies


def repeat(frames: list[bytes], at: int) -> None:
    frames.insert(at, frames[at])


def leave_out(frames: list[bytes], at: int) -> None:
    del frames[at]


def swap(frames: list[bytes], at: int) -> None:
    frames[at], frames[at + 1] = frames[at + 1], frames[at]


def shorten(frames: list[bytes], at: int) -> None:
    frames[at] = frames[at][1:]


def lengthen(frames: list[bytes], at: int) -> None:
    frames[at] += b"\0"


def empty(frames: list[bytes], at: int) -> None:
    frames[at] = b""


def forge(frames: list[bytes], at: int) -> None:
    frames[at] = Seal(bytes([1] * 32)).seal(b"forged")


@pytest.mark.parametrize("meddle", [repeat, leave_out, swap, shorten, lengthen, empty, forge])
@given(st.lists(st.binary(max_size=8), min_size=4, max_size=8), st.data())
def test_frames_that_were_meddled_with_do_not_open(
    meddle: Callable[[list[bytes], int], None], bodies: list[bytes], data: st.DataObject
) -> None:
    seal = Seal(KEY)
    frames = [seal.seal(body) for body in bodies]
    at = data.draw(st.integers(0, len(frames) - 2))
    meddle(frames, at)
    # A frame that is repeated is good the first time.
    assert opened(frames) == bodies[: at + (meddle is repeat)]


@given(st.binary(max_size=20), st.data())
def test_no_bit_of_a_frame_can_be_turned(body: bytes, data: st.DataObject) -> None:
    sealed = bytearray(Seal(KEY).seal(body))
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(MalformedFrameError, match="the seal of frame 1 is wrong"):
        Seal(KEY).open(bytes(sealed))


@given(st.binary(max_size=SEAL_BYTES + 10))
def test_bytes_of_a_stranger_do_not_open(sealed: bytes) -> None:
    with pytest.raises(ProtocolError):
        Seal(KEY).open(sealed)
