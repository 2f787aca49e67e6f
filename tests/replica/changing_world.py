"""A world of replicas whose members change at random, under writes, crashes and snapshots; and what must be so in the
end."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from virtual import Ensemble

from zkcore.errors import ThrottledError, ZkcoreError
from zkcore.replica.answers import Attached, Replied
from zkcore.replica.members import Members
from zkcore.tree.acl import EMBEDDED
from zkcore.tree.requests import Create, GetData, NodeData, Reconfigure
from zkcore.zab.limits import Limits

SERVERS = (1, 2, 3, 4, 5)


class World(Ensemble):
    """Three voters and two observers at first, each with a client in its process. Whoever knows the other is linked
    with it; where the other does not, no sooner than a little later."""

    def __init__(self, seed: int, *, make_storage: Callable[[int], Any] | None = None) -> None:
        self.rng = Random(seed)
        self.asked: dict[tuple[int, int], Any] = {}
        self.clients: dict[int, int] = {}
        self._xids = 0
        super().__init__(3, observers=2, limits=Limits(retained_records=3), make_storage=make_storage)
        self.elect()

    def _knows(self, me: int, other: int) -> bool:
        replica = self.replicas.get(me)
        return replica is not None and other in replica.peer.membership.config.members

    def _link(self, a: int, b: int) -> None:
        if self._knows(a, b) and self._knows(b, a):
            super()._link(a, b)

    def _tick(self) -> None:
        super()._tick()
        if self.now // 10 % 20 == 0:
            for a in SERVERS:
                for b in range(a + 1, len(SERVERS) + 1):
                    if self._knows(a, b) or self._knows(b, a):
                        super()._link(a, b)

    # --- what happens

    def act_at_random(self) -> None:
        """One thing, and a little time."""
        rng, me = self.rng, self.rng.choice(SERVERS)
        what = rng.choices(
            ["write", "change", "crash", "start", "snapshot", "time", "some"], [30, 25, 3, 8, 6, 10, 18]
        )[0]
        if what == "write":
            self._ask(me, Create(f"/n{rng.randrange(10_000)}", bytes(20)))
        elif what == "change":
            self._ask(me, self._a_change())
        elif what == "crash" and me in self.replicas and len(self.replicas) > 3:
            self.clients.pop(me, None)
            self.kill(me)
        elif what == "start" and me not in self.replicas:
            self.start(me)
        elif what == "snapshot" and me in self.replicas:
            self._snapshot(me)
        elif what == "time":
            self.pass_ms(rng.choice([10, 100, 1000]))
        for _ in range(rng.randrange(30)):
            self.deliver_one()

    def _a_change(self) -> Reconfigure:
        lines = [
            f"server.{me}=0.0.0.0:0:0:{self.rng.choice(['participant', 'participant', 'observer'])}" for me in SERVERS
        ]
        some = self.rng.sample(lines, self.rng.randrange(1, 6))
        if self.rng.random() < 0.4:
            return Reconfigure(new_members=",".join(some))
        leaving = str(self.rng.choice(SERVERS)) if self.rng.random() < 0.5 else ""
        return Reconfigure(joining=",".join(some[:2]), leaving=leaving)

    def _ask(self, me: int, request: Any) -> None:
        replica = self.replicas.get(me)
        if replica is None or not replica.serving:
            return
        session = self.clients.get(me)
        if session is None or self._is_away(me, session):
            self.clients[me] = replica.open(60_000, self.now, password=bytes(16), ids=(EMBEDDED,))
            self.act(me)
            return
        try:
            (xid,) = self.submit(me, session, request)
        except (ThrottledError, ZkcoreError):
            return  # it has just gone
        self.asked[session, xid] = request

    def _is_away(self, me: int, session: int) -> bool:
        heard = self.heard(me, session)
        return bool(heard) and not isinstance(heard[-1], Replied | Attached)

    def _snapshot(self, me: int) -> None:
        replica = self.replicas[me]
        ref, pieces = replica.snapshot()
        replica.storage.save_snapshot(ref, pieces)
        replica.compact(ref)
        self.act(me)

    # --- what must be so

    def check(self) -> int:
        """All come back, and agree. How many changes were answered as made."""
        for me in SERVERS:
            if me not in self.replicas:
                self.start(me)
        self.run(self._is_quiet, limit_ms=120_000)
        newest = max((replica.members for replica in self.replicas.values()), key=lambda members: members.version)
        members = [self.replicas[me] for me in newest.config.members]
        assert {replica.members for replica in members} == {newest}
        assert {replica.tree.read(GetData("/zookeeper/config")).data for replica in members} == {
            newest.text().encode()
        }
        assert len({b"".join(replica.snapshot()[1]) for replica in members}) == 1
        return self._check_answers(newest)

    def _is_quiet(self) -> bool:
        newest = max((replica.members for replica in self.replicas.values()), key=lambda members: members.version)
        members = [self.replicas[me] for me in newest.config.members]
        leaders = {replica.leader for replica in members}
        quiet = len(leaders) == 1 and leaders <= set(newest.config.voters)
        return quiet and len({replica.tree.last_zxid for replica in members}) == 1 and all(
            replica.peer.membership.zxid == newest.version for replica in members
        )  # fmt: skip

    def _check_answers(self, newest: Members) -> int:
        """Each change that was answered has a version of its own, and says what was asked for."""
        versions: list[int] = []
        for told in (event for events in self.told.values() for event in events):
            request = self.asked.get((told.session, told.xid)) if isinstance(told, Replied) else None
            if not isinstance(request, Reconfigure) or not isinstance(told.result, NodeData):
                continue
            found = Members.parse(told.result.data.decode())
            assert found.version == told.result.stat.mzxid <= newest.version
            if request.new_members:
                assert ",".join(found.lines()) == ",".join(sorted(request.new_members.split(",")))
            else:
                assert set(request.joining.split(",")) <= set(found.lines())
            versions.append(found.version)
        assert len(set(versions)) == len(versions)
        return len(versions)
