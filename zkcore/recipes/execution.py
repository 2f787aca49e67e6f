"""One execution of an action that is run everywhere (`everywhere.py`), as who asked for it sees it: how far each member
has come, and what came of it.

It is a znode below which each member that was asked writes `begun-` and its name before it calls the action, and
`done-` and its name with what came of it afterwards. With who is there still, that tells all.

This module must not know who begins an execution, nor how a member carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Generic, TypeVar

from attrs import field, frozen

from zkcore.client.client import Client
from zkcore.errors import NoNodeError
from zkcore.recipes.changes import Changes
from zkcore.recipes.codec import Codec, from_bytes
from zkcore.recipes.waiting import FOR_EVER, Patience, Watch, ask
from zkcore.tree.requests import GetChildren, ListChildren
from zkcore.zxid import Zxid, format_zxid

__all__ = ["BEGUN", "DONE", "FAILED", "OK", "Execution", "Outcome", "OutcomeState", "Report"]

T = TypeVar("T")

BEGUN, DONE = "begun-", "done-"
"""With these begin the names of what members write."""

OK, FAILED = b"ok\n", b"failed\n"
"""With these begins what came of it: a result, or a traceback."""


class OutcomeState(StrEnum):
    """How far one member has come with an execution."""

    WAITING = "waiting"
    """It has not begun."""
    RUNNING = "running"
    """It has begun, and written no result yet."""
    DONE = "done"
    FAILED = "failed"
    """The handler raised, or there was none of that name."""
    LOST = "lost"
    """It ceased to be a member after it had begun: it may have done all of it, or a part."""
    GONE = "gone"
    """It ceased to be a member before it had begun: it did nothing, and never will."""


_OVER = frozenset({OutcomeState.DONE, OutcomeState.FAILED, OutcomeState.LOST, OutcomeState.GONE})


@frozen
class Outcome(Generic[T]):
    """What came of an execution on one member."""

    state: OutcomeState
    traceback: str = ""
    """Of what the handler raised, where it FAILED."""
    data: bytes | None = None
    """The result as bytes, where it is DONE."""
    _codec: Codec[T] | None = field(default=None, repr=False, eq=False)

    @property
    def result(self) -> T | None:
        """What the handler returned; None where it is not DONE. Raises CodecError."""
        if self.data is None or self._codec is None:
            return None
        return from_bytes(self._codec, self.data, where="a result")


@frozen
class Report(Generic[T]):
    """How far an execution has come. A value."""

    outcomes: Mapping[str, Outcome[T]]
    """Of every member that was asked, by name."""
    joined: frozenset[str]
    """Who came after it began, and was not asked."""

    @property
    def is_complete(self) -> bool:
        """Whether nobody is waited for any more: everyone is done, has failed, or is gone."""
        return all(outcome.state in _OVER for outcome in self.outcomes.values())

    @property
    def is_done(self) -> bool:
        """Whether everyone who was asked has done it, and nobody came meanwhile who was not."""
        return not self.joined and all(each.state is OutcomeState.DONE for each in self.outcomes.values())

    @property
    def results(self) -> dict[str, T | None]:
        """What the handlers returned, by the names of the members that are DONE. Raises CodecError."""
        return {name: each.result for name, each in self.outcomes.items() if each.state is OutcomeState.DONE}


class Execution(Generic[T]):
    """One execution of an action, made by `Everywhere.start`."""

    def __init__(
        self, client: Client, group: str, path: str, zxid: Zxid, header: dict[str, Any], codec: Codec[T]
    ) -> None:
        self._client = client
        self._group = group
        self._codec = codec
        self._members: dict[str, Zxid] = header["members"]
        self._seen: Zxid = header["seen"]
        self.path = path
        """Its znode, below which the members write."""
        self.zxid = zxid
        """The transaction that began it: the `token` of its calls."""
        self.action: str = header["action"]

    def __repr__(self) -> str:
        return f"<Execution of {self.action} by {len(self._members)} members at {format_zxid(self.zxid)}>"

    async def report(self) -> Report[T]:
        """How far it has come. Raises NoNodeError where it is kept no longer."""
        return await self.wait(timeout=0)

    async def wait(self, *, timeout: float | None = None) -> Report[T]:
        """Wait until it is complete, at most `timeout` seconds; how far it has come then. Raises NoNodeError where it
        is kept no longer, OutcomeUnknownError where nobody answers in time (the execution goes on), and
        SessionExpiredError or SessionClosedError."""
        port = self._client.port
        patience = Patience(port, timeout)
        watch = Watch(port)
        try:
            while True:
                states, joined = await self._look(watch, patience)
                if _is_over(states) or not await watch.changed(patience):
                    return await self._report(states, joined, patience)
        finally:
            watch.end()

    def changes(self) -> Changes[Report[T]]:
        """An iterator over how far it has come: first how far it has now, then whenever somebody has begun, is done, or
        came or went. It does not end by itself: look at `Report.is_complete`. Raises what `wait` does."""
        return Changes(self._client.port, self._look_at_all)

    # --- within

    async def _look_at_all(self, watch: Watch) -> Report[T]:
        states, joined = await self._look(watch, FOR_EVER)
        return await self._report(states, joined, FOR_EVER)

    async def _look(self, watch: Watch, patience: Patience) -> tuple[dict[str, OutcomeState], frozenset[str]]:
        """Everybody's state, and who has joined. Who is there is read first: what those who are gone have written is
        there by then, all of it."""
        present = await self._present(watch, patience)
        try:
            written = set(await watch.ask(GetChildren(self.path, watch=True), patience))
        except NoNodeError:
            raise NoNodeError(
                f"{self.path} is kept no longer: so many executions were begun since; keep a longer history",
                path=self.path,
            ) from None
        states = {}
        for name, token in self._members.items():
            has_begun = f"{BEGUN}{name}" in written
            if f"{DONE}{name}" in written:
                states[name] = OutcomeState.DONE
            elif present.get(name) == token:
                states[name] = OutcomeState.RUNNING if has_begun else OutcomeState.WAITING
            else:
                states[name] = OutcomeState.LOST if has_begun else OutcomeState.GONE
        return states, frozenset(name for name, token in present.items() if token > self._seen)

    async def _present(self, watch: Watch, patience: Patience) -> dict[str, Zxid]:
        path = f"{self._group}/members"
        await watch.ask(GetChildren(path, watch=True), patience)
        present: dict[str, Zxid] = {}
        after: str | None = ""
        while after is not None:
            page = await ask(self._client.port, ListChildren(path, after=after, with_stat=True), patience)
            present |= {name: stat.czxid for name, stat, _ in page.children if stat is not None}
            after = page.after
        return present

    async def _report(
        self, states: Mapping[str, OutcomeState], joined: frozenset[str], patience: Patience
    ) -> Report[T]:
        outcomes: dict[str, Outcome[T]] = {name: Outcome(state) for name, state in states.items()}
        after: str | None = ""
        while after is not None:
            listing = ListChildren(self.path, after=after, prefix=DONE, with_data=True)
            page = await ask(self._client.port, listing, patience)
            for child, _, data in page.children:
                name = child.removeprefix(DONE)
                if states.get(name) is OutcomeState.DONE:
                    outcomes[name] = self._outcome(data or b"")
            after = page.after
        return Report(outcomes, joined)

    def _outcome(self, data: bytes) -> Outcome[T]:
        if data.startswith(OK):
            return Outcome(OutcomeState.DONE, data=data[len(OK) :], codec=self._codec)
        return Outcome(OutcomeState.FAILED, data.removeprefix(FAILED).decode(errors="replace"))


def _is_over(states: Mapping[str, OutcomeState]) -> bool:
    return all(state in _OVER for state in states.values())
