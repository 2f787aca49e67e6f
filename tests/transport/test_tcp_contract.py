"""The TCP transport keeps the law of transports, whatever its security."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from certificates import Authority
from ports import Ports

from zkcore.testing.contracts import TransportContract
from zkcore.transport import Inbox, Transport
from zkcore.transport.limits import LinkLimits
from zkcore.transport.security import Plaintext, Security, SharedSecret
from zkcore.transport.tcp import TcpTransport
from zkcore.zab.messages import PeerId

PATIENCE = 20.0
"""Seconds after which what was waited for is taken not to come."""


class OverTcp(TransportContract):
    host = "127.0.0.1"

    def setup_method(self) -> None:
        self.ports = Ports()
        self.runner = asyncio.Runner()
        self.transports: list[TcpTransport] = []

    def teardown_method(self) -> None:
        for transport in self.transports:
            self.runner.run(transport.stop())
        self.runner.close()
        self.ports.close()

    def security(self, me: PeerId) -> Security:
        return Plaintext()

    def connect(self, inboxes: Mapping[PeerId, Inbox]) -> Mapping[PeerId, Transport]:
        members = {me: self.ports.take(self.host) for me in inboxes}
        return {me: self.runner.run(self._open(me, members, inbox)) for me, inbox in inboxes.items()}

    async def _open(self, me: PeerId, members: Mapping[PeerId, str], inbox: Inbox) -> TcpTransport:
        transport = TcpTransport(
            me, members, cluster="contract", security=self.security(me), limits=LinkLimits(redial_seconds=0.005)
        )
        self.transports.append(await transport.listen())
        return transport.start(inbox)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        async def wait() -> None:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    await asyncio.sleep(0.001)

        self.runner.run(wait())


class TestPlaintext(OverTcp):
    pass


class TestSharedSecret(OverTcp):
    def security(self, me: PeerId) -> Security:
        return SharedSecret(b"a secret for the contract")


class TestTls(OverTcp):
    @pytest.fixture(autouse=True)
    def _authority(self, tmp_path: Path) -> None:
        self.authority = Authority(tmp_path)

    def security(self, me: PeerId) -> Security:
        return self.authority.member(me)


class TestIPv6(OverTcp):
    host = "::1"
