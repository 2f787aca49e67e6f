"""The blocking face of `zkcore.recipes.election`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

from zkcore.errors import BadArgumentsError
from zkcore.recipes.contender import Contender
from zkcore.recipes.election import Election as AsyncElection
from zkcore.recipes.holding import OnLost
from zkcore.sync.changes import Changes
from zkcore.sync.client import Client
from zkcore.sync.holding import Hold
from zkcore.sync.lease import Lease
from zkcore.sync.port import mirrors, run, seconds

__all__ = ["Election"]

T = TypeVar("T")

Reign: TypeAlias = Callable[..., T]
"""What a leader does, from the beginning of its term to the end."""


@mirrors(AsyncElection)
class Election:
    """`zkcore.Election` for blocking code. Several threads may use one.

    ::

        election = zkcore.Election(zk, "/leader", identifier="host-7")
        with election.lead() as term:
            work(token=term.fencing_token)
    """

    def __init__(self, client: Client, path: str, *, identifier: str | None = None) -> None:
        self._inner = AsyncElection(client.unblocked, path, identifier=identifier)

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode whose children are the candidates."""
        return self._inner.path

    @property
    def is_leader(self) -> bool:
        """Whether this object leads, as far as it can know. Local."""
        return self._inner.is_leader

    @property
    def term(self) -> Lease | None:
        """The lease of the term that this object leads; None where it does not, or has lost it."""
        inner = self._inner.term
        return None if inner is None else Lease(inner)

    def lead(self, *, timeout: float | None = None, on_lost: OnLost = OnLost.CANCEL) -> Hold:
        return Hold(self._inner.lead(timeout=seconds(timeout), on_lost=on_lost))

    def run(self, reign: Reign[T], *args: object) -> T:
        """Stand for election, and once elected do `reign(*args)`, on this thread; what it returns. Its end resigns.
        What it does needs the fencing token of `term`.

        Nothing can cancel it when the term is lost: it looks at `term`, or finds out by its token. LeaseLostError is
        raised at its end. Raises what `lead` and `reign` raise.
        """
        if not callable(reign):
            raise BadArgumentsError(f"run wants a function and then its arguments, not {reign!r}")
        with self.lead():
            return reign(*args)

    def resign(self) -> None:
        run(self._inner.resign())

    def leader(self) -> Contender | None:
        return run(self._inner.leader())

    def candidates(self) -> tuple[Contender, ...]:
        return run(self._inner.candidates())

    def observe(self) -> Changes[Contender | None]:
        return Changes(self._inner.observe())
