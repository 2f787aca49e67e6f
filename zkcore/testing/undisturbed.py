"""Many steps of an ensemble that is wired by hand, taken as if nobody disturbed it.

Links come up, everything is delivered in a fixed order, and time passes as far as anything is due. Nothing is decided
here, so the same beginning has the same end. A save that is held stays held, and a pair that is kept apart stays apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations

from zkcore.testing.checkers import Violation
from zkcore.testing.handwired import HandWired
from zkcore.zab.messages import PeerId, Role

__all__ = ["common_leader", "relink", "run", "stabilize"]

ENDLESS = 20_000
"""An ensemble that still talks after so many deliveries without a tick will not stop."""


def _never() -> bool:
    return False


def stabilize(ensemble: HandWired, among: Iterable[PeerId] = (), *, until: Callable[[], bool] = _never) -> bool:
    """Deliver everything that is under way between these nodes (all, unless given) until nothing is, or until it is so.
    Returns whether it is. Raises Violation where there is no end."""
    members = sorted(among) or ensemble.members
    pairs = [(sender, to) for sender in members for to in members if sender != to]
    delivered = 0
    while any(ensemble.under_way(*pair) for pair in pairs):
        for sender, to in pairs:
            while ensemble.under_way(sender, to):
                if until():
                    return True
                ensemble.deliver(sender, to)
                delivered += 1
        if delivered > ENDLESS:
            raise Violation("L1", f"{delivered} deliveries, and the nodes still talk")
    return until()


def relink(ensemble: HandWired, among: Iterable[PeerId] = (), *, heard: bool = True) -> None:
    """Link all these nodes that are up and are not kept apart."""
    up = [me for me in ensemble.up if me in (sorted(among) or ensemble.members)]
    for one, other in combinations(up, 2):
        still_up = one in ensemble.up and other in ensemble.up  # a disk may have failed over the last one
        if still_up and not ensemble.links.is_up(one, other) and not ensemble.are_kept_apart(one, other):
            ensemble.link(one, other, heard=heard)


def run(
    ensemble: HandWired,
    ticks: int,
    among: Iterable[PeerId] = (),
    *,
    until: Callable[[], bool] = _never,
    looking_always: bool = False,
) -> bool:
    """Let time pass for these nodes (all, unless given). Whether it came to be `until` within `ticks`, looked at when
    nothing is under way, or before every delivery."""
    members = sorted(among) or ensemble.members
    while True:
        relink(ensemble, members, heard=False)
        if stabilize(ensemble, members, until=until if looking_always else _never) or until():
            return True
        up = [me for me in ensemble.up if me in members]
        step = min([ticks, *(ensemble.peer(me).ticks_until_due for me in up if not ensemble.is_busy(me))])
        if step <= 0:
            return False
        ticks -= step
        for me in up:
            if me in ensemble.up:
                ensemble.tick(me, step)


def common_leader(ensemble: HandWired, among: Iterable[PeerId] = ()) -> PeerId | None:
    """The leader of these nodes that are up, where they have one and have delivered all it has; else None."""
    peers = {me: ensemble.peer(me) for me in ensemble.up if me in (sorted(among) or ensemble.members)}
    leaders = [me for me, peer in peers.items() if peer.role is Role.LEADING]
    if len(leaders) != 1:
        return None
    leader = peers[leaders[0]]
    same = all(
        peer.established and peer.leader == leaders[0] and peer.epoch == leader.epoch
        and peer.last_delivered == leader.last_logged
        for peer in peers.values()
    )  # fmt: skip
    return leaders[0] if same and leader.next_zxid is not None else None
