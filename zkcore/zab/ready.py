"""What a Peer asks of its host, and what the host's storage tells it.

A `Ready` is everything that one batch of inputs made necessary, in the order in which the host must do it. Its fields
are the contract; `Peer` (peer.py) says when they are filled and confirmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from attrs import Factory, define, field, frozen

from zkcore.zab.messages import Damage, Message, PeerId, Role
from zkcore.zxid import Zxid, format_zxid

__all__ = [
    "NOTHING", "Append", "Compact", "Delivered", "Entry", "Event", "InstallSnapshot", "LogReader", "PeerRejected",
    "ReadDropped", "ReadReady", "Ready", "Repair", "Restored", "RoleChanged", "SaveEpochs", "Saved", "SnapshotChunk",
    "SnapshotRef", "TransferFailed", "Truncate", "Write",
]  # fmt: skip


class Entry(NamedTuple):
    """One record of the log."""

    zxid: Zxid
    payload: bytes


@frozen
class SnapshotRef:
    """Names a snapshot: the state after every transaction up to `zxid`, and none beyond."""

    zxid: Zxid

    def __str__(self) -> str:
        return f"snapshot {format_zxid(self.zxid)}"


# --- what storage tells: the recovery input --------------------------------------------------------------------------


@frozen
class Saved:
    """What a storage holds durably, without the payloads (protocol.md 1.3).

    `base` is the zxid just before the first record of the log, or 0. `last` is the zxid of the last record, or the base
    where there is none. `epoch_ends` is the last zxid of every epoch in the log, ascending, beginning with the base's
    epoch unless the base is 0. `snapshot` is the zxid of the snapshot to begin with, or 0: the base, or a record after
    it, since a log may reach back behind its snapshot for the sake of learners that are late.

    `damage` says that some of what was saved is gone. The rest is what is left whole: a log without its damaged end.
    """

    accepted_epoch: int = 0
    current_epoch: int = 0
    base: Zxid = 0
    last: Zxid = 0
    epoch_ends: tuple[Zxid, ...] = ()
    snapshot: Zxid = field(default=Factory(lambda saved: saved.base, takes_self=True))
    damage: Damage | None = None


class LogReader(Protocol):
    """The reading half of a storage: it shows what `save` made durable."""

    def entries(self, after: Zxid, max_bytes: int) -> Sequence[Entry]:
        """The records after the zxid `after`, in order: at least one if there is any, then as many as fit into
        `max_bytes` of payload. `after` is the base or a zxid of the log."""

    def read_snapshot(self, ref: SnapshotRef, offset: int, size: int) -> bytes:
        """At most `size` bytes of the snapshot from `offset`; empty at its end."""


# --- writes ----------------------------------------------------------------------------------------------------------


@frozen
class SaveEpochs:
    """Replace both epochs."""

    accepted: int
    current: int

    def __str__(self) -> str:
        return f"EPOCHS accepted={self.accepted} current={self.current}"


@frozen
class Append:
    """Add `payloads` to the end of the log, the first with the zxid `first`, the others counting up from there."""

    first: Zxid
    payloads: tuple[bytes, ...] = field(repr=False)

    def __str__(self) -> str:
        return f"APPEND {format_zxid(self.first)}..{format_zxid(self.first + len(self.payloads) - 1)}"


@frozen
class Truncate:
    """Remove every record after `zxid`, a zxid of the log and not before its snapshot."""

    zxid: Zxid

    def __str__(self) -> str:
        return f"TRUNCATE to {format_zxid(self.zxid)}"


@frozen
class SnapshotChunk:
    """Put a piece of a snapshot aside. Offset 0 begins anew; the snapshot in use is not touched."""

    ref: SnapshotRef
    offset: int
    data: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"CHUNK of {self.ref} {self.offset}+{len(self.data)}"


@frozen
class InstallSnapshot:
    """In one step: the pieces put aside, `size` bytes in all, become the snapshot, and an empty log that begins after
    it the log."""

    ref: SnapshotRef
    size: int

    def __str__(self) -> str:
        return f"INSTALL {self.ref} {self.size} bytes"


@frozen
class Compact:
    """From now on begin with `ref`, a snapshot that `save_snapshot` saved, and forget the records up to `upto`: the
    snapshot's zxid, or one before it, where the log is to reach back further."""

    ref: SnapshotRef
    upto: Zxid = field(default=Factory(lambda compact: compact.ref.zxid, takes_self=True))

    def __str__(self) -> str:
        return f"COMPACT to {self.ref}{'' if self.upto == self.ref.zxid else f', log from {format_zxid(self.upto)}'}"


@frozen
class Repair:
    """What was damaged is whole again: forget that it was."""

    def __str__(self) -> str:
        return "REPAIR"


Write: TypeAlias = SaveEpochs | Append | Truncate | SnapshotChunk | InstallSnapshot | Compact | Repair


# --- events ----------------------------------------------------------------------------------------------------------


@frozen
class Delivered:
    """The next transactions to apply: committed, and durable here. `payloads[i]` has the zxid `first + i`."""

    first: Zxid
    payloads: tuple[bytes, ...] = field(repr=False)

    @property
    def last(self) -> Zxid:
        return self.first + len(self.payloads) - 1

    def __str__(self) -> str:
        return f"delivered {format_zxid(self.first)}..{format_zxid(self.last)}"


@frozen
class Restored:
    """The state is now that of this snapshot, which the storage holds; what is delivered next continues it."""

    snapshot: SnapshotRef

    def __str__(self) -> str:
        return f"restored {self.snapshot}"


@frozen
class RoleChanged:
    """The peer has a new role, or the epoch of the role it has was established (a quorum holds its history)."""

    role: Role
    leader: PeerId | None
    epoch: int
    established: bool
    why: str

    def __str__(self) -> str:
        who = f" leader={self.leader}" if self.leader is not None else ""
        return f"{'established ' if self.established else ''}{self.role}{who} epoch={self.epoch}: {self.why}"


@frozen
class PeerRejected:
    """`peer` sent something that the protocol does not allow; it was ignored and the link is being broken."""

    peer: PeerId
    why: str

    def __str__(self) -> str:
        return f"rejected {self.peer}: {self.why}"


@frozen
class ReadReady:
    """The answer to `Peer.read_index(token)`: when it was asked this node led, and nothing beyond `zxid` was committed.
    A state that has `zxid` applied is fit for a linearizable read."""

    token: Any
    zxid: Zxid

    def __str__(self) -> str:
        return f"read index {format_zxid(self.zxid)}"


@frozen
class ReadDropped:
    """`Peer.read_index(token)` has no answer here: this node does not lead, or stopped before it could be sure."""

    token: Any

    def __str__(self) -> str:
        return "read index dropped"


@frozen
class TransferFailed:
    """This node still leads: `target` did not take over within `Limits.transfer_ticks`. One that succeeds ends with
    RoleChanged."""

    target: PeerId
    why: str

    def __str__(self) -> str:
        return f"transfer to {self.target} failed: {self.why}"


Event: TypeAlias = Delivered | Restored | RoleChanged | PeerRejected | ReadReady | ReadDropped | TransferFailed


# --- the batch -------------------------------------------------------------------------------------------------------


E = TypeVar("E")


@define
class Ready(Generic[E]):
    """What the host must do now, field after field. False when there is nothing. `E` are the events there may be: a
    Peer's own, or those and a replica's."""

    early: list[tuple[PeerId, Message]] = Factory(list)
    """Send at once. These promise nothing, so the network may work while the disk does."""
    events: list[E] = Factory(list)
    """Then tell the application. Nothing here depends on the writes below."""
    writes: list[Write] = Factory(list)
    """Then make durable, in this order, all of it before going on."""
    messages: list[tuple[PeerId, Message]] = Factory(list)
    """Then send. These promise what was just written."""
    closes: list[PeerId] = Factory(list)
    """Then break these links."""

    def __bool__(self) -> bool:
        return bool(self.early or self.events or self.writes or self.messages or self.closes)


NOTHING: Ready[Any] = Ready()
"""The empty Ready, which ends every drain loop. It is one object for all, and not to be filled."""
