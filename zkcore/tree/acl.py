"""Who may do what: permissions, the schemes by which callers are known, and the checks.

An ACL is a list of entries, each of which gives permissions to an id; it holds for one znode, not for those below. A
caller is known by a tuple of ids, which whoever serves it has made sure of: `ip` at the connect, `x509` by the
transport, the others by `Access.authenticate`. They travel with each request to the leader, which checks writes when
it prepares them; reads are checked where they are answered. Applying checks nothing.

    world   the id `anyone`: everybody
    auth    only to set: stands for every id by which the caller has authenticated itself
    default only to set: stands for the default ACL of this ensemble (ZooKeeper has none)
    digest  user:base64(SHA-1(user:password)), as ZooKeeper makes it
    scrypt  user:base64(scrypt(password)), salted with the user's name: what is stolen is costly to guess from
    ip      an address, IPv4 or IPv6, or a network: address/bits
    x509    the subject of the caller's certificate, as the transport read it
    super   may do everything; never in an ACL

All replicas must be given the same `Access`. This module must not know how a caller is reached.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from enum import IntFlag
from hashlib import scrypt, sha1, sha256
from hmac import compare_digest
from ipaddress import ip_address, ip_network
from typing import NamedTuple, Protocol

from zkcore.errors import AuthFailedError, ConfigurationError, InvalidACLError
from zkcore.jute.records import ACL, ANYONE, OPEN_ACL, Id

__all__ = [
    "ANONYMOUS", "DEFAULT_ACL", "SUPER", "Access", "Caller", "CertificateScheme", "DigestScheme", "IpScheme",
    "Permission", "Scheme", "ScryptScheme", "digest_id", "scrypt_id",
]  # fmt: skip


class Permission(IntFlag):
    """What an entry of an ACL can allow."""

    READ = 1
    """Data, Stat, children, the ACL; and the events of watches."""
    WRITE = 2
    """Setting data."""
    CREATE = 4
    """Making children."""
    DELETE = 8
    """Deleting children."""
    ADMIN = 16
    """Setting the ACL."""


class Caller(NamedTuple):
    """Who asks: the session, and the ids it is known by."""

    session: int
    ids: tuple[Id, ...] = ()


ANONYMOUS = Caller(0)

SUPER = Id("super", "")
"""The id of somebody who may do everything."""

EMBEDDED = Id("embedded", "")
"""The id of a client in the process of a replica: of the application itself. No ACL names it, and it is not shown."""

DEFAULT_ACL = (ACL(31, Id("default", "")),)
"""The ACL that the ensemble is configured to give to znodes (see `Access`)."""


class Scheme(Protocol):
    """A way to be known. Must be deterministic, and raise nothing but what is named here."""

    name: str
    proves: bool
    """Whether its ids are those of somebody who authenticated, for which `auth:` stands."""
    secret: bool
    """Whether its ids show, after the first colon, what only an ADMIN of the znode should see."""

    def authenticate(self, credentials: bytes) -> tuple[Id, ...]:
        """The ids that `credentials` prove. Raises AuthFailedError."""

    def is_valid(self, pattern: str) -> bool:
        """Whether an entry of an ACL may say this."""

    def matches(self, caller: str, pattern: str) -> bool:
        """Whether the id `caller` is meant by the `pattern` of an ACL."""


def digest_id(user: str, password: str) -> Id:
    """The id that ZooKeeper's digest scheme gives to a user and password.

    >>> print(digest_id("super", "pw"))
    digest:super:0bX78nEegDzJM3ju0iLBEJdWzjg=
    """
    return _digest_of(f"{user}:{password}")


def _digest_of(credentials: str) -> Id:
    # SHA-1 is what ZooKeeper's own ids are made with; scrypt_id is there for who need not match those.
    made = sha1(credentials.encode(), usedforsecurity=False).digest()
    return Id("digest", f"{credentials.partition(':')[0]}:{b64encode(made).decode()}")


def scrypt_id(user: str, password: str) -> Id:
    """The id that the scrypt scheme gives to a user and password. Takes some 50 ms of a core, and 16 MiB, on purpose.

    The salt is made from the user's name, since whoever writes an ACL must be able to make the id alone.
    """
    salt = sha256(b"zkcore:" + user.encode()).digest()
    made = scrypt(password.encode(), salt=salt, n=1 << 14, r=8, p=1, dklen=32)
    return Id("scrypt", f"{user}:{b64encode(made).decode()}")


def _text_of(credentials: bytes) -> str:
    try:
        return credentials.decode()
    except UnicodeDecodeError as error:
        raise AuthFailedError("credentials are user:password, in UTF-8") from error


def _is_user_and_hash(pattern: str) -> bool:
    user, colon, proof = pattern.partition(":")
    return bool(user or proof) and bool(colon) and bool(proof) and ":" not in proof


class DigestScheme:
    """ZooKeeper's digest scheme. Who proves to be `superuser`, an id made by `digest_id`, may do everything."""

    name = "digest"
    proves = True
    secret = True

    def __init__(self, *, superuser: Id | None = None) -> None:
        self._superuser = superuser

    def authenticate(self, credentials: bytes) -> tuple[Id, ...]:
        """See `Scheme`: `credentials` are `user:password`; what has no colon is a user, as in ZooKeeper."""
        made = _digest_of(_text_of(credentials))
        is_super = self._superuser is not None and compare_digest(made.id.encode(), self._superuser.id.encode())
        return (made, SUPER) if is_super else (made,)

    def is_valid(self, pattern: str) -> bool:
        """See `Scheme`."""
        return _is_user_and_hash(pattern)

    def matches(self, caller: str, pattern: str) -> bool:
        """See `Scheme`."""
        return compare_digest(caller.encode(), pattern.encode())


class ScryptScheme:
    """As the digest scheme, with ids that are costly to guess a password from. See `scrypt_id`."""

    name = "scrypt"
    proves = True
    secret = True

    def authenticate(self, credentials: bytes) -> tuple[Id, ...]:
        user, colon, password = _text_of(credentials).partition(":")
        if not colon:
            raise AuthFailedError("credentials are user:password; there is no colon")
        return (scrypt_id(user, password),)

    def is_valid(self, pattern: str) -> bool:
        return _is_user_and_hash(pattern)

    def matches(self, caller: str, pattern: str) -> bool:
        return compare_digest(caller.encode(), pattern.encode())


class IpScheme:
    """By address: whoever serves a connection gives its caller the id."""

    name = "ip"
    proves = False
    secret = False

    def authenticate(self, credentials: bytes) -> tuple[Id, ...]:
        # ZooKeeper accepts this and gives the id that the connection has anyway.
        return ()

    def is_valid(self, pattern: str) -> bool:
        try:
            ip_network(pattern, strict=False)
        except ValueError:
            return False
        # The module would take a network mask in place of the number of bits, too.
        return "/" not in pattern or pattern.rpartition("/")[2].isdecimal()

    def matches(self, caller: str, pattern: str) -> bool:
        try:
            return ip_address(caller) in ip_network(pattern, strict=False)
        except ValueError:
            return False


class CertificateScheme:
    """By the subject of a certificate that the transport has verified. Who is one of `superusers` may do everything."""

    name = "x509"
    proves = True
    secret = False

    def __init__(self, *, superusers: Sequence[str] = ()) -> None:
        self._superusers = frozenset(superusers)

    def authenticate(self, credentials: bytes) -> tuple[Id, ...]:
        raise AuthFailedError("a certificate is shown to the transport, not sent")

    def ids_of(self, subject: str) -> tuple[Id, ...]:
        """The ids of a caller with this certificate, for the transport to give."""
        mine = Id(self.name, subject)
        return (mine, SUPER) if subject in self._superusers else (mine,)

    def is_valid(self, pattern: str) -> bool:
        return "=" in pattern

    def matches(self, caller: str, pattern: str) -> bool:
        return compare_digest(caller.encode(), pattern.encode())


def _can_be_written(entry: ACL) -> bool:
    """What comes over a wire always can; an entry that is made in this process need not."""
    try:
        return len(f"{entry.id.scheme}:{entry.id.id}".encode()) > 0 and -(1 << 31) <= entry.perms < 1 << 31
    except UnicodeEncodeError:  # half a surrogate pair
        return False


class Access:
    """The rules of one ensemble: its schemes, and the ACL that DEFAULT_ACL stands for.

    Raises ConfigurationError for two schemes of one name, and for the names that have a meaning of their own.
    """

    def __init__(self, schemes: Sequence[Scheme] | None = None, *, default: tuple[ACL, ...] = OPEN_ACL) -> None:
        if schemes is None:
            schemes = (DigestScheme(), ScryptScheme(), IpScheme(), CertificateScheme())
        self._schemes = {scheme.name: scheme for scheme in schemes}
        names = [scheme.name for scheme in schemes]
        for name in names:
            if name in ("world", "auth", "super", "default", "embedded") or names.count(name) > 1:
                raise ConfigurationError(f"a scheme cannot be called {name!r}: the name is taken")
        if not default or any(entry.id.scheme == "default" for entry in default):
            raise ConfigurationError("the default ACL needs entries, and cannot be defined by itself")
        self._default = default

    def scheme(self, name: str) -> Scheme | None:
        """The scheme of that name, if there is one."""
        return self._schemes.get(name)

    def authenticate(self, scheme: str, credentials: bytes) -> tuple[Id, ...]:
        """The ids that `credentials` prove. Raises AuthFailedError."""
        known = self._schemes.get(scheme)
        if known is None:
            raise AuthFailedError(f"there is no scheme {scheme!r} here; there are {', '.join(sorted(self._schemes))}")
        return known.authenticate(credentials)

    def fix_up(self, acl: tuple[ACL, ...], ids: tuple[Id, ...]) -> tuple[ACL, ...]:
        """The ACL that a caller with `ids` means by `acl`: each entry once, and ids in the place of `auth`.
        Raises InvalidACLError."""
        if acl is OPEN_ACL or (self._default is OPEN_ACL and acl == DEFAULT_ACL):
            return OPEN_ACL
        fixed: list[ACL] = []
        for entry in dict.fromkeys(acl):
            scheme = entry.id.scheme
            if not _can_be_written(entry):
                raise InvalidACLError(f"the entry {entry!r} of an ACL cannot be written down")
            if entry.id == ANYONE:
                fixed.append(entry)
            elif scheme == "auth":
                mine = [ACL(entry.perms, id) for id in ids if id.scheme in self._schemes and self._proves(id)]
                if not mine:
                    raise InvalidACLError("the ACL names auth, and the caller has not authenticated itself")
                fixed += mine
            elif scheme == "default":
                fixed += self.fix_up(self._default, ids)
            elif scheme in self._schemes and self._schemes[scheme].is_valid(entry.id.id):
                fixed.append(entry)
            else:
                raise InvalidACLError(f"the ACL names {entry.id}, which nobody can be here")
        if not fixed:
            raise InvalidACLError("the ACL is empty")
        return tuple(fixed)

    def _proves(self, id: Id) -> bool:
        return self._schemes[id.scheme].proves

    def allows(self, acl: tuple[ACL, ...] | None, permission: int, ids: tuple[Id, ...]) -> bool:
        """Whether `acl` (None: the open one) gives `permission`, or one of several, to a caller with `ids`."""
        if acl is None or SUPER in ids:
            return True
        for perms, of in ((entry.perms, entry.id) for entry in acl):
            if not perms & permission:
                continue
            if of == ANYONE:
                return True
            scheme = self._schemes.get(of.scheme)
            if scheme is not None and any(id.scheme == of.scheme and scheme.matches(id.id, of.id) for id in ids):
                return True
        return False

    def shown(self, acl: tuple[ACL, ...] | None, ids: tuple[Id, ...]) -> tuple[ACL, ...]:
        """`acl` as a caller with `ids` may see it: without what proves an id, but to those who may change the ACL."""
        if acl is None:
            return OPEN_ACL
        if self.allows(acl, Permission.ADMIN, ids):
            return acl
        return tuple([self._redacted(entry) for entry in acl])

    def _redacted(self, entry: ACL) -> ACL:
        if not self._is_secret(entry.id):
            return entry
        return ACL(entry.perms, Id(entry.id.scheme, self.user_of(entry.id) + ":x"))

    def user_of(self, id: Id) -> str:
        """The name in an id, without what proves it."""
        return id.id.partition(":")[0] if self._is_secret(id) else id.id

    def _is_secret(self, id: Id) -> bool:
        scheme = self._schemes.get(id.scheme)
        return scheme is not None and scheme.secret
