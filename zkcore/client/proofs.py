"""Who a session says it is, at every server anew: its credentials, in the order in which they were given.

This module must not know what the schemes are, nor how a server is reached.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from attrs import define

from zkcore.client.connection import Connection
from zkcore.client.dialogue import Reply, prove
from zkcore.errors import AuthFailedError, MalformedFrameError, ZkcoreError

__all__ = ["Proofs"]


@define(eq=False)
class _Proof:
    """Credentials. `accepted` is there while somebody waits for the first answer."""

    scheme: str
    credentials: bytes
    accepted: asyncio.Future[None] | None = None

    def settle(self, error: ZkcoreError | None) -> bool:
        """Tell who waits; whether anybody does."""
        if self.accepted is None or self.accepted.done():
            return False
        if error is None:
            self.accepted.set_result(None)
        else:
            self.accepted.set_exception(error)
        return True


class Proofs:
    """The credentials of one session: pairs of a scheme and what it wants to see."""

    def __init__(self, given: Iterable[tuple[str, bytes]]) -> None:
        self._proofs = [_Proof(*each) for each in given]
        self._shown: deque[_Proof] = deque()  # to the server of now, which has not answered yet

    async def add(self, scheme: str, credentials: bytes, link: Connection | None) -> None:
        """Show one more from now on; waits until a server has accepted it, now or after a reconnect. Raises
        AuthFailedError, and what `end` is given."""
        proof = _Proof(scheme, credentials, asyncio.get_running_loop().create_future())
        self._proofs.append(proof)
        if link is not None:
            self._show(link, proof)
        assert proof.accepted is not None
        try:
            await proof.accepted
        finally:
            proof.accepted = None

    def show_all(self, link: Connection) -> None:
        """There is another server."""
        self._shown.clear()
        for proof in self._proofs:
            self._show(link, proof)

    def on_reply(self, reply: Reply) -> AuthFailedError | None:
        """The answer to the oldest that was shown. An error that nobody waited for is given back: the session goes on
        without that id. Raises MalformedFrameError."""
        if not self._shown:
            raise MalformedFrameError("an answer to credentials that were not shown")
        proof = self._shown.popleft()
        if not reply.code:
            proof.settle(None)
            return None
        if proof in self._proofs:
            self._proofs.remove(proof)
        error = AuthFailedError(f"the credentials of the scheme {proof.scheme} were not accepted")
        return None if proof.settle(error) else error

    def end(self, error: ZkcoreError) -> None:
        """The session is over."""
        for proof in self._proofs:
            proof.settle(type(error)(str(error)))

    def _show(self, link: Connection, proof: _Proof) -> None:
        self._shown.append(proof)
        link.send(prove(proof.scheme, proof.credentials))
