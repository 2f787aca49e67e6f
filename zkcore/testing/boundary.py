"""The edge of virtual time: what a simulated loop does not have, and the errors that say so.

This module must not know how the loop works.
"""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

from zkcore import errors
from zkcore.errors import ZkcoreError

__all__ = [
    "Boundary",
    "BoundaryError",
    "DeadlockError",
    "ForeignLoopError",
    "LivelockError",
    "LoopClosedError",
    "SimulationError",
    "refuse",
]


class SimulationError(ZkcoreError):
    """Something the virtual loop cannot do, or the code under test will never do."""


class BoundaryError(SimulationError):
    """Something outside of the virtual loop was asked for: a socket, a thread, a process, a signal."""


class DeadlockError(SimulationError):
    """Nothing is ready and no timer is set: the tasks wait for something that cannot come."""


class LivelockError(SimulationError):
    """Steps follow each other and time stands still: a task never sleeps, or two wake each other for ever."""


class ForeignLoopError(SimulationError, errors.ForeignLoopError):
    """What lives on a virtual loop was used from another event loop, or from none."""


class LoopClosedError(SimulationError, RuntimeError):
    """What lived on a virtual loop was used after its test had ended."""


def refuse(what: str) -> NoReturn:
    """Raises BoundaryError."""
    raise BoundaryError(
        f"{what}: there is no such thing on virtual time. Put an object of your own in its place in the test, or test "
        "this part on a real event loop"
    )


def _refusal(name: str) -> Any:
    def method(self: object, *args: object, **options: object) -> NoReturn:
        refuse(f"{name}()")

    method.__name__ = name
    return method


class Boundary(asyncio.AbstractEventLoop):
    """The methods of an event loop that lead outside. Each raises BoundaryError."""

    add_reader = _refusal("add_reader")
    remove_reader = _refusal("remove_reader")
    add_writer = _refusal("add_writer")
    remove_writer = _refusal("remove_writer")
    sock_recv = _refusal("sock_recv")
    sock_recv_into = _refusal("sock_recv_into")
    sock_recvfrom = _refusal("sock_recvfrom")
    sock_recvfrom_into = _refusal("sock_recvfrom_into")
    sock_sendall = _refusal("sock_sendall")
    sock_sendto = _refusal("sock_sendto")
    sock_connect = _refusal("sock_connect")
    sock_accept = _refusal("sock_accept")
    sock_sendfile = _refusal("sock_sendfile")
    create_connection = _refusal("create_connection")
    create_server = _refusal("create_server")
    sendfile = _refusal("sendfile")
    start_tls = _refusal("start_tls")
    create_unix_connection = _refusal("create_unix_connection")
    create_unix_server = _refusal("create_unix_server")
    connect_accepted_socket = _refusal("connect_accepted_socket")
    create_datagram_endpoint = _refusal("create_datagram_endpoint")
    connect_read_pipe = _refusal("connect_read_pipe")
    connect_write_pipe = _refusal("connect_write_pipe")
    subprocess_shell = _refusal("subprocess_shell")
    subprocess_exec = _refusal("subprocess_exec")
    add_signal_handler = _refusal("add_signal_handler")
    remove_signal_handler = _refusal("remove_signal_handler")
    getaddrinfo = _refusal("getaddrinfo")
    getnameinfo = _refusal("getnameinfo")
    set_default_executor = _refusal("set_default_executor")
    set_exception_handler = _refusal("set_exception_handler")
