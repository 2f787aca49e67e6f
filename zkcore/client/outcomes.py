"""What became of requests whose answers an Apache ZooKeeper was asked for and lost: it does not remember, but what can
be looked up is.

This module must not know how a request is carried out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from zkcore.client.plain import Plain, version_where
from zkcore.errors import OutcomeForgottenError, RequestError, SessionError, ThrottledError
from zkcore.jute.records import Stat
from zkcore.tree.requests import (
    Check,
    CheckAbsent,
    CheckStat,
    Create,
    Created,
    CreateWithParents,
    Delete,
    Exists,
    Multi,
    Once,
    Relation,
    Request,
    SetData,
    StatField,
)
from zkcore.tree.znode import CreateMode
from zkcore.zxid import Zxid

__all__ = ["Outcomes"]


class Outcomes:
    """Of the requests of one session that are to be carried out once, by `carry_out`."""

    def __init__(self, plain: Plain, carry_out: Callable[[Request[Any]], Awaitable[Any]]) -> None:
        self._plain = plain
        self._carry_out = carry_out
        self._lost: dict[int, Zxid] = {}  # what may have been carried out: asked when

    async def once(self, request: Once) -> Any:
        """What is asked for the first time is asked as it is. One that may have been carried out is looked up."""
        inner, number, session = request.request, request.number, self._plain.session
        if request.client != session.id:
            raise _forgotten()
        since = self._lost.get(number)
        if since is not None:
            applied, answer = await self._look_up(inner, since)
            if applied:
                del self._lost[number]
                return answer
        self._lost[number] = session.last_zxid
        try:
            answer = await self._carry_out(inner)
        except (RequestError, SessionError, ThrottledError):
            del self._lost[number]
            raise
        del self._lost[number]
        return answer

    async def _look_up(self, request: Request[Any], since: Zxid) -> tuple[bool, Any]:
        """Whether a request that was asked when the session had seen `since` was carried out, and its answer. The
        session is served again, so what was not by now never will be. Raises OutcomeForgottenError where nobody can
        tell."""
        if isinstance(request, Delete) and request.version == -1:
            stat = await self._plain.ask(Exists(request.path))
            if stat is not None and stat.czxid > since:
                raise _forgotten()
            return stat is None, None
        if isinstance(request, Create | CreateWithParents) and request.mode == CreateMode.EPHEMERAL:
            stat = await self._own(request.path, since)
            return stat is not None, stat and Created(request.path, stat)
        if isinstance(request, Multi):
            return await self._look_up_multi(request, since)
        raise _forgotten()

    async def _own(self, path: str, since: Zxid) -> Stat | None:
        """The Stat of a znode that is of this session, and was made after `since`."""
        stat = await self._plain.ask(Exists(path))
        ours = stat is not None and stat.ephemeral_owner == self._plain.session.id and stat.czxid > since
        return stat if ours else None

    async def _look_up_multi(self, request: Multi, since: Zxid) -> tuple[bool, Any]:
        operations = request.operations
        made = [each for each in operations if isinstance(each, Create) and each.mode == CreateMode.EPHEMERAL]
        silent = [each for each in operations if isinstance(each, Check | CheckStat | CheckAbsent | Delete)]
        replaced = [each for each in operations if isinstance(each, SetData)]
        if made and len(made) + len(silent) + len(replaced) == len(operations):  # all were made, or none
            stats = {each.path: await self._own(each.path, since) for each in made}
            if any(stat is not None for stat in stats.values()):
                for path in [each.path for each in replaced]:
                    stats[path] = await self._plain.ask(Exists(path))
                return True, _all_done(operations, stats)
            if not replaced:
                return False, None
        for each in operations:  # what it would have changed itself has not changed
            if isinstance(each, CheckStat) and _is_undone_by(each, operations):
                try:
                    await version_where(self._plain, each)
                except RequestError:
                    break
                return False, None
        raise _forgotten()


def _all_done(operations: Sequence[Request[Any]], stats: dict[str, Stat | None]) -> tuple[Any, ...]:
    """The answers to a transaction that has happened, by what its znodes are now. Raises OutcomeForgottenError where
    they have changed since."""
    answers: list[Any] = []
    zxids: set[Zxid] = set()
    for each in operations:
        if not isinstance(each, Create | SetData):
            answers.append(None)
            continue
        stat = stats[each.path]
        if stat is None:
            raise _forgotten()
        zxids.add(stat.czxid if isinstance(each, Create) else stat.mzxid)
        answers.append(Created(each.path, stat) if isinstance(each, Create) else stat)
    if len(zxids) > 1:
        raise _forgotten()
    return tuple(answers)


def _is_undone_by(check: CheckStat, operations: Sequence[Request[Any]]) -> bool:
    """Whether what is checked cannot hold any more once the transaction has happened."""
    same = {each.field for each in check.conditions if each.relation == Relation.EQUAL}
    on_life = StatField.CZXID in same
    on_data = StatField.MZXID in same or (on_life and StatField.VERSION in same)  # versions count in one life
    return any(
        ((on_data and isinstance(each, SetData | Delete)) or (on_life and isinstance(each, Delete)))
        and each.path == check.path
        for each in operations
    )


def _forgotten() -> OutcomeForgottenError:
    return OutcomeForgottenError(
        "the answer was lost, and Apache ZooKeeper does not remember how a request ended: read what became of it"
    )
