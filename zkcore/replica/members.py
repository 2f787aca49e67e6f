"""Who the members of an ensemble are, and where: as a value, as ZooKeeper's text, and behind a record of the log.

The text is that of ZooKeeper's znode `/zookeeper/config`, and of its configuration files::

    server.1=zk1:2888:2888:participant;0.0.0.0:2181
    server.2=zk2:2888:2888:participant;0.0.0.0:2181
    server.3=zk3:2888:2888:observer
    version=100000003

A member of ours has one address for all the others need of it, where ZooKeeper has two ports: the second is not looked
at, and shown as the first. In an ensemble within one process nobody has an address, which is written as 0.0.0.0:0:0.

The core puts into the log who votes and who observes (protocol.md 1.10). Behind it, as its note, stands what the core
need not know: who is found where, who has asked for the change, and when.

This module must not know how members are changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from attrs import field, frozen

from zkcore.errors import ConfigurationError, ProtocolError
from zkcore.jute.codec import Int, Long, UString, decode, encode, record
from zkcore.transport.address import Address, parse_address
from zkcore.zab.membership import Membership, read_configuration
from zkcore.zab.messages import PeerId
from zkcore.zab.quorum import EnsembleConfig, Transition
from zkcore.zxid import Zxid

__all__ = ["Change", "Lines", "Member", "Members", "Note", "members_from", "members_of", "read_lines", "read_member"]

_NOWHERE = Address("0.0.0.0", 0)
_MOST_WEIGHT = (1 << 32) - 1
_EVERYWHERE = ("0.0.0.0", "::")


class Member(NamedTuple):
    """What a line `server.N=` says."""

    address: Address
    observes: bool
    client: Address | None

    @property
    def is_somewhere(self) -> bool:
        """Whether it has an address."""
        return self.address != _NOWHERE


def read_member(value: str) -> Member:
    """What stands behind `server.N=`: host:port:port[:role][;[host:]port]. Raises ValueError and ConfigurationError."""
    said, semicolon, client = value.partition(";")
    if "|" in said:
        raise ValueError("a server has one address here; leave the one the others reach it by")
    rest, role = said, "participant"
    head, _, last = said.rpartition(":")
    if last.lower() in ("participant", "observer"):
        rest, role = head, last.lower()
    head, _, election = rest.rpartition(":")
    _port(election)
    address = parse_address(head, key="the address", any_port=rest == "0.0.0.0:0:0")
    return Member(address, role == "observer", _client_address(client) if semicolon else None)


def _client_address(value: str) -> Address:
    host, colon, port = value.rpartition(":")
    if not colon:
        return Address("0.0.0.0", _port(port))
    host = host.strip("[]")
    found = parse_address(f"[{host}]:1" if ":" in host else f"{host}:1", key="the host")
    return Address(found.host, _port(port))


def _port(value: str) -> int:
    if not (value.isascii() and value.isdigit()) or not 0 <= int(value) <= 65535:
        raise ValueError("give a port, 1 to 65535, or 0 for any that is free")
    return int(value)


def _places(places: Mapping[PeerId, str]) -> Mapping[PeerId, str]:
    return MappingProxyType(dict(sorted(places.items())))


def members_from(ensemble: EnsembleConfig | Members) -> Members:
    """The members that an ensemble begins with, be it known where they are or not."""
    return ensemble if isinstance(ensemble, Members) else Members(ensemble)


@frozen
class Members:
    """The members of an ensemble. `addresses` says where each is reached by the others, as "host:port", and `clients`
    where it serves clients; either may leave members out of whom that is not known. `version` is the zxid from which on
    they are the members, 0 for those that an ensemble began with.

    Raises ConfigurationError for what is no address, for one of a server that is no member, and for one that two have.
    """

    config: EnsembleConfig
    addresses: Mapping[PeerId, str] = field(converter=_places, default=MappingProxyType({}), hash=False, kw_only=True)
    clients: Mapping[PeerId, str] = field(converter=_places, default=MappingProxyType({}), hash=False, kw_only=True)
    version: Zxid = field(default=0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        for key, places, any_port in (("addresses", self.addresses, False), ("clients", self.clients, True)):
            taken: dict[Address, PeerId] = {}
            for member, text in places.items():
                address = parse_address(text, key=f"{key}[{member}]", any_port=any_port)
                if member not in self.config.members:
                    raise ConfigurationError(f"{key} has server {member}, which is none of {self.config.members}")
                if address in taken and not (any_port and address.host in _EVERYWHERE):
                    raise ConfigurationError(
                        f"servers {taken[address]} and {member} have the same address, {address}; "
                        "give each server one of its own"
                    )
                taken[address] = member

    def __str__(self) -> str:
        return f"{self.config} of {self.version:#x}"

    @property
    def stands_alone(self) -> bool:
        """Whether there is a single one, who has no address for others."""
        return len(self.config.members) == 1 and not self.addresses

    def lines(self) -> list[str]:
        """The lines of `text`, but for the version."""
        config = self.config
        lines = []
        for member in config.members:
            where = self.addresses.get(member, str(_NOWHERE))
            role = "participant" if member in config.voters else "observer"
            client = f";{self.clients[member]}" if member in self.clients else ""
            lines.append(f"server.{member}={where}:{where.rpartition(':')[2]}:{role}{client}")
        lines += [f"group.{number}={':'.join(map(str, group))}" for number, group in enumerate(config.groups, 1)]
        lines += [f"weight.{voter}={weight}" for voter, weight in config.weights]
        return lines

    def text(self) -> str:
        """As ZooKeeper writes it; see the module."""
        return "\n".join([*self.lines(), f"version={self.version:x}"])

    @classmethod
    def parse(cls, text: str) -> Members:
        """What `text` says, a line for each server, group and weight, and one for the version unless that is 0.
        Commas may stand between them instead of line breaks. Raises ConfigurationError."""
        said = read_lines(text)
        return members_of(said.members, groups=said.groups, weights=said.weights, version=said.version)


class Lines(NamedTuple):
    """What a text says, line by line."""

    members: dict[PeerId, Member]
    groups: list[list[PeerId]]
    weights: dict[PeerId, int]
    version: Zxid


def read_lines(text: str) -> Lines:
    """The lines of a text, be they all there are or not. Raises ConfigurationError, as `Members.parse`."""
    said: dict[str, str] = {}
    for line in filter(None, (line.strip() for line in text.replace(",", "\n").splitlines())):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            raise ConfigurationError(f"{line!r} says nothing of the members; write server.N=host:port:port:role")
        if key in said:
            raise ConfigurationError(f"{key} stands twice among the members; leave one of the lines")
        said[key] = value
    members: dict[PeerId, Member] = {}
    groups: list[list[PeerId]] = []
    weights: dict[PeerId, int] = {}
    version = 0
    for key, value in said.items():
        kind, _, number = key.partition(".")
        try:
            if kind == "server":
                members[_number(number)] = read_member(value)
            elif kind == "group":
                groups.append([_number(member) for member in value.split(":")])
            elif kind == "weight":
                weights[_number(number)] = _weight(value)
            elif key == "version":
                version = _version(value)
            else:
                raise ValueError("it is no line of server.N, group.N, weight.N or version")
        except (ValueError, ConfigurationError) as error:
            raise ConfigurationError(f"{key}={value}: {error}") from None
    return Lines(members, groups, weights, version)


def members_of(
    members: Mapping[PeerId, Member], *, groups: Iterable[Iterable[PeerId]] = (), weights: Mapping[PeerId, int],
    version: Zxid = 0,
) -> Members:  # fmt: skip
    """The value for lines that were read one by one. Raises ConfigurationError where they do not go together."""
    config = EnsembleConfig(
        [number for number, member in members.items() if not member.observes],
        observers=[number for number, member in members.items() if member.observes],
        groups=groups,
        weights=weights,
    )
    return Members(
        config,
        addresses={number: str(member.address) for number, member in members.items() if member.is_somewhere},
        clients={number: str(member.client) for number, member in members.items() if member.client is not None},
        version=version,
    )


def _number(text: str) -> PeerId:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 255:
        raise ValueError("a server's number is between 1 and 255")
    return int(text)


def _version(text: str) -> Zxid:
    if not (text.isascii() and text.isalnum()):
        raise ValueError("a version is a hexadecimal number")
    return int(text, 16)


def _weight(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > _MOST_WEIGHT:
        raise ValueError(f"a weight is a whole number, from 0 to {_MOST_WEIGHT}")
    return int(text)


# --- behind a record of the log --------------------------------------------------------------------------------------


@record
@frozen
class _Place:
    """Where a member is, "" for what is not known."""

    member: Int
    address: UString
    client: UString


@record
@frozen
class _Note:
    session: Long
    xid: Int
    time_ms: Long
    new: tuple[_Place, ...]
    old: tuple[_Place, ...]
    old_version: Long


@frozen
class Note:
    """What stands behind a configuration record: the session that has asked for the change, and by which request; the
    leader's wall clock then; and where the members are, those to be and those that are replaced."""

    session: int
    xid: int
    time_ms: int
    members: Members
    replaced: Members

    def encode(self) -> bytes:
        """The bytes of it. Who votes is not in it: that is what the record says itself."""
        new, old = _list_places(self.members), _list_places(self.replaced)
        return encode(_Note(self.session, self.xid, self.time_ms, new, old, self.replaced.version))


def _list_places(members: Members) -> tuple[_Place, ...]:
    return tuple(
        _Place(member, members.addresses.get(member, ""), members.clients.get(member, ""))
        for member in members.config.members
    )


@frozen
class Change:
    """A configuration record, read: `members` are in force from it on. While `replaced` is there both decide, and all
    of both are to be reached; once it is None the change is made."""

    members: Members
    replaced: Members | None
    session: int = 0
    xid: int = 0
    time_ms: int = 0

    @classmethod
    def read(cls, zxid: Zxid, payload: bytes) -> Change:
        """What the record `payload` of `zxid` says. One without a note is nobody's, and says of nobody where it is.
        Raises ConfigurationError for what is none."""
        config, note = read_configuration(payload)
        return cls.of(Membership(zxid, config, note))

    @classmethod
    def of(cls, membership: Membership) -> Change:
        """As `read`, where the core has read it."""
        said = _decode(membership.note)
        config, replaced = membership.config.newest, None
        if isinstance(membership.config, Transition):
            replaced = _with_places(membership.config.old, said.old, said.old_version)
        members = _with_places(config, said.new, membership.zxid)
        return cls(members, replaced, said.session, said.xid, said.time_ms)


def _decode(note: bytes) -> _Note:
    if not note:
        return _Note(0, 0, 0, (), (), 0)
    try:
        return decode(_Note, note)
    except ProtocolError as error:
        raise ConfigurationError(f"what stands behind a configuration record does not decode: {error}") from None


def _with_places(config: EnsembleConfig, places: tuple[_Place, ...], version: Zxid) -> Members:
    return Members(
        config,
        addresses={place.member: place.address for place in places if place.address},
        clients={place.member: place.client for place in places if place.client},
        version=version,
    )
