"""The barrier in every order of events that chance comes up with: who arrives, goes, breaks it, and when.

Each await of each party is one step, and which party goes next is drawn. What passes is seen in the tree itself.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from scripted import Asking, Interrupted, Point, Run, World

from zkcore.client.client import Client
from zkcore.errors import BrokenBarrierError, SessionExpiredError
from zkcore.recipes.barrier import Barrier
from zkcore.tree.requests import GetData, Multi, SetData

PATH = "/b"


class Races(World):
    """A world that notes who passes, and in whose name."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = Random(seed)
        self.parties = self.rng.randint(1, 3)
        self.told: dict[str, bytes] = {}
        self.owners: dict[str, int] = {}
        self.script = self._fault
        self.loss = self.rng.choice((0.0, 0.0, 0.1))

    def _fault(self, run: Run, point: Point) -> str | None:
        if isinstance(point, Asking) and self.rng.random() < self.loss:
            return self.rng.choice(("lost before", "lost after"))
        return None

    def do(self, session: int, op: Any) -> Any:
        result = super().do(session, op)
        if isinstance(op, Multi) and isinstance(op.operations[0], SetData):
            passing = {each.path: each.data for each in op.operations}
            assert len(passing) == self.parties, "somebody passes with too few or too many"
            assert not passing.keys() & self.told.keys(), "somebody passes twice"
            assert len({data[2:] for data in passing.values()}) == 1
            assert sorted(data[:1] for data in passing.values()) == [b"%d" % n for n in range(self.parties)]
            for path in passing:
                self.owners[path] = super().do(session, GetData(path)).stat.ephemeral_owner
            self.told |= passing
        return result

    def barrier(self, client: Client) -> Barrier:
        return Barrier(client, PATH, parties=self.parties)


class Party:
    """One who arrives, perhaps stays inside for a while, and says how it ended."""

    def __init__(self, world: Races) -> None:
        self.world = world
        self.client = world.client()
        self.stays = world.rng.random() < 0.3
        self.leave = self.client.port.signal()
        self.result: int | str = "waits"
        self.run = world.start(self._go())

    async def _go(self) -> None:
        barrier = self.world.barrier(self.client)
        try:
            if self.stays:
                async with barrier as number:
                    self.result = number
                    await self.client.port.wait(self.leave)
            else:
                self.result = await barrier.wait()
        except (BrokenBarrierError, SessionExpiredError, Interrupted) as error:
            if self.result == "waits":
                self.result = type(error).__name__

    @property
    def told(self) -> int | None:
        """As which it was told to pass, by what the tree holds."""
        owner = self.client.session_id
        return next((int(self.world.told[path][:1]) for path, own in self.world.owners.items() if own == owner), None)


def act(world: Races, parties: list[Party], gone: set[int]) -> None:
    rng = world.rng
    word = rng.choice(("arrive", "arrive", "arrive", "expire", "cancel", "reset", "abort", "leave"))
    inside = [party for party in parties if not party.run.is_over and party.client.session_id not in gone]
    if word == "arrive":
        parties.append(Party(world))
    elif word in ("reset", "abort"):
        if rng.random() < 0.3:
            world.start(getattr(world.barrier(world.client()), word)())
    elif inside:
        party = rng.choice(inside)
        if word == "leave":
            party.leave.set()
        else:
            gone.add(party.client.session_id)
            world.expire(party.client) if word == "expire" else party.run.throw(Interrupted())


@pytest.mark.parametrize("seed", range(250))
def test_nobody_passes_early_and_whoever_was_let_pass_does(seed: int) -> None:
    world = Races(seed)
    parties: list[Party] = []
    gone: set[int] = set()
    for _ in range(world.rng.randint(5, 25)):
        act(world, parties, gone)
        for _ in range(world.rng.randint(0, 12)):
            world.step_any(world.rng)
    world.script = lambda run, point: None
    world.settle()  # some may be inside, and stay there
    is_broken = world.run(world.barrier(world.client()).broken())
    waiting = [party for party in parties if party.result == "waits"]
    assert len(waiting) < (1 if is_broken else world.parties), "they wait, and nobody will wake them"
    for party in parties:
        party.leave.set()
    world.settle()
    for party in parties:
        if isinstance(party.result, int):
            assert party.result == party.told
        elif party.client.session_id not in gone:
            assert party.told is None, f"let pass, and told {party.result}"
        assert party.result == "waits" or not world.tree.ephemerals(party.client.session_id)
