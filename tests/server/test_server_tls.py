"""Clients that speak TLS: what their certificate says is an id of the scheme x509."""

from __future__ import annotations

import asyncio
import ssl
import struct
from pathlib import Path

import pytest
import trustme

import zkcore
from zkcore.server.listener import subject_of


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ((), ""),
        (((("countryName", "NL"),), (("organizationName", "A, B"),), (("commonName", "ada"),)), r"CN=ada,O=A\, B,C=NL"),
        (((("commonName", "a"), ("userId", "7")),), "CN=a+UID=7"),
        (((("commonName", "#x "),),), r"CN=\#x\ "),
    ],
)
def test_a_subject_is_written_as_zookeeper_does(subject: object, said: str) -> None:
    assert subject_of({"subject": subject}) == said


def test_who_shows_a_certificate_is_known_by_its_subject(tmp_path: Path) -> None:
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_side)
    authority.configure_trust(server_side)
    server_side.verify_mode = ssl.CERT_OPTIONAL

    def client_side(*, certificate: bool) -> ssl.SSLContext:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        if certificate:
            authority.issue_cert("ada.example", common_name="ada", organization_unit_name="writers").configure_cert(
                context
            )
        return context

    async def ids_of(port: int, *, certificate: bool) -> list[str]:
        """Those by which the server knows a client, from the bytes of its answer."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client_side(certificate=certificate), server_hostname="localhost"
        )
        greeting = struct.pack(">iqiqi16s?", 0, 0, 10_000, 0, 16, bytes(16), False)
        writer.write(struct.pack(">i", len(greeting)) + greeting + struct.pack(">iii", 8, 1, 107))
        await reader.readexactly(41)
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        body = (await reader.readexactly(size))[16:]
        writer.close()
        await writer.wait_closed()
        words, at = [], 4
        while at < len(body):
            (length,) = struct.unpack_from(">i", body, at)
            words.append(body[at + 4 : at + 4 + length].decode())
            at += 4 + length
        return [f"{scheme}:{name}" for scheme, name in zip(words[::2], words[1::2], strict=True)]

    async def main() -> None:
        async with zkcore.local_cluster(1) as cluster:
            listener = zkcore.ClientListener(cluster.nodes[1].host, "127.0.0.1:0", tls=server_side)
            async with listener:
                port = int(listener.address.rpartition(":")[2])
                assert await ids_of(port, certificate=False) == ["ip:127.0.0.1"]
                _, known = await ids_of(port, certificate=True)
                scheme, _, subject = known.partition(":")
                assert scheme == "x509"
                assert {"CN=ada", "OU=writers"} <= set(subject.split(","))

    asyncio.run(main())
