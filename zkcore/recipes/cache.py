"""The cache: what is at and below a path, in memory, and brought up to date as it changes.

A recursive watch tells which znode has changed, and with which transaction. Only that is read again, several at a time
in one request, which shows one state of the tree. Where something else has changed meanwhile, that is read, too, until
nothing has: what is then known is what the tree was at one zxid, and it is shown as a whole. So a view is never a
mixture of two states, and none is older than the one before.

Where a client was away for so long that nobody can tell what it missed, the znodes are listed again, and those read
whose transaction is another one. All of them are read only once, in the beginning.

What it does happens in the background (`Port.spawn`). What it shows is replaced in one step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from attrs import frozen

from zkcore.client.client import Client
from zkcore.client.port import Background, Port, SessionState
from zkcore.errors import (
    NoAuthError,
    NoNodeError,
    NothingToCacheError,
    NotStartedError,
    SessionClosedError,
    SessionExpiredError,
)
from zkcore.recipes.changes import Changes
from zkcore.recipes.waiting import FOR_EVER, Patience, Watch, ask
from zkcore.replica.levels import Read, Sync
from zkcore.tree.applied import EventType
from zkcore.tree.paths import join, parent_of, validate
from zkcore.tree.requests import GetData, ListChildren, MultiRead, NodeData
from zkcore.tree.watch_requests import AddWatch, Missed, Resync, WatchMode
from zkcore.zxid import Zxid, format_zxid

__all__ = ["Cache", "CacheChange", "CacheView"]

_AT_ONCE = 64
"""So many znodes are read with one request."""


class CacheView(Mapping[str, NodeData]):
    """What a cache shows: the data and the Stat of every znode by its path, all as they were at `zxid`. It never
    changes; the cache goes on to another."""

    __slots__ = ("nodes", "zxid")

    def __init__(self, nodes: Mapping[str, NodeData], zxid: Zxid) -> None:
        self.nodes = nodes
        self.zxid = zxid

    def __repr__(self) -> str:
        return f"<CacheView of {len(self.nodes)} znodes at {format_zxid(self.zxid)}>"

    def __getitem__(self, path: str) -> NodeData:
        return self.nodes[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, CacheView):
            return self.nodes == other.nodes
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]


@frozen
class CacheChange:
    """What a cache came to show, and how that differs from what was told before."""

    view: CacheView
    created: frozenset[str]
    changed: frozenset[str]
    """Those that have other data, or another Stat."""
    deleted: frozenset[str]

    @classmethod
    def between(cls, before: Mapping[str, NodeData], view: CacheView) -> CacheChange:
        """Cost: a comparison of all znodes."""
        both = before.keys() & view.keys()
        changed = frozenset([path for path in both if before[path] is not view[path] and before[path] != view[path]])
        return cls(view, frozenset(view.keys() - both), changed, frozenset(before.keys() - both))


class Cache(Mapping[str, NodeData]):
    """What is at and below `path`, as a Mapping from paths to data and Stat. Looking asks nobody.

    ::

        async with zkcore.Cache(zk, "/config") as cache:
            print(cache["/config/limits"].data, len(cache))
            await cache.wait_for(lambda nodes: "/config/colour" in nodes, timeout=5)
            async for change in cache.changes():
                print(change.created, change.deleted)

    Making one does no I/O; it is filled when it is entered. Entering raises NothingToCacheError where there is no znode
    at `path`; with `missing_ok` the cache is empty until there is one, and fills then. Where the znode is deleted later
    the cache becomes empty, and fills again.

    Guaranteed: what is shown is what the tree was at `zxid`, one state of it, and never an older one than was shown
    before. It may be behind the tree; `sync` waits until it is not. What its client may not read is not there. Changes
    of an ACL alone are not told: `aversion` may be old, and what may be read no longer is shown until it changes.

    A cache lives as long as the session of its client. After that, and after `close`, it goes on showing what it last
    knew: `is_live` is false, and `age` says for how long.

    Cost: a change copies the table of paths, and several that come together share it.
    """

    def __init__(self, client: Client, path: str, *, missing_ok: bool = False) -> None:
        validate(path)
        self.path = path
        self._client = client
        self._missing_ok = missing_ok
        self._keeper: _Keeper | None = None
        self._background: Background | None = None

    def __repr__(self) -> str:
        if self._keeper is None or self._keeper.view is None:
            return f"<Cache {self.path} not started>"
        state = "live" if self.is_live else f"{self.age:.1f} s old"
        return f"<Cache {self.path} of {len(self)} znodes at {format_zxid(self.zxid)}, {state}>"

    # --- life

    async def start(self) -> Self:
        """Fill it, and keep it up to date from now on. Raises NothingToCacheError, NoAuthError, and SessionExpiredError
        or SessionClosedError."""
        if self._background is not None:
            raise NotStartedError(f"{self!r} was started before; close it first, or make a new one")
        port = self._client.port
        keeper = self._keeper = _Keeper(port, self.path, self._missing_ok)
        self._background = background = port.spawn(keeper.keep, name=f"cache of {self.path}")
        try:
            await port.wait(keeper.is_filled, background.ended)
            if keeper.view is None:
                raise keeper.error or self._over(port)
        except GeneratorExit:
            raise  # nobody runs this coroutine any more
        except BaseException:
            self._keeper = self._background = None
            background.cancel()
            raise
        return self

    async def close(self) -> None:
        """Keep it up to date no more. It goes on showing what it showed last."""
        background, self._background = self._background, None
        if background is not None:
            await background.stop()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- looking

    @property
    def view(self) -> CacheView:
        """What it shows now, to look at several times. Raises NotStartedError, as all that looks."""
        keeper = self._keeper
        if keeper is None or keeper.view is None:
            raise NotStartedError(f"the cache of {self.path} was not started; use it in a `with`, or start it")
        return keeper.view

    @property
    def zxid(self) -> Zxid:
        """The transaction after which the tree was what is shown."""
        return self.view.zxid

    @property
    def is_live(self) -> bool:
        """Whether it is brought up to date."""
        return self._background is not None and self._keeper is not None and not self._keeper.is_over

    @property
    def age(self) -> float:
        """Seconds since the session was last known to live: what has happened since may be missing."""
        port = self._client.port
        return max(port.now() - (port.session.alive_until - port.session.timeout), 0.0)

    def __getitem__(self, path: str) -> NodeData:
        return self.view[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self.view)

    def __len__(self) -> int:
        return len(self.view)

    # --- waiting

    async def sync(self) -> Zxid:
        """Wait until it shows all that anybody had an answer to before this call; up to which zxid it does. Raises
        NotStartedError, and SessionExpiredError or SessionClosedError where it is brought up to date no more."""
        keeper = self._live()
        zxid = await ask(self._client.port, Sync(), FOR_EVER, read=Read.LINEARIZABLE)
        told = keeper.told  # every event up to `zxid` was told before the answer
        await self._until(lambda view: view.zxid >= told, FOR_EVER)
        return zxid

    async def wait_for(self, predicate: Callable[[CacheView], object], *, timeout: float | None = None) -> bool:
        """Wait until `predicate` is true of what is shown; False where it was not within `timeout` seconds. A state
        that came and went quickly may not have been shown. Raises what `sync` does."""
        return await self._until(predicate, Patience(self._client.port, timeout))

    def changes(self) -> Changes[CacheChange]:
        """An iterator: first all there is, as created, then what has changed since, whenever something has. Who is slow
        gets several changes as one. It ends with SessionExpiredError or SessionClosedError where the cache is brought
        up to date no more."""
        before: Mapping[str, NodeData] = {}

        def show(view: CacheView) -> CacheChange:
            nonlocal before
            change = CacheChange.between(before, view)
            before = view
            return change

        return Changes(self._client.port, self._look, show)

    # --- within

    def _live(self) -> _Keeper:
        view = self.view
        assert self._keeper is not None
        if not self.is_live:
            raise self._over(self._client.port, view)
        return self._keeper

    def _over(self, port: Port, view: CacheView | None = None) -> SessionExpiredError | SessionClosedError:
        shown = "" if view is None else f"; it shows what was at {format_zxid(view.zxid)}"
        if self._background is not None and port.session.state is SessionState.LOST:
            return SessionExpiredError(f"the cache of {self.path} ended with its session{shown}. Open a new client")
        return SessionClosedError(f"the cache of {self.path} was closed{shown}")

    async def _look(self, watch: Watch) -> CacheView:
        self._live().waiting[watch] = None  # before looking: what comes then, wakes
        return self._live().view or self.view

    async def _until(self, predicate: Callable[[CacheView], object], patience: Patience) -> bool:
        watch = Watch(self._client.port)
        while not predicate(await self._look(watch)):
            if not await watch.changed(patience):
                return False
        return True


class _Keeper:
    """What keeps one cache up to date: `keep` runs in the background, and all that changes here changes there."""

    def __init__(self, port: Port, path: str, missing_ok: bool) -> None:
        self._path = path
        self._missing_ok = missing_ok
        self._news = port.signal()
        self._pending: dict[str, Zxid] = {}  # what must be read again, and since when
        self._must_list = True
        self._newest: Zxid = 0  # of all that was read and told
        self.is_filled = port.signal()
        self.told: Zxid = 0
        """The last event that was told."""
        self.view: CacheView | None = None
        self.error: Exception | None = None
        """Why there is nothing to keep."""
        self.is_over = False
        self.waiting: dict[Watch, None] = {}
        """Who is to be woken by the next view, once."""

    async def keep(self, port: Port) -> None:
        """Fill the view, and bring it up to date until the session ends, or this is cancelled."""
        try:
            await ask(port, AddWatch(self._path, WatchMode.PERSISTENT_RECURSIVE), FOR_EVER, watch=self._on_event)
            is_there = await self._is_there(port)
            while is_there and not port.session.lost.is_set():
                self._show(await self._read(port))
                await port.wait(self._news, port.session.lost)
                self._news.clear()
        except GeneratorExit:
            raise  # nobody runs this coroutine any more
        except BaseException:
            self._end(port)
            raise
        self._end(port)

    def _end(self, port: Port) -> None:
        port.unwatch(self._path, self._on_event)
        self.is_over = True
        self._wake()

    async def _is_there(self, port: Port) -> bool:
        """Whether there is something to cache, or may be later."""
        try:
            await ask(port, GetData(self._path), FOR_EVER)
        except NoAuthError as error:
            self.error = error
        except NoNodeError:
            if not self._missing_ok:
                self.error = NothingToCacheError(
                    f"there is nothing at {self._path}; create it first, or give missing_ok=True to wait for it"
                )
        return self.error is None

    def _on_event(self, event: Missed | None) -> None:
        """Note what is to be read again. A znode that comes or goes changes the Stat of its parent, too."""
        if isinstance(event, Resync):
            self._must_list = True
        elif event is not None:
            self._pending[event.path] = event.zxid
            if event.type is not EventType.NODE_DATA_CHANGED and event.path != self._path:
                self._pending[parent_of(event.path)] = event.zxid
        if event is not None:
            self.told = max(self.told, event.zxid)
        self._news.set()

    def _show(self, nodes: dict[str, NodeData]) -> None:
        before = self.view.zxid if self.view is not None else 0
        self._newest = max(self._newest, self.told, before)
        self.view = CacheView(nodes, self._newest)
        self.is_filled.set()
        self._wake()

    def _wake(self) -> None:
        # Another thread may put itself here meanwhile: nothing is thrown away but who is woken.
        for watch in list(self.waiting):
            self.waiting.pop(watch, None)
            watch.wake()

    # --- reading

    async def _read(self, port: Port) -> dict[str, NodeData]:
        """The znodes as they are at one state: that of the last answer, behind which nothing is pending."""
        nodes = dict(self.view.nodes) if self.view is not None else {}
        overtaken: dict[str, None] = {}  # what was read while something else changed: likely to change again
        while self._must_list or self._pending:
            if self._must_list:
                self._must_list = False
                nodes = await self._list(port, nodes)
                continue
            asked = list(dict.fromkeys([*self._pending, *overtaken]))[:_AT_ONCE]
            for path in asked:
                self._pending.pop(path, None)
            answers = await ask(port, MultiRead([GetData(path) for path in asked]), FOR_EVER)
            for path, answer in zip(asked, answers, strict=True):
                self._take(nodes, path, answer)
            overtaken = dict.fromkeys([*asked, *overtaken]) if len(overtaken) < _AT_ONCE // 2 else {}
        return nodes

    def _take(self, nodes: dict[str, NodeData], path: str, answer: Any) -> None:
        if not isinstance(answer, NodeData):
            nodes.pop(path, None)  # it is gone, or may not be read
            return
        nodes[path] = answer
        newest = max(answer.stat.mzxid, answer.stat.pzxid)
        self._newest = max(self._newest, newest)
        if self._pending.get(path, newest + 1) <= newest:
            del self._pending[path]  # what was told while it was read is in it

    async def _list(self, port: Port, known: dict[str, NodeData]) -> dict[str, NodeData]:
        """All znodes there are. Data that is known is not read again; what is not known is listed with its data where
        nothing is known at all, and is pending otherwise."""
        nodes: dict[str, NodeData] = {}
        self._pending[self._path] = 0
        above = [self._path]
        while above:
            path = above.pop()
            after: str | None = ""
            while after is not None:
                listing = ListChildren(path, after=after, with_stat=True, with_data=not known)
                try:
                    page = await ask(port, listing, FOR_EVER)
                except (NoNodeError, NoAuthError):
                    break
                for name, stat, data in page.children:
                    if stat is None:
                        continue  # it may not be read
                    child = join(path, name)
                    old = known.get(child)
                    if old is not None and old.stat.mzxid == stat.mzxid:
                        nodes[child] = NodeData(old.data, stat)
                    elif not known:
                        nodes[child] = NodeData(data or b"", stat)
                    else:
                        self._pending.setdefault(child, 0)
                    self._newest = max(self._newest, stat.mzxid, stat.pzxid)
                    if stat.num_children:
                        above.append(child)
                after = page.after
        return nodes
