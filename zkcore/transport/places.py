"""Who the members are and where, as the transport of one of them knows; whom it lets in, and by whose certificate.

Members come, go and move while they run, and no two of them hear of it at the same moment. So nobody is kept out for
good who may only be unknown yet: while a member has no leader, and may have missed a change, it lets in whoever proves
to be of the ensemble, under any number but one that has left. Who has left is refused, and is told since when.

This module must not know connections.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from zkcore.errors import ConfigurationError
from zkcore.transport.address import Address, parse_address
from zkcore.transport.security import Security, Tls, identity_of
from zkcore.zab.messages import PeerId

__all__ = ["Places"]


class Places:
    """As member `me` of `cluster` knows them. Raises ConfigurationError for what does not go together."""

    def __init__(self, me: PeerId, members: Mapping[PeerId, str], *, cluster: str, security: Security) -> None:
        self._me = me
        self._cluster = cluster
        self._tls = security if isinstance(security, Tls) else None
        self._addresses = {peer: parse_address(text, key=f"members[{peer}]") for peer, text in members.items()}
        self._members = frozenset(members)
        self.version = 0
        """Of the members, the newest that is known."""
        self._left: dict[PeerId, int] = {}  # by the version without them
        self._sure = True
        _check_distinct(self._addresses)
        self._check_identities()

    def __contains__(self, peer: object) -> bool:
        """Whether `peer` is a member."""
        return peer in self._members

    @property
    def below(self) -> list[PeerId]:
        """Those whom this member dials, ascending."""
        return sorted(peer for peer in self._addresses if peer < self._me and peer in self._members)

    @property
    def known(self) -> list[str]:
        """All addresses, those of members that have left among them."""
        return [str(address) for address in self._addresses.values()]

    def __getitem__(self, peer: PeerId) -> Address:
        """Where `peer` is, or was."""
        return self._addresses[peer]

    def change(self, members: Mapping[PeerId, str], *, version: int, sure: bool) -> list[PeerId]:
        """See `Relinking.set_members`. Who is elsewhere now, or is no member any more."""
        self._sure = sure
        if version < self.version:
            return []
        before, was = self._members, dict(self._addresses)
        self._members, self.version = frozenset(members), version
        for peer in before - self._members:
            self._left[peer] = version
        for peer, text in members.items():
            self._left.pop(peer, None)
            if text:
                self._addresses[peer] = parse_address(text, key=f"members[{peer}]")
        return [peer for peer, address in was.items() if address != self._addresses[peer] or peer in self._left]

    # --- who is let in

    def why_unwelcome(self, peer: PeerId) -> str | None:
        """Why who claims to be `peer` is not let in, whoever it is; or None."""
        if peer == self._me:
            return f"there is no other member {peer} in the ensemble of member {self._me}"
        if peer in self._members:
            return None
        if peer in self._left:
            return f"member {peer} was removed in version {self._left[peer]:#x} of the members"
        if self._sure:
            return f"there is no member {peer} in the ensemble of member {self._me}"
        if self._tls is not None and "{host}" in self._tls.identity:
            return f"member {self._me} has not heard of a member {peer}, and cannot tell whose certificate is its"
        return None

    def identity(self, peer: PeerId, address: Address | None = None) -> str:
        """With TLS, the name that the certificate of `peer` must hold; where it is at `address`, not where it is known
        to be."""
        assert self._tls is not None
        where = address or self._addresses.get(peer) or Address("", 0)
        return identity_of(self._tls, peer, where, cluster=self._cluster)

    def why_mistaken(self, peer: PeerId, names: Collection[str], address: Address | None = None) -> str | None:
        """With TLS, why a certificate for `names` is not that of `peer`; or None."""
        if self._tls is None:
            return None
        name = self.identity(peer, address)
        twins = [other for other in sorted(self._members - {peer}) if self._known(other) == name]
        if twins:
            return f"members {twins[0]} and {peer} would both be {name}; tell them apart with {{id}} in Tls.identity"
        if name in names:
            return None
        shown = ", ".join(sorted(names)) or "nobody"
        return f"member {peer} is {name}, and the certificate shown is for {shown}"

    def _known(self, peer: PeerId) -> str | None:
        return self.identity(peer) if peer in self._addresses else None

    def _check_identities(self) -> None:
        """No two of those we begin with may be known by the same certificate."""
        found: dict[str, PeerId] = {}
        for peer in sorted(self._addresses if self._tls is not None else ()):
            name = self.identity(peer)
            if name in found:
                raise ConfigurationError(
                    f"members {found[name]} and {peer} would both be known by a certificate for {name}; "
                    "tell them apart with {id} in Tls.identity"
                )
            found[name] = peer


def _check_distinct(addresses: Mapping[PeerId, Address]) -> None:
    seen: dict[Address, PeerId] = {}
    for peer, address in sorted(addresses.items()):
        if address in seen:
            raise ConfigurationError(
                f"members[{seen[address]}] and members[{peer}] are both {address}; give each a port of its own"
            )
        seen[address] = peer
