"""Every exception zkcore raises, in one tree.

The question that code which retries must answer is not *what* went wrong but *whether it happened all the same*.
So each class says three things:

``code``
    ZooKeeper's number for the error (what a server sends on the wire), or ``None`` where ZooKeeper has none.
``applied``
    ``"no"``: the operation did not happen and never will. ``"unknown"``: it may have happened, or may happen yet.
``retryable``
    whether the same call can succeed later without anybody changing anything.

Names are kazoo's, ending consistently in ``Error``. Where the standard library has a matching class the error
inherits from it, so ``except TimeoutError`` and ``except LookupError`` work as one would hope.

This module knows nothing of zkcore.
"""

from __future__ import annotations

import queue
import sys
from functools import partial
from typing import ClassVar, Literal

if sys.version_info >= (3, 13):
    _ShutDown = queue.ShutDown
else:
    _ShutDown = Exception  # the standard library has none to inherit from

Applied = Literal["no", "unknown"]


class ZkcoreError(Exception):
    """The root of zkcore's exceptions."""

    code: ClassVar[int | None] = None
    applied: ClassVar[Applied] = "no"
    retryable: ClassVar[bool] = False


# --- what a server answers: definitely not applied -------------------------------------------------------------------


class RequestError(ZkcoreError):
    """The ensemble considered the request and refused it: nothing was changed.

    `path` is the znode the request was about, where there was one.
    """

    def __init__(self, message: str = "", *, path: str | None = None) -> None:
        super().__init__(message or (f"{path}: {self.summary}" if path is not None else self.summary))
        self.path = path

    summary: ClassVar[str] = "the request was refused"


class NoNodeError(RequestError, LookupError):
    """The znode, or for a create its parent, does not exist."""

    code = -101
    summary = "no such znode"


class NodeExistsError(RequestError):
    """A znode of that path exists already."""

    code = -110
    summary = "the znode exists already"


class BadVersionError(RequestError):
    """The version given is not the version the znode has: somebody else changed it meanwhile."""

    code = -103
    summary = "the znode has another version; read it again and retry with the version it has now"


class NewConfigNoQuorumError(RequestError):
    """Too few of the members to be are in line with the leader: the change could not be completed."""

    code = -13
    retryable = True
    summary = "those in line with the leader are no quorum of the new members; start those, and wait for them"


class ReconfigInProgressError(RequestError):
    """The members are being changed already, one change at a time."""

    code = -14
    retryable = True
    summary = "a change of the members is under way; try again when it is done"


class ReconfigDisabledError(RequestError):
    """Here clients may not change the members."""

    code = -123
    summary = "clients may not change the members here; the rules of the ensemble (Rules.reconfig) would let them"


class NotEmptyError(RequestError):
    """A znode with children cannot be deleted."""

    code = -111
    summary = "the znode has children; delete them first"


class NoChildrenForEphemeralsError(RequestError):
    """An ephemeral znode cannot have children."""

    code = -108
    summary = "the parent is ephemeral, and ephemeral znodes have no children"


class InvalidACLError(RequestError):
    """The access control list is empty or malformed."""

    code = -114
    summary = "the ACL is empty or malformed"


class NoAuthError(RequestError, PermissionError):
    """The ACL of the znode, or for a create or delete that of its parent, does not allow it to whoever asks."""

    code = -102
    summary = "the ACL does not allow it; authenticate as somebody it names, or have it changed"


class AuthFailedError(RequestError, PermissionError):
    """The credentials given prove nothing, or their scheme is not known here."""

    code = -115
    summary = "the credentials were not accepted"


class QuotaExceededError(RequestError):
    """There would be more znodes, or more bytes, than a quota or the limit on the whole tree allows. Deletions, and
    data that is no longer than what it replaces, are still accepted."""

    code = -125
    summary = "a hard quota or the limit on the size of the tree would be exceeded; delete something, or raise it"


class MultiError(RequestError):
    """One operation of a transaction failed, so none of them was applied.

    `index` says which one, counted from 0, and `error` why; `path` is its path. `codes` has one number for each
    operation, as ZooKeeper reports them: 0 for those before, the error's, and -2 for those behind.
    """

    summary = "an operation of the transaction failed"

    def __init__(self, index: int, error: ZkcoreError, *, codes: tuple[int, ...], path: str | None = None) -> None:
        super().__init__(f"operation {index} of {len(codes)} failed and none was applied: {error}", path=path)
        self.index = index
        self.error = error
        self.codes = codes

    def __reduce__(self) -> tuple[object, ...]:
        # What an exception is made of again, in another process, are its args: here that is the message alone.
        return partial(MultiError, codes=self.codes, path=self.path), (self.index, self.error), self.__dict__


class NoWatcherError(RequestError, LookupError):
    """The session has no such watch: it was never set, or has gone off."""

    code = -121
    summary = "the session has no such watch"


class ReadOnlyError(RequestError):
    """The server has no leader at the moment, and only shows what it has. Nothing was applied; the client looks for a
    server that takes writes by itself."""

    code = -119
    retryable = True
    summary = "only reads are served here at the moment; try again when the state is CONNECTED"


class ThrottledError(RequestError):
    """Too much is outstanding already. Nothing was applied; wait a little and try again."""

    code = -127
    retryable = True
    summary = "too many requests are outstanding; wait for some to finish and try again"


class UnimplementedError(RequestError):
    """The request is one of ZooKeeper's that zkcore does not serve."""

    code = -6
    summary = "this request is not implemented"


class BadArgumentsError(RequestError, ValueError):
    """An argument is wrong in itself, whatever the state of the ensemble."""

    code = -8
    summary = "an argument is not valid"


# --- the answer was lost: perhaps applied ----------------------------------------------------------------------------


class OutcomeUnknownError(ZkcoreError):
    """The request was on its way when the connection or the patience ended: it may have been applied, or may be yet."""

    applied = "unknown"
    retryable = True


class OutcomeForgottenError(OutcomeUnknownError):
    """The retried request is older than what the ensemble remembers: whether it was applied can only be read."""

    code = -126
    retryable = False


class ConnectionLostError(OutcomeUnknownError, ConnectionError):
    """The replica that served this client lost its leader, or stopped, before it could answer."""

    code = -4


class OperationTimeoutError(OutcomeUnknownError, TimeoutError):
    """No answer came within the time allowed."""

    code = -7


# --- sessions --------------------------------------------------------------------------------------------------------


class SessionError(ZkcoreError):
    """The session cannot serve the call: nothing was applied."""


class SessionExpiredError(SessionError):
    """The ensemble ended the session and deleted its ephemeral znodes. Open a new client."""

    code = -112


class SessionMovedError(SessionError):
    """The session is now served by another replica."""

    code = -118


class SessionClosedError(SessionError):
    """The client, or the cluster it belongs to, was closed."""


# --- recipes ---------------------------------------------------------------------------------------------------------


class RecipeError(ZkcoreError):
    """A recipe could not do what was asked of it."""


class LockTimeoutError(RecipeError, TimeoutError):
    """The lock was not free within the time allowed; this contender has left the queue."""

    retryable = True


class LockNotHeldError(RecipeError, RuntimeError):
    """Only what is held can be released."""


class DeadlockError(RecipeError, RuntimeError):
    """Whoever asks for it would wait for itself: it holds what is in the way."""


class LeaseLostError(RecipeError):
    """The lease ended before its holder released it: somebody else may hold the lock now."""


class NotLeaderError(RecipeError, RuntimeError):
    """Only who leads can resign."""


class ConfigMismatchError(RecipeError, ValueError):
    """The znode of a recipe was made with other settings than this object has, or for something else."""


class BrokenBarrierError(RecipeError, RuntimeError):
    """The barrier was broken or reset while this party waited, or is broken until somebody resets it."""


class LatchCountError(RecipeError, ValueError):
    """A latch was counted down further than it was made for; this was not counted."""


class CodecError(RecipeError, ValueError):
    """A codec could not turn a value into bytes, or bytes into a value."""


class QueueEmptyError(RecipeError, queue.Empty):
    """There was no item to take within the time allowed."""

    retryable = True


class QueueFullError(RecipeError, queue.Full):
    """There was no room within the time allowed; nothing was put."""

    retryable = True


class QueueShutDownError(RecipeError, _ShutDown):
    """The queue is shut down: it takes no more items; or has given out all it had, and gives out no more. Under Python
    3.13 and later it is a `queue.ShutDown`."""


class NotClaimedError(RecipeError, ValueError):
    """Only what was claimed, and not acknowledged yet, can be acknowledged."""


class ItemTooLargeError(RecipeError, ValueError):
    """What was to be put does not fit into one request; nothing was put."""


class InvalidValueError(RecipeError, ValueError):
    """A config refuses the value; nothing was set."""


class NotMemberError(RecipeError, RuntimeError):
    """Only a member can leave, or update what the others see of it."""


class NotStartedError(RecipeError, RuntimeError):
    """What has a beginning and an end was used before the one or after the other: use it as a context manager."""


class TransactionConflictError(RecipeError):
    """Whatever was read was changed by others before anything could be committed, as often as was allowed to try."""

    retryable = True


class CounterOverflowError(RecipeError, OverflowError):
    """The sum does not fit the 64 bits of a counter; nothing was added."""


class IdsExhaustedError(RecipeError, OverflowError):
    """There are no ids left in the range, or no numbers for those who make them."""


class ClockError(RecipeError, RuntimeError):
    """The clock of this machine shows a time at which ids were given out long ago: it was set back, or is slow."""

    retryable = True


class NothingToCacheError(RecipeError, LookupError):
    """There is no znode at the path of a cache."""


class MessagesMissedError(RecipeError, LookupError):
    """Messages of a topic were dropped before a subscriber came to them. The subscription goes on behind them."""


class NoOwnerError(RecipeError, LookupError):
    """Nobody owns the partition of a key at the moment: it changes hands, or there are no members."""

    retryable = True


class UnplaceableError(RecipeError, ValueError):
    """There are not so many racks as a partition is to have members in."""


class InvalidScheduleError(RecipeError, ValueError):
    """A schedule that cannot be read, or is never due."""


class NoMembersError(RecipeError, LookupError):
    """Nobody is there who could do it. Nothing was begun."""


class UnknownActionError(RecipeError, LookupError):
    """No action of that name is registered."""


class NoInstancesError(RecipeError, LookupError):
    """There is no instance of the service to choose: none is registered, or none of them takes anything."""

    retryable = True


class StaleTokenError(RecipeError, PermissionError):
    """The fencing token is lower than one that the resource has seen: its hold is of the past."""


# --- storage ---------------------------------------------------------------------------------------------------------


class StorageError(ZkcoreError):
    """The storage of a replica could not do its work."""


class StorageFullError(StorageError, OSError):
    """There is no room to save more. What was saved is intact, and the storage still works."""

    retryable = True


class StorageCorruptError(StorageError):
    """What was saved cannot be read back whole."""


class StorageFailedError(StorageError):
    """The storage is dead: nothing more can be saved or trusted until it is opened anew."""


# --- bytes from outside ----------------------------------------------------------------------------------------------


class ProtocolError(ZkcoreError):
    """Bytes that arrived are not what the protocol allows."""


class FrameTooLargeError(ProtocolError):
    """A frame, or a length inside one, is larger than the limit."""


class MalformedFrameError(ProtocolError):
    """A frame does not decode: it is cut short, has bytes left over, or holds a value out of range."""

    code = -5


class VersionMismatchError(ProtocolError):
    """The other side speaks another version of the protocol."""


# --- local misuse ----------------------------------------------------------------------------------------------------


class ConfigurationError(ZkcoreError, ValueError):
    """A configuration that cannot work; the message says what to change."""


class JoinRefusedError(ConfigurationError):
    """The members of an ensemble do not let a new one in; nothing was changed."""


class UnsupportedError(ZkcoreError):
    """What was asked cannot be done by this object, whatever the arguments."""


class ForkedError(UnsupportedError, RuntimeError):
    """A client, cluster or node was used in a process that was forked from the one it belongs to. Nothing was
    applied."""


class ForeignLoopError(UnsupportedError, RuntimeError):
    """A client was used from another event loop than its own, or from none. Nothing was applied."""


class NotLeadingError(ZkcoreError):
    """Only an established leader accepts proposals. `leader` is who leads as far as this node knows, or None."""

    retryable = True

    def __init__(self, leader: int | None) -> None:
        super().__init__(leader)
        self.leader = leader

    def __str__(self) -> str:
        return f"this node does not lead; the leader is {'unknown' if self.leader is None else self.leader}"


class TransferFailedError(ZkcoreError):
    """The leadership was not handed over: the node that was asked to leads on, or ceased to before anybody could."""

    retryable = True


class InvariantViolation(ZkcoreError):
    """A promise the protocol rests on does not hold: a bug, or corruption that no check caught. The node must halt."""


def _by_code(root: type[ZkcoreError]) -> dict[int, type[ZkcoreError]]:
    found: dict[int, type[ZkcoreError]] = {}
    for kind in root.__subclasses__():
        if kind.code is not None and "code" in vars(kind):
            found[kind.code] = kind
        found.update(_by_code(kind))
    return found


BY_CODE: dict[int, type[ZkcoreError]] = _by_code(ZkcoreError)
"""From ZooKeeper's error numbers to the classes above."""
