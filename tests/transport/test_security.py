"""What a member is told of addresses, secrets and certificates: what is refused, and that secrets are shown nowhere."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from certificates import Authority

from zkcore.errors import ConfigurationError
from zkcore.transport.address import Address, parse_address
from zkcore.transport.limits import LinkLimits
from zkcore.transport.security import Plaintext, SharedSecret, Tls, identity_of, mode_of
from zkcore.transport.tls import TlsFiles, names_in


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("zk1:2888", "zk1", 2888),
        (" 10.0.0.1:1 ", "10.0.0.1", 1),
        ("[::1]:65535", "::1", 65535),
        ("a.b-c.example.org:2888", "a.b-c.example.org", 2888),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    address = parse_address(text, key="bind")
    assert address == Address(host, port)
    assert str(address) == text.strip()
    assert address.is_numeric == (host[0] in "1:")


@pytest.mark.parametrize(
    "text",
    ["", "zk1", "zk1:", ":2888", "zk1:0", "zk1:65536", "zk1:x", "zk1:-1", "::1:2888", "[zk1]:2888", "[::1]", "a b:1",
     "u@h:1", "h\n:1", "h:²", "[127.0.0.1]:1", 2888, None],
)  # fmt: skip
def test_what_is_no_address_is_refused_by_the_key_it_stands_at(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"members\[3\] is .*"):
        parse_address(text, key="members[3]")


@pytest.mark.parametrize("name", ["patience_seconds", "queue_bytes", "handshakes", "dials_per_second"])
def test_limits_are_above_nothing(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"LinkLimits.{name} is 0"):
        LinkLimits(**{name: 0})


def test_a_message_must_find_room_in_the_queue() -> None:
    with pytest.raises(ConfigurationError, match="one message must find room"):
        LinkLimits(frame_bytes=2, queue_bytes=1)


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_a_secret_is_shown_nowhere() -> None:
    security = SharedSecret(b"nobody shall read this")
    assert "nobody" not in repr(security)
    assert "pass" not in repr(Tls(certificate="c", key="k", authorities="a", password=b"pass"))


def test_a_secret_that_can_be_guessed_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigurationError, match=r"a secret of 6 bytes can be guessed; give at least 16") as refused:
        SharedSecret(b"hunter")
    assert "hunter" not in str(refused.value)
    with pytest.raises(ConfigurationError, match="is bytes, not str; encode it first"):
        SharedSecret("as long as it should be")  # type: ignore[arg-type]


def test_a_secret_is_read_from_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"0123456789abcdef0123\n")
    os.chmod(path, 0o640)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {path}"):
        SharedSecret.from_file(path)
    os.chmod(path, 0o600)
    assert SharedSecret.from_file(path) == SharedSecret(b"0123456789abcdef0123")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        SharedSecret.from_file(tmp_path / "none")


def test_security_is_chosen_by_name() -> None:
    assert str(mode_of(Plaintext())) == "plaintext"
    for nothing in (None, "plaintext", b"secret"):
        with pytest.raises(ConfigurationError, match=r"for no protection at all Plaintext\(\)") as refused:
            mode_of(nothing)  # type: ignore[arg-type]
        assert "Tls(...)" in str(refused.value)


# --- certificates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "identity"),
    [
        ("{host}", "zk1.example.org"),
        ("zk-{id}.{cluster}.test", "zk-1.orders.test"),
        ("0:0::1", "::1"),
        ("Fixed.Test", "fixed.test"),
    ],
)
def test_the_identity_of_a_member_comes_of_a_template(template: str, identity: str) -> None:
    tls = Tls(certificate="c", key="k", authorities="a", identity=template)
    assert identity_of(tls, 1, Address("ZK1.example.org", 2888), cluster="orders") == identity


@pytest.mark.parametrize("template", ["", "zk-{me}", "{id", "{}", "a\nb"])
def test_a_template_knows_three_places(template: str) -> None:
    with pytest.raises(ConfigurationError, match=r"\{id\}, \{host\}, \{cluster\}"):
        Tls(certificate="c", key="k", authorities="a", identity=template)


def test_only_alternative_names_count() -> None:
    certificate = {
        "subject": ((("commonName", "zk-1.test"),),),
        "subjectAltName": (("DNS", "ZK-2.test"), ("IP Address", "0:0:0:0:0:0:0:1"), ("email", "zk-3.test")),
    }
    assert names_in(certificate) == {"zk-2.test", "::1"}
    assert names_in({}) == names_in(None) == frozenset()


def load(tls: Tls, identity: str = "zk-1.test") -> TlsFiles:
    return TlsFiles(tls, identity=identity)


def test_a_good_certificate_is_taken(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    load(authority.member(1))
    load(authority.member(1, names=("127.0.0.1",)), identity="127.0.0.1")


def test_a_certificate_that_the_others_would_refuse_is_found_at_the_start(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    past = datetime.now(UTC) - timedelta(days=1)
    with pytest.raises(ConfigurationError, match=r"zk-1\.test\.pem: certificate has expired; renew it"):
        load(authority.member(1, expires=past))
    with pytest.raises(ConfigurationError, match=r"is for zk-2\.test, and this member is zk-1\.test; have that among"):
        load(authority.member(1, names=("zk-2.test",)))
    with pytest.raises(ConfigurationError, match=r"is for \*\.test, and this member"):
        load(authority.member(1, names=("*.test",)))


def test_the_common_name_does_not_count(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("other.test", common_name="zk-1.test")
    with pytest.raises(ConfigurationError, match=r"is for other\.test"):
        load(Tls(certificate=certificate, key=key, authorities=authority.path))


def test_a_certificate_of_a_stranger_is_found_at_the_start(tmp_path: Path) -> None:
    mine, other = Authority(tmp_path), Authority(tmp_path, name="other")
    certificate, key = other.issue("zk-1.test")
    with pytest.raises(ConfigurationError, match=r"unable to get local issuer.*check that .*authority\.pem holds"):
        load(Tls(certificate=certificate, key=key, authorities=mine.path))


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("zk-1.test")
    _, other_key = authority.issue("zk-2.test")
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for tls, complaint in (
        (Tls(certificate=tmp_path / "none", key=key, authorities=authority.path), "Tls.certificate: .*none with the"),
        (Tls(certificate=certificate, key=other_key, authorities=authority.path), "Tls.certificate: .*MISMATCH"),
        (Tls(certificate=broken, key=key, authorities=authority.path), r"Tls.certificate: .*broken\.pem"),
        (Tls(certificate=certificate, key=key, authorities=broken), r"Tls.authorities: .*broken\.pem cannot be used"),
    ):  # fmt: skip
        with pytest.raises(ConfigurationError, match=complaint):
            load(tls)


def test_files_that_change_are_read_again_and_bad_ones_are_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    tls = authority.member(1)
    files = load(tls)
    first = files.contexts()
    assert files.contexts() is first
    Path(tls.certificate).write_text("half of it")
    assert files.contexts() is first
    assert "the old one stays in use" in caplog.text
    authority.member(1)
    second = files.contexts()
    assert second is not first
    assert files.contexts() is second
