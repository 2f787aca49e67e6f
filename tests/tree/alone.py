"""A leader without followers: what it prepares it applies to its own tree, at once or when told."""

from __future__ import annotations

from collections import deque
from typing import Any

from zkcore.tree.applied import Applied
from zkcore.tree.prepare import Preparer
from zkcore.tree.requests import CreateSession, Request
from zkcore.tree.tree import Tree

EPOCH = 1 << 32


class Alone:
    """Session 1 lives from zxid 1 of epoch 1 on; the clock shows a second more with every transaction."""

    def __init__(self, *sessions: int) -> None:
        self.tree = Tree()
        self.preparer = Preparer(self.tree)
        self.zxid = EPOCH
        self.payloads: list[bytes] = []
        self.outstanding: deque[tuple[int, Request[Any], bytes]] = deque()
        for session in sessions or (1,):
            self.do(CreateSession(4000), session=session)

    @property
    def now_ms(self) -> int:
        return (self.zxid - EPOCH) * 1000

    def propose(self, request: Request[Any], *, session: int = 1) -> None:
        """Prepare `request`; it stays outstanding."""
        self.zxid += 1
        payload = self.preparer.prepare(self.zxid, self.now_ms, session, 7, request)
        self.outstanding.append((self.zxid, request, payload))

    def commit(self) -> Any:
        """Apply the oldest outstanding transaction and answer its request: the result, or raise."""
        request, applied = self.commit_quietly()
        return self.tree.result(request, applied)

    def commit_quietly(self) -> tuple[Request[Any], Applied]:
        zxid, request, payload = self.outstanding.popleft()
        self.payloads.append(payload)
        return request, self.tree.apply(zxid, payload)

    def do(self, request: Request[Any], *, session: int = 1) -> Any:
        """Prepare and apply `request`, and answer it."""
        assert not self.outstanding
        self.propose(request, session=session)
        return self.commit()
