"""In what two snapshots differ."""

from __future__ import annotations

import pytest
from alone import Alone

from zkcore.errors import StorageCorruptError
from zkcore.jute.records import READ_ACL
from zkcore.tree.requests import CloseSession, Create, Delete, Once, SetACL, SetData
from zkcore.tree.snapshot import dump, restore
from zkcore.tree.snapshot_diff import diff


def test_equal_snapshots_do_not_differ() -> None:
    alone = Alone()
    alone.do(Create("/a"))
    assert list(diff(dump(alone.tree), dump(restore(dump(alone.tree))))) == []


def test_each_thing_that_differs_is_named_with_what_differs_of_it() -> None:
    alone = Alone(1, 2)
    for path in ("/a", "/gone", "/same"):
        alone.do(Create(path, b"secret"))
    first = list(dump(alone.tree))
    for request in (SetData("/a", None), Delete("/gone"), Create("/new"), Once(1, 1, SetACL("/new", READ_ACL))):
        alone.do(request)
    alone.do(CloseSession(), session=2)
    found = {difference.what: difference for difference in diff(first, dump(alone.tree))}
    assert found.keys() == {
        "zxid", "digest", "client 0x1", "session 0x2", "ended sessions", "/", "/a", "/gone", "/new",
    }  # fmt: skip
    assert found["/a"].second == "data=null mzxid=4294967302 mtime=6000 version=1"
    assert str(found["session 0x2"]) == "session 0x2: timeout_ms=4000 | missing"
    assert found["/new"].first is None
    assert "acl=world:" in str(found["/new"])
    assert "secret" not in "".join(map(str, found.values()))


def test_a_damaged_snapshot_is_no_matter_of_difference() -> None:
    with pytest.raises(StorageCorruptError):
        list(diff(dump(Alone().tree), []))
