"""The network of an AppWorld: it keeps the law of a transport, whatever is cut, reset, paused or restarted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from random import Random

import pytest

from zkcore.testing.channels import Channel, Distances
from zkcore.testing.contracts import RecordingInbox, TransportContract
from zkcore.testing.node_links import NodeLinks
from zkcore.testing.processes import Process
from zkcore.testing.virtual_loop import VirtualLoop
from zkcore.transport.transport import Inbox, Transport
from zkcore.zab.messages import PeerId, Ping


class TestNodeLinks(TransportContract):
    """The promises of every transport."""

    def setup_method(self) -> None:
        self.loop = VirtualLoop(7)

    def teardown_method(self) -> None:
        self.loop.close()

    def connect(self, inboxes: Mapping[PeerId, Inbox]) -> Mapping[PeerId, Transport]:
        network = NodeLinks(self.loop, 7, Distances(7))
        return {me: network.attach(me, Process(f"node {me}", me), inbox) for me, inbox in inboxes.items()}

    def wait_until(self, condition: Callable[[], bool]) -> None:
        async def wait() -> None:
            async with asyncio.timeout(60):
                while not condition():
                    await asyncio.sleep(0.01)

        self.loop.run_until_complete(wait())


@pytest.mark.parametrize("seed", range(30))
def test_the_law_holds_through_cuts_resets_pauses_and_restarts(seed: int) -> None:
    rng = Random(seed)
    loop = VirtualLoop(seed)
    network = NodeLinks(loop, seed, Distances(seed))
    members = (1, 2, 3)
    everybody: list[RecordingInbox] = []
    inboxes: dict[PeerId, RecordingInbox] = {}
    processes: dict[PeerId, Process] = {}
    transports: dict[PeerId, Transport] = {}
    sent = 0

    def attach(me: PeerId) -> None:
        inboxes[me], processes[me] = RecordingInbox(), Process(f"node {me}", me)
        everybody.append(inboxes[me])
        transports[me] = network.attach(me, processes[me], inboxes[me])

    def restart(me: PeerId) -> None:
        network.detach(me)
        loop.crash(processes[me])
        attach(me)

    async def main() -> None:
        nonlocal sent
        for me in members:
            attach(me)
        for _ in range(400):
            one, two = rng.sample(members, 2)
            for _ in range(rng.randrange(5)):
                sent += 1
                transports[one].send(two, Ping(sent))
            action = rng.choice([network.cut, network.heal, network.heal, network.reset, None, None, None])
            if action is not None:
                action(one, two)
            elif rng.random() < 0.1:
                restart(one)
            elif rng.random() < 0.3:
                loop.pause(processes[one])
            else:
                loop.resume(processes[one])
            await asyncio.sleep(rng.expovariate(20))
        for one, two in ((1, 2), (1, 3), (2, 3)):
            network.heal(one, two)
        for process in processes.values():
            loop.resume(process)
        await asyncio.sleep(5)

    loop.run_until_complete(main())
    loop.close()
    for inbox in everybody:
        inbox.check_law()
        for peer in members:
            for link in inbox.messages(peer):
                numbers = [message.round for message in link if isinstance(message, Ping)]
                assert numbers == sorted(numbers)
    for me, inbox in inboxes.items():
        assert all(inbox.is_linked(peer) for peer in members if peer != me)


def test_what_is_posted_arrives_in_order_and_not_at_once() -> None:
    for seed in range(20):
        loop = VirtualLoop(seed)
        arrived: list[tuple[int, float]] = []

        async def main(loop: VirtualLoop = loop, arrived: list[tuple[int, float]] = arrived) -> None:
            distances = Distances(loop.seed)
            distances.late_share = 0.1
            channel = Channel(loop, Process("there", 1).context, distances.between_apps("here", "there"))
            for number in range(100):
                channel.post(lambda number=number: arrived.append((number, loop.time())))
                await asyncio.sleep(0)
            assert arrived == []
            await asyncio.sleep(100)
            assert distances.late

        loop.run_until_complete(main())
        loop.close()
        assert [number for number, _ in arrived] == list(range(100))
        assert [time for _, time in arrived] == sorted(time for _, time in arrived)


def test_what_is_late_holds_up_what_is_behind_it() -> None:
    loop = VirtualLoop(1)
    arrived: list[tuple[str, float]] = []

    async def main() -> None:
        distances = Distances(1)
        channel = Channel(loop, Process("there", 1).context, distances.between_apps("here", "there"))
        for name, distances.late_share in (("late", 1.0), ("behind it", 0.0)):
            channel.post(lambda name=name: arrived.append((name, loop.time())))
        await asyncio.sleep(20)

    loop.run_until_complete(main())
    loop.close()
    assert [name for name, _ in arrived] == ["late", "behind it"]
    assert min(time for _, time in arrived) >= 0.05
