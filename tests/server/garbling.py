"""What real clients have said, garbled, to a server that lives: bits turned over, lengths that lie, frames cut short,
twice, swapped, or those of somebody else.

Whatever it is, it ends its own connection at most, with a reason in the log, and nobody else notices. The suite takes a
sample; by hand, for so many seconds, from a seed::

    python tests/server/garbling.py 120 1
"""

from __future__ import annotations

import logging
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from types import SimpleNamespace

from kazoo.client import KazooClient
from live import Session

import zkcore.sync
from zkcore.testing.zookeeper import ZookeeperServer, zookeeper_server
from zkcore.tree.requests import Exists

Frames = tuple[bytes, ...]
"""What a client sent on one connection, each with its length in front."""


# --- recording -------------------------------------------------------------------------------------------------------


class Tee:
    """An address that passes everything on to a server, and keeps what clients say."""

    def __init__(self, hosts: str) -> None:
        self._server = int(hosts.rpartition(":")[2])
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.hosts = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._heard = b""
        self._passing = threading.Thread(target=self._pass_on)

    def __enter__(self) -> Tee:
        self._passing.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._passing.join()
        self._listening.close()

    @property
    def frames(self) -> Frames:
        """Of the one client that came."""
        frames, at = [], 0
        while at < len(self._heard):
            end = at + 4 + struct.unpack_from(">i", self._heard, at)[0]
            frames.append(self._heard[at:end])
            at = end
        return tuple(frames)

    def _pass_on(self) -> None:
        here, _ = self._listening.accept()
        with here, socket.create_connection(("127.0.0.1", self._server)) as there:
            back = threading.Thread(target=_copy, args=(there, here, lambda data: None))
            back.start()
            _copy(here, there, self._keep)
            back.join()

    def _keep(self, data: bytes) -> None:
        self._heard += data


def _copy(source: socket.socket, sink: socket.socket, keep: Callable[[bytes], None]) -> None:
    try:
        while data := source.recv(1 << 16):
            keep(data)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # whoever has hung up said all he had to


def _use_kazoo(hosts: str) -> None:
    zk = KazooClient(hosts=hosts, auth_data=[("digest", "ada:pw")])
    zk.start(30)
    zk.create("/kazoo/a", b"1", makepath=True, ephemeral=False)
    zk.get("/kazoo/a", watch=lambda event: None)
    zk.set("/kazoo/a", b"22")
    zk.get_children("/kazoo", include_data=True)
    zk.get_acls("/kazoo")
    zk.sync("/kazoo")
    several = zk.transaction()
    several.create("/kazoo/t", b"")
    several.check("/kazoo/t", 0)
    several.delete("/kazoo/t")
    several.commit()
    zk.delete("/kazoo", recursive=True)
    zk.stop()
    zk.close()


def _use_ours(hosts: str) -> None:
    with zkcore.sync.connect(f"zk://{hosts}", auth=[("digest", "ada:pw")]) as zk:
        zk.create("/ours/a", b"1", makepath=True)
        zk.create("/ours/t", ttl=1000.0)
        zk.add_watch("/ours", lambda event: None, recursive=True)
        zk.list_children("/ours", with_stat=True)
        with zk.transaction() as several:
            several.create("/ours/b", b"", sequence=True)
            several.check_absent("/ours/c")
        zk.get_ephemerals()
        zk.who_am_i()
        with zkcore.sync.Lock(zk, "/ours/lock"):
            pass
        zk.delete("/ours", recursive=True)


def record(server: ZookeeperServer) -> list[Frames]:
    """What kazoo and our own client say."""
    recordings = []
    for use in (_use_kazoo, _use_ours):
        with Tee(server.hosts) as tee:
            use(tee.hosts)
        recordings.append(tee.frames)
    return recordings


_HEADER = 12
"""Bytes of a length, a number and an opcode."""


# --- garbling --------------------------------------------------------------------------------------------------------


def garble(rng: Random, recordings: Sequence[Frames]) -> bytes:
    """Something that a client might have said, and has not."""
    frames = list(rng.choice(recordings))
    for _ in range(rng.randint(1, 3)):
        whole = [index for index, frame in enumerate(frames) if len(frame) >= _HEADER]
        if whole:
            rng.choice(_WAYS)(rng, frames, rng.choice(whole), rng.choice(rng.choice(recordings)))
    return b"".join(frames)


def _turn_bits(rng: Random, frames: list[bytes], index: int, other: bytes) -> None:
    frame = bytearray(frames[index])
    for _ in range(rng.randint(1, 4)):
        frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
    frames[index] = bytes(frame)


def _turn_bits_of_the_body(rng: Random, frames: list[bytes], index: int, other: bytes) -> None:
    frame = bytearray(frames[index])
    if len(frame) > _HEADER:
        frame[rng.randrange(_HEADER, len(frame))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
    frames[index] = bytes(frame)


def _lie_about_a_length(rng: Random, frames: list[bytes], index: int, other: bytes) -> None:
    frame = frames[index]
    at = rng.choice((0, rng.randrange(len(frame) - 3)))
    lie = rng.choice((-1, -2, 0, 1, len(frame), 0xFFFFF, 0x100000, 0x7FFFFFFF, -(2**31), rng.randrange(256)))
    frames[index] = frame[:at] + struct.pack(">i", lie) + frame[at + 4 :]


def _cut(rng: Random, frames: list[bytes], index: int, other: bytes) -> None:
    frames[index] = frames[index][: rng.randrange(len(frames[index]))]
    del frames[index + 1 :]


def _cut_and_say_so(rng: Random, frames: list[bytes], index: int, other: bytes) -> None:
    body = frames[index][4 : rng.randrange(4, len(frames[index]) + 1)]
    frames[index] = struct.pack(">i", len(body)) + body


def _swap(rng: Random, frames: list[bytes], index: int, other: bytes) -> None:
    second = rng.randrange(len(frames))
    frames[index], frames[second] = frames[second], frames[index]


def _repeat(rng: Random, frames: list[bytes], index: int, other: bytes) -> None:
    frames[index:index] = [frames[index]] * rng.randint(1, 5)


def _leave_out(rng: Random, frames: list[bytes], index: int, other: bytes) -> None:
    del frames[index]


def _take_from_another(rng: Random, frames: list[bytes], index: int, other: bytes) -> None:
    frames.insert(index, other)


def _change_the_opcode(rng: Random, frames: list[bytes], index: int, other: bytes) -> None:
    opcode = rng.choice((*range(-11, 24), *range(100, 108), *range(1002, 1012), rng.getrandbits(31)))
    frames[index] = frames[index][:8] + struct.pack(">i", opcode) + frames[index][12:]


def _insert_noise(rng: Random, frames: list[bytes], index: int, other: bytes) -> None:
    frames.insert(index, rng.randbytes(rng.randint(1, 40)))


_WAYS = (
    _turn_bits, _turn_bits_of_the_body, _turn_bits_of_the_body, _lie_about_a_length, _cut, _cut_and_say_so, _swap,
    _repeat, _leave_out, _take_from_another, _change_the_opcode, _insert_noise,
)  # fmt: skip


# --- saying it -------------------------------------------------------------------------------------------------------


class Judge(logging.Handler):
    """Listens to what the server logs: why connections were closed, and whether anything went wrong in it."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.reasons: Counter[str] = Counter()
        self.wrong: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if record.levelno >= logging.WARNING:
            self.wrong.append(said)
        elif said.startswith("the connection of ") and " is closed: " in said:
            self.reasons[said.partition(" is closed: ")[2]] += 1

    @contextmanager
    def listening(self) -> Iterator[None]:
        """To the server, to its node, and to the event loop, which tells of whatever was not caught."""
        loggers = [logging.getLogger(name) for name in ("zkcore.server", "zkcore.node", "asyncio")]
        before = [logger.level for logger in loggers]
        for logger in loggers:
            logger.addHandler(self)
            logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.removeHandler(self)
                logger.setLevel(level)


class Arena:
    """A server that lives, somebody whom it serves all the time, and those who garble."""

    def __init__(self, server: ZookeeperServer) -> None:
        self.port = int(server.hosts.rpartition(":")[2])
        self._sessions: list[Session] = []
        self._served = self._connect()
        self.judge = Judge()
        self.said = 0

    def _connect(self) -> Session:
        return Session(SimpleNamespace(port=self.port, sessions=self._sessions, before_first=0))  # type: ignore[arg-type]

    def say(self, data: bytes) -> None:
        """All of it, on a connection of its own, to its end."""
        self.said += 1
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as link:
            try:
                link.sendall(data)
                link.shutdown(socket.SHUT_WR)
                while link.recv(1 << 16):
                    pass
            except ConnectionError:
                pass

    def check(self) -> None:
        """The other one is served as ever, a new one is, too, and every connection was closed with a reason."""
        for session in (self._served, self._connect()):
            session.catch_up()
            assert session.ask([Exists("/zookeeper")])[0].error == 0
        self._sessions.pop().drop()
        assert self.judge.wrong == []
        assert all(self.judge.reasons)
        assert self.judge.reasons.total() >= self.said

    def leave(self) -> None:
        while self._sessions:
            self._sessions.pop().drop()


def main(seconds: str, seed: str = "0") -> None:
    """By hand."""
    rng, until = Random(int(seed)), time.monotonic() + float(seconds)
    logging.getLogger("kazoo").setLevel(logging.CRITICAL)
    with zookeeper_server() as server:
        recordings = record(server)
        arena = Arena(server)
        with arena.judge.listening():
            while time.monotonic() < until:
                arena.say(garble(rng, recordings))
                if arena.said % 100 == 0:
                    arena.check()
            arena.check()
        arena.leave()
    print(f"{arena.said:,} connections from seed {seed}; they ended")
    kinds: Counter[str] = Counter()
    for reason, count in arena.judge.reasons.items():
        kinds["".join("#" if letter.isdigit() else letter for letter in reason)[:60]] += count
    for kind, count in kinds.most_common():
        print(f"{count:>9,}  {kind}")


if __name__ == "__main__":
    sys.path.append("tests/tree")
    main(*sys.argv[1:])
