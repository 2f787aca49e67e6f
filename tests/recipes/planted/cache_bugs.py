"""Bugs of the cache, and of the watches it rests on."""

from __future__ import annotations

from typing import Any

from planting import plant

from zkcore.client.port import Port
from zkcore.client.watcher import WatcherTable
from zkcore.recipes.cache import _Keeper
from zkcore.recipes.waiting import FOR_EVER, ask
from zkcore.testing.mutants.mutant import Real
from zkcore.tree.applied import EventType
from zkcore.tree.requests import GetData, MultiRead, NodeData
from zkcore.tree.watch_requests import CatchUp

STATES = "a_cache_shows_one_state_after_the_other_and_in_the_end_the_last"


def _nothing_is_missed(real: Real) -> Real:
    def catch_up(self: WatcherTable, since: int) -> CatchUp | None:
        request: CatchUp | None = real(self, (1 << 63) - 1)
        return request

    return catch_up


def _shown_as_it_comes(real: Real) -> Real:
    async def _read(self: Any, port: Port) -> dict[str, NodeData]:
        if self._must_list or self.view is None:
            nodes: dict[str, NodeData] = await real(self, port)
            return nodes
        nodes, asked = dict(self.view.nodes), list(self._pending)
        self._pending.clear()
        answers = await ask(port, MultiRead([GetData(path) for path in asked]), FOR_EVER)
        for path, answer in zip(asked, answers, strict=True):
            self._take(nodes, path, answer)
        return nodes

    return _read


def _one_by_one(_: Real) -> Real:
    async def _read(self: Any, port: Port) -> dict[str, NodeData]:
        """Without a look at what has changed while it was read."""
        nodes = await self._list(port, {})
        asked, self._pending, self._must_list = list(self._pending), {}, False
        for path in asked:
            self._take(nodes, path, (await ask(port, MultiRead([GetData(path)]), FOR_EVER))[0])
        return nodes  # type: ignore[no-any-return]

    return _read


def _deletions_unheard(real: Real) -> Real:
    def _on_event(self: Any, event: Any) -> None:
        if getattr(event, "type", None) is not EventType.NODE_DELETED:
            real(self, event)

    return _on_event


def _by_turns(real: Real) -> Real:
    def _show(self: Any, nodes: dict[str, NodeData]) -> None:
        before = self.view
        real(self, nodes)
        if before is not None and len(before) > len(nodes):
            real(self, before.nodes)  # of a reader that was slower

    return _show


plant(
    "cache-goes-back",
    "what was read first is shown last, now and then, as where two read at a time",
    (_Keeper, "_show", _by_turns),
    play=STATES,
    seed=0,
)
plant(
    "cache-gap-untold",
    "a client that moves to another replica is told nothing of what it missed",
    (WatcherTable, "catch_up", _nothing_is_missed),
    play=STATES,
    seed=0,
)
plant(
    "cache-mixes-states",
    "what has changed is read and shown, whatever has changed while it was read",
    (_Keeper, "_read", _shown_as_it_comes),
    play=STATES,
    seed=0,
)
plant(
    "cache-overtaken",
    "what has changed while the cache was read is not read again",
    (_Keeper, "_read", _one_by_one),
    play=STATES,
    seed=0,
)
plant(
    "cache-keeps-deleted",
    "what is deleted is shown for ever",
    (_Keeper, "_on_event", _deletions_unheard),
    play=STATES,
    seed=0,
)
