"""Three servers on this machine, each a process, that are one ensemble, and whose leader can be killed: Apache
ZooKeepers, or what else is launched by a ZooKeeper's configuration."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from live import Session, ask_srvr, launch, see_running
from ports import Ports

__all__ = ["LiveEnsemble"]

_SERVERS = (1, 2, 3)


class _Place:
    """A server as `live.Session` needs it."""

    before_first = 0
    version = (3, 8, 0)

    def __init__(self, port: int) -> None:
        self.port = port
        self.sessions: list[Session] = []


class LiveEnsemble:
    """An ensemble that ends with the `with`. A tick has 100 ms; sessions get what they ask for, up to a minute."""

    def __init__(
        self, directory: Path, launch: Callable[..., subprocess.Popen[bytes]] = launch, *, lines: Iterable[str] = ()
    ) -> None:
        self._directory = directory
        self._more = lines
        self._launched = launch
        self._ports = Ports()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self._clients = {me: self._ports.take() for me in _SERVERS}
        servers = [f"server.{me}={self._ports.take()}:{self._port()}" for me in _SERVERS]
        self._lines = ["tickTime=100", "initLimit=100", "syncLimit=100", "maxSessionTimeout=60000", *servers]
        self._lines += self._more
        for me in _SERVERS:
            (self._directory / str(me) / "data").mkdir(parents=True)
            (self._directory / str(me) / "data" / "myid").write_text(str(me))
            self._launch(me)
        self.wait_until_all_serve()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        self._ports.close()

    @property
    def hosts(self) -> str:
        """What a client is given."""
        return ",".join(self._clients.values())

    def hosts_but(self, me: int) -> str:
        """The same without a server."""
        return ",".join(host for other, host in self._clients.items() if other != me)

    @property
    def leader(self) -> int | None:
        """The number of the server that leads; None where nobody does."""
        return next((me for me in self._processes if self._mode(me) == "leader"), None)

    def kill(self, me: int) -> None:
        """Stop a server as `kill -9` does, which is what is done."""
        process = self._processes.pop(me)
        process.kill()
        process.wait()

    def restart(self, me: int) -> None:
        """Start a server that was killed; wait until all serve."""
        self._launch(me)
        self.wait_until_all_serve()

    def restart_all(self) -> None:
        """Start those that were killed and not started again."""
        for me in _SERVERS:
            if me not in self._processes:
                self.restart(me)

    def end_session(self, session: int, password: bytes) -> None:
        """Take a session away from who has it, and close it. Where it is taken back meanwhile, do it again."""
        me = next(iter(self._processes))
        thief = Session(_Place(self._port_of(me)))
        try:
            thief.take_over(session, password)
            thief.close()
        except ConnectionError:
            thief.drop()

    def wait_until_all_serve(self) -> None:
        """Wait until all that run are in one ensemble."""
        for me, process in self._processes.items():
            while not self._mode(me):
                see_running(self._directory / str(me), process)

    def _launch(self, me: int) -> None:
        self._processes[me] = self._launched(self._directory / str(me), f"clientPort={self._port_of(me)}", *self._lines)

    def _mode(self, me: int) -> str:
        _, _, mode = ask_srvr(self._port_of(me)).partition("Mode: ")
        return mode.split("\n", 1)[0]

    def _port_of(self, me: int) -> int:
        return int(self._clients[me].rpartition(":")[2])

    def _port(self) -> str:
        return self._ports.take().rpartition(":")[2]
