"""Small disks that can be filled: each in memory, and a directory to look at."""

from __future__ import annotations

import errno
import subprocess
from contextlib import ExitStack
from pathlib import Path

__all__ = ["SmallDisks"]

SIZE = "64m"


class SmallDisks:
    """A disk for each of `members`, mounted below `folder`. Raises OSError where the system does not permit it."""

    def __init__(self, folder: Path, members: range) -> None:
        self._mounts = ExitStack()
        self.paths: dict[int, Path] = {}
        try:
            for me in members:
                self._mount(folder / f"disk-{me}", me)
        except OSError:
            self.close()
            raise

    def _mount(self, path: Path, me: int) -> None:
        path.mkdir()
        _run("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(path))
        self._mounts.callback(_run, "umount", str(path))
        self.paths[me] = path

    def fill(self, me: int) -> None:
        """Up to the last byte, whatever else is written to it meanwhile."""
        with self._ballast(me).open("ab", buffering=0) as ballast:
            for size in (1 << 20, 1 << 12):
                try:
                    while True:
                        ballast.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def make_room(self, me: int) -> None:
        """All that it had."""
        self._ballast(me).unlink(missing_ok=True)

    def _ballast(self, me: int) -> Path:
        return self.paths[me] / "ballast"

    def close(self) -> None:
        """They are gone, with all that was on them."""
        self._mounts.close()


def _run(*command: str) -> None:
    """Raises OSError."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())
