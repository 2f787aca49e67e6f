"""Bugs of the fence: see election_bugs.py for the one in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from planting import plant

from zkcore.recipes.fence import FenceGuard, SqliteTokens
from zkcore.recipes.lease import Lease
from zkcore.testing.mutants.mutant import Real
from zkcore.tree.requests import Multi, Request
from zkcore.zxid import Zxid


def _any_token_will_do(_: Real) -> Real:
    def raise_to(self: SqliteTokens, token: Zxid) -> Zxid:
        return token

    return raise_to


def _without_the_lease(_: Any) -> Any:
    def transaction(lease: Lease, operations: Iterable[Request[Any]]) -> Multi:
        return Multi([*operations])

    return staticmethod(transaction)


plant(
    "old-token-written",
    "the guard in a database takes old tokens, too",
    (SqliteTokens, "raise_to", _any_token_will_do),
    play="a_database_takes_no_write_of_a_past_holder",
    seed=2,
)
plant(
    "lease-unchecked",
    "a transaction happens whether the lease is held or not",
    (FenceGuard, "transaction", _without_the_lease),
    play="a_transaction_happens_only_while_the_lease_is_held",
    seed=5,
)
