"""`snap dump`, `snap verify` and `snap diff`: look into the snapshots of a member's directory.

A snapshot is named by its file. `dump` prints what is in it, `verify` checks the file and the tree in it, and `diff`
says in which znodes two of them differ: of two members at one zxid, nothing should.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

from zkcore.errors import StorageError
from zkcore.storage.files import Directory
from zkcore.storage.snapshots import SnapshotReader
from zkcore.tree.snapshot import dump, restore
from zkcore.tree.snapshot_diff import diff
from zkcore.tree.tree import Tree
from zkcore.zxid import format_zxid

__all__ = ["add_to"]


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `snap`."""
    snap = commands.add_parser("snap", help="look into snapshots", description=__doc__.splitlines()[0])
    actions = snap.add_subparsers(metavar="ACTION", required=True)
    show = actions.add_parser("dump", help="print sessions and znodes; of data the length and a checksum")
    show.add_argument("file", metavar="FILE")
    show.set_defaults(run=_dump)
    verify = actions.add_parser("verify", help="check the file, and the tree in it")
    verify.add_argument("file", metavar="FILE")
    verify.set_defaults(run=_verify)
    differ = actions.add_parser("diff", help="in what two differ; exits with 1 where they do")
    differ.add_argument("file", metavar="FILE")
    differ.add_argument("other", metavar="OTHER")
    differ.set_defaults(run=_diff)


@contextmanager
def _reader(path: str) -> Iterator[SnapshotReader]:
    folder, name = os.path.split(os.path.abspath(path))
    files = Directory(folder)
    try:
        file = files.open(name)
    except OSError as error:
        files.close()
        raise StorageError(f"{path} cannot be opened: {error}") from error
    try:
        yield SnapshotReader(file, where=path)
    finally:
        file.close()
        files.close()


def _dump(chosen: argparse.Namespace) -> int:
    with _reader(chosen.file) as reader:
        for found in diff(dump(Tree()), reader.pieces()):  # what an empty tree has not
            print(f"{found.what}: {found.second}")
    return 0


def _verify(chosen: argparse.Namespace) -> int:
    with _reader(chosen.file) as reader:
        tree = restore(reader.pieces())
        print(f"{format_zxid(reader.zxid)}: {len(tree)} znodes, {reader.size} bytes, digest {tree.digest:#x}; whole")
    return 0


def _diff(chosen: argparse.Namespace) -> int:
    with _reader(chosen.file) as one, _reader(chosen.other) as other:
        found = list(diff(one.pieces(), other.pieces()))
    for difference in found:
        print(difference)
    print(f"{len(found)} differences" if found else "the same")
    return 1 if found else 0
