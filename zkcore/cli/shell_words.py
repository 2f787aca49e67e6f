"""What one types into the shell and what it prints, as ZooKeeper's zkCli.sh has it: words, ACLs and Stats.

This module must not know who is asked.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from getopt import GetoptError, gnu_getopt

from zkcore.jute.records import ACL, Id, Stat

__all__ = [
    "WordsError", "acl_lines", "as_bytes", "options_of", "parse_acl", "parse_version", "shown", "split", "stat_lines",
]  # fmt: skip

_PERMISSIONS = {"c": 4, "d": 8, "r": 1, "w": 2, "a": 16}
"""In the order in which zkCli.sh prints them."""


class WordsError(Exception):
    """A line that means nothing; says what to type instead."""


def split(line: str) -> list[str]:
    """The words of a line: what stands in quotes is one. Raises WordsError."""
    try:
        return shlex.split(line)
    except ValueError as error:
        raise WordsError(f"the line ends in the middle of a word ({error}); close the quotes") from None


def options_of(words: list[str], known: str) -> tuple[dict[str, str], list[str]]:
    """The options among `words`, `known` as getopt has them, wherever they stand, and the rest; behind `--` is none.
    Raises WordsError."""
    try:
        found, rest = gnu_getopt(words, known)
    except GetoptError as error:
        raise WordsError(f"{error.msg}; put -- before a word that begins with a dash") from None
    return {name.removeprefix("-"): value for name, value in found}, rest


def parse_version(word: str) -> int:
    """Raises WordsError."""
    try:
        return int(word)
    except ValueError:
        raise WordsError(f"{word!r} is no version; give a whole number") from None


def parse_acl(word: str) -> tuple[ACL, ...]:
    """An ACL as "world:anyone:r,digest:user:hash=:cdrwa". Raises WordsError."""
    return tuple(_entry(each) for each in word.split(","))


def _entry(word: str) -> ACL:
    scheme, colon, rest = word.partition(":")
    id, second, letters = rest.rpartition(":")
    if not (scheme and colon and second) or not letters or not set(letters) <= _PERMISSIONS.keys():
        raise WordsError(f"{word!r} is no ACL; write scheme:id:permissions, the permissions some of cdrwa")
    return ACL(sum(_PERMISSIONS[letter] for letter in set(letters)), Id(scheme, id))


def acl_lines(entries: Iterable[ACL]) -> Iterator[str]:
    """Two lines for each entry."""
    for entry in entries:
        yield f"'{entry.id.scheme},'{entry.id.id}"
        yield f": {''.join(letter for letter, bit in _PERMISSIONS.items() if entry.perms & bit)}"


def as_bytes(word: str) -> bytes:
    """Data as it was typed, or came through a pipe: it need not be text."""
    return word.encode("utf-8", "surrogateescape")


def shown(data: bytes) -> str:
    """Data as text, and what is none of it as escapes."""
    return data.decode("utf-8", "backslashreplace")


def stat_lines(stat: Stat) -> Iterator[str]:
    """A line for each field."""
    yield f"cZxid = {stat.czxid:#x}"
    yield f"ctime = {_time(stat.ctime)}"
    yield f"mZxid = {stat.mzxid:#x}"
    yield f"mtime = {_time(stat.mtime)}"
    yield f"pZxid = {stat.pzxid:#x}"
    yield f"cversion = {stat.cversion}"
    yield f"dataVersion = {stat.version}"
    yield f"aclVersion = {stat.aversion}"
    yield f"ephemeralOwner = {stat.ephemeral_owner & 0xFFFFFFFFFFFFFFFF:#x}"
    yield f"dataLength = {stat.data_length}"
    yield f"numChildren = {stat.num_children}"


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%a %b %d %H:%M:%S UTC %Y")
