"""Nodes on asyncio, and a whole cluster of them in one process.

A Node is one replica wired to the storage and the transport of the host application. `local_cluster` wires several to
each other, in memory: the quickest way to try zkcore, and to test code that uses it. A `data_dir` makes either durable.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from zkcore.client.client import Client
from zkcore.client.embedded import EmbeddedPort
from zkcore.client.files import open_files
from zkcore.client.members import (
    change,
    ids_of,
    replace_all,
    with_member,
    with_voter,
    without,
)
from zkcore.client.timeouts import DEFAULT_SESSION_TIMEOUT, check_timeout
from zkcore.errors import (
    ConfigurationError,
    SessionClosedError,
    ZkcoreError,
)
from zkcore.events.dispatcher import Dispatcher
from zkcore.forks import Process
from zkcore.replica.host import Host
from zkcore.replica.leading import LiveSession
from zkcore.replica.members import Members, members_from
from zkcore.replica.pump import Pump
from zkcore.replica.replica import Replica
from zkcore.replica.rules import Rules
from zkcore.replica.telling import SLOW_SECONDS
from zkcore.storage.file import FileStorage, Fsync
from zkcore.storage.members import name_of
from zkcore.storage.storage import MemoryStorage, Storage
from zkcore.transport.transport import Inbox, Transport
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId
from zkcore.zab.peer import PeerStatus
from zkcore.zab.quorum import EnsembleConfig

__all__ = ["EmbeddedClient", "Node", "warn_if_even"]

_log = logging.getLogger("zkcore.node")

STUCK_SECONDS = 10.0
"""After so much delay an event loop is taken for stuck."""

_HAND_OVER_SECONDS = 1.0
"""How long a leader that is stopped may take to hand over."""


class EmbeddedClient(Client):
    """A Client whose replicas run in this process. Use it as an async context manager, or await `start` and `close`.

    `timeout` is the session's, in seconds.
    """

    def __init__(self, hosts: Callable[[], Sequence[Host]], *, timeout: float = DEFAULT_SESSION_TIMEOUT) -> None:
        check_timeout(timeout)
        self._hosts = hosts
        self._timeout = timeout
        self._port: EmbeddedPort | None = None

    def __repr__(self) -> str:
        return "<Client not started>" if self._port is None else super().__repr__()

    @property
    def port(self) -> EmbeddedPort:  # type: ignore[override]
        """The Port; SessionClosedError before `start`."""
        if self._port is None:
            raise SessionClosedError("the client is not started: await start(), or use it as a context manager")
        return self._port

    async def start(self) -> Self:
        """Open the session; waits until there is a leader."""
        if self._port is not None:
            raise SessionClosedError("this client was started before; make a new one")
        if not self._hosts():
            raise SessionClosedError("the cluster or node of this client is not running")
        self._port = EmbeddedPort(self._hosts, timeout=self._timeout)
        await self._port.start()
        return self

    async def close(self) -> None:
        """End the session, and with it its ephemeral znodes."""
        if self._port is not None:
            await self._port.close()

    def abandon(self) -> None:
        """Go away without a word, as a crash would; the session is left to expire."""
        if self._port is not None:
            self._port.abandon()

    def freeze(self, *, frozen: bool = True) -> None:
        """Stop sending heartbeats, as a process does that is paused; or begin again. For tests and demonstrations."""
        self.port.freeze(frozen=frozen)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def warn_if_even(ensemble: EnsembleConfig, *, stacklevel: int) -> None:
    """Say that an even number of voters is worth no more than one voter fewer."""
    count = len(ensemble.voters)
    if count % 2 == 0:
        warnings.warn(
            f"{count} voters tolerate no more failures than {count - 1}, and need one more to agree; use an odd number",
            stacklevel=stacklevel + 1,
        )


class Node:
    """One replica of an ensemble, on the asyncio loop it is started on.

    `me` is its number among the members of `ensemble`. `transport` makes the node's Transport, given the Inbox to
    fill; `storage` is used by this node alone. With `save_on_thread` a save does not stop the event loop: the default
    for every storage but MemoryStorage. `rules` say what clients may do, the same everywhere. So many transactions as
    `snapshot_every` lie between two snapshots. Use it as an async context manager, or call `start` and `stop`.

    Instead of a `storage` there may be a `data_dir`: then it is a FileStorage in that directory, with `fsync` as told
    there, which is closed when the node stops. The first time, and only then, `new` makes it: an empty directory
    is otherwise taken for one that has lost everything. The ensemble is kept in it, and other voters are refused. It is
    that of `cluster`, a name which by default comes of the voters.

    What happens to the node is told to `events`, see there. To those belongs what takes longer than
    `slow_request_seconds` from a request to its answer, or `slow_save_seconds` to become durable.

    Raises ConfigurationError; StorageError where the directory cannot be used, and StorageCorruptError where the
    storage is damaged beyond telling. An even number of voters is warned about.
    """

    def __init__(
        self,
        me: PeerId,
        ensemble: EnsembleConfig | Members,
        *,
        transport: Callable[[Inbox], Transport],
        storage: Storage | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        new: bool = False,
        cluster: str = "",
        fsync: Fsync = "always",
        limits: Limits | None = None,
        rules: Rules | None = None,
        pump: Pump | None = None,
        save_on_thread: bool | None = None,
        snapshot_every: int = 100_000,
        events: Dispatcher | None = None,
        slow_request_seconds: float = SLOW_SECONDS,
        slow_save_seconds: float = SLOW_SECONDS,
    ) -> None:
        members = members_from(ensemble)
        self.me = me
        self._process = Process()
        self._files: FileStorage | None = None
        if storage is None:
            if data_dir is None:
                raise ConfigurationError(f"node {me} has nowhere to save to; give it a data_dir, or a storage")
            if me not in members.config.members:
                raise ConfigurationError(
                    f"server {me} is not among the members {members.config.members}; add it, or start another"
                )
            storage, members = open_files(
                data_dir, me, members, cluster=cluster or name_of(members.config), new=new, fsync=fsync
            )
            self._files = storage
        elif data_dir is not None:
            raise ConfigurationError(f"node {me} has a storage and a data_dir; give one of them")
        on_thread = not isinstance(storage, MemoryStorage) if save_on_thread is None else save_on_thread
        try:
            replica = Replica(me, members, storage, limits=limits, rules=rules)
            if not max(members.version, replica.peer.membership.zxid):
                warn_if_even(members.config, stacklevel=2)
            self._host = Host(
                replica, transport, pump=pump, save_on_thread=on_thread, snapshot_every=snapshot_every, events=events,
                slow_request_seconds=slow_request_seconds, slow_save_seconds=slow_save_seconds,
            )  # fmt: skip
        except BaseException:
            self._close_files()
            raise

    def __repr__(self) -> str:
        return f"<Node {self.status()}>"

    @property
    def host(self) -> Host:
        """The shell that runs the replica."""
        return self._host

    @property
    def replica(self) -> Replica:
        """The replica. Look, but do not touch: the host feeds it."""
        return self._host.replica

    @property
    def events(self) -> Dispatcher:
        """What happens to this node: subscribe, or iterate over a `stream`. See `zkcore.events`."""
        return self._host.telling.events

    def start(self) -> None:
        """Begin. Needs a running event loop."""
        self._host.start()

    async def stop(self) -> None:
        """End, and where this node leads, hand over first: the others need not find out that there is no leader. That
        takes a second at most, whatever comes of it. `host.stop()` ends at once, as a crash would. In a process that
        was forked since, it does nothing: the node is that of the other."""
        if not self._process.is_here:
            return
        try:
            if self._host.running and self.replica.leader == self.me:
                async with asyncio.timeout(_HAND_OVER_SECONDS):
                    await self.transfer()
        except (ZkcoreError, TimeoutError) as error:
            _log.info("node %s stops without handing over: %s", self.me, error, extra={"zk_node": self.me})
        finally:
            self._host.stop()
        await self._host.wait_saved()
        self._close_files()

    def _close_files(self) -> None:
        if self._files is not None:
            self._files.close()

    # --- members

    def members(self) -> Members:
        """Who the members of the ensemble are, as far as this node knows: after the last change that has ended here."""
        return self.replica.members

    async def reconfigure(self, members: Members, *, version: int = -1) -> Members:
        """Have the ensemble consist of `members` from now on; who they are then, with their version. With a `version`
        only if those there are now are of that version. Voters that are new must follow the leader already: add them
        first, as observers.

        Raises BadVersionError, ReconfigInProgressError, NewConfigNoQuorumError, BadArgumentsError and
        ReconfigDisabledError; then nothing is changed. After ConnectionLostError look at `members`.
        """
        async with self.client() as client:
            return await replace_all(client, members, version=version)

    async def add(self, member: PeerId, address: str = "") -> Members:
        """Have `member`, which the others reach at `address`, as an observer besides; or at `address`, where it is one
        already. It may be started before or afterwards. The members there are then; raises as `reconfigure`."""
        return await self._change(lambda members: with_member(members, member, address))

    async def promote(self, member: PeerId) -> Members:
        """Have `member`, which observes, vote. It must follow the leader already, else NewConfigNoQuorumError. The
        members there are then; raises as `reconfigure`."""
        return await self._change(lambda members: with_voter(members, member))

    async def remove(self, gone: PeerId | Iterable[PeerId]) -> Members:
        """Have these, one number or several, be members no longer, whether they run or not: nobody is ever removed
        because it is away. What is left of the voters must be a quorum that follows, else NewConfigNoQuorumError; a
        leader that is removed hands over, and where that is this node, it does so first. The members there are then;
        raises as `reconfigure`."""
        numbers = ids_of(gone)
        if self.me in numbers and self.replica.leader == self.me:
            without(self.members(), numbers)  # where that is refused nothing is to be changed
            await self.transfer()  # else the answer would be lost with the leadership
        return await self._change(lambda members: without(members, numbers))

    async def _change(self, wanted: Callable[[Members], Members]) -> Members:
        async with self.client() as client:
            return await change(client, self.members, wanted)

    # --- what there is to do

    async def transfer(self, target: PeerId | None = None) -> PeerId:
        """Hand the leadership over to the voter `target`, by default to the one that lacks least; who leads then.

        Raises NotLeadingError where this node does not lead, BadArgumentsError for a `target` that cannot take over
        now, and TransferFailedError where nobody took over: this node leads on, or has stopped leading for another
        reason. Cancelling it stops the wait, not the transfer.
        """
        return await self._host.transfer(target)

    def sessions(self) -> list[LiveSession]:
        """All sessions of the ensemble. Raises NotLeadingError where this node does not lead."""
        return self.replica.sessions()

    async def kill_session(self, session: int) -> bool:
        """End a session, wherever it is served, as if it had expired. Whether there was one. Raises NotLeadingError
        where this node does not lead."""
        return await self._host.kill_session(session)

    def status(self) -> PeerStatus:
        """What the node knows of itself."""
        return self.replica.status()

    def is_alive(self, *, stuck_seconds: float = STUCK_SECONDS) -> bool:
        """Whether the node runs, or comes back by itself: a new start would help it no further. Not so before `start`
        and after `stop`, where it has halted, where its storage has failed for good, and where its event loop has not
        turned for `stuck_seconds`. That no quorum can be reached, or that the disk is full, is no reason. May be asked
        from any thread."""
        host = self._host
        return host.alive and host.overdue_seconds < stuck_seconds

    def is_ready(self, *, stuck_seconds: float = STUCK_SECONDS) -> bool:
        """Whether the node serves clients: it is alive and not read-only, and leads or follows a leader that has a
        quorum, as far as it knows. May be asked from any thread."""
        return self.is_alive(stuck_seconds=stuck_seconds) and self._host.running and self.replica.serving

    def explain(self) -> tuple[str, ...]:
        """In words, a line for each reason: why the node does not lead, why there is no quorum, who lags behind and by
        how much, what its clients' requests wait for, and what is the matter with its storage."""
        return self._host.explain()

    def client(self, *, timeout: float = DEFAULT_SESSION_TIMEOUT) -> EmbeddedClient:
        """A client of this node alone: it is suspended while the node cannot serve."""
        return EmbeddedClient(lambda: (self._host,), timeout=timeout)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
