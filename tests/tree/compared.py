"""What two sides that were asked the same have answered, made comparable; and the story of how they came to differ."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["Story", "Translation"]

_STAT_SIZE = 11
_CZXID, _MZXID, _CTIME, _MTIME, _OWNER = 0, 1, 2, 3, 7


class Translation:
    """From our answers to those of a live server: the n-th transaction has one time here and one there, and a session
    may have another id. Values are those of `live.answer_of`."""

    def __init__(self) -> None:
        self._times: dict[int, tuple[int, int]] = {}  # of a transaction
        self.sessions: dict[int, int] = {}
        """The ids of ours, where the live ones are others."""

    def __call__(self, ours: Any, live: Any) -> Any:
        """`ours` with what is told by `live`, where these can be the same."""
        if not isinstance(live, tuple | list) or type(live) is not type(ours) or len(live) != len(ours):
            return ours
        if len(live) == _STAT_SIZE and isinstance(live, tuple):
            stat = list(ours)
            for zxid, at in ((_CZXID, _CTIME), (_MZXID, _MTIME)):
                here, there = self._times.setdefault(ours[zxid], (ours[at], live[at]))
                stat[at] = there if here == ours[at] else -1
            stat[_OWNER] = self.sessions.get(ours[_OWNER], ours[_OWNER])
            return tuple(stat)
        return type(ours)(map(self, ours, live))


class Story:
    """Everything so far, one request a line: what leads to a difference."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self.lines: list[str] = []

    def note(self, session: int, what: object) -> None:
        number = self._numbers.setdefault(session, len(self._numbers))
        words = re.sub(r"ACL\(perms=(\d+), id=Id\(scheme='(\w+)', id='([^']*)'\)\)", r"\1:\2:\3", str(what)[:1000])
        self.lines.append(f"{len(self.lines)} session {number}: {words}")

    def end(self, about: object, live: object, ours: object) -> str:
        """With the two answers to the last of them."""
        return "\n".join([*self.lines[-40:], f"{about}", f"a live server: {live}", f"ours: {ours}"])
