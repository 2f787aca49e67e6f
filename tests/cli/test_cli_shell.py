"""The shell, at a server of zkcore and at an Apache ZooKeeper: what is typed, what is told, and the exit statuses."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from types import SimpleNamespace

import pytest
from live import MISSING, Server

import zkcore
from zkcore.cli import shell as shell_module
from zkcore.cli.main import main
from zkcore.cli.shell import DONE, NOT_REACHED, NOT_UNDERSTOOD, REFUSED, Shell
from zkcore.testing.zookeeper import ZookeeperServer, zookeeper_server

APACHE = pytest.param(
    "apache", marks=[pytest.mark.zookeeper, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]
)
_NUMBERS = count(1)


@pytest.fixture(scope="module")
def ours() -> Iterator[ZookeeperServer]:
    with zookeeper_server() as server:
        yield server


@pytest.fixture(scope="module")
def apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("zookeeper")) as server:
        yield server


class Typed:
    """A shell whose root is a part of the tree that nobody else sees."""

    def __init__(self, hosts: str) -> None:
        self.url = f"zk://{hosts}/shell-{next(_NUMBERS)}"
        self.told: list[str] = []
        self.shell = Shell(lambda: zkcore.connect(self.url), wait=30, out=self.told.append)

    def __call__(self, *lines: str) -> list[str]:
        """What is told when these are typed."""
        self.told.clear()
        self.status = self.shell.read(lines)
        return list(self.told)


@pytest.fixture(params=["ours", APACHE])
def type_(request: pytest.FixtureRequest) -> Iterator[Typed]:
    server: ZookeeperServer | Server = request.getfixturevalue(request.param)
    hosts = server.hosts if isinstance(server, ZookeeperServer) else f"127.0.0.1:{server.port}"
    typed = Typed(hosts)
    assert main(["shell", f"zk://{hosts}", "create", typed.url.removeprefix(f"zk://{hosts}")]) == DONE
    with typed.shell:
        yield typed


def fields(lines: list[str]) -> dict[str, str]:
    return dict(line.split(" = ") for line in lines if " = " in line)


def test_what_zkcli_knows_is_done(type_: Typed) -> None:
    assert type_(
        'create /a "hello world"', "create /a/b", "create -s /a/n- 1", "get /a", "ls /a", "set -v 0 /a x", "get /a",
        "delete -v 0 /a/b", "ls /", "ls -R /", "getAllChildrenNumber /a", "sync",
    ) == [
        "Created /a", "Created /a/b", "Created /a/n-0000000001", "hello world", "[b, n-0000000001]", "x", "[a]", "/",
        "/a", "/a/n-0000000001", "1", "Sync is OK",
    ]  # fmt: skip
    assert type_.status == DONE
    stat = fields(type_("stat /a"))
    assert (stat["dataVersion"], stat["dataLength"], stat["numChildren"]) == ("1", "1", "1")
    assert stat["ephemeralOwner"] == "0x0"
    assert stat["cZxid"].startswith("0x")
    assert fields(type_("get -s /a")) == stat == fields(type_("ls -s /a"))
    assert fields(type_("set -s /a y"))["dataVersion"] == "2"
    assert type_("deleteall /a", "ls /") == ["[]"]


def test_znodes_of_every_kind_are_created(type_: Typed) -> None:
    assert type_(
        "create -e /e", "getEphemerals", "create -c /c", "create -t 60000 /t", "create /acl d world:anyone:r"
    ) == ["Created /e", "[/e]", "Created /c", "Created /t", "Created /acl"]
    assert int(fields(type_("stat /e"))["ephemeralOwner"], 16) != 0
    assert type_("getAcl /acl", "getAcl /e") == ["'world,'anyone", ": r", "'world,'anyone", ": cdrwa"]


def test_acls_are_set_and_heeded(type_: Typed, capsys: pytest.CaptureFixture[str]) -> None:
    type_("create /s", "create /s/t", "addauth digest ada:pw", "setAcl -R /s auth::cdrwa")
    assert type_.status == DONE
    assert type_("getAcl /s/t")[0].startswith("'digest,'ada:")
    assert "digest: ada" in type_("whoami")
    other = Typed(type_.url.removeprefix("zk://").partition("/")[0])
    other.url = type_.url
    with other.shell:
        other("get /s")
        assert other.status == REFUSED
    assert capsys.readouterr().err.startswith("NoAuth: /s: ")


def test_several_changes_are_done_together_or_not_at_all(type_: Typed, capsys: pytest.CaptureFixture[str]) -> None:
    assert type_("multi create /m 1 ; set -v 0 /m 2 ; check -v 1 /m ; create -s /m/n-", "get /m") == [
        "Created /m", "Done", "Done", "Created /m/n-0000000000", "2",
    ]  # fmt: skip
    assert type_("multi delete /m/n-0000000000 ; delete /nowhere", "ls /m") == ["[n-0000000000]"]
    assert type_.status == REFUSED
    assert capsys.readouterr().err.startswith("Operation 2 failed, and nothing was done: ")


def test_the_tree_is_drawn(type_: Typed) -> None:
    type_("create /a", "create /a/b", "create /a/b/c", "create /d")
    assert type_("tree") == ["/", "|-- a", "|   `-- b", "|       `-- c", "`-- d"]
    assert type_("tree -d 1 /a") == ["/a", "`-- b"]


def test_watches_tell_what_happens(type_: Typed) -> None:
    assert type_("create /w", "get -w /w", "ls -w /w", "addWatch -m persistent /p", "set /w 1", "create /w/c") == [
        "Created /w", "", "[]", "WATCHER: NodeDataChanged /w", "WATCHER: NodeChildrenChanged /w", "Created /w/c",
    ]  # fmt: skip
    assert type_("create /p") == ["WATCHER: NodeCreated /p", "Created /p"]
    assert type_("removewatches /p", "set /p 1") == []
    assert type_("addWatch /w", "set /w/c 1") == ["WATCHER: NodeDataChanged /w/c"]


@pytest.mark.parametrize(
    ("line", "status", "says"),
    [
        ("nonsense", NOT_UNDERSTOOD, "there is no command 'nonsense'; type help"),
        ("ls", NOT_UNDERSTOOD, "usage: ls [-s] [-w] [-R] path"),
        ("ls / /", NOT_UNDERSTOOD, "usage: ls"),
        ("ls -x /", NOT_UNDERSTOOD, "option -x not recognized; put -- before"),
        ('get "/a', NOT_UNDERSTOOD, "close the quotes"),
        ("set -v one /a b", NOT_UNDERSTOOD, "'one' is no version; give a whole number"),
        ("setAcl / world:anyone", NOT_UNDERSTOOD, "'world:anyone' is no ACL; write scheme:id:permissions"),
        ("setAcl / world:anyone:rx", NOT_UNDERSTOOD, "is no ACL"),
        ("addWatch -m SHORT /", NOT_UNDERSTOOD, "SHORT is no mode of a watch"),
        ("multi ls /", NOT_UNDERSTOOD, "'ls' is not done in a multi"),
        ("multi create", NOT_UNDERSTOOD, "create: usage: create [-s]"),
        ("multi set /a 1 ; check", NOT_UNDERSTOOD, "check: usage: check"),
        ("redo 99", NOT_UNDERSTOOD, "usage: redo number"),
        ("help nonsense", NOT_UNDERSTOOD, "there is no command"),
        ("get /nowhere", REFUSED, "Node does not exist: /nowhere"),
        ("stat /nowhere", REFUSED, "Node does not exist: /nowhere"),
        ("get nowhere", REFUSED, "BadArguments: "),
        ("create /a/b/c", REFUSED, "Node does not exist: /a/b/c"),
        ("create -e -t 5 /a", REFUSED, "BadArguments: "),
        ("addauth nobody x", REFUSED, "AuthFailed: "),
    ],
)
def test_a_line_that_fails_says_so_and_the_next_is_read(
    ours: ZookeeperServer, capsys: pytest.CaptureFixture[str], line: str, status: int, says: str
) -> None:
    typed = Typed(ours.hosts)
    typed.url = f"zk://{ours.hosts}"
    with typed.shell:
        assert typed("", "# nothing", line, "get / /", "getEphemerals") == ["[]"]
    said = capsys.readouterr().err.splitlines()
    assert says in said[0]
    assert said[1] == "usage: get [-s] [-w] path"
    assert typed.status == status, "that of the first that failed"


def test_quit_ends_it(ours: ZookeeperServer) -> None:
    typed = Typed(ours.hosts)
    with typed.shell:
        assert typed("help ls", "quit", "nonsense") == ["ls [-s] [-w] [-R] path"]
    assert typed.status == DONE


def test_lines_are_remembered_and_done_again(ours: ZookeeperServer) -> None:
    typed = Typed(ours.hosts)
    with typed.shell:
        assert typed("help get", "redo 0", "history") == [
            "get [-s] [-w] path", "help get", "get [-s] [-w] path", "0 - help get", "2 - history",
        ]  # fmt: skip
        assert typed("help")[:2] == ["addauth scheme auth", "addWatch [-m PERSISTENT|PERSISTENT_RECURSIVE] path"]


def test_paths_and_commands_are_completed(type_: Typed) -> None:
    assert type_.shell.words_for("/", first=False) == [], "there is no client yet"
    type_("create /apple", "create /apple/core", "create /apricot", "create /b")
    assert type_.shell.words_for("/ap", first=False) == ["/apple", "/apricot"]
    assert type_.shell.words_for("/apple/", first=False) == ["/apple/core"]
    assert type_.shell.words_for("/nowhere/", first=False) == []
    assert type_.shell.words_for("-s", first=False) == []
    assert type_.shell.words_for("GET", first=True) == ["get ", "getAcl ", "getAllChildrenNumber ", "getEphemerals "]
    assert [type_.shell.complete("del", index) for index in range(3)] == ["delete ", "deleteall ", None]


def test_there_is_a_prompt(
    ours: ZookeeperServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed: Iterator[str | type[BaseException]] = iter(["help get", "nonsense", KeyboardInterrupt, "", "quit"])
    prompts: list[str] = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        line = next(typed)
        if not isinstance(line, str):
            raise line
        return line

    monkeypatch.setattr("builtins.input", ask)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    assert main(["shell", f"zk://{ours.hosts}/x"]) == DONE
    assert prompts == [f"[zk://{ours.hosts}/x {number}] " for number in (0, 1, 2, 2, 2)]
    told = capsys.readouterr()
    assert told.out.splitlines() == ["get [-s] [-w] path", ""]
    assert told.err.startswith("there is no command")
    monkeypatch.setattr("builtins.input", lambda prompt: (_ for _ in ()).throw(EOFError))
    assert main(["shell", f"zk://{ours.hosts}/x"]) == DONE


def test_without_readline_there_is_no_completion_and_all_else(
    ours: ZookeeperServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "readline", None)
    assert shell_module._readline() is None
    typed = Typed(ours.hosts)
    monkeypatch.setattr("builtins.input", lambda prompt: "quit")
    with typed.shell:
        assert typed.shell.talk("here") == DONE


def test_a_session_that_ends_is_followed_by_another(ours: ZookeeperServer, capsys: pytest.CaptureFixture[str]) -> None:
    typed = Typed(ours.hosts)
    typed.url = f"zk://{ours.hosts}"
    with typed.shell:
        typed("sync")
        client = typed.shell._client
        assert client is not None
        ours.expire_session(client.session_id)
        while not client.port.session.lost.is_set():
            pass
        assert typed("sync") == ["Sync is OK"]
    assert capsys.readouterr().err == "the session has ended; another one is opened, and watches nothing yet\n"


def test_where_nobody_serves_it_ends(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with zookeeper_server() as server:
        gone = server.hosts
    monkeypatch.setattr(sys, "stdin", io.StringIO("sync\nls /\n"))
    assert main(["shell", "--wait", "0.1", f"zk://{gone}"]) == NOT_REACHED
    assert capsys.readouterr().err == "no server could be reached within 0.1 s; see that one runs there\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["http://x"], "names no servers"),
        (["--auth", "digest", "zk://x"], "write scheme:credentials"),
        (["--tls", "/nowhere.pem", "zk://x"], "No such file"),
    ],
)
def test_what_cannot_be_meant_is_said(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shell", *words]) == NOT_UNDERSTOOD
    assert says in capsys.readouterr().err


def test_data_that_is_no_text_comes_through_a_pipe(ours: ZookeeperServer) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zkcore", "shell", "--auth", "digest:ada:pw", ours.hosts],
        input=b"create /\xe2\x82\xac-pipe \xff\xfe\nget /\xe2\x82\xac-pipe\nwhoami\nls /nowhere\n",
        capture_output=True, timeout=60, env={"PATH": "", "PYTHONUTF8": "1"}, check=False,
    )  # fmt: skip
    assert done.stdout.decode().splitlines() == ["Created /€-pipe", "\\xff\\xfe", "ip: 127.0.0.1", "digest: ada"]
    assert done.stderr.decode() == "Node does not exist: /nowhere\n"
    assert done.returncode == REFUSED
