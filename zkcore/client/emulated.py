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

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import attrs

from zkcore.client.outcomes import Outcomes
from zkcore.client.plain import Plain, version_where
from zkcore.errors import (
    BadArgumentsError,
    MultiError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RequestError,
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
    Children,
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
    Request,
    SetACL,
    StatField,
)
from zkcore.tree.znode import CreateMode
from zkcore.zxid import Zxid

__all__ = ["Emulation", "as_zookeeper_has_it"]

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
        self._outcomes = Outcomes(plain, self.carry_out)

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
        """A Stat is read together with the data, for which there is no other way to have it of the same state."""
        asked: list[Request[Any]] = []
        for operation in request.operations:
            if isinstance(operation, GetChildren | GetChildren2):
                asked.append(GetChildren(operation.path))
            elif not isinstance(operation, GetData | Exists):
                raise UnsupportedError(
                    "Apache ZooKeeper reads data, Stats and the names of children of one state, and nothing else: ask "
                    "for no more than these together, or for each by itself"
                )
            if not isinstance(operation, GetChildren):
                asked.append(GetData(operation.path))
        answers = iter(await self._plain.ask(MultiRead(asked)))
        return tuple([_read_of(operation, answers) for operation in request.operations])

    # --- conditions

    async def _check_stat(self, request: CheckStat) -> None:
        await version_where(self._plain, request)

    async def _check_absent(self, request: CheckAbsent) -> None:
        if await self._plain.ask(Exists(request.path)) is not None:
            raise NodeExistsError(path=request.path)

    # --- several

    async def _multi(self, request: Multi) -> tuple[Any, ...]:
        operations = request.operations
        if all(isinstance(each, DeleteIfPresent) for each in operations):
            return await self._delete_all_present(cast("Sequence[DeleteIfPresent]", operations))
        if operations and all(isinstance(each, CreateIfAbsent) for each in operations):
            return await self._create_all_absent(cast("Sequence[CreateIfAbsent]", operations))
        _check_multi(operations)
        asked: list[Request[Any]] = []
        begins: list[int] = []  # where in `asked` each operation does
        for index, operation in enumerate(operations):
            begins.append(len(asked))
            if isinstance(operation, CheckStat):
                try:
                    version = await version_where(self._plain, operation)
                except RequestError as error:
                    raise _multi_error(index, error, len(operations), operation.path) from None
                asked.append(Check(operation.path, version))
            elif isinstance(operation, CheckAbsent):
                asked += [Create(operation.path, b"", acl=OPEN_ACL), Delete(operation.path)]
            else:
                asked.append(as_zookeeper_has_it(operation) or operation)
        try:
            answers = await self._plain.ask(Multi(asked))
        except MultiError as error:
            raise _error_of_original(error, operations, begins) from None
        done_at = self._plain.session.last_zxid
        return tuple([
            None if isinstance(operation, CheckAbsent) else await self._whole(asked[at], answers[at], done_at)
            for operation, at in zip(operations, begins, strict=True)
        ])

    async def _create_all_absent(self, operations: Sequence[CreateIfAbsent]) -> tuple[Created, ...]:
        while True:
            stats = await self._plain.ask_all([Exists(each.path) for each in operations])
            absent = [index for index, stat in enumerate(stats) if not isinstance(stat, Stat)]
            try:
                made: Any = await self._multi(Multi([_creation(operations[at]) for at in absent])) if absent else ()
            except MultiError as error:
                if isinstance(error.error, NodeExistsError):
                    continue  # somebody was faster
                index = absent[error.index]
                raise _multi_error(index, error.error, len(operations), operations[index].path) from None
            new = dict(zip(absent, made, strict=True))
            return tuple([
                new[index] if index in new else Created(each.path, stats[index])
                for index, each in enumerate(operations)
            ])

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

def _read_of(operation: Request[Any], answers: Iterator[Any]) -> Any:
    """The next of `answers`, or two, as the answer to `operation`: the RequestError where it fails."""
    first = next(answers)
    if isinstance(operation, Exists):
        return None if isinstance(first, NoNodeError) else first if isinstance(first, RequestError) else first.stat
    if not isinstance(operation, GetChildren2):
        return first
    second = next(answers)
    return first if isinstance(first, RequestError) else Children(tuple(first), second.stat)


def _creation(request: CreateWithParents | CreateIfAbsent) -> Create | CreateContainer:
    if request.mode == CreateMode.CONTAINER:
        return CreateContainer(request.path, request.data, acl=request.acl)
    return Create(request.path, request.data, acl=request.acl, mode=request.mode)


def _check_multi(operations: Sequence[Request[Any]]) -> None:
    """Raises UnsupportedError for what cannot stand in a transaction there."""
    touched: set[str] = set()
    for operation in operations:
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


def _error_of_original(error: MultiError, operations: Sequence[Request[Any]], begins: Sequence[int]) -> ZkcoreError:
    """What a transaction is refused with whose operations begin at these places of the one that was asked for."""
    index = bisect_right(begins, error.index) - 1
    operation: Any = operations[index]
    if isinstance(operation, CheckAbsent) and isinstance(error.error, NoNodeError | NoChildrenForEphemeralsError):
        return UnsupportedError(
            f"Apache ZooKeeper cannot check that {operation.path} is absent where nothing can stand below its parent; "
            "check the parent"
        )
    return _multi_error(index, error.error, len(operations), operation.path)


def _multi_error(index: int, error: ZkcoreError, count: int, path: str) -> MultiError:
    codes = tuple([0] * index + [error.code or 0] + [-2] * (count - index - 1))
    return MultiError(index, error, codes=codes, path=path)


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
    Once: lambda emulation, request: emulation._outcomes.once(request),
}
