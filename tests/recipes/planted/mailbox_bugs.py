"""Bugs of the mailbox, beside those of the queue that it is (queue_bugs.py)."""

from __future__ import annotations

from typing import Any

from planting import plant

from zkcore.recipes.claiming import Claim
from zkcore.recipes.mailbox import Messages, Receiving
from zkcore.testing.mutants.mutant import Real

POST = "what_is_sent_is_dealt_with_by_who_it_was_sent_to"
READS = "who_reads_one_after_the_other_acknowledges_what_it_has_read"


def _gone_when_given_out(real: Real) -> Real:
    async def __aenter__(self: Receiving[Any]) -> Any:
        message = await real(self)
        await message.ack()
        return message

    return __aenter__


def _already_acknowledged(_: Real) -> Real:
    async def ack(self: Claim[Any]) -> None:
        if not self.lease.released:
            await self._delivery.acknowledge()

    return ack


def _acknowledges_what_it_gives_out(real: Real) -> Real:
    async def __anext__(self: Messages[Any]) -> Any:
        message = await real(self)
        await message.ack()
        return message

    return __anext__


plant(
    "message-lost-on-failover",
    "a message is deleted when it is given out, and lost with its receiver",
    (Receiving, "__aenter__", _gone_when_given_out),
    (Claim, "ack", _already_acknowledged),
    play=POST,
    seed=0,
)
plant(
    "read-is-acknowledged",
    "who iterates has acknowledged a message before it has dealt with it",
    (Messages, "__anext__", _acknowledges_what_it_gives_out),
    play=READS,
    seed=0,
)
