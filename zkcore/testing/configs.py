"""Which configurations there are, and which of them decide: the checkers' own account of protocol.md 1.10.

It is rebuilt from the records themselves and from what is durable where; no peer is asked.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from zkcore.zab.membership import read_configuration
from zkcore.zab.messages import PeerId
from zkcore.zab.quorum import Configuration, EnsembleConfig, Transition
from zkcore.zxid import Zxid, epoch_of, format_zxid

if TYPE_CHECKING:
    from zkcore.testing.checkers import Oracle

__all__ = ["Configs", "decides"]


def decides(config: Configuration, ids: Container[PeerId]) -> bool:
    """Whether these are a quorum; of both, where one is replaced by the other. Not asked of the Transition itself."""
    parts = (config.old, config.new) if isinstance(config, Transition) else (config,)
    return all(part.is_quorum(ids) for part in parts)


class Configs:
    """Of one ensemble, that began with `first`."""

    def __init__(self, oracle: Oracle, first: EnsembleConfig) -> None:
        self._oracle = oracle
        self.records: dict[Zxid, Configuration] = {0: first}
        """All that were ever proposed."""
        self.committed: Configuration = first
        """The newest that is committed."""
        self.version: Zxid = 0
        self.deciding: list[Configuration] = [first]
        """Those of which one must agree to what was committed last."""

        self._promoted: dict[tuple[PeerId, int], set[PeerId]] = {}

    @property
    def changed(self) -> bool:
        """Whether a change was ever proposed."""
        return len(self.records) > 1

    @property
    def settled(self) -> bool:
        """Whether none is under way, as far as anybody knows."""
        return not isinstance(self.committed, Transition) and max(self.records) == self.version

    def version_of(self, node: PeerId) -> Zxid:
        """The newest that the disk of `node` holds."""
        durable = self._oracle.durable[node]
        return max(zxid for zxid in self.records if zxid == 0 or (durable.holds(zxid) and self._belongs(zxid, node)))

    def _belongs(self, zxid: Zxid, node: PeerId) -> bool:
        """A snapshot covers what was passed over, too."""
        return zxid > self._oracle.durable[node].snapshot or self._oracle.is_committed(zxid)

    def of(self, node: PeerId) -> Configuration:
        """That one."""
        return self.records[self.version_of(node)] if self.changed else self.records[0]

    def may_refuse(self, node: PeerId, other: PeerId) -> bool:
        """Whether `node` may go by members of which `other` is none: not all that it has received is on its disk."""
        version = self.version_of(node)
        return any(other not in config.members for zxid, config in self.records.items() if zxid >= version)

    def before(self, node: PeerId, epoch: int) -> Configuration:
        """What `node` went by when it won `epoch`, and had proposed nothing in it."""
        durable = self._oracle.durable[node]
        older = (
            zxid for zxid in self.records
            if zxid == 0 or (epoch_of(zxid) < epoch and durable.holds(zxid) and self._belongs(zxid, node))
        )  # fmt: skip
        return self.records[max(older)]

    def of_leader(self, node: PeerId, epoch: int) -> Zxid:
        """The version that `node` leads `epoch` by: its own proposals count from the moment they exist."""
        own = [zxid for zxid in self.records if epoch_of(zxid) == epoch and self._oracle.established.get(epoch) == node]
        return max(own) if own and epoch else self.version_of(node)

    def asked(self, node: PeerId, epoch: int, config: EnsembleConfig) -> None:
        """The leader `node` of `epoch` was asked for these members, and has agreed: the new voters among them get what
        is not committed, and the record that says so is only the last of it."""
        self._promoted.setdefault((node, epoch), set()).update(config.voters)

    def is_fed_at_once(self, node: PeerId, epoch: int, to: PeerId) -> bool:
        """Whether the leader `node` of `epoch` sends `to` what is not committed."""
        if to in self.records[self.of_leader(node, epoch)].voters:
            return True
        return to in self._promoted.get((node, epoch), ())

    def for_commit(self, node: PeerId, epoch: int, zxid: Zxid) -> list[Configuration]:
        """Those of which one must agree to `zxid`, committed by `node` as leader of `epoch`: what is in its log there,
        and what it has come to later."""
        if not self.changed:
            return [self.records[0]]
        newest = self.of_leader(node, epoch)
        durable = self._oracle.durable[node]
        line = [
            each for each in self.records
            if each <= newest and (
                each in (0, newest) or epoch_of(each) == epoch or (durable.holds(each) and self._belongs(each, node))
            )
        ]  # fmt: skip
        there = max(each for each in line if each <= zxid or each == 0)
        return [self.records[each] for each in line if each >= there]

    def at(self, zxid: Zxid) -> tuple[Zxid, Configuration]:
        """What is committed as of `zxid`, with its version: part of every state."""
        version = max(each for each in self.records if each == 0 or (each <= zxid and self._oracle.is_committed(each)))
        return version, self.records[version]

    def committed_up_to(self, zxid: Zxid) -> None:
        """The committed sequence goes as far as `zxid` now."""
        if self.changed:
            newest = max(each for each in self.records if each == 0 or self._oracle.is_committed(each))
            if newest != self.version:
                self.version, self.committed = newest, self.records[newest]
                self.check_superseded()

    def check_superseded(self) -> None:
        """No quorum is left by any former configuration that could still decide by it: in each there is somebody who
        knows what came next (X16). A damaged member decides nothing."""
        before = self.records[0]
        for zxid in sorted(filter(self._oracle.is_committed, self.records)):
            durable = self._oracle.durable.items()
            unaware = [node for node, disk in durable if disk.damage is None and not disk.keeps(zxid)]
            if decides(before, unaware):
                self._oracle.fail("X16", f"{unaware}, a quorum of {before}, do not know of {format_zxid(zxid)}")
            before = self.records[zxid]

    def may_lead(self, node: PeerId, epoch: int) -> bool:
        """Whether `node` could, by what is committed and by the log of the leader of `epoch`. Where that has proposed
        the end of a change, quorums of the new members are enough against everybody who has not got so far."""
        leader = self._oracle.established.get(epoch)
        led_by = self.records[self.of_leader(leader, epoch)] if leader is not None else self.committed
        return self.committed.can_lead(node) and led_by.can_lead(node)

    def born(self, node: PeerId, zxid: Zxid, payload: bytes) -> None:
        """The leader `node` proposes another (X16)."""
        oracle = self._oracle
        epoch = epoch_of(zxid)
        config, _ = read_configuration(payload)
        before = self.of_leader(node, epoch)
        old = self.records[before]
        holders = oracle.holders(before) if before else []
        what = f"node {node} proposes {config} as {format_zxid(zxid)}"
        if isinstance(config, Transition):
            if isinstance(old, Transition) or config.old != old:
                oracle.fail("X16", f"{what}, and in force is {old}")
            if before and not decides(old, holders):
                oracle.fail("X16", f"{what}, and {format_zxid(before)} is durable only at {holders}")
            ready = [each for each, durable in oracle.durable.items() if durable.has_been_in(epoch)]
            if not config.new.is_quorum(ready):
                oracle.fail("X16", f"{what}, and in line are only {ready}")
        else:
            if not isinstance(old, Transition) or config != old.new:
                oracle.fail("X16", f"{what}, and in force is {old}")
            if not decides(old, holders):
                oracle.fail("X16", f"{what}, and {format_zxid(before)} is durable only at {holders}")
            if not config.can_lead(node):
                oracle.fail("X16", f"{what}, and does not vote in it")
        self.records[zxid] = config
