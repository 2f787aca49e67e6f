"""Clients that say who they are, over replicas in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

import zkcore
import zkcore.sync
from zkcore import ACL, Access, DigestScheme, Id, Permission, Rules, digest_id
from zkcore.errors import (
    AuthFailedError,
    BadArgumentsError,
    BadVersionError,
    NoAuthError,
    SessionClosedError,
)
from zkcore.jute.records import OPEN_ACL, READ_ACL
from zkcore.tree.requests import WhoAmI

T = TypeVar("T")

MINE = (ACL(31, Id("auth", "")),)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, which must come within 20 seconds."""

    async def bounded() -> T:
        async with asyncio.timeout(20):
            return await coroutine

    return asyncio.run(bounded())


def test_who_has_authenticated_may_do_what_others_may_not() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(3) as cluster, cluster.client() as ada, cluster.client() as bob:
            await ada.add_auth("digest", "ada:pw")
            await bob.add_auth("digest", b"bob:pw")
            await ada.create("/adas", b"secret", acl=MINE)
            with pytest.raises(NoAuthError):
                await bob.get("/adas")
            with pytest.raises(NoAuthError):
                await bob.set("/adas", b"")
            assert (await ada.get("/adas")).data == b"secret"
            with pytest.raises(AuthFailedError):
                await bob.add_auth("scrypt", "no colon")
            with pytest.raises(AuthFailedError):
                await bob.add_auth("kerberos", "bob")
            assert await bob.port.request(WhoAmI()) == (Id("digest", "bob"),)

    run(main())


def test_who_a_client_is_moves_with_its_session() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(3) as cluster, cluster.client() as zk:
            await zk.add_auth("digest", "ada:pw")
            await zk.add_auth("scrypt", "ada:pw")
            await zk.create("/mine", b"secret", acl=MINE)
            assert cluster.leader is not None
            cluster.kill(cluster.leader)
            assert (await zk.get("/mine")).data == b"secret"
            assert await zk.port.request(WhoAmI()) == (Id("digest", "ada"), Id("scrypt", "ada"))

    run(main())


def test_a_client_may_authenticate_itself_while_it_is_suspended() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(3) as cluster, cluster.client() as zk:
            killed = list(cluster.nodes)
            for me in killed:
                cluster.kill(me)
            await zk.add_auth("digest", "ada:pw")
            for me in killed:
                cluster.start_node(me)
            assert await zk.port.request(WhoAmI()) == (Id("digest", "ada"),)

    run(main())


def test_a_client_that_is_over_does_not_authenticate() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(1) as cluster:
            zk = cluster.client()
            with pytest.raises(SessionClosedError):
                await zk.add_auth("digest", "ada:pw")
            async with zk:
                pass
            with pytest.raises(SessionClosedError):
                await zk.add_auth("digest", "ada:pw")

    run(main())


def test_the_rules_of_a_cluster_hold_in_blocking_code_too() -> None:
    rules = Rules(access=Access([DigestScheme(superuser=digest_id("root", "pw"))]))
    with zkcore.sync.local_cluster(1, rules=rules) as cluster, cluster.client() as ada, cluster.client() as root:
        ada.add_auth("digest", "ada:pw")
        ada.create("/adas", b"secret", acl=MINE)
        root.add_auth("digest", "root:pw")
        assert root.get("/adas").data == b"secret"
        assert root.set_acls("/adas", OPEN_ACL).aversion == 1
        assert ada.get_acls("/adas").acl == OPEN_ACL


def test_acls_are_set_and_shown_and_what_proves_an_id_only_to_who_may_change_them() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(1) as cluster, cluster.client() as ada, cluster.client() as bob:
            await ada.add_auth("digest", "ada:pw")
            await ada.create("/a")
            assert (await ada.get_acls("/a")).acl == OPEN_ACL
            readable = (ACL(Permission.READ, Id("world", "anyone")), ACL(31, digest_id("ada", "pw")))
            assert (await ada.set_acls("/a", readable, version=0)).aversion == 1
            assert (await ada.get_acls("/a")).acl == readable
            assert (await bob.get_acls("/a")).acl == (readable[0], ACL(31, Id("digest", "ada:x")))
            with pytest.raises(NoAuthError):
                await bob.set_acls("/a", OPEN_ACL)
            with pytest.raises(BadVersionError):
                await ada.set_acls("/a", OPEN_ACL, version=0)

    run(main())


def test_znodes_get_the_default_acl_of_the_ensemble_and_their_parents_that_of_the_znode() -> None:
    async def main() -> None:
        rules = Rules(access=Access(default=READ_ACL))
        async with zkcore.local_cluster(1, rules=rules) as cluster, cluster.client() as zk:
            await zk.create("/plain")
            await zk.create("/own/acl", acl=OPEN_ACL, makepath=True)
            acls = [(await zk.get_acls(path)).acl for path in ("/plain", "/own", "/own/acl")]
            assert acls == [READ_ACL, OPEN_ACL, OPEN_ACL]

    run(main())


@pytest.mark.parametrize(
    "how", [{"ephemeral": True}, {"sequence": True}, {"ttl": 1.0}, {"ephemeral": True, "ttl": 1.0}, {"ttl": 0.0}]
)
def test_a_znode_is_of_one_kind(how: dict[str, Any]) -> None:
    async def main() -> None:
        async with zkcore.local_cluster(1) as cluster, cluster.client() as zk:
            with pytest.raises(BadArgumentsError):
                await zk.create("/a", container="ttl" not in how or "ephemeral" not in how, **how)
            assert await zk.exists("/a") is None

    run(main())


def test_containers_and_znodes_with_a_time_to_live_are_made() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(1) as cluster, cluster.client() as zk:
            assert await zk.create("/box", container=True) == "/box"
            assert await zk.create("/brief", b"x", ttl=60) == "/brief"
            assert await zk.create("/brief-", ttl=60, sequence=True) == "/brief-0000000002"
            stat = await zk.exists("/brief")
            assert stat is not None
            assert stat.ephemeral_owner == 0

    run(main())
