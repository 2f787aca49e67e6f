"""A client of ZooKeeper's protocol that costs next to nothing: the bytes of one request again and again, and the bytes
of the answers counted. What it measures is the server, and not a client library.

The bytes are written down here and not by zkcore: both kinds of servers get the same.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections.abc import Callable, Sequence

from inprocess import Result

__all__ = ["Frames", "create", "get_data", "run_awaited", "run_pipelined", "set_data"]

_SESSION_MS = 30_000
_CHUNK_BYTES = 1 << 18
_SET_DATA, _GET_DATA, _CREATE = 5, 4, 1
_ACL_OF_ALL = struct.pack(">iii5si6s", 1, 31, 5, b"world", 6, b"anyone")


def _frame(opcode: int, body: bytes) -> bytes:
    return struct.pack(">iii", len(body) + 8, 1, opcode) + body


def _buffer(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


def create(path: str, data: bytes) -> bytes:
    return _frame(_CREATE, _buffer(path.encode()) + _buffer(data) + _ACL_OF_ALL + struct.pack(">i", 0))


def set_data(path: str, data: bytes) -> bytes:
    return _frame(_SET_DATA, _buffer(path.encode()) + _buffer(data) + struct.pack(">i", -1))


def get_data(path: str) -> bytes:
    return _frame(_GET_DATA, _buffer(path.encode()) + b"\0")


class Frames:
    """One connection with a session of its own. Raises OSError where there is none, or the server ends it."""

    def __init__(self, port: int, *, patience: float = 30.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=patience)
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._send(struct.pack(">iiqiqi16s?", 45, 0, 0, _SESSION_MS, 0, 16, bytes(16), False))
            self._receive()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Frames:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Break the connection; the session is left to expire."""
        self.socket.close()

    def ask(self, request: bytes) -> int:
        """Send it, wait for the answer, and say how long that was with its length before it. Raises RuntimeError where
        it is an error."""
        self._send(request)
        answer = self._receive()
        (code,) = struct.unpack_from(">i", answer, 12)
        if code:
            raise RuntimeError(f"a server answered with error {code}")
        return len(answer) + 4

    def _send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def _receive(self) -> bytes:
        return self._exactly(*struct.unpack(">i", self._exactly(4)))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise ConnectionError("the server closed the connection")
            data += more
        return data


class _Pipe:
    """Keeps so many of one request under way on one connection."""

    def __init__(self, port: int, request: bytes) -> None:
        self.frames = Frames(port)
        self._request = request
        self._size = self.frames.ask(request)
        self._bytes = 0
        self.answered = 0

    def send(self, count: int) -> None:
        self.frames.socket.sendall(self._request * count)

    def receive(self) -> int:
        """How many answers have come."""
        data = self.frames.socket.recv(_CHUNK_BYTES)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._bytes += len(data)
        fresh = self._bytes // self._size - self.answered
        self.answered += fresh
        return fresh

    def drain(self, count: int) -> None:
        """Until `count` have been answered. An error would be shorter than an answer."""
        while self.answered < count:
            self.receive()
        assert self._bytes == count * self._size, "a server answered with an error"


def run_pipelined(
    ports: Sequence[int], request: bytes, *, window: int, seconds: float, cpu_clock: Callable[[], float]
) -> Result:
    """`window` of `request` under way for so long, spread over a connection to each of the servers."""
    pipes = [_Pipe(port, request) for port in ports]
    share = window // len(pipes)
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe.frames.socket, selectors.EVENT_READ, pipe)
        cpu, begin = cpu_clock(), time.perf_counter()
        for pipe in pipes:
            pipe.send(share)
        while (now := time.perf_counter()) < begin + seconds or not any(pipe.answered for pipe in pipes):
            for key, _ in selector.select(timeout=seconds):
                fresh = key.data.receive()
                if fresh:
                    key.data.send(fresh)
        result = Result(sum(pipe.answered for pipe in pipes), now - begin, cpu_clock() - cpu)
    for pipe in pipes:
        pipe.drain(pipe.answered + share)
        pipe.frames.close()
    return result


def run_awaited(port: int, request: bytes, *, seconds: float, cpu_clock: Callable[[], float]) -> Result:
    """One after the other, each awaited."""
    latencies: list[float] = []
    with Frames(port) as frames:
        cpu = cpu_clock()
        now = begin = time.perf_counter()
        while now < begin + seconds:
            frames.ask(request)
            then, now = now, time.perf_counter()
            latencies.append(now - then)
    return Result(len(latencies), now - begin, cpu_clock() - cpu, tuple(latencies))
