"""The proof of a transport: what every Transport must do, as a test class to inherit. `contracts.py` says how.

This module must not know any particular transport.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from zkcore.testing.expect import expect
from zkcore.transport.transport import Inbox, Transport
from zkcore.zab.messages import Ack, Forward, Message, PeerId, Ping, Proposal, SnapData
from zkcore.zxid import make_zxid

__all__ = ["RecordingInbox", "TransportContract"]


class RecordingInbox:
    """An Inbox that writes down what it is told, and whether the law of the transport held.

    `record` holds ``("linked", peer)``, ``("lost", peer)`` and ``("message", peer, message)`` in the order of arrival.
    """

    def __init__(self) -> None:
        self.record: list[tuple[str, PeerId] | tuple[str, PeerId, Message]] = []
        self.reasons: list[str] = []
        """Why links were lost, where the transport has said so."""

    def receive(self, sender: PeerId, message: Message) -> None:
        self.record.append(("message", sender, message))

    def report_linked(self, peer: PeerId, where: str = "") -> None:
        self.record.append(("linked", peer))

    def report_lost(self, peer: PeerId, why: str = "") -> None:
        self.record.append(("lost", peer))
        if why:
            self.reasons.append(why)

    def is_linked(self, peer: PeerId) -> bool:
        """Whether the last that was heard of the link to `peer` is that it is up."""
        return [what for what in self.record if what[0] != "message" and what[1] == peer][-1:] == [("linked", peer)]

    def messages(self, peer: PeerId) -> list[list[Message]]:
        """What came from `peer`: a list for each link there was."""
        links: list[list[Message]] = []
        for what in list(self.record):
            if what == ("linked", peer):
                links.append([])
            elif len(what) == 3 and what[1] == peer:
                links[-1].append(what[2])
        return links

    def check_law(self) -> None:
        """AssertionError where a link was reported out of order, or a message came without a link."""
        up: set[PeerId] = set()
        for place, (kind, peer, *_) in enumerate(list(self.record)):
            if (kind == "linked") == (peer in up):
                state = "linked" if peer in up else "not linked"
                raise AssertionError(f"{kind} while {peer} is {state}: {self.record[max(place - 5, 0) : place + 1]}")
            if kind == "linked":
                up.add(peer)
            elif kind == "lost":
                up.remove(peer)


class TransportContract:
    """The law of `zkcore.transport.Transport`. Override `connect`, and `wait_until` where messages need time.

    A test's transports can be stopped in `teardown_method`, which pytest calls after each.
    """

    def connect(self, inboxes: Mapping[PeerId, Inbox]) -> Mapping[PeerId, Transport]:
        """A transport for every Inbox; each shall be linked with every other, at once or soon."""
        raise NotImplementedError

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Let the transports work until `condition` holds; AssertionError if it does not within your patience."""
        if not condition():
            raise AssertionError("what was waited for has not come about")

    def test_everyone_is_linked_with_everyone_else(self) -> None:
        inboxes, _ = self._start(1, 2, 3)
        for me, inbox in inboxes.items():
            expect(f"the peers of {me}", {what[1] for what in inbox.record}, set(inboxes) - {me})

    def test_messages_arrive_whole_and_in_order(self) -> None:
        inboxes, transports = self._start(1, 2)
        sent: list[Message] = [Ping(number) for number in range(100)]
        sent += [Proposal(make_zxid(1, 1), (b"", b"payload")), SnapData(3, b"\x00\xff", True)]
        sent += [Forward(b"x" * 1_000_000)]
        sent += [Ack(number) for number in range(100)]
        for message in sent:
            transports[1].send(2, message)
        self._settle(inboxes, lambda: inboxes[2].messages(1) == [sent])

    def test_every_link_is_of_its_own(self) -> None:
        inboxes, transports = self._start(1, 2, 3)
        pairs = [(sender, to) for sender in transports for to in transports if sender != to]
        sent: dict[tuple[PeerId, PeerId], list[Message]] = {pair: [] for pair in pairs}
        for number in range(20):
            for sender, to in pairs:
                message = Forward(b"%d to %d: %d" % (sender, to, number))
                sent[sender, to].append(message)
                transports[sender].send(to, message)
        self._settle(inboxes, lambda: all(inboxes[to].messages(sender) == [sent[sender, to]] for sender, to in pairs))

    def test_without_a_link_a_message_is_dropped(self) -> None:
        inboxes, transports = self._start(1, 2)
        transports[1].send(200, Ping(1))
        transports[1].close(200)
        transports[1].send(2, Ping(2))
        self._settle(inboxes, lambda: inboxes[2].messages(1) == [[Ping(2)]])

    def test_close_breaks_both_ends_and_they_are_linked_again(self) -> None:
        inboxes, transports = self._start(1, 2)
        for closing, other in [(1, 2), (2, 1)] * 5:
            links = len(inboxes[1].messages(2)), len(inboxes[2].messages(1))
            transports[closing].close(other)
            self._wait_for_new_links(inboxes, *links)
            transports[1].send(2, Ping(1))
            transports[2].send(1, Ping(2))
            self._settle(inboxes, lambda: inboxes[2].messages(1)[-1] == [Ping(1)])
            self._settle(inboxes, lambda: inboxes[1].messages(2)[-1] == [Ping(2)])

    def test_close_leaves_other_links_alone(self) -> None:
        inboxes, transports = self._start(1, 2, 3)
        transports[1].close(2)
        self._wait_for_new_links(inboxes, 1, 1)
        transports[1].send(3, Ping(1))
        self._settle(inboxes, lambda: inboxes[3].messages(1) == [[Ping(1)]])
        expect("the links between 1 and 3", (len(inboxes[1].messages(3)), len(inboxes[3].messages(1))), (1, 1))

    def test_nothing_sent_before_the_sender_closed_arrives_after_it(self) -> None:
        self._nothing_outlives_its_link(closing=1, other=2)

    def test_nothing_sent_before_the_receiver_closed_arrives_after_it(self) -> None:
        self._nothing_outlives_its_link(closing=2, other=1)

    def _nothing_outlives_its_link(self, closing: PeerId, other: PeerId) -> None:
        inboxes, transports = self._start(1, 2)
        sent: list[Message] = [Ping(number) for number in range(200)]
        for message in sent:
            transports[1].send(2, message)
        transports[closing].close(other)
        self._wait_for_new_links(inboxes, 1, 1)
        transports[1].send(2, Ack(1))
        self._settle(inboxes, lambda: bool(inboxes[2].messages(1)[-1]))
        before, *_, after = inboxes[2].messages(1)
        expect("what arrived before the loss", before, sent[: len(before)])
        expect("what arrived after the loss", after, [Ack(1)])

    def _start(self, *peers: PeerId) -> tuple[dict[PeerId, RecordingInbox], Mapping[PeerId, Transport]]:
        inboxes = {me: RecordingInbox() for me in peers}
        transports = self.connect(inboxes)
        self._settle(inboxes, lambda: all(inboxes[a].is_linked(b) for a in peers for b in peers if a != b))
        return inboxes, transports

    def _wait_for_new_links(self, inboxes: Mapping[PeerId, RecordingInbox], links_of_1: int, links_of_2: int) -> None:
        self._settle(inboxes, lambda: len(inboxes[1].messages(2)) > links_of_1 and inboxes[1].is_linked(2))
        self._settle(inboxes, lambda: len(inboxes[2].messages(1)) > links_of_2 and inboxes[2].is_linked(1))

    def _settle(self, inboxes: Mapping[PeerId, RecordingInbox], condition: Callable[[], bool]) -> None:
        def lawfully() -> bool:
            for inbox in inboxes.values():
                inbox.check_law()
            return condition()

        self.wait_until(lawfully)
