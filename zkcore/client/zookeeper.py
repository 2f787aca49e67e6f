"""A client of an ensemble in other processes, by ZooKeeper's client protocol: Apache ZooKeeper's, or ours."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from zkcore.client.chroot import ChrootPort
from zkcore.client.client import Client
from zkcore.client.places import Places, parse_places
from zkcore.client.port import Port
from zkcore.client.timeouts import DEFAULT_SESSION_TIMEOUT, check_timeout
from zkcore.client.zookeeper_port import ZookeeperPort
from zkcore.errors import SessionClosedError

__all__ = ["ZookeeperClient", "connect"]


class ZookeeperClient(Client):
    """A Client of the ensemble at `places`. Use it as an async context manager, or await `start` and `close`. Made by
    `connect`, which says what the arguments are."""

    def __init__(
        self, places: Places, *, timeout: float, auth: Sequence[tuple[str, bytes]], tls: ssl.SSLContext | None,
        read_only: bool = False,
    ) -> None:  # fmt: skip
        check_timeout(timeout)
        self._places = places
        self._timeout = timeout
        self._auth = auth
        self._tls = tls
        self._read_only = read_only
        self._whole: ZookeeperPort | None = None
        self._port: Port | None = None

    def __repr__(self) -> str:
        return "<Client not started>" if self._port is None else super().__repr__()

    @property
    def port(self) -> Port:  # type: ignore[override]
        """The Port, below the chroot; SessionClosedError before `start`."""
        if self._port is None:
            raise SessionClosedError("the client is not started: await start(), or use it as a context manager")
        return self._port

    @property
    def chroot_path(self) -> str:
        """Below which path of the ensemble everything is; "/" for all of it."""
        return self._places.chroot

    @property
    def whole(self) -> ZookeeperPort:
        """The Port to all of the ensemble; SessionClosedError before `start`."""
        if self._whole is None:
            raise SessionClosedError("the client is not started: await start(), or use it as a context manager")
        return self._whole

    @property
    def is_zkcore(self) -> bool:
        """Whether the servers are zkcore's, and offer everything; at Apache ZooKeeper's some requests are emulated, and
        some refused with UnsupportedError."""
        return self.whole.is_zkcore

    async def start(self) -> Self:
        """Open the session; waits until a server can be reached that has a leader."""
        if self._whole is not None:
            raise SessionClosedError("this client was started before; make a new one")
        self._whole = ZookeeperPort(
            self._places.addresses, timeout=self._timeout, auth=self._auth, tls=self._tls, read_only=self._read_only
        )
        self._port = self._whole if self._places.chroot == "/" else ChrootPort(self._whole, self._places.chroot)
        await self._whole.start()
        return self

    async def close(self) -> None:
        """End the session, and with it its ephemeral znodes."""
        if self._whole is not None:
            await self._whole.close()

    def abandon(self) -> None:
        """Go away without a word, as a crash would; the session is left to expire."""
        if self._whole is not None:
            self._whole.abandon()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def connect(
    url: str,
    *,
    timeout: float = DEFAULT_SESSION_TIMEOUT,
    auth: Iterable[tuple[str, str | bytes]] = (),
    tls: ssl.SSLContext | None = None,
    read_only: bool = False,
) -> ZookeeperClient:
    """A client of an ensemble in other processes, by ZooKeeper's client protocol, as an async context manager::

        async with zkcore.connect("zk://one:2181,two:2181,three:2181/app") as zk: ...

    The servers may be Apache ZooKeeper's or zkcore's. Behind the hosts may stand a path, which is the root for this
    client. `timeout` is the session's, in seconds; the ensemble may grant another (`Client.session_timeout`). `auth`
    has pairs such as `("digest", "user:password")`; they are proved anew at every server. `tls` is an `ssl.SSLContext`
    for servers that want it.

    With `read_only` a server that has no leader will do, where it offers that: it shows what it has, and refuses writes
    with ReadOnlyError; the state is then CONNECTED_READ_ONLY. The client goes on looking for a server that takes
    writes, and goes there. A session that it had before is renewed by nobody meanwhile, and is LOST when its time is
    up; a client that begins so has no session, and no `session_id`, until it has found that other server.

    Raises ConfigurationError for an url that names no servers, BadArgumentsError for the timeout. Entering it raises
    AuthFailedError where the credentials are refused.
    """
    proofs = tuple(
        (scheme, credentials.encode() if isinstance(credentials, str) else credentials) for scheme, credentials in auth
    )
    return ZookeeperClient(parse_places(url), timeout=timeout, auth=proofs, tls=tls, read_only=read_only)
