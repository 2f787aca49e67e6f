"""Ports that nobody else gets, chosen by the system: sockets that are bound, and do not listen."""

from __future__ import annotations

import socket
from contextlib import ExitStack

__all__ = ["Ports"]


class Ports:
    """Keeps ports until it is closed; whoever sets SO_REUSEADDR may listen on them."""

    def __init__(self) -> None:
        self._sockets = ExitStack()

    def take(self, host: str = "127.0.0.1") -> str:
        """An address with a port of its own."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        kept = self._sockets.enter_context(socket.socket(family, socket.SOCK_STREAM))
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind((host, 0))
        port = kept.getsockname()[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def close(self) -> None:
        self._sockets.close()
