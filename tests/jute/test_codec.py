"""Records become bytes and come back the same; bytes that are no record are refused, whatever they are."""

from __future__ import annotations

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from zkcore.errors import BadArgumentsError, FrameTooLargeError, MalformedFrameError, ProtocolError
from zkcore.jute.codec import (
    MAX_LENGTH,
    Boolean,
    Buffer,
    Int,
    Long,
    NullableBuffer,
    UString,
    codec_of,
    decode,
    decode_from,
    encode,
    record,
)


@record
@frozen
class Point:
    x: Int
    y: Long


@record
@frozen
class Everything:
    """Every kind of field, with names that the generated code might trip over."""

    data: Buffer
    at: Boolean
    record: Int
    cls: UString
    error: NullableBuffer
    item: Point
    name: tuple[Point, ...]
    size: tuple[UString, ...]
    end: Boolean


@record
@frozen
class Nothing:
    pass


ints = st.integers(-(2**31), 2**31 - 1)
longs = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
points = st.builds(Point, ints, longs)
everythings = st.builds(
    Everything,
    st.binary(max_size=8), st.booleans(), ints, texts, st.none() | st.binary(max_size=8), points,
    st.lists(points, max_size=3).map(tuple), st.lists(texts, max_size=3).map(tuple), st.booleans(),
)  # fmt: skip


@given(everythings)
def test_a_record_comes_back_as_it_was(value: Everything) -> None:
    assert decode(Everything, encode(value)) == value


@given(everythings, st.binary(max_size=5), st.binary(max_size=5))
def test_a_record_is_read_at_an_offset_and_reading_goes_on_behind_it(
    value: Everything, before: bytes, after: bytes
) -> None:
    data = before + encode(value) + after
    assert decode_from(Everything, data, at=len(before)) == (value, len(data) - len(after))


@given(everythings)
def test_bare_values_make_the_same_bytes_as_a_record(value: Everything) -> None:
    codec = codec_of(Everything)
    data = encode(value)
    *values, at = codec.unpack(data, 0)
    assert at == len(data)
    assert codec.pack(*values) == data


def test_the_layout_is_big_endian_lengths_first_and_minus_one_for_null() -> None:
    value = Everything(b"ab", True, 1, "é", None, Point(2, -1), (Point(3, 4),), ("x", ""), False)
    assert encode(value).hex(" ", 4) == (
        bytes.fromhex("00000002") + b"ab" + b"\x01" + bytes.fromhex("00000001 00000002") + "é".encode()
        + bytes.fromhex("ffffffff 00000002 ffffffffffffffff 00000001 00000003 0000000000000004 00000002")
        + bytes.fromhex("00000001") + b"x" + bytes.fromhex("00000000 00")
    ).hex(" ", 4)  # fmt: skip


def test_a_record_without_fields_is_no_bytes() -> None:
    assert encode(Nothing()) == b""
    assert decode(Nothing, b"") == Nothing()


@given(st.binary(max_size=80))
def test_any_bytes_are_a_record_or_a_protocol_error(data: bytes) -> None:
    try:
        decode(Everything, data)
    except ProtocolError:
        pass


@given(everythings, st.data())
def test_a_damaged_record_is_a_record_or_a_protocol_error(value: Everything, draw: st.DataObject) -> None:
    data = bytearray(encode(value))
    data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        decode(Everything, bytes(data))
    except ProtocolError:
        pass


@given(everythings)
def test_every_cut_and_every_surplus_is_noticed(value: Everything) -> None:
    data = encode(value)
    for size in range(len(data)):
        with pytest.raises(MalformedFrameError):
            decode(Everything, data[:size])
    with pytest.raises(MalformedFrameError, match="left over"):
        decode(Everything, data + b"\x00")


@record
@frozen
class Text:
    text: UString


@record
@frozen
class Raw:
    data: Buffer


@record
@frozen
class Flag:
    flag: Boolean


@record
@frozen
class Texts:
    texts: tuple[UString, ...]


@record
@frozen
class Points:
    points: tuple[Point, ...]


def length(value: int) -> bytes:
    return value.to_bytes(4, "big", signed=True)


@pytest.mark.parametrize(
    ("kind", "data", "error"),
    [
        (Text, length(-2), MalformedFrameError),
        (Text, length(2) + b"a", MalformedFrameError),
        (Text, length(2) + b"\xc3\x28", MalformedFrameError),
        (Text, length(3) + b"\xed\xa0\x80", MalformedFrameError),  # half a surrogate pair, as Java writes it
        (Text, length(MAX_LENGTH + 1), FrameTooLargeError),
        (Text, length(MAX_LENGTH + 1) + bytes(MAX_LENGTH + 1), FrameTooLargeError),
        (Raw, length(-(2**31)), MalformedFrameError),
        (Raw, length(2**31 - 1), FrameTooLargeError),
        (Flag, b"\x02", MalformedFrameError),
        (Texts, length(-2), MalformedFrameError),
        (Texts, length(2**31 - 1), MalformedFrameError),
        (Texts, length(1) + length(-2), MalformedFrameError),
        (Texts, length(1) + length(2) + b"a", MalformedFrameError),
        (Texts, length(1) + length(MAX_LENGTH + 1), FrameTooLargeError),
        (Points, length(2**31 - 1), MalformedFrameError),
    ],
)
def test_what_is_out_of_bounds_is_refused(kind: type, data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode(kind, data)
    with pytest.raises(error):
        decode_from(kind, data, at=0)


@pytest.mark.parametrize(
    ("kind", "empty"), [(Text, Text("")), (Raw, Raw(b"")), (Texts, Texts(())), (Points, Points(()))]
)
def test_null_reads_as_empty_where_a_field_knows_no_null(kind: type, empty: object) -> None:
    assert decode(kind, length(-1)) == empty


def test_null_within_a_vector_reads_as_empty_too() -> None:
    assert decode(Texts, length(2) + length(-1) + length(1) + b"a") == Texts(("", "a"))


def test_the_longest_buffer_allowed_is_read() -> None:
    assert decode(Raw, length(MAX_LENGTH) + bytes(MAX_LENGTH)) == Raw(bytes(MAX_LENGTH))


@pytest.mark.parametrize("value", [Point(2**31, 0), Point(0, 2**63), Text("\ud800")])
def test_a_value_that_does_not_fit_its_field_is_the_callers_mistake(value: object) -> None:
    with pytest.raises(BadArgumentsError):
        encode(value)


def test_a_field_without_a_jute_type_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match=r"Odd\.value has no jute type"):

        @record
        @frozen
        class Odd:
            value: float
