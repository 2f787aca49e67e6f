"""Three processes of one application, each with a member of one ensemble in it, and no server.

They elect who works. The one that does is killed with kill -9; another goes on where it stopped, and what was killed
comes back with the data it has on disk. Here all of them are on one machine. On three, each has an address of its own,
and certificates (`zkcore.Tls`) tell the members apart. It prints::

    one of three works
    it is killed with kill -9 after 20 steps
    another works, and its token is higher: True
    it has come to 40 steps
    the one that was killed is back, and knows of 40 steps
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from typing import IO, Any

import zkcore

STEPS = 20
"""At each multiple of so many steps the worker waits to be killed."""


# --- the application, in each of the processes ------------------------------------------------------------------------


async def application(me: int, members: dict[int, str], folder: str, *, new: bool) -> None:
    config = zkcore.NodeConfig(
        me=me,
        members=members,  # the same for all, as all that follows
        cluster="example",
        security=zkcore.SharedSecret(b"in production: secrets.token_hex()"),
        data_dir=f"{folder}/{me}",
        new=new,  # only at the very first start
    )
    async with zkcore.start_node(config) as node:
        while True:
            try:
                async with node.client(timeout=2) as zk:
                    await work(me, zk)
            except (zkcore.SessionError, zkcore.OutcomeUnknownError, zkcore.LeaseLostError):
                pass  # a process that gets no time for so long is as good as dead to the others; it begins anew


async def work(me: int, zk: zkcore.Client) -> None:
    await zk.ensure_path("/steps")
    await zk.sync()
    say("up", me, len(await zk.get_children("/steps")))
    async with zkcore.Election(zk, "/worker").lead() as term:
        say("works", me, term.fencing_token)
        made = len(await zk.get_children("/steps"))
        goal = made - made % STEPS + STEPS
        while made < goal:
            term.check()
            await zk.create("/steps/", sequence=True)
            made = len(await zk.get_children("/steps"))
        say("made", me, made)
        await asyncio.sleep(3600)  # until it is killed


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")  # at once: three processes write to one pipe
    sys.stdout.flush()


# --- whoever starts and kills them ------------------------------------------------------------------------------------


class Processes:
    """Three processes, and what they say."""

    def __init__(self, stack: ExitStack) -> None:
        self.folder = stack.enter_context(tempfile.TemporaryDirectory())
        self.members = {me: free_address(stack) for me in (1, 2, 3)}
        self.running: dict[int, subprocess.Popen[str]] = {}
        said, self.pipe = os.pipe()
        self.said: IO[str] = stack.enter_context(os.fdopen(said))
        stack.callback(os.close, self.pipe)
        stack.callback(lambda: [self.kill(me) for me in list(self.running)])

    def start(self, me: int, *, new: bool) -> None:
        settings = json.dumps({"me": me, "members": self.members, "folder": self.folder, "new": new})
        self.running[me] = subprocess.Popen([sys.executable, __file__, settings], stdout=self.pipe, text=True)

    def kill(self, me: int) -> None:
        process = self.running.pop(me)
        process.kill()  # as kill -9
        process.wait()

    def hear(self, word: str, *, who: int | None = None) -> tuple[int, int]:
        """Who says `word` next, and the number it says."""
        while True:
            said, me, number = self.said.readline().split()
            if said == word and who in (None, int(me)):
                return int(me), int(number)


def free_address(stack: ExitStack) -> str:
    """An address that is kept for whoever asks to share it, as members do."""
    kept = stack.enter_context(socket.socket())
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    return f"127.0.0.1:{kept.getsockname()[1]}"


def main() -> None:
    with ExitStack() as stack:
        processes = Processes(stack)
        for me in processes.members:
            processes.start(me, new=True)
        _, token = processes.hear("works")
        print("one of three works")
        first, made = processes.hear("made")
        processes.kill(first)
        print(f"it is killed with kill -9 after {made} steps")
        _, next_token = processes.hear("works")
        print("another works, and its token is higher:", next_token > token)
        _, made = processes.hear("made")
        print(f"it has come to {made} steps")
        processes.start(first, new=False)
        _, known = processes.hear("up", who=first)
        print(f"the one that was killed is back, and knows of {known} steps")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        settings: dict[str, Any] = json.loads(sys.argv[1])
        settings["members"] = {int(me): address for me, address in settings["members"].items()}
        logging.getLogger("zkcore").setLevel(logging.ERROR)  # that others are down is a warning, and here no surprise
        asyncio.run(application(**settings))
    else:
        main()
