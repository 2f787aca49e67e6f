"""`backup` and `restore`: copy the storage of a running member, and begin a new ensemble with such a copy."""

from __future__ import annotations

import argparse

from zkcore.storage.backup import backup, restore
from zkcore.zxid import format_zxid

__all__ = ["add_to"]


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add both commands."""
    copy = commands.add_parser("backup", help="copy a member's storage, also while it runs")
    copy.add_argument("directory", metavar="DIRECTORY", help="of the member")
    copy.add_argument("to", metavar="TO", help="a new directory")
    copy.set_defaults(run=_backup)
    back = commands.add_parser("restore", help="make the storage of a member of a new ensemble from a backup")
    back.add_argument("backup", metavar="BACKUP", help="the same for all members of the new ensemble")
    back.add_argument("to", metavar="TO", help="the member's new directory")
    back.add_argument("--node", type=int, required=True, metavar="N", help="the member's number")
    back.add_argument("--cluster", required=True, metavar="NAME", help="of the new ensemble, not that of the old one")
    back.set_defaults(run=_restore)


def _backup(chosen: argparse.Namespace) -> int:
    copied = backup(chosen.directory, chosen.to)
    print(f"{chosen.to} holds everything up to {format_zxid(copied.log.index.last)}, and was checked")
    return 0


def _restore(chosen: argparse.Namespace) -> int:
    saved = restore(chosen.backup, chosen.to, node=chosen.node, cluster=chosen.cluster)
    print(f"{chosen.to} is the storage of member {chosen.node} of {chosen.cluster}, up to {format_zxid(saved.last)}")
    return 0
