"""Where a member listens: a host and a port, `host:port`, an IPv6 address in brackets."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from attrs import frozen

from zkcore.errors import ConfigurationError

__all__ = ["Address", "parse_address"]


@frozen
class Address:
    """A host, by name or by number, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_numeric(self) -> bool:
        """Whether nobody need be asked where it is."""
        return _is_number(self.host)


def parse_address(text: str, *, key: str, any_port: bool = False) -> Address:
    """The address that `text` says; where `any_port` will do, its port may be 0. Raises ConfigurationError, which names
    `key`, the part of the configuration."""
    if not isinstance(text, str):
        raise ConfigurationError(f"{key} is {text!r}; give it as 'host:port'")
    host, colon, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_number(host) or not isinstance(ip_address(host), IPv6Address):
            raise ConfigurationError(f"{key} is {text!r}; in brackets stands an IPv6 address, as in [::1]:2888")
    elif ":" in host:
        raise ConfigurationError(f"{key} is {text!r}; write an IPv6 address in brackets, as in [::1]:2888")
    if not colon or not (port.isascii() and port.isdigit()) or not (not any_port) <= int(port) <= 65535:
        raise ConfigurationError(f"{key} is {text!r}; give it as 'host:port', with a port between 1 and 65535")
    if not host or not host.isprintable() or any(each in " /@[]" for each in host):
        raise ConfigurationError(f"{key} is {text!r}; give it as 'host:port', with a host's name or number")
    return Address(host, int(port))


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
