"""Questions to a member, on a connection of their own, by those who are no members yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from certificates import Authority
from ports import Ports
from stranger import CLUSTER, QUICK, Stranger, eventually, opened, terms_of

from zkcore.errors import AuthFailedError, ConfigurationError, ConnectionLostError
from zkcore.transport import asking
from zkcore.transport.asking import Asking
from zkcore.transport.handshake import ANYBODY
from zkcore.transport.security import Plaintext, Security, SharedSecret
from zkcore.transport.tls import TlsFiles
from zkcore.transport.wire import encode
from zkcore.zab.messages import Forward, PeerId, Ping

SECRET = SharedSecret(b"known to all members")


@pytest.fixture
def at() -> Iterator[dict[int, str]]:
    ports = Ports()
    yield {me: ports.take() for me in (1, 2, 9)}
    ports.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(bounded())


def asker(at: dict[int, str], security: Security = SECRET, *, cluster: str = CLUSTER) -> Asking:
    return Asking(9, at[9], cluster=cluster, security=security, limits=QUICK)


async def echo(peer: PeerId, question: bytes, why_mistaken: Callable[[str], str | None]) -> bytes:
    return b"%d asks %s" % (peer, question)


@pytest.mark.parametrize("security", [SECRET, Plaintext()], ids=["secret", "plaintext"])
def test_a_stranger_has_an_answer_and_no_link(at: dict[int, str], security: Security) -> None:
    async def test() -> None:
        async with opened({1: at[1], 2: at[2]}, [1, 2], security=security) as (transports, inboxes):
            await eventually(lambda: inboxes[1].is_linked(2))
            transports[1].answer_with(echo)
            assert await asker(at, security).ask(at[1], b"who is there?", patience=20) == b"9 asks who is there?"
            # As a member that runs, it is no other link either.
            twin = Asking(2, at[2], cluster=CLUSTER, security=security, limits=QUICK)
            assert await twin.ask(at[1], b"me?", patience=20) == b"2 asks me?"
            assert [what[:2] for what in inboxes[1].record] == [("linked", 2)]
            assert transports[1]._seldom._said == {}

    run(test)


def test_a_question_waits_for_one_who_answers(at: dict[int, str]) -> None:
    async def test() -> None:
        async with opened({1: at[1]}, [1], security=SECRET) as (transports, _):
            asked = asyncio.create_task(asker(at).ask(at[1], b"?", patience=20))
            await eventually(lambda: transports[1]._answering._open)
            transports[1].answer_with(echo)
            assert await asked == b"9 asks ?"

    run(test)


def test_whoever_does_not_belong_is_refused_and_told_why(at: dict[int, str]) -> None:
    async def test() -> None:
        async with opened({1: at[1]}, [1], security=SECRET) as (transports, _):
            transports[1].answer_with(echo)
            for other, why in (
                (asker(at, SharedSecret(b"guessed by somebody")), "does not know the secret of member 1"),
                (asker(at, cluster="stock"), "a member of cluster 'stock' and member 1 of another do not talk"),
                (asker(at, Plaintext()), "give all members the same security"),
            ):
                with pytest.raises(AuthFailedError, match=why):
                    await other.ask(at[1], b"?", patience=20)
            with pytest.raises(ConnectionLostError, match=r"does not answer: .*Connect call failed"):
                await asker(at).ask(at[2], b"?", patience=20)
            with pytest.raises(ConfigurationError, match="join is 'nowhere'"):
                await asker(at).ask("nowhere", b"?", patience=20)

    run(test)


def test_nobody_waits_for_ever(at: dict[int, str]) -> None:
    async def test() -> None:
        async with opened({1: at[1]}, [1], security=SECRET):
            with pytest.raises(ConnectionLostError, match="no answer in time"):
                await asker(at).ask(at[1], b"?", patience=0.05)

    run(test)


def test_what_is_no_question_has_no_answer_and_too_many_have_none(
    at: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_MOST", 1)

    async def test() -> None:
        async with opened({1: at[1]}, [1]) as (transports, inboxes), Stranger.calling(at[1]) as stranger:
            transports[1].answer_with(echo)
            await stranger.greet(terms_of(9), ANYBODY)
            async with Stranger.calling(at[1]) as second:
                await second.greet(terms_of(8), ANYBODY)
                await second.hung_up()
            stranger.send(encode(Ping(1)))
            assert await stranger.hung_up() == []
            async with Stranger.calling(at[1]) as third:
                await third.greet(terms_of(8), ANYBODY)
                third.send(encode(Forward(b"?")))
                assert await third.next_frame() == encode(Forward(b"8 asks ?"))
            assert inboxes[1].record == []

    run(test)


def test_certificates_say_who_asks_and_who_answers(at: dict[int, str], tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def check(peer: PeerId, question: bytes, why_mistaken: Callable[[str], str | None]) -> bytes:
        return (why_mistaken(at[9]) or "welcome").encode()

    async def test() -> None:
        async with opened({1: at[1]}, [1], security=authority.member(1)) as (transports, _):
            transports[1].answer_with(check)
            assert await asker(at, authority.member(9)).ask(at[1], b"?", patience=20) == b"welcome"
            # Somebody else's certificate, by the same authority.
            thief = asker(at, authority.member(9))
            thief._tls = TlsFiles(authority.member(8), identity="zk-8.test")
            assert (await thief.ask(at[1], b"?", patience=20)).startswith(b"member 9 is zk-9.test, and the certificate")
            with pytest.raises(AuthFailedError, match="who answers as member 1 should be zk-1"):
                await asker(at, authority.member(9, identity="zk-{id}.other", names=("zk-9.other",))).ask(
                    at[1], b"?", patience=20
                )

    run(test)
