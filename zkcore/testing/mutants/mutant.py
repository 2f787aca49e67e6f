"""What a planted bug is: some functions of zkcore, and what makes a wrong one of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from zkcore.zab.messages import Message, PeerId
from zkcore.zab.state import Outbox

__all__ = ["Mutant", "Patch", "Real", "sends_early"]

Real: TypeAlias = Callable[..., Any]
"""A function as it is."""

Patch: TypeAlias = tuple[object, str, Callable[[Any], Any]]
"""A class or module, the name of a function or property in it, and what makes the wrong one from that."""


class Mutant(NamedTuple):
    """One bug: `what` goes wrong, `patches` that make it do so, and the `drive` of the simulator that looks for it:
    "peers", where the core alone is enough, "members", where its members must change, else "replicas"."""

    what: str
    patches: tuple[Patch, ...]
    drive: str = "peers"


def sends_early(kind: type[Message]) -> Callable[[Real], Real]:
    """What the function sends of this kind leaves before anything is saved."""

    def mutate(real: Real) -> Real:
        def impatient(self: Any, *arguments: Any) -> Any:
            result = real(self, *arguments)
            out: Outbox = self._state.out
            ready = out._ready
            early: list[tuple[PeerId, Message]] = [pair for pair in ready.messages if isinstance(pair[1], kind)]
            ready.messages = [pair for pair in ready.messages if not isinstance(pair[1], kind)]
            ready.early.extend(early)
            return result

        return impatient

    return mutate
