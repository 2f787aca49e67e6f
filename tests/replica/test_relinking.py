"""What a host's transport is told of the members, and when."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from zkcore.replica.answers import MembersChanged
from zkcore.replica.members import Members
from zkcore.replica.relinking import Relinks
from zkcore.zab.messages import Message, PeerId, Role
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import PeerRejected, RoleChanged

TWO = Members(EnsembleConfig([1, 2]), addresses={1: "a:1", 2: "a:2"})
THREE = Members(EnsembleConfig([1, 3]), addresses={1: "b:1", 3: "a:3"}, version=7)


class Wire:
    """A Transport that goes by the members."""

    def __init__(self) -> None:
        self.told: list[tuple[dict[PeerId, str], int, bool]] = []

    def send(self, to: PeerId, message: Message) -> None: ...

    def close(self, to: PeerId) -> None: ...

    def set_members(self, members: Mapping[PeerId, str], *, version: int, sure: bool) -> None:
        self.told.append((dict(members), version, sure))


class OldWire:
    """One that does not."""

    def send(self, to: PeerId, message: Message) -> None: ...

    def close(self, to: PeerId) -> None: ...


def role() -> RoleChanged:
    return RoleChanged(Role.FOLLOWING, 1, 1, True, "because")


def test_both_are_linked_while_one_replaces_the_other_and_the_new_address_counts() -> None:
    replica: Any = SimpleNamespace(members=TWO, serving=True)
    relinks, wire = Relinks(replica), Wire()
    relinks.on_event(MembersChanged(THREE, TWO), wire)
    relinks.on_event(MembersChanged(THREE, None), wire)
    assert wire.told == [({1: "b:1", 2: "a:2", 3: "a:3"}, 7, True), ({1: "b:1", 3: "a:3"}, 7, True)]


def test_it_is_told_whether_there_is_a_leader_and_of_nothing_else() -> None:
    replica: Any = SimpleNamespace(members=TWO, serving=False)
    relinks, wire = Relinks(replica), Wire()
    relinks.tell(wire)
    replica.serving = True
    relinks.on_event(role(), wire)
    relinks.on_event(PeerRejected(2, "nonsense"), wire)
    assert wire.told == [({1: "a:1", 2: "a:2"}, 0, False), ({1: "a:1", 2: "a:2"}, 0, True)]


def test_where_a_member_is_need_not_be_known() -> None:
    replica: Any = SimpleNamespace(members=Members(EnsembleConfig([1, 2])), serving=False)
    relinks, wire = Relinks(replica), Wire()
    relinks.on_event(MembersChanged(Members(EnsembleConfig([1]), version=3), TWO), wire)
    assert wire.told == [({1: "a:1", 2: "a:2"}, 3, False)]


def test_a_transport_that_links_those_it_was_made_for_is_left_alone() -> None:
    replica: Any = SimpleNamespace(members=TWO, serving=False)
    Relinks(replica).on_event(MembersChanged(THREE, None), OldWire())
    Relinks(replica).tell(None)
