"""ZooKeeper's configuration file: what every key means, and what no key can mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from zkcore.cli.zoo_cfg import ZooCfg, read_zoo_cfg
from zkcore.errors import ConfigurationError
from zkcore.replica.members import Member
from zkcore.transport.address import Address
from zkcore.transport.security import Plaintext, SharedSecret, Tls
from zkcore.tree.acl import DigestScheme, digest_id

Read = Callable[..., ZooCfg]

ENSEMBLE = """
server.1=zk1:2888:3888
server.2=zk2:2888:3888:participant
server.3=[::1]:2889:3889:observer;[::1]:2182
zkcore.plaintext=true
"""


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a file of these lines behind a dataDir whose myid is as told."""

    def read(lines: str = "", *, myid: str | None = "1", data_dir: bool = True) -> ZooCfg:
        data = tmp_path / "data"
        data.mkdir(exist_ok=True)
        (data / "myid").unlink(missing_ok=True)
        if myid is not None:
            (data / "myid").write_text(myid)
        file = tmp_path / "zoo.cfg"
        file.write_text((f"dataDir={data}\n" if data_dir else "\n") + lines)
        return read_zoo_cfg(file)

    return read


def test_a_server_alone_needs_a_directory_and_nothing_else(read: Read) -> None:
    cfg = read("clientPort=2181\n# a comment\n\n", myid=None)
    assert (cfg.me, cfg.members, cfg.security) == (1, {}, None)
    assert cfg.client == Address("0.0.0.0", 2181)
    assert (cfg.fsync, cfg.snapshot_every, cfg.words) == ("always", 100_000, {"srvr"})
    assert cfg.warnings == ()


def test_times_are_counted_in_ticks_of_the_file(read: Read) -> None:
    cfg = read("tickTime=200\ninitLimit=10\nsyncLimit=5\n")
    assert (cfg.limits.init_limit_ticks, cfg.limits.sync_limit_ticks) == (200, 100)
    assert 2 * cfg.limits.ping_ticks <= cfg.limits.sync_limit_ticks
    assert (cfg.rules.timeouts.minimum_ms, cfg.rules.timeouts.maximum_ms) == (400, 4000)
    cfg = read("tickTime=2000\nminSessionTimeout=1000\nmaxSessionTimeout=90000\n")
    assert (cfg.rules.timeouts.minimum_ms, cfg.rules.timeouts.maximum_ms) == (1000, 90_000)


def test_the_servers_of_an_ensemble(read: Read) -> None:
    cfg = read(ENSEMBLE + "clientPort=2181\ngroup.1=1:2\nweight.2=3\n", myid="3\n")
    assert cfg.me == 3
    assert cfg.members == {
        1: Member(Address("zk1", 2888), False, None),
        2: Member(Address("zk2", 2888), False, None),
        3: Member(Address("::1", 2889), True, Address("::1", 2182)),
    }
    assert (cfg.groups, cfg.weights) == (((1, 2),), {2: 3})
    assert cfg.client == Address("::1", 2182), "its own line goes before clientPort"
    assert cfg.security == Plaintext()
    assert read(ENSEMBLE + "clientPort=2181\nclientPortAddress=127.0.0.1\n").client == Address("127.0.0.1", 2181)
    assert read(ENSEMBLE).client is None
    assert read(ENSEMBLE + "quorumListenOnAllIPs=true\n").bind == "0.0.0.0:2888"
    assert read(ENSEMBLE + "peerType=observer\n", myid="3").me == 3


def test_the_other_keys(read: Read) -> None:
    cfg = read(
        "maxClientCnxns=7\n4lw.commands.whitelist=srvr, mntr,stat\nsnapCount=500\nforceSync=no\n"
        f"superDigest={digest_id('super', 'pw').id}\n"
    )
    assert cfg.listener.connections_per_address == 7
    assert cfg.words == {"srvr", "mntr", "stat"}
    assert (cfg.snapshot_every, cfg.fsync) == (500, "never")
    digest = cfg.rules.access.scheme("digest")
    assert isinstance(digest, DigestScheme)
    assert len(digest.authenticate(b"super:pw")) == 2
    assert cfg.settings["superDigest"] == "*"
    assert cfg.listener.read_only_seconds is None
    assert cfg.cluster == ""
    assert read("zkcore.cluster=orders-2\n").cluster == "orders-2"
    assert read("readonlymode.enabled=true\n").listener.read_only_seconds == 3.0
    assert read("readonlymode.enabled=true\ntickTime=100\n").listener.read_only_seconds == 2.0
    assert read("maxClientCnxns=0\n").listener.connections_per_address > 1_000_000


def test_how_members_know_each_other(read: Read, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret of many bytes\n")
    secret.chmod(0o600)
    plain = ENSEMBLE.replace("zkcore.plaintext=true\n", "")
    assert read(plain + f"zkcore.secretFile={secret}\n").security == SharedSecret(b"a secret of many bytes")
    tls = read(plain + "zkcore.certificate=c\nzkcore.key=k\nzkcore.authorities=a\nzkcore.identity=zk-{id}\n").security
    assert isinstance(tls, Tls)
    assert (tls.identity, str(tls.key)) == ("zk-{id}", "k")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("tickTime\n", "line 2: 'tickTime' is no setting; write key=value"),
        ("tickTime=fast\n", "line 2: tickTime is 'fast'; give a whole number, at least 1"),
        ("tickTime=0\n", "line 2: tickTime is '0'; give a whole number, at least 1"),
        ("syncLimit=2\nsyncLimit=3\n", "line 3: syncLimit is set in line 2, too; leave one of them"),
        ("clientPort=65536\n", "line 2: clientPort is '65536'; give a port"),
        ("clientPortAddress=a b\nclientPort=1\n", "line 2: clientPortAddress is 'a b'"),
        ("readonlymode.enabled=yes\n", "line 2: readonlymode.enabled is 'yes'; it is true or false"),
        ("forceSync=maybe\n", "line 2: forceSync is 'maybe'; it is yes or no"),
        ("minSessionTimeout=9\nmaxSessionTimeout=5\n", "minSessionTimeout and maxSessionTimeout"),
        ("tickTime=1\nsyncLimit=5\n", "a syncLimit of 0 ms leaves no time for a heartbeat"),
        ("superDigest=super\n", "line 2: superDigest is 'super'; it is user:hash"),
        ("zkcore.cluster=\n", "line 2: zkcore.cluster is ''; a name has 1 to 200 bytes"),
        ("server.x=a:1:2\n", "line 2: server.x names no server"),
        ("server.256=a:1:2\n", "line 2: server.256 names no server"),
        ("server.1=a:1\n", "line 2: server.1 is 'a:1'"),
        ("server.1=a:1:2:boss\n", "line 2: server.1 is 'a:1:2:boss'"),
        ("server.1=a:1:2|b:1:2\n", "a server has one address here"),
        ("server.1=a:1:2;x\n", "line 2: server.1 is 'a:1:2;x'; give a port"),
        ("server.1=a:1:2\nserver.2=a:1:3\n", "line 3: server.2 has the address of server.1"),
        (ENSEMBLE + "peerType=observer\n", "peerType is observer, and server.1 says otherwise"),
        (ENSEMBLE + "group.1=1:x\n", "group.1 is '1:x'; write the members as 1:2:3"),
        (ENSEMBLE + "weight.1=heavy\n", "weight.1 is 'heavy'"),
        (ENSEMBLE.replace("zkcore.plaintext=true", ""), "say how the members know each other"),
        (ENSEMBLE + "zkcore.certificate=c\n", "TLS needs all of zkcore.certificate, zkcore.key, zkcore.authorities"),
        (ENSEMBLE + "zkcore.certificate=c\nzkcore.key=k\nzkcore.authorities=a\n", "leave one of those named"),
        (ENSEMBLE + "zkcore.secretFile=/nowhere\n", "the secret cannot be read"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(read: Read, lines: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as failed:
        read(lines)
    assert said in str(failed.value)
    assert "zoo.cfg" in str(failed.value)


@pytest.mark.parametrize(
    ("myid", "said"),
    [(None, "myid cannot be read"), ("", "myid says ''"), ("7", "myid says '7'"), ("one", "myid says 'one'")],
)
def test_a_member_must_know_its_number(read: Read, myid: str | None, said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"\[1, 2, 3\]") as failed:
        read(ENSEMBLE, myid=myid)
    assert said in str(failed.value)


def test_without_a_directory_or_a_file_there_is_nothing(read: Read, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="dataDir is missing"):
        read("clientPort=2181\n", data_dir=False)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_zoo_cfg(tmp_path / "no.cfg")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tickTme=2000", "line 2: tickTme is unknown"),
        ("dataLogDir=/log", "dataLogDir is not used"),
        ("extendedTypesEnabled=false", "always there"),
        ("ssl.quorum.keyStore.location=/x.jks", "only a JVM can read"),
    ],
)
def test_what_means_nothing_is_warned_about(read: Read, line: str, said: str) -> None:
    (warning,) = read(line + "\n").warnings
    assert said in warning


@pytest.mark.parametrize("line", ["autopurge.purgeInterval=1", "extendedTypesEnabled=true", "reconfigEnabled=false"])
def test_what_asks_for_nothing_else_is_not(read: Read, line: str) -> None:
    assert read(line + "\n").warnings == ()


@pytest.mark.parametrize(
    ("line", "may"), [("", False), ("reconfigEnabled=true", True), ("reconfigEnabled=false", False)]
)
def test_clients_may_change_the_members_where_it_says_so(read: Read, line: str, may: bool) -> None:
    cfg = read(line + "\n")
    assert (cfg.rules.reconfig, cfg.warnings) == (may, ())
