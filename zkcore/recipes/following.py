"""Following: what is at and below a path, for look-ups in local memory, and how old it may be.

A Cache ends with its session, and cannot say whether it is behind. This is one over session after session, where it is
told how to open the next, and it asks the ensemble from time to time for a proof that it is up to date: what `age` says
is counted from when the last question was *sent* whose answer proved it. While nobody answers it goes on showing what
it last knew, and says how old that has become.

This module must not know what is followed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from typing import TypeVar

from zkcore.client.client import Client
from zkcore.client.port import Background, Port, SessionState
from zkcore.errors import NotStartedError, SessionClosedError, SessionError, SessionExpiredError
from zkcore.recipes.cache import Cache, CacheView
from zkcore.recipes.changes import Changes
from zkcore.recipes.persistent_ephemeral import Connecting
from zkcore.recipes.waiting import Patience, Watch, back_off
from zkcore.tree.paths import validate

__all__ = ["Following"]

T = TypeVar("T")

_SHARE = 3
"""A proof is asked for after that part of the session's timeout, as heartbeats are."""


class Following:
    """What is at and below `path`. `take` is called with every new view, on the event loop; it must return at once.

    With `reconnect`, as that of a PersistentEphemeral, it goes on with another session when one is lost. No view is
    older than one before, whichever session it is of.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        take: Callable[[CacheView], None],
        *,
        what: str,
        reconnect: Callable[[], Connecting] | None = None,
    ) -> None:
        validate(path)
        self.path = path
        self._client = client
        self._take = take
        self._what = what
        self._reconnect = reconnect
        self._background: Background | None = None
        self._view: CacheView | None = None
        self._fresh_at = -inf
        self._is_over = False
        self._was_lost = False
        self._filled = client.port.signal()
        self._waiting: dict[Watch, None] = {}

    # --- life

    async def start(self) -> None:
        """Have the first view, and follow from now on. Raises SessionExpiredError or SessionClosedError where the
        session ended before there was one, and NotStartedError where it was started before."""
        if self._background is not None:
            raise NotStartedError(f"{self._what} was started before; close it first, or make a new one")
        port = self._client.port
        self._is_over = self._was_lost = False
        background = self._background = port.spawn(self._keep, name=self._what)
        try:
            await port.wait(self._filled, background.ended)
            if self._view is None:
                raise background.error or self._over()
        except GeneratorExit:
            raise  # nobody runs this coroutine any more
        except BaseException:
            self.cancel()
            raise

    async def close(self) -> None:
        """Follow no more. What was seen last goes on being shown."""
        background, self._background = self._background, None
        if background is not None:
            await background.stop()

    def cancel(self) -> None:
        """As `close`, without waiting for the end."""
        background, self._background = self._background, None
        if background is not None:
            background.cancel()

    # --- looking

    @property
    def is_live(self) -> bool:
        """Whether it goes on, though nobody may answer at the moment."""
        return self._background is not None and not self._is_over

    @property
    def age(self) -> float:
        """So many seconds ago everything was as it is shown, or it is shown as it came to be since: what anybody had
        done by then, and had an answer to, is in it. Raises NotStartedError."""
        if self._view is None:
            raise self.not_started()
        return max(self._client.port.now() - self._fresh_at, 0.0)

    def not_started(self) -> NotStartedError:
        """The error that says that there is nothing to look at yet."""
        return NotStartedError(f"{self._what} was not started; use it in a `with`, or start it")

    async def until(self, holds: Callable[[], object], timeout: float | None) -> bool:
        """Wait until what is shown is so; False where it was not within `timeout` seconds. Raises NotStartedError, and
        SessionExpiredError or SessionClosedError where nothing new will be shown."""
        port = self._client.port
        patience, watch = Patience(port, timeout), Watch(port)
        while True:
            await self.look(watch)
            if holds():
                return True
            if not await watch.changed(patience):
                return False

    async def look(self, watch: Watch) -> CacheView:
        """The present view, and have `watch` wake by the next."""
        self._waiting[watch] = None  # before looking: what comes then, wakes
        if self._view is None:
            raise self.not_started()
        if not self.is_live:
            raise self._over()
        return self._view

    def changes(self, look: Callable[[Watch], Awaitable[T]]) -> Changes[T]:
        """An iterator over what `look` makes of the views; it begins with a `look` of this."""
        return Changes(self._client.port, look)

    def _over(self) -> SessionExpiredError | SessionClosedError:
        if self._was_lost and self._background is not None:
            return SessionExpiredError(f"{self._what} ended with its session; open a new client, or give `reconnect`")
        return SessionClosedError(f"{self._what} was closed, or its client was")

    # --- within

    async def _keep(self, port: Port) -> None:
        """In the background: follow in one session after the other."""
        own: Connecting | None = None
        failures = 0
        try:
            while True:
                try:
                    await self._follow(port if own is None else own.port)
                except SessionError:
                    pass
                self._was_lost = port.session.state is not SessionState.CLOSED
                if self._reconnect is None or not self._was_lost:
                    break
                if own is not None:
                    await own.close()
                failures += 1
                await back_off(port, failures)
                own = self._reconnect()
                await own.start()
        except GeneratorExit:
            raise  # nobody runs this coroutine any more
        except BaseException:
            await self._end(own)
            raise
        await self._end(own)

    async def _end(self, own: Connecting | None) -> None:
        self._is_over = True
        self._wake()
        if own is not None:
            await own.close()

    async def _follow(self, port: Port) -> None:
        """Until the session ends: raises its SessionError."""
        cache = await Cache(Client(port), self.path, missing_ok=True).start()
        try:
            while True:
                sent = port.now()
                await cache.sync()  # in a later session, before anything of it is shown
                self._show(cache.view)
                self._fresh_at = sent
                proof_at = port.now() + port.session.timeout / _SHARE
                while (left := proof_at - port.now()) > 0 and await cache.wait_for(self._is_news, timeout=left):
                    self._show(cache.view)
        finally:
            await cache.close()

    def _is_news(self, view: CacheView) -> bool:
        return view is not self._view

    def _show(self, view: CacheView) -> None:
        if view is self._view:
            return
        self._view = view
        self._take(view)
        self._filled.set()
        self._wake()

    def _wake(self) -> None:
        # Another thread may put itself here meanwhile: nothing is thrown away but who is woken.
        for watch in list(self._waiting):
            self._waiting.pop(watch, None)
            watch.wake()
