"""Where the servers of an ensemble are, in one line: `zk://host:2181,host:2181/chroot`.

This module must not know how one connects.
"""

from __future__ import annotations

from typing import NamedTuple

from zkcore.errors import BadArgumentsError, ConfigurationError
from zkcore.transport.address import Address, parse_address
from zkcore.tree.paths import validate

__all__ = ["Places", "parse_places"]

_SCHEME = "zk://"
_PORT = 2181


class Places(NamedTuple):
    """The addresses, in the order in which they were given, and the path below which everything is; "/" for all."""

    addresses: tuple[Address, ...]
    chroot: str


def parse_places(url: str) -> Places:
    """The places that `url` names; a host without a port has port 2181. Raises ConfigurationError."""
    if not isinstance(url, str) or not url.startswith(_SCHEME):
        raise ConfigurationError(f"{url!r} names no servers; give zk://host:2181,host:2181, and /path for a chroot")
    hosts, slash, path = url.removeprefix(_SCHEME).partition("/")
    if "@" in hosts:
        raise ConfigurationError("credentials do not belong where everybody reads them; give them as auth=[...]")
    addresses = tuple(_address(host.strip()) for host in hosts.split(","))
    chroot = (slash + path).rstrip("/") or "/"
    try:
        validate(chroot)
    except BadArgumentsError as error:
        raise ConfigurationError(f"the chroot of {url!r} is none: {error}") from None
    return Places(tuple(dict.fromkeys(addresses)), chroot)


def _address(host: str) -> Address:
    has_port = not host.endswith("]") and ":" in host
    return parse_address(host if has_port or not host else f"{host}:{_PORT}", key="a server of zk://")
