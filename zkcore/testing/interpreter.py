"""The commands of golden scripts (scenario.py): what one can say to an ensemble that is wired by hand.

A command is a line: a name and words. Its errors are of two kinds. ScenarioError says that the line itself is wrong;
RefusedError, of the ensemble, that it makes no sense as things stand. `HandWired` (handwired.py) says what each step
means, and undisturbed.py what happens where many are taken at once.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, NamedTuple

from attrs import fields_dict

from zkcore.errors import ConfigurationError
from zkcore.testing.checkers import Violation
from zkcore.testing.handwired import HandWired, RefusedError
from zkcore.testing.undisturbed import common_leader, relink, run, stabilize
from zkcore.zab.limits import Limits
from zkcore.zab.membership import is_configuration, read_configuration
from zkcore.zab.messages import PeerId
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zxid import Zxid, format_zxid, make_zxid

__all__ = ["COMMANDS", "Interpreter", "ScenarioError"]

PATIENCE_TICKS = 3_000
"""Within half a minute an ensemble that can serve does."""


class ScenarioError(Exception):
    """The script itself is wrong; the message says why."""


def _number(word: str) -> int:
    if not word.isdecimal():
        raise ValueError(f"{word!r} is not a number")
    return int(word)


def _ids(words: list[str]) -> list[PeerId]:
    return [_number(word) for word in words]


def _arrow(word: str) -> tuple[PeerId, PeerId]:
    """`1>2`: from 1 to 2."""
    sender, arrow, to = word.partition(">")
    if not arrow:
        raise ValueError(f"{word!r} is not a direction such as 1>2")
    return _number(sender), _number(to)


def _zxid(word: str) -> Zxid:
    """`2.7`: the seventh of epoch 2."""
    epoch, dot, counter = word.partition(".")
    if not dot:
        raise ValueError(f"{word!r} is not a zxid such as 2.7")
    return make_zxid(_number(epoch), _number(counter))


def _pairs(text: str) -> list[tuple[str, str, str]]:
    """`1:2,4:0`."""
    return [pair.partition(":") for pair in text.split(",")]


def _kept(words: list[str]) -> dict[str, int]:
    """`keep 2 records 1`, or less of it."""
    names, numbers = words[::2], words[1::2]
    if len(names) != len(numbers) or names not in ([], ["keep"], ["keep", "records"]):
        raise ValueError(f"{' '.join(words)!r} is not `keep WRITES`, nor `keep WRITES records RECORDS`")
    return dict(zip(names, map(_number, numbers), strict=True))


class Interpreter:
    """Runs commands, one line at a time. `lines` is all they have printed. `without` names invariants that are not to
    be checked."""

    def __init__(self, *, without: frozenset[str] = frozenset()) -> None:
        self._without = without
        self._ensemble: HandWired | None = None
        self.lines: list[str] = []
        self.expected: str | None = None
        """The invariant that the script says will break."""

    @property
    def ensemble(self) -> HandWired:
        """What the script is about. Raises RefusedError before `nodes`."""
        if self._ensemble is None:
            raise RefusedError("there are no nodes yet; begin with `nodes 3`")
        return self._ensemble

    def execute(self, text: str) -> None:
        """Run one command. Raises ScenarioError where it is none, RefusedError where it makes no sense as things stand,
        and Violation where an invariant breaks; an exception out of the core is one, too."""
        name, *words = text.split()
        command = COMMANDS.get(name)
        if command is None:
            near = get_close_matches(name, COMMANDS, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(COMMANDS)}"
            raise ScenarioError(f"there is no command `{name}`; {hint}")
        try:
            command.run(self, words)
        except (ValueError, IndexError, ConfigurationError) as error:
            why = "a word is missing" if isinstance(error, IndexError) else str(error)
            raise ScenarioError(f"`{text}`: {why}; it is `{command.usage}`") from error
        except (Violation, RefusedError, ScenarioError):
            raise
        except Exception as error:
            raise Violation("raised", f"{type(error).__name__}: {error}") from error

    # --- the ensemble

    def make(self, words: list[str]) -> None:
        voters, observers, spares, filler = _number(words[0]), 0, 0, 0
        divided: dict[str, Any] = {}
        limits: dict[str, int] = {}
        for word in words[1:]:
            name, _, value = word.partition("=")
            if name == "observers":
                observers = _number(value)
            elif name == "spares":
                spares = _number(value)
            elif name == "filler":
                filler = _number(value)
            elif name == "groups":
                divided[name] = [_ids(group.split(",")) for group in value.split("/")]
            elif name == "weights":
                divided[name] = {_number(voter): _number(weight) for voter, _, weight in _pairs(value)}
            elif name in fields_dict(Limits):
                limits[name] = _number(value)
            else:
                others = "observers, spares, groups, weights and filler"
                raise ValueError(f"{name!r} is no field of Limits, and none of {others}")
        ids = range(voters + 1, voters + observers + 1)
        config = EnsembleConfig(range(1, voters + 1), observers=ids, **divided)
        more = tuple(range(len(config.members) + 1, len(config.members) + spares + 1))
        self._ensemble = HandWired(config, Limits(**limits), filler=filler, spares=more, without=self._without)
        self._ensemble.lines = self.lines

    def start(self, words: list[str]) -> None:
        for me in _ids(words) or [me for me in self.ensemble.members if me not in self.ensemble.up]:
            self.ensemble.start(me)

    def crash(self, words: list[str]) -> None:
        self.ensemble.crash(_number(words[0]), **_kept(words[1:]))

    def fail_disk(self, words: list[str]) -> None:
        self.ensemble.fail_disk(_number(words[0]), **_kept(words[1:]))

    # --- links

    def link(self, words: list[str]) -> None:
        if not words:
            relink(self.ensemble)
            return
        one, other = _ids(words[:2])
        if words[2:] not in ([], ["unheard"]):
            raise ValueError(f"{' '.join(words[2:])!r} means nothing here")
        self.ensemble.link(one, other, heard=not words[2:])

    def unlink(self, words: list[str]) -> None:
        one, *others = _ids(words)
        for other in others or [other for other in self.ensemble.members if other != one]:
            self.ensemble.unlink(one, other)

    def deliver(self, words: list[str]) -> None:
        sender, to = _arrow(words[0])
        what = words[1] if len(words) > 1 else "1"
        ensemble = self.ensemble
        under_way = ensemble.under_way(sender, to)
        if what == "all":
            while under_way:
                ensemble.deliver(sender, to)
        elif what.isdecimal():
            for _ in range(int(what)):
                ensemble.deliver(sender, to)
        else:
            names = [_name_of(item) for item in under_way]
            if what not in names:
                raise RefusedError(f"no {what} is under way from {sender} to {to}, but {', '.join(names) or 'nothing'}")
            for _ in range(names.index(what) + 1):
                ensemble.deliver(sender, to)

    # --- time

    def tick(self, words: list[str]) -> None:
        self.ensemble.tick(_number(words[0]), _number(words[1]) if len(words) > 1 else 1)

    def run(self, words: list[str]) -> None:
        run(self.ensemble, _number(words[0]), _ids(words[1:]))

    def elect(self, words: list[str]) -> None:
        ids = _ids(words)
        leader, among = ids[0], ids if len(ids) > 1 else ()
        ensemble = self.ensemble
        for me in ids:
            ensemble.peer(me)  # who is down cannot take part
        if not run(ensemble, PATIENCE_TICKS, among, until=lambda: common_leader(ensemble, among) == leader):
            states = "; ".join(str(ensemble.peer(me).status()) for me in ensemble.up)
            raise ScenarioError(f"node {leader} does not come to lead: {states}")

    def settle(self, words: list[str]) -> None:
        ensemble, ticks = self.ensemble, PATIENCE_TICKS
        if "within" in words:
            ticks = _number(words[-1])
            words = words[: words.index("within")]
        among = _ids(words)
        if not run(ensemble, ticks, among, until=lambda: common_leader(ensemble, among) is not None):
            states = "; ".join(str(ensemble.peer(me).status()) for me in ensemble.up)
            raise Violation("L2", f"no agreement after {ticks} ticks: {states}")
        self.lines.append(f"all follow {common_leader(ensemble, among)}")

    def until(self, words: list[str]) -> None:
        sender, to = _arrow(words[0])
        name, among, ensemble = words[1], _ids(words[2:]), self.ensemble

        def is_sent() -> bool:
            return any(_name_of(item) == name for item in ensemble.under_way(sender, to))

        if not run(ensemble, PATIENCE_TICKS, among, until=is_sent, looking_always=True):
            raise ScenarioError(f"{sender} does not send {name} to {to} within {PATIENCE_TICKS} ticks")

    def reconfigure(self, words: list[str]) -> None:
        """Voters, and behind them observers."""
        observers = [int(word) for word in words[2].removeprefix("observers=").split(",")] if len(words) > 2 else []
        voters = [_number(word) for word in words[1].removeprefix("voters=").split(",")]
        self.ensemble.reconfigure(_number(words[0]), EnsembleConfig(voters, observers=observers))

    # --- looking

    def state(self, words: list[str]) -> None:
        for me in _ids(words) or self.ensemble.members:
            up = me in self.ensemble.up
            self.lines.append(str(self.ensemble.peer(me).status()) if up else f"{me} down")

    def log(self, words: list[str]) -> None:
        for me in _ids(words) or self.ensemble.members:
            storage = self.ensemble.storage(me)
            saved = storage.load()
            records = [
                f"{format_zxid(entry.zxid)}={_shown(entry.payload)}" for entry in storage.entries(saved.base, 1 << 40)
            ]
            self.lines.append(
                f"{me} accepted={saved.accepted_epoch} current={saved.current_epoch} "
                f"snapshot={format_zxid(saved.snapshot)} log: {' '.join(records) or 'empty'}"
            )

    def sent(self, words: list[str]) -> None:
        ensemble = self.ensemble
        for sender in ensemble.members:
            for to in ensemble.members:
                if items := ensemble.under_way(sender, to):
                    self.lines.append(f"{sender} > {to}  {'; '.join(map(str, items))}")

    def check(self, words: list[str]) -> None:
        self.ensemble.check_storages()
        oracle = self.ensemble.oracle
        committed = " ".join(f"{format_zxid(zxid)}={_shown(oracle.born[zxid])}" for zxid in oracle.committed)
        self.lines.append(f"committed: {committed or 'nothing'}")

    def expect_violation(self, words: list[str]) -> None:
        self.expected = words[0]


def _name_of(item: object) -> str:
    """What a transcript calls a message, or the news of a link."""
    return str(item).split()[0]


def _shown(payload: bytes) -> str:
    return f"({read_configuration(payload)[0]})" if is_configuration(payload) else payload.decode()


class Command(NamedTuple):
    """How a command is written, and what it does."""

    usage: str
    run: Callable[[Interpreter, list[str]], object]


def _each(step: str, **how: bool) -> Callable[[Interpreter, list[str]], None]:
    """A command that takes one step, a method of HandWired, at every node named."""

    def run(script: Interpreter, words: list[str]) -> None:
        for me in [_number(words[0]), *_ids(words[1:])]:
            getattr(script.ensemble, step)(me, **how)

    return run


COMMANDS: dict[str, Command] = {
    "nodes": Command(
        "nodes VOTERS [observers=N] [spares=N] [groups=1,2/3,4] [weights=1:2,3:0] [filler=BYTES] [LIMIT=N ...]",
        Interpreter.make,
    ),
    "start": Command("start [ID ...]", Interpreter.start),
    "crash": Command("crash ID [keep WRITES [records RECORDS]]", Interpreter.crash),
    "pause": Command("pause ID ...", _each("pause")),
    "resume": Command("resume ID ...", _each("resume")),
    "link": Command("link [ID ID [unheard]]", Interpreter.link),
    "unlink": Command("unlink ID [ID ...]", Interpreter.unlink),
    "drop": Command("drop FROM>TO", lambda script, words: script.ensemble.drop(*_arrow(words[0]))),
    "deliver": Command("deliver FROM>TO [NAME | N | all]", Interpreter.deliver),
    "stabilize": Command("stabilize [ID ...]", lambda script, words: stabilize(script.ensemble, _ids(words))),
    "tick": Command("tick ID [TICKS]", Interpreter.tick),
    "run": Command("run TICKS [ID ...]", Interpreter.run),
    "until": Command("until FROM>TO NAME [ID ...]", Interpreter.until),
    "elect": Command("elect LEADER [FOLLOWER ...]", Interpreter.elect),
    "settle": Command("settle [ID ...] [within TICKS]", Interpreter.settle),
    "propose": Command(
        "propose ID PAYLOAD ...",
        lambda script, words: script.ensemble.propose(_number(words[0]), [word.encode() for word in words[1:]]),
    ),
    "read": Command("read ID ...", _each("read")),
    "transfer": Command(
        "transfer FROM [TO]",
        lambda script, words: script.ensemble.transfer(*_ids(words)),
    ),
    "reconfigure": Command("reconfigure LEADER voters=ID,ID [observers=ID,ID]", Interpreter.reconfigure),
    "snapshot": Command("snapshot ID ...", _each("snapshot")),
    "hold-saves": Command("hold-saves ID ...", _each("hold_saves")),
    "let-save": Command("let-save ID ...", _each("hold_saves", hold=False)),
    "save": Command("save ID ...", _each("save")),
    "fail-disk": Command("fail-disk ID [keep WRITES [records RECORDS]]", Interpreter.fail_disk),
    "wipe": Command("wipe ID ...", _each("wipe")),
    "lose": Command("lose ID AFTER", lambda script, words: script.ensemble.lose(_number(words[0]), _zxid(words[1]))),
    "state": Command("state [ID ...]", Interpreter.state),
    "log": Command("log [ID ...]", Interpreter.log),
    "sent": Command("sent", Interpreter.sent),
    "check": Command("check", Interpreter.check),
    "expect-violation": Command("expect-violation INVARIANT", Interpreter.expect_violation),
}
"""What a script can say."""
