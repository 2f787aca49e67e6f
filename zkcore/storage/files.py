"""The few calls that the file storage makes of an operating system, as a plug, and the real ones.

A `Files` is one directory without folders in it. Everything the storage knows about disks goes through here, so that a
simulated directory (`zkcore.testing.sim_files`) can lose, tear and refuse what a real one could.

What is promised is what POSIX promises, and no more: what was written is durable after `File.sync`, a name that was
made, changed or removed is after `Files.sync`, and before that a power failure may keep any part of it. Every call
raises OSError as the operating system does.

This module must not know what the files hold.
"""

from __future__ import annotations

import os
from typing import Protocol

from zkcore.errors import StorageError, StorageFailedError
from zkcore.forks import only_here

__all__ = ["Directory", "File", "Files", "make_durable"]


class File(Protocol):
    """One open file. Offsets and sizes are in bytes."""

    name: str

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset`: fewer only at the end of the file."""

    def write(self, offset: int, data: bytes | bytearray) -> None:
        """All of `data`. Where that fails a part of it may have been written."""

    def sync(self) -> None:
        """Make what was written, and the size, durable. After it failed once nothing is known about what was written
        before, whatever a second try says: the operating system may have forgotten that it was never stored."""

    def resize(self, size: int) -> None:
        """Cut the file to `size`, or lengthen it with zeros."""

    def allocate(self, size: int) -> None:
        """Reserve room for the first `size` bytes, zeros where nothing was written yet."""

    def size(self) -> int:
        """The length of the file."""

    def close(self) -> None:
        """Give it back. Nothing is made durable by that."""


class Files(Protocol):
    """One directory."""

    where: str
    """What to call it in messages."""

    def names(self) -> list[str]:
        """Everything in it, sorted."""

    def open(self, name: str, *, create: bool = False) -> File:
        """An existing file, or with `create` a new one, which must not exist."""

    def rename(self, old: str, new: str) -> None:
        """In one step, also where `new` exists."""

    def remove(self, name: str) -> None:
        """Forget a name."""

    def sync(self) -> None:
        """Make all names durable."""

    def lock(self) -> bool:
        """Claim the directory for this process, until `close` or its end. False where another has it."""

    def close(self) -> None:
        """Give up the claim."""


# --- the real ones ---------------------------------------------------------------------------------------------------


class _RealFile:
    """A file by its descriptor."""

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self._descriptor = descriptor
        only_here(self)

    def fileno(self) -> int:
        return self._descriptor

    def read(self, offset: int, size: int) -> bytes:
        pieces: list[bytes] = []
        try:
            while size > 0 and (piece := os.pread(self._descriptor, size, offset)):
                pieces.append(piece)
                offset += len(piece)
                size -= len(piece)
        except OSError as error:
            raise self._at(offset, error) from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, offset: int, data: bytes | bytearray) -> None:
        written = 0
        try:
            written = os.pwrite(self._descriptor, data, offset)
            while written < len(data):
                written += os.pwrite(self._descriptor, memoryview(data)[written:], offset + written)
        except OSError as error:
            raise self._at(offset + written, error) from error

    def _at(self, offset: int, error: OSError) -> OSError:
        """The system says what happened, and not where."""
        return OSError(error.errno, error.strerror, f"{self.name} at byte {offset}")

    def sync(self) -> None:
        # macOS has no fdatasync, and there fsync does less; what it offers instead is F_FULLFSYNC.
        getattr(os, "fdatasync", os.fsync)(self._descriptor)

    def resize(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def allocate(self, size: int) -> None:
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._descriptor, 0, size)
            except OSError as error:
                raise self._at(size, error) from error
        elif self.size() < size:
            os.ftruncate(self._descriptor, size)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        # Once: the number may be another file's by then.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class Directory:
    """A directory of a POSIX system. Raises StorageError where `path` is none that can be used; it is made, readable by
    its owner alone, only with `create`."""

    def __init__(self, path: str | os.PathLike[str], *, create: bool = False) -> None:
        self.where = os.fspath(path)
        try:
            if create:
                self._make()
            self._descriptor = os.open(self.where, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError as error:
            raise StorageError(f"{self.where} does not exist: correct the path, or make a new storage there") from error
        except (NotADirectoryError, FileExistsError) as error:
            raise StorageError(f"{self.where} is not a directory: give the path of one") from error
        except OSError as error:
            raise StorageError(f"{self.where} cannot be opened: {error}") from error
        only_here(self)
        if not os.access(self.where, os.R_OK | os.W_OK | os.X_OK):
            self.close()
            raise StorageError(f"{self.where} may not be written by this process: change its owner or its permissions")

    def _make(self) -> None:
        if os.path.isdir(self.where):
            return
        os.makedirs(self.where, mode=0o700)
        parent = os.open(os.path.dirname(os.path.abspath(self.where)), os.O_RDONLY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)

    def fileno(self) -> int:
        return self._descriptor

    def names(self) -> list[str]:
        return sorted(os.listdir(self._descriptor))

    def open(self, name: str, *, create: bool = False) -> File:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        return _RealFile(name, os.open(name, flags, 0o600, dir_fd=self._descriptor))

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def remove(self, name: str) -> None:
        os.unlink(name, dir_fd=self._descriptor)

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def lock(self) -> bool:
        import fcntl  # not on Windows, where the rest of zkcore must import all the same

        try:
            # On the directory itself: there is no file of which a foreign directory would be the richer.
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def make_durable(what: File | Files, where: str) -> None:
    """Sync, once. Raises StorageFailedError where that fails: whoever asks again may be told that all is well, though
    nothing was stored."""
    try:
        what.sync()
    except OSError as error:
        raise StorageFailedError(
            f"{where} could not be made durable: {error}. What was written last may be lost; look after the disk, "
            f"then start this member again"
        ) from error
