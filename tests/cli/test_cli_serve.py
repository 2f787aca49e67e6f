"""`serve`, as a process: it serves ZooKeeper's clients, keeps what it acknowledged, and ends with a status that says
why."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from certificates import Authority
from kazoo.client import KazooClient
from ports import Ports

from zkcore.cli.main import main

PATIENCE = 60


class Running:
    """A server in a process of its own."""

    def __init__(self, configuration: Path, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "zkcore", "serve", str(configuration), *options], stderr=subprocess.PIPE, text=True
        )
        self.said: list[str] = []

    def wait_for(self, pattern: str) -> str:
        """The first group of the first line that matches."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.said.append(line)
            found = re.search(pattern, line)
            if found:
                return found.group(1)
        raise AssertionError("".join(self.said))

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self._process.send_signal(number)
        self.said.append(self._process.communicate(timeout=PATIENCE)[1])
        return self._process.returncode

    @property
    def status(self) -> int:
        """That with which it ended by itself."""
        self.said.append(self._process.communicate(timeout=PATIENCE)[1])
        return self._process.returncode

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    file = tmp_path / "zoo.cfg"
    file.write_text(
        f"tickTime=200\ndataDir={tmp_path / 'data'}\nclientPort=0\nclientPortAddress=127.0.0.1\nmystery=1\n"
    )
    return file


def test_it_serves_clients_and_keeps_what_it_acknowledged(configuration: Path, tmp_path: Path) -> None:
    first = Running(configuration, "--new")
    try:
        assert "mystery is unknown" in first.wait_for("(line 5: .*)")
        address = first.wait_for("serves clients on (.*)")
        zk = KazooClient(hosts=address, timeout=4)
        zk.start(PATIENCE)
        zk.create("/kept", b"1")
        first.kill()
        zk.stop()
        zk.close()
    finally:
        first.kill()
    second = Running(configuration)
    try:
        address = second.wait_for("serves clients on (.*)")
        zk = KazooClient(hosts=address, timeout=4)
        zk.start(PATIENCE)
        assert zk.get("/kept")[0] == b"1"
        zk.stop()
        zk.close()
        assert second.end() == 0
        assert "server 1 stops" in second.said[-1]
        assert "Traceback" not in "".join(second.said)
    finally:
        second.kill()


def test_the_file_initialize_says_once_that_a_server_is_new(configuration: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "initialize").touch()
    first = Running(configuration)
    try:
        first.wait_for("(serves clients)")
        assert not (tmp_path / "data" / "initialize").exists()
        assert first.end(signal.SIGINT) == 0
    finally:
        first.kill()


@pytest.mark.parametrize(
    ("lines", "status", "said"),
    [
        ("tickTime=slow\ndataDir=.\n", 2, "line 1: tickTime is 'slow'"),
        ("dataDir={tmp}/data\nserver.1=localhost:1:2\nzkcore.plaintext=true\n", 2, "myid cannot be read"),
        ("dataDir={tmp}/nowhere\nclientPort=0\n", 3, "nowhere"),
        ("dataDir={tmp}/zoo.cfg\nclientPort=0\n", 3, "zoo.cfg"),
    ],
)
def test_it_never_half_starts_and_its_status_says_why(tmp_path: Path, lines: str, status: int, said: str) -> None:
    file = tmp_path / "zoo.cfg"
    file.write_text(lines.replace("{tmp}", str(tmp_path)))
    failed = Running(file)
    assert failed.status == status
    assert said in "".join(failed.said)
    assert "Traceback" not in "".join(failed.said)


def test_a_port_that_is_taken_is_told(configuration: Path, tmp_path: Path) -> None:
    first = Running(configuration, "--new")
    try:
        port = first.wait_for(r"serves clients on .*:(\d+)")
        other = tmp_path / "other.cfg"
        other.write_text(
            f"dataDir={tmp_path / 'other'}\nclientPort={port}\nclientPortAddress=127.0.0.1\ntickTime=200\n"
        )
        second = Running(other, "--new")
        assert second.status == 2
        assert f"other.cfg: clientPort is 127.0.0.1:{port}: the port is taken" in "".join(second.said)
        assert not (tmp_path / "other").exists()
    finally:
        first.kill()


@pytest.fixture
def ports() -> Iterator[Ports]:
    ports = Ports()
    yield ports
    ports.close()


@pytest.mark.parametrize(
    ("lines", "status", "said"),
    [
        ("server.1={free}:1\nserver.2={free}:1\nserver.1={free}:1\n", 2, "server.1 is set in line"),
        ("server.2={free}:1\n", 2, "myid says '1', and the servers are [2]"),
        ("server.1=no-such-host.invalid:2888:3888\n", 2, "server.1 is no-such-host.invalid:2888: the host cannot be"),
        ("server.1={taken}:1\n", 2, "server.1 is {taken}: the port is taken"),
        ("server.1={free}:1\nclientPort=1\nclientPortAddress=no-such-host.invalid\n", 2, "say with clientPortAddress"),
        ("server.1={free}:1\nzkcore.certificate={tmp}/zk-1.test.pem\nzkcore.key={tmp}/zk-1.test.key\n"
         "zkcore.authorities={tmp}/authority.pem\nzkcore.identity=zk-1.test\n", 2, "certificate has expired; renew it"),
    ],
    ids=["an id twice", "not in the list", "no such host", "port taken", "no host for clients", "expired"],
)  # fmt: skip
def test_a_member_that_cannot_be_what_it_is_told_makes_nothing(
    tmp_path: Path, ports: Ports, lines: str, status: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In this process: what a process makes of it is told above."""
    data, file, authority = tmp_path / "data", tmp_path / "zoo.cfg", Authority(tmp_path)
    data.mkdir()
    (data / "myid").write_text("1")
    (data / "initialize").touch()
    authority.issue("zk-1.test", expires=datetime.now(UTC) - timedelta(days=1))
    taken = ports.take()
    if "certificate" not in lines:
        lines += "zkcore.plaintext=true\n"
    for name, value in (("{free}", ports.take()), ("{taken}", taken), ("{tmp}", str(tmp_path))):
        lines, said = lines.replace(name, value), said.replace(name, value)
    file.write_text(f"dataDir={data}\n{lines}")
    host, _, port = taken.rpartition(":")
    with socket.create_server((host, int(port))):
        assert main(["serve", str(file)]) == status
    assert said in caplog.text
    assert sorted(path.name for path in data.iterdir()) == ["initialize", "myid"]


def test_a_leader_that_is_told_to_stop_hands_over(tmp_path: Path, ports: Ports) -> None:
    servers = "".join(f"server.{me}={ports.take()}:1\n" for me in (1, 2, 3))
    running = {}
    for me in (1, 2, 3):
        data, file = tmp_path / f"data-{me}", tmp_path / f"zoo-{me}.cfg"
        data.mkdir()
        (data / "myid").write_text(str(me))
        file.write_text(f"dataDir={data}\n{servers}zkcore.plaintext=true\n")
        running[me] = Running(file, "--new")
    try:
        begun = {me: server.wait_for("(leads|follows) ") for me, server in running.items()}
        (leader,) = (me for me, what in begun.items() if what == "leads")
        stopped = running[leader]
        assert stopped.end() == 0
        assert "stops without handing over" not in "".join(stopped.said)
        left = [server for me, server in running.items() if me != leader]
        assert sorted(server.wait_for("(leads|follows) ") for server in left) == ["follows", "leads"]
        assert not any("has no quorum" in line for server in left for line in server.said)
    finally:
        for server in running.values():
            server.kill()


def test_a_configuration_can_be_checked_alone(configuration: Path) -> None:
    checked = Running(configuration, "--check")
    assert checked.status == 0
    assert "mystery is unknown" in "".join(checked.said)
