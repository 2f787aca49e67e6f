"""What two examples promise beyond what they print: the host in `04_wire_it_yourself.py`, which others are to copy,
keeps the laws of links; and the demo fails where a promise is broken."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import zkcore
from zkcore.replica.answers import Detached
from zkcore.tree.requests import Create, GetData, SetData
from zkcore.zab.messages import Forward
from zkcore.zab.ready import Event, Ready

EXAMPLES = Path(__file__).parent.parent / "examples"


# --- the host


@pytest.fixture
def host() -> Any:
    return runpy.run_path(str(EXAMPLES / "04_wire_it_yourself.py"))["Host"]()


def begin(host: Any) -> tuple[int, int]:
    """An established leader, and a session there that wrote once."""
    leader: int = host.leader()
    session: int = host.replicas[leader].open(10_000, host.now, password=bytes(16))
    host.answer(session, 0)
    host.ask(leader, session, Create("/word", b"one"))
    return leader, session


def words(host: Any) -> list[bytes]:
    return [replica.tree.read(GetData("/word")).data for replica in host.replicas.values()]


def test_what_is_said_between_a_break_and_its_report_is_not_sent(host: Any) -> None:
    """It would travel on the next link, to a conversation that has not begun."""
    host.step()
    host.cut(1, 2)
    host.link(1, 2)
    waiting = len(host.queues[2])
    host.send(1, 2, Forward(b"too late"))
    assert len(host.queues[2]) == waiting

    host.step()
    host.send(1, 2, Forward(b"in time"))
    assert len(host.queues[2]) == 1


class Closing:
    """A replica that twice in one turn wants its link to `peer` broken, and notes what it is told of it."""

    def __init__(self, peer: int) -> None:
        self.heard: list[str] = []
        self.ready = [Ready[Event](), Ready[Event](closes=[peer]), Ready[Event](closes=[peer])]

    def drain(self) -> Ready[Event]:
        return self.ready.pop() if self.ready else Ready()

    def report_linked(self, peer: int) -> None:
        self.heard.append("linked")

    def report_lost(self, peer: int) -> None:
        self.heard.append("lost")


def test_a_link_that_is_broken_already_does_not_break_again(host: Any) -> None:
    host.step()
    one = host.replicas[1] = Closing(2)
    for _ in range(2):
        host.turn(1)
    assert one.heard == ["lost", "linked"]


def test_what_the_tree_refuses_is_raised(host: Any) -> None:
    leader, session = begin(host)
    with pytest.raises(zkcore.NodeExistsError):
        host.ask(leader, session, Create("/word"))


def test_a_replica_cut_off_alone_catches_up_once_healed(host: Any) -> None:
    leader, session = begin(host)
    behind, other = (me for me in host.replicas if me != leader)
    host.cut(leader, behind)
    host.cut(other, behind)
    host.ask(leader, session, SetData("/word", b"two"))
    assert host.replicas[behind].tree.last_zxid < host.replicas[leader].tree.last_zxid

    host.link(leader, behind)
    host.link(other, behind)
    host.run_until(lambda: words(host) == [b"two"] * 3)


def test_a_leader_cut_off_from_one_follower_goes_on_with_the_other(host: Any) -> None:
    leader, session = begin(host)
    cut_off = next(me for me in host.replicas if me != leader)
    host.cut(leader, cut_off)
    for number in range(50):
        host.ask(leader, session, SetData("/word", b"%d" % number))
        host.step()
    assert host.leader() == leader

    host.link(leader, cut_off)
    host.run_until(lambda: words(host) == [b"49"] * 3)


def test_a_write_cut_off_with_its_leader_is_never_applied(host: Any) -> None:
    leader, session = begin(host)
    others = {me for me in host.replicas if me != leader}
    for other in others:
        host.cut(leader, other)
    host.replicas[leader].submit(session, SetData("/word", b"lost"), host.now)
    new = host.leader(among=others)
    host.run_until(lambda: any(isinstance(event, Detached) for event in host.events))

    for other in others:
        host.link(leader, other)
    host.run_until(lambda: host.replicas[leader].leader == new)
    assert words(host) == [b"one"] * 3


@pytest.mark.parametrize("pause", [1, 7, 30, 150, 250])
def test_links_that_come_and_go_lose_nothing_that_was_answered(host: Any, pause: int) -> None:
    """Every link in turn breaks and comes back, `pause` ticks later; whoever leads then takes a session and a write."""
    begin(host)
    for number, (a, b) in enumerate([(1, 2), (2, 3), (1, 3)] * 2):
        for change in (host.cut, host.link):
            change(a, b)
            for _ in range(pause):
                host.step()
        leader = host.leader()
        session = host.replicas[leader].open(10_000, host.now, password=bytes(16))
        host.answer(session, 0)
        host.ask(leader, session, SetData("/word", b"%d" % number, version=number))
    host.run_until(lambda: words(host) == [b"5"] * 3)


# --- the demo


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The demo, in a hurry, on a file of its own."""
    spec = importlib.util.spec_from_file_location("demo", EXAMPLES / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "demo", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "WORK_SECONDS", 0.2)
    monkeypatch.setattr(module, "SESSION_SECONDS", 0.5)
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"this is line {number}\n\n" for number in range(20)), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["demo.py", str(lines)])
    return module


def test_the_demo_holds(demo: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main() == 0
    printed = capsys.readouterr().out
    assert printed.count("  held") == 6
    assert "BROKEN" not in printed
    assert "60 of 60" in printed


def test_the_demo_fails_where_the_resource_does_not_look_at_tokens(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(ledger: Any, number: int, result: str, *, token: int) -> None:
        ledger.highest = token
        ledger.results[number] = result
        ledger.accepted.append(token)

    monkeypatch.setattr(demo.Ledger, "write", write)
    assert demo.main() == 1
    broken = [line for line in capsys.readouterr().out.splitlines() if line.endswith("BROKEN")]
    assert [line.split("  ")[1] for line in broken] == [
        "lines whose result is in the ledger, once and correct",
        "tokens higher than the one before, at the ledger",
        "writes of the expired holder that the ledger refused",
    ]


def test_the_demo_fails_where_a_result_is_not_that_of_its_line(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(results: dict[str, bytes]) -> dict[str, bytes]:
        return results | {"line-000007": b"something else"}

    read_back = demo.read_back

    async def read_wrongly(played: Any) -> dict[int, dict[str, bytes]]:
        return {me: wrong(results) for me, results in (await read_back(played)).items()}

    monkeypatch.setattr(demo, "read_back", read_wrongly)
    assert demo.main() == 1
    assert "57 of 60  BROKEN" in capsys.readouterr().out


def test_a_file_that_is_too_short_is_refused(demo: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    Path(sys.argv[1]).write_text("a line\n", encoding="utf-8")
    assert demo.main() == 2
    assert "has 1 lines" in capsys.readouterr().err
