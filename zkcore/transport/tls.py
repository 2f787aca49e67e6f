"""The contexts of TLS for a member's links, kept up with the files they come from; and who a certificate says it is.

`ssl` does the checking: a chain to one of the given authorities, dates, the purpose of a certificate. What is added is
the identity (`Tls`): a certificate that is good for one member is no good for another. This module must not know
sockets.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from attrs import frozen

from zkcore.errors import ConfigurationError
from zkcore.transport.security import Tls

__all__ = ["Contexts", "TlsFiles", "names_in"]

_log = logging.getLogger("zkcore.peer")

_ROUNDS = 8  # more than a handshake takes


@frozen
class Contexts:
    """One for each part that a member plays."""

    dialling: ssl.SSLContext
    accepting: ssl.SSLContext


def names_in(certificate: Mapping[str, Any] | None) -> frozenset[str]:
    """The names of a certificate, as `SSLObject.getpeercert` gives it; in the form in which they are compared."""
    found = set()
    for kind, value in (certificate or {}).get("subjectAltName", ()):
        if kind == "DNS":
            found.add(value.lower())
        elif kind == "IP Address":
            try:
                found.add(str(ipaddress.ip_address(value.strip())))
            except ValueError:
                pass  # ssl wrote what is none
    return frozenset(found)


class TlsFiles:
    """The contexts made from the files that `tls` names. `identity` is that of this member.

    Raises ConfigurationError where the files do not make a certificate that the other members would accept now.
    """

    def __init__(self, tls: Tls, *, identity: str) -> None:
        self._tls = tls
        self._identity = identity
        self._seen = self._look()
        self._contexts = self._load()

    def contexts(self) -> Contexts:
        """Those to use for the next connection. Files that changed and are not good, perhaps not yet, leave the old
        ones in their place."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                self._contexts = self._load()
            except ConfigurationError as error:
                _log.error("the certificate was changed, and the old one stays in use: %s", error)
            else:
                _log.info("the certificate of %s was changed, and is in use", self._identity)
        return self._contexts

    def _look(self) -> tuple[object, ...]:
        """What shows that a file was changed, or replaced."""
        found: list[object] = []
        for path in (self._tls.certificate, self._tls.key, self._tls.authorities):
            try:
                stat = os.stat(path)
                found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
            except OSError as error:
                found.append(error.errno)
        return tuple(found)

    def _load(self) -> Contexts:
        contexts = Contexts(self._context(ssl.PROTOCOL_TLS_CLIENT), self._context(ssl.PROTOCOL_TLS_SERVER))
        try:
            certificate = _greet_oneself(contexts)
        except ssl.SSLError as error:
            why = getattr(error, "verify_message", "") or error
            raise ConfigurationError(
                f"security: the other members would refuse the certificate in {self._tls.certificate}: {why}; "
                f"renew it, or check that {self._tls.authorities} holds who signed it"
            ) from error
        names = names_in(certificate)
        if self._identity not in names:
            raise ConfigurationError(
                f"security: the certificate in {self._tls.certificate} is for {', '.join(sorted(names)) or 'nobody'}, "
                f"and this member is {self._identity}; have that among its subject alternative names, or change "
                "Tls.identity"
            )
        return contexts

    def _context(self, protocol: int) -> ssl.SSLContext:
        tls = self._tls
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # members are known by their identity, wherever they are
        context.verify_mode = ssl.CERT_REQUIRED
        with _told("certificate", f"{tls.certificate} with the key {tls.key}"):
            context.load_cert_chain(tls.certificate, tls.key, self._password)
        with _told("authorities", str(tls.authorities)):
            context.load_verify_locations(tls.authorities)
        return context

    def _password(self) -> bytes:
        """Without one ssl would ask the terminal."""
        return self._tls.password or b""


@contextmanager
def _told(what: str, where: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"security: Tls.{what}: {where} cannot be used: {error}") from error


def _greet_oneself(contexts: Contexts) -> dict[str, Any]:
    """The certificate that a member shows, as another one would see and check it, as dialler and as the one who is
    dialled. Raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        contexts.dialling.wrap_bio(to_client, to_server, server_side=False),
        contexts.accepting.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(_ROUNDS):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass  # the other side's turn
    certificate = sides[0].getpeercert()
    if certificate is None or sides[1].getpeercert() is None:
        raise ssl.SSLError("no certificate was shown")
    return certificate
