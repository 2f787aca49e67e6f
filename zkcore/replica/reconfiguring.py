"""How a request for other members becomes a change of the core's (protocol.md 1.10): what is asked for, and what is
wrong with it.

It goes to the leader in the order of arrival like every request that writes, and there by itself: the core proposes it,
as a record that only it can write. Whatever is wrong with it is found before that, and then nothing has happened.

This module must not know how a request comes here, nor how its answer goes back.
"""

from __future__ import annotations

from math import gcd

from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    ConfigurationError,
    ReconfigInProgressError,
    ZkcoreError,
)
from zkcore.replica.forward import Refused
from zkcore.replica.leading import AskedChange, Leading
from zkcore.replica.members import Member, Members, Note, members_of, read_lines
from zkcore.tree.requests import Reconfigure
from zkcore.zab.messages import PeerId
from zkcore.zab.peer import Peer
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zxid import Zxid

__all__ = ["members_after", "propose_change"]

_MOST_TEXT = 1 << 16
"""Characters of the longest list of members: 255 of them, each on a line of its own, take less."""

_MOST_WEIGHT = 1 << 16
"""Of a group of voters. Larger ones are not looked at: there are no such machines."""


def propose_change(
    asked: AskedChange, peer: Peer, leading: Leading, members: Members, *, first: Zxid, now_ms: int
) -> Refused | None:
    """Propose as `first` that the `members` become what is `asked` for; or what that is answered with, where something
    is wrong with it."""
    try:
        leading.check_may_change_members(asked)
        request = asked.request
        if peer.membership.zxid != members.version:  # a change is under way, or its end is not applied here yet
            raise ReconfigInProgressError
        if request.from_config not in (-1, members.version):
            raise BadVersionError(
                f"the members are those of version {members.version:x}, not of {request.from_config:x}; "
                "read them again, and decide again"
            )
        after = members_after(members, request)
        note = Note(asked.session, asked.xid, now_ms, after, members).encode()
        peer.reconfigure(first, after.config, note, expected=members.version)
    except ZkcoreError as error:
        return Refused(asked.session, asked.xid, error.code or 0, str(error))
    return None


def members_after(members: Members, request: Reconfigure) -> Members:
    """The members there will be. Raises BadArgumentsError."""
    if sum(map(len, (request.joining, request.leaving, request.new_members))) > _MOST_TEXT:
        raise BadArgumentsError(f"a list of members has at most {_MOST_TEXT} characters")
    try:
        after = _all_new(request) if request.new_members.strip() else _some_new(members, request)
    except ConfigurationError as error:
        raise BadArgumentsError(str(error)) from None
    _check_split(after.config)
    return after


def _all_new(request: Reconfigure) -> Members:
    if request.joining.strip() or request.leaving.strip():
        raise BadArgumentsError("give all members there will be, or those that join and leave, and not both")
    return Members.parse(request.new_members)


def _some_new(members: Members, request: Reconfigure) -> Members:
    config = members.config
    if config.groups or config.weights:
        raise BadArgumentsError(
            "where voters have groups or weights one cannot say for those that join what theirs are: give all members "
            "there will be, with group and weight lines"
        )
    left = _numbers(request.leaving)
    joined = read_lines(request.joining)
    if joined.groups or joined.weights:
        raise BadArgumentsError("groups and weights are given with all members there will be")
    if not left and not joined.members:
        raise BadArgumentsError("nothing is asked for: name those that join, those that leave, or all there will be")
    for number in left:
        if number not in config.members:
            raise BadArgumentsError(f"server {number} cannot leave: the members are {_words(config.members)}")
        if number in joined.members:
            raise BadArgumentsError(f"server {number} both joins and leaves; to change it let it join alone")
    after: dict[PeerId, Member] = {
        number: member for number, member in read_lines(members.text()).members.items() if number not in left
    }
    after.update(joined.members)
    if all(member.observes for member in after.values()):
        gone = _words([voter for voter in config.voters if voter not in after or after[voter].observes])
        raise BadArgumentsError(f"without server {gone} there is no voter left, and an ensemble needs one")
    return members_of(after, weights={})


def _numbers(text: str) -> list[PeerId]:
    numbers = []
    for said in filter(None, (part.strip() for part in text.split(","))):
        if not (said.isascii() and said.isdigit()) or not 1 <= int(said) <= 255:
            raise BadArgumentsError(f"{said!r} is no server that could leave; its number is between 1 and 255")
        numbers.append(int(said))
    return numbers


def _words(numbers: list[PeerId] | tuple[PeerId, ...]) -> str:
    return ", ".join(map(str, numbers))


def _check_split(config: EnsembleConfig) -> None:
    """Where voters weigh differently half of the weight may be on either side, though they are an odd number."""
    weights = dict(config.weights)
    for group in config.groups or (config.voters,):
        mine = [weights.get(voter, 1) for voter in group if weights.get(voter, 1)]
        if len(set(mine)) < 2:
            continue
        unit = gcd(*mine)
        total = sum(mine) // unit
        if total % 2 or total > _MOST_WEIGHT:
            continue
        sums = 1  # bit n: some of them weigh n together
        for weight in mine:
            sums |= sums << weight // unit
        if sums >> total // 2 & 1:
            raise BadArgumentsError(
                f"the weights of servers {_words(group)} can be split evenly, and then neither half is a quorum: "
                "make their sum odd"
            )
