"""How a node becomes a member of an ensemble that runs: it knows one of the members, and the name of the cluster.

::

    joiner                          a member                        the leader
       |  I am 4, at host:port         |                                |
       | ----------------------------> |  the members, and 4 observes   |
       |                               | -----------------------------> |
       |                               |                 done, as 0x..  |
       |      these are the members    | <----------------------------- |
       | <---------------------------- |
       |  follows the leader as an observer; and where it is to vote, asks for that itself once it is in line

**A name that was used before.** A member that has lost its data may have promised, and acknowledged, what it does not
know any more. Where one that votes asks to join, at its own address, and is not running, it is made an observer first:
once that is committed, nothing that it has forgotten counts (protocol.md 1.10). Only then it is told who the members
are, and begins; and it votes again when it has been made a voter again, in line with the leader. A name that is in use
at another address is refused: whoever means to move a member says so to the ensemble, and not to the new machine.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import frozen

from zkcore.client.members import caught_up, change, with_member, with_observer, with_voter
from zkcore.errors import (
    AuthFailedError,
    ConfigurationError,
    ConnectionLostError,
    JoinRefusedError,
    NotLeadingError,
    ProtocolError,
    ZkcoreError,
)
from zkcore.jute.codec import Boolean, Int, UString, decode, encode, record
from zkcore.replica.members import Members
from zkcore.transport.address import parse_address
from zkcore.transport.asking import Asking
from zkcore.transport.tcp import TcpTransport
from zkcore.zab.messages import PeerId

if TYPE_CHECKING:
    from zkcore.client.node import Node

__all__ = ["Doorkeeper", "Lookout", "find_members", "places_of", "vote_when_caught_up"]

_FORMAT = 1
_PATIENCE_SECONDS = 30.0
"""How long one question may take: perhaps there is no leader for a while."""

_LONELY = 3
"""So many looks without a leader, before others are asked."""

_PAUSE_SECONDS = 0.1, 2.0
"""Between two rounds of asking, at first, and at most."""


@record
@frozen
class _Question:
    """Where the one that asks is, and whether it is to be made a member; else it asks who the members are."""

    format: Int
    address: UString
    client: UString
    joins: Boolean


@record
@frozen
class _Reply:
    """The members, as text; or why not, and whether it may be asked again."""

    format: Int
    members: UString
    refused: UString
    may_change: Boolean


# --- the member that is asked ----------------------------------------------------------------------------------------


class Doorkeeper:
    """Answers those who ask `node`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def answer(self, peer: PeerId, question: bytes, why_mistaken: Callable[[str], str | None]) -> bytes:
        """See `zkcore.transport.asking.Answer`."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS * 0.8):
                members = await self._admit(peer, decode(_Question, question), why_mistaken)
            return encode(_Reply(_FORMAT, members.text(), "", False))
        except (JoinRefusedError, ProtocolError, ConfigurationError) as error:
            return encode(_Reply(_FORMAT, "", str(error), False))
        except TimeoutError:
            return encode(_Reply(_FORMAT, "", "it took too long: is there a leader?", True))
        except ZkcoreError as error:
            return encode(_Reply(_FORMAT, "", str(error), error.retryable or error.applied == "unknown"))

    async def _admit(self, peer: PeerId, asked: _Question, why_mistaken: Callable[[str], str | None]) -> Members:
        if asked.format != _FORMAT:
            raise JoinRefusedError(f"a question of format {asked.format} is not understood; upgrade the older one")
        if why := why_mistaken(asked.address):
            raise JoinRefusedError(why)
        node = self._node
        if not asked.joins:
            if not node.replica.serving:
                raise NotLeadingError(None)
            return node.members()
        async with node.client() as client:
            return await change(client, node.members, lambda members: self._with(members, peer, asked.address))

    def _with(self, members: Members, peer: PeerId, address: str) -> Members:
        where = parse_address(address, key="address")
        for other, known in members.addresses.items():
            if other != peer and parse_address(known, key="address") == where:
                raise JoinRefusedError(f"{address} is the address of member {other}; give member {peer} one of its own")
        if peer not in members.config.members:
            return with_member(members, peer, address)
        known = members.addresses.get(peer, "")
        if known and parse_address(known, key="address") != where:
            raise JoinRefusedError(
                f"member {peer} is at {known}, and not at {address}: take another number, or have the ensemble remove "
                f"or move member {peer} first"
            )
        if peer == self._node.me or peer in self._node.status().linked:
            raise ConnectionLostError(f"member {peer} is running at {known}: stop it first")
        return with_observer(members, peer)


def places_of(members: Members) -> dict[PeerId, str]:
    """For a transport: where each member is, "" where that is not known."""
    return {member: members.addresses.get(member, "") for member in members.config.members}


# --- the one that asks -----------------------------------------------------------------------------------------------


async def find_members(
    asking: Asking, seeds: tuple[str, ...], *, address: str, joins: bool, tell: Callable[[str, str], None]
) -> Members:
    """The members of the ensemble that the members at `seeds` are of; with `joins`, this one among them. It asks until
    there is an answer, and lets `tell` know who has given none, and why.

    Raises JoinRefusedError where it is refused, and it would not help to ask again.
    """
    question = encode(_Question(_FORMAT, address, "", joins))
    pause, most = _PAUSE_SECONDS
    while True:
        refused: list[str] = []
        for seed in seeds:
            try:
                reply = decode(_Reply, await asking.ask(seed, question, patience=_PATIENCE_SECONDS))
            except (AuthFailedError, ProtocolError) as error:
                refused.append(str(error))
                continue
            except ConnectionLostError as error:
                tell(seed, str(error))
                continue
            if not reply.refused:
                return Members.parse(reply.members)
            if not reply.may_change:
                raise JoinRefusedError(f"the member at {seed} refuses: {reply.refused}")
            tell(seed, reply.refused)
        if len(refused) == len(seeds):
            raise JoinRefusedError("; ".join(refused))
        await asyncio.sleep(pause * random.uniform(0.5, 1))
        pause = min(2 * pause, most)


class Lookout:
    """Asks the others who the members are, where `node` has had no leader for a while: it may have been away while it
    was removed, or while the others moved. What they say is for the transport, and for people: the node goes by its
    log."""

    def __init__(
        self, node: Node, transport: TcpTransport, asking: Asking, *, address: str, seeds: tuple[str, ...],
        patience: float,
    ) -> None:  # fmt: skip
        self._node = node
        self._transport = transport
        self._asking = asking
        self._address = address
        self._seeds = seeds
        self._patience = patience
        self.removed: Members | None = None
        """The members this one has heard of from others, and is none of."""

    async def run(self, on_removed: Callable[[Members], None]) -> None:
        """For as long as the node runs. `on_removed` hears once that the node was removed."""
        lonely = 0
        while True:
            await asyncio.sleep(self._patience * random.uniform(0.25, 0.5))
            lonely = 0 if self._node.replica.serving else lonely + 1
            if not lonely:
                self.removed = None
            if lonely < _LONELY or (found := await self._ask()) is None:
                continue
            self._transport.set_members(places_of(found), version=found.version, sure=False)
            if self._node.me not in found.config.members and self.removed is None:
                self.removed = found
                on_removed(found)

    async def _ask(self) -> Members | None:
        """Newer members than are known, if anybody knows some."""
        known = max(self._transport.places.version, self._node.status().version)
        question = encode(_Question(_FORMAT, self._address, "", False))
        for address in dict.fromkeys((*self._transport.places.known, *self._seeds)):
            if address == self._address:
                continue
            try:
                reply = decode(_Reply, await self._asking.ask(address, question, patience=self._patience * 2))
                if not reply.refused and (found := Members.parse(reply.members)).version > known:
                    return found
            except (AuthFailedError, ConnectionLostError, ConfigurationError, ProtocolError):
                pass  # it is not there, or not the one that was meant
        return None


async def vote_when_caught_up(node: Node) -> Members:
    """Have `node`, which observes, made a voter as soon as it is in line; the members there are then."""
    async with node.client() as client:
        return await caught_up(client, node.members, lambda members: with_voter(members, node.me))
