"""Actions run everywhere, step by step: by whom, in which order, what is told of it, and what is refused."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from faults import attempt
from scripted import Run, World

import zkcore.sync
from zkcore.client.client import Client
from zkcore.errors import (
    BadArgumentsError,
    CodecError,
    ItemTooLargeError,
    LeaseLostError,
    NodeExistsError,
    NoMembersError,
    NoNodeError,
    NotMemberError,
    UnknownActionError,
)
from zkcore.recipes.codec import bytes_codec, json_codec
from zkcore.recipes.everywhere import Call, Everywhere
from zkcore.recipes.execution import OutcomeState, Report
from zkcore.tree.requests import Delete

PATH = "/fleet"


class Member:
    """One who serves, in a session of its own, and what it was called with."""

    def __init__(self, world: World, name: str, **options: Any) -> None:
        self.client = world.client()
        self.calls: list[Any] = []
        self.tokens: list[int] = []
        self.may_end = world.client().port.signal()
        self.everywhere: Everywhere[Any] = Everywhere(
            self.client, PATH, name=name, codec=json_codec, actions=options.get("actions", {"act": self.act})
        )
        self.name = name
        self.serving: Run = world.start(self.everywhere.serve())
        world.settle()

    async def act(self, call: Call[Any]) -> Any:
        self.calls.append(call.argument)
        self.tokens.append(call.token)
        if call.argument == "wait":
            await self.client.port.wait(self.may_end)
        if call.argument == "fail":
            raise ValueError("out of paper")
        if call.argument == "huge":
            return "x" * 2**21
        if call.argument == "odd":
            return object()
        return f"{self.name} {call.argument}"


def asking(world: World, client: Client | None = None, **options: Any) -> Everywhere[Any]:
    return Everywhere(client or world.client(), PATH, codec=json_codec, **options)


def states(report: Report[Any]) -> dict[str, str]:
    return {name: str(outcome.state) for name, outcome in report.outcomes.items()}


def run(world: World, argument: Any, **options: Any) -> Report[Any]:
    report: Report[Any] = world.run(asking(world).run("act", argument, **options))
    return report


def test_every_member_runs_it_once_and_who_asked_gets_the_results() -> None:
    world = World()
    members = [Member(world, name) for name in ("a", "b", "c")]
    report = run(world, 1)
    assert report.results == {"a": "a 1", "b": "b 1", "c": "c 1"}
    assert report.is_complete
    assert report.is_done
    run(world, 2)
    assert [each.calls for each in members] == [[1, 2]] * 3
    assert members[0].tokens == members[1].tokens == sorted(members[2].tokens)
    assert world.run(asking(world).members()) == {"a": ("act",), "b": ("act",), "c": ("act",)}


def test_only_those_that_are_let_through_run_it() -> None:
    world = World()
    one, other = Member(world, "db-1"), Member(world, "web-1")
    assert run(world, 1, where=lambda name: name.startswith("db-")).results == {"db-1": "db-1 1"}
    assert (one.calls, other.calls) == ([1], [])
    with pytest.raises(NoMembersError, match="where"):
        run(world, 1, where=lambda name: False)


@pytest.mark.parametrize(
    ("argument", "said"), [("fail", "out of paper"), ("huge", "address"), ("odd", "cannot encode")]
)
def test_what_a_handler_raises_is_told_with_its_traceback_and_concerns_nobody_else(argument: str, said: str) -> None:
    world = World()
    Member(world, "a")

    async def work(call: Call[Any]) -> str:
        return "done"

    Member(world, "b", actions={"act": work})
    report = run(world, argument)
    assert states(report) == {"a": "failed", "b": "done"}
    assert said in report.outcomes["a"].traceback
    assert "Traceback" in report.outcomes["a"].traceback
    assert (report.is_complete, report.is_done) == (True, False)
    assert run(world, 1).is_done is (True), "it serves on"


def test_after_the_timeout_there_is_what_came_of_it_by_then_and_it_goes_on() -> None:
    world = World()
    slow = Member(world, "a")
    quick = Member(world, "b", actions={"act": echo})
    asker = asking(world)
    execution = world.run(asker.start("act", "wait"))
    reports: list[Report[Any]] = []

    async def follow() -> None:
        async for report in execution.changes():
            reports.append(report)
            if report.is_complete:
                return

    following = world.start(follow())
    waiting = world.start(execution.wait(timeout=5))
    world.settle()
    assert not waiting.is_over
    world.sleep(5)
    assert states(waiting.outcome()) == {"a": "running", "b": "done"}
    slow.may_end.set()
    world.settle()
    assert states(world.run(execution.wait())) == {"a": "done", "b": "done"}
    assert following.is_over
    assert reports[-1].is_done
    assert not any(each.is_complete for each in reports[:-1])
    assert quick.serving.error is None
    assert "act by 2 members" in repr(execution)


async def echo(call: Call[Any]) -> Any:
    return call.argument


def test_who_dies_is_told_of_and_whether_it_had_begun_and_who_joins_is_named() -> None:
    world = World()
    busy, waiting = Member(world, "a"), Member(world, "b")
    execution = world.run(asking(world).start("act", "wait"))
    world.settle()
    second = world.run(asking(world).start("act", 2))
    world.settle()
    world.expire(busy.client)
    world.settle()
    late = Member(world, "a")  # under the same name
    report = world.run(execution.report())
    assert states(report) == {"a": "lost", "b": "running"}
    assert report.joined == {"a"}
    waiting.may_end.set()
    world.settle()
    report = world.run(second.wait())
    assert states(report) == {"a": "gone", "b": "done"}
    assert (report.is_complete, report.is_done) == (True, False)
    assert late.calls == [], "it was not asked"


def test_an_action_that_one_of_them_does_not_know_is_run_by_nobody() -> None:
    world = World()
    one, other = Member(world, "a"), Member(world, "b", actions={"other": echo})
    with pytest.raises(UnknownActionError, match="actions of b"):
        run(world, 1)
    assert (one.calls, other.calls) == ([], [])
    assert world.run(asking(world).executions()) == ()


def test_what_is_kept_is_bounded_and_told() -> None:
    world = World()
    Member(world, "a")
    asker = asking(world, history=3)
    first = world.run(asker.start("act", 0))
    for number in range(1, 5):
        world.run(asker.run("act", number))
    kept = world.run(asker.executions())
    assert len(kept) == 3
    assert world.run(kept[0].report()).results == {"a": "a 2"}
    assert kept[0].action == "act"
    with pytest.raises(NoNodeError, match="longer history"):
        world.run(first.report())


def test_bad_use_is_refused_with_what_to_do() -> None:
    world = World()
    with pytest.raises(NoMembersError, match="serve"):
        run(world, 1)
    member = Member(world, "a")
    with pytest.raises(CodecError):
        run(world, object())
    with pytest.raises(ItemTooLargeError, match="address"):
        run(world, "x" * 2**20)
    with pytest.raises(BadArgumentsError, match="functions to call"):
        asking(world, actions={"": echo})
    with pytest.raises(BadArgumentsError, match="history"):
        asking(world, history=0)
    with pytest.raises(NodeExistsError):
        world.run(asking(world, name="a").serve())
    report = world.run(Everywhere(world.client(), PATH, codec=bytes_codec).run("act", b"{"))
    assert "CodecError" in report.outcomes["a"].traceback
    assert member.calls == []


def test_a_member_that_somebody_deleted_is_told_when_it_is_to_run_something() -> None:
    world = World()
    member = Member(world, "a")
    other = Member(world, "b")
    world.run(asking(world).start("act", "wait"))
    world.run(asking(world).start("act", 1))
    world.do(member.client.session_id, Delete(f"{PATH}/members/a"))
    member.may_end.set()
    world.settle()
    assert isinstance(member.serving.error, NotMemberError)
    assert (member.calls, other.calls) == (["wait"], ["wait"])


def test_who_is_stopped_ends_behind_what_it_runs() -> None:
    world = World()
    member = Member(world, "a")
    member.everywhere.stop()
    world.settle()
    assert member.serving.is_over
    assert member.serving.error is None
    assert world.children(f"{PATH}/members") == []
    assert repr(member.everywhere) == "<Everywhere /fleet not serving>"
    member.everywhere.stop()


@pytest.mark.parametrize("action", ["lost before", "lost after", "expired"])
def test_a_member_runs_it_once_whatever_happens_to_it(action: str) -> None:
    at, is_hit = 0, True
    while is_hit:
        world = World()
        member = Member(world, "a")
        asked, is_hit = attempt(
            world, asking(world).run("act", 1, timeout=0.5), action, at, session=member.client.session_id,
            also=(LeaseLostError,),
        )  # fmt: skip
        assert len(member.calls) <= 1
        report = asked.result
        if report is not None and states(report) == {"a": "done"}:
            assert member.calls == [1]
        if action.startswith("lost"):
            assert member.calls == [1]
        at += 1
    assert at > 2


def test_threads_serve_and_ask() -> None:
    with zkcore.sync.local_cluster(1) as cluster, cluster.client() as zk, cluster.client() as other:
        threads: list[threading.Thread] = []
        serving: list[zkcore.sync.Everywhere[Any]] = []
        for name, client in (("a", zk), ("b", other)):

            def act(call: zkcore.Call[Any], name: str = name) -> str:
                call.lease.check()
                if call.argument == f"fail {name}":
                    raise ValueError("out of paper")
                return f"{name} {call.argument}"

            each = zkcore.sync.Everywhere[Any](client, PATH, name=name, actions={"act": act}, codec=json_codec)
            serving.append(each)
            threads.append(threading.Thread(target=each.serve))
            threads[-1].start()
        asker: Any = serving[0]
        while len(asker.members()) < 2:
            pass
        assert asker.run("act", 1, timeout=20).results == {"a": "a 1", "b": "b 1"}
        execution = asker.start("act", "fail a")
        for report in execution.changes():
            if report.is_complete:
                break
        outcomes = execution.wait(timeout=-1).outcomes
        assert {name: each.state for name, each in outcomes.items()} == {
            "a": OutcomeState.FAILED,
            "b": OutcomeState.DONE,
        }
        assert "in act" in outcomes["a"].traceback
        assert "out of paper" in outcomes["a"].traceback
        assert execution.report() == report
        assert (execution.action, asker.path) == ("act", PATH)
        assert [each.zxid for each in asker.executions()][-1] == execution.zxid
        assert execution.path.startswith(f"{PATH}/runs/")
        assert repr(asker) == "<Everywhere /fleet serving>"
        assert "Execution of act" in repr(execution)
        with pytest.raises(zkcore.sync.BadArgumentsError):
            zkcore.sync.Everywhere(zk, PATH, actions={"act": 7})  # type: ignore[dict-item]
        for each in serving:
            each.stop()
        for thread in threads:
            thread.join()
