"""Members under attack from the network, while their clients write.

    python fuzzing.py --seconds 600 --seed 0

Three voters know two more members that do not exist: number 1, which they dial, and number 9, which calls them. Both
are played here, as badly as can be: by strangers, who do not know the secret or have no certificate, and by a member
that does and says nonsense. No attack may do more than cost its connection; every error that is logged, and every time
without a write, is a failure.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))

from certificates import Authority
from papers import Papers, turned
from ports import Ports
from stranger import Stranger

import zkcore
from zkcore.errors import ProtocolError
from zkcore.transport.framing import frame
from zkcore.transport.handshake import Handshake, Mode, Terms
from zkcore.transport.security import Security, mode_of
from zkcore.transport.wire import encode
from zkcore.zab import messages as zab

__all__ = ["KINDS", "Attack", "under_attack"]

SECRET = b"known to all members"
VOTERS = (2, 3, 4)
DIALLED, CALLING = 1, 9
LIMITS = zkcore.LinkLimits(
    handshake_seconds=1,
    redial_seconds=0.01,
    redial_most_seconds=0.02,
    dials_per_second=1e6,
    dials_at_once=10**6,
    log_every_seconds=0.01,
)

_FEATURES = (
    b"GET / HTTP/1.1\r\nHost: zkcore\r\n\r\n",
    bytes.fromhex("16030100c8010000c40303") + bytes(189),  # how TLS begins
    b"ruok",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0" * 100,
)


KINDS = ("secret", "plaintext", "tls")
"""How the members know each other."""


class Attack:
    """One hostile party, whose deeds a seed decides, and the ensemble it is after, of a kind of KINDS. Certificates are
    kept in `folder`."""

    def __init__(self, rng: Random, kind: str, folder: Path) -> None:
        self.rng = rng
        self.done: Counter[str] = Counter()
        self.papers: Papers | None = None
        self._authority: Authority | None = None
        self._plain = zkcore.SharedSecret(SECRET) if kind == "secret" else zkcore.Plaintext()
        if kind == "tls":
            self._authority = Authority(folder)
            self.papers = Papers(rng, self._authority, folder, dialled=DIALLED, calling=CALLING)
        self._recorded: list[bytes] = []

    def security(self, me: int) -> Security:
        """That of member `me`."""
        return self._authority.member(me) if self._authority is not None else self._plain

    def terms(self, me: int) -> Terms:
        mode = Mode.TLS if self.papers is not None else mode_of(self._plain)
        return Terms(me=me, cluster="fuzz", mode=mode, secret=SECRET if mode is Mode.SECRET else b"")

    # --- calling

    async def call(self, address: str, member: int) -> None:
        """One connection to a member, and something bad on it."""
        attacks = [self.garbage, self.truncate, self.replay, self.mutate, self.betray, self.betray]
        papers = self.papers
        attack = self.rng.choice(attacks if papers is None else [*attacks, self.tear, self.tear])
        self.done[attack.__name__] += 1
        raw = papers is None or attack == self.tear or (attack == self.garbage and self.rng.random() < 0.5)
        try:
            async with Stranger.calling(address, tls=None if raw or papers is None else papers.dialling()) as stranger:
                await attack(stranger, member)
                if self.rng.random() < 0.5:
                    await asyncio.wait_for(stranger.hung_up(), 0.01)
        except (ProtocolError, EOFError, TimeoutError, OSError):
            pass  # it hung up, as it should

    async def garbage(self, stranger: Stranger, member: int) -> None:
        """What has nothing to do with the protocol."""
        if self.rng.random() < 0.5:
            stranger.write(self.rng.choice(_FEATURES))
        else:
            stranger.write(self.rng.randbytes(self.rng.randrange(3000)))

    async def tear(self, stranger: Stranger, member: int) -> None:
        """See `Papers.tear`."""
        assert self.papers is not None
        await self.papers.tear(stranger)

    def _hello(self, member: int) -> Handshake:
        nonce = self.rng.randbytes(32)
        return Handshake(self.terms(CALLING), nonce=nonce, dials=member, admits=lambda peer: None)

    async def truncate(self, stranger: Stranger, member: int) -> None:
        """A handshake that ends anywhere, or whose frame is longer than it says, or far too long."""
        hello = frame(self._hello(member).begin() or b"")
        cut = self.rng.randrange(len(hello))
        stranger.write(self.rng.choice([hello[:cut], hello[:cut] + hello, self.rng.randbytes(2) + hello]))

    async def replay(self, stranger: Stranger, member: int) -> None:
        """What was once said by one that was let in."""
        for body in self._recorded:
            stranger.write(frame(body))
        await stranger.next_frame()

    async def mutate(self, stranger: Stranger, member: int) -> None:
        """A handshake in which bits were turned."""
        handshake = self._hello(member)
        body = handshake.begin()
        while body is not None and not handshake.done:
            if self.rng.random() < 0.7:
                body = turned(self.rng, body)
            stranger.write(frame(body))
            body = handshake.receive(await stranger.next_frame())

    async def betray(self, stranger: Stranger, member: int) -> None:
        """One that knows the secret, and then says nonsense."""
        handshake = self._hello(member)
        said, body = [], handshake.begin()
        while not handshake.done:
            if body is not None:
                said.append(body)
                stranger.write(frame(body))
            body = handshake.receive(await stranger.next_frame())
        self._recorded = said
        stranger.seals = handshake.seals()
        self._say_nonsense(stranger)

    def _say_nonsense(self, stranger: Stranger) -> None:
        rng = self.rng
        frames = []
        for _ in range(rng.randrange(1, 12)):
            body = self._message() if rng.random() < 0.7 else rng.randbytes(rng.randrange(60))
            body = turned(self.rng, body) if body and rng.random() < 0.4 else body
            frames.append(stranger.seals[0].seal(body) if stranger.seals is not None else body)
        meddle = rng.randrange(6)
        if meddle == 0:
            rng.shuffle(frames)
        elif meddle == 1:
            frames *= 2
        elif meddle == 2:
            frames = [turned(self.rng, each) if each else each for each in frames]
        data = b"".join(map(frame, frames))
        if meddle == 3:
            data = data[: rng.randrange(len(data))]
        elif meddle == 4:
            data += rng.randbytes(4) + data
        stranger.write(data)

    def _message(self) -> bytes:
        """Something that members say, at the wrong time and with other numbers."""
        rng = self.rng
        number = rng.choice((0, 1, rng.getrandbits(8), rng.getrandbits(32), rng.getrandbits(64)))
        zxid = (rng.randrange(4) << 32) | rng.randrange(5)
        return encode(rng.choice([
            zab.Vote(rng.choice(list(zab.Role)), rng.randrange(256), zxid, rng.randrange(4), number),
            zab.FollowerInfo(rng.randrange(8)), zab.LeaderInfo(rng.randrange(8)), zab.Diff(zxid), zab.Trunc(zxid),
            zab.Snap(zxid, number), zab.SnapData(number, rng.randbytes(20), rng.random() < 0.5), zab.SnapAck(number),
            zab.NewLeader(rng.randrange(8)), zab.UpToDate(zxid), zab.Ack(number), zab.Commit(zxid), zab.Ping(number),
            zab.Proposal(zxid + 1, (rng.randbytes(9),)), zab.Forward(rng.randbytes(rng.randrange(200))),
            zab.SyncAck(number), zab.Repaired(rng.randrange(4)), zab.HandOff(rng.randrange(1, 9), rng.randrange(4)),
        ]))  # fmt: skip

    # --- being dialled

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection from a member, and something bad on it."""
        stranger = Stranger(reader, writer)
        handshake = Handshake(
            self.terms(DIALLED), nonce=self.rng.randbytes(32), dials=None, admits=lambda peer: None
        )  # fmt: skip
        self.done["answer"] += 1
        try:
            bad = self.rng.random() < 0.5
            while not handshake.done:
                body = handshake.receive(await stranger.next_frame())
                if body is not None:
                    stranger.write(frame(turned(self.rng, body) if bad and self.rng.random() < 0.5 else body))
                if bad and self.rng.random() < 0.2:
                    stranger.write(self.rng.randbytes(self.rng.randrange(100)))
            stranger.seals = handshake.seals()
            self._say_nonsense(stranger)
            await asyncio.wait_for(stranger.hung_up(), 0.05)
        except (ProtocolError, EOFError, TimeoutError, OSError):
            pass
        finally:
            writer.transport.abort()


class Errors(logging.Handler):
    """Keeps what is logged as an error by anybody."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


async def under_attack(attack: Attack, more: Callable[[], bool]) -> tuple[int, list[str]]:
    """Attack as long as `more` says; how many writes the clients were told of, and the errors that were logged."""
    ports, errors = Ports(), Errors()
    members = {me: ports.take() for me in (DIALLED, *VOTERS, CALLING)}
    logging.getLogger().addHandler(errors)
    try:
        async with AsyncExitStack() as stack:
            host, _, port = members[DIALLED].rpartition(":")
            accepting = attack.papers.accepting if attack.papers is not None else None
            server = await asyncio.start_server(attack.answer, host, int(port), reuse_address=True, ssl=accepting)
            stack.callback(server.close)
            nodes = [
                await stack.enter_async_context(
                    zkcore.start_node(
                        zkcore.NodeConfig(
                            me=me, members=members, observers=[DIALLED, CALLING],
                            security=attack.security(me), links=LIMITS, storage=zkcore.MemoryStorage(),
                            cluster="fuzz",
                        )
                    )
                )
                for me in VOTERS
            ]  # fmt: skip
            clients = [await stack.enter_async_context(node.client()) for node in nodes]
            written = await _attack(attack, {me: members[me] for me in VOTERS}, clients, more)
    finally:
        logging.getLogger().removeHandler(errors)
        ports.close()
    return written, errors.lines


async def _attack(
    attack: Attack, addresses: dict[int, str], clients: list[zkcore.EmbeddedClient], more: Callable[[], bool]
) -> int:
    written = 0
    paths = [f"/{number}" for number in range(len(clients))]
    for path, client in zip(paths, clients, strict=True):
        await client.create(path)
    while more():
        me = attack.rng.choice(VOTERS)
        calls: list[Awaitable[object]] = [
            attack.call(addresses[me], me) for _ in range(attack.rng.randrange(1, 5))
        ]  # fmt: skip
        writes = [client.set(path, b"x") for path, client in zip(paths, clients, strict=True)]
        async with asyncio.timeout(30):
            await asyncio.gather(*calls, *writes)
        written += len(writes)
    for path, client in zip(paths, clients, strict=True):
        assert (await client.get(path)).stat.version == written // len(clients)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=KINDS, help="all, where none is named")
    options = parser.parse_args()
    logging.getLogger("zkcore").setLevel(logging.ERROR)
    for kind in options.kind or KINDS:
        until = time.monotonic() + options.seconds / len(options.kind or KINDS)
        began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with tempfile.TemporaryDirectory() as folder:
            attack = Attack(Random(options.seed), kind, Path(folder))
            written, errors = asyncio.run(under_attack(attack, lambda: time.monotonic() < until))  # noqa: B023
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(kind, dict(attack.done), f"{written} writes, {began >> 10} to {most >> 10} MiB", flush=True)
        for line in errors[:20]:
            print("ERROR", line)
        if errors or not written:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
