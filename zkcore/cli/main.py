"""The command line: `python -m zkcore COMMAND ...`. Each command has a file of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from zkcore import __version__
from zkcore.cli import backup, ensemble, log, serve, shell, sim, snap, status
from zkcore.errors import StorageError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (those of the process by default) name, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m zkcore", description="A coordination service that you import.")
    parser.add_argument("--version", action="version", version=f"zkcore {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (serve, status, shell, sim, log, snap, backup, ensemble):
        command.add_to(commands)
    chosen = parser.parse_args(arguments)
    try:
        ended: int = chosen.run(chosen)
    except StorageError as error:
        print(error, file=sys.stderr)
        return 2
    return ended
