"""The map of a sharding: which member owns a key, with which token, from local memory.

Below the path of a sharding there is a znode for each member, which goes with its session; one for the table, which
says whom each partition is assigned to; and one for each partition that is claimed, ephemeral, too, whose czxid is the
token of its owner. All of them are followed as one state (`following.py`), and from it every route is made beforehand:
a look-up is a hash and an index.

This module must not know how members come to own what they do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from attrs import field, frozen

from zkcore.client.client import Client
from zkcore.errors import BadArgumentsError, NoOwnerError, UnplaceableError
from zkcore.recipes.cache import CacheView
from zkcore.recipes.changes import Changes
from zkcore.recipes.following import Following
from zkcore.recipes.persistent_ephemeral import Connecting
from zkcore.recipes.shard_table import ShardMember, ShardTable
from zkcore.recipes.waiting import Watch
from zkcore.ring.hashing import MMH3_32, Key, plain
from zkcore.tree.paths import validate
from zkcore.zxid import Zxid

__all__ = ["PARTITIONS", "Route", "ShardMap", "ShardState", "decode_settings", "encode_settings"]

PARTITIONS = range(1, (1 << 14) + 1)
"""How many there can be: the table is one znode, and every claim another."""

_MASK = (1 << MMH3_32.bits) - 1


@frozen
class Route:
    """Where a key is to go."""

    partition: int
    owner: str
    """The name of the member that owns the partition."""
    address: str
    """Where that says it is to be reached."""
    fencing_token: Zxid
    """That of its claim: each owner of a partition has a higher one than all before."""


@frozen
class ShardState:
    """A sharding at one zxid: what a ShardMap shows."""

    zxid: Zxid
    """The transaction after which all was so."""
    partitions: int = 0
    """How many there are; 0 while there is no sharding."""
    replicas: int = 1
    """How many members a partition is to have: its owner, and those that stand by."""
    members: Mapping[str, ShardMember] = field(factory=dict, hash=False)
    table: ShardTable | None = None
    """Whom partitions are assigned to; None before the first member has said so."""
    version: Zxid = 0
    """That of the table: the transaction that made it."""
    routes: tuple[Route | None, ...] = ()
    """By partition who owns it; None where nobody does at the moment."""

    @property
    def is_whole(self) -> bool:
        """Whether every partition is owned by the member it is assigned to."""
        if self.table is None:
            return False
        return all(
            route is not None and route.owner == owner
            for route, owner in zip(self.routes, self.table.owners, strict=True)
        )

    @classmethod
    def of(cls, view: CacheView, path: str) -> ShardState:
        """What the znodes at and below `path` say. What does not decode is not there."""
        settings = decode_settings(view[path].data) if path in view else None
        if settings is None:
            return cls(view.zxid)
        partitions, replicas = settings
        members: dict[str, ShardMember] = {}
        claims: list[tuple[int, str, Zxid]] = []
        below = len(path) + 1
        table, version = None, 0
        for each, (data, stat) in view.items():
            kind, _, name = each[below:].partition("/")
            if kind == "members" and name and stat.ephemeral_owner:
                member = ShardMember.decode(name, data, stat.czxid)
                if member is not None:
                    members[name] = member
            elif kind == "claims" and name.isascii() and name.isdigit() and stat.ephemeral_owner:
                if int(name) < partitions:
                    claims.append((int(name), data.decode(errors="replace"), stat.czxid))
            elif kind == "table":
                table, version = ShardTable.decode(data, partitions), stat.mzxid
        routes: list[Route | None] = [None] * partitions
        for partition, owner, token in claims:
            address = members[owner].address if owner in members else ""
            routes[partition] = Route(partition, owner, address, token)
        return cls(view.zxid, partitions, replicas, members, table, version, tuple(routes))


def encode_settings(partitions: int, replicas: int) -> bytes:
    """What the znode of a sharding says."""
    return json.dumps({"partitions": partitions, "replicas": replicas}).encode()


def decode_settings(data: bytes) -> tuple[int, int] | None:
    """The numbers of partitions and of replicas, in which all members agree; None for what is no such thing."""
    try:
        said = json.loads(data)
        partitions, replicas = said["partitions"], said["replicas"]
    except (ValueError, TypeError, KeyError):
        return None
    if not (isinstance(partitions, int) and isinstance(replicas, int) and partitions in PARTITIONS and replicas > 0):
        return None
    return partitions, replicas


class ShardMap:
    """Who owns which key of the sharding at `path`, for those who are no member of it, too.

    ::

        async with zkcore.ShardMap(zk, "/shards") as shards:
            route = shards.route("user:17")
            await send(route.address, request, token=route.fencing_token)

    Making one does no I/O; it is filled when it is entered. Looking asks nobody. It may be behind: the owner that is
    asked by mistake knows that it is none any more, and whatever it guards refuses an old token. `age` says how far it
    can be behind. It goes on showing what it last knew while the connection is lost, and with `reconnect`, as that of a
    PersistentEphemeral, it is brought up to date again in a new session.
    """

    def __init__(self, client: Client, path: str, *, reconnect: Callable[[], Connecting] | None = None) -> None:
        validate(path)
        if path == "/":
            raise BadArgumentsError("a sharding needs a path of its own, not the root")
        self.path = path
        self._following = Following(client, path, self._take, what=f"the shard map of {path}", reconnect=reconnect)
        self._told: list[Callable[[], None]] = []
        self._state: ShardState | None = None
        self._routes: tuple[Route | None, ...] = ()
        self._of: Callable[[str | bytes], int] = MMH3_32.of

    def __repr__(self) -> str:
        state = self._state
        if state is None:
            return f"<ShardMap {self.path} not started>"
        return f"<ShardMap {self.path} of {state.partitions} partitions, {len(state.members)} members>"

    # --- life

    async def start(self) -> Self:
        """Have the present state, and follow it from now on. Raises SessionExpiredError or SessionClosedError."""
        await self._following.start()
        return self

    async def close(self) -> None:
        """Follow it no more. What was seen last goes on being shown."""
        await self._following.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- looking

    @property
    def state(self) -> ShardState:
        """All there is to see, at one zxid. It never changes; the map goes on to another. Raises NotStartedError."""
        if self._state is None:
            raise self._following.not_started()
        return self._state

    @property
    def is_live(self) -> bool:
        """Whether it is brought up to date, as soon as somebody answers."""
        return self._following.is_live

    @property
    def age(self) -> float:
        """All that had happened so many seconds ago is in what is shown. Raises NotStartedError."""
        return self._following.age

    def partition(self, key: Key) -> int:
        """The partition that `key` is in. It never changes. Raises BadKeyError, NotStartedError, and NoOwnerError where
        there is no sharding yet."""
        if not self.state.partitions:
            raise self._nobody(key)
        return MMH3_32.position(key) * self.state.partitions >> MMH3_32.bits

    def route(self, key: Key) -> Route:
        """Who owns `key`. Raises NoOwnerError while nobody does, as in the moment between two owners; BadKeyError for
        what is no key, and NotStartedError."""
        try:
            position = self._of(key)  # type: ignore[arg-type]
        except TypeError:
            position = self._of(plain(key))
        routes = self._routes
        route = routes[(position & _MASK) * len(routes) >> 32] if routes else None
        return route or self._unrouted(key)

    def standbys(self, key: Key) -> tuple[str, ...]:
        """The members that are to be ready to take over the partition of `key`, first the one that will. Each is in a
        rack of its own. Raises UnplaceableError where there are not so many racks, and NoOwnerError where nothing is
        assigned yet."""
        state = self.state
        if state.table is None:
            raise self._nobody(key)
        found = state.table.standbys[self.partition(key)]
        if len(found) < state.replicas - 1:
            raise UnplaceableError(
                f"{self.path}: each partition is to have {state.replicas} members in racks of their own, but this one "
                f"has {1 + len(found)}: {self._racks(state)}. Have members join in other racks, or ask for fewer "
                "replicas"
            )
        return found

    def changes(self) -> Changes[ShardState]:
        """An iterator: first the present state, then the newest whenever there is another. It ends with
        SessionExpiredError or SessionClosedError where it is followed no more."""
        return self._following.changes(self._look)

    async def wait_until_owned(self, *, timeout: float | None = None) -> bool:
        """Wait until every partition is owned by the member it is assigned to; False where that is not so within
        `timeout` seconds. Raises NotStartedError, and SessionExpiredError or SessionClosedError where it is followed no
        more."""
        return await self._following.until(lambda: self.state.is_whole, timeout)

    # --- within

    def cancel(self) -> None:
        """For recipes: as `close`, without waiting for the end."""
        self._following.cancel()

    def tell(self, callback: Callable[[], None]) -> None:
        """For recipes: have `callback` called with every new state. It must return at once."""
        self._told.append(callback)

    def _take(self, view: CacheView) -> None:
        state = ShardState.of(view, self.path)
        self._state = state
        self._routes = state.routes
        for callback in self._told:
            callback()

    async def _look(self, watch: Watch) -> ShardState:
        await self._following.look(watch)
        return self.state

    def _unrouted(self, key: Key) -> Route:
        raise self._nobody(key)

    def _nobody(self, key: Key) -> NoOwnerError:
        if not self.state.partitions:
            return NoOwnerError(f"key {key!r} has no owner: nobody has joined {self.path} yet")
        return NoOwnerError(
            f"key {key!r} has no owner: nobody has claimed partition {self.partition(key)} of {self.path}; it changes "
            "hands, or there are no members. Ask again in a moment"
        )

    @staticmethod
    def _racks(state: ShardState) -> str:
        racks = sorted({member.rack or member.name for member in state.members.values()})
        return f"the racks are {', '.join(racks) or 'none'}"
