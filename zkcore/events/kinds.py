"""The kinds of events. Seconds are those of the event loop's clock; zxids are integers, see `zkcore.zxid`.

This module must not know who tells them, nor who listens.
"""

from __future__ import annotations

from attrs import field, frozen

from zkcore.zab.messages import Damage, PeerId, Role
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.status import SyncMode
from zkcore.zxid import Zxid, format_zxid

__all__ = [
    "ConfigurationActivated",
    "ConfigurationChanging",
    "DamageFound",
    "DamageRepaired",
    "JoinWaits",
    "Joined",
    "LeaderChanged",
    "LinkDown",
    "LinkRefused",
    "LinkUp",
    "MemberCaughtUp",
    "MemberJoined",
    "MemberLeft",
    "MemberSuspected",
    "NodeEvent",
    "NodeHalted",
    "NodeStarted",
    "NodeStopped",
    "PeerRejected",
    "PromotionRefused",
    "QuorumLost",
    "QuorumRegained",
    "Removed",
    "RoleChanged",
    "SessionClosed",
    "SessionExpired",
    "SessionMoved",
    "SessionOpened",
    "SlowRequest",
    "SlowSave",
    "SnapshotBegun",
    "SnapshotFailed",
    "SnapshotRestored",
    "SnapshotSaved",
    "StorageFailed",
    "StorageReadOnly",
    "StorageWritable",
    "Synced",
    "TransferFailed",
]


@frozen(kw_only=True)
class NodeEvent:
    """Something happened to `node`, the number of a member."""

    node: PeerId


# --- a node and its role ---------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class NodeStarted(NodeEvent):
    """It has begun."""

    def __str__(self) -> str:
        return f"node {self.node} has started"


@frozen(kw_only=True)
class NodeStopped(NodeEvent):
    """It was stopped; nothing comes after this."""

    def __str__(self) -> str:
        return f"node {self.node} has stopped"


@frozen(kw_only=True)
class NodeHalted(NodeEvent):
    """A broken invariant, or a bug: what it has in memory cannot be trusted, and it does nothing more until it is
    started again. `error` is what was raised."""

    error: Exception

    def __str__(self) -> str:
        return f"node {self.node} halts: {self.error}"


@frozen(kw_only=True)
class RoleChanged(NodeEvent):
    """It has a new role, or the epoch of the role it has was `established`: a quorum holds its history. `leader` is
    None for one that looks for a leader."""

    role: Role
    leader: PeerId | None
    epoch: int
    established: bool
    why: str

    def __str__(self) -> str:
        who = f" leader={self.leader}" if self.leader is not None else ""
        how = "established " if self.established else ""
        return f"node {self.node}: {how}{self.role}{who} epoch={self.epoch}: {self.why}"


@frozen(kw_only=True)
class LeaderChanged(NodeEvent):
    """From now on it serves clients under `leader`, itself perhaps, in `epoch`; before that it did under `previous`,
    None for the first time."""

    leader: PeerId
    epoch: int
    previous: PeerId | None

    def __str__(self) -> str:
        what = "leads" if self.leader == self.node else f"follows node {self.leader}"
        return f"node {self.node} {what} in epoch {self.epoch}"


@frozen(kw_only=True)
class QuorumLost(NodeEvent):
    """It served clients, and serves nobody any more: it looks for a leader with a quorum behind it. (A leader that
    hands over loses no quorum.)"""

    why: str

    def __str__(self) -> str:
        return f"node {self.node} has no quorum, and serves nobody: {self.why}"


@frozen(kw_only=True)
class QuorumRegained(NodeEvent):
    """It serves clients again, `seconds` after QuorumLost."""

    seconds: float

    def __str__(self) -> str:
        return f"node {self.node} has a quorum again, after {self.seconds:.2f} s"


@frozen(kw_only=True)
class Synced(NodeEvent):
    """It has what its `leader` has: its own log with what was missing (DIFF), after its end was cut (TRUNC), or behind
    the leader's snapshot (SNAP). `bytes` of records and snapshots came for that, in `seconds`."""

    leader: PeerId
    mode: SyncMode
    bytes: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"node {self.node} is in line with node {self.leader}: {self.mode.name}, {self.bytes} bytes, "
            f"{self.seconds:.2f} s"
        )


@frozen(kw_only=True)
class TransferFailed(NodeEvent):
    """It still leads: `target` did not take over in time."""

    target: PeerId
    why: str

    def __str__(self) -> str:
        return f"node {self.node}: the transfer to node {self.target} failed: {self.why}"


@frozen(kw_only=True)
class PeerRejected(NodeEvent):
    """`peer` sent something that the protocol does not allow; it was ignored, and the link is broken."""

    peer: PeerId
    why: str

    def __str__(self) -> str:
        return f"node {self.node} has rejected what node {self.peer} sent: {self.why}"


# --- members ---------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class ConfigurationChanging(NodeEvent):
    """The members `replaced` are being replaced by those of `config`: for as long as that lasts it takes quorums of
    both. It is told of what is in the node's log, which may not come to be committed: then ConfigurationActivated does
    not follow. Every node tells; `version` is that of the record which begins the change."""

    version: Zxid
    replaced: EnsembleConfig
    config: EnsembleConfig

    def __str__(self) -> str:
        return f"node {self.node}: the members are being changed from {self.replaced} to {self.config}"


@frozen(kw_only=True)
class ConfigurationActivated(NodeEvent):
    """The change is made: from now on those of `config` are the members, alone. `version` is what a change that names a
    version names. Every node tells, behind MemberJoined and MemberLeft."""

    version: Zxid
    config: EnsembleConfig

    def __str__(self) -> str:
        return f"node {self.node}: the members are {self.config}, in version {self.version:x}"


@frozen(kw_only=True)
class MemberJoined(NodeEvent):
    """`member` belongs to the ensemble, and `votes` or observes. Every node tells."""

    member: PeerId
    votes: bool

    def __str__(self) -> str:
        return f"node {self.node}: node {self.member} has joined, and {'votes' if self.votes else 'observes'}"


@frozen(kw_only=True)
class MemberLeft(NodeEvent):
    """`member` does not belong to the ensemble any more. Every node tells; the member itself may not hear of it."""

    member: PeerId

    def __str__(self) -> str:
        return f"node {self.node}: node {self.member} has left"


@frozen(kw_only=True)
class MemberCaughtUp(NodeEvent):
    """`member` has what this node, its leader, had when it came, up to `zxid`, and gets everything new with all others.
    Told by a leader: of each member once, and again behind MemberSuspected."""

    member: PeerId
    zxid: Zxid

    def __str__(self) -> str:
        return f"node {self.node}: node {self.member} has caught up, with {format_zxid(self.zxid)}"


@frozen(kw_only=True)
class MemberSuspected(NodeEvent):
    """Nothing was heard of `member`, for `seconds`: half of the sync limit, or longer. Told by a leader, which does
    nothing more about it: a member stays one until somebody has it removed."""

    member: PeerId
    why: str
    seconds: float

    def __str__(self) -> str:
        return f"node {self.node} suspects node {self.member}: {self.why}, for {self.seconds:.2f} s"


@frozen(kw_only=True)
class JoinWaits(NodeEvent):
    """It is to join an ensemble, and the member at `seed` does not say who the members are; it goes on asking."""

    seed: str
    why: str

    def __str__(self) -> str:
        return f"node {self.node} waits to join: {self.why}"


@frozen(kw_only=True)
class Joined(NodeEvent):
    """The ensemble that it was to join has told it who the `members` are, of which it is one. It begins to follow."""

    members: str

    def __str__(self) -> str:
        return f"node {self.node} has joined: {self.members}"


@frozen(kw_only=True)
class Removed(NodeEvent):
    """The others say that it is no member any more; these are the `members`. It waits to be added again, or stopped."""

    members: str

    def __str__(self) -> str:
        return f"node {self.node} was removed: the members are {self.members}"


@frozen(kw_only=True)
class PromotionRefused(NodeEvent):
    """It was to be made a voter, and remains an observer."""

    why: str

    def __str__(self) -> str:
        return f"node {self.node} remains an observer: {self.why}"


# --- links -----------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class LinkUp(NodeEvent):
    """It is linked with `peer`. `where` is the other side's address, as far as the transport says so."""

    peer: PeerId
    where: str = ""

    def __str__(self) -> str:
        return f"node {self.node} is linked with node {self.peer}{f' at {self.where}' if self.where else ''}"


@frozen(kw_only=True)
class LinkDown(NodeEvent):
    """The link with `peer` is lost. `why` is empty where the transport does not say."""

    peer: PeerId
    why: str = ""

    def __str__(self) -> str:
        return f"node {self.node}: the link with node {self.peer} is lost{f': {self.why}' if self.why else ''}"


@frozen(kw_only=True)
class LinkRefused(NodeEvent):
    """No link came of a connection with `where`, whichever side refused; it was made to reach `peer`, or, where this
    node was called, claims to be it, if anybody. Told once in a while for each peer and address: `suppressed` counts
    those of the same kind since the last one that was told."""

    peer: PeerId | None
    where: str
    why: str
    called: bool
    suppressed: int = 0

    def __str__(self) -> str:
        what = (
            f"a connection from {self.where} was closed" if self.called
            else f"no link with node {self.peer} at {self.where}"
        )  # fmt: skip
        return f"node {self.node}: {what}: {self.why}{more(self.suppressed)}"


# --- sessions --------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class SessionOpened(NodeEvent):
    """There is a new session, `served_here` or at another node. Every node of the ensemble tells, as soon as it has
    applied that."""

    session: int
    timeout_ms: int
    served_here: bool

    def __str__(self) -> str:
        where = "" if self.served_here else " at another node"
        return f"node {self.node}: session {self.session:#x} was opened{where}, with a timeout of {self.timeout_ms} ms"


@frozen(kw_only=True)
class SessionMoved(NodeEvent):
    """A session that was served elsewhere, or here before, is served here from now on."""

    session: int

    def __str__(self) -> str:
        return f"node {self.node}: session {self.session:#x} is served here from now on"


@frozen(kw_only=True)
class SessionExpired(NodeEvent):
    """The leader has ended a session that was silent for its whole timeout, or was killed. Every node tells."""

    session: int
    served_here: bool

    def __str__(self) -> str:
        return f"node {self.node}: session {self.session:#x} has expired"


@frozen(kw_only=True)
class SessionClosed(NodeEvent):
    """The client of a session has ended it. Every node tells."""

    session: int
    served_here: bool

    def __str__(self) -> str:
        return f"node {self.node}: session {self.session:#x} was closed by its client"


# --- snapshots and storage -------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class SnapshotBegun(NodeEvent):
    """It saves a snapshot of its state, as of `zxid`."""

    zxid: Zxid

    def __str__(self) -> str:
        return f"node {self.node} saves a snapshot as of {format_zxid(self.zxid)}"


@frozen(kw_only=True)
class SnapshotSaved(NodeEvent):
    """The snapshot is durable: `bytes` of it, uncompressed, took `seconds`."""

    zxid: Zxid
    bytes: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"node {self.node} has saved a snapshot as of {format_zxid(self.zxid)}: {self.bytes} bytes, "
            f"{self.seconds:.2f} s"
        )


@frozen(kw_only=True)
class SnapshotFailed(NodeEvent):
    """The snapshot could not be saved. Nothing is lost: the log is kept instead, and the next one comes after as many
    transactions again."""

    zxid: Zxid
    why: str

    def __str__(self) -> str:
        return f"node {self.node} could not save a snapshot as of {format_zxid(self.zxid)}: {self.why}"


@frozen(kw_only=True)
class SnapshotRestored(NodeEvent):
    """Its state is that of a snapshot, its own at the start or one that its leader has sent, as of `zxid`."""

    zxid: Zxid

    def __str__(self) -> str:
        return f"node {self.node} has restored a snapshot as of {format_zxid(self.zxid)}"


@frozen(kw_only=True)
class StorageReadOnly(NodeEvent):
    """Its storage is full. It takes part in nothing until there is room, and then comes back by itself."""

    why: str

    def __str__(self) -> str:
        return f"node {self.node} is read-only until there is room: {self.why}"


@frozen(kw_only=True)
class StorageFailed(NodeEvent):
    """Its storage has failed. It `opens_anew` what is on the disk, or stays down: then nothing could be saved even just
    after it was opened."""

    why: str
    opens_anew: bool

    def __str__(self) -> str:
        return f"node {self.node} {'opens its storage anew' if self.opens_anew else 'stays down'}: {self.why}"


@frozen(kw_only=True)
class StorageWritable(NodeEvent):
    """Its storage works again, `seconds` after StorageReadOnly or StorageFailed."""

    seconds: float

    def __str__(self) -> str:
        return f"node {self.node} can save again, after {self.seconds:.2f} s"


@frozen(kw_only=True)
class DamageFound(NodeEvent):
    """Some of what it had saved is lost (`damage`): it does not vote until it is whole again. `harms` names the places,
    as far as the storage can."""

    damage: Damage
    harms: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = "".join(f"; {harm}" for harm in self.harms)
        return f"node {self.node} has lost its {self.damage}, and does not vote before it is whole again{where}"


@frozen(kw_only=True)
class DamageRepaired(NodeEvent):
    """What was lost is made good by the others; it votes again. `damage` is what it was."""

    damage: Damage

    def __str__(self) -> str:
        return f"node {self.node} is whole again: it had lost its {self.damage}"


# --- slowness --------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class SlowSave(NodeEvent):
    """To make something durable took `seconds`, more than `slow_save_seconds`; or has taken that long and is still
    `under_way`. Told once in a while: `suppressed` counts those since the last one that was told."""

    seconds: float
    under_way: bool = False
    suppressed: int = 0

    def __str__(self) -> str:
        how = "has taken" if self.under_way else "took"
        still = " so far" if self.under_way else ""
        return f"node {self.node}: its disk is slow: to save {how} {self.seconds:.1f} s{still}{more(self.suppressed)}"


@frozen(kw_only=True)
class SlowRequest(NodeEvent):
    """A request of a session that is served here had its answer after `seconds`, more than `slow_request_seconds`; or
    has waited that long and is still `under_way`. `request` is its kind, and `path` the znode's, if it has one. Told
    once in a while: `suppressed` counts those since the last one that was told."""

    session: int
    request: str
    path: str | None = field(repr=False)
    seconds: float
    under_way: bool = False
    suppressed: int = 0

    def __str__(self) -> str:
        how = "waits for its answer since" if self.under_way else "had its answer after"
        return (
            f"node {self.node}: a {self.request} of session {self.session:#x} {how} {self.seconds:.1f} s"
            f"{more(self.suppressed)}"
        )


def more(suppressed: int) -> str:
    """How many of a kind were not told."""
    return f" (and {suppressed} more before)" if suppressed else ""
