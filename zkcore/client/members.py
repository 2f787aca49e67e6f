"""Changes of the members, asked of one node: each is worked out from the members there are, and made only if it is
still those that it replaces.

Who the members are in the end decides the leader; here is what "add" and "remove" mean. This module must not know how
a new member learns that it is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from attrs import evolve

from zkcore.client.client import Client
from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    ConfigurationError,
    ConnectionLostError,
    NewConfigNoQuorumError,
    ReconfigInProgressError,
    ThrottledError,
)
from zkcore.replica.members import Members
from zkcore.zab.messages import PeerId
from zkcore.zab.quorum import EnsembleConfig

__all__ = [
    "caught_up", "change", "ids_of", "instead", "replace_all", "with_member", "with_observer", "with_voter", "without",
]  # fmt: skip

_AGAIN_SECONDS = 0.05
"""Between two attempts."""


async def replace_all(client: Client, members: Members, *, version: int = -1) -> Members:
    """Have the ensemble consist of `members`, if its own are those of `version`, by default whichever they are; the
    members there are then. Raises as `Client.reconfig`."""
    return Members.parse((await client.reconfig(new_members=members, from_config=version)).data.decode())


async def change(client: Client, present: Callable[[], Members], wanted: Callable[[Members], Members]) -> Members:
    """Have the ensemble consist of what `wanted` makes of its members, which are known as `present()`; made anew where
    somebody else was quicker. Nothing happens where nothing is to be changed. The members there are then."""
    lost: Members | None = None  # asked for, and the answer was lost, as it is where a leader that goes hands over
    while True:
        await client.sync()
        before = present()
        if lost is not None and evolve(before, version=lost.version) == lost:
            return before
        after = wanted(before)
        if after == before:
            return before
        try:
            return await replace_all(client, after, version=before.version)
        except (BadVersionError, ReconfigInProgressError, ThrottledError):
            await asyncio.sleep(_AGAIN_SECONDS)
        except ConnectionLostError:
            lost = after


async def caught_up(client: Client, present: Callable[[], Members], wanted: Callable[[Members], Members]) -> Members:
    """`change`, as soon as those who are to vote follow the leader."""
    while True:
        try:
            return await change(client, present, wanted)
        except NewConfigNoQuorumError:
            await asyncio.sleep(_AGAIN_SECONDS)


def with_member(members: Members, member: PeerId, address: str = "", *, voter: bool = False) -> Members:
    """With `member` besides, at `address`; one that is there already is at `address` from now on, and where `voter` is
    set, votes. Raises BadArgumentsError."""
    config = members.config
    addresses = dict(members.addresses) | ({member: address} if address else {})
    if member in config.members:
        after = evolve(members, addresses=addresses)
        return with_voter(after, member) if voter else after
    observers = (*config.observers, member)
    after = _members(members, evolve(config, observers=observers), addresses=addresses)
    return with_voter(after, member) if voter else after


def with_voter(members: Members, member: PeerId) -> Members:
    """With `member`, which observes, as a voter. Raises BadArgumentsError."""
    config = members.config
    if member in config.voters:
        return members
    if member not in config.observers:
        raise BadArgumentsError(f"server {member} is none of the members {config.members}; add it first")
    if config.groups:
        raise BadArgumentsError(
            f"the voters have groups, and which is that of server {member} must be said: give all members there will be"
        )
    observers = [other for other in config.observers if other != member]
    return _members(members, evolve(config, voters=(*config.voters, member), observers=observers))


def with_observer(members: Members, member: PeerId) -> Members:
    """With `member`, which votes, as an observer. Raises BadArgumentsError."""
    config = members.config
    if member not in config.voters:
        return members
    smaller = without(members, [member])
    addresses = {**smaller.addresses, member: members.addresses[member]} if member in members.addresses else None
    clients = {**smaller.clients, member: members.clients[member]} if member in members.clients else None
    config = evolve(smaller.config, observers=(*smaller.config.observers, member))
    return _members(smaller, config, addresses=addresses, clients=clients)


def without(members: Members, gone: Iterable[PeerId]) -> Members:
    """Without those. Raises BadArgumentsError."""
    config, gone = members.config, frozenset(gone)
    if strange := sorted(gone.difference(config.members)):
        raise BadArgumentsError(f"server {strange[0]} cannot leave: the members are {config.members}")
    if gone.issuperset(config.voters):
        raise BadArgumentsError(f"without {sorted(gone)} there is no voter left, and an ensemble needs one")
    groups = [[voter for voter in group if voter not in gone] for group in config.groups]
    return _members(
        members,
        EnsembleConfig(
            [voter for voter in config.voters if voter not in gone],
            observers=[other for other in config.observers if other not in gone],
            groups=[group for group in groups if group],
            weights=[(voter, weight) for voter, weight in config.weights if voter not in gone],
        ),
        addresses={member: where for member, where in members.addresses.items() if member not in gone},
        clients={member: where for member, where in members.clients.items() if member not in gone},
    )


def instead(members: Members, old: PeerId, new: PeerId) -> Members:
    """With `new`, which observes, as a voter in the place of `old`. Raises BadArgumentsError."""
    config = members.config
    if new in config.voters and old not in config.members:
        return members
    if old not in config.voters or new not in config.observers:
        raise BadArgumentsError(f"server {new} must observe to take the place of a voter {old}: {config}")

    def swap(ids: Iterable[PeerId]) -> list[PeerId]:
        return [new if member == old else member for member in ids]

    return _members(
        members,
        EnsembleConfig(
            swap(config.voters),
            observers=[member for member in config.observers if member != new],
            groups=map(swap, config.groups),
            weights=[(new if voter == old else voter, weight) for voter, weight in config.weights],
        ),
        addresses={member: where for member, where in members.addresses.items() if member != old},
        clients={member: where for member, where in members.clients.items() if member != old},
    )


def _members(
    members: Members, config: EnsembleConfig, *, addresses: Mapping[PeerId, str] | None = None,
    clients: Mapping[PeerId, str] | None = None,
) -> Members:  # fmt: skip
    try:
        return Members(
            config,
            addresses=members.addresses if addresses is None else addresses,
            clients=members.clients if clients is None else clients,
            version=members.version,
        )
    except ConfigurationError as error:
        raise BadArgumentsError(str(error)) from None


def ids_of(members: PeerId | Iterable[PeerId]) -> list[PeerId]:
    """One or several, as a list."""
    return [members] if isinstance(members, int) else list(members)
