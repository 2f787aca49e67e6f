"""The floors of the house: imports point down only, and the pure parts import nothing that waits or looks outside.

All imports are read from the source, also those inside functions and behind TYPE_CHECKING. The checker is tested first,
on small packages with one bad import each: a checker that cannot fail proves nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import zkcore

PACKAGE = Path(zkcore.__file__).parent

FLOORS: tuple[frozenset[str], ...] = tuple(
    frozenset(floor.split())
    for floor in (
        "errors version zxid ring",
        "forks jute zab",
        "events",
        "storage transport tree",
        "replica",
        "client",
        "recipes server",
        "sync",
        "zkcore",  # the face of the package, zkcore/__init__.py
        "extras testing",
        "cli",
        "__main__",
    )
)
"""From the ground up. A room may use what is on lower floors, and itself; not its neighbours on the same floor."""

STRANGERS = {frozenset({"zab", "tree"}), frozenset({"zab", "recipes"})}
"""Rooms that do not know each other, whatever their floors."""

PURE = (
    "zkcore.zxid",
    "zkcore.errors",
    "zkcore.ring",
    "zkcore.jute",
    "zkcore.zab",
    "zkcore.tree",
    "zkcore.recipes",
    "zkcore.replica",
    "zkcore.client.chroot",
    "zkcore.client.asking",
    "zkcore.client.atomically",
    "zkcore.client.client",
    "zkcore.client.dialogue",
    "zkcore.client.emulated",
    "zkcore.client.events",
    "zkcore.client.once",
    "zkcore.client.places",
    "zkcore.client.reads",
    "zkcore.client.retry",
    "zkcore.client.rewatching",
    "zkcore.client.states",
    "zkcore.client.transaction",
    "zkcore.client.trees",
)
SHELLS = (
    "zkcore.events",
    "zkcore.replica.host",
    "zkcore.replica.pump",
    "zkcore.replica.recovery",
    "zkcore.replica.attending",
    "zkcore.replica.minding",
    "zkcore.replica.snapshotting",
    "zkcore.replica.telling",
    "zkcore.replica.transfers",
    "zkcore.client.async_port",
    "zkcore.client.background",
    "zkcore.client.chores",
    "zkcore.client.embedded",
    "zkcore.client.guard",
    "zkcore.client.home",
    "zkcore.client.connection",
    "zkcore.client.session",
    "zkcore.client.signals",
    "zkcore.client.zookeeper_port",
)
"""What runs pure modules on an event loop, or is told of what happens there. They are no pure modules, and these do not
use them."""
IMPURE = frozenset({"asyncio", "threading", "socket", "time", "random", "secrets", "uuid", "os", "logging"})
CLOCKS = {("datetime", "now"), ("datetime", "today"), ("datetime", "utcnow"), ("date", "today")}

NEVER = {
    "pickle": "bytes from outside could run code",
    "importlib": "an import that is not written down cannot be checked here",
}


class Module:
    """One source file: its dotted name, and what it imports."""

    def __init__(self, path: Path, package: Path) -> None:
        parts = [package.name, *path.relative_to(package).with_suffix("").parts]
        self.is_package = parts[-1] == "__init__"
        self.name = ".".join(parts[:-1] if self.is_package else parts)
        self.tree = ast.parse(path.read_text(encoding="utf-8"), str(path))

    @property
    def is_pure(self) -> bool:
        return self.name.startswith(PURE) and self.name not in SHELLS

    @property
    def room(self) -> str:
        """The folder or file directly below the package, or the package itself."""
        top, *rest = self.name.split(".")
        return rest[0] if rest else top

    def imports(self, *, for_types: bool = True) -> Iterator[tuple[int, str]]:
        """Line number and dotted name; for `from a import b` that is a.b, be b a module or a name in a. Without
        `for_types` those are left out that only a type checker sees."""
        unseen = set() if for_types else self._seen_by_type_checkers()
        for node in ast.walk(self.tree):
            if node in unseen:
                continue
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node.lineno, alias.name
            elif isinstance(node, ast.ImportFrom):
                origin = self._origin(node)
                for alias in node.names:
                    yield node.lineno, f"{origin}.{alias.name}"

    def _seen_by_type_checkers(self) -> set[ast.AST]:
        return {
            inner
            for node in ast.walk(self.tree)
            if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            for statement in node.body
            for inner in ast.walk(statement)
        }

    def _origin(self, node: ast.ImportFrom) -> str:
        if node.level == 0:
            return node.module or ""
        own = self.name.split(".")
        base = own[: len(own) - node.level + self.is_package]
        return ".".join([*base, *([node.module] if node.module else [])])


@cache
def read(package: Path) -> list[Module]:
    return [Module(path, package) for path in sorted(package.rglob("*.py"))]


def floor_of(room: str) -> int | None:
    return next((number for number, floor in enumerate(FLOORS) if room in floor), None)


def room_of(name: str) -> str | None:
    """The room that the imported `name` belongs to, or None for one that is not ours."""
    top, *rest = name.split(".")
    if top != "zkcore":
        return None
    return rest[0] if rest and floor_of(rest[0]) is not None else top


def wrong_imports(package: Path) -> list[str]:
    """Every import that the floors do not allow."""
    found = []
    for module in read(package):
        if floor_of(module.room) is None:
            found.append(f"{module.name}: room {module.room!r} stands on no floor; add it to FLOORS")
            continue
        for line, name in module.imports():
            why = _why_wrong(module, name, room_of(name))
            if why:
                found.append(f"{module.name}:{line} imports {name}: {why}")
    return found


def _why_wrong(module: Module, name: str, room: str | None) -> str | None:
    top = name.partition(".")[0]
    if top in NEVER:
        return NEVER[top]
    if top in IMPURE and module.is_pure:
        return "a pure module neither waits nor looks outside"
    if module.is_pure and name.startswith(SHELLS):
        return "a pure module does not use an event loop's half"
    if room is None or room == module.room:
        return None
    mine, other = floor_of(module.room), floor_of(room)
    assert mine is not None
    if other is None or other >= mine:
        return f"{room} is not below {module.room}"
    if frozenset({room, module.room}) in STRANGERS:
        return f"{module.room} and {room} do not know each other"
    return None


def clocks_read(package: Path) -> list[str]:
    """Calls such as `datetime.now()` in pure modules; their arithmetic is allowed."""
    return [
        f"{module.name}:{node.lineno} reads a clock: {node.value.id}.{node.attr}"
        for module in read(package)
        if module.is_pure
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in CLOCKS
    ]  # fmt: skip


def cycle(package: Path) -> list[str] | None:
    """Modules that need each other to run, the first named again at the end; None where there are none."""
    modules = {module.name: module for module in read(package)}
    graph: dict[str, list[str]] = {}
    for module in modules.values():
        uses = {
            name if name in modules else name.rpartition(".")[0] for _, name in module.imports(for_types=False)
        }
        graph[module.name] = sorted((uses & modules.keys()) - {module.name})
    done: set[str] = set()
    way: list[str] = []

    def visit(name: str) -> list[str] | None:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return None
        way.append(name)
        for used in graph[name]:
            if (found := visit(used)) is not None:
                return found
        done.add(way.pop())
        return None

    return next((found for name in graph if (found := visit(name)) is not None), None)


# --- the checker, on packages with one fault each ---------------------------------------------------------------------


def plant(folder: Path, **sources: str) -> Path:
    """A package `zkcore` in `folder`. `zab__peer="..."` is the source of zkcore/zab/peer.py."""
    package = folder / "zkcore"
    for name, source in {"__init__": "", **sources}.items():
        path = package / (name if name.startswith("__") else name.replace("__", "/"))
        path = path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return package


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("zab__peer", "import zkcore.replica.replica", "replica is not below zab"),
        ("zab__peer", "from zkcore.tree import paths", "tree is not below zab"),
        ("tree__tree", "from zkcore.zab.messages import Role", "tree and zab do not know each other"),
        ("tree__tree", "from ..zab import messages", "tree and zab do not know each other"),
        ("storage__wal", "from zkcore.transport import wire", "transport is not below storage"),
        ("transport__tcp", "from zkcore import Replica", "zkcore is not below transport"),
        ("transport__tcp", "import zkcore", "zkcore is not below transport"),
        ("ring__maglev", "from zkcore.errors import ZkcoreError", "errors is not below ring"),
        ("client__node", "def late():\n    from zkcore.recipes.lock import Lock", "recipes is not below client"),
        ("recipes__lock", "from zkcore.zab.messages import Role", "recipes and zab do not know each other"),
        ("recipes__lock", "from zkcore.client.embedded import EmbeddedPort", "event loop's half"),
        ("__init__", "from zkcore.testing.world import World", "testing is not below zkcore"),
        ("replica__host", "from zkcore.testing import network", "testing is not below replica"),
        ("zab__peer", "import time", "a pure module neither waits"),
        ("zab__peer", "def late():\n    from random import Random", "a pure module neither waits"),
        ("replica__replica", "import logging", "a pure module neither waits"),
        ("replica__anything", "import os", "a pure module neither waits"),
        ("client__client", "import os.path", "a pure module neither waits"),
        ("replica__replica", "from zkcore.replica.host import Host", "event loop's half"),
        ("replica__serving", "from zkcore.events.kinds import SessionOpened", "event loop's half"),
        ("zab__peer", "from zkcore.events.kinds import RoleChanged", "event loop's half"),
        ("zab__messages", "import zkcore.events", "event loop's half"),
        ("transport__wire", "import pickle", "could run code"),
        ("cli__main", "from importlib import import_module", "not written down"),
        ("attic__box", "", "stands on no floor"),
    ],
)  # fmt: skip
def test_a_bad_import_is_found(tmp_path: Path, module: str, source: str, complaint: str) -> None:
    (found,) = wrong_imports(plant(tmp_path, **{module: source}))
    assert complaint in found


def test_imports_that_point_down_are_fine(tmp_path: Path) -> None:
    package = plant(
        tmp_path,
        __init__="from zkcore.client.node import Node",
        client__node="import asyncio\nfrom zkcore.client.port import Port\nfrom zkcore.replica.host import Host",
        client__port="from random import Random",
        replica__host="import time\nfrom .replica import Replica\nfrom ..tree import paths",
        replica__replica="from zkcore.zab.peer import Peer\nfrom zkcore.tree.paths import validate",
        cli__main="from zkcore import __version__\nfrom zkcore.testing.world import World",
    )
    assert wrong_imports(package) == []


def test_a_clock_is_found_and_arithmetic_is_not(tmp_path: Path) -> None:
    package = plant(
        tmp_path,
        recipes__lock="from datetime import datetime, timedelta\nstart = datetime.now() + timedelta(1)",
        recipes__lease="from datetime import datetime\nepoch = datetime.fromtimestamp(0)\nport.now()",
        client__node="from datetime import datetime\ndatetime.now()",
    )
    assert clocks_read(package) == ["zkcore.recipes.lock:2 reads a clock: datetime.now"]


def test_a_circle_is_found(tmp_path: Path) -> None:
    package = plant(
        tmp_path,
        tree__a="from zkcore.tree.b import thing",
        tree__b="from zkcore.tree import c",
        tree__c="def late():\n    import zkcore.tree.a",
        tree__d="from zkcore.tree.a import other",
    )
    assert cycle(package) == ["zkcore.tree.a", "zkcore.tree.b", "zkcore.tree.c", "zkcore.tree.a"]


def test_a_circle_of_types_alone_is_none(tmp_path: Path) -> None:
    package = plant(
        tmp_path,
        tree__a="from zkcore.tree import b",
        tree__b="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from zkcore.tree.a import A",
    )
    assert cycle(package) is None


# --- the house --------------------------------------------------------------------------------------------------------


def test_imports_point_down() -> None:
    assert wrong_imports(PACKAGE) == []


def test_pure_modules_read_no_clock() -> None:
    assert clocks_read(PACKAGE) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert cycle(PACKAGE) is None


def test_every_pure_room_that_exists_is_looked_at() -> None:
    """A module that is renamed must not slip out of the list unnoticed."""
    names = {module.name for module in read(PACKAGE)}
    assert {name for name in (*PURE, *SHELLS) if name not in names} == set()
