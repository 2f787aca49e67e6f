"""The blocking face of `zkcore.recipes.migrations`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from zkcore.errors import BadArgumentsError
from zkcore.recipes.migrations import Migrations as AsyncMigrations
from zkcore.recipes.migrations import MigrationStep
from zkcore.recipes.migrations import Step as AsyncStep
from zkcore.sync.client import Client
from zkcore.sync.lease import Lease
from zkcore.sync.port import mirrors, run, seconds

__all__ = ["Migrations"]

Step: TypeAlias = Callable[[MigrationStep], object]
"""What a step does, on the thread that migrates."""


@mirrors(AsyncMigrations)
class Migrations:
    """`zkcore.Migrations` for blocking code.

    ::

        migrations = zkcore.Migrations(zk, "/migrations", {"create-users": create_users, "add-emails": add_emails})
        print(migrations.migrate())         # the names of those that were run here; () where all were done

    Nothing can cancel a step when the lock is lost: it looks at its lease, or finds out by its token.
    """

    def __init__(self, client: Client, path: str, steps: Mapping[str, Step]) -> None:
        self._inner = AsyncMigrations(
            client.unblocked, path, {name: _unblocked(name, step) for name, step in steps.items()}
        )

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode below which the steps are recorded."""
        return self._inner.path

    def migrate(self, *, timeout: float | None = None) -> tuple[str, ...]:
        return run(self._inner.migrate(timeout=seconds(timeout)))

    def applied(self) -> tuple[str, ...]:
        return run(self._inner.applied())


def _unblocked(name: str, step: Step) -> AsyncStep:
    if not callable(step):
        raise BadArgumentsError(f"the step {name!r}: {step!r}; give functions to call")

    async def call(given: MigrationStep) -> object:
        lease: Any = Lease(given.lease)
        return step(attrs.evolve(given, lease=lease))

    return call
