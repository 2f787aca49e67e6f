"""A process that saves to a real directory is killed at random moments; what it acknowledged is there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

from killed import CLUSTER, SEGMENT_BYTES, payload_of

from zkcore.storage import FileStorage

KILLS = int(os.environ.get("ZKCORE_KILLS", "8"))
"""A sample: fifty take half a minute, and are for `ZKCORE_KILLS=50`."""


def live(directory: Path, rng: Random) -> int:
    """One life: the last zxid that was acknowledged before the end of it, which comes after so many lines."""
    script = Path(__file__).with_name("killed.py")
    process = subprocess.Popen([sys.executable, str(script), str(directory)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    acknowledged = 0
    for _ in range(rng.randrange(1, 12)):
        acknowledged = int(process.stdout.readline())
    for _ in range(rng.randrange(3000)):
        pass  # so that the blow falls at any moment between two lines
    os.kill(process.pid, signal.SIGKILL)
    rest, _ = process.communicate()
    lines = rest.split(b"\n")[:-1]
    return int(lines[-1]) if lines else acknowledged


def test_what_was_acknowledged_outlives_the_process(tmp_path: Path) -> None:
    directory, rng = tmp_path / "data", Random(50)
    for number in range(KILLS):
        acknowledged = live(directory, rng)
        with FileStorage(directory, node=1, cluster=CLUSTER, segment_bytes=SEGMENT_BYTES) as storage:
            saved = storage.load()
            assert saved.damage is None
            assert saved.last >= acknowledged, f"life {number}"
            for zxid, payload in storage.entries(saved.base, 1 << 30):
                assert payload == payload_of(zxid)
