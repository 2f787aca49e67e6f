"""What zkcore's requests come to at an Apache ZooKeeper, which lacks some of them: made of those it has, where that is
as good, and else refused with what to use instead.

As good means: all or nothing where the request promises that, and never done twice. A request that is made of several
has no one place in the order of requests; so wait for its answer before you ask for what rests on it.

Two things stay weaker than at a server of ours. A condition on a Stat becomes a check of the version that it had: that
does not see that the znode was deleted and made again in between, and changed as often since. And nobody remembers how
a request ended whose answer was lost: what can be looked up is, and where that shows nothing the answer is
OutcomeForgottenError.

This module must not know who carries its requests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar, cast

import attrs

from zkcore.client.port import Session
from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    MultiError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    OutcomeForgottenError,
    RequestError,
    SessionError,
    ThrottledError,
    UnsupportedError,
    ZkcoreError,
)
from zkcore.jute.records import OPEN_ACL, Stat
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.paths import PROTECTED, join, parent_of, validate
from zkcore.tree.requests import (
    Check,
    CheckAbsent,
    CheckStat,
    Child,
    ChildKind,
    ChildPage,
    Create,
    CreateContainer,
    Created,
    CreateIfAbsent,
    CreateTTL,
    CreateWithParents,
    Delete,
    DeleteIfPresent,
    DeleteTree,
    Exists,
    GetChildren,
    GetChildren2,
    GetData,
    ListChildren,
    Multi,
    MultiRead,
    Once,
    PlainCreate,
    Relation,
    Request,
    SetACL,
    SetData,
    StatField,
)
from zkcore.tree.znode import CreateMode
from zkcore.zxid import Zxid

__all__ = ["Emulation", "Plain", "as_zookeeper_has_it"]

T = TypeVar("T")

_AT_A_TIME = 100
"""So many reads are sent together."""

_MOST_BYTES = 0x80000
"""With so much in it a transaction, or a page, is full."""

_OF_THE_DATA = frozenset(
    {
        StatField.CZXID, StatField.MZXID, StatField.CTIME, StatField.MTIME, StatField.VERSION,
        StatField.EPHEMERAL_OWNER, StatField.DATA_LENGTH,
    }
)  # fmt: skip
"""The fields that stay as they are for as long as the version does."""


class Plain(Protocol):
    """Who asks a ZooKeeper for what it has."""

    @property
    def session(self) -> Session: ...

    async def ask(self, request: Request[T]) -> T:
        """The answer. Raises what `zkcore.client.port.Port.request` does."""

    async def ask_all(self, requests: Sequence[Request[Any]]) -> list[Any]:
        """The answers to several reads that are asked together, and in the place of one that fails its
        RequestError."""


def as_zookeeper_has_it(request: Request[T]) -> Request[T] | None:
    """`request` as a ZooKeeper takes it; None where it has to be emulated."""
    if isinstance(request, Multi):
        operations = [as_zookeeper_has_it(each) for each in request.operations]
        if None in operations or any(isinstance(each, Create) for each in operations):
            return None  # of what is created there the answer does not say enough
        return cast("Request[T]", Multi(cast("list[Request[Any]]", operations)))
    if isinstance(request, MultiRead):
        is_emulated = not all(isinstance(each, GetData | GetChildren) for each in request.operations)
    else:
        is_emulated = type(request) in _EMULATED
    if is_emulated:
        return None
    if isinstance(request, _WITH_ACL) and request.acl == DEFAULT_ACL:
        changed: Any = attrs.evolve(request, acl=OPEN_ACL)
        return cast("Request[T]", changed)
    return request


_WITH_ACL = (PlainCreate, Create, CreateContainer, CreateTTL, SetACL)


class Emulation:
    """The requests of one session at a ZooKeeper, through `plain`."""

    def __init__(self, plain: Plain) -> None:
        self._plain = plain
        self._lost: dict[int, Zxid] = {}  # requests that are to be carried out once, and may have been: asked when

    async def carry_out(self, request: Request[T]) -> T:
        """The answer to any request. Raises UnsupportedError for what cannot be made of what a ZooKeeper has, and what
        `zkcore.client.port.Port.request` does."""
        native = as_zookeeper_has_it(request)
        if native is not None:
            return await self._plain.ask(native)
        answer: Any = await _EMULATED[type(request)](self, request)
        return cast(T, answer)

    # --- creating

    async def _create_with_parents(self, request: CreateWithParents) -> Created:
        create = _creation(request)
        while True:
            try:
                return await self.carry_out(create)
            except NoNodeError:
                pass
            missing = await self._missing_above(request.path)
            parents = [Create(path, b"", acl=request.acl) for path in missing]
            try:
                answers: Any = await self.carry_out(Multi([*parents, create]))
            except MultiError as error:
                somebody_was_faster = isinstance(error.error, NodeExistsError) and error.index < len(parents)
                if somebody_was_faster or isinstance(error.error, NoNodeError):
                    continue
                raise error.error from None
            created: Created = answers[-1]
            return created

    async def _missing_above(self, path: str) -> list[str]:
        missing: list[str] = []
        above = parent_of(path)
        while above != "/" and await self._plain.ask(Exists(above)) is None:
            missing.insert(0, above)
            above = parent_of(above)
        return missing

    async def _create_if_absent(self, request: CreateIfAbsent) -> Created:
        if CreateMode(request.mode).is_sequential:
            raise BadArgumentsError(f"{request.path}: a znode with a number is always new", path=request.path)
        while True:
            try:
                return await self.carry_out(_creation(request))
            except NodeExistsError:
                pass
            stat = await self._plain.ask(Exists(request.path))
            if stat is not None:  # else it was deleted since
                return Created(request.path, stat)

    # --- deleting

    async def _delete_if_present(self, request: DeleteIfPresent) -> bool:
        try:
            await self._plain.ask(Delete(request.path, request.version))
        except NoNodeError:
            return False
        return True

    async def _delete_tree(self, request: DeleteTree) -> int:
        validate(request.path)
        if request.path in PROTECTED:
            raise BadArgumentsError(f"{request.path} cannot be deleted", path=request.path)
        while True:
            paths = await self._below(request.path, request.most)
            try:
                await self._plain.ask(Multi([Delete(path) for path in reversed(paths)]))
            except MultiError as error:
                if isinstance(error.error, NoNodeError | NotEmptyError):
                    continue  # others made or deleted something meanwhile
                raise error.error from None
            return len(paths)

    async def _below(self, path: str, most: int) -> list[str]:
        """`path` and all below it, parents before children. Raises NotEmptyError for more than fit a transaction."""
        found, size, looked_at = [path], len(path), 0
        while looked_at < len(found):
            parents = found[looked_at : looked_at + _AT_A_TIME]
            looked_at += len(parents)
            for parent, names in zip(parents, await self._plain.ask_all([*map(GetChildren, parents)]), strict=True):
                if isinstance(names, RequestError):
                    if isinstance(names, NoNodeError) and parent != path:
                        continue  # that it is gone shows in the transaction
                    raise names
                found += [join(parent, name) for name in names]
                size += sum(len(parent) + len(name) + 20 for name in names)
            if len(found) > most or size > _MOST_BYTES:
                raise NotEmptyError(f"{path}: more than {most} znodes, or too many for one request", path=path)
        return found

    # --- reading

    async def _list_children(self, request: ListChildren) -> ChildPage:
        path = request.path
        if request.limit < 1 or request.kind not in list(ChildKind):
            raise BadArgumentsError(f"a page of {request.limit} children of kind {request.kind}", path=path)
        names, stat = await self._plain.ask(GetChildren2(path))
        left = [name for name in names if name > request.after and name.startswith(request.prefix)]
        children: list[Child] = []
        size = 0
        while left and len(children) < request.limit and size < _MOST_BYTES:
            some = left[: min(_AT_A_TIME, request.limit - len(children))]
            del left[: len(some)]
            found = await self._look_at(request, some)
            children += found
            size += sum(len(child.name) + len(child.data or b"") for child in found)
            last = some[-1]
        return ChildPage(tuple(children), stat, last if left else None)

    async def _look_at(self, request: ListChildren, names: Sequence[str]) -> list[Child]:
        """The children of these names that are of the right kind, and still there."""
        if not (request.with_stat or request.with_data or request.kind != ChildKind.ANY):
            return [Child(name, None, None) for name in names]
        paths = [join(request.path, name) for name in names]
        reads: list[Request[Any]] = [GetData(each) if request.with_data else Exists(each) for each in paths]
        found: list[Child] = []
        for name, answer in zip(names, await self._plain.ask_all(reads), strict=True):
            if answer is None or isinstance(answer, NoNodeError):
                continue
            if isinstance(answer, RequestError):
                if request.kind == ChildKind.ANY:
                    found.append(Child(name, None, None))  # it may not be read
                continue
            data, stat = answer if request.with_data else (None, answer)
            if request.kind == ChildKind.ANY or (stat.ephemeral_owner != 0) == (request.kind == ChildKind.EPHEMERAL):
                found.append(Child(name, stat if request.with_stat else None, data))
        return found

    async def _multi_read(self, request: MultiRead) -> tuple[Any, ...]:
        raise UnsupportedError(
            "Apache ZooKeeper reads data and the names of children of one state, and nothing else: ask for no more "
            "than these together, or for each by itself"
        )

    # --- conditions

    async def _check_stat(self, request: CheckStat) -> None:
        await self._version_where(request)

    async def _check_absent(self, request: CheckAbsent) -> None:
        if await self._plain.ask(Exists(request.path)) is not None:
            raise NodeExistsError(path=request.path)

    async def _version_where(self, check: CheckStat) -> int:
        """The version of a znode of whose Stat everything holds. Raises NoNodeError, BadVersionError."""
        for condition in check.conditions:
            if not condition.is_known:
                raise BadArgumentsError(f"{condition} names no field of a Stat, or no relation", path=check.path)
        stat = await self._plain.ask(Exists(check.path))
        if stat is None:
            raise NoNodeError(path=check.path)
        if not all(condition.holds(stat) for condition in check.conditions):
            raise BadVersionError(path=check.path)
        return stat.version

    # --- several

    async def _multi(self, request: Multi) -> tuple[Any, ...]:
        operations = request.operations
        if all(isinstance(each, DeleteIfPresent) for each in operations):
            return await self._delete_all_present(cast("Sequence[DeleteIfPresent]", operations))
        _check_multi(operations)
        asked: list[Request[Any]] = []
        for index, operation in enumerate(operations):
            if isinstance(operation, CheckStat):
                try:
                    version = await self._version_where(operation)
                except RequestError as error:
                    raise _multi_error(index, error, len(operations), operation.path) from None
                asked.append(Check(operation.path, version))
            else:
                asked.append(as_zookeeper_has_it(operation) or operation)
        answers = await self._plain.ask(Multi(asked))
        done_at = self._plain.session.last_zxid
        return tuple([await self._whole(*each, done_at) for each in zip(asked, answers, strict=True)])

    async def _whole(self, operation: Request[Any], answer: Any, done_at: Zxid) -> Any:
        """With the Stat of what a transaction created, which ZooKeeper does not tell. It is read afterwards, and
        put back to how it was; where the znode is gone by then its times are not known, and 0."""
        if not isinstance(operation, Create) or not isinstance(answer, str):
            return answer
        try:
            now = await self._plain.ask(Exists(answer))
        except ZkcoreError:
            now = None  # the session is over, or we may not read it: created it was all the same
        if now is None or now.czxid > done_at:
            now = None  # it is gone, or another's
        zxid, time = (done_at, 0) if now is None else (now.czxid, now.ctime)
        owner = self._plain.session.id if CreateMode(operation.mode).is_ephemeral else 0
        return Created(answer, Stat(zxid, zxid, time, time, 0, 0, 0, owner, len(operation.data or b""), 0, zxid))

    async def _delete_all_present(self, operations: Sequence[DeleteIfPresent]) -> tuple[bool, ...]:
        while True:
            stats = await self._plain.ask_all([Exists(each.path) for each in operations])
            there = [index for index, stat in enumerate(stats) if isinstance(stat, Stat)]
            try:
                await self._plain.ask(Multi([Delete(operations[at].path, operations[at].version) for at in there]))
            except MultiError as error:
                if isinstance(error.error, NoNodeError):
                    continue
                index = there[error.index]
                raise _multi_error(index, error.error, len(operations), operations[index].path) from None
            return tuple(index in there for index in range(len(operations)))

    # --- once

    async def _once(self, request: Once) -> Any:
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
            answer = await self.carry_out(inner)
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
        silent = [each for each in operations if isinstance(each, Check | CheckStat | Delete)]
        if made and len(made) + len(silent) == len(operations):  # all were made, or none
            stats = {each.path: await self._own(each.path, since) for each in made}
            if any(stat is not None for stat in stats.values()):
                answers = [(each.path, stats[each.path]) if each in made else None for each in operations]
                return True, tuple(each and Created(*each) for each in answers)  # type: ignore[arg-type]
            return False, None
        for each in operations:  # what it would have changed itself has not changed
            if isinstance(each, CheckStat) and _is_undone_by(each, operations):
                try:
                    await self._version_where(each)
                except RequestError:
                    break
                return False, None
        raise _forgotten()


def _creation(request: CreateWithParents | CreateIfAbsent) -> Create | CreateContainer:
    if request.mode == CreateMode.CONTAINER:
        return CreateContainer(request.path, request.data, acl=request.acl)
    return Create(request.path, request.data, acl=request.acl, mode=request.mode)


def _check_multi(operations: Sequence[Request[Any]]) -> None:
    """Raises UnsupportedError for what cannot stand in a transaction there."""
    touched: set[str] = set()
    for operation in operations:
        if isinstance(operation, CheckAbsent):
            raise UnsupportedError(
                "Apache ZooKeeper cannot check that a znode is absent; create it in the transaction, and delete it "
                "again there, if it does no harm that others are told of it"
            )
        if isinstance(operation, CreateIfAbsent):
            raise UnsupportedError(
                "Apache ZooKeeper cannot create a znode in a transaction only if it is absent; create it before, by "
                "itself"
            )
        if isinstance(operation, DeleteIfPresent):
            raise UnsupportedError(
                "Apache ZooKeeper cannot delete a znode in a transaction only if it is there; look first, and delete "
                "it in the transaction or leave it out"
            )
        if isinstance(operation, CheckStat):
            _check_conditions(operation, touched)
        if not isinstance(operation, Check | CheckStat):
            touched.add(operation.path)  # type: ignore[attr-defined]


def _check_conditions(check: CheckStat, touched: set[str]) -> None:
    for condition in check.conditions:
        if condition.is_known and condition.field not in _OF_THE_DATA:
            raise UnsupportedError(
                f"Apache ZooKeeper cannot check the {StatField(condition.field).name} of a znode in a transaction, "
                "only what goes with the version of its data; keep what must not change in the data of a znode"
            )
    if check.path in touched:
        raise UnsupportedError(
            "Apache ZooKeeper cannot check the Stat of a znode behind an operation on it in the same transaction; "
            "check it first"
        )


def _is_undone_by(check: CheckStat, operations: Sequence[Request[Any]]) -> bool:
    """Whether what is checked cannot hold any more once the transaction has happened."""
    on_data = any(each.field == StatField.MZXID and each.relation == Relation.EQUAL for each in check.conditions)
    on_life = any(each.field == StatField.CZXID and each.relation == Relation.EQUAL for each in check.conditions)
    return any(
        ((on_data and isinstance(each, SetData | Delete)) or (on_life and isinstance(each, Delete)))
        and each.path == check.path
        for each in operations
    )


def _multi_error(index: int, error: ZkcoreError, count: int, path: str) -> MultiError:
    codes = tuple([0] * index + [error.code or 0] + [-2] * (count - index - 1))
    return MultiError(index, error, codes=codes, path=path)


def _forgotten() -> OutcomeForgottenError:
    return OutcomeForgottenError(
        "the answer was lost, and Apache ZooKeeper does not remember how a request ended: read what became of it"
    )


_EMULATED: dict[type[Request[Any]], Callable[[Emulation, Any], Awaitable[Any]]] = {
    CreateWithParents: Emulation._create_with_parents,
    CreateIfAbsent: Emulation._create_if_absent,
    DeleteIfPresent: Emulation._delete_if_present,
    DeleteTree: Emulation._delete_tree,
    ListChildren: Emulation._list_children,
    MultiRead: Emulation._multi_read,
    CheckStat: Emulation._check_stat,
    CheckAbsent: Emulation._check_absent,
    Multi: Emulation._multi,
    Once: Emulation._once,
}
