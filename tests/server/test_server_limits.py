"""What a listener puts up with: who says nothing, comes too often, takes nothing, or goes without a word."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from bad_input import greeting, request, text

from zkcore.errors import ConfigurationError
from zkcore.replica.rules import Rules
from zkcore.server.limits import ListenerLimits
from zkcore.testing.zookeeper import ZookeeperServer, zookeeper_server
from zkcore.tree.sessions import Timeouts

Dial = Callable[[], socket.socket]


@pytest.fixture
def serve() -> Iterator[Callable[[ListenerLimits], Dial]]:
    """Starts a server with these limits, and gives what makes a connection to it."""
    with ExitStack() as stack:

        def serve(limits: ListenerLimits) -> Dial:
            rules = Rules(timeouts=Timeouts(minimum_ms=50, maximum_ms=1_000_000))
            server: ZookeeperServer = stack.enter_context(zookeeper_server(rules=rules, listener=limits))
            host, _, port = server.hosts.rpartition(":")

            def dial() -> socket.socket:
                return stack.enter_context(socket.create_connection((host, int(port)), timeout=30))

            return dial

        yield serve


def rest(link: socket.socket) -> bytes:
    """All that comes until the other side hangs up."""
    found = b""
    try:
        while more := link.recv(1 << 16):
            found += more
    except ConnectionError:
        pass
    return found


def is_served(link: socket.socket) -> bool:
    try:
        link.sendall(greeting())
        return len(link.recv(1 << 16)) == 41
    except ConnectionError:
        return False


@pytest.mark.parametrize("said", [b"", b"\0", greeting()[:-1]])
def test_who_does_not_greet_in_time_is_let_go(
    serve: Callable[[ListenerLimits], Dial], caplog: pytest.LogCaptureFixture, said: bytes
) -> None:
    caplog.set_level("INFO", logger="zkcore.server")
    dial = serve(ListenerLimits(greeting_seconds=0.05))
    half_open = dial()
    half_open.sendall(said)
    assert rest(half_open) == b""
    while not is_served(served := dial()):
        pass
    assert "is closed: it did not greet within 0.05 s" in caplog.text
    served.sendall(request(3, text("/") + b"\0"))
    assert len(served.recv(1 << 16)) == 88, "whoever has greeted may take his time"


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (ListenerLimits(connections_per_address=2), "there are 2 connections from it"),
        (ListenerLimits(connections=2), "there are 2 connections"),
    ],
)
def test_one_too_many_is_not_let_in_until_another_leaves(
    serve: Callable[[ListenerLimits], Dial], caplog: pytest.LogCaptureFixture, limits: ListenerLimits, why: str
) -> None:
    dial = serve(limits)
    first, second = dial(), dial()
    assert is_served(first)
    assert is_served(second)
    for _ in range(3):
        assert not is_served(dial())
    assert [record.getMessage() for record in caplog.records if record.name == "zkcore.server"] == [
        message for message in caplog.messages if message.endswith(f"is refused: {why}")
    ]
    first.close()
    while not is_served(dial()):  # until it is noticed
        pass
    second.sendall(request(3, text("/") + b"\0"))
    assert len(second.recv(1 << 16)) == 88


def test_who_takes_nothing_is_let_go(
    serve: Callable[[ListenerLimits], Dial], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="zkcore.server")
    dial = serve(ListenerLimits(queue_bytes=1 << 20))
    greedy, other = dial(), dial()
    assert is_served(greedy)
    assert is_served(other)
    path = text("/large")
    acl = b"\0\0\0\1" + b"\0\0\0\x1f" + text("world") + text("anyone")
    other.sendall(request(1, path + text(b"x" * 1_000_000) + acl + bytes(4)))
    assert other.recv(1 << 16)
    greedy.sendall(request(4, path + b"\0") * 20)
    assert len(rest(greedy)) < 20_000_000
    other.sendall(request(3, text("/") + b"\0"))
    assert len(other.recv(1 << 16)) == 88
    assert "it does not take what it is told: more than 1048576 bytes wait" in caplog.text


def test_who_goes_without_a_word_loses_its_session_and_its_connection(
    serve: Callable[[ListenerLimits], Dial], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="zkcore.server")
    dial = serve(ListenerLimits())
    silent = dial()
    silent.sendall(greeting(timeout=50))
    assert len(rest(silent)) == 41
    assert is_served(dial())
    assert "is closed: its session is over" in caplog.text


@pytest.mark.parametrize(
    "name", ["connections", "connections_per_address", "queue_bytes", "greeting_seconds", "read_only_seconds"]
)
def test_a_limit_is_above_nothing(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"ListenerLimits.{name} is 0; it must be above 0"):
        ListenerLimits(**{name: 0})  # type: ignore[arg-type]
