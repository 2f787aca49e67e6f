"""An Apache ZooKeeper on this machine, and the bytes one says to it.

The server is Debian's package `zookeeper`, started on a free port with its data in a directory of the test. A session
sends the requests of zkcore as they are, several at a time if one likes, and hands back what came, taken apart here and
not by zkcore: what both sides of zkcore's codec get wrong alike must not go unseen.
"""

from __future__ import annotations

import re
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from attrs import evolve

from zkcore.jute.codec import encode
from zkcore.tree import requests
from zkcore.tree.acl import digest_id
from zkcore.tree.requests import Request, encode_request
from zkcore.tree.watch_requests import AddWatch, CheckWatches, RemoveWatches, SetWatches2

JAR = Path("/usr/share/java/zookeeper.jar")
SUPER_PASSWORD = b"super:pw"
MISSING = (
    None
    if JAR.exists() and shutil.which("java")
    else "no Apache ZooKeeper on this machine: apt-get install --no-install-recommends zookeeper"
)
"""Why there can be no server here, or None."""

_OPTIONS = {
    "zookeeper.extendedTypesEnabled": "true",
    "zookeeper.enforceQuota": "true",
    "zookeeper.DigestAuthenticationProvider.superDigest": digest_id("super", "pw").id,
    "zookeeper.admin.enableServer": "false",
    "zookeeper.forceSync": "no",
    "zookeeper.preAllocSize": "1024",
    "zookeeper.snapCount": "1000000",
    # Nothing is to happen that was not asked for: each transaction counts.
    "znode.container.checkIntervalMs": "1000000000",
}
_TIMEOUT_MS = 1_000_000


class Served(Protocol):
    """What a session needs to know of a server."""

    port: int
    version: tuple[int, ...]
    sessions: list[Session]
    """All that were ever opened."""
    before_first: int
    """What stands before its first transaction: zxids are told as they count from here."""


def launch(directory: Path, *lines: str) -> subprocess.Popen[bytes]:
    """A server that is configured by these lines, among others, and has its data in the directory."""
    (directory / "log4j.properties").write_text("log4j.rootLogger=OFF\n")
    configuration = directory / "zoo.cfg"
    common = (f"dataDir={directory / 'data'}", "clientPortAddress=127.0.0.1", "maxClientCnxns=0")
    configuration.write_text("\n".join([*common, *lines, ""]))
    options = [f"-D{name}={value}" for name, value in _OPTIONS.items()]
    main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
    command = ["java", "-Xmx256m", *options, "-cp", f"{directory}:{JAR}", main, str(configuration)]
    with (directory / "output").open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output)


def see_running(directory: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait a little. Raises RuntimeError with what it has said where the server of that directory has ended."""
    try:
        process.wait(0.05)
    except subprocess.TimeoutExpired:
        return
    raise RuntimeError((directory / "output").read_text())


def ask_srvr(port: int) -> str:
    """What the server there says of itself; nothing where it is not there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as link:
            link.sendall(b"srvr")
            return link.makefile("rb").read().decode()
    except OSError:
        return ""


class Server:
    """A server that ends with the `with`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port = 0
        self.before_first = 0
        self.sessions: list[Session] = []
        """All that were ever opened."""

    def __enter__(self) -> Server:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            self.port = unused.getsockname()[1]
        self._process = launch(
            self._directory, "tickTime=2000", f"clientPort={self.port}", f"maxSessionTimeout={_TIMEOUT_MS}"
        )
        while not self.version:
            see_running(self._directory, self._process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for session in self.sessions:
            session.drop()
        self._process.kill()
        self._process.wait()

    @property
    def version(self) -> tuple[int, ...]:
        """As (3, 8, 0); () as long as it does not serve (a connection made too early may never be answered)."""
        found = re.search(r"Zookeeper version: (\d+)\.(\d+)\.(\d+)", ask_srvr(self.port))
        return tuple(map(int, found.groups())) if found else ()


class Reply(NamedTuple):
    """What came: the zxid and the error of its header, and the body where there was no error."""

    zxid: int
    error: int
    body: Reader


class Event(NamedTuple):
    """A watch event, with the zxid that stood in front of it, and the number of the answer that it came ahead of."""

    zxid: int
    type: int
    path: str
    ahead_of: int


class Reader:
    """The bytes of a reply, read from left to right."""

    def __init__(self, data: bytes, before_first: int) -> None:
        self._data = data
        self._at = 0
        self._before_first = before_first

    def _take(self, form: str) -> Any:
        values = struct.unpack_from(">" + form, self._data, self._at)
        self._at += struct.calcsize(">" + form)
        return values

    def int(self) -> Any:
        return self._take("i")[0]

    def long(self) -> Any:
        return self._take("q")[0]

    def boolean(self) -> Any:
        return self._take("?")[0]

    def buffer(self) -> bytes | None:
        size = self.int()
        return None if size < 0 else self._take(f"{size}s")[0]

    def string(self) -> str:
        return (self.buffer() or b"").decode()

    def several(self, read: Callable[[], Any]) -> list[Any]:
        return [read() for _ in range(self.int())]

    def stat(self) -> tuple[Any, ...]:
        czxid, mzxid, *rest, pzxid = self._take("4q3iq2iq")
        return self._number(czxid), self._number(mzxid), *rest, self._number(pzxid)

    def _number(self, zxid: Any) -> Any:
        return zxid - self._before_first if zxid else 0

    def id(self) -> tuple[str, str]:
        return self.string(), self.string()

    def acl_entry(self) -> tuple[Any, ...]:
        return self.int(), *self.id()

    def results(self) -> list[tuple[int, Any]]:
        """Those of a multi: the type of each, and what it is."""
        found: list[tuple[int, Any]] = []
        while True:
            kind, done, _ = self._take("i?i")
            if done:
                return found
            found.append((kind, _PARTS[kind](self) if kind in _PARTS else None))

    def end(self) -> None:
        assert self._at == len(self._data), f"{len(self._data) - self._at} bytes are left over"


_PARTS: dict[int, Callable[[Reader], Any]] = {
    -1: lambda body: body.int(),
    1: lambda body: body.string(),
    15: lambda body: (body.string(), body.stat()),
    5: lambda body: body.stat(),
    4: lambda body: (body.buffer(), body.stat()),
    8: lambda body: sorted(body.several(body.string)),
}


class Session:
    """One session on one connection, which takes the bytes as they come."""

    def __init__(self, server: Served) -> None:
        self._server = server
        self._before_first = server.before_first
        server.sessions.append(self)
        self._xid = 0
        self.events: list[Event] = []
        self.id, self._password = 0, bytes(16)
        self._connect()

    def _connect(self) -> None:
        self._link = socket.create_connection(("127.0.0.1", self._server.port), timeout=60)
        self._incoming = self._link.makefile("rb")
        self._send(struct.pack(">iqiqi16s?", 0, 0, _TIMEOUT_MS, self.id, 16, self._password, False))
        self.timeout_ms, self.id, self._password = struct.unpack_from(">iq4x16s", self._frame(), 4)

    def come_back(self) -> None:
        """The same session on another connection, which knows of no watch and of no credentials."""
        session = self.id
        self.take_over(session, self._password)
        assert self.id == session

    def take_over(self, session: int, password: bytes) -> None:
        """Be that session instead; who has it loses its connection."""
        self.drop()
        self.id, self._password = session, password
        self._connect()

    def watch_again(self, watches: SetWatches2, since: int) -> Reply:
        """Set these, and hear what was missed `since` that zxid, which is told as zxids are told here."""
        return self.raw(watches.opcode, encode(evolve(watches, since=since + self._before_first)), xid=-8)

    def ask(self, asked: Iterable[Request[Any]]) -> list[Reply]:
        """Send all requests, then wait for all answers. Events that come with them are kept in `events`."""
        sent = [self._ask(*_bytes_of(request)) for request in asked]
        return [self._answer(xid) for xid in sent]

    def raw(self, opcode: int, body: bytes, *, xid: int | None = None) -> Reply:
        """The answer to one request of any bytes."""
        return self._answer(self._ask(opcode, body, xid))

    def authenticate(self, scheme: str, credentials: bytes) -> int:
        """The error of the answer."""
        body = struct.pack(f">ii{len(scheme)}si", 0, len(scheme), scheme.encode(), len(credentials)) + credentials
        return self.raw(100, body, xid=-4).error

    def catch_up(self) -> None:
        """Wait for all events of what has been answered to whomever."""
        self.raw(11, b"", xid=-2)

    def close(self) -> Reply:
        """End the session."""
        reply = self.raw(-11, b"")
        self.drop()
        return reply

    def drop(self) -> None:
        """Break the connection; the session lives on."""
        self._incoming.close()
        self._link.close()

    def _ask(self, opcode: int, body: bytes, xid: int | None = None) -> int:
        if xid is None:
            xid = self._xid = self._xid + 1
        self._send(struct.pack(">ii", xid, opcode) + body)
        return xid

    def _answer(self, expected: int) -> Reply:
        while True:
            frame = self._frame()
            xid, zxid, error = struct.unpack_from(">iqi", frame)
            body = Reader(frame[16:], self._before_first)
            if xid == -1 and expected != -1:
                kind, state = body.int(), body.int()
                assert state == 3
                self.events.append(Event(zxid, kind, body.string(), expected))
            else:
                assert xid == expected
                return Reply(max(zxid - self._before_first, 0), error, body)

    def _send(self, body: bytes) -> None:
        self._link.sendall(struct.pack(">i", len(body)) + body)

    def _frame(self) -> bytes:
        size = self._incoming.read(4)
        if len(size) < 4:
            raise ConnectionError("the server closed the connection")
        return self._incoming.read(*struct.unpack(">i", size))


def _bytes_of(request: Request[Any]) -> tuple[int, bytes]:
    if isinstance(request, AddWatch | CheckWatches | RemoveWatches | SetWatches2):
        return request.opcode, encode(request)
    return encode_request(request)


def answer_of(request: Request[Any], reply: Reply) -> Any:
    """What `reply` answers to `request`, in plain values: Stats as tuples, names and ids in order, and an error as
    ("error", code)."""
    if reply.error:
        return "error", reply.error
    answer = _ANSWERS.get(type(request), lambda body: None)(reply.body)
    reply.body.end()
    return answer


_ANSWERS: dict[type[Any], Callable[[Reader], Any]] = {
    requests.PlainCreate: lambda body: body.string(),
    requests.Create: lambda body: (body.string(), body.stat()),
    requests.CreateContainer: lambda body: (body.string(), body.stat()),
    requests.CreateTTL: lambda body: (body.string(), body.stat()),
    requests.SetData: lambda body: body.stat(),
    requests.SetACL: lambda body: body.stat(),
    requests.Exists: lambda body: body.stat(),
    requests.GetData: lambda body: (body.buffer(), body.stat()),
    requests.GetACL: lambda body: (sorted(body.several(body.acl_entry)), body.stat()),
    requests.GetChildren: lambda body: sorted(body.several(body.string)),
    requests.GetChildren2: lambda body: (sorted(body.several(body.string)), body.stat()),
    requests.GetEphemerals: lambda body: sorted(body.several(body.string)),
    requests.GetAllChildrenNumber: lambda body: body.int(),
    requests.WhoAmI: lambda body: sorted(body.several(body.id)),
    requests.Multi: lambda body: body.results(),
    requests.MultiRead: lambda body: body.results(),
    AddWatch: lambda body: body.int(),
}
