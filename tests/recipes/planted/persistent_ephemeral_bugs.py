"""Bugs of the persistent ephemeral."""

from __future__ import annotations

from typing import Any

from planting import plant

from zkcore.client.port import Port
from zkcore.recipes.persistent_ephemeral import PersistentEphemeral, _Stay
from zkcore.recipes.waiting import FOR_EVER, Watch, ask
from zkcore.testing.mutants.mutant import Real
from zkcore.tree.requests import Exists

AGAIN = "whoever_lost_his_session_is_there_again_in_the_end"
ONE = "one_is_there_where_several_want_to_be"


def _once_only(_: Real) -> Real:
    async def _keep(self: Any, port: Port) -> None:
        try:
            await _Stay(port, self.path, self._data).last(self._show, self._give_up)
        finally:
            await port.wait()  # it never notices

    return _keep


class _Everybody(frozenset[int]):
    def __contains__(self, session: object) -> bool:
        return bool(session)


def _takes_over_from_anybody(real: Real) -> Real:
    def __init__(self: Any, port: Port, path: str, data: bytes, before: frozenset[int] = frozenset()) -> None:
        real(self, port, path, data, _Everybody())

    return __init__


def _deletion_unseen(real: Real) -> Real:
    async def _is_there(self: Any, watch: Watch) -> bool:
        await ask(self._port, Exists(self._path), FOR_EVER)
        return True

    return _is_there


def _left_behind(_: Real) -> Real:
    async def leave(self: Any) -> None:
        pass

    return leave


plant(
    "ephemeral-not-again",
    "it is made in the first session only",
    (PersistentEphemeral, "_keep", _once_only),
    play=AGAIN,
    seed=0,
)
plant(
    "ephemeral-of-others",
    "it takes the place of a znode that is somebody else's",
    (_Stay, "__init__", _takes_over_from_anybody),
    play=ONE,
    seed=0,
)
plant(
    "ephemeral-unwatched",
    "it does not look whether its znode is still there",
    (_Stay, "_is_there", _deletion_unseen),
    play=AGAIN,
    seed=0,
)
plant(
    "ephemeral-left-behind",
    "who closes it leaves the znode to the end of the session",
    (_Stay, "leave", _left_behind),
    play=ONE,
    seed=0,
)
