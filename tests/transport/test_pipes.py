"""The transport of pipes that an example makes keeps the law, also when a process ends or sends rubbish."""

from __future__ import annotations

import runpy
import time
from collections.abc import Callable, Mapping
from itertools import combinations
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from zkcore.testing.contracts import RecordingInbox, TransportContract
from zkcore.transport import Inbox, Transport
from zkcore.zab.messages import PeerId, Ping

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "15_transport_of_pipes.py"))

PATIENCE = 60.0
"""Seconds after which what was waited for is taken not to come."""


class TestPipes(TransportContract):
    def setup_method(self) -> None:
        self.transports: list[Any] = []

    def teardown_method(self) -> None:
        for transport in self.transports:
            transport.stop()

    def connect(self, inboxes: Mapping[PeerId, Inbox]) -> Mapping[PeerId, Transport]:
        pipes: dict[PeerId, dict[PeerId, Connection]] = {me: {} for me in inboxes}
        for one, two in combinations(inboxes, 2):
            pipes[one][two], pipes[two][one] = Pipe()
        made = {me: EXAMPLE["PipeTransport"](inbox, pipes[me]) for me, inbox in inboxes.items()}
        self.transports += made.values()
        return made

    def wait_until(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < until, "it has not come about"
            time.sleep(0.0005)

    def test_the_end_of_a_peer_is_the_loss_of_its_link(self) -> None:
        inboxes, transports = self._start(1, 2)
        transports[1].send(2, Ping(1))
        transports[1].stop()  # type: ignore[attr-defined]
        self._settle(inboxes, lambda: not inboxes[2].is_linked(1))
        assert inboxes[2].messages(1) == [[Ping(1)]]
        transports[2].send(1, Ping(2))
        transports[2].close(1)

    def test_rubbish_breaks_the_link_and_harms_nothing_else(self) -> None:
        ours, theirs = Pipe()
        inbox = RecordingInbox()
        self.transports.append(EXAMPLE["PipeTransport"](inbox, {2: ours}))
        theirs.send_bytes(b"D\xff\xff\xff")
        assert theirs.recv_bytes() == EXAMPLE["BREAK"]
        theirs.send_bytes(EXAMPLE["BREAK"])
        self.wait_until(lambda: len(inbox.messages(2)) == 2 and inbox.is_linked(2))
        inbox.check_law()
        assert inbox.messages(2) == [[], []]
