"""How the members of an ensemble know each other: by certificates, by a secret they share, or not at all.

There is no default: who wants none says `Plaintext()`. All members must be given the same kind. What is secret is in no
repr, no error and no log.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import TypeAlias

from attrs import Attribute, field, frozen

from zkcore.errors import ConfigurationError
from zkcore.transport.address import Address
from zkcore.transport.handshake import Mode
from zkcore.zab.messages import PeerId

__all__ = ["Plaintext", "Security", "SharedSecret", "Tls", "identity_of", "mode_of"]

_LEAST_SECRET = 16


@frozen
class Plaintext:
    """Nothing is proved, and everybody on the network reads and writes along. For tests, and for a network to which
    nobody else has access at all."""


def _long_enough(_: object, attribute: Attribute[bytes], value: object) -> None:
    if not isinstance(value, bytes):
        raise ConfigurationError(f"the secret of SharedSecret is bytes, not {type(value).__name__}; encode it first")
    if len(value) < _LEAST_SECRET:
        raise ConfigurationError(
            f"a secret of {len(value)} bytes can be guessed; give at least {_LEAST_SECRET}, at random: "
            "python -c 'import secrets; print(secrets.token_hex())'"
        )


@frozen
class SharedSecret:
    """Whoever knows the secret is a member. Frames are sealed, not encrypted: others can read them, and cannot change
    them. For closed networks; the secret is at least 16 bytes, chosen at random.

    A member that knows the secret can claim to be any other: certificates tell them apart.
    """

    secret: bytes = field(repr=False, validator=_long_enough)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> SharedSecret:
        """The secret in the file, without white space around it. Raises ConfigurationError where there is none, and
        where others than its owner may read the file."""
        try:
            with open(path, "rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                secret = file.read(1 << 16).strip()
        except OSError as error:
            raise ConfigurationError(f"the secret cannot be read: {error}") from error
        if os.name == "posix" and mode & 0o077:
            raise ConfigurationError(f"others may read the secret in {path}: chmod 600 {path}")
        return cls(secret)


_PLACES = ("{id}", "{host}", "{cluster}")


def _names_the_member(_: object, attribute: Attribute[str], value: str) -> None:
    rest = value
    for place in _PLACES:
        rest = rest.replace(place, "")
    if not value or "{" in rest or "}" in rest or not value.isprintable():
        raise ConfigurationError(f"Tls.identity is {value!r}; it is a host name, which may hold {', '.join(_PLACES)}")


@frozen(kw_only=True)
class Tls:
    """TLS 1.3, both sides with a certificate. The files are PEM; they are read again when they change, so renewed
    certificates need no restart. Links that are up stay up.

    **Who is who.** The certificate of a member must hold its `identity` among its subject alternative names: as a DNS
    name, compared letter by letter without regard to case, or as an IP address where it is one. By default that is the
    host of the member's address. `{id}`, `{host}` and `{cluster}` stand for the member's number, for that host and for
    the cluster: several members on one host, say, have "zk-{id}.example.org". No two members may have the same. An
    authority that signs for more than one ensemble needs the cluster in it. Wildcards, the common name and what the DNS
    says of an address count for nothing.
    """

    certificate: str | os.PathLike[str] = field(converter=Path)
    """The certificate of this member, and those between it and the authority."""
    key: str | os.PathLike[str] = field(converter=Path)
    """Its private key."""
    authorities: str | os.PathLike[str] = field(converter=Path)
    """Who may sign the certificates of members; nobody else is believed, whatever the system believes."""
    password: bytes | None = field(default=None, repr=False)
    """Of the private key."""
    identity: str = field(default="{host}", validator=_names_the_member)


Security: TypeAlias = Plaintext | SharedSecret | Tls


def mode_of(security: Security) -> Mode:
    """What the members tell each other. Raises ConfigurationError for what is no security at all."""
    if isinstance(security, Plaintext):
        return Mode.PLAINTEXT
    if isinstance(security, SharedSecret):
        return Mode.SECRET
    if isinstance(security, Tls):
        return Mode.TLS
    raise ConfigurationError(
        f"security is {security!r}; give Tls(...) or SharedSecret(...), or for no protection at all Plaintext()"
    )


def identity_of(tls: Tls, member: PeerId, address: Address, *, cluster: str) -> str:
    """The name that the certificate of `member` must hold; in the form in which they are compared."""
    name = tls.identity.replace("{id}", str(member)).replace("{host}", address.host).replace("{cluster}", cluster)
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()
