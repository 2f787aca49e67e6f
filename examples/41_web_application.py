"""A web application of several workers, under uvicorn, that needs nothing beside it: each has a member of an ensemble.

All say the same greeting, which is a config that they share: whoever is told another, all have it a moment later. All
together answer so many requests a second, and refuse the others with 429 and a Retry-After. One of them sends the mails
that are due, and when it is killed with kill -9 another goes on. Each says whether it is alive, and whether it is
ready.

`create_app` is given what connects to an ensemble, so it is the same in production and in tests on virtual time, which
take milliseconds (tests/extras/test_web_application.py). It needs an extra: ``pip install 'zkcore[web]'``. It prints::

    three workers are alive, and ready
    worker-1 was told another greeting, and all three say it: good evening
    a greeting that is none: 422, and nothing was changed
    of 30 requests no more than the limit of all were answered: True
    the others were told to come back in 1 s, and who does is answered: good evening
    one of three sends the mails; it is killed with kill -9
    another sends them, and its token is higher: True
    none was sent twice as if for the first time: True
    the two that are left know the greeting: good evening
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from typing import Any

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route
except ImportError as error:
    raise SystemExit(f"{error}; this example needs: pip install 'zkcore[web]'") from None

import zkcore

RATE, BURST = 1.0, 10
"""What all workers together answer: so many requests a second, and so many at once."""

MAILS = zkcore.Every(0.2)
PATIENCE_SECONDS = 5.0
"""For so long a request waits for the ensemble; then whoever asked is told to come back."""

SESSION_SECONDS = 2.0
"""For so long a worker may be silent before the others go on without it."""

Connect = Callable[[], AbstractAsyncContextManager[zkcore.Client]]
Job = Callable[[zkcore.Tick], Awaitable[object]]


# --- the application --------------------------------------------------------------------------------------------------


def create_app(connect: Connect, name: str, *, send_mails: Job) -> Starlette:
    """The application, as the worker called `name` has it. `connect` opens a client; `send_mails` is called when mails
    are due, in one of the workers."""
    worker = Worker(connect, name, send_mails)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        worker.running = asyncio.create_task(worker.run())
        yield
        worker.running.cancel()  # the session is ended, so another sends the mails at once
        await asyncio.wait([worker.running])

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/", worker.greet),
            Route("/greeting", worker.change, methods=["PUT"]),
            Route("/mails", worker.tell_of_mails),
            Route("/health", worker.tell_health),
            Route("/ready", worker.tell_ready),
        ],
        exception_handlers=dict.fromkeys(
            (HTTPException, json.JSONDecodeError, UnicodeDecodeError, TimeoutError, zkcore.ZkcoreError), tell_error
        ),
    )


async def tell_error(request: Request, error: Exception) -> Response:
    match error:
        case json.JSONDecodeError() | UnicodeDecodeError():
            return refuse(400, error)
        case zkcore.InvalidValueError():
            return refuse(422, error)
        case HTTPException(status_code=status):
            return refuse(status, error.detail, seconds=1 if status == 503 else None)
        case TimeoutError():
            return refuse(503, "the ensemble did not answer in time", seconds=1)
        case _:
            return refuse(503, error, seconds=1)


def refuse(status: int, why: object, *, seconds: int | None = None) -> Response:
    return JSONResponse({"error": str(why)}, status, None if seconds is None else {"Retry-After": str(seconds)})


def check_greeting(greeting: object) -> None:
    if not (isinstance(greeting, str) and 0 < len(greeting) <= 100):
        raise ValueError("that is no greeting; give a string of at most a hundred characters")


class Worker:
    """What a worker does beside answering: it has a session, knows the greeting, and stands by to send the mails."""

    def __init__(self, connect: Connect, name: str, send_mails: Job) -> None:
        self.name = name
        self.running: asyncio.Task[None] | None = None
        self._connect = connect
        self._send_mails = send_mails
        self._zk: zkcore.Client | None = None
        self._greeting: str | None = None

    async def run(self) -> None:
        """One session after the other: what was lost with one is begun anew with the next."""
        while True:
            try:
                async with self._connect() as zk, asyncio.TaskGroup() as tasks:
                    self._zk = zk
                    tasks.create_task(self._follow_greeting(zk))
                    tasks.create_task(self._job(zk).serve())
            except* (zkcore.SessionError, zkcore.OutcomeUnknownError, zkcore.LeaseLostError):
                self._zk = None

    async def _follow_greeting(self, zk: zkcore.Client) -> None:
        changes = self._config(zk).watch()
        while True:
            try:
                found = await anext(changes)
                greeting = "hello" if found is None else found.value
                check_greeting(greeting)
            except ValueError:
                continue  # another tool wrote what is none, or no JSON: the last good one holds
            self._greeting = greeting  # in memory: no request waits for it

    def _job(self, zk: zkcore.Client) -> zkcore.SingletonJob:
        return zkcore.SingletonJob(zk, "/web/mails", self._send_mails, schedule=MAILS, name=self.name)

    def _config(self, zk: zkcore.Client) -> zkcore.Config[Any]:
        return zkcore.Config(zk, "/web/greeting", codec=zkcore.json_codec, validate=check_greeting)

    @property
    def zk(self) -> zkcore.Client:
        """The present session, where there is one."""
        if self._zk is None:
            raise HTTPException(503, "there is no session at the moment")
        return self._zk

    # --- what is asked of it

    async def greet(self, request: Request) -> Response:
        limiter = zkcore.RateLimiter(self.zk, "/web/limit", rate=RATE, burst=BURST)
        async with asyncio.timeout(PATIENCE_SECONDS):  # without the ensemble nobody knows what is left: it is refused
            if not await limiter.acquire(timeout=0):
                missing = 1 - await limiter.available()
                return refuse(429, "too many requests", seconds=max(math.ceil(missing / RATE), 1))
        return JSONResponse({"worker": self.name, "greeting": self._greeting})

    async def change(self, request: Request) -> Response:
        async with asyncio.timeout(PATIENCE_SECONDS):
            now = await self._config(self.zk).set(await request.json())
        return JSONResponse({"version": now.version})

    async def tell_of_mails(self, request: Request) -> Response:
        job = self._job(self.zk)
        async with asyncio.timeout(PATIENCE_SECONDS):
            leader, record = await job.leader(), await job.record()
        last = record and {"by": record.by, "state": record.state, "due": record.due, "token": record.token}
        return JSONResponse({"leader": leader, "last": last})

    async def tell_health(self, request: Request) -> Response:
        """Whether to leave this worker alone: where its work has ended, it is to be started anew."""
        is_alive = self.running is not None and not self.running.done()
        return JSONResponse({"worker": self.name}, 200 if is_alive else 503)

    async def tell_ready(self, request: Request) -> Response:
        """Whether to send requests here: not while the ensemble cannot be asked, which is no reason to start anew."""
        is_ready = self._zk is not None and self._zk.state is zkcore.SessionState.CONNECTED
        is_ready = is_ready and self._greeting is not None
        return JSONResponse({"worker": self.name, "greeting": self._greeting}, 200 if is_ready else 503)


# --- one worker process -----------------------------------------------------------------------------------------------


async def serve(me: int, members: dict[int, str], web: str, folder: str) -> None:
    def send_mails(tick: zkcore.Tick) -> Awaitable[None]:
        line = json.dumps({"due": tick.due, "by": f"worker-{me}", "attempt": tick.attempt, "token": tick.token})
        return asyncio.to_thread(append, f"{folder}/mails", line)

    config = zkcore.NodeConfig(
        me=me,
        members=members,
        cluster="web",
        security=zkcore.SharedSecret(b"in production: secrets.token_hex()"),
        data_dir=f"{folder}/{me}",
        new=True,  # only at the very first start
    )
    async with zkcore.start_node(config) as node:
        app = create_app(lambda: node.client(timeout=SESSION_SECONDS), f"worker-{me}", send_mails=send_mails)
        host, _, port = web.rpartition(":")
        await uvicorn.Server(uvicorn.Config(app, host, int(port), log_level="error", lifespan="on")).serve()


def append(path: str, line: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{line}\n".encode())  # whole, or not at all
    finally:
        os.close(file)


# --- whoever starts, asks and kills them ------------------------------------------------------------------------------


class Workers:
    """Three processes, and what they answer."""

    def __init__(self, stack: ExitStack) -> None:
        self.folder = stack.enter_context(tempfile.TemporaryDirectory())
        self.web = {me: free_address(stack) for me in (1, 2, 3)}
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self._http = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        stack.callback(lambda: [self.kill(me) for me in list(self.running)])
        members = {me: free_address(stack) for me in self.web}
        for me, web in self.web.items():
            settings = json.dumps({"me": me, "members": members, "web": web, "folder": self.folder})
            warnings = [f"-W{option}" for option in sys.warnoptions]
            self.running[me] = subprocess.Popen([sys.executable, *warnings, __file__, settings])

    def kill(self, me: int) -> None:
        process = self.running.pop(me)
        process.kill()  # as kill -9
        process.wait()

    def ask(self, me: int, path: str = "/", *, put: object = None) -> tuple[int, Any, str]:
        """The status of what worker `me` answers, what it says, and its Retry-After; as soon as it can answer."""
        while True:
            status, said, seconds = self._ask_once(me, path, put)
            if status not in (0, 503):
                return status, said, seconds
            time.sleep(0.05)

    def _ask_once(self, me: int, path: str, put: object) -> tuple[int, Any, str]:
        body = None if put is None else json.dumps(put).encode()
        request = urllib.request.Request(f"http://{self.web[me]}{path}", body, method="GET" if put is None else "PUT")
        try:
            answer = self._http.open(request, timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        except OSError:
            return 0, None, ""
        with answer:
            return answer.status, json.load(answer), answer.headers.get("Retry-After", "")

    def wait_for(self, me: int, path: str, condition: Callable[[Any], object]) -> Any:
        """The first answer of worker `me` of which `condition` holds."""
        while True:
            _, said, _ = self.ask(me, path)
            if condition(said):
                return said
            time.sleep(0.05)

    def mails(self) -> list[dict[str, Any]]:
        with open(f"{self.folder}/mails", encoding="utf-8") as file:
            return [json.loads(line) for line in file]


def free_address(stack: ExitStack) -> str:
    """An address that is kept for whoever asks to share it, as members and uvicorn do."""
    kept = stack.enter_context(socket.socket())
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    return f"127.0.0.1:{kept.getsockname()[1]}"


def main() -> None:
    with ExitStack() as stack:
        workers = Workers(stack)
        for me in workers.web:
            workers.wait_for(me, "/ready", lambda said: True)
        if all(workers.ask(me, "/health")[0] == 200 for me in workers.web):
            print("three workers are alive, and ready")

        workers.ask(1, "/greeting", put="good evening")
        for me in workers.web:
            said = workers.wait_for(me, "/ready", lambda said: said["greeting"] == "good evening")
        print("worker-1 was told another greeting, and all three say it:", said["greeting"])
        print(f"a greeting that is none: {workers.ask(2, '/greeting', put=17)[0]}, and nothing was changed")

        limit_requests(workers)
        kill_who_sends_mails(workers)
        greetings = {workers.wait_for(me, "/ready", lambda said: True)["greeting"] for me in workers.running}
        print("the two that are left know the greeting:", *greetings)


def limit_requests(workers: Workers) -> None:
    began = time.monotonic()
    answers = [workers.ask(request % 3 + 1) for request in range(30)]
    most = BURST + RATE * (time.monotonic() - began) * 1.01
    answered = sum(status == 200 for status, _, _ in answers)
    print("of 30 requests no more than the limit of all were answered:", 0 < answered <= most)
    seconds = next(seconds for status, _, seconds in answers if status == 429)
    time.sleep(int(seconds))
    print(f"the others were told to come back in {seconds} s, and who does is answered:", workers.ask(1)[1]["greeting"])


def kill_who_sends_mails(workers: Workers) -> None:
    first = workers.wait_for(1, "/mails", lambda said: said["last"] and said["last"]["state"] == "done")["last"]
    workers.kill(int(first["by"].removeprefix("worker-")))
    print("one of three sends the mails; it is killed with kill -9")
    witness = min(workers.running)
    second = workers.wait_for(
        witness, "/mails", lambda said: said["last"]["by"] != first["by"] and said["last"]["state"] == "done"
    )["last"]
    print("another sends them, and its token is higher:", second["token"] > first["token"])
    sent = [(mail["due"], mail["attempt"]) for mail in workers.mails()]
    print("none was sent twice as if for the first time:", len(sent) == len(set(sent)))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        settings: dict[str, Any] = json.loads(sys.argv[1])
        settings["members"] = {int(me): address for me, address in settings["members"].items()}
        logging.getLogger("zkcore").setLevel(logging.ERROR)  # that others are down is a warning, and here no surprise
        asyncio.run(serve(**settings))
    else:
        main()
