"""The client: ZooKeeper's verbs, as kazoo names them, over a Port.

This module must not know what kind of Port it has, nor any clock or event loop.
"""

from __future__ import annotations

from zkcore.client.port import Port, SessionState, Watcher
from zkcore.errors import BadArgumentsError, NodeExistsError, NoNodeError
from zkcore.jute.records import Stat
from zkcore.replica.levels import Read, ReadLevel, Sync
from zkcore.tree.paths import parent_of, validate
from zkcore.tree.prepare import MAX_DATA
from zkcore.tree.requests import Create, Delete, Exists, GetChildren, GetData, NodeData, SetData
from zkcore.tree.znode import CreateMode
from zkcore.zxid import Zxid

__all__ = ["Client"]

_MODES = {
    (False, False): CreateMode.PERSISTENT,
    (True, False): CreateMode.EPHEMERAL,
    (False, True): CreateMode.PERSISTENT_SEQUENTIAL,
    (True, True): CreateMode.EPHEMERAL_SEQUENTIAL,
}


def _check_data(data: bytes, path: str) -> bytes:
    if not isinstance(data, bytes):
        raise TypeError(f"the data of a znode is bytes, not {type(data).__name__}; encode it first")
    if len(data) > MAX_DATA:
        raise BadArgumentsError(
            f"{path}: {len(data)} bytes are over the limit of {MAX_DATA} for one znode; split the data over several",
            path=path,
        )
    return data


class Client:
    """The znodes of an ensemble, through one session.

    Every verb may raise, beside what it names itself: OutcomeUnknownError where the session was suspended while the
    request was under way (a write may then have been applied), SessionExpiredError or SessionClosedError where there
    is no session any more, ThrottledError where more is under way than the ensemble takes (nothing happened; wait for
    some answers). While the session is suspended requests wait; use your own timeout (`asyncio.timeout`) to wait less.

    How fresh a read must be is said in `read`; see `zkcore.Read`.

    A `watch` is called once when what was read changes, with the WatchEvent, or with None where the session was
    suspended and nothing is watched any more: read again either way.
    """

    def __init__(self, port: Port) -> None:
        self.port = port

    def __repr__(self) -> str:
        session = self.port.session
        return f"<Client session={session.id:#x} {session.state}>"

    @property
    def session_id(self) -> int:
        """The id of the session: the `ephemeral_owner` of the ephemeral znodes this client creates."""
        return self.port.session.id

    @property
    def state(self) -> SessionState:
        """How the session is; see SessionState."""
        return self.port.session.state

    @property
    def last_zxid(self) -> Zxid:
        """The newest transaction whose effect this client may have seen: tell it to another, who can then read with
        `Read.at_least` what this one has read or written."""
        return self.port.session.last_zxid

    async def create(
        self, path: str, value: bytes = b"", *, ephemeral: bool = False, sequence: bool = False, makepath: bool = False
    ) -> str:
        """Create a znode and give its path, to which `sequence` adds ten digits that count up. An `ephemeral` one is
        deleted when the session ends. `makepath` creates missing parents.

        Raises NodeExistsError, NoNodeError (the parent is missing), NoChildrenForEphemeralsError, BadArgumentsError.
        """
        validate(path + "0" if sequence else path)  # a sequential znode may have no name but its number
        _check_data(value, path)
        if makepath and (parent := parent_of(path)) != "/":
            await self.ensure_path(parent)
        return (await self.port.request(Create(path, value, mode=_MODES[ephemeral, sequence]))).path

    async def get(self, path: str, watch: Watcher | None = None, *, read: ReadLevel = Read.SESSION) -> NodeData:
        """The data of a znode and its Stat. Raises NoNodeError, BadArgumentsError."""
        try:
            return await self.port.request(GetData(path, watch is not None), watch=watch, read=read)
        except NoNodeError:
            validate(path)  # what is there has a path: only what is not need be looked at
            raise

    async def set(self, path: str, value: bytes, *, version: int = -1) -> Stat:
        """Replace the data of a znode; the new Stat. With a `version` only if it is still the one the znode has.

        Raises NoNodeError, BadVersionError, BadArgumentsError.
        """
        validate(path)
        return await self.port.request(SetData(path, _check_data(value, path), version=version))

    async def delete(self, path: str, *, version: int = -1) -> None:
        """Delete a znode. With a `version` only if it is still the one the znode has.

        Raises NoNodeError, BadVersionError, NotEmptyError, BadArgumentsError.
        """
        validate(path)
        await self.port.request(Delete(path, version))

    async def exists(
        self, path: str, watch: Watcher | None = None, *, read: ReadLevel = Read.SESSION
    ) -> Stat | None:
        """The Stat of a znode, or None where there is none; it may be watched all the same."""
        validate(path)
        return await self.port.request(Exists(path, watch is not None), watch=watch, read=read)

    async def get_children(
        self, path: str, watch: Watcher | None = None, *, read: ReadLevel = Read.SESSION
    ) -> list[str]:
        """The names of the children, in order. Raises NoNodeError, BadArgumentsError."""
        try:
            return list(await self.port.request(GetChildren(path, watch is not None), watch=watch, read=read))
        except NoNodeError:
            validate(path)
            raise

    async def sync(self) -> Zxid:
        """Wait until this client's replica has applied everything that was proposed before; up to which zxid it has.
        Every read from then on, whatever its level, shows that, and every write of anybody that was answered before.

        Unlike Apache ZooKeeper's, it rests on a quorum: a leader that was deposed without knowing it cannot answer."""
        return await self.port.request(Sync(), read=Read.LINEARIZABLE)

    async def ensure_path(self, path: str) -> None:
        """Create `path` and whatever is missing above it."""
        validate(path)
        if path == "/" or await self.exists(path) is not None:
            return
        await self.ensure_path(parent_of(path))
        try:
            await self.port.request(Create(path, b""))
        except NodeExistsError:
            pass  # somebody else was faster
