"""Jute, ZooKeeper's serialisation: declared records to bytes and back.

A record is a frozen attrs class whose fields are annotated with the jute types below, in wire order, and decorated
with `@record`. For each class the encoder and the decoder are generated once, as straight-line code: a run of
fixed-size fields (and the length of the string that follows it) is one precompiled `struct`, and nothing is looked up
while a record passes. Fields without framing, big endian; a `ustring` or `buffer` is an int length and its bytes, a
vector an int count and its items, and the length -1 means null.

Reading is strict, because what is read comes from outside: whatever the bytes, a decoder returns a record or raises a
ProtocolError. Null is read as the empty value where the field has no null of its own (kazoo writes "" as null).

`codec_of(cls)` also gives the two functions that work on bare values instead of records, for callers that handle
every transaction and cannot afford an object each: `pack(*values)` and `unpack(data, at)`.

This module must not know what the records mean.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Annotated, Any, Generic, NoReturn, TypeAlias, TypeVar, cast, get_args, get_origin, get_type_hints

import attrs

from zkcore.errors import BadArgumentsError, FrameTooLargeError, MalformedFrameError

__all__ = [
    "MAX_LENGTH", "Boolean", "Buffer", "Codec", "Int", "Long", "NullableBuffer", "UString", "codec_of", "decode",
    "decode_from", "encode", "record",
]  # fmt: skip

Int: TypeAlias = Annotated[int, "int"]
"""A signed 32-bit integer."""
Long: TypeAlias = Annotated[int, "long"]
"""A signed 64-bit integer."""
Boolean: TypeAlias = Annotated[bool, "boolean"]
UString: TypeAlias = Annotated[str, "ustring"]
"""UTF-8; null reads as ''."""
Buffer: TypeAlias = Annotated[bytes, "buffer"]
"""Bytes; null reads as b''."""
NullableBuffer: TypeAlias = Annotated[bytes | None, "nullable buffer"]
"""Bytes or null, which differ on the wire (semantics of `Stat.data_length`: both count 0)."""

MAX_LENGTH = 2 * 0xFFFFF
"""The longest string or buffer read: ZooKeeper's `jute.maxbuffer`, and as much again for what surrounds it."""

R = TypeVar("R")


class Codec(Generic[R]):
    """The compiled functions of one record class."""

    __slots__ = ("decode", "encode", "kind", "pack", "unpack")

    def __init__(self, kind: type[R], namespace: dict[str, Any]) -> None:
        self.kind = kind
        self.pack: Callable[..., bytes] = namespace["pack"]
        """The bytes of the fields, given in wire order as positional arguments."""
        self.encode: Callable[[R], bytes] = namespace["encode"]
        """The bytes of a record."""
        self.unpack: Callable[[bytes, int], tuple[Any, ...]] = namespace["unpack"]
        """The fields of the record at an offset, followed by the offset behind it."""
        self.decode: Callable[[bytes, int], tuple[R, int]] = namespace["decode"]
        """The record at an offset, and the offset behind it."""


_CODECS: dict[type, Codec[Any]] = {}


def record(cls: type[R]) -> type[R]:
    """Class decorator: compile the codec of `cls`, an attrs class whose annotations are jute types, other records, or
    `tuple[item, ...]` of either. Raises TypeError for any other annotation."""
    _CODECS[cls] = _compile(cls)
    return cls


def codec_of(cls: type[R]) -> Codec[R]:
    """The codec of a record class."""
    return _CODECS[cls]


def encode(record: object) -> bytes:
    """The bytes of `record`. Raises BadArgumentsError where a value does not fit its field."""
    try:
        return _CODECS[type(record)].encode(record)
    except (struct.error, UnicodeEncodeError) as error:
        raise BadArgumentsError(f"{type(record).__name__} cannot be written: {error}") from error


def decode(cls: type[R], data: bytes) -> R:
    """The record that `data` holds, whole. Raises MalformedFrameError or FrameTooLargeError."""
    found, at = _CODECS[cls].decode(data, 0)
    if at != len(data):
        raise MalformedFrameError(f"{len(data) - at} bytes are left over after {cls.__name__}")
    return cast(R, found)


def decode_from(cls: type[R], data: bytes, *, at: int) -> tuple[R, int]:
    """The record at offset `at` of `data`, and the offset behind it. Raises as `decode`."""
    return cast(tuple[R, int], _CODECS[cls].decode(data, at))


# --- what the generated code calls -----------------------------------------------------------------------------------


def _bad_length(length: int, left: int) -> NoReturn:
    if length > MAX_LENGTH:
        raise FrameTooLargeError(f"a length of {length} is over the limit of {MAX_LENGTH}")
    if length < 0:
        raise MalformedFrameError(f"a length of {length}")
    raise MalformedFrameError(f"a length of {length} where {left} bytes are left")


def _bad_bool(value: int) -> NoReturn:
    raise MalformedFrameError(f"a boolean of {value}")


_LENGTH = struct.Struct(">i")


def _write_ustring(value: str) -> bytes:
    raw = value.encode()
    return _LENGTH.pack(len(raw)) + raw


def _read_ustring(data: bytes, at: int) -> tuple[str, int]:
    (length,) = _LENGTH.unpack_from(data, at)
    at += 4
    if length < 0 or length > len(data) - at or length > MAX_LENGTH:
        if length != -1:
            _bad_length(length, len(data) - at)
        return "", at
    return data[at : at + length].decode(), at + length


# --- the compiler ----------------------------------------------------------------------------------------------------

_FIXED = {"int": "i", "long": "q", "boolean": "?"}


class _Run:
    """Fixed-size values that follow each other, gathered until something of variable size ends the run."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self.format = ""
        self.values: list[str] = []

    def add(self, letter: str, value: str) -> None:
        self.format += letter
        self.values.append(value)

    def take(self, method: str) -> tuple[str, list[str], int]:
        """Name the struct method of the run; begin the next one."""
        layout = struct.Struct(">" + self.format)
        name = f"_{method}_{self.format.replace('?', 'z')}"
        self._namespace[name] = getattr(layout, method)
        values, self.format, self.values = self.values, "", []
        return name, values, layout.size


def _compile(cls: type[R]) -> Codec[R]:
    fields = attrs.fields(cast(Any, cls))
    hints = get_type_hints(cls, include_extras=True)
    kinds = [(field.name, _kind_of(hints[field.name], f"{cls.__name__}.{field.name}")) for field in fields]
    namespace: dict[str, Any] = {
        "_struct_error": struct.error, "_Malformed": MalformedFrameError, "_MAX": MAX_LENGTH, "_cls": cls,
        "_bad_length": _bad_length, "_bad_bool": _bad_bool,
        "_write_ustring": _write_ustring, "_read_ustring": _read_ustring,
    }  # fmt: skip
    names = ", ".join(field.name for field in fields)
    filled = ", ".join(f"{field.name}={field.name}" if field.kw_only else field.name for field in fields)
    body = _writing(kinds, namespace)
    reading = _reading(kinds, namespace)
    result = f"{names}, _at" if names else "_at,"
    source = [
        f"def pack({names}):", *body,
        "def encode(_record):", *(f"    {name} = _record.{name}" for name, _ in kinds), *body,
        *_guarded(cls, "unpack", [*reading, f"return {result}"]),
        *_guarded(cls, "decode", [*reading, f"return _cls({filled}), _at"]),
    ]  # fmt: skip
    exec("\n".join(source), namespace)  # the source holds nothing but the names and types of the class's fields
    return Codec(cls, namespace)


def _kind_of(hint: Any, where: str) -> tuple[str, type | str | None]:
    """The jute type of an annotation: its name, and for records and vectors the record class or item type."""
    if get_origin(hint) is Annotated:
        return get_args(hint)[1], None
    if hint in _CODECS:
        return "record", hint
    if get_origin(hint) is tuple and get_args(hint)[1:] == (Ellipsis,):
        item = get_args(hint)[0]
        if get_origin(item) is Annotated and get_args(item)[1] == "ustring":
            return "vector", "ustring"
        if item in _CODECS:
            return "vector", item
    raise TypeError(f"{where} has no jute type: {hint}")


def _guarded(cls: type, name: str, lines: list[str]) -> list[str]:
    return [
        f"def {name}(_data, _at):",
        "    try:",
        *(f"        {line}" for line in lines),
        "    except (_struct_error, UnicodeDecodeError) as _error:",
        f"        raise _Malformed(f'{cls.__name__} does not decode: {{_error}}') from _error",
    ]


def _item_function(item: type | str | None, method: str, namespace: dict[str, Any]) -> str:
    if isinstance(item, type):
        name = f"_{method}_{item.__name__}"
        namespace[name] = getattr(_CODECS[item], "encode" if method == "write" else "decode")
        return name
    return f"_{method}_{item}"


def _writing(kinds: list[tuple[str, tuple[str, type | str | None]]], namespace: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    parts: list[str] = []
    run = _Run(namespace)

    def end_run() -> None:
        if run.format:
            name, values, _ = run.take("pack")
            parts.append(f"{name}({', '.join(values)})")

    for name, (kind, item) in kinds:
        if kind in _FIXED:
            run.add(_FIXED[kind], name)
            continue
        if kind == "record":
            end_run()
            parts.append(f"{_item_function(item, 'write', namespace)}({name})")
            continue
        if kind == "vector":
            run.add("i", f"len({name})")
            content = f"b''.join([{_item_function(item, 'write', namespace)}(_item) for _item in {name}])"
        elif kind == "ustring":
            lines.append(f"    _raw_{name} = {name}.encode()")
            run.add("i", f"len(_raw_{name})")
            content = f"_raw_{name}"
        elif kind == "nullable buffer":
            run.add("i", f"-1 if {name} is None else len({name})")
            content = f"({name} or b'')"
        else:
            run.add("i", f"len({name})")
            content = name
        end_run()
        parts.append(content)
    end_run()
    # Each + copies what is there so far: a few are quicker, many are slower than one join.
    joined = f"b''.join(({', '.join(parts)}))" if len(parts) > 3 else " + ".join(parts)
    return [*lines, f"    return {joined or repr(b'')}"]


def _reading(kinds: list[tuple[str, tuple[str, type | str | None]]], namespace: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    run = _Run(namespace)
    booleans: list[str] = []

    def end_run() -> None:
        if run.format:
            name, values, size = run.take("unpack_from")
            lines.append(f"{', '.join(values)}, = {name}(_data, _at)")
            lines.append(f"_at += {size}")
        for value in booleans:
            lines.append(f"if {value} > 1: _bad_bool({value})")
            lines.append(f"{value} = {value} == 1")
        booleans.clear()

    for name, (kind, item) in kinds:
        if kind in _FIXED:
            if kind == "boolean":
                booleans.append(name)
            # A boolean is read as a byte: struct's own "?" takes any byte but 0 for True.
            run.add("B" if kind == "boolean" else _FIXED[kind], name)
            continue
        if kind == "record":
            end_run()
            lines.append(f"{name}, _at = {_item_function(item, 'read', namespace)}(_data, _at)")
            continue
        run.add("i", f"_size_{name}")
        end_run()
        if kind == "vector":
            lines += [
                f"if _size_{name} < -1: _bad_length(_size_{name}, 0)",
                f"_items_{name} = []",
                f"for _ in range(_size_{name}):",
                f"    _item, _at = {_item_function(item, 'read', namespace)}(_data, _at)",
                f"    _items_{name}.append(_item)",
                f"{name} = tuple(_items_{name})",
            ]
            continue
        null = {"ustring": "''", "buffer": "b''", "nullable buffer": "None"}[kind]
        lines += [
            f"_end = _at + _size_{name}",
            f"if _at <= _end <= len(_data) and _size_{name} <= _MAX:",
            f"    {name} = _data[_at:_end]{'.decode()' if kind == 'ustring' else ''}",
            "    _at = _end",
            "else:",
            f"    if _size_{name} != -1: _bad_length(_size_{name}, len(_data) - _at)",
            f"    {name} = {null}",
        ]
    end_run()
    return lines
