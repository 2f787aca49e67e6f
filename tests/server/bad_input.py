"""What no client should say, and what comes of it: byte by byte, to any server of ZooKeeper's protocol.

`bad_input.txt` has what Apache ZooKeeper 3.8.0 answers, and where we answer otherwise that, too. It is made anew,
beside a live one, by::

    python tests/server/bad_input.py

and what differs needs a reason below.
"""

from __future__ import annotations

import re
import socket
import struct
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from live import Server

from zkcore.replica.rules import Rules
from zkcore.testing.zookeeper import ZookeeperServer, zookeeper_server
from zkcore.tree.sessions import Timeouts

RECORD = Path(__file__).with_suffix(".txt")

REASONS = {
    r".* path null|setWatches2? null( path)?|multi path null": "null is as nothing, and no accident",
    r".* path (empty|relative|bad utf8|surrogate)": "what is no path, or no text, is nobody's other name",
    r"addWatch path .*|setWatches2? bad( path)?": "what can never come shall not be waited for",
    r"sync path .*": "the path is told back as it came, or the request cannot be read",
    r".* -[25]|bool 2|multi(Read)? (long|after end)": "a body that cannot be read is never taken for another",
    r"op \S+": "the others of the connection are still good; our own opcodes are there",
    r"reconfig": "there it is off, unless somebody turns it on; here it is for who may",
    r".* acl x509": "the scheme is there",
    r"multiRead exists|multiRead write|multiRead path .*": "more may be read; and what is refused has no body",
}
"""Why we answer otherwise."""


def number(value: int) -> bytes:
    return struct.pack(">i", value)


def long(value: int) -> bytes:
    return struct.pack(">q", value)


def text(value: str | bytes | None) -> bytes:
    if value is None:
        return number(-1)
    data = value.encode() if isinstance(value, str) else value
    return number(len(data)) + data


def frame(body: bytes) -> bytes:
    return number(len(body)) + body


def greeting(
    *, version: int = 0, zxid: int = 0, timeout: int = 10_000, session: int = 0, password: bytes = text(bytes(16)),
    rest: bytes = b"\0",
) -> bytes:  # fmt: skip
    return frame(number(version) + long(zxid) + number(timeout) + long(session) + password + rest)


def request(opcode: int, body: bytes = b"", xid: int = 5) -> bytes:
    return frame(number(xid) + number(opcode) + body)


def acl(*entries: tuple[int, str | None, str | None]) -> bytes:
    return number(len(entries)) + b"".join(number(perms) + text(scheme) + text(id) for perms, scheme, id in entries)


OPEN = acl((31, "world", "anyone"))


def created(path: str | bytes | None, *, data: bytes = text("1"), acl: bytes = OPEN, flags: int = 0) -> bytes:
    return text(path) + data + acl + number(flags)


def part(kind: int, *, done: bool = False, error: int = -1) -> bytes:
    return struct.pack(">i?i", kind, done, error)


END = part(-1, done=True)


# --- instead of a greeting -------------------------------------------------------------------------------------------

BEFORE = {
    "oversized": number(0xFFFFF + 1),
    "negative": number(-1),
    "zero": number(0),
    "short": frame(bytes(10)),
    "half": greeting()[:20],
    "half length": b"\0\0",
    "nothing": b"",
    "long": greeting(rest=b"\0\0\0"),
    "old": greeting(rest=b""),
    "read-only of 2": greeting(rest=b"\2"),
    "password null": greeting(password=number(-1)),
    "password short": greeting(password=text(bytes(15))),
    "password long": greeting(password=text(bytes(17))),
    "password of -2": greeting(password=number(-2)),
    "password beyond": greeting(password=number(1000)),
    "version 7": greeting(version=7),
    "timeout negative": greeting(timeout=-7),
    "zxid negative": greeting(zxid=-5),
    "zxid of the future": greeting(zxid=1 << 60),
    "session of another ensemble": greeting(session=0x1234567890, password=text(b"x" * 16)),
    "session of another ensemble, password null": greeting(session=0x1234567890, password=number(-1)),
    "session of another ensemble, password empty": greeting(session=0x1234567890, password=text("")),
    "session negative": greeting(session=-9),
    "no word": b"abcd",
    "http": b"GET / HTTP/1.1\r\n\r\n",
}


_CUT_SHORT = {BEFORE["half"], BEFORE["half length"], BEFORE["nothing"]}
"""Behind these nothing comes any more."""


# --- as requests -----------------------------------------------------------------------------------------------------

_PATHS: dict[str, str | bytes | None] = {
    "empty": "", "null": None, "relative": "a", "trailing": "/a/", "double": "//", "dot": "/a/./b", "dotdot": "/a/..",
    "zero": "/a\0b", "control": "/\1", "fffe": "/\ufffe", "astral": "/\U0001f600", "bad utf8": b"/\xff\xfe",
    "surrogate": b"/\xed\xa0\x80",
}  # fmt: skip

_OPERATIONS: dict[str, tuple[int, Callable[[str | bytes | None], bytes]]] = {
    "create": (1, created),
    "create2": (15, created),
    "createContainer": (19, lambda path: created(path, flags=4)),
    "createTTL": (21, lambda path: created(path, flags=5) + long(1000)),
    "delete": (2, lambda path: text(path) + number(-1)),
    "exists": (3, lambda path: text(path) + b"\0"),
    "exists and watch": (3, lambda path: text(path) + b"\1"),
    "getData": (4, lambda path: text(path) + b"\0"),
    "setData": (5, lambda path: text(path) + text("x") + number(-1)),
    "getACL": (6, text),
    "setACL": (7, lambda path: text(path) + OPEN + number(-1)),
    "getChildren": (8, lambda path: text(path) + b"\0"),
    "getChildren2": (12, lambda path: text(path) + b"\0"),
    "sync": (9, text),
    "check": (13, lambda path: text(path) + number(0)),
    "checkWatches": (17, lambda path: text(path) + number(2)),
    "removeWatches": (18, lambda path: text(path) + number(2)),
    "getEphemerals": (103, text),
    "getAllChildrenNumber": (104, text),
    "addWatch": (106, lambda path: text(path) + number(0)),
    "multi": (14, lambda path: part(1) + created(path) + END),
    "multiRead": (22, lambda path: part(4) + text(path) + b"\0" + END),
}

_ACLS = {
    "empty": acl(), "null": number(-1), "beyond": number(1000), "-2": number(-2),
    "nobody": acl((31, "nobody", "x")), "scheme empty": acl((31, "", "")), "scheme null": acl((31, None, None)),
    "perms 0": acl((0, "world", "anyone")), "perms 64": acl((64, "world", "anyone")),
    "perms -1": acl((-1, "world", "anyone")), "ip": acl((31, "ip", "no")), "ip bits": acl((31, "ip", "1.2.3.4/99")),
    "digest bare": acl((31, "digest", "x")), "digest colons": acl((31, "digest", "a:b:c")),
    "auth of nobody": acl((31, "auth", "")), "world somebody": acl((31, "world", "x")),
    "twice": acl((31, "world", "anyone"), (31, "world", "anyone")), "super": acl((31, "super", "")),
    "sasl": acl((31, "sasl", "x")), "x509": acl((31, "x509", "CN=x")),
}  # fmt: skip


def _on_paths() -> Iterator[tuple[str, bytes]]:
    for operation, (opcode, body_of) in _OPERATIONS.items():
        for name, path in _PATHS.items():
            yield f"{operation} path {name}", request(opcode, body_of(path))
        yield f"{operation} no body", request(opcode)
        yield f"{operation} short", request(opcode, body_of("/a")[:-1])
        yield f"{operation} long", request(opcode, body_of("/nowhere/at/all") + b"\0\0\0")


def _on_creation() -> Iterator[tuple[str, bytes]]:
    for count, (name, entries) in enumerate(_ACLS.items()):
        yield f"create acl {name}", request(1, created(f"/acl-{count}", acl=entries))
        yield f"setACL acl {name}", request(7, text("/nowhere") + entries + number(-1))
    for kind, opcode, rest in (("create", 1, b""), ("create2", 15, b""), ("ttl", 21, long(1000))):
        for flags in (-1, 1, 2, 3, 4, 5, 6, 7, 99):
            above = request(1, created(f"/{kind}{flags}"), 4)  # ephemerals have none, and numbers begin at 0
            yield f"{kind} flags {flags}", above + request(opcode, created(f"/{kind}{flags}/x", flags=flags) + rest)
    for ttl in (0, -1, 1 << 40, (1 << 40) - 1, 1 << 62):
        yield f"ttl of {ttl}", request(21, created(f"/ttl{ttl}", flags=5) + long(ttl))


def _on_watches() -> Iterator[tuple[str, bytes]]:
    yield "addWatch mode 7", request(106, text("/a") + number(7))
    yield "addWatch mode minus one", request(106, text("/a") + number(-1))
    yield "removeWatches type 9", request(18, text("/a") + number(9))
    yield "removeWatches type minus one", request(18, text("/a") + number(-1))
    yield "checkWatches type 0", request(17, text("/a") + number(0))
    for name, opcode, counts in (("setWatches", 101, 3), ("setWatches2", 105, 5)):
        for what, data in (
            ("null", number(-1)), ("beyond", number(99_999)), ("-5", number(-5)), ("bad path", number(1) + text("no")),
            ("null path", number(1) + text(None)), ("nothing", number(0)),
        ):  # fmt: skip
            yield f"{name} {what}", request(opcode, long(0) + data + number(0) * (counts - 1), -8)
    yield "setWatches of the future", request(101, long(1 << 60) + number(1) + text("/zookeeper") + number(0) * 2, -8)


def _on_several() -> Iterator[tuple[str, bytes]]:
    delete, read = part(2) + text("/nowhere") + number(-1), part(4) + text("/nowhere") + b"\0"
    several = {
        "empty": END, "nothing": b"", "getData": read + END, "exists": part(3) + text("/a") + b"\0" + END,
        "nested": part(14) + END + END, "unknown": part(99) + END, "no end": delete, "open end": part(-1) + END,
        "after end": END + delete, "error": part(-1, error=-101) + number(-101) + END,
        "flags": part(1) + created("/m9", flags=9) + END, "acl": part(1) + created("/m8", acl=acl()) + END,
        "sync": part(9) + text("/") + END, "getChildren": part(8) + text("/") + b"\0" + END,
        "close": part(-11) + END, "setACL": part(7) + text("/") + OPEN + number(-1) + END,
        "mixed": read + delete + END, "check": part(13) + text("/nowhere") + number(0) + END, "delete": delete + END,
    }  # fmt: skip
    for name, body in several.items():
        yield f"multi {name}", request(14, body)
    yield "multiRead empty", request(22, END)
    yield "multiRead write", request(22, delete + END)
    yield "multiRead exists", request(22, part(3) + text("/nowhere") + b"\0" + END)
    yield "multiRead no end", request(22, read)


def _on_who_one_is() -> Iterator[tuple[str, bytes]]:
    for scheme in ("nobody", "digest", "world", "ip", "sasl", "super", "", None):
        yield f"auth {scheme}", request(100, number(0) + text(scheme) + text("x"), -4)
    for name, body in (
        ("digest of nothing", number(0) + text("digest") + text("")),
        ("digest of null", number(0) + text("digest") + number(-1)), ("without a body", b""),
        ("type 9", number(9) + text("digest") + text("a:b")),
    ):  # fmt: skip
        yield f"auth {name}", request(100, body, -4)
    yield "auth number 5", request(100, number(0) + text("digest") + text("a:b"), 5)
    yield "sasl token", request(102, text("token"))
    yield "sasl null", request(102, number(-1))
    yield "sasl beyond", request(102, number(99))
    yield "sasl without a body", request(102)


def _on_the_rest() -> Iterator[tuple[str, bytes]]:
    for opcode in (77, 0, -1, -10, 10, 20, 999, 16, 1002, 605):
        yield f"op {opcode}", request(opcode)
    root = text("/") + b"\0"
    for xid in (-1, -2, -4, -8, 0, -(2**31)):
        yield f"number {xid}", request(3, root, xid)
    yield from {
        "number twice": request(3, root) * 2,
        "reconfig": request(16, text(None) * 2 + text("") + long(-1)),
        "no header": frame(number(5)),
        "frame empty": number(0),
        "frame negative": number(-7),
        "frame oversized": number(0xFFFFF + 1) + bytes(100),
        "http": b"GET / HTTP/1.1\r\n\r\n",
        "bool 2": request(3, text("/") + b"\2"),
        "data -2": request(1, created("/data2", data=number(-2))),
        "data beyond": request(1, created("/data3", data=number(99_999))),
        "data null": request(1, created("/data4", data=number(-1))),
        "setData null": request(5, text("/zookeeper/quota") + number(-1) * 2),
        "close long": request(-11, b"xx"),
        "close and more": request(-11) + request(3, root, 6),
        "delete root": request(2, text("/") + number(-1)),
        "delete /zookeeper": request(2, text("/zookeeper") + number(-1)),
        "create root": request(1, created("/")),
        "setData version minus two": request(5, text("/") + text("") + number(-2)),
        "setACL version minus nine": request(7, text("/") + OPEN + number(-9)),
        "whoAmI long": request(107, b"xx"),
        "getEphemerals of nothing": request(103, text("")),
    }.items()


AFTER = dict(
    pair
    for pairs in (_on_paths, _on_creation, _on_watches, _on_several, _on_who_one_is, _on_the_rest)
    for pair in pairs()
)


# --- what comes of it ------------------------------------------------------------------------------------------------

_LAST = 77
"""The number of a request that shows whether the connection is still good."""


class _Talk:
    def __init__(self, port: int) -> None:
        self._link = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._incoming = self._link.makefile("rb")

    def __enter__(self) -> _Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self._incoming.close()
        self._link.close()

    def send(self, data: bytes, *, all_: bool = False) -> None:
        try:
            self._link.sendall(data)
            if all_:
                self._link.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it shows in what comes

    def frames(self) -> Iterator[bytes]:
        try:
            while len(size := self._incoming.read(4)) == 4:
                yield self._incoming.read(*struct.unpack(">i", size))
        except ConnectionError:
            pass


def before(port: int, said: bytes) -> str:
    """What comes of a connection on which this is said first, and nothing else."""
    heard = []
    with _Talk(port) as talk:
        talk.send(said, all_=said in _CUT_SHORT)
        for answer in talk.frames():
            talk.send(b"", all_=True)
            version, timeout, session, size, password = struct.unpack(">iiqi16s", answer[:36])
            who = "a session" if session and password != bytes(16) else f"session {session}"
            heard.append(f"greeted {version} {timeout} {size} {answer[36:].hex() or 'briefly'} with {who}")
    return ", ".join([*heard, "closed"])


def after(port: int, said: bytes) -> str:
    """What comes of it when somebody who is served says this."""
    heard = []
    with _Talk(port) as talk:
        talk.send(greeting())
        answers = talk.frames()
        assert next(answers, b""), "the server opens no session"
        talk.send(said + request(3, text("/") + b"\0", _LAST))
        for answer in answers:
            xid, zxid, error = struct.unpack(">iqi", answer[:16])
            if xid == _LAST:
                return ", ".join([*heard, "open"])
            if xid != -2:  # a heartbeat is answered when it is
                heard.append(f"{xid} {zxid if zxid in (0, -1) else 'zxid'} {error} {_shortly(answer[16:])}".strip())
    return ", ".join([*heard, "closed"])


def _shortly(body: bytes) -> str:
    """There are zxids and times in what is long."""
    return f"{len(body)} bytes" if len(body) >= 68 else body.hex()


def ask_all(port: int) -> dict[str, str]:
    """What comes of everything, by name."""
    first = {f"before: {name}": before(port, said) for name, said in BEFORE.items()}
    return first | {name: after(port, said) for name, said in AFTER.items()}


# --- the record ------------------------------------------------------------------------------------------------------


class Recorded(NamedTuple):
    apache: str
    ours: str
    why: str


def ours() -> ZookeeperServer:
    """A server of ours that grants what the live one does."""
    return zookeeper_server(rules=Rules(timeouts=Timeouts(minimum_ms=4_000, maximum_ms=1_000_000)))


def recorded() -> dict[str, Recorded]:
    """What the record says, by name."""
    found: dict[str, Recorded] = {}
    for line in RECORD.read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"    zkcore: (.*?)  \((.*)\)", line):
            name = next(reversed(found))
            found[name] = found[name]._replace(ours=match.group(1), why=match.group(2))
        else:
            name, _, answer = line.rpartition(" -> ")
            found[name] = Recorded(answer, answer, "")
    return found


def _lines(apache: dict[str, str], ours: dict[str, str]) -> Iterable[str]:
    for name, answer in apache.items():
        yield f"{name} -> {answer}"
        if not alike(name, answer, ours[name]):
            why = next((why for pattern, why in REASONS.items() if re.fullmatch(pattern, name)), "")
            yield f"    zkcore: {ours[name]}  ({why})"
            if not why:
                print(f"no reason: {name}: {answer} here, {ours[name]} there")


def alike(name: str, one: str, other: str) -> bool:
    """Whether the two answers are. Behind a request that it does not know, and behind the end of a session, an Apache
    ZooKeeper closes the connection, and what was sent with that is answered, or not."""
    if name.startswith("op "):
        return one.rpartition(",")[0] == other.rpartition(",")[0]
    if name.startswith("close "):
        return one.partition(",")[0] == other.partition(",")[0]
    return one == other


def main() -> None:
    """Make the record anew."""
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as live, ours() as served:
        lines = list(_lines(ask_all(live.port), ask_all(int(served.hosts.rpartition(":")[2]))))
    RECORD.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    sys.path.append("tests/tree")
    main()
