"""`log dump`, `log verify` and `log repair`: look into the log of a member's directory.

`dump` prints the records, `verify` checks everything that a start would check and changes nothing, and `repair` does
what a start does with damage: the log is cut before it and what comes behind is put aside, until the other members
have made the log whole again. Without `--apply` it only says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from zkcore.errors import ZkcoreError
from zkcore.jute.codec import decode_from
from zkcore.jute.records import TxnHeader
from zkcore.storage.backup import Checked, check
from zkcore.storage.file import FileStorage
from zkcore.storage.files import Directory
from zkcore.storage.log import read_records_of
from zkcore.zab.membership import is_configuration, read_configuration
from zkcore.zab.ready import Entry
from zkcore.zxid import format_zxid

__all__ = ["add_to"]


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `log`."""
    log = commands.add_parser("log", help="look into the log of a member", description=__doc__.splitlines()[0])
    actions = log.add_subparsers(metavar="ACTION", required=True)
    dump = actions.add_parser("dump", help="print the records; the member may be running")
    dump.add_argument("--after", type=_zxid, default=0, metavar="ZXID", help="only those behind this one")
    dump.add_argument("--limit", type=int, metavar="N", help="so many at most")
    dump.set_defaults(run=_dump)
    verify = actions.add_parser("verify", help="check everything, change nothing; exits with 1 where it is damaged")
    verify.set_defaults(run=_verify)
    repair = actions.add_parser("repair", help="say what a start would do about damage")
    repair.add_argument("--apply", action="store_true", help="and do it; the member must not be running")
    repair.set_defaults(run=_repair)
    for parser in (dump, verify, repair):
        parser.add_argument("directory", metavar="DIRECTORY", help="of a member, or a backup")


def _zxid(text: str) -> int:
    return int(text.replace("_", ""), 16)


def _dump(chosen: argparse.Namespace) -> int:
    files = Directory(chosen.directory)
    try:
        checked = Checked(files)
        printed = 0
        for entry in read_records_of(files, checked.log):
            if entry.zxid <= chosen.after or entry.zxid <= checked.records.base:
                continue
            if printed == chosen.limit:
                break
            print(_shown(entry))
            printed += 1
    finally:
        files.close()
    return 0


def _shown(entry: Entry) -> str:
    """A record on one line: not its data, which may be secret."""
    size = f"{len(entry.payload)} bytes"
    if is_configuration(entry.payload):
        return f"{format_zxid(entry.zxid)}  {size}, members {read_configuration(entry.payload)[0]}"
    try:
        header, _ = decode_from(TxnHeader, entry.payload, at=0)
    except ZkcoreError:
        return f"{format_zxid(entry.zxid)}  {size}"
    return (
        f"{format_zxid(entry.zxid)}  {size}, type {header.type} for session {header.session:#x} request {header.cxid} "
        f"at {header.time}"
    )


def _told(checked: Checked) -> Iterator[str]:
    records, log = checked.records, checked.log
    yield (
        f"member {records.node} of {records.cluster}: epochs accepted={records.accepted} current={records.current}, "
        f"log {format_zxid(records.base)}..{format_zxid(log.index.last)}, snapshot {format_zxid(records.snapshot)}"
    )
    yield f"{len(log.path)} segments with {log.records} records"
    if log.torn_bytes:
        yield f"{log.torn_bytes} bytes at the end are of a write that was cut short; a start removes them"
    yield from checked.problems


def _verify(chosen: argparse.Namespace) -> int:
    checked = check(chosen.directory)
    for line in _told(checked):
        print(line)
    print("damaged" if checked.problems else "whole")
    return 1 if checked.problems else 0


def _repair(chosen: argparse.Namespace) -> int:
    checked = check(chosen.directory)
    for line in _told(checked):
        print(line)
    if not checked.problems:
        print("there is nothing to repair")
    elif not chosen.apply:
        print("a start, or --apply, keeps the log before the damage and puts aside what is behind it;")
        print("the other members then make this one whole")
    else:
        records = checked.records
        with FileStorage(chosen.directory, node=records.node, cluster=records.cluster) as storage:
            saved = storage.load()
        print(f"the log ends with {format_zxid(saved.last)} now; damage: {saved.damage}")
    return 0
