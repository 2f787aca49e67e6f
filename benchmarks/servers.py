"""Servers of ZooKeeper's client protocol, each in a process of its own: Apache ZooKeeper's, and ours.

Both read the same zoo.cfg, on free ports of 127.0.0.1, with their data in directories that go with them. They sync what
they write before they answer, unless told otherwise. A server that was killed can be started again.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Self

from attrs import frozen
from inprocess import free_ports

__all__ = ["APACHE", "ZKCORE", "Kind", "Servers", "cpu_seconds", "end_with_sigterm", "missing"]

JAR = Path("/usr/share/java/zookeeper.jar")

_PATIENCE_SECONDS = 60.0
_SHORT_TICK_MS = 1000
"""With ticks below this the limits are more of them: they are for the whole, not for the network."""


@frozen
class Kind:
    """Whose servers: what is run, given the directory of one and whether its log is synced; and what stands in its
    zoo.cfg beside the rest, if it is one of several."""

    name: str
    command: Callable[[Path, bool], list[str]]
    of_several: str = ""


def _apache(home: Path, force_sync: bool) -> list[str]:
    (home / "log4j.properties").write_text("log4j.rootLogger=OFF\n")
    sync = f"-Dzookeeper.forceSync={'yes' if force_sync else 'no'}"
    main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
    return ["java", "-Xms512m", "-Xmx512m", sync, "-cp", f"{home}:{JAR}", main, str(home / "zoo.cfg")]


def _zkcore(home: Path, force_sync: bool) -> list[str]:
    return [sys.executable, "-m", "zkcore", "serve", str(home / "zoo.cfg")]


APACHE = Kind("Apache ZooKeeper", _apache)
ZKCORE = Kind("zkcore", _zkcore, of_several="zkcore.plaintext=true\n")


def missing() -> str:
    """Why there can be no Apache ZooKeeper here; "" where there can."""
    if JAR.exists() and shutil.which("java"):
        return ""
    return "no Apache ZooKeeper on this machine: apt-get install --no-install-recommends zookeeper"


class Servers:
    """`count` servers, as a context manager; inside it all serve."""

    def __init__(self, kind: Kind, count: int, *, tick_ms: int = 2000, force_sync: bool = True) -> None:
        self.kind = kind
        self._tick_ms = tick_ms
        self._force_sync = force_sync
        self._count = count
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="zkcore-bench-", ignore_cleanup_errors=True)
        try:
            ports = free_ports(3 * self._count)
            self.ports: Sequence[int] = ports[: self._count]
            others = zip(ports[self._count : 2 * self._count], ports[2 * self._count :], strict=True)
            members = "".join(
                f"server.{number}=127.0.0.1:{quorum}:{election}\n"
                for number, (quorum, election) in enumerate(others, 1)
            )
            for place in range(self._count):
                self._prepare(place, members if self._count > 1 else "")
                self.start(place)
            self.wait_until_all_serve()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for place in list(self._processes):
            self.kill(place)
        self._directory.cleanup()

    def _home(self, place: int) -> Path:
        return Path(self._directory.name) / str(place + 1)

    def _prepare(self, place: int, members: str) -> None:
        home = self._home(place)
        home.mkdir()
        (home / "myid").write_text(f"{place + 1}\n")
        (home / "initialize").touch()  # a server of ours would take an empty directory for a loss
        init, sync = (10, 5) if self._tick_ms >= _SHORT_TICK_MS else (100, 20)
        (home / "zoo.cfg").write_text(
            f"tickTime={self._tick_ms}\ninitLimit={init}\nsyncLimit={sync}\ndataDir={home}\n"
            f"clientPort={self.ports[place]}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n"
            f"forceSync={'yes' if self._force_sync else 'no'}\nadmin.enableServer=false\n"
            f"{members}{self.kind.of_several if members else ''}"
        )

    # --- servers by their place, from 0 on

    def start(self, place: int) -> None:
        home = self._home(place)
        with (home / "output").open("ab") as output:
            command = self.kind.command(home, self._force_sync)
            self._processes[place] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def kill(self, place: int) -> None:
        """At once, as by kill -9."""
        process = self._processes.pop(place)
        process.kill()
        process.wait()

    def wait_until_all_serve(self) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._all_serve():
            if time.monotonic() > deadline or any(process.poll() is not None for process in self._processes.values()):
                said = [path.read_text() for path in sorted(Path(self._directory.name).glob("*/output"))]
                raise RuntimeError("\n".join(["the servers do not serve", *said]))
            time.sleep(0.05)

    def _all_serve(self) -> bool:
        modes = [mode_of(port) for port in self.ports]
        return all(modes) and (self._count == 1 or "leader" in modes)

    @property
    def leader(self) -> int:
        """The place of the one that leads, or stands alone."""
        modes = [mode_of(port) for port in self.ports]
        return modes.index("leader" if self._count > 1 else "standalone")

    def cpu_clock(self) -> float:
        """CPU seconds of the servers that run, and of this process."""
        return time.process_time() + cpu_seconds(process.pid for process in self._processes.values())


def cpu_seconds(pids: Iterable[int]) -> float:
    """What these processes have used, all their threads together."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def mode_of(port: int) -> str:
    """What the server there says that it is; "" where none serves."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as link:
            link.sendall(b"srvr")
            said = link.makefile("rb").read().decode()
    except OSError:
        return ""
    found = re.search(r"Mode: (\w+)", said)
    return found[1] if found else ""


def end_with_sigterm() -> None:
    """Have SIGTERM end this process as Ctrl-C does: with all that it started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
