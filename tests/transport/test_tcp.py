"""Members linked over TCP: coming and going, silence, floods, and who is let in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from attrs import evolve
from certificates import Authority
from ports import Ports
from stranger import CLUSTER, QUICK, Stranger, eventually, opened, terms_of

from zkcore.errors import ConfigurationError, ProtocolError
from zkcore.testing.contracts import RecordingInbox
from zkcore.transport import tcp
from zkcore.transport.framing import frame
from zkcore.transport.handshake import Handshake
from zkcore.transport.security import Plaintext, Security, SharedSecret
from zkcore.transport.tcp import TcpTransport
from zkcore.transport.wire import encode
from zkcore.zab.messages import Forward, Message, PeerId, Ping

SECRET = b"known to all members"


@pytest.fixture
def addresses() -> Iterator[dict[int, str]]:
    ports = Ports()
    yield {me: ports.take() for me in (1, 2, 3)}
    ports.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(bounded())


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


# --- coming and going -------------------------------------------------------------------------------------------------


def test_a_member_that_comes_back_is_linked_again(addresses: dict[int, str]) -> None:
    async def test() -> None:
        async with opened(addresses, [1, 3]) as (transports, inboxes):
            for life in range(3):
                async with opened(addresses, [2]) as (_, again):
                    await eventually(lambda: again[2].is_linked(1) and again[2].is_linked(3))
                    await eventually(lambda: inboxes[1].is_linked(2) and inboxes[3].is_linked(2))
                    transports[1].send(2, Ping(life))
                    await eventually(lambda: again[2].messages(1) == [[Ping(life)]])  # noqa: B023
                await eventually(lambda: not inboxes[1].is_linked(2) and not inboxes[3].is_linked(2))
            assert len(inboxes[1].messages(3)) == 1

    run(test)


def test_what_is_sent_in_one_pass_of_the_loop_goes_out_with_one_write(
    addresses: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with opened(addresses, [1, 2]) as (transports, inboxes):
            await eventually(lambda: inboxes[1].is_linked(2) and inboxes[2].is_linked(1))
            link = transports[1]._links[2]
            written: list[bytes] = []
            write = link._transport.write  # type: ignore[union-attr]
            monkeypatch.setattr(link._transport, "write", lambda data: (written.append(data), write(data)))
            sent = [Ping(number) for number in range(50)]
            for message in sent:
                transports[1].send(2, message)
            assert written == []
            await eventually(lambda: inboxes[2].messages(1) == [sent])
            assert [len(data) for data in written if len(data) > 4] == [50 * (4 + len(encode(Ping(0))))]

    run(test)


def test_a_name_is_resolved_at_every_dial(addresses: dict[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def look_up(address: object) -> list[str]:
        asked.append(str(address))
        if len(asked) == 1:
            raise OSError("no such name")
        return ["127.0.0.2" if len(asked) == 2 else "127.0.0.1"]

    monkeypatch.setattr(tcp, "_look_up", look_up)
    named = {**addresses, 1: addresses[1].replace("127.0.0.1", "moving.test")}

    async def test() -> None:
        async with opened(addresses, [1]) as (_, inboxes), opened(named, [2]):
            await eventually(lambda: inboxes[1].is_linked(2))

    run(test)
    assert asked == [named[1]] * 3


def test_the_newest_link_of_a_member_counts(addresses: dict[int, str]) -> None:
    async def test() -> None:
        async with opened(addresses, [1]) as (_, inboxes), Stranger.calling(addresses[1]) as first:
            await first.greet(terms_of(2), 1)
            first.send(encode(Ping(1)))
            await eventually(lambda: inboxes[1].messages(2) == [[Ping(1)]])
            async with Stranger.calling(addresses[1]) as second:
                await second.greet(terms_of(2), 1)
                first.send(encode(Ping(2)))
                second.send(encode(Ping(3)))
                await eventually(lambda: inboxes[1].messages(2) == [[Ping(1)], [Ping(3)]])
                await first.hung_up()

    run(test)


def test_nothing_arrives_on_a_link_that_was_closed_though_it_is_here_already(addresses: dict[int, str]) -> None:
    class Closing(RecordingInbox):
        def receive(self, sender: PeerId, message: Message) -> None:
            super().receive(sender, message)
            transport.close(sender)

    transport = TcpTransport(1, addresses, cluster=CLUSTER, security=Plaintext(), limits=QUICK)

    async def test() -> None:
        inbox = Closing()
        async with transport, Stranger.calling(addresses[1]) as member:
            transport.start(inbox)
            await member.greet(terms_of(2), 1)
            await eventually(lambda: inbox.is_linked(2))
            member.write(frame(encode(Ping(1))) + frame(encode(Ping(2))))
            await member.hung_up()
            assert inbox.record == [("linked", 2), ("message", 2, Ping(1)), ("lost", 2)]

    run(test)


def test_what_is_over_before_it_was_a_link_becomes_none(addresses: dict[int, str]) -> None:
    async def test() -> None:
        async with opened(addresses, [1]) as (transports, inboxes), Stranger.calling(addresses[1]):
            await eventually(lambda: transports[1]._callers and all(link.where for link in transports[1]._callers))
            (link,) = transports[1]._callers
            hello = Handshake(terms_of(2), nonce=bytes(32), dials=1, admits=lambda peer: None).begin()
            link.end("it took too long")
            link.data_received(frame(hello or b"") + frame(b"\3"))  # as where asyncio had read on
            assert inboxes[1].record == []
            assert not link.up

    run(test)


# --- silence ----------------------------------------------------------------------------------------------------------


def test_a_member_that_falls_silent_is_lost(addresses: dict[int, str]) -> None:
    async def test() -> None:
        limits = evolve(QUICK, patience_seconds=0.2)
        async with opened(addresses, [1], limits=limits) as (_, inboxes), Stranger.calling(addresses[1]) as frozen:
            await frozen.greet(terms_of(2), 1)
            await eventually(lambda: inboxes[1].record == [("linked", 2), ("lost", 2)])

    run(test)


def test_a_link_on_which_nothing_is_sent_is_kept_alive(addresses: dict[int, str]) -> None:
    async def test() -> None:
        limits = evolve(QUICK, patience_seconds=0.4)
        async with opened(addresses, [1], limits=limits) as (_, inboxes), Stranger.calling(addresses[1]) as quiet:
            await quiet.greet(terms_of(2), 1)
            for _ in range(20):  # one comes in an eighth of the patience
                assert await quiet.next_frame() == b""
                quiet.send(b"")
            assert inboxes[1].record == [("linked", 2)]

    run(test)


def test_the_time_in_which_a_process_was_stopped_does_not_count_against_the_others(addresses: dict[int, str]) -> None:
    async def test() -> None:
        async with opened(addresses, [1, 2]) as (transports, inboxes):
            await eventually(lambda: inboxes[1].is_linked(2) and inboxes[2].is_linked(1))
            link = transports[1]._links[2]
            for _ in range(7):  # as many as nothing is heard between, and no more
                link.look()
            assert link.up
            link.look()
            assert not link.up

    run(test)


# --- floods -----------------------------------------------------------------------------------------------------------


def test_a_member_that_takes_nothing_is_lost_before_much_has_gathered(addresses: dict[int, str]) -> None:
    limit = 1 << 20

    async def test() -> None:
        limits = evolve(QUICK, queue_bytes=limit, frame_bytes=limit)
        members = opened(addresses, [1], limits=limits)
        async with members as (transports, inboxes), Stranger.calling(addresses[1]) as full:
            await full.greet(terms_of(2), 1)
            full.writer.transport.pause_reading()  # type: ignore[attr-defined]
            link = transports[1]._links[2]
            socket = link._transport
            assert socket is not None
            while link.up:
                transports[1].send(2, Forward(b"x" * 10_000))
                assert link._waiting_bytes + socket.get_write_buffer_size() < limit + 20_000
                await asyncio.sleep(0)
            assert inboxes[1].record == [("linked", 2), ("lost", 2)]
            assert inboxes[1].reasons == ["it does not take what is sent: more than 1048576 bytes wait"]

    run(test)


def test_a_message_that_fits_no_frame_breaks_the_link_and_is_not_left_out(addresses: dict[int, str]) -> None:
    async def test() -> None:
        async with opened(addresses, [1, 2], limits=evolve(QUICK, frame_bytes=1000)) as (transports, inboxes):
            for unsendable in (Forward(b"x" * 1000), Ping(-1)):
                await eventually(lambda: inboxes[1].is_linked(2) and inboxes[2].is_linked(1))
                transports[1].send(2, Ping(1))
                transports[1].send(2, unsendable)
                transports[1].send(2, Ping(2))
                await eventually(lambda: not inboxes[1].is_linked(2))
                await eventually(lambda: inboxes[1].is_linked(2) and inboxes[2].is_linked(1))
            assert all(Ping(2) not in link for link in inboxes[2].messages(1))
            first, second = inboxes[1].reasons
            assert first == "a message of 1005 bytes; at most 1000 are sent"
            assert "cannot be encoded" in second

    run(test)


# --- who is let in ----------------------------------------------------------------------------------------------------


def test_members_with_different_secrets_are_not_linked_and_each_says_so_once(
    addresses: dict[int, str], caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        security: dict[int, Security] = {1: SharedSecret(SECRET), 2: SharedSecret(b"some other secret")}
        async with opened(addresses, [1, 2], security=security) as (transports, inboxes):
            refused = [transport._seldom._said for transport in transports.values()]
            await eventually(lambda: all(any(count >= 3 for _, count in said.values()) for said in refused))
            assert inboxes[1].record == inboxes[2].record == []

    run(test)
    (called,) = [line for line in warnings_in(caplog) if line.startswith("node 1: a connection from 127.0.0.1")]
    (dialled,) = [line for line in warnings_in(caplog) if line.startswith("node 2: no link with node 1 at")]
    assert called.endswith("who claims to be member 2 does not know the secret of member 1")
    assert "refused by the other side: who claims to be member 2 does not know the secret of member 1" in dialled
    assert "secret" in caplog.text
    assert SECRET.decode() not in caplog.text
    assert "some other secret" not in caplog.text


def test_members_of_two_clusters_are_not_linked(addresses: dict[int, str], caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with opened(addresses, [1, 2], cluster={1: "stock"}):
            await eventually(lambda: len(warnings_in(caplog)) == 2)

    run(test)
    for line in warnings_in(caplog):
        assert f"a member of cluster '{CLUSTER}' and member 1 of another do not talk; check cluster" in line


def test_only_members_with_a_larger_number_may_call(addresses: dict[int, str]) -> None:
    async def test() -> None:
        async with opened(addresses, [2]) as (_, inboxes):
            for claimed, complaint in ((1, "waits until member 2 dials"), (2, "no other member 2"), (9, "member 9")):
                async with Stranger.calling(addresses[2]) as stranger:
                    with pytest.raises(ProtocolError, match=complaint):
                        await stranger.greet(terms_of(claimed), 2)
            assert inboxes[2].record == []

    run(test)


def test_certificates_say_who_is_who(
    addresses: dict[int, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Member 3 has a good certificate, and claims to be member 2; member 2 has one of another authority."""
    authority, other = Authority(tmp_path), Authority(tmp_path, name="other")
    certificate, key = other.issue("zk-2.test", file="foreign")

    async def test() -> None:
        security: dict[int, Security] = {1: authority.member(1), 3: authority.member(3)}
        async with opened(addresses, [1, 3], security=security) as (_, inboxes):
            await eventually(lambda: inboxes[1].is_linked(3) and inboxes[3].is_linked(1))
            impostor = TcpTransport(
                2, addresses, cluster=CLUSTER, security=evolve(authority.member(2), authorities=other.path,
                certificate=certificate, key=key), limits=QUICK
            )  # fmt: skip
            async with impostor:
                impostor.start(RecordingInbox())
                await eventually(lambda: len(warnings_in(caplog)) >= 2)
            caplog.clear()
            # The right authority, and the certificate of another member.
            thief = TcpTransport(2, addresses, cluster=CLUSTER, security=authority.member(2), limits=QUICK)
            thief._tls = tcp.TlsFiles(authority.member(3), identity="zk-3.test")
            async with thief:
                thief.start(RecordingInbox())
                await eventually(lambda: len(warnings_in(caplog)) >= 3)
            assert inboxes[1].record == [("linked", 3)]
            assert not any(("linked", 2) in inbox.record for inbox in inboxes.values())

    run(test)
    assert "member 2 is zk-2.test, and the certificate shown is for zk-3.test" in caplog.text


def test_a_renewed_certificate_is_used_without_a_restart(addresses: dict[int, str], tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.member(1)

    async def test() -> None:
        async with opened(addresses, [1], security=tls):
            serials = []
            for _ in range(2):
                async with opened(addresses, [2], security=authority.member(2)) as (transports, inboxes):
                    await eventually(lambda: inboxes[2].is_linked(1))
                    shown = transports[2]._links[1].certificate()
                    assert shown is not None
                    serials.append(shown["serialNumber"])
                authority.member(1)  # into the same files
            assert serials[0] != serials[1]

    run(test)


def test_plaintext_and_tls_do_not_meet(
    addresses: dict[int, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tls = Authority(tmp_path).member(1)

    async def test() -> None:
        async with opened(addresses, [1, 2], security={1: tls}) as (_, inboxes):
            await eventually(lambda: len(warnings_in(caplog)) >= 2)
            assert inboxes[1].record == inboxes[2].record == []

    run(test)
    assert "no TLS:" in caplog.text


# --- strangers --------------------------------------------------------------------------------------------------------


def test_who_does_not_greet_in_time_is_hung_up_on(addresses: dict[int, str], caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        limits = evolve(QUICK, handshake_seconds=0.1)
        async with opened(addresses, [1], limits=limits), Stranger.calling(addresses[1]) as stranger:
            stranger.write(b"\0")
            assert await stranger.hung_up() == []

    run(test)
    assert "the handshake took more than 0.1 s" in caplog.text


def test_so_many_may_greet_at_a_time_and_a_link_takes_no_place_among_them(
    addresses: dict[int, str], caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        limits = evolve(QUICK, handshakes=2)
        async with opened(addresses, [1], limits=limits) as (transports, inboxes), AsyncExitStack() as stack:
            member = await stack.enter_async_context(Stranger.calling(addresses[1]))
            await member.greet(terms_of(3), 1)
            waiting = [await stack.enter_async_context(Stranger.calling(addresses[1])) for _ in range(2)]
            await eventually(lambda: len(transports[1]._callers) == 3)
            async with Stranger.calling(addresses[1]) as late:
                assert await late.hung_up() == []
            await waiting[0].greet(terms_of(2), 1)
            async with Stranger.calling(addresses[1]) as next_one:
                await next_one.greet(terms_of(3), 1, nonce=b"1" * 32)
            assert ("linked", 2) in inboxes[1].record

    run(test)
    assert "2 have not greeted yet" in caplog.text


def test_there_are_no_more_connections_than_so_many(
    addresses: dict[int, str], caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with opened(addresses, [1], limits=evolve(QUICK, connections=1)) as (transports, _):
            async with Stranger.calling(addresses[1]), Stranger.calling(addresses[1]) as second:
                assert await second.hung_up() == []
            await eventually(lambda: not transports[1]._callers)
            async with Stranger.calling(addresses[1]) as third:
                await third.greet(terms_of(2), 1)

    run(test)
    assert "was closed: there are 1" in caplog.text


def test_one_address_may_come_only_so_often(addresses: dict[int, str], caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        limits = evolve(QUICK, dials_per_second=1e-6, dials_at_once=2)
        async with opened(addresses, [1], limits=limits):
            for _ in range(2):
                async with Stranger.calling(addresses[1]) as stranger:
                    await stranger.greet(terms_of(2), 1)
            async with Stranger.calling(addresses[1]) as stranger:
                assert await stranger.hung_up() == []

    run(test)
    assert "more than 1e-06 a second from one address" in caplog.text


def test_what_a_link_carries_after_a_bad_frame_is_not_believed(addresses: dict[int, str]) -> None:
    async def test() -> None:
        async with opened(addresses, [1], security=SharedSecret(SECRET)) as (_, inboxes):
            async with Stranger.calling(addresses[1]) as member:
                await member.greet(terms_of(2, SECRET), 1)
                assert member.seals is not None
                sealed = member.seals[0].seal(encode(Ping(1)))
                member.write(frame(sealed))
                member.write(frame(sealed))  # once more
                member.send(encode(Ping(2)))
                await member.hung_up()
            await eventually(lambda: not inboxes[1].is_linked(2))
            assert inboxes[1].messages(2) == [[Ping(1)]]
            assert "the seal of frame 2 is wrong" in inboxes[1].reasons[0]

    run(test)


# --- what cannot work -------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_named(addresses: dict[int, str]) -> None:
    async def test() -> None:
        async with opened(addresses, [1]):
            with pytest.raises(ConfigurationError, match=rf"members\[1\] is {addresses[1]}: the port is taken; stop"):
                await TcpTransport(1, addresses, cluster=CLUSTER, security=Plaintext()).listen()

    run(test)


@pytest.mark.parametrize(
    ("bind", "complaint"),
    [
        ("203.0.113.7:2888", r"bind is 203\.0\.113\.7:2888: this machine has no such address"),
        ("no-such-host.invalid:2888", r"bind is no-such-host\.invalid:2888: the host cannot be resolved"),
        (f"{'x' * 64}.test:2888", "the host cannot be resolved"),
    ],
)
def test_an_address_that_is_not_here_is_named(addresses: dict[int, str], bind: str, complaint: str) -> None:
    async def test() -> None:
        with pytest.raises(ConfigurationError, match=complaint):
            await TcpTransport(1, addresses, cluster=CLUSTER, security=Plaintext(), bind=bind).listen()

    run(test)


def test_where_to_listen_may_differ_from_where_one_is_reached(addresses: dict[int, str]) -> None:
    async def test() -> None:
        port = addresses[1].rpartition(":")[2]
        transport = TcpTransport(
            1, {**addresses, 1: "zk1.invalid:2888"}, cluster=CLUSTER, security=Plaintext(), bind=f"0.0.0.0:{port}"
        )
        async with transport, opened(addresses, [2]) as (_, inboxes):
            transport.start(RecordingInbox())
            await eventually(lambda: inboxes[2].is_linked(1))

    run(test)


@pytest.mark.parametrize(
    ("me", "members", "cluster", "complaint"),
    [
        (4, {1: "a:1"}, "c", r"member 4 is not among the members \[1\]; add its address"),
        (1, {1: "a:1", 2: "a:1"}, "c", r"members\[1\] and members\[2\] are both a:1; give each a port"),
        (1, {1: "a"}, "c", r"members\[1\] is 'a'; give it as 'host:port'"),
        (1, {1: "a:1"}, "", "cluster is ''; a name has 1 to 255 bytes"),
        (1, {1: "a:1"}, "é" * 128, "a name has 1 to 255 bytes"),
    ],
)
def test_what_cannot_be_an_ensemble_is_refused(me: int, members: dict[int, str], cluster: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        TcpTransport(me, members, cluster=cluster, security=Plaintext())


def test_two_members_with_one_identity_are_refused(tmp_path: Path) -> None:
    tls = Authority(tmp_path).member(1, identity="{host}", names=("zk.test",))
    with pytest.raises(ConfigurationError, match=r"members 1 and 2 would both be known by a certificate for zk\.test"):
        TcpTransport(1, {1: "zk.test:1", 2: "zk.test:2"}, cluster=CLUSTER, security=tls)


def test_no_secret_is_shown_by_a_transport(addresses: dict[int, str]) -> None:
    transport = TcpTransport(1, addresses, cluster=CLUSTER, security=SharedSecret(SECRET))
    assert SECRET.decode() not in f"{transport!r} {transport._terms!r}"


def test_a_transport_is_started_once_and_after_it_listens(addresses: dict[int, str]) -> None:
    async def test() -> None:
        transport = TcpTransport(1, addresses, cluster=CLUSTER, security=Plaintext())
        with pytest.raises(RuntimeError, match="await listen"):
            transport.start(RecordingInbox())
        async with transport:
            transport.start(RecordingInbox())
            with pytest.raises(RuntimeError, match="once"):
                transport.start(RecordingInbox())

    run(test)
