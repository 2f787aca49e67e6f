"""A new ensemble from what is left of one whose quorum is lost for good.

Nothing here is safe, and no rule of the protocol allows it: the lost members may have committed what no survivor has,
and who was told of that was told the truth. So it is done for people who were told so, with the node stopped, and the
ensemble that comes of it is another one. It has another name, so that a member of the old one that comes back after all
is refused, and cannot find a quorum among those that have forgotten what it knows.

The history is that of the survivor that has most of it. In its directory, in one step (`zkcore.storage.renewing`), its
log is continued by a record that says: this member is the only voter from now on. It stands in an epoch a good way
above all that are known, so that no zxid that the old ensemble may have given to anything, and with it no fencing
token, is given a second time. The others begin with empty directories, and join.

To be one voter at first is what makes that safe: two empty voters would be a quorum of three, and could begin without
the third, which has everything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack

from attrs import frozen

from zkcore.errors import ConfigurationError, StorageCorruptError, StorageError
from zkcore.replica.members import Change, Members, Note
from zkcore.storage.backup import Checked, renew
from zkcore.storage.files import Directory, Files
from zkcore.storage.log import read_records_of
from zkcore.storage.members import parse_ensemble
from zkcore.storage.records import MAX_NAME_BYTES, read_ensemble
from zkcore.storage.renewing import settle
from zkcore.tree.snapshot import configuration_in
from zkcore.zab.membership import Membership, configuration_record, is_configuration, read_configuration
from zkcore.zab.messages import PeerId
from zkcore.zab.quorum import EnsembleConfig, Transition
from zkcore.zxid import Zxid, epoch_of, format_zxid, make_zxid

__all__ = ["EPOCHS_SKIPPED", "Recovery", "Survivor", "recover"]

Path = str | os.PathLike[str]

EPOCHS_SKIPPED = 1000
"""So many elections the lost members may have held without the survivor, before a zxid could be given twice."""

_PIECE_BYTES = 1 << 16


@frozen
class Survivor:
    """What one directory holds: the history of member `node`, up to `last`, under leaders up to that of `epoch`."""

    where: str
    node: PeerId
    cluster: str
    epoch: int
    last: Zxid
    committed: Zxid
    """Up to here it is known that a quorum had it: what is in a snapshot, and what is before the first record of a
    later epoch, was committed."""

    def __str__(self) -> str:
        return f"member {self.node} in {self.where}: epoch {self.epoch}, log up to {format_zxid(self.last)}"


@frozen(kw_only=True)
class Recovery:
    """What was done, or where nothing was `done` would be. As a text it is for whoever has to decide, a line for each
    matter."""

    chosen: Survivor
    others: tuple[Survivor, ...]
    before: Membership | None
    """The members by the log that is kept; None where nothing says who they were."""
    cluster: str
    members: Members
    problems: tuple[str, ...]
    """What is damaged in the survivor that was chosen."""
    done: bool

    @property
    def maybe_lost_after(self) -> Zxid:
        """What the lost members alone had has zxids above this one. Nothing can be known of it."""
        return self.chosen.last

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        chosen, last = self.chosen, format_zxid(self.chosen.last)
        yield from map(str, (chosen, *self.others))
        yield from (f"damaged: {problem}" for problem in self.problems)
        yield self._choice()
        if self.before is None:
            yield "nothing says who the members were"
        else:
            nodes = " ".join(map(str, sorted(survivor.node for survivor in (chosen, *self.others))))
            change = "a change under way is given up: " if isinstance(self.before.config, Transition) else ""
            yield f"{change}the members were {self.before.config}; what is left of them, {nodes}, is no quorum"
        if chosen.committed:
            yield f"kept, and known to be committed: everything up to {format_zxid(chosen.committed)}"
        if chosen.committed < chosen.last:
            begin = f"after {format_zxid(chosen.committed)}, up to {last}"
            yield f"kept, and perhaps never committed: what comes {begin}; who wrote it may have been told of an error"
        yield (
            f"perhaps lost: what comes after {last} and only others had; nobody can know whether there was anything, "
            "and who wrote it was told that it was done"
        )
        yield (
            f"the new ensemble is {self.cluster!r}, of voter {chosen.node} alone, from "
            f"{format_zxid(self.members.version)} on; members of {chosen.cluster!r} are refused there, and begin anew"
        )
        yield "done" if self.done else "nothing was changed yet: this takes force"

    def _choice(self) -> str:
        if not self.others:
            return f"member {self.chosen.node} is the only survivor that was named"
        best = max(self.others, key=_rank)
        if _rank(best) == _rank(self.chosen):
            return f"member {self.chosen.node} is chosen: member {best.node} has the same history, and a higher number"
        what = "a later epoch" if best.epoch < self.chosen.epoch else "a longer log"
        return f"member {self.chosen.node} is chosen: it has {what} than member {best.node}"


def recover(
    directories: Sequence[Path], *, cluster: str, force: bool = False, accept_damage: bool = False,
    address: str | None = None,
) -> Recovery:  # fmt: skip
    """Begin a new ensemble, called `cluster`, with the most advanced of the `directories` of stopped members; see the
    module. Without `force` nothing is changed, and what is returned says what would be lost.

    Start that member with the new name afterwards, and let the others join it with empty directories. It is found
    where it was before, unless an `address`, "host:port", is given.

    Raises StorageError, and nothing was changed: where a directory cannot be used, or is in use; where they are not
    of one ensemble; where those that are left are a quorum, and only have to be started; and where one is damaged. Of
    one that is damaged what is readable in front of the damage counts where you `accept_damage`; better leave it out,
    if you have another. Raises ConfigurationError for a name or an address that is none. A crash leaves the directory
    as it was, or all done.
    """
    if not 0 < len(cluster.encode()) <= MAX_NAME_BYTES:
        raise ConfigurationError(f"{cluster!r} is no name for a cluster: it has 1 to {MAX_NAME_BYTES} bytes")
    with ExitStack() as opened:
        found = []
        for directory in directories:
            claimed = Directory(directory)
            opened.callback(claimed.close)
            found.append(_look(claimed, cluster=cluster, accept_damage=accept_damage))
        if not found:
            raise StorageError("there is no survivor to begin with: name the directory of one")
        _check_one_ensemble([survivor for survivor, _, _ in found])
        found.sort(key=lambda each: each[0].node)
        chosen, old, files = max(found, key=lambda each: _rank(each[0]))
        others = tuple(survivor for survivor, _, _ in found if survivor is not chosen)
        before = _members_in(files, old, last=chosen.last)
        _check_no_quorum(before, {survivor.node for survivor, each, _ in found if not each.problems})
        epoch = max(max(survivor.epoch, each.records.accepted) for survivor, each, _ in found) + EPOCHS_SKIPPED
        members, record = _first_record(chosen, before, version=make_zxid(epoch, 1), address=address)
        if force:
            renew(files, old, cluster=cluster, ensemble=members.config, epoch=epoch, payloads=[record])
        return Recovery(
            chosen=chosen, others=others, before=before, cluster=cluster, members=members,
            problems=tuple(old.problems), done=force,
        )  # fmt: skip


def _rank(survivor: Survivor) -> tuple[int, Zxid]:
    """As in an election: the epoch counts first, then the length of the log."""
    return survivor.epoch, survivor.last


def _look(files: Directory, *, cluster: str, accept_damage: bool) -> tuple[Survivor, Checked, Files]:
    if not files.lock():
        raise StorageError(f"{files.where} is in use by another process: stop that one first")
    settle(files)
    old = Checked(files)
    records, index = old.records, old.log.index
    if records.cluster == cluster:
        raise StorageError(
            f"{files.where} is of {cluster!r} already: start member {records.node} if it was recovered before, or give "
            "the new ensemble a name of its own"
        )
    if not old.snapshot_is_whole:
        raise StorageCorruptError(
            f"{files.where} is not whole: {'; '.join(old.problems)}. Leave it out; or see whether an older "
            f"snapshot can take its place: python -m zkcore log repair {files.where} --apply"
        )
    if old.problems and not accept_damage:
        raise StorageCorruptError(
            f"{files.where} is not whole: {'; '.join(old.problems)}. Leave it out; or accept the damage, and what is "
            "in front of it is kept"
        )
    follows = index.floor <= records.snapshot <= index.last
    last = index.last if follows else records.snapshot
    earlier = [end for end in index.epoch_ends() if epoch_of(end) < epoch_of(last)] if follows else []
    survivor = Survivor(
        files.where, records.node, records.cluster, max(records.current, epoch_of(last)), last,
        max([records.snapshot, *earlier]),
    )  # fmt: skip
    return survivor, old, files


def _check_one_ensemble(survivors: Sequence[Survivor]) -> None:
    seen: dict[PeerId, Survivor] = {}
    for survivor in survivors:
        if survivor.cluster != survivors[0].cluster:
            raise StorageError(
                f"{survivors[0].where} is of {survivors[0].cluster!r} and {survivor.where} of {survivor.cluster!r}: "
                "name directories of one ensemble"
            )
        if survivor.node in seen:
            raise StorageError(
                f"{seen[survivor.node].where} and {survivor.where} are both of member {survivor.node}: one of them is "
                "a copy, and older; leave it out"
            )
        seen[survivor.node] = survivor


def _check_no_quorum(before: Membership | None, nodes: Collection[PeerId]) -> None:
    """Those that are whole: others do not vote."""
    if before is not None and before.config.is_quorum(nodes):
        raise StorageError(
            f"members {' '.join(map(str, sorted(nodes)))} are a quorum of {before.config}: nothing is lost. Start "
            "them, and change the members as usual"
        )


def _members_in(files: Files, old: Checked, *, last: Zxid) -> Membership | None:
    """The newest configuration by log, snapshot, or what the directory was made for."""
    newest: tuple[Zxid, bytes] = (0, b"")
    if old.records.snapshot:
        newest = configuration_in(_pieces(old))
    for zxid, payload in read_records_of(files, old.log) if last > old.records.snapshot else ():
        if is_configuration(payload) and zxid > newest[0]:
            newest = zxid, payload
    if newest[0]:
        return Membership(newest[0], *read_configuration(newest[1]))
    first = parse_ensemble(read_ensemble(files))
    return Membership(0, first) if first is not None else None


def _pieces(old: Checked) -> Iterator[bytes]:
    offset = 0
    while piece := old.snapshots.read(old.records.snapshot, offset, _PIECE_BYTES):
        yield piece
        offset += len(piece)


def _first_record(
    chosen: Survivor, before: Membership | None, *, version: Zxid, address: str | None
) -> tuple[Members, bytes]:
    """That `chosen` is the only member, from `version` on; and the record that says so."""
    config = EnsembleConfig([chosen.node])
    replaced = Change.of(before).members if before is not None else Members(config)
    places = [{chosen.node: place[chosen.node]} if chosen.node in place else {} for place in (
        {chosen.node: address} if address is not None else replaced.addresses, replaced.clients
    )]  # fmt: skip
    members = Members(config, addresses=places[0], clients=places[1], version=version)
    note = Note(0, 0, round(time.time() * 1000), members, replaced)
    return members, configuration_record(config, note.encode())
