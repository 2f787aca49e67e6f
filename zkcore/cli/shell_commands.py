"""The commands of the shell, under the names and with the options that users of ZooKeeper's zkCli.sh know.

Each is a coroutine over a client, whatever ensemble that has come to, and says what it has to say by `tell`.

This module must not know where commands come from.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from zkcore.cli.shell_words import (
    WordsError,
    acl_lines,
    as_bytes,
    options_of,
    parse_acl,
    parse_version,
    shown,
    stat_lines,
)
from zkcore.client.client import Client
from zkcore.client.transaction import Transaction
from zkcore.errors import MultiError, NoNodeError, ZkcoreError
from zkcore.tree.applied import WatchEvent
from zkcore.tree.paths import join
from zkcore.tree.watch_requests import Missed, Resync

__all__ = ["COMMANDS", "Command", "Teller", "failure", "find"]

Teller = Callable[[str], None]


class Asked(NamedTuple):
    """One line, taken apart."""

    zk: Client
    tell: Teller
    options: dict[str, str]
    words: list[str]

    def word(self, index: int, default: str = "") -> str:
        return self.words[index] if index < len(self.words) else default

    @property
    def path(self) -> str:
        return self.words[0]

    @property
    def version(self) -> int:
        return parse_version(self.options["v"]) if "v" in self.options else -1


class Command(NamedTuple):
    """What is done, the options as getopt has them, or None where the words are left as they are, how many words there
    are, and what `help` says."""

    run: Callable[[Asked], Awaitable[None]]
    options: str | None
    least: int
    most: int
    usage: str

    async def __call__(self, zk: Client, words: Sequence[str], tell: Teller) -> None:
        """Do it. Raises WordsError for words that mean nothing, and what a client raises."""
        options, rest = options_of(list(words), self.options) if self.options is not None else ({}, list(words))
        if not self.least <= len(rest) <= self.most:
            raise WordsError(f"usage: {self.usage}")
        await self.run(Asked(zk, tell, options, rest))


def find(name: str) -> Command:
    """The command of that name, upper and lower case alike. Raises WordsError."""
    command = COMMANDS.get(_ALIKE.get(name.lower(), ""))
    if command is None:
        raise WordsError(f"there is no command {name!r}; type help for all of them")
    return command


def failure(error: ZkcoreError) -> str:
    """What is told of a request that failed: for the usual ones what zkCli.sh says, too."""
    if isinstance(error, MultiError):
        return f"Operation {error.index + 1} failed, and nothing was done: {error.error}"
    if isinstance(error, NoNodeError) and error.path is not None:
        return f"Node does not exist: {error.path}"
    return f"{type(error).__name__.removesuffix('Error')}: {error}"


def _on_event(tell: Teller) -> Callable[[Missed | None], None]:
    def told(event: Missed | None) -> None:
        if isinstance(event, WatchEvent):
            kind = "".join(part.capitalize() for part in event.type.name.split("_"))
            tell(f"WATCHER: {kind} {event.path}")
        elif isinstance(event, Resync):
            tell(f"WATCHER: events of {event.path} are missing; look again")

    return told


# --- looking ---------------------------------------------------------------------------------------------------------


async def _ls(asked: Asked) -> None:
    if "R" in asked.options:
        await _each_below(asked.zk, asked.path, asked.tell)
        return
    watch = _on_event(asked.tell) if "w" in asked.options else None
    names = await asked.zk.get_children(asked.path, watch)
    asked.tell(f"[{', '.join(names)}]")
    if "s" in asked.options:
        await _tell_stat(asked)


async def _each_below(zk: Client, path: str, tell: Teller) -> None:
    """Every path, parents first. What is deleted meanwhile is left out."""
    names = await zk.get_children(path)
    tell(path)
    for name in names:
        try:
            await _each_below(zk, join(path, name), tell)
        except NoNodeError:
            continue


async def _tree(asked: Asked) -> None:
    most = parse_version(asked.options["d"]) if "d" in asked.options else 1 << 30
    asked.tell(asked.word(0, "/"))
    await _branches(asked, asked.word(0, "/"), "", most)


async def _branches(asked: Asked, path: str, indent: str, most: int) -> None:
    names = await asked.zk.get_children(path) if most > 0 else []
    for index, name in enumerate(names):
        is_last = index == len(names) - 1
        asked.tell(f"{indent}{'`-- ' if is_last else '|-- '}{name}")
        try:
            await _branches(asked, join(path, name), indent + ("    " if is_last else "|   "), most - 1)
        except NoNodeError:
            continue  # it was deleted meanwhile


async def _get(asked: Asked) -> None:
    data, stat = await asked.zk.get(asked.path, _on_event(asked.tell) if "w" in asked.options else None)
    asked.tell(shown(data))
    if "s" in asked.options:
        for line in stat_lines(stat):
            asked.tell(line)


async def _stat(asked: Asked) -> None:
    await _tell_stat(asked, watch=_on_event(asked.tell) if "w" in asked.options else None)


async def _tell_stat(asked: Asked, *, watch: Callable[[WatchEvent | None], None] | None = None) -> None:
    stat = await asked.zk.exists(asked.path, watch)
    if stat is None:
        raise NoNodeError(path=asked.path)
    for line in stat_lines(stat):
        asked.tell(line)


async def _get_acl(asked: Asked) -> None:
    acl, stat = await asked.zk.get_acls(asked.path)
    for line in (*acl_lines(acl), *(stat_lines(stat) if "s" in asked.options else ())):
        asked.tell(line)


async def _get_ephemerals(asked: Asked) -> None:
    asked.tell(f"[{', '.join(await asked.zk.get_ephemerals(asked.word(0, '/')))}]")


async def _number(asked: Asked) -> None:
    asked.tell(str(await asked.zk.get_all_children_number(asked.path)))


async def _who_am_i(asked: Asked) -> None:
    for id in await asked.zk.who_am_i():
        asked.tell(f"{id.scheme}: {id.id}")


async def _sync(asked: Asked) -> None:
    await asked.zk.sync()
    asked.tell("Sync is OK")


# --- watching --------------------------------------------------------------------------------------------------------


async def _add_watch(asked: Asked) -> None:
    mode = asked.options.get("m", "PERSISTENT_RECURSIVE").upper()
    if mode not in ("PERSISTENT", "PERSISTENT_RECURSIVE"):
        raise WordsError(f"{mode} is no mode of a watch; it is PERSISTENT or PERSISTENT_RECURSIVE")
    await asked.zk.add_watch(asked.path, _on_event(asked.tell), recursive=mode == "PERSISTENT_RECURSIVE")


async def _remove_watches(asked: Asked) -> None:
    await asked.zk.remove_all_watches(asked.path)


# --- changing --------------------------------------------------------------------------------------------------------


async def _create(asked: Asked) -> None:
    path = await asked.zk.create(
        asked.path, as_bytes(asked.word(1)), acl=parse_acl(asked.word(2)) if asked.word(2) else None,
        ephemeral="e" in asked.options, sequence="s" in asked.options, container="c" in asked.options,
        ttl=parse_version(asked.options["t"]) / 1000 if "t" in asked.options else None,
    )  # fmt: skip
    asked.tell(f"Created {path}")


async def _set(asked: Asked) -> None:
    stat = await asked.zk.set(asked.path, as_bytes(asked.words[1]), version=asked.version)
    for line in stat_lines(stat) if "s" in asked.options else ():
        asked.tell(line)


async def _delete(asked: Asked) -> None:
    await asked.zk.delete(asked.path, version=asked.version)


async def _delete_all(asked: Asked) -> None:
    await asked.zk.delete(asked.path, recursive=True)


async def _set_acl(asked: Asked) -> None:
    acl = parse_acl(asked.words[1])
    paths: list[str] = [asked.path]
    if "R" in asked.options:
        paths.clear()
        await _each_below(asked.zk, asked.path, paths.append)
    for path in paths:
        stat = await asked.zk.set_acls(path, acl, version=asked.version)
    for line in stat_lines(stat) if "s" in asked.options else ():
        asked.tell(line)


async def _add_auth(asked: Asked) -> None:
    await asked.zk.add_auth(asked.words[0], as_bytes(asked.word(1)))


async def _multi(asked: Asked) -> None:
    """Several changes, each written as if it stood alone, with a word `;` between them."""
    several = asked.zk.transaction()
    words = list(asked.words)
    while words:
        end = words.index(";") if ";" in words else len(words)
        _gather(several, words[:end])
        del words[: end + 1]
    for result in await several.commit():
        asked.tell(f"Created {result}" if isinstance(result, str) else "Done")


def _gather(several: Transaction, words: Sequence[str]) -> None:
    name = words[0].lower() if words else ""
    known = {"create": "sect:v:", "set": "v:", "delete": "v:", "check": "v:"}
    if name not in known:
        raise WordsError(f"{name!r} is not done in a multi; what is: {', '.join(known)}, with a word ; between them")
    options, rest = options_of(list(words[1:]), known[name])
    version = parse_version(options["v"]) if "v" in options else -1
    if len(rest) not in {"create": (1, 2, 3), "set": (2,), "delete": (1,), "check": (1,)}[name]:
        raise WordsError(f"{' '.join(words)}: usage: {COMMANDS[name].usage if name in COMMANDS else 'check -v n path'}")
    if name == "create":
        several.create(
            rest[0], as_bytes(rest[1]) if len(rest) > 1 else b"", acl=parse_acl(rest[2]) if len(rest) > 2 else None,
            ephemeral="e" in options, sequence="s" in options, container="c" in options,
            ttl=parse_version(options["t"]) / 1000 if "t" in options else None,
        )  # fmt: skip
    elif name == "set":
        several.set(rest[0], as_bytes(rest[1]), version=version)
    elif name == "delete":
        several.delete(rest[0], version=version)
    else:
        several.check(rest[0], version=version)


COMMANDS: dict[str, Command] = {
    "addWatch": Command(_add_watch, "m:", 1, 1, "addWatch [-m PERSISTENT|PERSISTENT_RECURSIVE] path"),
    "addauth": Command(_add_auth, "", 1, 2, "addauth scheme auth"),
    "create": Command(_create, "sect:", 1, 3, "create [-s] [-e] [-c] [-t ttl-in-ms] path [data] [acl]"),
    "delete": Command(_delete, "v:", 1, 1, "delete [-v version] path"),
    "deleteall": Command(_delete_all, "", 1, 1, "deleteall path"),
    "get": Command(_get, "sw", 1, 1, "get [-s] [-w] path"),
    "getAcl": Command(_get_acl, "s", 1, 1, "getAcl [-s] path"),
    "getAllChildrenNumber": Command(_number, "", 1, 1, "getAllChildrenNumber path"),
    "getEphemerals": Command(_get_ephemerals, "", 0, 1, "getEphemerals [path]"),
    "ls": Command(_ls, "swR", 1, 1, "ls [-s] [-w] [-R] path"),
    "multi": Command(_multi, None, 1, 1 << 30, "multi create ... ; set ... ; delete ... ; check -v version path"),
    "removewatches": Command(_remove_watches, "", 1, 1, "removewatches path"),
    "set": Command(_set, "sv:", 2, 2, "set [-s] [-v version] path data"),
    "setAcl": Command(_set_acl, "sv:R", 2, 2, "setAcl [-s] [-v version] [-R] path acl"),
    "stat": Command(_stat, "w", 1, 1, "stat [-w] path"),
    "sync": Command(_sync, "", 0, 1, "sync [path]"),
    "tree": Command(_tree, "d:", 0, 1, "tree [-d depth] [path]"),
    "whoami": Command(_who_am_i, "", 0, 0, "whoami"),
}

_ALIKE = {name.lower(): name for name in COMMANDS} | {"watch": "addWatch"}
