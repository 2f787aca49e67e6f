"""Who may do what: schemes, ACLs as they are meant and shown, and what each request needs."""

from __future__ import annotations

from typing import Any

import pytest
from alone import Alone

from zkcore.errors import (
    AuthFailedError,
    BadVersionError,
    ConfigurationError,
    InvalidACLError,
    NoAuthError,
    NoNodeError,
)
from zkcore.jute.records import ACL, ANYONE, OPEN_ACL, READ_ACL, Id
from zkcore.tree.acl import (
    DEFAULT_ACL,
    SUPER,
    Access,
    CertificateScheme,
    DigestScheme,
    IpScheme,
    Permission,
    digest_id,
    scrypt_id,
)
from zkcore.tree.requests import (
    Check,
    Create,
    Delete,
    Exists,
    GetACL,
    GetAllChildrenNumber,
    GetChildren,
    GetChildren2,
    GetData,
    Multi,
    SetACL,
    SetData,
    WhoAmI,
)
from zkcore.tree.snapshot import dump, restore

BOB, EVE = digest_id("bob", "pw"), digest_id("eve", "pw")
BOBS = (ACL(31, BOB),)


# --- schemes ---------------------------------------------------------------------------------------------------------


def test_a_digest_is_the_one_that_zookeeper_makes() -> None:
    assert str(BOB) == "digest:bob:ikIaKsbtGweaHnb/jKn7OHqbunM="  # as a live server shows it to an ADMIN


def test_credentials_prove_ids() -> None:
    access = Access([DigestScheme(superuser=digest_id("super", "pw")), IpScheme(), CertificateScheme()])
    assert access.authenticate("digest", b"bob:pw") == (BOB,)
    assert access.authenticate("digest", b"super:pw") == (digest_id("super", "pw"), SUPER)
    assert str(access.authenticate("digest", b"bob")[0]) == "digest:bob:SBgazSKz7a68ikR4aKfffOYpkgo="
    assert access.authenticate("ip", b"") == ()
    assert Access().authenticate("digest", b"super:pw") == (digest_id("super", "pw"),)


def test_scrypt_is_salted_with_the_name() -> None:
    (mine,) = Access().authenticate("scrypt", b"bob:pw")
    assert mine == scrypt_id("bob", "pw")
    assert mine.id.startswith("bob:")
    assert mine.id.partition(":")[2] != scrypt_id("eve", "pw").id.partition(":")[2]


@pytest.mark.parametrize(
    ("scheme", "credentials"),
    [("scrypt", b"bob"), ("digest", b"\xff:x"), ("x509", b"CN=x"), ("nope", b""), ("world", b"")],
)
def test_what_proves_nothing_is_refused(scheme: str, credentials: bytes) -> None:
    with pytest.raises(AuthFailedError):
        Access().authenticate(scheme, credentials)


def test_a_certificate_may_be_that_of_a_superuser() -> None:
    scheme = CertificateScheme(superusers=["CN=root"])
    assert scheme.ids_of("CN=bob") == (Id("x509", "CN=bob"),)
    assert scheme.ids_of("CN=root") == (Id("x509", "CN=root"), SUPER)


@pytest.mark.parametrize("schemes", [[DigestScheme(), DigestScheme()], [type("W", (IpScheme,), {"name": "world"})()]])
def test_schemes_with_a_name_that_is_taken(schemes: Any) -> None:
    with pytest.raises(ConfigurationError):
        Access(schemes)
    with pytest.raises(ConfigurationError):
        Access(default=DEFAULT_ACL)


@pytest.mark.parametrize(
    ("scheme", "caller", "pattern", "matches"),
    [
        (IpScheme(), "10.1.2.3", "10.1.2.3", True),
        (IpScheme(), "10.1.2.3", "10.1.2.4", False),
        (IpScheme(), "10.1.2.3", "10.0.0.0/8", True),
        (IpScheme(), "10.1.2.3", "10.9.9.9/8", True),
        (IpScheme(), "10.1.2.3", "0.0.0.0/0", True),
        (IpScheme(), "11.1.2.3", "10.0.0.0/8", False),
        (IpScheme(), "fe80::1", "fe80::/10", True),
        (IpScheme(), "10.1.2.3", "::/0", False),
        (IpScheme(), "nowhere", "10.0.0.0/8", False),
        (DigestScheme(), "bob:x", "bob:x", True),
        (DigestScheme(), "bob:x", "bob:y", False),
        (CertificateScheme(), "CN=é", "CN=é", True),
        (CertificateScheme(), "CN=a", "CN=b", False),
    ],
)
def test_who_is_meant(scheme: Any, caller: str, pattern: str, matches: bool) -> None:
    assert scheme.matches(caller, pattern) is matches


# --- what an ACL means -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "ids", "meant"),
    [
        (OPEN_ACL, (), OPEN_ACL),
        (OPEN_ACL * 2, (), OPEN_ACL),
        ((ACL(0, ANYONE), ACL(99, ANYONE)), (), (ACL(0, ANYONE), ACL(99, ANYONE))),
        ((ACL(3, Id("auth", "")),), (BOB,), (ACL(3, BOB),)),
        ((ACL(3, Id("auth", "x")), *READ_ACL), (BOB, Id("ip", "::1"), EVE), (ACL(3, BOB), ACL(3, EVE), *READ_ACL)),
        (DEFAULT_ACL, (BOB,), (ACL(31, BOB), *READ_ACL)),
        ((ACL(1, Id("digest", "a:b")),), (), (ACL(1, Id("digest", "a:b")),)),
        ((ACL(1, Id("ip", "1.2.3.4/8")),), (), (ACL(1, Id("ip", "1.2.3.4/8")),)),
        ((ACL(1, Id("x509", "CN=x")),), (), (ACL(1, Id("x509", "CN=x")),)),
    ],
)
def test_an_acl_is_stored_as_it_is_meant(given: Any, ids: Any, meant: Any) -> None:
    access = Access(default=(ACL(31, Id("auth", "")), *READ_ACL))
    assert access.fix_up(tuple(given), ids) == meant


@pytest.mark.parametrize(
    "of",
    [
        ("world", "x"), ("auth", ""), ("nope", "x"), ("super", ""), ("digest", "x"), ("digest", "a:b:c"),
        ("digest", ""), ("digest", ":"), ("digest", "a:"), ("ip", "1.2.3.4/33"), ("ip", "1.2.3"), ("ip", "1.2.3.4/"),
        ("ip", ""),
        ("ip", "1.2.3.4/8/9"), ("ip", "10.0.0.0/255.0.0.0"), ("x509", "zz"), ("default", "of the default"),
    ],
)  # fmt: skip
def test_what_nobody_can_be_is_no_acl(of: tuple[str, str]) -> None:
    """As a live server answered, but for x509 and default, which it had not."""
    access = Access(default=(ACL(31, Id("auth", "")),))
    with pytest.raises(InvalidACLError):
        access.fix_up((*OPEN_ACL, ACL(31, Id(*of))), (Id("ip", "1.2.3.4"),))


def test_no_entries_are_no_acl() -> None:
    with pytest.raises(InvalidACLError):
        Access().fix_up((), ())


# --- what each request needs -----------------------------------------------------------------------------------------

READ, WRITE, CREATE, DELETE, ADMIN = Permission
NEEDS: list[tuple[Any, int]] = [
    (GetData("/p"), READ),
    (Exists("/p"), READ),
    (GetChildren("/p"), READ),
    (GetChildren2("/p"), READ),
    (GetAllChildrenNumber("/p"), READ),
    (Check("/p"), READ),
    (GetACL("/p"), READ | ADMIN),
    (SetData("/p", b""), WRITE),
    (SetACL("/p", OPEN_ACL), ADMIN),
    (Create("/p/new"), CREATE),
    (Delete("/p/child"), DELETE),
]


@pytest.mark.parametrize(("request_", "needed"), NEEDS)
@pytest.mark.parametrize("given", Permission)
def test_a_request_needs_its_permission_and_no_other(request_: Any, needed: int, given: int) -> None:
    alone = Alone()
    alone.do(Create("/p"))
    alone.do(Create("/p/child"))
    alone.do(SetACL("/p", (ACL(given, BOB), ACL(31 - given, EVE))))
    for ids, allowed in [((BOB,), given & needed), ((), 0), ((EVE,), needed & (31 - given)), ((SUPER,), True)]:
        if request_.writes and allowed:
            continue
        outcome = alone.outcome(request_, ids=ids)
        assert (outcome is NoAuthError) == (not allowed), ids
    if given & needed:
        assert alone.outcome(request_, ids=(BOB,)) is not NoAuthError


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (Create("/p/."), NoAuthError),
        (Create("/p/child"), NoAuthError),
        (Create("/p/x", acl=()), InvalidACLError),
        (Delete("/p/nope", 9), NoAuthError),
        (Delete("/p/child", 9), NoAuthError),
        (Delete("/p", 9), BadVersionError),  # its own ACL protects the children, not itself
        (SetData("/p", b"", version=9), NoAuthError),
        (SetACL("/p", (), version=9), InvalidACLError),
        (SetACL("/p", OPEN_ACL, version=9), NoAuthError),
        (Check("/p", 9), NoAuthError),
        (GetData("/p/nope"), NoNodeError),
        (Exists("/p"), NoAuthError),
        (GetData("/p"), NoAuthError),
    ],
)
def test_the_permission_has_its_place_among_the_checks(request_: Any, error: type[Exception]) -> None:
    alone = Alone()
    alone.do(Create("/p"))
    alone.do(Create("/p/child"))
    alone.do(SetACL("/p", BOBS))
    assert alone.outcome(request_, ids=(EVE,)) is error


def test_what_is_missing_is_missing_for_everybody() -> None:
    assert Alone().ask(Exists("/nope")) is None


def test_an_acl_in_flight_counts() -> None:
    alone = Alone()
    alone.do(Create("/p"))
    alone.propose(SetACL("/p", BOBS))
    alone.propose(SetData("/p", b""))
    alone.propose(SetData("/p", b""), ids=(BOB,))
    alone.propose(Multi([Create("/q", acl=BOBS), SetData("/q", b"")]))
    assert [alone.commit_quietly()[1].error for _ in range(4)] == [0, -102, 0, -102]


# --- setting and showing ---------------------------------------------------------------------------------------------


def test_setting_an_acl_counts_its_versions_and_changes_nothing_else() -> None:
    alone = Alone()
    made = alone.do(Create("/p", b"x")).stat
    stat = alone.do(SetACL("/p", READ_ACL, version=0))
    assert (stat.aversion, stat.version, stat.mzxid, stat.mtime) == (1, 0, made.mzxid, made.mtime)
    assert alone.outcome(SetACL("/p", READ_ACL)) is NoAuthError
    assert alone.do(SetACL("/p", OPEN_ACL), ids=(SUPER,)).aversion == 2
    assert alone.tree.acl("/p") is None
    alone.tree.check()


def test_what_proves_an_id_is_shown_to_who_may_change_it() -> None:
    alone = Alone()
    mine = (ACL(31, BOB), ACL(1, ANYONE), ACL(1, Id("ip", "::1")), ACL(1, scrypt_id("eve", "pw")))
    alone.do(Create("/p", acl=mine))
    assert alone.ask(GetACL("/p"), ids=(BOB,)).acl == mine
    shown = alone.ask(GetACL("/p")).acl
    assert [str(entry) for entry in shown] == ["digest:bob:x:31", "world:anyone:1", "ip:::1:1", "scrypt:eve:x:1"]


def test_zookeepers_own_znodes_are_open_but_for_the_configuration() -> None:
    alone = Alone()
    assert alone.ask(GetACL("/zookeeper")).acl == OPEN_ACL
    acl, stat = alone.ask(GetACL("/zookeeper/config"))
    assert (acl, stat.aversion) == (READ_ACL, -1)
    assert alone.outcome(SetData("/zookeeper/config", b"x")) is NoAuthError


def test_who_am_i() -> None:
    """Names, and nothing that proves them: as a live server answers, which knows no scrypt."""
    ids = (BOB, Id("ip", "::1"), scrypt_id("eve", "pw"), SUPER)
    assert [str(id) for id in Alone().ask(WhoAmI(), ids=ids)] == ["digest:bob", "ip:::1", "scrypt:eve", "super:"]


def test_acls_are_kept_and_forgotten_with_their_znodes() -> None:
    alone = Alone()
    for number in range(300):
        alone.do(Create(f"/n{number}", acl=(ACL(number % 3 + 1, BOB), *READ_ACL)))
    alone.tree.check()
    assert len(alone.tree.state.acl_uses()) == 4  # and that of the configuration
    tree = restore(dump(alone.tree))
    tree.check()
    assert b"".join(dump(tree)) == b"".join(dump(alone.tree))
    for number in range(300):
        assert tree.acl(f"/n{number}") == (ACL(number % 3 + 1, BOB), *READ_ACL)
        alone.do(Delete(f"/n{number}"))
    assert len(alone.tree.state.acl_uses()) == 1
    alone.tree.check()


def test_a_frozen_state_keeps_the_acls_it_had() -> None:
    alone = Alone()
    alone.do(Create("/p", acl=BOBS))
    whole = b"".join(dump(alone.tree))
    chunks = dump(alone.tree)
    alone.do(SetACL("/p", OPEN_ACL), ids=(BOB,))
    alone.do(Create("/q", acl=BOBS))
    assert b"".join(chunks) == whole


@pytest.mark.parametrize("scheme", ["digest", "scrypt", "x509"])
def test_what_proves_an_id_is_compared_in_a_time_that_tells_nothing(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    access, mine = Access(), Id(scheme, "CN=me")
    assert access.allows((ACL(1, mine),), 1, (mine,))
    monkeypatch.setattr("zkcore.tree.acl.compare_digest", lambda one, other: False)
    assert not access.allows((ACL(1, mine),), 1, (mine,)), "there is no other comparison"


def test_a_superuser_is_compared_in_a_time_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = DigestScheme(superuser=digest_id("root", "pw"))
    assert SUPER in scheme.authenticate(b"root:pw")
    monkeypatch.setattr("zkcore.tree.acl.compare_digest", lambda one, other: False)
    assert SUPER not in scheme.authenticate(b"root:pw")
