"""The same requests to a live Apache ZooKeeper and to a live server of ours, and no difference in what comes of them.

    python tests/server/two_servers.py 0:100 2000

Both begin empty, and are asked the same in the same order by a client that takes the bytes as they come. All is
compared as it is: errors, paths, data, names, Stats and zxids to the last number, events, and ahead of which answers
they come. Translated are times and the ids of sessions; what else is not compared, or not as it comes, is what
docs/differences.md lists.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "tree"))

from anything import play
from compared import Story, Translation
from live import Event, Reply, Server, Session, answer_of

from zkcore.errors import NoAuthError
from zkcore.replica.rules import Rules
from zkcore.testing.zookeeper import zookeeper_server
from zkcore.tree.acl import Access, DigestScheme, IpScheme, digest_id
from zkcore.tree.requests import Exists, GetData, Request
from zkcore.tree.watch_requests import SetWatches2

__all__ = ["Ours", "TwoServers", "ours"]


class Ours:
    """A server of ours as `live.Session` needs it."""

    version = (3, 9, 3)
    before_first = 1 << 32

    def __init__(self, hosts: str) -> None:
        self.port = int(hosts.rpartition(":")[2])
        self.sessions: list[Session] = []


@contextmanager
def ours() -> Iterator[Ours]:
    """A server of ours, as the one of `live.py`: nothing happens in it that was not asked for."""
    access = Access([DigestScheme(superuser=digest_id("super", "pw")), IpScheme()])
    with zookeeper_server(rules=Rules(access=access, clean_every_ms=10**9)) as server:
        served = Ours(server.hosts)
        try:
            yield served
        finally:
            for session in served.sessions:
                session.drop()


class _Pair(NamedTuple):
    """A session at both."""

    live: Session
    ours: Session


class TwoServers:
    """A live ZooKeeper and a server of ours. A session is known by its id at ours."""

    def __init__(self, live: Server, ours: Ours) -> None:
        self._live = live
        self._ours = ours
        self._sessions: dict[int, _Pair] = {}
        self._in_live_words = Translation()
        self._story = Story()
        self._zxid = 0
        self.open()

    def open(self) -> int:
        """A new session."""
        pair = _Pair(Session(self._live), Session(self._ours))
        assert pair.live.timeout_ms == pair.ours.timeout_ms
        session = pair.ours.id
        self._sessions[session] = pair
        self._in_live_words.sessions[session] = pair.live.id
        self._story.note(session, "opens")
        self._compare_events()
        return session

    def close(self, session: int) -> None:
        """The session ends, and its ephemerals with it."""
        self._story.note(session, "closes")
        pair = self._sessions.pop(session)
        self._compare("the end of a session", pair.live.close(), pair.ours.close())
        self._compare_events(in_order=False)

    def authenticate(self, session: int, credentials: bytes) -> None:
        """The session is also known by these, of the digest scheme."""
        self._story.note(session, f"is {credentials!r}")
        live, ours = (each.authenticate("digest", credentials) for each in self._sessions[session])
        assert live == ours == 0

    def come_back(self, session: int, watches: SetWatches2, *, ago: int) -> None:
        """The session on another connection, which is told what it may have missed in the last `ago` transactions."""
        since = max(self._zxid - ago, 0)
        self._story.note(session, f"comes back, having seen {since}, with {watches}")
        for each in self._sessions[session]:
            each.come_back()
        self._compare("watches", *(each.watch_again(watches, since) for each in self._sessions[session]))
        self._compare_events()

    def check(self) -> None:
        """What can be seen of the servers is compared with each answer."""

    def ask(self, session: int, asked: Sequence[Request[Any]]) -> list[Any]:
        """Ask all of it at once, and compare what comes of it. Gives the answers."""
        for request in asked:
            self._story.note(session, request)
        live, ours = self._sessions[session]
        ours_replied = ours.ask(asked)
        asked_live = [self._as_live_judges(*each) for each in zip(asked, ours_replied, strict=True)]
        answers = []
        for request, theirs, reply in zip(asked_live, live.ask(asked_live), ours_replied, strict=True):
            answers.append(self._compare(request, theirs, reply))
        self._compare_events()
        return answers

    def _as_live_judges(self, request: Request[Any], ours: Reply) -> Request[Any]:
        """Before 3.9.2 everybody may ask whether there is a znode (ZOOKEEPER-2590): then another request, which wants
        to read as well."""
        if isinstance(request, Exists) and ours.error == NoAuthError.code and self._live.version < (3, 9, 2):
            return GetData(request.path)
        return request

    def _compare(self, request: object, live: Reply, ours: Reply) -> Any:
        theirs, answer = (answer_of(request, each) for each in (live, ours))
        answer = self._in_live_words(answer, theirs)
        assert (live.zxid, theirs) == (ours.zxid, answer), self._story.end(
            request, (live.zxid, theirs), (ours.zxid, answer)
        )
        self._zxid = ours.zxid
        return answer

    def _compare_events(self, *, in_order: bool = True) -> None:
        """Ephemerals go in the order of a hash table at ZooKeeper, and then so do the events."""
        for pair in self._sessions.values():
            for each in pair:
                each.catch_up()
            theirs, ours = ([self._plain(event) for event in each.events] for each in pair)
            alike = theirs == ours if in_order else sorted(theirs) == sorted(ours)
            assert alike, self._story.end("events", theirs, ours)
            for each in pair:
                each.events.clear()

    def _plain(self, event: Event) -> tuple[Any, ...]:
        """Before 3.9 no event says which transaction it was."""
        return event.ahead_of, event.type, event.path


def main(seeds: str, requests: str) -> None:
    """Play by hand: seeds from `first:count`, so many requests each."""
    first, _, count = seeds.rpartition(":")
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as live, ours() as served:
        both = TwoServers(live, served)
        for seed in range(int(first or 0), int(first or 0) + int(count)):
            play(both, seed, int(requests))
            print(f"seed {seed}", flush=True)
    print(f"{int(count) * int(requests):,} requests, no difference")


if __name__ == "__main__":
    main(*sys.argv[1:])
