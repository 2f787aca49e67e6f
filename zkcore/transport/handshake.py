"""How two members greet each other on a fresh connection, before it is a link. Pure: bodies of frames in and out.

::

    dialler                                acceptor
       |  HELLO versions, ids, cluster, nonce |
       | -----------------------------------> |
       |                           HELLO      |   or REFUSAL why, and the end
       | <----------------------------------- |
       |  PROOF                               |
       | -----------------------------------> |   from here on the acceptor has a link
       |                           READY      |
       | <----------------------------------- |   ... and from here on the dialler

Of two members the one with the larger number dials: so there is one connection for each pair, and nothing to settle. A
HELLO names both its sender and the member it is meant for, so nobody links with another member than the one it means.
Only who has a question, and wants no link, means whoever answers (asking.py).

With a shared secret PROOF and READY are HMAC-SHA256 under it, over both HELLOs and the role of the sender. The HELLOs
hold a nonce of each side: no proof is worth anything on another connection, in the other direction, for other members
or for another cluster. The acceptor proves itself last, to nobody who has not. The keys that seal the frames of the
link come from the same HELLOs. With TLS, and where plaintext was asked for, PROOF and READY are empty: who the peer is
was settled by its certificate, or is believed.

The layout of HELLO and REFUSAL is for ever; a later version may add to the end of a HELLO. The version that both speak
is the highest common one. Whoever finds that nothing can come of it says why in a REFUSAL, and hangs up; what a REFUSAL
says is good for a log and for nothing else, since anybody may have sent it.

This module must not know sockets, certificates, nor what is said on the link.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from enum import Enum, IntEnum
from hashlib import sha256
from struct import Struct, error

from attrs import field, frozen

from zkcore.errors import MalformedFrameError, ProtocolError, VersionMismatchError
from zkcore.transport.framing import Seal
from zkcore.zab.messages import PeerId

__all__ = [
    "ANYBODY",
    "MAX_CLUSTER_BYTES",
    "MAX_HANDSHAKE_BYTES",
    "NONCE_BYTES",
    "VERSION",
    "Handshake",
    "Mode",
    "Terms",
    "refusal",
]

VERSION = 1
"""Of the protocol between members, the one this code speaks."""

ANYBODY = 0
"""Dialled by one that has a question, and does not know whom it will meet."""

NONCE_BYTES = 32
MAX_CLUSTER_BYTES = 255
MAX_HANDSHAKE_BYTES = 1024
"""No frame of a handshake is larger."""

_MAX_REFUSAL_BYTES = 400

_MAGIC = b"zkcore"
_HELLO, _REFUSAL, _PROOF, _READY = b"\1\2\3\4"
# tag, magic, oldest and newest version, whether the sender dialled, mode, sender, receiver, nonce, bytes of the cluster
_FIXED = Struct(">B6sHHBBBB32sB")


class Mode(IntEnum):
    """How the members of an ensemble know each other; the same for all of them."""

    PLAINTEXT = 1
    SECRET = 2
    TLS = 3

    def __str__(self) -> str:
        return {1: "plaintext", 2: "a shared secret", 3: "TLS"}[self.value]


_MODES = {mode.value: mode for mode in Mode}


@frozen(kw_only=True)
class Terms:
    """What a member insists on in every handshake."""

    me: PeerId
    cluster: str
    mode: Mode
    secret: bytes = field(default=b"", repr=False)
    oldest: int = VERSION
    newest: int = VERSION


def refusal(why: object) -> bytes:
    """The body that says to the other side why nothing comes of it."""
    return bytes([_REFUSAL]) + str(why).encode("utf-8", "replace")[:_MAX_REFUSAL_BYTES]


class _Step(Enum):
    HELLO = "a HELLO"
    PROOF = "a PROOF"
    READY = "a READY"
    NOTHING = "nothing more"


class Handshake:
    """One side of one handshake.

    `dials` is the member that was dialled, ANYBODY, or None on the side that was called. `admits` is asked once the
    other side has said who it is, and answers why that one is not welcome, or None. `nonce` are 32 random bytes, used
    once.

    Feed it what arrives, until it is `done`; every method that raises does so with ProtocolError, and then the
    connection is to be closed, after `refusal(error)` was sent where `is_polite`.
    """

    def __init__(
        self, terms: Terms, *, nonce: bytes, dials: PeerId | None, admits: Callable[[PeerId], str | None]
    ) -> None:
        self._terms = terms
        self._nonce = nonce
        self._admits = admits
        self._mine = b""  # the HELLO that was sent
        self._theirs = b""
        self._step = _Step.HELLO
        self.dials = dials
        self.peer: PeerId | None = dials or None
        """The other side, as far as it has said who it is. Known for sure once this is `done`."""
        self.version = 0
        """What both speak."""
        self.asks = dials == ANYBODY
        """Whether this is for a question, and not for a link."""
        self.is_polite = False
        """Whether the other side speaks this protocol, and does not know yet that nothing comes of it."""

    @property
    def done(self) -> bool:
        """Whether there is a link."""
        return self._step is _Step.NOTHING

    def begin(self) -> bytes | None:
        """What to send first: the dialler its HELLO."""
        return self._hello(self.dials) if self.dials is not None else None

    def receive(self, body: bytes) -> bytes | None:
        """The body of a frame arrived; what to send in answer. Raises ProtocolError."""
        tag = body[0] if body else 0
        if tag == _REFUSAL and self._step is not _Step.NOTHING:
            self.is_polite = False
            raise ProtocolError(f"refused by the other side: {_printable(body[1:])}")
        if self._step is _Step.HELLO and tag == _HELLO:
            return self._on_hello(body)
        if self._step is _Step.PROOF and tag == _PROOF:
            self._check_proof(body[1:], b"dialler")
            self._step = _Step.NOTHING
            return bytes([_READY]) + self._proof(b"acceptor")
        if self._step is _Step.READY and tag == _READY:
            self._check_proof(body[1:], b"acceptor")
            self._step = _Step.NOTHING
            return None
        raise MalformedFrameError(f"{self._step.value} was expected, and not {body[:8].hex() or 'an empty frame'}")

    def seals(self) -> tuple[Seal, Seal] | None:
        """For the frames to send, and for those that arrive, once this is done; None where they have none."""
        if self._terms.mode is not Mode.SECRET:
            return None
        keys = [self._derive(b"frames of the dialler"), self._derive(b"frames of the acceptor")]
        mine, theirs = keys if self.dials is not None else reversed(keys)
        return Seal(mine), Seal(theirs)

    # --- hello

    def _hello(self, to: PeerId) -> bytes:
        terms, name = self._terms, self._terms.cluster.encode()
        fixed = _FIXED.pack(
            _HELLO, _MAGIC, terms.oldest, terms.newest, self.dials is not None, terms.mode, terms.me, to, self._nonce,
            len(name),
        )  # fmt: skip
        self._mine = fixed + name
        return self._mine

    def _on_hello(self, body: bytes) -> bytes:
        try:
            _, magic, oldest, newest, dialled, mode, sender, to, nonce, size = _FIXED.unpack_from(body)
        except error:
            raise MalformedFrameError(f"a HELLO of {len(body)} bytes") from None
        end = _FIXED.size + size
        if magic != _MAGIC or dialled > 1 or not oldest <= newest:
            raise MalformedFrameError("a HELLO that is none of this protocol")
        self.is_polite = True
        self._agree(oldest, newest)
        if len(body) < end or (len(body) > end and newest == self._terms.newest):
            raise MalformedFrameError(f"a HELLO of {len(body)} bytes with a cluster of {size}")
        if bool(dialled) == (self.dials is not None):
            raise MalformedFrameError("a HELLO from one that plays the same part; does this member dial itself?")
        self._check_names(body[_FIXED.size : end], sender, to)
        terms = self._terms
        if mode != terms.mode:
            raise ProtocolError(
                f"member {sender} uses {_MODES.get(mode, 'something unknown')}, and member {terms.me} {terms.mode}: "
                "give all members the same security"
            )
        if nonce == self._nonce:
            raise ProtocolError(f"member {sender} sent the nonce of this member back")
        self.peer = sender
        why = self._admits(sender)
        if why is not None:
            raise ProtocolError(why)
        self._theirs = body
        if self.dials is None:
            self._step = _Step.PROOF
            return self._hello(sender)
        self._step = _Step.READY
        return bytes([_PROOF]) + self._proof(b"dialler")

    def _agree(self, oldest: int, newest: int) -> None:
        terms = self._terms
        self.version = min(newest, terms.newest)
        if self.version < max(oldest, terms.oldest):
            raise VersionMismatchError(
                f"member {terms.me} speaks the versions {terms.oldest} to {terms.newest} of the protocol between "
                f"members, and the one it talks to {oldest} to {newest}; upgrade the older one"
            )

    def _check_names(self, cluster: bytes, sender: PeerId, to: PeerId) -> None:
        terms = self._terms
        if cluster != terms.cluster.encode():
            raise ProtocolError(
                f"a member of cluster {_printable(cluster)!r} and member {terms.me} of another do not talk; "
                "check cluster and addresses"
            )
        self.asks = self.asks or (to == ANYBODY and self.dials is None)
        if to != terms.me and not (self.asks and to == ANYBODY):
            raise ProtocolError(f"this is member {terms.me}, not {to}; check the address of {to}")
        if self.dials and sender != self.dials:
            raise ProtocolError(f"member {sender} answers at the address of {self.dials}; check both")

    # --- proofs

    def _check_proof(self, proof: bytes, role: bytes) -> None:
        if not hmac.compare_digest(proof, self._proof(role)):
            raise ProtocolError(
                f"who claims to be member {self.peer} does not know the secret of member {self._terms.me}"
            )

    def _proof(self, role: bytes) -> bytes:
        return self._derive(b"proof of the " + role) if self._terms.mode is Mode.SECRET else b""

    def _derive(self, purpose: bytes) -> bytes:
        """A value that only those who know the secret can tell, for one purpose on this connection."""
        hellos = (self._mine, self._theirs) if self.dials is not None else (self._theirs, self._mine)
        both = b"".join(sha256(hello).digest() for hello in hellos)
        return hmac.digest(self._terms.secret, b"zkcore 1: " + purpose + b"\0" + both, "sha256")


def _printable(text: bytes) -> str:
    """What somebody said who need not be who he says, fit for one line of a log."""
    said = text[:_MAX_REFUSAL_BYTES].decode("utf-8", "replace")
    return "".join(each if each.isprintable() else "?" for each in said)
