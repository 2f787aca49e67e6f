"""The network in one process keeps the law of the transport: alone, called back, and with its replicas in threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from random import Random

import pytest

from zkcore.testing.contracts import RecordingInbox, TransportContract
from zkcore.transport import Inbox, LocalNetwork, Relinking, Transport
from zkcore.zab.messages import Forward, Message, PeerId, Ping


class TestLocalNetwork(TransportContract):
    def connect(self, inboxes: Mapping[PeerId, Inbox]) -> Mapping[PeerId, Transport]:
        network = LocalNetwork()
        return {me: network.attach(me, inbox) for me, inbox in inboxes.items()}


def linked(*peers: PeerId) -> tuple[LocalNetwork, dict[PeerId, RecordingInbox], dict[PeerId, Transport]]:
    network = LocalNetwork()
    inboxes = {me: RecordingInbox() for me in peers}
    return network, inboxes, {me: network.attach(me, inbox) for me, inbox in inboxes.items()}


# --- coming, going, cutting, healing ---------------------------------------------------------------------------------


def test_who_attaches_is_linked_with_those_who_are_there() -> None:
    _, inboxes, _ = linked(1, 2, 3)
    assert inboxes[1].record == [("linked", 2), ("linked", 3)]
    assert inboxes[2].record == [("linked", 1), ("linked", 3)]
    assert inboxes[3].record == [("linked", 1), ("linked", 2)]


def test_who_detaches_is_lost_and_what_it_sends_is_dropped() -> None:
    network, inboxes, transports = linked(1, 2, 3)
    network.detach(1)
    transports[1].send(2, Ping(1))
    transports[1].close(2)
    transports[2].send(1, Ping(2))
    assert inboxes[1].record[2:] == [("lost", 2), ("lost", 3)]
    assert inboxes[2].record[2:] == [("lost", 1)]
    assert inboxes[3].record[2:] == [("lost", 1)]
    network.detach(1)
    network.detach(200)
    assert len(inboxes[2].record) == 3


def test_who_comes_back_has_a_new_transport_and_the_old_one_stays_dead() -> None:
    network, inboxes, transports = linked(1, 2)
    network.detach(1)
    again = RecordingInbox()
    transport = network.attach(1, again)
    transports[1].send(2, Ping(1))
    transport.send(2, Ping(2))
    transports[2].send(1, Ping(3))
    assert inboxes[2].messages(1) == [[], [Ping(2)]]
    assert again.record == [("linked", 2), ("message", 2, Ping(3))]
    assert inboxes[1].messages(2) == [[]]


def test_two_replicas_of_one_number_cannot_be_attached() -> None:
    network, inboxes, _ = linked(1, 2)
    with pytest.raises(ValueError, match="attached already"):
        network.attach(1, RecordingInbox())
    assert inboxes[2].record == [("linked", 1)]


def test_a_cut_lasts_until_it_is_healed() -> None:
    network, inboxes, transports = linked(1, 2, 3)
    network.cut(2, 1)
    network.cut(1, 2)
    transports[1].send(2, Ping(1))
    transports[1].close(2)
    network.detach(2)
    inboxes[2] = RecordingInbox()
    transports[2] = network.attach(2, inboxes[2])
    assert inboxes[2].record == [("linked", 3)]
    network.heal(1, 2)
    network.heal(2, 1)
    transports[1].send(2, Ping(2))
    assert inboxes[2].record == [("linked", 3), ("linked", 1), ("message", 1, Ping(2))]
    assert inboxes[1].record == [("linked", 2), ("linked", 3), ("lost", 2), ("linked", 2)]


def test_what_is_cut_may_be_attached_later() -> None:
    network = LocalNetwork()
    network.cut(1, 2)
    inboxes = {me: RecordingInbox() for me in (1, 2)}
    for me, inbox in inboxes.items():
        network.attach(me, inbox)
    assert inboxes[1].record == inboxes[2].record == []
    network.heal(1, 2)
    assert inboxes[1].record == [("linked", 2)]
    assert inboxes[2].record == [("linked", 1)]


# --- an Inbox that calls back ----------------------------------------------------------------------------------------


class Reacting(RecordingInbox):
    """Does something with the network, from within the call that told it of `cause`."""

    def __init__(self, cause: str, reaction: Callable[[], None]) -> None:
        super().__init__()
        self.reactions = {cause: reaction}

    def react(self, cause: str) -> None:
        reaction = self.reactions.pop(cause, None)
        if reaction is not None:
            reaction()

    def receive(self, sender: PeerId, message: Message) -> None:
        super().receive(sender, message)
        self.react("message")

    def report_linked(self, peer: PeerId) -> None:
        super().report_linked(peer)
        self.react("linked")

    def report_lost(self, peer: PeerId) -> None:
        super().report_lost(peer)
        self.react("lost")


def reacting(cause: str, reaction: Callable[[dict[PeerId, Transport]], None]) -> dict[PeerId, RecordingInbox]:
    """Replica 2 reacts to the first `cause`; replica 1 sends it a message, and then breaks the link."""
    network = LocalNetwork()
    transports: dict[PeerId, Transport] = {}
    inboxes = {1: RecordingInbox(), 2: Reacting(cause, lambda: reaction(transports))}
    transports[1] = network.attach(1, inboxes[1])
    network.cut(1, 2)
    transports[2] = network.attach(2, inboxes[2])
    network.heal(1, 2)
    transports[1].send(2, Ping(1))
    transports[1].close(2)
    for inbox in inboxes.values():
        inbox.check_law()
    return inboxes


def test_an_answer_from_within_receive_arrives() -> None:
    inboxes = reacting("message", lambda transports: transports[2].send(1, Ping(7)))
    assert inboxes[1].messages(2) == [[Ping(7)], []]


def test_what_is_sent_from_within_report_linked_arrives_after_the_other_end_is_told() -> None:
    inboxes = reacting("linked", lambda transports: transports[2].send(1, Ping(7)))
    assert inboxes[1].record == [("linked", 2), ("message", 2, Ping(7)), ("lost", 2), ("linked", 2)]


def test_what_is_sent_from_within_report_lost_has_no_link() -> None:
    inboxes = reacting("lost", lambda transports: transports[2].send(1, Ping(7)))
    assert inboxes[1].messages(2) == [[], []]


def test_a_link_may_be_closed_from_within_receive() -> None:
    inboxes = reacting("message", lambda transports: transports[2].close(1))
    assert inboxes[1].messages(2) == [[], [], []]


def test_a_message_that_waited_while_its_link_broke_does_not_arrive_on_the_next() -> None:
    def close_then_send(transports: dict[PeerId, Transport]) -> None:
        transports[2].close(1)
        transports[1].send(2, Ping(7))  # the loss has been asked for, but replica 1 has not heard of it
        transports[1].close(2)  # nor is it this link that breaks next

    inboxes = reacting("message", close_then_send)
    assert inboxes[2].messages(1) == [[Ping(1)], [], []]


def test_an_inbox_that_raises_leaves_the_network_working() -> None:
    def raises(_: dict[PeerId, Transport]) -> None:
        raise OSError("a bug of the host")

    with pytest.raises(OSError, match="a bug"):
        reacting("message", raises)
    network, inboxes, transports = linked(1, 3)
    broken = Reacting("message", lambda: raises({}))
    network.attach(2, broken)
    with pytest.raises(OSError, match="a bug"):
        transports[1].send(2, Ping(1))
    transports[1].send(2, Ping(2))
    transports[1].send(3, Ping(3))
    assert broken.messages(1) == [[Ping(1), Ping(2)]]
    assert inboxes[3].messages(1) == [[Ping(3)]]


# --- the moments at which a thread may be stopped ---------------------------------------------------------------------


def test_what_waits_goes_before_what_its_sender_sends_next() -> None:
    network, inboxes, transports = linked(1, 2)
    with network._turns.busy:  # another thread's turn, which is ending: it looks into what waits no more
        transports[1].send(2, Ping(1))
    transports[1].send(2, Ping(2))
    assert inboxes[2].messages(1) == [[Ping(1), Ping(2)]]


def test_a_message_whose_link_breaks_just_before_its_turn_is_dropped() -> None:
    network, inboxes, transports = linked(1, 2)
    with network._turns.busy:
        transports[2].close(1)
    transports[1].send(2, Ping(1))
    assert inboxes[2].messages(1) == [[], []]


@pytest.mark.parametrize("last", [lambda t: t[1].send(2, Ping(1)), lambda t: t[1].close(2)], ids=["send", "close"])
def test_what_is_left_at_the_end_of_a_turn_is_done_by_whoever_had_it(
    last: Callable[[dict[PeerId, Transport]], None],
) -> None:
    network, inboxes, transports = linked(1, 2, 3)

    class Ending:
        """The lock, at the release of which another thread finds it still taken."""

        def __init__(self, lock: threading.Lock) -> None:
            self.lock = lock
            self.others = [Ping(8), Ping(9)]

        def acquire(self, blocking: bool) -> bool:
            return self.lock.acquire(blocking)

        def release(self) -> None:
            if self.others:
                transports[3].send(2, self.others.pop(0))
            self.lock.release()

    network._turns.busy = Ending(network._turns.busy)  # type: ignore[assignment]
    last(transports)
    assert inboxes[2].messages(3) == [[Ping(8), Ping(9)]]


# --- replicas in threads ---------------------------------------------------------------------------------------------


class ThreadedHost(RecordingInbox):
    """A host as it should be: it sends only while no loss waits to be fed, and checks that under the lock of its Inbox.

    Every message says on which link to its receiver the sender believes to be, counted from 1, and its place there.
    """

    def __init__(self, me: PeerId, peers: set[PeerId]) -> None:
        super().__init__()
        self.me = me
        self.lock = threading.RLock()
        self.fed = 0
        self.up: set[PeerId] = set()
        self.links = dict.fromkeys(peers, 0)
        self.places = dict.fromkeys(peers, 0)

    def receive(self, sender: PeerId, message: Message) -> None:
        with self.lock:
            super().receive(sender, message)

    def report_linked(self, peer: PeerId) -> None:
        with self.lock:
            super().report_linked(peer)

    def report_lost(self, peer: PeerId) -> None:
        with self.lock:
            super().report_lost(peer)

    def feed(self) -> None:
        with self.lock:
            for kind, peer, *_ in self.record[self.fed :]:
                if kind == "linked":
                    self.up.add(peer)
                    self.links[peer] += 1
                    self.places[peer] = 0
                elif kind == "lost":
                    self.up.discard(peer)
            self.fed = len(self.record)

    def send(self, transport: Transport, to: PeerId) -> None:
        with self.lock:
            if to in self.up and ("lost", to) not in self.record[self.fed :]:
                transport.send(to, Forward(b"%d %d" % (self.links[to], self.places[to])))
                self.places[to] += 1


@pytest.fixture
def many_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("many_switches")
def test_the_law_holds_between_threads() -> None:
    network = LocalNetwork()
    peers = {1, 2, 3}
    hosts = {me: ThreadedHost(me, peers) for me in peers}
    transports = {me: network.attach(me, host) for me, host in hosts.items()}

    def live(me: PeerId) -> None:
        rng = Random(me)
        for _ in range(6000):
            hosts[me].feed()
            to = rng.choice(sorted(peers - {me}))
            for _ in range(rng.randrange(4)):
                hosts[me].send(transports[me], to)
            if rng.random() < 0.05:
                transports[me].close(to)

    def disturb() -> None:
        rng = Random(0)
        for _ in range(600):
            a, b = rng.sample(sorted(peers), 2)
            network.cut(a, b)
            network.heal(a, b)

    threads = [threading.Thread(target=live, args=(me,), daemon=True) for me in peers]
    threads.append(threading.Thread(target=disturb, daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive(), "the threads wait for one another"

    arrived = 0
    for me, host in hosts.items():
        host.check_law()
        for peer in peers - {me}:
            assert len(host.messages(peer)) == len(hosts[peer].messages(me))
            for link, messages in enumerate(host.messages(peer), start=1):
                arrived += len(messages)
                assert messages == [Forward(b"%d %d" % (link, place)) for place in range(len(messages))]
    assert arrived > 1000


# --- broken transports, each caught by the promise it breaks ---------------------------------------------------------


class Wrapped(TransportContract):
    """A LocalNetwork with something broken in between."""

    def connect(self, inboxes: Mapping[PeerId, Inbox]) -> Mapping[PeerId, Transport]:
        self.network = LocalNetwork()
        self.inboxes = inboxes
        return {me: self.transport(me, self.network.attach(me, self.inbox(me, i))) for me, i in inboxes.items()}

    def inbox(self, me: PeerId, inbox: Inbox) -> Inbox:
        return inbox

    def transport(self, me: PeerId, transport: Transport) -> Transport:
        return transport


class Passing:
    """An Inbox that passes on what it hears."""

    def __init__(self, to: Inbox) -> None:
        self.to = to

    def receive(self, sender: PeerId, message: Message) -> None:
        self.to.receive(sender, message)

    def report_linked(self, peer: PeerId) -> None:
        self.to.report_linked(peer)

    def report_lost(self, peer: PeerId) -> None:
        self.to.report_lost(peer)


class Sending:
    """A Transport that uses another."""

    def __init__(self, contract: Wrapped, me: PeerId, using: Transport) -> None:
        self.contract, self.me, self.using = contract, me, using

    def send(self, to: PeerId, message: Message) -> None:
        self.using.send(to, message)

    def close(self, to: PeerId) -> None:
        self.using.close(to)


class SwapsNeighbours(Passing):
    held: Message | None = None

    def receive(self, sender: PeerId, message: Message) -> None:
        if message == Ping(50):
            self.held = message
            return
        super().receive(sender, message)
        if self.held is not None:
            super().receive(sender, self.held)
            self.held = None


class LosesOne(Passing):
    def receive(self, sender: PeerId, message: Message) -> None:
        if message != Ping(50):
            super().receive(sender, message)


class CutsLargeMessages(Passing):
    def receive(self, sender: PeerId, message: Message) -> None:
        super().receive(sender, Forward(message.data[:65536]) if isinstance(message, Forward) else message)


class MisnamesTheSender(Passing):
    def receive(self, sender: PeerId, message: Message) -> None:
        super().receive(1, message)


class NeverReportsLost(Passing):
    def report_lost(self, peer: PeerId) -> None:
        pass


class ReportsLinkedTwice(Passing):
    def report_linked(self, peer: PeerId) -> None:
        super().report_linked(peer)
        super().report_linked(peer)


class ReportsLinkedAfterTheFirstMessage(Passing):
    linked: PeerId | None = None
    links = 0

    def report_linked(self, peer: PeerId) -> None:
        self.links += 1
        if self.links > 1:
            self.linked = peer
            self.to.receive(peer, Ping(0))
        super().report_linked(peer)


class DeliversTheLastOneAfterTheLoss(Passing):
    last: Message | None = None

    def receive(self, sender: PeerId, message: Message) -> None:
        self.last = message
        super().receive(sender, message)

    def report_linked(self, peer: PeerId) -> None:
        super().report_linked(peer)
        if self.last is not None:
            super().receive(peer, self.last)


class ForgetsTheFirstOnes(Passing):
    """On a link that breaks, that is: it holds them back too long, and then gives only what came behind them."""

    def receive(self, sender: PeerId, message: Message) -> None:
        if not (isinstance(message, Ping) and message.round < 100):
            super().receive(sender, message)


class SendsStrayMessagesTo2(Sending):
    def send(self, to: PeerId, message: Message) -> None:
        super().send(to if to < 100 else 2, message)


class ClosesEveryLink(Sending):
    def close(self, to: PeerId) -> None:
        for peer in self.contract.inboxes:
            self.using.close(peer)


class ClosesOneEndOnly(Sending):
    def close(self, to: PeerId) -> None:
        if to in self.contract.inboxes:
            self.contract.inboxes[self.me].report_lost(to)
            self.contract.inboxes[self.me].report_linked(to)


class NeverLinksAgain(Sending):
    def close(self, to: PeerId) -> None:
        self.contract.network.cut(self.me, to)


class LinksNeighboursOnly(Sending):
    def __init__(self, contract: Wrapped, me: PeerId, using: Transport) -> None:
        super().__init__(contract, me, using)
        contract.network.cut(1, 3)


CAUGHT: list[tuple[type[Passing] | type[Sending], str]] = [
    (LinksNeighboursOnly, "everyone_is_linked_with_everyone_else"),
    (ReportsLinkedTwice, "everyone_is_linked_with_everyone_else"),
    (SwapsNeighbours, "messages_arrive_whole_and_in_order"),
    (LosesOne, "messages_arrive_whole_and_in_order"),
    (CutsLargeMessages, "messages_arrive_whole_and_in_order"),
    (MisnamesTheSender, "every_link_is_of_its_own"),
    (SendsStrayMessagesTo2, "without_a_link_a_message_is_dropped"),
    (NeverReportsLost, "close_breaks_both_ends_and_they_are_linked_again"),
    (ReportsLinkedAfterTheFirstMessage, "close_breaks_both_ends_and_they_are_linked_again"),
    (ClosesOneEndOnly, "close_breaks_both_ends_and_they_are_linked_again"),
    (NeverLinksAgain, "close_breaks_both_ends_and_they_are_linked_again"),
    (ClosesEveryLink, "close_leaves_other_links_alone"),
    (DeliversTheLastOneAfterTheLoss, "nothing_sent_before_the_sender_closed_arrives_after_it"),
    (DeliversTheLastOneAfterTheLoss, "nothing_sent_before_the_receiver_closed_arrives_after_it"),
    (ForgetsTheFirstOnes, "nothing_sent_before_the_sender_closed_arrives_after_it"),
]


@pytest.mark.parametrize(("broken", "promise"), CAUGHT, ids=lambda value: value if isinstance(value, str) else None)
def test_the_contract_catches(broken: type[Passing] | type[Sending], promise: str) -> None:
    class Broken(Wrapped):
        def inbox(self, me: PeerId, inbox: Inbox) -> Inbox:
            return broken(inbox) if issubclass(broken, Passing) else inbox

        def transport(self, me: PeerId, transport: Transport) -> Transport:
            return broken(self, me, transport) if issubclass(broken, Sending) else transport

    with pytest.raises(AssertionError):
        getattr(Broken(), f"test_{promise}")()


def test_every_promise_of_the_contract_can_be_broken() -> None:
    promises = {name.removeprefix("test_") for name in vars(TransportContract) if name.startswith("test_")}
    assert promises == {promise for _, promise in CAUGHT}


# --- members ---------------------------------------------------------------------------------------------------------


def test_who_is_no_member_any_more_keeps_its_link_and_gets_no_other() -> None:
    _, inboxes, transports = linked(1, 2)
    know(transports, 1)
    assert inboxes[1].record == [("linked", 2)]
    transports[1].close(2)
    assert inboxes[1].record == [("linked", 2), ("lost", 2)]
    know(transports, 1, 2)
    assert inboxes[1].record == [("linked", 2), ("lost", 2), ("linked", 2)]
    for inbox in inboxes.values():
        inbox.check_law()


def test_a_stranger_is_linked_only_with_those_who_may_have_missed_that_it_is_a_member() -> None:
    network, inboxes, transports = linked(1, 2)
    know(transports, 1, 2)
    _tell(transports[2], 1, 2, sure=False)
    stranger = RecordingInbox()
    network.attach(3, stranger)
    assert stranger.record == [("linked", 2)]
    know(transports, 1, 2, 3)
    assert stranger.record == [("linked", 2), ("linked", 1)]
    assert inboxes[1].record == [("linked", 2), ("linked", 3)]


def know(transports: Mapping[PeerId, Transport], *members: PeerId) -> None:
    for transport in transports.values():
        _tell(transport, *members, sure=True)


def _tell(transport: Transport, *members: PeerId, sure: bool) -> None:
    assert isinstance(transport, Relinking)
    transport.set_members(dict.fromkeys(members, ""), version=1, sure=sure)
