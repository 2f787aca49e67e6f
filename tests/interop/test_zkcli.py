"""ZooKeeper's own zkCli.sh at servers of ours: what one types there, and what it says.

At an Apache ZooKeeper it says the same; by hand: ``python tests/interop/test_zkcli.py`` runs it on one, and compares.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from live import JAR, MISSING, Server

from zkcore.replica.rules import Rules
from zkcore.testing.zookeeper import zookeeper_server

TYPED = """
create /a "hello world"
ls /
get -s /a
set -v 0 /a x
set -v 9 /a x
stat /a
create -s -e /a/n- 1
ls -R /a
create /nowhere/f
getAcl /a
addauth digest ada:pw
setAcl /a auth::cdrwa
getAcl /a
sync /a
addWatch /a
create /a/w 1
set /a/w 2
removewatches /a
getEphemerals /a
getAllChildrenNumber /a
create -c /box
create -t 100000 /ttl
whoami
setquota -n 5 /a
listquota /a
delquota -n /a
reconfig -remove 3
delete /nowhere
delete /a
deleteall /a
ls /
quit
"""

TOLD = """
[a, zookeeper]
hello world
cZxid = *
ctime = *
mZxid = *
mtime = *
pZxid = *
cversion = 0
dataVersion = 0
aclVersion = 0
ephemeralOwner = 0x0
dataLength = 11
numChildren = 0
cZxid = *
ctime = *
mZxid = *
mtime = *
pZxid = *
cversion = 0
dataVersion = 1
aclVersion = 0
ephemeralOwner = 0x0
dataLength = 1
numChildren = 0
/a
/a/n-0000000000
'world,'anyone
: cdrwa
'digest,'ada:BQn2eIntEkP0ldaGkwF+SiJLMTg=
: cdrwa
Sync is OK
[/a/n-0000000000]
2
Auth scheme: User
ip: 127.0.0.1
digest: ada
Output quota for /a count=5,bytes=-1=;byteHardLimit=-1;countHardLimit=-1
Output stat for /a count=3,bytes=3
[box, ttl, zookeeper]
"""

EVENTS = """
WatchedEvent state:SyncConnected type:None path:null
WatchedEvent state:SyncConnected type:NodeCreated path:/a/w
WatchedEvent state:SyncConnected type:NodeDataChanged path:/a/w
WatchedEvent state:SyncConnected type:PersistentWatchRemoved path:/a
"""

COMPLAINED = """
Created /a
version No is not valid : /a
Created /a/n-0000000000
Node does not exist: /nowhere/f
Created /a/w
Created /box
Created /ttl
KeeperErrorCode = Reconfig is disabled
Node does not exist: /nowhere
Node not empty: /a
"""


def run_zkcli(hosts: str, folder: Path) -> tuple[str, str, str]:
    """What it says, without what is the same for nobody: answers, complaints, and events, which come on a thread of
    their own."""
    (folder / "log4j.properties").write_text("log4j.rootLogger=OFF\n", encoding="utf-8")
    done = subprocess.run(
        [
            "java", "-Xmx128m", "-cp", f"{folder}:{JAR}", "org.apache.zookeeper.ZooKeeperMain", "-server", hosts,
        ],
        input=TYPED, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    told = re.sub(r"(?m)^(.Zxid|.time) = .*$", r"\1 = *", done.stdout.partition("JLine support is disabled\n")[2])
    told = told.replace("digest: ada\nip: 127.0.0.1", "ip: 127.0.0.1\ndigest: ada")  # there in a hash table's order
    lines = _lines(told).splitlines()
    events = [line for line in lines if line.startswith("WatchedEvent state:SyncConnected")]
    answers = [line for line in lines if not line.startswith(("WatchedEvent", "WATCHER::"))]  # it may not hear the last
    return _lines("\n".join(answers)), _lines(done.stderr), _lines("\n".join(events))


def _lines(text: str) -> str:
    lines = [line for line in text.splitlines() if line and not line.startswith(("SLF4J", "absolute path"))]
    return "\n".join(["", *lines, ""])


@pytest.mark.zookeeper
@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_zkcli_notices_nothing(tmp_path: Path) -> None:
    with zookeeper_server(3, rules=Rules(reconfig=False)) as ours:  # as a ZooKeeper is by default
        assert run_zkcli(ours.hosts, tmp_path) == (TOLD, COMPLAINED, EVENTS)


def main() -> None:
    """At an Apache ZooKeeper."""
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as live:
        assert run_zkcli(f"127.0.0.1:{live.port}", Path(folder)) == (TOLD, COMPLAINED, EVENTS)
    print("the same")


if __name__ == "__main__":
    sys.path.append("tests/tree")
    main()
