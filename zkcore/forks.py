"""What a process must not go on with after a fork: whatever belongs to the one that it was forked from.

A fork is noticed by the child, which counts; nobody has to ask the system who he is. The child also lets go, at once,
of the descriptors that are for one process only (`only_here`). Else it would keep the ports, links and directories of
its parent when that has ended: the other members would not hear of the end, and nobody could take its place. The
numbers of these descriptors then stand for nothing, so that whoever closes one later closes nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias
from weakref import WeakSet

from zkcore.errors import ForkedError

__all__ = ["Process", "only_here"]


class _File(Protocol):
    """A file or a socket."""

    def fileno(self) -> int:
        """Its descriptor; negative once it is closed."""


class _Transport(Protocol):
    """A transport, of whatever event loop."""

    def get_extra_info(self, name: str) -> Any:
        """Of its "socket", which one on virtual time has not."""


class _Server(Protocol):
    """What listens, of whatever event loop."""

    @property
    def sockets(self) -> Iterable[_File]:
        """Where."""


_Held: TypeAlias = _File | _Transport | _Server

_forks = 0
_only_here: WeakSet[_Held] = WeakSet()


def only_here(what: _Held) -> None:
    """No process that is forked from this one has `what`. It is forgotten with its last reference."""
    _only_here.add(what)


def _files_of(what: Any) -> Iterable[_File]:
    if hasattr(what, "get_extra_info"):
        shown = what.get_extra_info("socket")
        return [shown] if shown is not None else []
    files: Iterable[_File] = what.sockets if hasattr(what, "sockets") else [what]
    return files


def _begin_child() -> None:
    global _forks
    _forks += 1
    nothing = os.open(os.devnull, os.O_RDWR)
    for what in list(_only_here):
        for file in _files_of(what):
            if file.fileno() >= 0:
                os.dup2(nothing, file.fileno(), inheritable=False)
    os.close(nothing)
    _only_here.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)


class Process:
    """The process that something was made in."""

    def __init__(self) -> None:
        self._forks = _forks
        self._pid = os.getpid()

    @property
    def is_here(self) -> bool:
        """Whether it is the one that runs."""
        return self._forks == _forks

    def check(self) -> None:
        """Raises ForkedError elsewhere."""
        if self._forks != _forks:
            raise ForkedError(
                f"this was made in process {self._pid}, from which process {os.getpid()} was forked later, and belongs "
                "to that one; make a new cluster or node and a new client in each process, after the fork"
            )
