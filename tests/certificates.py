"""Certificates for tests: an authority, and members with certificates that it signed."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import trustme

from zkcore.transport.security import Tls

__all__ = ["Authority"]


class Authority:
    """Signs certificates, and keeps them in files in `folder`."""

    def __init__(self, folder: Path, *, name: str = "authority") -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.path = folder / f"{name}.pem"
        self._authority.cert_pem.write_to_path(self.path)

    def issue(
        self, *names: str, file: str | None = None, common_name: str | None = None, expires: datetime | None = None
    ) -> tuple[Path, Path]:
        """The files of a new certificate for `names`, and of its key."""
        issued = self._authority.issue_cert(*names, common_name=common_name, not_after=expires)
        certificate = self._folder / f"{file or names[0]}.pem"
        key = self._folder / f"{file or names[0]}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        return certificate, key

    def member(
        self, me: int, *, identity: str = "zk-{id}.test", names: tuple[str, ...] = (), expires: datetime | None = None
    ) -> Tls:
        """What member `me` is given: with a certificate for `names`, by default the one it should have."""
        file = names[0] if names else f"zk-{me}.test"
        certificate, key = self.issue(*(names or (f"zk-{me}.test",)), file=f"{me}-{file}", expires=expires)
        return Tls(certificate=certificate, key=key, authorities=self.path, identity=identity)
