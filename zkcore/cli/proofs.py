"""Options by which a command says who it is, and finds out who the servers are."""

from __future__ import annotations

import argparse
import ssl

from zkcore.errors import ConfigurationError

__all__ = ["add_proofs", "add_tls", "read_proofs", "read_tls"]


def add_proofs(parser: argparse.ArgumentParser) -> None:
    """Of a client that has a session: both."""
    parser.add_argument("--auth", action="append", default=[], metavar="SCHEME:CREDENTIALS", help="as addauth")
    add_tls(parser)


def add_tls(parser: argparse.ArgumentParser) -> None:
    """Of who only asks how a server is: the latter."""
    parser.add_argument("--tls", metavar="CA.pem", help="speak TLS with servers whose certificates come from here")


def read_proofs(chosen: argparse.Namespace) -> tuple[list[tuple[str, str]], ssl.SSLContext | None]:
    """What these options say. Raises ConfigurationError and OSError."""
    return [_proof(each) for each in chosen.auth], read_tls(chosen)


def read_tls(chosen: argparse.Namespace) -> ssl.SSLContext | None:
    """The same of the latter. Raises OSError."""
    return ssl.create_default_context(cafile=chosen.tls) if chosen.tls else None


def _proof(word: str) -> tuple[str, str]:
    scheme, colon, credentials = word.partition(":")
    if not (scheme and colon):
        raise ConfigurationError(f"--auth {scheme!r} shows nothing; write scheme:credentials, as digest:user:password")
    return scheme, credentials
