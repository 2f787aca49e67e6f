"""`status`: asks running servers, zkcore's or Apache ZooKeeper's, how they are, and whether they are an ensemble.

A server is asked on its client port by four-letter words: `srvr`, which every server answers unless somebody has
forbidden it, and `mntr` and `isro` for what that leaves out, where they are allowed. Each is a connection of its own.

Exit statuses: 0 there is one leader, and all servers are well; 1 there is no quorum, or more than one leader; 2 the
command cannot be used so; 3 there is a leader with a quorum, but not every server is well or can be reached.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import ssl
import sys
import time
from collections.abc import Sequence

from attrs import asdict, frozen

from zkcore.cli.proofs import add_tls, read_tls
from zkcore.errors import ConfigurationError
from zkcore.transport.address import Address, parse_address
from zkcore.zxid import Zxid, format_zxid

__all__ = ["FORBIDDEN", "ServerStatus", "add_to", "ask_all", "judge", "say", "told_of_members"]

FINE, NO_QUORUM, USAGE, NOT_ALL_WELL = 0, 1, 2, 3
"""Exit statuses."""

_MAX_BYTES = 1 << 20
"""No answer is longer."""

_LEADING = ("leader", "standalone")
FORBIDDEN = "is not executed because it is not in the whitelist"
"""Is part of the answer to a word that is not allowed."""
_NOT_SERVING = "is not currently serving requests"


@frozen(kw_only=True)
class ServerStatus:
    """What one server says of itself. `trouble` says why it says less, or nothing; what it does not say is None.
    Latencies are milliseconds."""

    address: str
    trouble: str | None = None
    mode: str | None = None
    version: str | None = None
    zxid: Zxid | None = None
    epoch: int | None = None
    followers: int | None = None
    """Those that have all the leader has; told by leaders."""
    configuration: str | None = None
    """Who the members are; of a change under way both sets, which takes quorums of both."""
    configuration_version: int | None = None
    """Since which zxid; 0 from the beginning."""
    changing: bool | None = None
    lags: dict[str, int] | None = None
    """By the number of a member, how many records it has not acknowledged; told by leaders."""
    sessions: int | None = None
    """Of the ensemble."""
    connections: int | None = None
    znodes: int | None = None
    outstanding: int | None = None
    latency_min_ms: float | None = None
    latency_avg_ms: float | None = None
    latency_max_ms: float | None = None
    read_only: bool | None = None

    @property
    def is_well(self) -> bool:
        """Whether it serves everything."""
        return self.trouble is None and not self.read_only

    def __str__(self) -> str:
        if self.trouble is not None:
            return f"{self.address}  {self.trouble}"
        told = [f"{self.address}  {self.mode or '?':<10}"]
        if self.zxid is not None:
            told.append(f"zxid {format_zxid(self.zxid)}")
        for name in ("followers", "sessions", "connections", "znodes", "outstanding"):
            value = getattr(self, name)
            if value is not None:
                told.append(f"{name} {value}")
        if self.latency_avg_ms is not None:
            told.append(f"latency {self.latency_min_ms:g}/{self.latency_avg_ms:g}/{self.latency_max_ms:g} ms")
        if self.read_only is not None:
            told.append("read-only" if self.read_only else "read-write")
        if self.version is not None:
            told.append(self.version)
        return "  ".join(told)


# --- asking ----------------------------------------------------------------------------------------------------------


async def ask_all(
    addresses: Sequence[Address], *, timeout: float, tls: ssl.SSLContext | None = None
) -> list[ServerStatus]:
    """What each of the servers says, at the same time; within `timeout` seconds each."""
    return list(await asyncio.gather(*(_ask(address, timeout, tls) for address in addresses)))


async def _ask(address: Address, timeout: float, tls: ssl.SSLContext | None) -> ServerStatus:
    try:
        async with asyncio.timeout(timeout):
            srvr = await say(address, b"srvr", tls=tls)
            if (trouble := _trouble_in(srvr)) is not None:
                return ServerStatus(address=str(address), trouble=trouble)
            mntr, isro = await asyncio.gather(say(address, b"mntr", tls=tls), say(address, b"isro", tls=tls))
    except TimeoutError:
        return ServerStatus(address=str(address), trouble=f"unreachable: no answer within {timeout:g} s")
    except OSError as error:
        return ServerStatus(address=str(address), trouble=f"unreachable: {error.strerror or error}")
    return _read(str(address), srvr, mntr, isro)


async def say(address: Address, word: bytes, *, tls: ssl.SSLContext | None = None) -> str:
    """The answer to a word. Raises OSError."""
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=tls)
    try:
        writer.write(word)
        said = b""
        while len(said) < _MAX_BYTES and (piece := await reader.read(_MAX_BYTES)):
            said += piece
    finally:
        writer.close()
    return said.decode("utf-8", "replace")


def _trouble_in(srvr: str) -> str | None:
    if _NOT_SERVING in srvr:
        return "reached, but it serves nobody: it has no quorum"
    if FORBIDDEN in srvr:
        return "reached, but it may not say: allow srvr in its 4lw.commands.whitelist"
    if not srvr:
        return "reached, but it says nothing: it is overloaded, or no ZooKeeper"
    return None if re.search(r"^Mode: ", srvr, re.MULTILINE) else "reached, but what answers there is no ZooKeeper"


def _read(address: str, srvr: str, mntr: str, isro: str) -> ServerStatus:
    """Take apart what was said. What does not look as it should is left out: it came from outside."""

    def number(pattern: str, text: str) -> int | None:
        found = re.search(rf"^{pattern}(\d{{1,20}})$", text, re.MULTILINE)
        return int(found.group(1)) if found else None

    def words(pattern: str) -> str | None:
        found = re.search(pattern, srvr, re.MULTILINE)
        return found.group(1) if found else None

    def of(name: str, pattern: str) -> str | None:
        found = re.search(rf"^zk_{name}\t({pattern})$", mntr, re.MULTILINE)
        return found.group(1) if found else None

    zxid = words(r"^Zxid: 0x([0-9a-fA-F]{1,16})$")
    latencies = re.search(r"^Latency min/avg/max: ([\d.]{1,20})/([\d.]{1,20})/([\d.]{1,20})$", srvr, re.MULTILINE)
    least, mean, most = map(_as_float, latencies.groups()) if latencies else (None, None, None)
    mode = words(r"^Mode: ([a-z-]{1,20})$")
    version = of("configuration_version", "[0-9a-f]{1,16}")
    changing = of("configuration_changing", "[01]")
    lags = of("learner_lags", r"[\d: ]{0,8000}")
    return ServerStatus(
        address=address,
        mode=mode,
        version=words(r"^Zookeeper version: ([\w.+-]{0,59}\w)"),
        zxid=int(zxid, 16) if zxid else None,
        epoch=int(zxid, 16) >> 32 if zxid else None,
        followers=number(r"zk_synced_followers\t", mntr),
        configuration=of("configuration", "[a-z0-9,:> -]{1,8000}"),
        configuration_version=int(version, 16) if version else None,
        changing=changing == "1" if changing else None,
        lags={each: int(lag) for each, lag in re.findall(r"(\d{1,3}):(\d{1,20})", lags)} if lags is not None else None,
        sessions=number(r"zk_global_sessions\t", mntr),
        connections=number("Connections: ", srvr),
        znodes=number("Node count: ", srvr),
        outstanding=number("Outstanding: ", srvr),
        latency_min_ms=least,
        latency_avg_ms=mean,
        latency_max_ms=most,
        read_only={"ro": True, "rw": False}.get(isro.strip(), True if mode == "read-only" else None),
    )


def _as_float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


# --- judging ---------------------------------------------------------------------------------------------------------


def judge(servers: Sequence[ServerStatus]) -> tuple[int, str]:
    """The exit status, and in words why. A server that says it follows or observes has a leader with a quorum, and one
    that leads has a quorum: both would say otherwise that they serve nobody."""
    leading = [server for server in servers if server.mode in _LEADING]
    serving = [server for server in servers if server.mode is not None and server.mode != "read-only"]
    ill = [server for server in servers if not server.is_well]
    if len(leading) > 1:
        names = ", ".join(
            f"{server.address} ({format_zxid(server.zxid)})" if server.zxid is not None else server.address
            for server in leading
        )
        return NO_QUORUM, (
            f"more than one leader: {names}; either these are servers of more than one ensemble, or one of them has "
            "not noticed yet that it leads no more: ask again"
        )
    if not serving:
        return NO_QUORUM, f"no quorum: none of {len(servers)} serves"
    if not leading:
        return NOT_ALL_WELL, "a quorum, under a leader that was not asked or not reached"
    what = "stands alone" if leading[0].mode == "standalone" else "leads, with a quorum"
    if ill:
        return NOT_ALL_WELL, f"{leading[0].address} {what}; not well: {', '.join(server.address for server in ill)}"
    return FINE, f"{leading[0].address} {what}"


def told_of_members(servers: Sequence[ServerStatus]) -> list[str]:
    """Who the members are, if that is being changed, and who of them lags, by the leader, or else by who knows the
    newest configuration. Nothing of one that stands alone."""
    told = [server for server in servers if server.configuration is not None and server.mode != "standalone"]
    if not told:
        return []
    best = max(told, key=lambda server: (server.mode == "leader", server.configuration_version or 0))
    lines = [f"members: {best.configuration}, version {best.configuration_version or 0:x}"]
    if best.changing:
        lines.append("they are being changed, which takes quorums of both")
    behind = [f"node {member} by {lag} records" for member, lag in (best.lags or {}).items() if lag]
    return [*lines, *([f"behind: {', '.join(behind)}"] if behind else [])]


# --- the command -----------------------------------------------------------------------------------------------------


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("status", help="ask running servers, of zkcore or Apache ZooKeeper, how they are")
    parser.add_argument("servers", metavar="HOST:PORT", nargs="+", help="the client ports of the servers")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--watch", type=_seconds, metavar="SECONDS", help="ask again after so long, until Ctrl-C")
    parser.add_argument(
        "--timeout", type=_seconds, default=5.0, metavar="SECONDS", help="how long a server may take (%(default)g)"
    )
    add_tls(parser)
    parser.set_defaults(run=_run)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 1e6:
        raise ValueError(text)
    return seconds


def _run(chosen: argparse.Namespace) -> int:
    try:
        addresses = [parse_address(text, key="a server") for text in ",".join(chosen.servers).split(",")]
        tls = read_tls(chosen)
    except (ConfigurationError, OSError) as error:
        print(error, file=sys.stderr)
        return USAGE
    status = _look(addresses, tls, chosen)
    try:
        while chosen.watch is not None:
            time.sleep(chosen.watch)
            if not chosen.json:
                print()
            status = _look(addresses, tls, chosen)
    except KeyboardInterrupt:
        pass
    return status


def _look(addresses: Sequence[Address], tls: ssl.SSLContext | None, chosen: argparse.Namespace) -> int:
    servers = asyncio.run(ask_all(addresses, timeout=chosen.timeout, tls=tls))
    status, verdict = judge(servers)
    if chosen.json:
        print(json.dumps({"status": status, "verdict": verdict, "servers": [asdict(server) for server in servers]}))
    else:
        print("\n".join([*map(str, servers), *told_of_members(servers), verdict]), flush=True)
    return status
