"""What a lock protects, in an AppWorld: a value that is somewhere else, and looks at fencing tokens.

Reading and writing it takes a message there and one back, which take their time: the writer may be paused, or lose its
lock, while its write is on its way. No `lease.check()` can prevent that; the token does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from attrs import frozen

from zkcore.errors import BadArgumentsError, StaleTokenError
from zkcore.recipes.fence import FenceGuard
from zkcore.testing.channels import Channel, Distances
from zkcore.testing.processes import Process, home
from zkcore.testing.virtual_loop import VirtualLoop
from zkcore.zxid import Zxid, format_zxid

__all__ = ["FencedResource", "Written"]


def _asking() -> str:
    process = home()
    return "?" if process is None else process.name


@frozen
class Written:
    """One write that was accepted: whose, what, with which token, and when on the world's clock."""

    app: str
    value: Any
    token: Zxid | None
    at: float


class FencedResource:
    """Made by `AppWorld.fenced_resource`. `value`, `history` and `refused` are for the test, which sees them at once;
    apps `await read()` and `await write(...)`."""

    def __init__(
        self, name: str, value: Any, *, loop: VirtualLoop, distances: Distances, say: Callable[[str], None]
    ) -> None:
        self.name = name
        self.value = value
        self.history: list[Written] = []
        self.refused = 0
        self._guard = FenceGuard()
        self._loop = loop
        self._distances = distances
        self._say = say
        self._here = Process(f"resource {name}", loop.next_number())
        self._channels: dict[Process | None, tuple[Channel, Channel]] = {}

    def __repr__(self) -> str:
        return f"<FencedResource {self.name}: {len(self.history)} written, {self.refused} refused>"

    async def read(self, *, token: Zxid | None = None) -> Any:
        """The value. Who will write what follows from it gives the token here, too: it shuts out the holders before,
        whose writes may still be on their way, and would fall between this read and the write. Refused as a write."""

        app = _asking()

        def look() -> Any:
            self._check(app, token, "a read")
            return self.value

        return await self._ask(look)

    async def write(self, value: Any, *, token: Zxid | None = None) -> None:
        """Replace the value. A token is refused with StaleTokenError where a higher one was seen. A write without one
        is accepted, as by a resource that knows nothing of tokens."""

        app = _asking()

        def accept() -> None:
            self._check(app, token, repr(value))
            self.value = value
            self.history.append(Written(app, value, token, self._loop.time()))
            self._say(f"{self.name} takes {value!r} of {app}" + ("" if token else ", without a token"))

        await self._ask(accept)

    def _check(self, app: str, token: Zxid | None, what: str) -> None:
        if token is None:
            return
        try:
            self._guard.check(token)
        except StaleTokenError:
            self.refused += 1
            self._say(f"{self.name} refuses {what} of {app}: token {format_zxid(token)}")
            raise

    async def _ask(self, action: Callable[[], Any]) -> Any:
        self._loop.check_here()
        there, back = self._channels_of(home())
        answer: asyncio.Future[Any] = self._loop.create_future()

        def give(result: Any, error: Exception | None) -> None:
            if answer.done():
                return
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)

        def act() -> None:
            try:
                back.post(give, action(), None)
            except (StaleTokenError, BadArgumentsError) as error:
                back.post(give, None, error)

        there.post(act)
        return await answer

    def _channels_of(self, process: Process | None) -> tuple[Channel, Channel]:
        found = self._channels.get(process)
        if found is None:
            assert process is not None  # all that runs in a world has a home
            ways = [(process.name, self._here), (self._here.name, process)]
            there, back = (
                Channel(self._loop, to.context, self._distances.between_apps(sender, to.name)) for sender, to in ways
            )
            found = self._channels[process] = there, back
        return found
