"""The blocking face of `zkcore.client.zookeeper`."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from zkcore.client.chroot import ChrootPort
from zkcore.client.client import Client as AsyncClient
from zkcore.client.port import Port
from zkcore.client.timeouts import DEFAULT_SESSION_TIMEOUT
from zkcore.client.zookeeper import ZookeeperClient as AsyncZookeeperClient
from zkcore.client.zookeeper import connect as connect_async
from zkcore.errors import SessionClosedError
from zkcore.sync.callbacks import Callbacks
from zkcore.sync.client import Client
from zkcore.sync.port import BlockingPort, LoopThread, mirrors

__all__ = ["ZookeeperClient", "connect"]


@mirrors(AsyncZookeeperClient)
class ZookeeperClient(Client):
    """`zkcore.ZookeeperClient` for blocking code, as a context manager or with `start` and `close`. Its event loop has
    a thread of its own."""

    def __init__(self, inner: AsyncZookeeperClient) -> None:
        self._inner = inner
        self._thread: LoopThread | None = None
        self._callbacks = Callbacks()
        self._client: AsyncClient | None = None

    def __repr__(self) -> str:
        return "<Client not started>" if self._client is None else repr(self._client)

    @property
    def unblocked(self) -> AsyncClient:
        """See `Client.unblocked`; SessionClosedError before `start`."""
        if self._client is None:
            raise SessionClosedError("the client is not started: call start(), or use it as a context manager")
        return self._client

    @property
    def is_zkcore(self) -> bool:
        return self._inner.is_zkcore

    def start(self) -> Self:
        if self._thread is not None:
            raise SessionClosedError("this client was started before; make a new one")
        self._thread = LoopThread("zkcore-zookeeper-client")
        try:
            self._thread.call(self._inner.start())
        except BaseException:
            self._thread.stop()
            raise
        port: Port = BlockingPort(self._inner.whole, self._thread)
        if self._inner.chroot_path != "/":
            port = ChrootPort(port, self._inner.chroot_path)
        self._client = AsyncClient(port)
        return self

    def close(self) -> None:
        self._leave(lambda thread: thread.call(self._inner.close()))

    def abandon(self) -> None:
        self._leave(lambda thread: thread.do(self._inner.abandon))

    def _leave(self, leave: Callable[[LoopThread], None]) -> None:
        thread = self._thread
        if self._client is None or thread is None or not thread.is_here:
            return
        try:
            leave(thread)
            thread.do(self._callbacks.end)
        except SessionClosedError:
            pass  # closed before
        thread.stop()
        self._callbacks.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(
    url: str,
    *,
    timeout: float = DEFAULT_SESSION_TIMEOUT,
    auth: Iterable[tuple[str, str | bytes]] = (),
    tls: ssl.SSLContext | None = None,
    read_only: bool = False,
) -> ZookeeperClient:
    """A client of an ensemble in other processes, by ZooKeeper's client protocol, as a context manager::

        with zkcore.sync.connect("zk://one:2181,two:2181,three:2181/app") as zk: ...

    The arguments and what is raised are those of `zkcore.connect`.
    """
    return ZookeeperClient(connect_async(url, timeout=timeout, auth=auth, tls=tls, read_only=read_only))
