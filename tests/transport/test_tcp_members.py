"""Members that come, go and move while they are linked over TCP, and hear of it at different moments."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from certificates import Authority
from ports import Ports
from stranger import Stranger, eventually, opened, terms_of

from zkcore.errors import ProtocolError
from zkcore.transport import Relinking
from zkcore.transport.places import Places
from zkcore.transport.security import SharedSecret
from zkcore.zab.messages import Ping


@pytest.fixture
def addresses() -> Iterator[dict[int, str]]:
    ports = Ports()
    yield {me: ports.take() for me in (1, 2, 3, 4)}
    ports.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(bounded())


def some(addresses: dict[int, str], *members: int) -> dict[int, str]:
    return {me: addresses[me] for me in members}


def test_who_is_added_is_linked_whoever_hears_of_it_first(addresses: dict[int, str]) -> None:
    async def test() -> None:
        old, new = some(addresses, 1, 3), some(addresses, 1, 2, 3)
        async with opened(old, [1, 3]) as (transports, inboxes), opened(new, [2]) as (_, newcomer):
            await eventually(lambda: inboxes[1].is_linked(3))
            assert isinstance(transports[1], Relinking)
            # The newcomer dials 1, which does not know it yet, and is refused; 3, which should dial it, does not.
            await eventually(lambda: transports[1]._seldom._said)
            assert newcomer[2].record == []
            transports[1].set_members(new, version=5, sure=True)
            await eventually(lambda: newcomer[2].is_linked(1) and inboxes[1].is_linked(2))
            transports[3].set_members(new, version=5, sure=True)
            await eventually(lambda: newcomer[2].is_linked(3) and inboxes[3].is_linked(2))
            assert len(inboxes[1].messages(3)) == 1

    run(test)


def test_who_is_removed_keeps_its_link_and_gets_no_other(addresses: dict[int, str]) -> None:
    async def test() -> None:
        old, new = some(addresses, 1, 2, 3), some(addresses, 1, 3)
        async with opened(old, [1, 2, 3]) as (transports, inboxes):
            await eventually(lambda: all(inboxes[me].is_linked(other) for me in old for other in old if me != other))
            for transport in transports.values():
                transport.set_members(new, version=0x700000009, sure=True)
            transports[1].send(2, Ping(1))
            transports[2].send(3, Ping(2))
            await eventually(lambda: inboxes[2].messages(1) == [[Ping(1)]] and inboxes[3].messages(2) == [[Ping(2)]])
            transports[1].close(2)
            transports[2].close(3)
            await eventually(lambda: not inboxes[2].is_linked(1) and not inboxes[3].is_linked(2))
            async with Stranger.calling(addresses[1]) as removed:
                with pytest.raises(ProtocolError, match="member 2 was removed in version 0x700000009 of the members"):
                    await removed.greet(terms_of(2), 1)
            assert [len(inbox.messages(2)) for inbox in (inboxes[1], inboxes[3])] == [1, 1]
            assert 2 not in transports[3]._dialled
            # It is added again.
            for transport in transports.values():
                transport.set_members(old, version=0x700000011, sure=True)
            await eventually(lambda: inboxes[2].is_linked(1) and inboxes[3].is_linked(2))

    run(test)


def test_a_new_address_is_for_the_next_dial_and_cuts_no_link(addresses: dict[int, str]) -> None:
    async def test() -> None:
        moved = {**some(addresses, 1, 2), 1: addresses[4]}
        async with opened(some(addresses, 1, 2), [2]) as (transports, inboxes):
            async with opened(some(addresses, 1, 2), [1]):
                await eventually(lambda: inboxes[2].is_linked(1))
                transports[2].set_members(moved, version=5, sure=True)
                transports[2].set_members({1: "", 2: ""}, version=6, sure=True)  # it is not known here: as before
                assert inboxes[2].is_linked(1)
            async with opened(moved, [1]) as (_, elsewhere):
                await eventually(lambda: elsewhere[1].is_linked(2) and inboxes[2].is_linked(1))
            assert len(inboxes[2].messages(1)) == 2

    run(test)


def test_a_new_address_is_dialled_at_once(addresses: dict[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The next dial would come after a wait that is longer than this test."""

    async def test() -> None:
        monkeypatch.setattr("zkcore.transport.tcp.random.uniform", lambda low, high: 1e6)
        moved = {**some(addresses, 1, 2), 1: addresses[4]}
        async with opened(some(addresses, 1, 2), [2]) as (transports, inboxes), opened(moved, [1]):
            await eventually(lambda: transports[2]._seldom._said)
            transports[2].set_members(moved, version=5, sure=True)
            await eventually(lambda: inboxes[2].is_linked(1))

    run(test)


def test_who_may_have_missed_a_change_lets_in_whom_it_does_not_know(addresses: dict[int, str]) -> None:
    async def test() -> None:
        security = SharedSecret(b"known to all members")
        async with opened(some(addresses, 1, 2), [1], security=security) as (transports, inboxes):
            transports[1].set_members(some(addresses, 1, 2), version=0, sure=False)
            async with opened(some(addresses, 1, 4), [4], security=security):
                await eventually(lambda: inboxes[1].is_linked(4))
            async with Stranger.calling(addresses[1]) as liar:
                with pytest.raises(ProtocolError, match="does not know the secret"):
                    await liar.greet(terms_of(4, b"guessed by somebody"), 1)
            await eventually(lambda: not inboxes[1].is_linked(4))
            transports[1].set_members(some(addresses, 1, 2), version=0, sure=True)
            async with Stranger.calling(addresses[1]) as stranger:
                with pytest.raises(ProtocolError, match="there is no member 4 in the ensemble of member 1"):
                    await stranger.greet(terms_of(4, security.secret), 1)

    run(test)


def test_with_certificates_only_one_whose_name_is_known_is_let_in(addresses: dict[int, str], tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    def places(identity: str) -> Places:
        tls = authority.member(1, identity=identity)
        found = Places(1, {1: "one.test:1", 2: "two.test:1"}, cluster="tests", security=tls)
        found.change({1: "one.test:1", 2: "two.test:1"}, version=0, sure=False)
        return found

    by_number, by_host = places("zk-{id}.test"), places("{host}")
    assert by_number.why_unwelcome(4) is None
    assert by_number.why_mistaken(4, {"zk-4.test"}) is None
    assert (
        by_number.why_mistaken(4, {"zk-2.test"}) == "member 4 is zk-4.test, and the certificate shown is for zk-2.test"
    )
    assert by_host.why_unwelcome(4) == "member 1 has not heard of a member 4, and cannot tell whose certificate is its"
    by_host.change({1: "", 2: "", 4: "two.test:2"}, version=3, sure=False)
    assert by_host.why_unwelcome(4) is None
    assert "members 2 and 4 would both be two.test" in (by_host.why_mistaken(4, {"two.test"}) or "")
