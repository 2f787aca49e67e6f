"""A process that saves to a directory until somebody kills it, and says what was acknowledged; for the tests here.

    python killed.py DIRECTORY

Each line it writes is a zxid that is durable. What it saves can be told from the zxid.
"""

from __future__ import annotations

import os
import sys
from random import Random

from zkcore.storage import FileStorage
from zkcore.zab.ready import Append, Compact, SaveEpochs, SnapshotRef
from zkcore.zxid import Zxid, epoch_of, make_zxid

CLUSTER = "killed"
SEGMENT_BYTES = 1 << 16


def payload_of(zxid: Zxid) -> bytes:
    """The record of `zxid`."""
    return b"%x." % zxid * (zxid % 40)


def main(directory: str) -> None:
    new = not os.path.exists(directory)
    storage = FileStorage(directory, node=1, cluster=CLUSTER, new=new, segment_bytes=SEGMENT_BYTES)
    rng = Random(storage.load().last)
    saved = storage.load()
    epoch = saved.accepted_epoch + 1
    storage.save([SaveEpochs(epoch, epoch)])
    last = saved.last
    while True:
        first = make_zxid(epoch, 1) if epoch_of(last) < epoch else last + 1
        count = rng.randrange(1, 60)
        storage.save([Append(first, tuple(payload_of(first + place) for place in range(count)))])
        last = first + count - 1
        os.write(1, b"%d\n" % last)
        if rng.random() < 0.05:
            ref = SnapshotRef(last)
            storage.save_snapshot(ref, [b"state of %d" % last])
            storage.save([Compact(ref, rng.choice((last, first)))])


if __name__ == "__main__":
    main(sys.argv[1])
