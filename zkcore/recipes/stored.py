"""One znode's data as a value that is replaced and never lost: what a config, an atomic value and all that counts are
made of.

A replacement is one transaction, refused where the data is no longer what was read. It is carried out once however
often it must be sent. What was read is known by the zxid that made it: versions go round, and begin anew in a znode
that is made anew.

This module must not know what the data means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from zkcore.client.client import Client
from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    ItemTooLargeError,
    MultiError,
    NodeExistsError,
    NoNodeError,
)
from zkcore.recipes.waiting import FOR_EVER, ask, settle
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.paths import validate
from zkcore.tree.prepare import MAX_DATA
from zkcore.tree.requests import (
    CheckStat,
    Condition,
    Create,
    CreateWithParents,
    GetData,
    Multi,
    Relation,
    Request,
    SetData,
    StatField,
)
from zkcore.zxid import Zxid

__all__ = ["Raw", "Stored", "unchanged"]


class Raw(NamedTuple):
    """A value as it is stored."""

    data: bytes
    version: int
    zxid: Zxid


def unchanged(path: str, zxid: Zxid) -> CheckStat:
    """That the data of the znode is what that transaction made it; of use inside a Multi."""
    return CheckStat(path, [Condition(StatField.MZXID, Relation.EQUAL, zxid)])


class Stored:
    """The data of the znode at `path`, which is created with the first value. `what` names it in messages.

    Raises BadArgumentsError for what is no path of its own.
    """

    def __init__(self, client: Client, path: str, *, what: str) -> None:
        validate(path)
        if path == "/":
            raise BadArgumentsError(f"{what} needs a path of its own, not the root")
        self.path = path
        self._client = client

    async def read(self) -> Raw | None:
        """As of the replica that serves this client, and a moment ago; None where there is no znode."""
        try:
            data, stat = await ask(self._client.port, GetData(self.path), FOR_EVER)
        except NoNodeError:
            return None
        return Raw(data, stat.version, stat.mzxid)

    async def replace(self, old: Raw | None, data: bytes, *, also: Sequence[Request[Any]] = ()) -> Raw | None:
        """Store `data` if what is stored is still `old`, and do what is in `also` in the same transaction. What came of
        it; None where somebody was faster, or what is in `also` cannot be done, and nothing has changed.

        Raises ItemTooLargeError, and OutcomeUnknownError where the session ended before it was known what came of it.
        """
        if len(data) > MAX_DATA:
            raise ItemTooLargeError(
                f"{self.path}: {len(data)} bytes are more than fit into one znode; store the data elsewhere and its "
                "address here"
            )
        request: Request[Any]
        if old is not None:
            request = Multi([unchanged(self.path, old.zxid), SetData(self.path, data), *also])
        elif also:
            request = Multi([Create(self.path, data, acl=DEFAULT_ACL), *also])
        else:
            request = CreateWithParents(self.path, data, acl=DEFAULT_ACL)
        try:
            answer: Any = await settle(self._client.port, request)
        except NodeExistsError:
            return None
        except MultiError as error:
            if isinstance(error.error, BadVersionError | NoNodeError | NodeExistsError):
                return None
            raise error.error from None
        if old is not None:
            return Raw(data, answer[1].version, answer[1].mzxid)
        stat = (answer[0] if also else answer).stat
        return Raw(data, stat.version, stat.mzxid)
