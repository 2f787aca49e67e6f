"""The paths of znodes: which strings are paths, and where the parent ends.

This module must not know which znodes exist.
"""

from __future__ import annotations

import re

from zkcore.errors import BadArgumentsError

__all__ = ["CONFIG", "PROTECTED", "join", "name_of", "parent_of", "validate"]

CONFIG = "/zookeeper/config"
"""Says who the members of the ensemble are."""

PROTECTED = frozenset({"/", "/zookeeper", "/zookeeper/quota", CONFIG})
"""The znodes that every tree has and nobody deletes."""

# ZooKeeper looks at UTF-16 units: what lies beyond the basic plane is a pair of surrogates to it, and refused.
_REFUSED = "\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\uffff\U00010000-\U0010ffff"
_VALID = re.compile(rf"/|(?:/(?!\.{{1,2}}(?:/|\Z))[^/{_REFUSED}]+)+")
_REFUSED_CHARACTER = re.compile(rf"[{_REFUSED}]")


def validate(path: str) -> None:
    """Raise BadArgumentsError, saying why, unless `path` is absolute, has no empty, `.` or `..` segment, does not end
    in a slash, and holds no control, private-use or special character, nor any beyond the basic plane.

    >>> validate("/app/locks"), validate("/"), validate("/...")
    (None, None, None)
    """
    if _VALID.fullmatch(path) is None:
        raise BadArgumentsError(f"{path!r} is not a path: {_why_not(path)}", path=path)


def _why_not(path: str) -> str:
    if not path.startswith("/"):
        return "it does not start with /"
    found = _REFUSED_CHARACTER.search(path)
    if found is not None:
        return f"it holds the character {found.group()!a}"
    if path.endswith("/"):
        return "it ends in /"
    if "//" in path:
        return "it has an empty segment"
    return "it has a segment . or .."


def parent_of(path: str) -> str:
    """The path of the parent. `path` holds a slash; the parent of `/` is `/`.

    >>> parent_of("/a/b"), parent_of("/a"), parent_of("/")
    ('/a', '/', '/')
    """
    return path[: path.rindex("/")] or "/"


def name_of(path: str) -> str:
    """The last segment of `path`.

    >>> name_of("/a/b"), name_of("/")
    ('b', '')
    """
    return path[path.rindex("/") + 1 :]


def join(parent: str, name: str) -> str:
    """The path of the child `name` of `parent`.

    >>> join("/a", "b"), join("/", "a")
    ('/a/b', '/a')
    """
    return f"{parent}{name}" if parent == "/" else f"{parent}/{name}"
