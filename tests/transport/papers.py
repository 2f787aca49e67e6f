"""What an attacker has of TLS: certificates of two members, and one worth nothing; and handshakes that it breaks."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from random import Random

from certificates import Authority
from stranger import Stranger

from zkcore.transport.tls import Contexts, TlsFiles

__all__ = ["Papers", "turned"]


class Papers:
    """`authority` signs for the ensemble; the attacker has the papers of the members that `has` names, which are to be
    `played`, and some that the ensemble does not believe."""

    def __init__(self, rng: Random, authority: Authority, folder: Path, *, dialled: int, calling: int) -> None:
        elsewhere = folder / "other"
        elsewhere.mkdir()
        self._rng = rng
        self._good = {me: _papers(authority, me) for me in (dialled, calling)}
        self._foreign = _papers(Authority(elsewhere), calling)
        for context in (self._foreign.dialling, self._foreign.accepting):
            context.verify_mode = ssl.CERT_NONE  # it takes whoever it meets
        self._dialled, self._calling = dialled, calling
        self.accepting = self._good[dialled].accepting
        """For the port of the member that is dialled; who answers there changes from call to call."""
        self.accepting.sni_callback = self._answer_as

    def dialling(self) -> ssl.SSLContext:
        """To call a member with: mostly what the caller should have."""
        return self._one_of(self._calling, lambda papers: papers.dialling)

    def _answer_as(self, tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        tls.context = self._one_of(self._dialled, lambda papers: papers.accepting)

    def _one_of(self, right: int, side: Callable[[Contexts], ssl.SSLContext]) -> ssl.SSLContext:
        wrong = self._calling + self._dialled - right
        return side(self._rng.choice([self._good[right]] * 6 + [self._good[wrong], self._foreign]))

    async def tear(self, stranger: Stranger) -> None:
        """TLS that goes wrong: at its beginning, at the end of its handshake, or in what is said afterwards."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._good[self._calling].dialling.wrap_bio(incoming, outgoing, server_side=False)
        flights, bad = 0, self._rng.randrange(3)
        while True:
            try:
                tls.do_handshake()
                tls.write(self._rng.randbytes(40))
            except ssl.SSLWantReadError:
                pass
            said = outgoing.read()
            if said:
                stranger.write(self._damaged(said) if flights == bad else said)
                if flights == bad:
                    return
                flights += 1
            heard = await stranger.reader.read(1 << 16)
            if not heard:
                return
            incoming.write(heard)

    def _damaged(self, said: bytes) -> bytes:
        rng = self._rng
        return rng.choice([turned(rng, said), said[: rng.randrange(len(said))], said + said, said + rng.randbytes(99)])


def _papers(authority: Authority, me: int) -> Contexts:
    return TlsFiles(authority.member(me), identity=f"zk-{me}.test").contexts()


def turned(rng: Random, body: bytes) -> bytes:
    """`body` with some bits that are others."""
    changed = bytearray(body)
    for _ in range(rng.choice((1, 1, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)
