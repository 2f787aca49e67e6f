"""Reads that need the leader's word, and the questions by which a replica gets it.

All reads that wait at a replica share one question. While it is under way the next ones gather, and share the next: so
however many reads there are, a replica has one question at its leader at a time, and the answer to a question is never
older than the reads that share it. The leader answers when a quorum has confirmed that it still leads (protocol.md
1.13).

This module must not know how a question travels.
"""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import define

from zkcore.errors import BadArgumentsError, ZkcoreError
from zkcore.replica.levels import AtLeast, ReadLevel, Sync
from zkcore.tree.requests import Request
from zkcore.zxid import Zxid, format_zxid

__all__ = ["Gated", "Questions"]


@define(eq=False)
class Gated:
    """A read in the queue of `session` that is not to be answered before its replica has applied `needs`."""

    session: int
    request: Request[Any]
    level: ReadLevel
    needs: Zxid | None = None
    """None while the leader has not said."""
    error: ZkcoreError | None = None
    """Why there is no answer, where the leader's word has shown that there can be none."""
    writes: ClassVar[bool] = False

    def on_index(self, committed: Zxid, proposed: Zxid) -> None:
        """The leader has answered: when it was asked, so much was committed, and so much proposed."""
        if isinstance(self.level, AtLeast):
            self.needs = self.level.zxid
            if self.needs > committed:
                self.needs = 0
                self.error = BadArgumentsError(
                    f"nothing beyond {format_zxid(committed)} is committed, so nobody can have seen "
                    f"{format_zxid(self.level.zxid)}: is it a zxid of another ensemble?"
                )
        else:
            self.needs = proposed if isinstance(self.request, Sync) else committed


class Questions:
    """The questions of one replica."""

    def __init__(self) -> None:
        self.waiting: list[Gated] = []
        """Those of the next question."""
        self._asked: list[Gated] = []
        self._nonce = 0

    @property
    def is_due(self) -> bool:
        """Whether there is a question to ask now."""
        return bool(self.waiting) and not self._asked

    @property
    def count(self) -> int:
        """How many reads wait for the leader's word."""
        return len(self.waiting) + len(self._asked)

    def ask(self) -> int:
        """Ask for all that wait. The answer carries this number."""
        self._asked, self.waiting = self.waiting, []
        self._nonce += 1
        return self._nonce

    def on_index(self, nonce: int, committed: Zxid, proposed: Zxid) -> list[Gated]:
        """Whose question was answered; nobody's, where `nonce` is not the question under way."""
        if nonce != self._nonce:
            return []
        answered, self._asked = self._asked, []
        for gated in answered:
            gated.on_index(committed, proposed)
        return answered

    def drop(self) -> None:
        """The leader is gone, and nobody waits any more."""
        self.waiting, self._asked = [], []
