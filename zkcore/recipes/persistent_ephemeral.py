"""The persistent ephemeral: a znode that is there as long as its owner is, one session after the other.

An ephemeral znode goes with its session. A process that outlives a session, because it was cut off or paused for too
long, has to make the znode anew in another. That cannot be asked of a client, which is one session; so whoever makes a
persistent ephemeral says how to open the next one.

A znode left by one's own last session is replaced, in the transaction that makes the new one: that session is given up
for good, and nobody sees the znode missing. One that is somebody else's, or of this process as it was before a crash,
is waited for: who it belongs to may live.

This module must not know what kind of clients there are.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from zkcore.client.client import Client
from zkcore.client.port import Background, Port, SessionState
from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    MultiError,
    NodeExistsError,
    NoNodeError,
    NotStartedError,
    RequestError,
    SessionClosedError,
    SessionError,
)
from zkcore.recipes.changes import Changes
from zkcore.recipes.contender import made_at, remove_made
from zkcore.recipes.lease import Lease, WithSession
from zkcore.recipes.waiting import FOR_EVER, Patience, Watch, ask, back_off, once
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.paths import validate
from zkcore.tree.requests import Create, Created, CreateWithParents, Delete, Exists, Multi, Request
from zkcore.tree.znode import CreateMode
from zkcore.zxid import Zxid

__all__ = ["Connecting", "PersistentEphemeral"]


class Connecting(Protocol):
    """What is asked of a client that is to be the next session."""

    @property
    def port(self) -> Port: ...

    async def start(self) -> object: ...

    async def close(self) -> None: ...


class PersistentEphemeral:
    """An ephemeral znode at `path` that comes back with a new session; what is above is created where it is missing.

    ::

        web = zkcore.PersistentEphemeral(zk, "/services/web-1", data=b"port=80", reconnect=cluster.client)
        async with web:
            async for lease in web.changes():            # None while it is not there
                ...

    It begins with the session of `client`. When that is lost, `reconnect()` makes another client, which is started,
    used for this znode alone, and closed in the end: `cluster.client`, or `lambda: cluster.client(timeout=3)`. Making
    one does no I/O. Entering it waits until the znode is there.

    Whoever deletes the znode finds it made again. It ends with its `with`, or when `client` is closed. Each time it is
    there is a lease, with a fencing token higher than all before, which is lost when it is not there any more.
    """

    def __init__(
        self, client: Client, path: str, *, data: bytes = b"", reconnect: Callable[[], Connecting]
    ) -> None:
        validate(path)
        if path == "/":
            raise BadArgumentsError("an ephemeral znode needs a path of its own, not the root")
        if not callable(reconnect):
            raise BadArgumentsError(f"reconnect={reconnect!r}; give what makes a client, such as cluster.client")
        self.path = path
        self._client = client
        self._data = data
        self._reconnect = reconnect
        self._background: Background | None = None
        self._lease: Lease | None = None
        self._is_over = True
        self._error: Exception | None = None
        self._waits_for = ""
        self._waiting: dict[Watch, None] = {}

    def __repr__(self) -> str:
        state = "there" if self.lease is not None else "over" if self._is_over else self._waits_for or "not there yet"
        return f"<PersistentEphemeral {self.path} {state}>"

    @property
    def lease(self) -> Lease | None:
        """How long the znode is there; None while it is not, as far as can be known."""
        lease = self._lease
        return None if lease is None or lease.released or lease.is_lost() else lease

    # --- life

    async def start(self, *, timeout: float | None = None) -> Lease:
        """See that it is there, from now on; wait for that at most `timeout` seconds, and go on trying behind it.

        Raises NodeExistsError where there is a znode that is not ephemeral, or where somebody else's was there all the
        time; what else keeps it from being made, such as NoAuthError; and SessionExpiredError or SessionClosedError.
        """
        if self._background is not None:
            raise NotStartedError(f"{self!r} was started before; close it first, or make a new one")
        port = self._client.port
        patience = Patience(port, timeout)
        self._is_over, self._error = False, None
        self._background = port.spawn(self._keep, name=f"ephemeral {self.path}")
        watch = Watch(port)
        try:
            while (lease := await self._look(watch)) is None:
                if not await watch.changed(patience):
                    raise NodeExistsError(
                        f"{self.path} is not there within {timeout} s: {self._waits_for or 'nobody answers'}; wait "
                        "longer, or find out who it is",
                        path=self.path,
                    )
            return lease
        except GeneratorExit:
            raise  # nobody runs this coroutine any more
        except BaseException:
            background, self._background = self._background, None
            background.cancel()
            raise

    async def close(self) -> None:
        """Have it be there no more. Cancelling it does not stop it."""
        background, self._background = self._background, None
        if background is not None:
            await background.stop()

    def changes(self) -> Changes[Lease | None]:
        """An iterator: first the present lease, or None while the znode is not there, then the newest whenever there is
        another. It ends with SessionClosedError where it is over, or what was the reason."""
        return Changes(self._client.port, self._look)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- within

    async def _look(self, watch: Watch) -> Lease | None:
        self._waiting[watch] = None  # before looking: what comes then, wakes
        if self._background is None:
            raise NotStartedError(f"{self!r} was not started, or was closed; use it in a `with`")
        if self._is_over:
            raise self._error or SessionClosedError(f"{self.path} is kept there no more: its client was closed")
        return self.lease

    def _show(self, lease: Lease | None, waits_for: str = "") -> None:
        self._lease, self._waits_for = lease, waits_for
        # Another thread may put itself here meanwhile: nothing is thrown away but who is woken.
        for watch in list(self._waiting):
            self._waiting.pop(watch, None)
            watch.wake()

    async def _keep(self, port: Port) -> None:
        """In the background: be there, in one session after the other."""
        own: Connecting | None = None
        stay = _Stay(port, self.path, self._data)
        failures = 0
        try:
            while True:
                try:
                    await stay.last(self._show, self._give_up)
                except SessionError:
                    self._show(None, "it waits for a new session")
                if port.session.state is SessionState.CLOSED:
                    break
                if own is not None:
                    await own.close()
                failures += 1
                await back_off(port, failures)
                own = self._reconnect()
                await own.start()
                stay = stay.following(own.port)
        except GeneratorExit:
            raise  # nobody runs this coroutine any more: the end of the session removes the znode
        except Exception as error:
            self._error = error
        except BaseException:
            await self._leave(stay, own)
            raise
        await self._leave(stay, own)

    async def _leave(self, stay: _Stay, own: Connecting | None) -> None:
        self._is_over = True
        self._show(None)
        if own is not None:
            await own.close()  # the end of the session removes the znode
        else:
            await stay.leave()

    async def _give_up(self, lease: Lease) -> None:
        await self.close()


class _Stay:
    """Being there in one session. `before` are the sessions in which we were there, or tried to be."""

    def __init__(self, port: Port, path: str, data: bytes, before: frozenset[int] = frozenset()) -> None:
        self._port = port
        self._path = path
        self._data = data
        self._before = before
        self._token = 0
        self._asked: Request[Any] | None = None  # what may have made the znode, or may yet

    def following(self, port: Port) -> _Stay:
        """The same in the next session."""
        return _Stay(port, self._path, self._data, self._before | {self._port.session.id})

    async def last(self, show: Callable[[Lease | None, str], None], release: Callable[[Lease], Any]) -> None:
        """Be there until the session ends: raises its SessionError."""
        watch = Watch(self._port)
        life = WithSession(self._port)
        try:
            while True:
                self._token = await self._make(watch, lambda why: show(None, why))
                life = WithSession(self._port)
                show(Lease(self._port, self._path, self._token, release, life=life), "")
                while await self._is_there(watch):
                    await watch.changed(FOR_EVER)
                life.lost.set()
                show(None, "it was deleted")
        finally:
            life.lost.set()
            watch.end()

    async def leave(self) -> None:
        """Be there no more, also where the znode may be made yet."""
        if self._asked is not None:
            try:
                self._token = _token_of(await ask(self._port, self._asked, FOR_EVER))
            except (RequestError, SessionError):
                return  # somebody else's, or gone with the session
        if self._token:
            await remove_made(self._port, self._path, self._token)

    async def _make(self, watch: Watch, wait: Callable[[str], None]) -> Zxid:
        while True:
            stat = await watch.ask(Exists(self._path, watch=True), FOR_EVER)
            if stat is None:
                request: Request[Any] = CreateWithParents(
                    self._path, self._data, acl=DEFAULT_ACL, mode=CreateMode.EPHEMERAL
                )
            elif stat.ephemeral_owner in self._before:
                create = Create(self._path, self._data, acl=DEFAULT_ACL, mode=CreateMode.EPHEMERAL)
                request = Multi([made_at(self._path, stat.czxid), Delete(self._path), create])
            elif stat.ephemeral_owner:
                wait(f"session {stat.ephemeral_owner:#x} has it")
                await watch.changed(FOR_EVER)
                continue
            else:
                raise NodeExistsError(
                    f"{self._path} is there, and is not ephemeral; delete it, or choose another path", path=self._path
                )
            watch.end()
            self._asked = once(self._port, request)
            try:
                answer = await ask(self._port, self._asked, FOR_EVER)
            except (NodeExistsError, MultiError) as error:
                self._asked = None
                if isinstance(error, MultiError) and not isinstance(error.error, NoNodeError | BadVersionError):
                    raise error.error from None
                continue  # somebody was faster
            self._asked = None
            return _token_of(answer)

    async def _is_there(self, watch: Watch) -> bool:
        stat = await watch.ask(Exists(self._path, watch=True), FOR_EVER)
        return stat is not None and stat.czxid == self._token


def _token_of(answer: Any) -> Zxid:
    created: Created = answer[-1] if not isinstance(answer, Created) else answer
    return created.stat.czxid
