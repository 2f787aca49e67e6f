"""How a storage takes the place of another in the same directory: whole, or not at all.

The new one is written beside the old, to its last byte, in files whose names begin with `renewed-`. Then its record
store takes the name of the old one, and that is the moment: before it the new files count for nothing, after it the old
ones do. Whoever opens the directory next goes on with what a crash has cut short, and can tell how far it had come:

| there is | it was | what is done |
|---|---|---|
| `renewed-records` | before the moment | the new files are removed |
| `renewing`, and not that | behind it, and old files are left | they are removed, and then `renewing` |
| a file `renewed-...`, and neither | behind that | the new files get their names |

This module must not know what either storage holds.
"""

from __future__ import annotations

from zkcore.storage.files import File, Files, make_durable
from zkcore.storage.opening import OURS
from zkcore.storage.records import RECORDS

__all__ = ["Beside", "is_half_done", "settle", "take_place"]

_NEW = "renewed-"
_UNDER_WAY = "renewing"
_NEW_RECORDS = _NEW + RECORDS


class Beside:
    """A directory for the new storage, as a `Files`: in `files`, the claimed directory of the old one."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.where = files.where

    def names(self) -> list[str]:
        return [name.removeprefix(_NEW) for name in self._files.names() if name.startswith(_NEW)]

    def open(self, name: str, *, create: bool = False) -> File:
        file = self._files.open(_NEW + name, create=create)
        file.name = name
        return file

    def rename(self, old: str, new: str) -> None:
        self._files.rename(_NEW + old, _NEW + new)

    def remove(self, name: str) -> None:
        self._files.remove(_NEW + name)

    def sync(self) -> None:
        self._files.sync()

    def lock(self) -> bool:
        """It is claimed with the directory."""
        return True

    def close(self) -> None:
        """It is given up with the directory."""


def take_place(files: Files) -> None:
    """The storage that was written `Beside` the one in `files`, and is closed, takes its place."""
    files.open(_UNDER_WAY, create=True).close()
    make_durable(files, files.where)
    files.rename(_NEW_RECORDS, RECORDS)
    make_durable(files, files.where)
    settle(files)


def settle(files: Files) -> None:
    """The directory holds one storage, the old or the new, and nothing of another."""
    names = files.names()
    if _NEW_RECORDS in names:
        _undo(files, names)
        return
    if _UNDER_WAY in names:
        for name in names:
            if name != RECORDS and name.startswith(OURS):
                files.remove(name)
        make_durable(files, files.where)
        files.remove(_UNDER_WAY)
        make_durable(files, files.where)
    if renewed := [name for name in names if name.startswith(_NEW)]:
        for name in renewed:
            if name == f"{_NEW_RECORDS}.new":  # it is the first that is written, and had no name of its own yet
                files.remove(name)
            else:
                files.rename(name, name.removeprefix(_NEW))
        make_durable(files, files.where)


def _undo(files: Files, names: list[str]) -> None:
    """The new record store goes last: it says that the rest counts for nothing."""
    for name in names:
        if name == _UNDER_WAY or (name.startswith(_NEW) and name != _NEW_RECORDS):
            files.remove(name)
    make_durable(files, files.where)
    files.remove(_NEW_RECORDS)
    make_durable(files, files.where)


def is_half_done(files: Files) -> bool:
    """Whether there are files of two storages: `settle` was cut short, behind the moment."""
    names = files.names()
    return _NEW_RECORDS not in names and any(name.startswith((_UNDER_WAY, _NEW)) for name in names)
