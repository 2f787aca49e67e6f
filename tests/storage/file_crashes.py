"""Every state in which a power failure can leave the files of a storage, for the tests here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from random import Random

from zkcore.storage import FileStorage, MemoryStorage
from zkcore.storage.storage import Storage, prefix_of
from zkcore.testing.sim_files import SimFiles
from zkcore.zab.ready import Append, Entry, Saved, SnapshotRef, Write
from zkcore.zxid import Zxid

ALL = 1 << 40
State = tuple[Saved, tuple[Entry, ...], tuple[tuple[Zxid, bytes], ...]]


def open_sim(files: SimFiles, *, new: bool = False, segment_bytes: int = 4096) -> FileStorage:
    return FileStorage(files, node=1, cluster="test", new=new, segment_bytes=segment_bytes)


def state_of(storage: Storage, refs: Sequence[SnapshotRef]) -> State:
    """All that can be asked of it."""
    saved = storage.load()
    snapshots = []
    for ref in refs:
        try:
            snapshots.append((ref.zxid, storage.read_snapshot(ref, 0, ALL)))
        except LookupError:
            pass
    return saved, tuple(storage.entries(saved.base, ALL)), tuple(snapshots)


class CrashTest:
    """Does something to a storage, and looks at everything that a power failure before, in and behind it could leave.

    `prepare` is done in peace, `act` under observation; both are done to a storage in memory, too, which says what may
    be left. What is left must recover, and then stay as it is through another failure.
    """

    def __init__(
        self, prepare: Callable[[Storage], None], act: Sequence[Write], refs: Sequence[SnapshotRef] = (),
        *, segment_bytes: int = 4096,
    ) -> None:  # fmt: skip
        self.refs = refs
        self.images = 0
        self.act = act
        self.segment_bytes = segment_bytes
        self.files = SimFiles()
        self.storage = open_sim(self.files, new=True, segment_bytes=segment_bytes)
        self.mirror = MemoryStorage()
        prepare(self.storage)
        prepare(self.mirror)
        self.legal = list(self._legal())
        self._seen: set[int] = set()

    def run(self) -> None:
        self.files.before_step = lambda step: self.look(f"before {step}", self.legal)
        self.storage.save(self.act)
        self.files.before_step = lambda step: None
        self.look("after all of it", self.legal[-1:])

    def run_snapshot(self, ref: SnapshotRef, state: bytes) -> None:
        """The same with a snapshot of the application's own."""
        before = state_of(self.mirror, self.refs)
        self.mirror.save_snapshot(ref, [state])
        after = state_of(self.mirror, self.refs)
        self.files.before_step = lambda step: self.look(f"before {step}", [before, after])
        self.storage.save_snapshot(ref, [state])
        self.files.before_step = lambda step: None
        self.look("after all of it", [after])

    def _legal(self) -> Iterator[State]:
        for kept, write in enumerate(self.act):
            yield self._state_after(prefix_of(self.act, kept))
            for records in range(1, len(write.payloads)) if isinstance(write, Append) else ():
                yield self._state_after(prefix_of(self.act, kept, records_kept=records))
        yield self._state_after(self.act)

    def _state_after(self, writes: Sequence[Write]) -> State:
        mirror = MemoryStorage()
        mirror.__dict__.update(
            {name: deepcopy(value) for name, value in self.mirror.__dict__.items() if name != "_snapshots_lock"}
        )
        mirror.save(writes)
        return state_of(mirror, self.refs)

    def look(self, when: str, legal: Sequence[State]) -> None:
        for image in self.files.crash_images():
            key = hash((image.image_key(), len(legal)))
            if key in self._seen:
                continue
            self._seen.add(key)
            self.images += 1
            during: list[SimFiles] = []
            image.before_step = lambda step, image=image, during=during: during.append(image.crash(Random(len(during))))
            storage = open_sim(image, segment_bytes=self.segment_bytes)
            image.before_step = lambda step: None
            found = state_of(storage, self.refs)
            assert any(_is(found, state) for state in legal), f"{when}: {found} is none of {legal}"
            for files in (*during, image.crash(Random(self.images))):
                again = open_sim(files, segment_bytes=self.segment_bytes)
                assert state_of(again, self.refs)[:2] == found[:2], f"{when}, and another failure in the recovery"


def _is(found: State, legal: State) -> bool:
    """More snapshots than need be may be left."""
    return found[:2] == legal[:2] and set(legal[2]) <= set(found[2])
