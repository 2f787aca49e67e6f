"""What a connection needs of its listener.

This module must not know what is said on a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from zkcore.jute.records import Id
from zkcore.replica.host import Host
from zkcore.server.four_letter import Traffic
from zkcore.server.limits import ListenerLimits

if TYPE_CHECKING:
    from zkcore.server.connection import ClientConnection

__all__ = ["Owner"]


class Owner(Protocol):
    """See the module."""

    host: Host
    traffic: Traffic
    limits: ListenerLimits

    def admit(self, connection: ClientConnection, address: str) -> str | None:
        """Why one more connection from there is too many, or None. `on_gone` follows either way."""

    def four_letters(self, said: bytes) -> str | None:
        """The answer to one of ZooKeeper's four-letter words, with what follows it; None where that is none."""

    def ids_of(self, connection: ClientConnection) -> tuple[Id, ...]:
        """By what the listener knows the client."""

    def on_session(self, connection: ClientConnection) -> None:
        """The connection has this session now; another that had it has not."""

    def on_gone(self, connection: ClientConnection) -> None:
        """It is over."""

    @property
    def serves_readers(self) -> bool:
        """Whether clients that would rather read than wait are shown what is here."""
