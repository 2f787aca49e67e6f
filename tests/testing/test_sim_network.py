"""The simulated network keeps the law of a transport, whatever breaks: the same watcher checks it under random
abuse."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from zkcore.testing.network import Network
from zkcore.zab.messages import Message, PeerId, Ping


class Clock:
    def __init__(self) -> None:
        self.now = 0
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0

    def at(self, time: int, action: Callable[..., None], *arguments: object) -> None:
        self._sequence += 1
        heappush(self._heap, (time, self._sequence, action, arguments))

    def run(self, duration: int = 10**9) -> None:
        end = self.now + duration
        while self._heap and self._heap[0][0] < end:
            self.now, _, action, arguments = heappop(self._heap)
            action(*arguments)
        self.now = end


@frozen
class Pace:
    delay_ns: int = 1000
    jitter_ns: int = 5000
    spike_share: float = 0.0
    spike_ns: int = 0
    notice_ns: int = 20_000
    relink_ns: int = 30_000


STEADY = Pace()


class Watcher:
    """An Inbox that asserts the law: what arrives is a run, without a gap, of what was sent on the present link."""

    def __init__(self, me: PeerId) -> None:
        self.me = me
        self.heard: list[tuple[PeerId, object]] = []
        self.linked: dict[PeerId, int] = {}
        self.latest: dict[PeerId, int] = {}
        self.sent: dict[PeerId, int] = {}

    def receive(self, sender: PeerId, message: Message) -> None:
        assert sender in self.linked, "a message before report_linked"
        assert isinstance(message, Ping)
        if sender in self.latest:
            assert message.round == self.latest[sender] + 1, "a gap on a link that was not lost"
        self.latest[sender] = message.round
        self.heard.append((sender, message.round))

    def report_linked(self, peer: PeerId) -> None:
        assert peer not in self.linked, "linked twice without a loss"
        self.linked[peer] = 1
        self.heard.append((peer, "linked"))

    def report_lost(self, peer: PeerId) -> None:
        assert peer in self.linked, "lost without a link"
        del self.linked[peer]
        self.latest.pop(peer, None)
        self.heard.append((peer, "lost"))


class Net:
    def __init__(self, seed: int = 0, nodes: int = 2, pace: Pace = STEADY) -> None:
        self.clock = Clock()
        ids = tuple(range(1, nodes + 1))
        self.network = Network(self.clock, ids, pace, seed)
        self.watchers = {me: Watcher(me) for me in ids}
        self.rounds = 0
        for me, watcher in self.watchers.items():
            self.network.plug(me, watcher)

    def send(self, sender: PeerId, to: PeerId) -> int | None:
        """Send the next number from one to the other; None where there is no link."""
        count = self.watchers[sender].sent.get(to, 0) + 1
        if not self.network.send(sender, to, Ping(count)):
            return None
        self.watchers[sender].sent[to] = count
        return count


def test_messages_arrive_in_order_behind_the_link() -> None:
    net = Net()
    assert net.send(1, 2) is None
    net.clock.run()
    for _ in range(50):
        net.send(1, 2)
    net.clock.run()
    assert net.watchers[2].heard == [(1, "linked"), *((1, number) for number in range(1, 51))]
    assert net.network.linked(1, 2)


def test_a_reset_is_heard_at_both_ends_and_mended() -> None:
    net = Net()
    net.clock.run()
    assert net.network.reset(1, 2)
    assert not net.network.reset(1, 2)
    net.clock.run()
    for me, other in ((1, 2), (2, 1)):
        assert net.watchers[me].heard == [(other, "linked"), (other, "lost"), (other, "linked")]


def test_separated_nodes_stay_separated_until_the_end() -> None:
    net = Net()
    net.clock.run()
    net.network.block(1, 2)
    net.network.block(1, 2)
    net.clock.run()
    net.network.unblock(1, 2)
    net.clock.run()
    assert not net.watchers[1].linked
    net.network.unblock(1, 2)
    net.clock.run()
    assert net.watchers[1].linked
    assert net.watchers[2].linked


def test_a_muted_direction_swallows_and_the_link_breaks_in_the_end() -> None:
    net = Net()
    net.clock.run()
    net.network.block(1, 2, mute=(1,), notice_ns=500_000)
    assert not net.network.linked(1, 2)
    assert net.send(1, 2) == 1
    assert net.send(2, 1) == 1
    net.clock.run(400_000)
    assert net.watchers[2].heard == [(1, "linked")]
    assert net.watchers[1].heard == [(2, "linked"), (2, 1)]
    net.clock.run()
    assert (1, "lost") in net.watchers[2].heard
    assert (2, "lost") in net.watchers[1].heard


def test_a_link_that_swallowed_messages_does_not_go_on_with_a_gap() -> None:
    net = Net()
    net.clock.run()
    net.network.block(1, 2, mute=(1, 2), notice_ns=10**12)
    net.send(1, 2)
    net.network.unblock(1, 2)
    net.clock.run()
    assert net.watchers[2].heard == [(1, "linked"), (1, "lost"), (1, "linked")]


def test_a_crashed_node_hears_nothing_and_the_other_hears_of_it() -> None:
    net = Net()
    net.clock.run()
    net.send(2, 1)
    net.network.unplug(1)
    net.clock.run()
    assert net.watchers[1].heard == [(2, "linked")]
    assert net.watchers[2].heard == [(1, "linked"), (1, "lost")]
    net.watchers[1] = Watcher(1)
    net.network.plug(1, net.watchers[1])
    net.clock.run()
    assert net.watchers[1].heard == [(2, "linked")]


def test_a_clogged_direction_delivers_all_at_once_in_order_and_the_other_is_not_touched() -> None:
    net = Net()
    net.clock.run()
    until = net.clock.now + 100_000
    net.network.clog(1, 2, until)
    for _ in range(10):
        net.send(1, 2)
        net.send(2, 1)
        net.clock.run(9_000)
    assert net.watchers[2].heard == [(1, "linked")]
    assert net.watchers[1].heard == [(2, "linked"), *((2, number) for number in range(1, 11))]
    net.clock.run(20_000)
    assert net.watchers[2].heard == [(1, "linked"), *((1, number) for number in range(1, 11))]
    assert net.network.message_faults == {"clog": 10}
    net.send(1, 2)
    net.clock.run(7_001)
    assert net.watchers[2].heard[-1] == (1, 11)
    assert net.network.message_faults == {"clog": 10}


def test_a_slow_direction_is_slow_until_it_is_mended_and_keeps_the_order() -> None:
    net = Net()
    net.clock.run()
    net.network.slow_down(1, 2, 50_000)
    net.send(1, 2)
    net.send(2, 1)
    net.clock.run(40_000)
    assert net.watchers[2].heard == [(1, "linked")]
    assert net.watchers[1].heard == [(2, "linked"), (2, 1)]
    net.network.slow_down(1, 2, -50_000)
    net.send(1, 2)
    net.clock.run(40_000)
    assert net.watchers[2].heard == [(1, "linked"), (1, 1), (1, 2)]
    assert net.network.message_faults == {"slow": 1}


def test_single_messages_are_late_and_hold_up_the_others() -> None:
    net = Net(pace=Pace(spike_share=0.1, spike_ns=10**6))
    net.clock.run()
    for _ in range(200):
        net.send(1, 2)
        net.clock.run(10_000)
    spikes = net.network.message_faults["spike"]
    assert 5 < spikes < 50
    net.network.end_spikes()
    net.clock.run()
    net.send(1, 2)
    net.clock.run()
    assert net.watchers[2].heard == [(1, "linked"), *((1, number) for number in range(1, 202))]
    assert net.network.message_faults == {"spike": spikes}


def test_messages_that_never_arrive_are_counted() -> None:
    net = Net()
    net.clock.run()
    net.network.block(1, 2, mute=(1,), notice_ns=100_000)
    for _ in range(3):
        net.send(1, 2)
    net.send(2, 1)
    net.clock.run()
    assert net.network.message_faults == {"swallowed": 3}
    net.network.unblock(1, 2)
    net.clock.run()
    for _ in range(20):
        net.send(2, 1)
    net.network.unplug(1)
    net.send(2, 1)
    net.clock.run()
    assert net.network.message_faults == {"swallowed": 3, "lost": 21}


def test_trouble_between_two_nodes_does_not_shift_the_delays_of_others() -> None:
    arrivals = []
    for trouble in (False, True):
        net = Net(nodes=3)
        net.clock.run()
        arrived: list[int] = []
        net.watchers[3].receive = lambda sender, message, net=net, to=arrived: to.append(net.clock.now)  # type: ignore
        if trouble:
            net.network.reset(1, 2)
            net.network.slow_down(1, 2, 1000)
        for _ in range(20):
            net.send(1, 2)
            net.send(1, 3)
            net.clock.run(10_000)
        arrivals.append(arrived)
    assert arrivals[0] == arrivals[1]
    assert len(arrivals[0]) == 20


ACTIONS = st.sampled_from(("send", "send", "send", "run", "reset", "block", "mute", "unblock", "crash", "clog", "slow"))
PAIRS = st.sampled_from(((1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)))


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 1000), steps=st.lists(st.tuples(ACTIONS, PAIRS, st.integers(1, 40_000)), max_size=60))
def test_the_law_holds_under_abuse(seed: int, steps: list[tuple[str, tuple[int, int], int]]) -> None:
    net = Net(seed, nodes=3, pace=Pace(spike_share=0.1 * (seed % 2), spike_ns=20_000))
    blocked: list[tuple[int, int]] = []
    for action, (one, other), number in steps:
        if action == "send":
            net.send(one, other)
        elif action == "run":
            net.clock.run(number)
        elif action == "reset":
            net.network.reset(one, other)
        elif action == "block":
            net.network.block(one, other)
            blocked.append((one, other))
        elif action == "mute":
            net.network.block(one, other, mute=(one,), notice_ns=number)
            blocked.append((one, other))
        elif action == "unblock" and blocked:
            net.network.unblock(*blocked.pop())
        elif action == "clog":
            net.network.clog(one, other, net.clock.now + number)
        elif action == "slow":
            net.network.slow_down(one, other, number)
        elif action == "crash":
            net.network.unplug(one)
            sent = net.watchers[one].sent
            net.watchers[one] = Watcher(one)
            net.watchers[one].sent = sent
            net.network.plug(one, net.watchers[one])
    for pair in blocked:
        net.network.unblock(*pair)
    net.clock.run()
    for watcher in net.watchers.values():
        assert sorted(watcher.linked) == [other for other in net.watchers if other != watcher.me]


@pytest.mark.parametrize("seed", range(5))
def test_what_was_under_way_at_a_loss_arrives_in_order_or_not_at_all(seed: int) -> None:
    net = Net(seed)
    net.clock.run()
    for _ in range(20):
        net.send(1, 2)
    net.clock.run(2000)
    net.network.reset(1, 2)
    net.clock.run()
    numbers = [number for _, number in net.watchers[2].heard if isinstance(number, int)]
    assert numbers == list(range(1, len(numbers) + 1))
