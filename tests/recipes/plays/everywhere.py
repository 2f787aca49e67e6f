"""Plays of running everywhere."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict

from playing import FAULTS, Work, crowd, everybody_goes_on, play, storm

import zkcore
from zkcore.recipes.execution import OutcomeState
from zkcore.testing.app_world import AppWorld

STATES = OutcomeState

FAILS = 7
"""Arguments that this divides are too much for the handler."""


class Deeds:
    """What handlers did, and what reports say they did."""

    def __init__(self) -> None:
        self.begun: set[tuple[int, int]] = set()  # the tokens of execution and member
        self.finished: set[tuple[int, str]] = set()
        self.refused: dict[int, set[str]] = defaultdict(set)  # of each execution, who is said to have done nothing
        self.newest: Counter[int] = Counter()
        self.states: Counter[str] = Counter()
        self.wrong: list[str] = []  # what a handler raises would be a result like any other

    def begin(self, name: str, call: zkcore.Call[int]) -> None:
        """The handler of `name` is called."""
        me = call.lease.fencing_token
        if (call.token, me) in self.begun:
            self.wrong.append(f"{name} runs {call.argument} twice")
        if name in self.refused[call.token]:
            self.wrong.append(f"{name} runs what it is said never to run")
        if call.token < self.newest[me]:
            self.wrong.append(f"{name} runs {call.argument} out of order")
        self.begun.add((call.token, me))
        self.newest[me] = call.token

    def judge(self, execution: zkcore.Execution[object], report: zkcore.Report[object], number: int) -> None:
        """Hold what is said of the execution with the argument `number` against what was done."""
        found = {each.state for each in report.outcomes.values()}
        assert report.is_complete == (not found & {STATES.WAITING, STATES.RUNNING})
        for name, outcome in report.outcomes.items():
            self.states[outcome.state] += 1
            if outcome.state in (STATES.DONE, STATES.FAILED):
                has_failed = number % FAILS == 0
                assert (execution.zxid, name) in self.finished, f"{name} is done before it has come to the end"
                assert has_failed == (outcome.state is STATES.FAILED) == ("out of paper" in outcome.traceback)
                assert outcome.result == (None if has_failed else f"{name} {number}")
            elif outcome.state is STATES.GONE:
                assert (execution.zxid, name) not in self.finished, f"{name} is said to have done nothing"
                self.refused[execution.zxid].add(name)


@play(FAULTS)
async def everybody_runs_it_once_and_who_asked_is_told_when_all_have(world: AppWorld) -> None:
    """Everybody serves and everybody asks."""
    deeds = Deeds()
    complete: Counter[str] = Counter()
    world.always("handlers are called as is promised", lambda: not deeds.wrong)

    def work(name: str) -> Work:
        rng = world.rng(f"asking/{name}")

        async def act(call: zkcore.Call[int]) -> str:
            deeds.begin(name, call)
            await asyncio.sleep(0.1 * rng.random())
            call.lease.check()
            deeds.finished.add((call.token, name))
            if call.argument % FAILS == 0:
                raise ValueError("out of paper")
            return f"{name} {call.argument}"

        async def ask(everywhere: zkcore.Everywhere[object]) -> None:
            number = rng.randrange(1000)
            try:
                execution = await everywhere.start("act", number)
            except zkcore.NoMembersError:
                return
            deeds.judge(execution, await execution.wait(timeout=0.1), number)
            report = await execution.wait()
            assert report.is_complete, "it does not wait for all"
            deeds.judge(execution, report, number)
            complete[name] += 1

        async def serve_and_ask(client: zkcore.Client) -> None:
            everywhere = zkcore.Everywhere[object](
                client, "/fleet", name=name, actions={"act": act}, codec=zkcore.json_codec, history=1000
            )
            serving = asyncio.create_task(everywhere.serve())
            try:
                while not serving.done():
                    await asyncio.sleep(rng.uniform(0.3, 1.5))
                    await ask(everywhere)
                await serving
            except zkcore.NodeExistsError:
                await asyncio.sleep(0.5)  # this app as it was before, whose session has not expired yet
            finally:
                serving.cancel()
                await asyncio.wait([serving])

        return serve_and_ask

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, complete)
    assert deeds.states[STATES.DONE] > 0
