"""`shell`: look at an ensemble and change it by hand, with the commands of ZooKeeper's zkCli.sh; Apache ZooKeeper's
ensembles and zkcore's alike.

One command stands on the command line, or several come from standard input, one a line. Where that is a terminal there
is a prompt, with a history and paths that are completed. A line that means nothing, or that is refused, says so, and
the next one is read. Exit statuses: 0 all was done; 1 something was refused; 2 something could not be understood; 3 the
servers cannot be reached, or what became of a request is not known. It is that of the first line that failed.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TextIO

from zkcore.cli.proofs import add_proofs, read_proofs
from zkcore.cli.shell_commands import COMMANDS, failure, find
from zkcore.cli.shell_words import WordsError, split
from zkcore.client.places import parse_places
from zkcore.client.timeouts import DEFAULT_SESSION_TIMEOUT
from zkcore.client.zookeeper import ZookeeperClient, connect
from zkcore.errors import ConfigurationError, OutcomeUnknownError, SessionError, ZkcoreError
from zkcore.sync.port import LoopThread
from zkcore.tree.paths import join

__all__ = ["Shell", "add_to"]

DONE, REFUSED, NOT_UNDERSTOOD, NOT_REACHED = 0, 1, 2, 3
"""Exit statuses."""

_REMEMBERED = 11
"""So many lines the command `history` tells, as zkCli.sh does."""

_OWN = ("help", "history", "quit", "redo")
_OWN_USAGE = ("help [command]", "history", "quit", "redo number")


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "shell", help="look at an ensemble, and change it, as with zkCli.sh",
        epilog="Commands: " + ", ".join(sorted((*COMMANDS, *_OWN), key=str.lower)),
    )  # fmt: skip
    parser.add_argument("url", metavar="zk://host:port,.../chroot")
    parser.add_argument("--timeout", type=float, default=DEFAULT_SESSION_TIMEOUT, metavar="S", help="of the session")
    parser.add_argument("--wait", type=float, default=10.0, metavar="S", help="how long to wait for a server")
    add_proofs(parser)
    parser.add_argument("--read-only", action="store_true", help="a server that is cut off will do, for what it has")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="one command; without, they come from standard input")
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr, format="%(message)s")
    try:
        url = chosen.url if "://" in chosen.url else f"zk://{chosen.url}"
        parse_places(url)
        proofs, tls = read_proofs(chosen)
    except (ConfigurationError, OSError) as error:
        print(error, file=sys.stderr)
        return NOT_UNDERSTOOD

    def make() -> ZookeeperClient:
        return connect(url, timeout=chosen.timeout, auth=proofs, tls=tls, read_only=chosen.read_only)

    with Shell(make, wait=chosen.wait) as shell:
        if chosen.command:
            return shell.do(chosen.command)
        if sys.stdin.isatty():
            return shell.talk(url)
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="surrogateescape")  # data need not be text
        return shell.read(sys.stdin)


class Shell:
    """One user, and the client that `make` gives: begun with the first command that needs it, and anew where its
    session has ended. `wait` is for how many seconds a server is waited for. Use it as a context manager."""

    def __init__(self, make: Callable[[], ZookeeperClient], *, wait: float, out: Callable[[str], None] = print) -> None:
        self._make = make
        self._wait = wait
        self._out = out
        self._thread = LoopThread("zkcore-shell")
        self._found: list[str] = []  # what may be typed next
        self._client: ZookeeperClient | None = None
        self._lines: deque[tuple[int, str]] = deque(maxlen=_REMEMBERED)
        self._number = 0

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._thread.call(self._client.close())
        self._thread.stop()

    # --- where commands come from

    def read(self, lines: Iterable[str] | TextIO) -> int:
        """One command a line, up to `quit`; the status of the first that failed. Empty lines and those that begin with
        # mean nothing. Where the servers cannot be reached nothing more is tried."""
        first = DONE
        for line in lines:
            status = self.do_line(line)
            if status is None:
                break
            first = first or status
            if status == NOT_REACHED:
                break
        return first

    def talk(self, url: str) -> int:
        """With a prompt, until `quit` or the end of the input."""
        readline = _readline()
        if readline is not None:
            readline.set_completer(self.complete)
            readline.set_completer_delims(" ")
            readline.parse_and_bind("tab: complete")
        while True:
            try:
                line = input(f"[{url} {self._number}] ")
            except EOFError:
                self._out("")
                return DONE
            except KeyboardInterrupt:
                self._out("")
                continue
            try:
                if self.do_line(line) is None:
                    return DONE
            except KeyboardInterrupt:
                self._out("interrupted; it may have happened or not")

    def do_line(self, line: str) -> int | None:
        """Its status; None for `quit`."""
        said = line.strip()
        if not said or said.startswith("#"):
            return DONE
        try:
            words = split(said)
        except WordsError as error:
            return self._complain(str(error), NOT_UNDERSTOOD)
        if words[0].lower() == "quit":
            return None
        if words[0].lower() != "redo":
            self._lines.append((self._number, said))
        self._number += 1
        return self.do(words)

    # --- doing

    def do(self, words: list[str]) -> int:
        """The status of one command."""
        name = words[0].lower()
        try:
            if name in _OWN:
                return self._do_own(name, words[1:])
            command = find(words[0])
            client = self._started()
            self._thread.call(command(client, words[1:], self._out))
        except WordsError as error:
            return self._complain(str(error), NOT_UNDERSTOOD)
        except (OutcomeUnknownError, SessionError, TimeoutError) as error:
            return self._complain(str(error), NOT_REACHED)
        except ZkcoreError as error:
            return self._complain(failure(error), REFUSED)
        return DONE

    def _complain(self, why: str, status: int) -> int:
        print(why, file=sys.stderr, flush=True)
        return status

    def _started(self) -> ZookeeperClient:
        """Raises TimeoutError."""
        if self._client is not None and self._client.port.session.lost.is_set():
            self._complain("the session has ended; another one is opened, and watches nothing yet", NOT_REACHED)
            self._client = None
        if self._client is None:
            client = self._make()
            self._thread.call(self._start(client))
            self._client = client
        return self._client

    async def _start(self, client: ZookeeperClient) -> None:
        try:
            async with asyncio.timeout(self._wait):
                await client.start()
        except TimeoutError:
            raise TimeoutError(f"no server could be reached within {self._wait:g} s; see that one runs there") from None

    def _do_own(self, name: str, words: list[str]) -> int:
        if name == "help":
            usages = [command.usage for command in COMMANDS.values()] if not words else [find(words[0]).usage]
            for usage in sorted((*usages, *_OWN_USAGE) if not words else usages, key=str.lower):
                self._out(usage)
            return DONE
        if name == "history":
            for number, line in self._lines:
                self._out(f"{number} - {line}")
            return DONE
        if name == "quit":
            return DONE
        again = next((line for number, line in self._lines if words == [str(number)]), None)
        if again is None:
            raise WordsError("usage: redo number, of those that history tells")
        self._out(again)
        return self.do(split(again))

    # --- completing

    def complete(self, text: str, state: int) -> str | None:
        """For readline: the `state`-th word that `text` may become, a command at the beginning of a line and else a
        path."""
        if state == 0:
            readline = _readline()
            begin = readline.get_begidx() if readline is not None else 0
            self._found = self.words_for(text, first=begin == 0)
        return self._found[state] if state < len(self._found) else None

    def words_for(self, text: str, *, first: bool) -> list[str]:
        """What `text`, which is the `first` word of its line or not, may become."""
        if first:
            return sorted(f"{name} " for name in (*COMMANDS, *_OWN) if name.lower().startswith(text.lower()))
        if not text.startswith("/") or self._client is None:
            return []
        above, _, begun = text.rpartition("/")
        try:
            names = self._thread.call(self._client.get_children(above or "/"))
        except ZkcoreError:
            return []
        return [join(above or "/", name) for name in names if name.startswith(begun)]


def _readline() -> ModuleType | None:
    """Not every Python has it."""
    try:
        import readline
    except ImportError:
        return None
    return readline
