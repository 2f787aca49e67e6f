"""Discovery: which instances of a service there are, and which of them is to do the next piece of work.

An instance is an ephemeral znode below the path of its service, which says where it is to be reached and how it is
(`registration.py`). Whoever looks for one follows them all (`following.py`), so to choose asks nobody, and goes on
while the connection is lost, and in the next session.

This module must not know what a service does.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from math import isfinite
from types import TracebackType
from typing import Self

from zkcore.client.client import Client
from zkcore.errors import BadArgumentsError, NoInstancesError
from zkcore.recipes.cache import CacheView
from zkcore.recipes.changes import Changes
from zkcore.recipes.choosing import Choice, Choose, Instance, Status, UnderWay, chooser, ring_of
from zkcore.recipes.following import Following
from zkcore.recipes.persistent_ephemeral import Connecting
from zkcore.recipes.waiting import Watch
from zkcore.ring.hashing import Key
from zkcore.ring.hashring import HashRing
from zkcore.tree.paths import validate

__all__ = ["Discovery", "Using"]


class Discovery:
    """The instances of the service at `path`, and a choice of them.

    ::

        async with zkcore.Discovery(zk, "/services/web", reconnect=cluster.client) as web:
            instance = web.choose()                             # from local memory
            with web.using() as instance:                       # it counts as under way until the end
                await ask(instance.address)

    Making one does no I/O; it is filled when it is entered. `by` says how `choose` chooses. For a sticky choice no
    instance has more under way from here (`using`) than its share times `factor`, as long as another has room.

    An instance that is gone without a word is shown until its session expires. What is shown may be behind: `age` says
    how far at most. While the connection is lost it goes on showing and choosing what it last knew, and with
    `reconnect`, as that of a PersistentEphemeral, it is brought up to date again in a new session.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        by: Choice = Choice.ROUND_ROBIN,
        factor: float = 1.25,
        reconnect: Callable[[], Connecting] | None = None,
    ) -> None:
        validate(path)
        if path == "/":
            raise BadArgumentsError("a service needs a path of its own, not the root")
        number = isinstance(factor, int | float) and not isinstance(factor, bool)
        if not number or not isfinite(factor) or factor < 1:
            raise BadArgumentsError(f"factor={factor!r}; give a number from 1 up: below 1 not all work finds room")
        self.path = path
        self._by = Choice(by)
        self._factor = factor
        self._chance = client.port.rng.random
        self._following = Following(client, path, self._take, what=f"the discovery of {path}", reconnect=reconnect)
        self._instances: tuple[Instance, ...] | None = None
        self._turns = count()
        self._under_way = UnderWay()
        self._ring = HashRing()
        self._choose: Choose = self._nobody

    def __repr__(self) -> str:
        if self._instances is None:
            return f"<Discovery {self.path} not started>"
        return f"<Discovery {self.path} of {len(self._instances)} instances>"

    # --- life

    async def start(self) -> Self:
        """Have the present instances, and follow them from now on. Raises SessionExpiredError or SessionClosedError."""
        await self._following.start()
        return self

    async def close(self) -> None:
        """Follow them no more. What was seen last goes on being shown."""
        await self._following.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- looking

    @property
    def instances(self) -> tuple[Instance, ...]:
        """All there are, in the order of their names, also those that are not up. Raises NotStartedError."""
        if self._instances is None:
            raise self._following.not_started()
        return self._instances

    @property
    def is_live(self) -> bool:
        """Whether it is brought up to date, as soon as somebody answers."""
        return self._following.is_live

    @property
    def age(self) -> float:
        """All that had happened so many seconds ago is in what is shown. Raises NotStartedError."""
        return self._following.age

    def choose(self, key: Key | None = None) -> Instance:
        """The instance for the next piece of work, of those that are up; for a sticky choice that of `key`. Raises
        NoInstancesError where none is up, BadKeyError, and NotStartedError; BadArgumentsError for a sticky choice
        without a key."""
        return self._choose(key)

    def using(self, key: Key | None = None) -> Using:
        """A choice as a context manager, which gives the Instance: until its end the work counts as under way with
        that. Entering it raises what `choose` does."""
        return Using(lambda: self._choose(key), self._under_way)

    def changes(self) -> Changes[tuple[Instance, ...]]:
        """An iterator: first the present instances, then all of them again whenever somebody came, went, or says
        something else. It ends with SessionExpiredError or SessionClosedError where they are followed no more."""
        return self._following.changes(self._look)

    async def wait_for(self, count: int = 1, *, timeout: float | None = None) -> bool:
        """Wait until so many instances are up; False where that is not so within `timeout` seconds. Raises
        NotStartedError, and SessionExpiredError or SessionClosedError where they are followed no more."""
        return await self._following.until(lambda: len(_up(self.instances)) >= count, timeout)

    # --- within

    def _take(self, view: CacheView) -> None:
        found = []
        prefix = f"{self.path}/"
        for path, (data, stat) in view.items():
            name = path.removeprefix(prefix)
            if stat.ephemeral_owner and path != self.path and "/" not in name:
                instance = Instance.decode(name, data, stat.czxid)
                if instance is not None:
                    found.append(instance)
        self._instances = tuple(sorted(found, key=lambda instance: instance.name))
        self._prepare(_up(self._instances))

    def _prepare(self, up: tuple[Instance, ...]) -> None:
        self._under_way.forget([each.name for each in up])
        if self._by is Choice.STICKY:
            self._ring = ring_of(self._ring, up)
        if not up:
            self._choose = self._nobody
            return
        self._choose = chooser(
            self._by,
            up,
            turns=self._turns,
            chance=self._chance,
            under_way=self._under_way,
            ring=self._ring,
            factor=self._factor,
        )

    def _nobody(self, key: Key | None) -> Instance:
        others = ", ".join(f"{each.name} is {each.status}" for each in self.instances)
        raise NoInstancesError(
            f"there is no instance of {self.path} to choose: {others or 'none is registered'}; wait_for() waits until "
            "there is one"
        )

    async def _look(self, watch: Watch) -> tuple[Instance, ...]:
        await self._following.look(watch)
        return self.instances


class Using:
    """One piece of work, as a context manager that gives the Instance which is to do it."""

    def __init__(self, choose: Callable[[], Instance], under_way: UnderWay) -> None:
        self._choose = choose
        self._under_way = under_way
        self._begun: list[list[None]] = []

    def __enter__(self) -> Instance:
        instance = self._choose()
        self._begun.append(self._under_way.begin(instance.name))
        return instance

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._under_way.end(self._begun.pop())


def _up(instances: tuple[Instance, ...]) -> tuple[Instance, ...]:
    return tuple([each for each in instances if each.status is Status.UP])
