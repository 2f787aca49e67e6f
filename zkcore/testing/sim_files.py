"""A directory that is simulated, with everything that disks do to files.

What a program sees is what it wrote. What is on the disk is what it made durable: until then each sector of a write,
each change of a size and each name is *pending*, and after a power failure any of them may be there, in any
combination. `crash` draws one such combination, `crash_images` gives all of them. A rename is there or is not; a sector
is never torn.

Beside that, what disks do wrong, each asked for by name: bits that flip, bytes that cannot be read, writes that go to
another place, a sync that fails (and then, as operating systems do, forgets what it did not store), a sync that lies,
no room, writes that fail. `before_step` is called before each change, and may raise to end the process there.

This module must not know what the files hold.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from itertools import product
from random import Random
from typing import Literal

from attrs import Factory, define, frozen

__all__ = ["SECTOR_BYTES", "SimFiles"]

SECTOR_BYTES = 512
EXHAUSTIVE = 13
"""Up to so many pending changes all combinations are tried."""


@frozen
class _Change:
    """A piece of a write that lies in one sector, or where `data` is None a new size."""

    offset: int
    data: bytes | None

    def apply(self, content: bytearray) -> None:
        if self.data is None:
            del content[self.offset :]
            content.extend(bytes(self.offset - len(content)))
            return
        content.extend(bytes(max(self.offset - len(content), 0)))
        content[self.offset : self.offset + len(self.data)] = self.data


@define(eq=False)
class _Inode:
    """A file, whatever its names: as it is seen, as it is on the disk, and what lies between."""

    seen: bytearray = Factory(bytearray)
    stored: bytearray = Factory(bytearray)
    pending: list[_Change] = Factory(list)
    unreadable: set[int] = Factory(set)


@frozen
class _Renaming:
    """Names that change together: what each is to mean, or None where it goes."""

    names: tuple[tuple[str, _Inode | None], ...]


class SimFiles:
    """A `zkcore.storage.files.Files`; see the module."""

    def __init__(self, where: str = "sim") -> None:
        self.where = where
        self.capacity_bytes: int | None = None
        self.before_step: Callable[[str], None] = lambda step: None
        self.sync_fails: Literal["", "once", "lies"] = ""
        self.write_fails = False
        self.syncs = 0
        self._seen: dict[str, _Inode] = {}
        self._stored: dict[str, _Inode] = {}
        self._pending: list[_Renaming] = []
        self._locked = False

    # --- the calls

    def names(self) -> list[str]:
        return sorted(self._seen)

    def open(self, name: str, *, create: bool = False) -> SimFile:
        if create:
            if name in self._seen:
                raise FileExistsError(errno.EEXIST, "the file exists", name)
            self._rename("create " + name, (name, _Inode()))
        elif name not in self._seen:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        return SimFile(self, name, self._seen[name])

    def rename(self, old: str, new: str) -> None:
        self._rename(f"rename {old} to {new}", (old, None), (new, self._seen[old]))

    def remove(self, name: str) -> None:
        if name not in self._seen:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        self._rename("remove " + name, (name, None))

    def sync(self) -> None:
        self.before_step("sync the directory")
        if self._sync_went_wrong(self._pending.clear):
            return
        for renaming in self._pending:
            _apply_names(renaming, self._stored)
        self._pending.clear()

    def lock(self) -> bool:
        free, self._locked = not self._locked, True
        return free

    def close(self) -> None:
        self._locked = False

    # --- power failures

    def crash(self, rng: Random) -> SimFiles:
        """What is left after one, drawn: often all or nothing of what was pending, else any part of it."""
        mood = rng.choice((0.0, 0.5, 0.9, 1.0))
        return self._image(lambda: rng.random() < mood)

    def crash_images(self, *, samples: int = 200) -> Iterator[SimFiles]:
        """What one may leave: every combination of what is pending, or where these are too many `samples` of them."""
        count = len(self._pending) + sum(len(inode.pending) for inode in self._inodes())
        if count <= EXHAUSTIVE:
            for kept in product((False, True), repeat=count):
                yield self._image(iter(kept).__next__)
        else:
            for number in range(samples):
                yield self.crash(Random(number))

    def _image(self, keep: Callable[[], bool]) -> SimFiles:
        image = SimFiles(self.where)
        image.capacity_bytes = self.capacity_bytes
        copies: dict[_Inode, _Inode] = {}
        for inode in self._inodes():
            content = bytearray(inode.stored)
            for change in inode.pending:
                if keep():
                    change.apply(content)
            copies[inode] = _Inode(bytearray(content), content, [], set(inode.unreadable))
        names = dict(self._stored)
        for renaming in self._pending:
            if keep():
                _apply_names(renaming, names)
        image._stored = {name: copies[inode] for name, inode in names.items()}
        image._seen = dict(image._stored)
        return image

    def _inodes(self) -> list[_Inode]:
        found = dict.fromkeys((*self._stored.values(), *self._seen.values()))
        for renaming in self._pending:
            found.update(dict.fromkeys(inode for _, inode in renaming.names if inode is not None))
        return list(found)

    def image_key(self) -> tuple[tuple[str, bytes], ...]:
        """What tells two images apart."""
        return tuple((name, bytes(inode.stored)) for name, inode in sorted(self._stored.items()))

    def sync_all(self) -> None:
        """Everything that is pending is on the disk."""
        for inode in self._inodes():
            for change in inode.pending:
                change.apply(inode.stored)
            inode.pending.clear()
        for renaming in self._pending:
            _apply_names(renaming, self._stored)
        self._pending.clear()

    # --- damage

    def size_of(self, name: str) -> int:
        """How long a file is."""
        return len(self._seen[name].seen)

    def content_of(self, name: str) -> bytes:
        """What a file holds, also where it cannot be read."""
        return bytes(self._seen[name].seen)

    def flip(self, name: str, bit: int) -> None:
        """Turn a bit of a file over."""
        self.overwrite(name, bit // 8, bytes([self._seen[name].seen[bit // 8] ^ 1 << bit % 8]))

    def overwrite(self, name: str, offset: int, data: bytes) -> None:
        """Another write has gone astray and hit here."""
        inode = self._seen[name]
        inode.seen[offset : offset + len(data)] = data
        inode.stored[offset : offset + len(data)] = data

    def make_unreadable(self, name: str, offset: int) -> None:
        """The sector of `offset` is gone."""
        self._seen[name].unreadable.add(offset // SECTOR_BYTES)

    def wipe(self) -> None:
        """Everything is gone."""
        self._seen, self._stored = {}, {}
        self._pending.clear()

    # --- what files ask

    def step(self, what: str) -> None:
        """A change is about to happen."""
        self.before_step(what)
        if self.write_fails:
            raise OSError(errno.EIO, "simulated", self.where)

    def room_for(self, more: int) -> int:
        """How many of so many bytes still fit."""
        if self.capacity_bytes is None:
            return more
        used = sum(len(inode.seen) for inode in self._seen.values())
        return max(min(self.capacity_bytes - used, more), 0)

    def sync_file(self, inode: _Inode, name: str) -> None:
        """Store what is pending of a file, unless something goes wrong."""
        self.before_step("sync " + name)
        if self._sync_went_wrong(inode.pending.clear):
            return
        for change in inode.pending:  # and not what is seen: an earlier sync may have failed
            change.apply(inode.stored)
        inode.pending.clear()

    def _sync_went_wrong(self, forget: Callable[[], None]) -> bool:
        self.syncs += 1
        if self.sync_fails == "once":
            # The pages stay in memory, and count as stored: the next sync succeeds, and stores none of them.
            self.sync_fails = ""
            forget()
            raise OSError(errno.EIO, "simulated", self.where)
        return self.sync_fails == "lies"

    def _rename(self, step: str, *names: tuple[str, _Inode | None]) -> None:
        self.step(step)
        renaming = _Renaming(names)
        _apply_names(renaming, self._seen)
        self._pending.append(renaming)


def _apply_names(renaming: _Renaming, names: dict[str, _Inode]) -> None:
    for name, inode in renaming.names:
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode


class SimFile:
    """An open file of a SimFiles."""

    def __init__(self, files: SimFiles, name: str, inode: _Inode) -> None:
        self.name = name
        self._files = files
        self._inode = inode

    def read(self, offset: int, size: int) -> bytes:
        end = min(offset + size, len(self._inode.seen))
        if self._inode.unreadable and any(
            sector in self._inode.unreadable for sector in range(offset // SECTOR_BYTES, -(-end // SECTOR_BYTES))
        ):
            raise OSError(errno.EIO, "simulated", self.name)
        return bytes(self._inode.seen[offset:end])

    def write(self, offset: int, data: bytes | bytearray) -> None:
        self._files.step("write " + self.name)
        growth = max(offset + len(data) - len(self._inode.seen), 0)
        fits = len(data) - (growth - self._files.room_for(growth))
        at, end = offset, offset + max(fits, 0)
        while at < end:
            boundary = min((at // SECTOR_BYTES + 1) * SECTOR_BYTES, end)
            self._change(_Change(at, bytes(data[at - offset : boundary - offset])))
            self._inode.unreadable.discard(at // SECTOR_BYTES)
            at = boundary
        if fits < len(data):
            raise OSError(errno.ENOSPC, "simulated", self.name)

    def sync(self) -> None:
        self._files.sync_file(self._inode, self.name)

    def resize(self, size: int) -> None:
        self._files.step("resize " + self.name)
        self._change(_Change(size, None))

    def allocate(self, size: int) -> None:
        self._files.step("allocate " + self.name)
        growth = max(size - len(self._inode.seen), 0)
        if self._files.room_for(growth) < growth:
            raise OSError(errno.ENOSPC, "simulated", self.name)
        if growth:
            self._change(_Change(size, None))

    def size(self) -> int:
        return len(self._inode.seen)

    def close(self) -> None:
        pass

    def _change(self, change: _Change) -> None:
        change.apply(self._inode.seen)
        self._inode.pending.append(change)
