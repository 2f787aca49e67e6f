"""The example that runs here or there runs there, too, and prints the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import APACHE
from live import Server

from zkcore.testing.zookeeper import ZookeeperServer

EXAMPLE = Path(__file__).parents[2] / "examples" / "34_here_or_there.py"


@pytest.mark.parametrize("where", ["ours", APACHE])
def test_the_same_program_runs_there(request: pytest.FixtureRequest, where: str) -> None:
    there: ZookeeperServer | Server = request.getfixturevalue(where)
    hosts = there.hosts if isinstance(there, ZookeeperServer) else f"127.0.0.1:{there.port}"
    printed = [
        subprocess.run(
            [sys.executable, "-W", "error", str(EXAMPLE), *arguments],
            capture_output=True, text=True, timeout=120, check=True,
        ).stdout
        for arguments in ([], [f"zk://{hosts}/somewhere/else"])
    ]  # fmt: skip
    assert printed[0] == printed[1] != ""
