"""The web application of the examples, in worlds on virtual time: who sends the mails, who knows the greeting, and how
many requests all workers together answer, while they crash and are cut off."""

from __future__ import annotations

import asyncio
import json
import runpy
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import zkcore
from zkcore.testing.app_world import AppWorld
from zkcore.testing.seeds import run_seeds

pytest.importorskip("starlette", reason="without the extra zkcore[web]")
pytest.importorskip("uvicorn", reason="without the extra zkcore[web]")

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "41_web_application.py"))
NAMES = ("one", "two", "three")
SEEDS = range(4)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    said: Any


async def ask(app: Any, path: str = "/", *, put: bytes | None = None) -> Answer:
    """What the application answers; as uvicorn would ask it."""
    told: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": put or b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        told.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET" if put is None else "PUT",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": [],
    }  # fmt: skip
    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in told[0]["headers"]}
    return Answer(told[0]["status"], headers, json.loads(b"".join(each.get("body", b"") for each in told[1:])))


class Fleet:
    """Three workers, each in an app of its own, and what they have sent."""

    def __init__(self, world: AppWorld) -> None:
        self.world = world
        self.sent: list[tuple[str, zkcore.Tick]] = []
        self.outbox = world.fenced_resource("outbox", value=0)
        self._inboxes: dict[str, asyncio.Queue[tuple[Callable[..., Awaitable[Any]], Any]]] = {}
        for name in NAMES:
            world.app(name).spawn(self._serve, name)

    async def _serve(self, name: str) -> None:
        async def send_mails(tick: zkcore.Tick) -> None:
            await self.outbox.write(tick.due, token=tick.token)
            self.sent.append((name, tick))

        app = EXAMPLE["create_app"](lambda: self.world.client(timeout=3), name, send_mails=send_mails)
        async with app.router.lifespan_context(app), asyncio.TaskGroup() as tasks:
            inbox = self._inboxes[name] = asyncio.Queue()
            while True:
                asked, answer = await inbox.get()
                tasks.create_task(self._answer(app, asked, answer))

    async def _answer(self, app: Any, asked: Callable[..., Awaitable[Any]], answer: asyncio.Future[Any]) -> None:
        said = await asked(app)
        if not answer.done():
            answer.set_result(said)

    async def ask(self, name: str, path: str = "/", *, put: bytes | None = None) -> Answer:
        """What the worker answers; it does so in its own process, and not where that has crashed (TimeoutError)."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._inboxes[name].put_nowait((lambda app: ask(app, path, put=put), answer))
        async with asyncio.timeout(20):
            return await answer

    async def until_ready(self, *names: str) -> None:
        for name in names or NAMES:
            while name not in self._inboxes or (await self.ask(name, "/ready")).status != 200:
                await asyncio.sleep(0.1)

    async def until_mailed(self, *names: str) -> str:
        """Who has sent the next mail, one of these."""
        before = len(self.sent)
        while not any(name in names for name, _ in self.sent[before:]):
            await asyncio.sleep(0.1)
        return self.sent[-1][0]


def played(story: Callable[[AppWorld], Coroutine[Any, Any, None]], *, faults: str = "", seeds: range = SEEDS) -> None:
    done = run_seeds(story, seeds, make_world=lambda seed: AppWorld(seed, faults=faults))
    assert done.count == len(seeds)


def test_one_worker_sends_the_mails_and_another_when_it_dies() -> None:
    async def story(world: AppWorld) -> None:
        fleet = Fleet(world)
        first = await fleet.until_mailed(*NAMES)
        await world.sleep(2)
        assert {name for name, _ in fleet.sent} == {first}
        others = [name for name in NAMES if name != first]
        assert (await fleet.ask(others[0], "/mails")).said["leader"] == first
        world.crash(first)
        crashed_at = world.now
        second = await fleet.until_mailed(*others)
        assert world.now - crashed_at < 8  # its session, and a second or two
        told = (await fleet.ask(second, "/mails")).said
        assert (told["leader"], told["last"]["by"]) == (second, second)
        assert told["last"]["token"] > fleet.sent[0][1].token

    played(story)


def test_no_mail_is_sent_twice_as_if_for_the_first_time_whatever_breaks() -> None:
    async def story(world: AppWorld) -> None:
        fleet = Fleet(world)

        def is_sound() -> bool:
            ticks = [(tick.due, tick.attempt) for _, tick in fleet.sent]
            return ticks == sorted(set(ticks))

        world.always("each mail is sent once, or known to be sent again", is_sound)
        await world.sleep(15)
        world.calm()
        sent = len(fleet.sent)
        await world.eventually("the mails go on", lambda: len(fleet.sent) > sent + 10, within=60)

    played(story, faults="crash,expire,partition,pause", seeds=range(3))


def test_a_greeting_that_one_is_told_reaches_all_and_also_who_was_away() -> None:
    async def story(world: AppWorld) -> None:
        fleet = Fleet(world)
        await fleet.until_ready()
        world.partition("three")
        assert (await fleet.ask("one", "/greeting", put=b'"good evening"')).said == {"version": 0}
        await world.sleep(5)
        assert (await fleet.ask("two")).said == {"worker": "two", "greeting": "good evening"}
        assert (await fleet.ask("three", "/ready")).status == 503
        assert (await fleet.ask("three", "/health")).status == 200  # to start it anew would not help
        refused = await fleet.ask("three")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        world.heal()
        await fleet.until_ready("three")
        assert (await fleet.ask("three")).said["greeting"] == "good evening"

    played(story)


def test_a_greeting_that_is_none_is_refused_and_changes_nothing() -> None:
    async def story(world: AppWorld) -> None:
        fleet = Fleet(world)
        await fleet.until_ready()
        for body, status in ((b"17", 422), (b'""', 422), (b'"' + b"x" * 101 + b'"', 422), (b"{", 400), (b"\xff", 400)):
            refused = await fleet.ask("one", "/greeting", put=body)
            assert refused.status == status
            assert refused.said["error"]
        assert (await fleet.ask("two")).said["greeting"] == "hello"

    played(story, seeds=range(1))


@pytest.mark.parametrize("junk", [b"{", b"17"])
def test_what_others_write_in_place_of_a_greeting_changes_and_ends_nothing(junk: bytes) -> None:
    async def story(world: AppWorld) -> None:
        fleet = Fleet(world)
        await fleet.until_ready()
        await fleet.ask("one", "/greeting", put=b'"good evening"')
        async with world.client() as zk:
            await zk.set("/web/greeting", junk)
        await world.sleep(1)
        assert [(await fleet.ask(name)).said["greeting"] for name in NAMES] == ["good evening"] * 3
        await fleet.ask("two", "/greeting", put=b'"good night"')
        await world.sleep(1)
        assert [(await fleet.ask(name)).said["greeting"] for name in NAMES] == ["good night"] * 3
        assert [(await fleet.ask(name, "/health")).status for name in NAMES] == [200] * 3

    played(story, seeds=range(1))


def test_all_workers_together_answer_no_more_than_the_limit() -> None:
    rate, burst = EXAMPLE["RATE"], EXAMPLE["BURST"]

    async def story(world: AppWorld) -> None:
        fleet = Fleet(world)
        await fleet.until_ready()
        began = world.now
        answers = await asyncio.gather(*(fleet.ask(name) for name in NAMES * 10))
        answered = [each for each in answers if each.status == 200]
        assert burst <= len(answered) <= burst + rate * (world.now - began) * 1.01
        refused = [each for each in answers if each not in answered]
        assert {each.status for each in refused} == {429}
        await world.sleep(max(int(each.headers["retry-after"]) for each in refused))
        assert (await fleet.ask("one")).status == 200  # as it was told

    played(story, seeds=range(2))


def test_a_worker_whose_work_has_ended_is_not_alive() -> None:
    async def main() -> None:
        def connect() -> Any:
            raise ZeroDivisionError

        app = EXAMPLE["create_app"](connect, "one", send_mails=print)
        async with app.router.lifespan_context(app):
            assert (await ask(app, "/health")).status == 200
            await asyncio.sleep(0)
            assert [(await ask(app, path)).status for path in ("/health", "/ready")] == [503, 503]

    asyncio.run(main())
