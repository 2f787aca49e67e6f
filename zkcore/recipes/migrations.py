"""Migrations: named steps that are run once, in order, by whichever process comes first, while the others wait.

Who migrates holds a lock. Below `steps` stands a znode for each step that was begun, in order, which says whether it is
done: written before it is called and after it has returned, each time with the condition that the lock is still held.

This module must not know what the steps do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from attrs import frozen

from zkcore.client.client import Client
from zkcore.client.port import Port
from zkcore.errors import BadArgumentsError, ConfigMismatchError, MultiError, NodeExistsError, NoNodeError
from zkcore.recipes.contender import made_at
from zkcore.recipes.lease import Lease
from zkcore.recipes.lock import Lock
from zkcore.recipes.waiting import FOR_EVER, ask
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.paths import validate
from zkcore.tree.requests import Create, CreateIfAbsent, ListChildren, Multi, Request, SetData
from zkcore.zxid import Zxid

__all__ = ["MigrationStep", "Migrations"]

_BEGUN, _DONE = b"begun", b"done"
_DIGITS = 6


@frozen
class MigrationStep:
    """A step, as its function is called with it."""

    name: str
    is_again: bool
    """Whether it was begun before, and not finished: it raised, or its process died in the midst of it. A part may be
    done."""
    lease: Lease
    """The hold of the lock. The step is cancelled where it is lost."""

    @property
    def token(self) -> Zxid:
        """The fencing token: hand it to what the step changes, and have that refuse a lower one."""
        return self.lease.fencing_token


Step: TypeAlias = Callable[[MigrationStep], Awaitable[object]]
"""What a step does."""


class Migrations:
    """Steps at `path`, by their names and in their order; what is above is created where it is missing.

    ::

        migrations = zkcore.Migrations(zk, "/migrations", {"create-users": create_users, "add-emails": add_emails})
        print(await migrations.migrate())         # the names of those that were run here; () where all were done

    Making one does no I/O. Call `migrate` in every process when it starts: one runs what there is to run, the others
    wait for it. New steps go to the end; what was run is never taken out, nor renamed.

    Guaranteed: a step is begun only when all before it are done, and by one process at a time; once it is done, which
    is recorded behind it, it is never run again. Where it raises or its process dies, it is called again by the next
    who migrates, with a higher token, and told so.
    """

    def __init__(self, client: Client, path: str, steps: Mapping[str, Step]) -> None:
        for name, step in steps.items():
            if not isinstance(name, str) or not name or "/" in name or not callable(step):
                raise BadArgumentsError(f"the step {name!r}: {step!r}; give names without '/', and functions to call")
            validate(f"{path}/{name}")
        self._lock = Lock(client, f"{path}/lock")
        self.path = path
        self._client = client
        self._steps = dict(steps)

    def __repr__(self) -> str:
        return f"<Migrations {self.path} of {len(self._steps)} steps>"

    async def migrate(self, *, timeout: float | None = None) -> tuple[str, ...]:
        """Run what was not run yet, or wait until somebody else has; the names of those that were run here.

        Raises what a step raises (the others wait for the next who migrates), LockTimeoutError where another was at
        work for `timeout` seconds, ConfigMismatchError where other steps were run, in another order, or more than this
        process knows (nothing is run then), LeaseLostError, and SessionExpiredError or SessionClosedError.
        """
        port = self._client.port
        async with self._lock.hold(timeout=timeout) as lease:
            await ask(port, CreateIfAbsent(f"{self.path}/steps", acl=DEFAULT_ACL), FOR_EVER)
            recorded = await self._recorded(port)
            self._check(recorded)
            run = []
            for number, (name, step) in enumerate(self._steps.items()):
                state = recorded[number][1] if number < len(recorded) else None
                if state != _DONE:
                    await self._run(port, lease, number, name, step, is_again=state is not None)
                    run.append(name)
        return tuple(run)

    async def applied(self) -> tuple[str, ...]:
        """The names of the steps that are done, in order: as of the replica that serves this client, and a moment
        ago."""
        return tuple([name for name, state in await self._recorded(self._client.port) if state == _DONE])

    # --- within

    async def _recorded(self, port: Port) -> list[tuple[str, bytes]]:
        """Every step that was begun, in order, and its state."""
        found: list[tuple[str, bytes]] = []
        after: str | None = ""
        while after is not None:
            try:
                page = await ask(port, ListChildren(f"{self.path}/steps", after=after, with_data=True), FOR_EVER)
            except NoNodeError:
                break
            found += [(name[_DIGITS + 1 :], data or b"") for name, _, data in page.children]
            after = page.after
        return found

    def _check(self, recorded: list[tuple[str, bytes]]) -> None:
        names = list(self._steps)
        for number, (name, _) in enumerate(recorded):
            if number >= len(names):
                raise ConfigMismatchError(
                    f"{self.path}: {name!r} was run, which this process does not know; is it an older version? Nothing "
                    "was run"
                )
            if name != names[number]:
                raise ConfigMismatchError(
                    f"{self.path}: step {number + 1} is {names[number]!r} here, and was {name!r} when it was run; keep "
                    "what was run as it is, and put new steps at the end"
                )

    async def _run(
        self, port: Port, lease: Lease, number: int, name: str, step: Step, *, is_again: bool
    ) -> None:
        path = f"{self.path}/steps/{number:0{_DIGITS}}-{name}"
        if not is_again:
            await self._write(port, lease, Create(path, _BEGUN, acl=DEFAULT_ACL))
        lease.check()
        await step(MigrationStep(name, is_again, lease))
        await self._write(port, lease, SetData(path, _DONE))

    async def _write(self, port: Port, lease: Lease, change: Request[Any]) -> None:
        """Make a change as who holds the lock. Raises LeaseLostError where that is somebody else."""
        try:
            await ask(port, Multi([made_at(lease.path, lease.fencing_token), change]), FOR_EVER)
        except MultiError as error:
            if not isinstance(error.error, NodeExistsError):  # then the answer to its creation was lost
                raise lease.loss() from None
