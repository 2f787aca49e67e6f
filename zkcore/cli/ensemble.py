"""`ensemble`: who the members of a running ensemble are, and how that is changed; and a new ensemble from what is left
of one.

All but `recover` ask a server, by ZooKeeper's client protocol, and it may be Apache ZooKeeper's. Who may change the
members is decided there: give with `--auth` who you are. A change is made to the version that was read before, so two
people who change them at the same time do not undo what the other has done.

Exit statuses: 0 done; 1 refused, and nothing has happened, or with `status` there is no quorum; 2 it could not be
understood, or a directory cannot be used; 3 no server can be reached, or what became of the change is not known, or
with `status` not every member is well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from attrs import asdict, evolve

from zkcore.cli.proofs import add_proofs, add_tls, read_proofs, read_tls
from zkcore.cli.shell_commands import failure
from zkcore.cli.status import FORBIDDEN, ServerStatus, ask_all, judge, say, told_of_members
from zkcore.client.places import parse_places
from zkcore.client.zookeeper import ZookeeperClient, connect
from zkcore.errors import (
    BadArgumentsError,
    ConfigurationError,
    NewConfigNoQuorumError,
    OutcomeUnknownError,
    SessionError,
    ZkcoreError,
)
from zkcore.replica.members import Members
from zkcore.replica.reconfiguring import members_after
from zkcore.replica.recovery import recover
from zkcore.server.four_letter import LEAD
from zkcore.transport.address import Address, parse_address
from zkcore.tree.requests import Reconfigure
from zkcore.zab.messages import PeerId

__all__ = ["add_to"]

DONE, REFUSED, NOT_UNDERSTOOD, NOT_REACHED = 0, 1, 2, 3
"""Exit statuses."""

_LOOK_SECONDS = 0.1
"""Between two looks at who leads."""

_Work: TypeAlias = Callable[[ZookeeperClient, argparse.Namespace], Awaitable[int]]


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    ensemble = commands.add_parser("ensemble", help="who the members are, and how that is changed")
    actions = ensemble.add_subparsers(metavar="ACTION", required=True)
    status = _asking(actions, "status", _status, "show the members, and how each of them is")
    status.add_argument("--json", action="store_true", help="print one JSON object instead")
    add = _asking(actions, "add", _add, "add members, or change where those are that have the number")
    add.add_argument("members", metavar="server.N=HOST:PORT:PORT[:observer][;CLIENTPORT]", nargs="+")
    remove = _asking(actions, "remove", _remove, "remove members")
    remove.add_argument("numbers", metavar="N", type=_number, nargs="+")
    promote = _asking(actions, "promote", _promote, "make voters of observers")
    promote.add_argument("numbers", metavar="N", type=_number, nargs="+")
    transfer = actions.add_parser("transfer", help="have the leader hand over, and wait until another one leads")
    transfer.add_argument("number", metavar="N", type=_number, nargs="?", help="to whom; else to who lacks least")
    transfer.add_argument(
        "--server", required=True, metavar="HOST:PORT[,...]", help="the client ports of members, of all if you can"
    )
    transfer.add_argument("--timeout", type=float, default=10.0, metavar="S", help="for all of it (%(default)g)")
    add_tls(transfer)
    transfer.set_defaults(run=_transfer)
    _add_recover(actions)


def _asking(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, work: _Work, words: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=words)
    parser.add_argument(
        "--server", required=True, metavar="HOST:PORT[,...]", help="the client ports of some members, any of them"
    )
    add_proofs(parser)
    parser.add_argument("--timeout", type=float, default=10.0, metavar="S", help="for a server (%(default)g)")
    parser.set_defaults(run=lambda chosen: _run(chosen, work))
    return parser


def _number(text: str) -> PeerId:
    number = int(text)
    if not 1 <= number <= 255:
        raise ValueError(text)
    return number


def _run(chosen: argparse.Namespace, work: _Work) -> int:
    try:
        chosen.server = chosen.server.removeprefix("zk://")
        url = f"zk://{chosen.server}"
        if parse_places(url).chroot != "/":
            raise ConfigurationError(f"--server {chosen.server!r} names a path; give servers alone, as host:port")
        proofs, tls = read_proofs(chosen)
    except (ConfigurationError, OSError) as error:
        return _complain(str(error), NOT_UNDERSTOOD)
    return asyncio.run(_do(url, proofs, tls, chosen, work))


async def _do(
    url: str, proofs: Sequence[tuple[str, str]], tls: ssl.SSLContext | None, chosen: argparse.Namespace, work: _Work
) -> int:
    client = connect(url, auth=proofs, tls=tls)
    try:
        try:
            async with asyncio.timeout(chosen.timeout):
                await client.start()
        except TimeoutError:
            why = f"no server could be reached within {chosen.timeout:g} s; see that one runs at {chosen.server}"
            return _complain(why, NOT_REACHED)
        return await work(client, chosen)
    except (OutcomeUnknownError, SessionError) as error:
        return _complain(f"{error}; ask for the status before you try again", NOT_REACHED)
    except ZkcoreError as error:
        return _complain(failure(error), REFUSED)
    finally:
        await client.close()


def _complain(why: str, status: int) -> int:
    print(why, file=sys.stderr, flush=True)
    return status


# --- changing them ---------------------------------------------------------------------------------------------------


async def _add(client: ZookeeperClient, chosen: argparse.Namespace) -> int:
    lines = [each if each.startswith("server.") else f"server.{each}" for each in chosen.members]
    return await _change(client, await client.members(), seconds=chosen.timeout, joining=",".join(lines))


async def _remove(client: ZookeeperClient, chosen: argparse.Namespace) -> int:
    return await _change(
        client, await client.members(), seconds=chosen.timeout, leaving=",".join(map(str, chosen.numbers))
    )


async def _promote(client: ZookeeperClient, chosen: argparse.Namespace) -> int:
    text = (await client.get_config()).data.decode()  # as the servers wrote it, with all their ports
    members = Members.parse(text)
    for number in chosen.numbers:
        if number not in members.config.observers:
            what = "votes already" if number in members.config.voters else "is no member"
            raise BadArgumentsError(f"server {number} {what}: the observers are {_words(members.config.observers)}")
    promoted = tuple(f"server.{number}=" for number in chosen.numbers)
    lines = [line for line in text.splitlines() if line.startswith(promoted)]
    joining = ",".join(line.replace(":observer", ":participant") for line in lines)
    return await _change(client, members, seconds=chosen.timeout, joining=joining)


async def _change(
    client: ZookeeperClient, members: Members, *, seconds: float, joining: str = "", leaving: str = ""
) -> int:
    """What is wrong with it is found here first: a server can only tell the number of an error."""
    request = Reconfigure(joining=joining, leaving=leaving, from_config=members.version)
    after = members_after(members, request)
    if not client.is_zkcore and (closed := [line for line in joining.split(",") if line and ";" not in line]):
        raise BadArgumentsError(
            f"{closed[0]} does not say where it serves clients, without which Apache ZooKeeper takes nobody: add it as "
            f"{closed[0]};PORT"
        )
    try:
        await client.reconfig(joining=joining, leaving=leaving, from_config=members.version)
    except NewConfigNoQuorumError as error:
        raise NewConfigNoQuorumError(
            f"of {after.config} no quorum follows the leader now: {error}. Start those that are missing, add them as "
            "observers, and promote them when they have caught up"
        ) from None
    except OutcomeUnknownError:  # so it is where the leader goes with it, and hands over
        if not await _has_come(client, after, seconds=seconds):
            raise
    print((await client.get_config()).data.decode())
    return DONE


async def _has_come(client: ZookeeperClient, wanted: Members, *, seconds: float) -> bool:
    """Whether the members are the `wanted`, or become them in so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            while evolve(await _read_again(client), version=wanted.version) != wanted:
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        return False
    return True


async def _read_again(client: ZookeeperClient) -> Members:
    while True:
        try:
            await client.sync()
            return await client.members()
        except OutcomeUnknownError:
            await asyncio.sleep(_LOOK_SECONDS)


def _words(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"


# --- who leads them --------------------------------------------------------------------------------------------------


def _transfer(chosen: argparse.Namespace) -> int:
    try:
        addresses = [parse_address(text, key="--server") for text in chosen.server.split(",")]
        tls = read_tls(chosen)
    except (ConfigurationError, OSError) as error:
        return _complain(str(error), NOT_UNDERSTOOD)
    return asyncio.run(_hand_over(addresses, chosen.number or 0, chosen.timeout, tls))


async def _hand_over(
    addresses: Sequence[Address], target: PeerId, timeout: float, tls: ssl.SSLContext | None
) -> int:
    """By the word that the leader's listener must allow by name."""
    before = _leading(await ask_all(addresses, timeout=timeout, tls=tls))
    if before is None:
        return _complain("none of these servers leads, or says so; name the leader's client port, too", NOT_REACHED)
    try:
        async with asyncio.timeout(timeout):
            word = LEAD.encode() + bytes([target])
            said = (await say(parse_address(before, key="--server"), word, tls=tls)).strip()
            if not said.endswith("hands over"):
                hint = f"; allow it with 4lw.commands.whitelist={LEAD}" if FORBIDDEN in said else ""
                said = said or "no answer; only a server of zkcore's knows how to hand over"
                return _complain(f"{before}: {said}{hint}", REFUSED)
            while (after := _leading(await ask_all(addresses, timeout=timeout, tls=tls))) in (None, before):
                await asyncio.sleep(_LOOK_SECONDS)
    except (TimeoutError, OSError) as error:
        why = str(error) or f"within {timeout:g} s no other of these servers was seen to lead"
        return _complain(f"{why}; ask for the status", NOT_REACHED)
    print(f"{after} leads, and {before} does not any more")
    return DONE


def _leading(servers: Sequence[ServerStatus]) -> str | None:
    leading = [server.address for server in servers if server.mode == "leader"]
    return leading[0] if len(leading) == 1 else None


# --- showing them ----------------------------------------------------------------------------------------------------


async def _status(client: ZookeeperClient, chosen: argparse.Namespace) -> int:
    members = await client.members()
    places = {number: place for number in members.config.members if (place := _client_place(members, number))}
    tls = read_tls(chosen)
    answers = await ask_all(list(places.values()), timeout=chosen.timeout, tls=tls)
    servers = dict(zip(places, answers, strict=True))
    unasked = [number for number in members.config.members if number not in servers]
    # Where some do not say where they serve clients, and none of the others is well, those that were named are as good:
    # and only there, since one server may have two names.
    named: list[Address] = []
    if unasked and not any(answer.is_well for answer in answers):
        named = [parse_address(text, key="--server") for text in chosen.server.split(",")]
    others = await ask_all(named, timeout=chosen.timeout, tls=tls)
    answers += others
    status, verdict = judge(answers)
    if status == DONE and places and unasked:
        verdict = f"{verdict}; not asked, since it is not known where they serve clients: {_words(unasked)}"
    if chosen.json:
        more = [asdict(answer) for answer in others]
        print(json.dumps({**_as_json(members, servers, status, verdict), "servers": more}))
        return status
    for number in members.config.members:
        print(_line(members, number, servers.get(number)))
    for answer in others:
        print(answer)
    for line in told_of_members(answers) or [f"members: {members.config}, version {members.version:x}"]:
        print(line)
    print(verdict)
    return status


def _client_place(members: Members, number: PeerId) -> Address | None:
    """Where a member can be asked. One that serves on all addresses of its machine is asked at that by which the others
    reach it."""
    said = members.clients.get(number)
    if said is None:
        return None
    place = parse_address(said, key="the port for clients", any_port=True)
    if not place.port:
        return None
    if place.host in ("0.0.0.0", "::"):
        if number not in members.addresses:
            return None
        return Address(parse_address(members.addresses[number], key="the address").host, place.port)
    return place


def _line(members: Members, number: PeerId, server: ServerStatus | None) -> str:
    role = "votes" if number in members.config.voters else "observes"
    where = members.addresses.get(number, "nowhere")
    return f"server.{number}  {role:<8}  {where}  {server if server is not None else 'not asked'}"


def _as_json(members: Members, servers: dict[PeerId, ServerStatus], status: int, verdict: str) -> dict[str, object]:
    return {
        "status": status,
        "verdict": verdict,
        "version": members.version,
        "members": [
            {
                "member": number,
                "votes": number in members.config.voters,
                "address": members.addresses.get(number),
                "client": members.clients.get(number),
                "server": asdict(servers[number]) if number in servers else None,
            }
            for number in members.config.members
        ],
    }


# --- a new one from what is left -------------------------------------------------------------------------------------


def _add_recover(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "recover", help="begin a new ensemble with what is left of one whose quorum is lost for good",
        description="Says what may be lost, and with --force makes the directory of the most advanced survivor that "
        "of the only voter of a new ensemble.",
    )  # fmt: skip
    parser.add_argument("directories", metavar="DIRECTORY", nargs="+", help="of members that survived, and are stopped")
    parser.add_argument("--cluster", required=True, metavar="NAME", help="of the new ensemble, not that of the old one")
    parser.add_argument("--force", action="store_true", help="do it")
    parser.add_argument(
        "--accept-damage", action="store_true", help="of a log that is damaged what comes before the damage will do"
    )
    parser.add_argument("--address", metavar="HOST:PORT", help="where the others reach it, if it is elsewhere now")
    parser.set_defaults(run=_recover)


def _recover(chosen: argparse.Namespace) -> int:
    try:
        told = recover(
            chosen.directories, cluster=chosen.cluster, force=chosen.force, accept_damage=chosen.accept_damage,
            address=chosen.address,
        )  # fmt: skip
    except ConfigurationError as error:
        return _complain(str(error), NOT_UNDERSTOOD)
    print(told)
    return DONE
