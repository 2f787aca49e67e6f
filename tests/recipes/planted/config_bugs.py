"""Bugs of the config."""

from __future__ import annotations

from typing import Any

from planting import plant

from zkcore.client.port import Port
from zkcore.recipes import config as config_module
from zkcore.recipes import stored as stored_module
from zkcore.recipes.waiting import FOR_EVER, ask
from zkcore.testing.mutants.mutant import Real
from zkcore.tree.acl import ACL
from zkcore.tree.requests import Check, Create, Request
from zkcore.tree.znode import CreateMode
from zkcore.zxid import Zxid

CHANGES = "a_config_loses_no_change_and_makes_none_twice"


def _whatever_there_is(_: Real) -> Real:
    def unchanged(path: str, zxid: Zxid) -> Check:
        return Check(path, -1)

    return unchanged


def _kept_by_any_name(_: Real) -> Real:
    def create(path: str, data: bytes, *, acl: tuple[ACL, ...]) -> Create:
        return Create(path + "-", data, acl=acl, mode=CreateMode.PERSISTENT_SEQUENTIAL)

    return create


def _asked_again(_: Real) -> Real:
    async def settle(port: Port, request: Request[Any]) -> Any:
        return await ask(port, request, FOR_EVER)

    return settle


plant(
    "update-lost",
    "a change replaces the value even where somebody else has changed it meanwhile",
    (stored_module, "unchanged", _whatever_there_is),
    (config_module, "Create", _kept_by_any_name),
    play=CHANGES,
    seed=0,
)
plant(
    "changed-twice",
    "a change whose answer was lost is taken for one that came too late, and made again",
    (stored_module, "settle", _asked_again),
    play=CHANGES,
    seed=0,
)
