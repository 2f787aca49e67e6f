"""Which strings are paths, after ZooKeeper's PathUtils."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkcore.errors import BadArgumentsError
from zkcore.tree.paths import join, name_of, parent_of, validate


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/a",
        "/a/b",
        "/.a",
        "/a.",
        "/...",
        "/a/..b/c",
        "/ ",
        "/é",
        "/\u00a0",
        "/\ud7ff",
        "/\uf900",
        "/\uffef",
        "/a\\b",
    ],
)
def test_paths(path: str) -> None:
    validate(path)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "start with /"),
        ("a", "start with /"),
        ("a/b", "start with /"),
        ("/a/", "ends in /"),
        ("//", "ends in /"),
        ("//a", "empty segment"),
        ("/a//b", "empty segment"),
        ("/.", r"\. or \.\."),
        ("/..", r"\. or \.\."),
        ("/./a", r"\. or \.\."),
        ("/a/../b", r"\. or \.\."),
        ("/a/..", r"\. or \.\."),
        ("/a\x00", "character"),
        ("/\x01", "character"),
        ("/a\x1fb", "character"),
        ("/a\n", "character"),
        ("/\x7f", "character"),
        ("/\x9f", "character"),
        ("/\ud800", "character"),
        ("/\ue000", "character"),
        ("/\uf8ff", "character"),
        ("/\ufff0", "character"),
        ("/\uffff", "character"),
        ("/\U0001f512", "character"),  # a pair of surrogates to ZooKeeper
    ],
)
def test_what_is_no_path_is_refused_with_the_reason(path: str, why: str) -> None:
    with pytest.raises(BadArgumentsError, match=why) as caught:
        validate(path)
    assert caught.value.path == path


@given(st.lists(st.text("abc.", min_size=1).filter(lambda name: name not in (".", "..")), min_size=1))
def test_a_path_is_its_parent_and_its_name(names: list[str]) -> None:
    path = "/" + "/".join(names)
    validate(path)
    assert name_of(path) == names[-1]
    assert parent_of(path) == ("/" + "/".join(names[:-1]))
    assert join(parent_of(path), name_of(path)) == path
