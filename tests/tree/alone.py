"""A leader without followers: what it prepares it applies to its own tree, at once or when told."""

from __future__ import annotations

from collections import deque
from typing import Any

from zkcore.jute.records import Id
from zkcore.tree.acl import Access, Caller
from zkcore.tree.applied import Applied
from zkcore.tree.prepare import Guard, Preparer
from zkcore.tree.requests import CreateSession, Request
from zkcore.tree.tree import Tree

EPOCH = 1 << 32


class Alone:
    """Session 1 lives from zxid 1 of epoch 1 on; the clock shows a second more with every transaction."""

    def __init__(self, *sessions: int, access: Access | None = None, guard: Guard | None = None) -> None:
        self.tree = Tree(access)
        self.preparer = Preparer(self.tree, guard=guard or Guard())
        self.zxid = EPOCH
        self.payloads: list[bytes] = []
        self.outstanding: deque[tuple[int, Request[Any], bytes]] = deque()
        for session in sessions or (1,):
            self.do(CreateSession(4000), session=session)

    @property
    def now_ms(self) -> int:
        return (self.zxid - EPOCH) * 1000

    def propose(self, request: Request[Any], *, session: int = 1, ids: tuple[Id, ...] = ()) -> None:
        """Prepare `request`; it stays outstanding."""
        self.zxid += 1
        payload = self.preparer.prepare(self.zxid, self.now_ms, session, 7, request, ids)
        self.outstanding.append((self.zxid, request, payload))

    def commit(self) -> Any:
        """Apply the oldest outstanding transaction and answer its request: the result, or raise."""
        request, applied = self.commit_quietly()
        return self.tree.result(request, applied)

    def commit_quietly(self) -> tuple[Request[Any], Applied]:
        zxid, request, payload = self.outstanding.popleft()
        self.payloads.append(payload)
        return request, self.tree.apply(zxid, payload)

    def do(self, request: Request[Any], *, session: int = 1, ids: tuple[Id, ...] = ()) -> Any:
        """Prepare and apply `request`, and answer it."""
        assert not self.outstanding
        self.propose(request, session=session, ids=ids)
        return self.commit()

    def ask(self, request: Request[Any], *, session: int = 1, ids: tuple[Id, ...] = ()) -> Any:
        """The answer to a request that reads."""
        return self.tree.read(request, Caller(session, ids))

    def outcome(self, request: Request[Any], *, session: int = 1, ids: tuple[Id, ...] = ()) -> Any:
        """As `do` or `ask`; an error is given by its class."""
        try:
            return (self.do if request.writes else self.ask)(request, session=session, ids=ids)
        except Exception as error:
            return type(error)
