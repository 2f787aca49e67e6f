"""Finding a server that takes writes, without going there.

This module must not know sessions.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from random import Random

from zkcore.transport.address import Address

__all__ = ["find_a_writer"]

_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 2.0
"""They are asked again after about so long, the longer the more often."""


async def find_a_writer(
    addresses: Sequence[Address], *, rng: Random, tls: ssl.SSLContext | None, patience: float
) -> Address:
    """One that takes writes, as soon as there is one; each has `patience` seconds to answer."""
    pause = _PAUSE_SECONDS
    while True:
        await asyncio.sleep(pause * (0.5 + rng.random() / 2))
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        for address in rng.sample(addresses, len(addresses)):
            if await _takes_writes(address, tls=tls, patience=patience):
                return address


async def _takes_writes(address: Address, *, tls: ssl.SSLContext | None, patience: float) -> bool:
    """Whether the server answers ZooKeeper's word `isro` with `rw`; False where it says nothing for `patience` seconds,
    or cannot be reached."""
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection(address.host, address.port, ssl=tls)
            try:
                writer.write(b"isro")
                return await reader.read(2) == b"rw"
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError, UnicodeError):
        return False
