"""The handshake, played with two sides fed by hand: who is let in, who is not and why, and what bytes can do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from zkcore.errors import MalformedFrameError, ProtocolError, VersionMismatchError
from zkcore.transport.handshake import MAX_HANDSHAKE_BYTES, Handshake, Mode, Terms, refusal
from zkcore.zab.messages import PeerId

SECRET = b"sixteen bytes and more"
PLAIN = Terms(me=1, cluster="orders", mode=Mode.PLAINTEXT)
KNOWING = evolve(PLAIN, mode=Mode.SECRET, secret=SECRET)
MODES = [PLAIN, KNOWING, evolve(PLAIN, mode=Mode.TLS)]


def welcome(peer: PeerId) -> str | None:
    return None


def side(terms: Terms, me: PeerId, *, dials: PeerId | None, nonce: int = 0) -> Handshake:
    return Handshake(evolve(terms, me=me), nonce=bytes([nonce or me] * 32), dials=dials, admits=welcome)


def sides(terms: Terms, other: Terms | None = None) -> tuple[Handshake, Handshake]:
    """Member 2, which dials, and member 1, which is called."""
    return side(terms, 2, dials=1), side(other or terms, 1, dials=None)


def play(
    dialler: Handshake, acceptor: Handshake, *, meddle: Callable[[int, bytes], bytes] = lambda _, body: body
) -> list[bytes]:
    """All that is said, to the end. ProtocolError comes from the side that finds something wrong."""
    said = []
    body, speaker, listener = dialler.begin(), dialler, acceptor
    while body is not None:
        body = meddle(len(said), body)
        said.append(body)
        body, speaker, listener = listener.receive(body), listener, speaker
    return said


@pytest.mark.parametrize("terms", MODES, ids=lambda terms: terms.mode.name)
def test_two_members_get_to_know_each_other(terms: Terms) -> None:
    dialler, acceptor = sides(terms)
    said = play(dialler, acceptor)
    assert (dialler.done, acceptor.done, len(said)) == (True, True, 4)
    assert (dialler.peer, acceptor.peer) == (1, 2)
    assert (dialler.version, acceptor.version) == (1, 1)
    assert all(len(body) <= MAX_HANDSHAKE_BYTES for body in said)


def test_with_a_secret_frames_are_sealed_with_a_key_for_each_direction() -> None:
    dialler, acceptor = sides(KNOWING)
    play(dialler, acceptor)
    (send, receive), (send_back, receive_back) = dialler.seals() or (), acceptor.seals() or ()
    sealed = send.seal(b"there")
    assert receive_back.open(sealed) == b"there"
    assert receive.open(send_back.seal(b"back")) == b"back"
    with pytest.raises(MalformedFrameError):
        receive.open(sealed)  # sent back to where it came from


def test_without_a_secret_they_are_not() -> None:
    dialler, acceptor = sides(PLAIN)
    play(dialler, acceptor)
    assert dialler.seals() is acceptor.seals() is None


def test_every_connection_has_keys_of_its_own() -> None:
    sealed = []
    for nonce in (1, 2):
        dialler, acceptor = side(KNOWING, 2, dials=1, nonce=nonce), side(KNOWING, 1, dials=None, nonce=9)
        play(dialler, acceptor)
        sealed.append((dialler.seals() or ())[0].seal(b""))
    assert sealed[0] != sealed[1]


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        (evolve(KNOWING, cluster="stock"), "a member of cluster 'orders' and member 1 of another do not talk"),
        (evolve(KNOWING, secret=b"another one, as long"), "member 2 does not know the secret of member 1"),
        (PLAIN, "member 2 uses a shared secret, and member 1 plaintext"),
        (evolve(KNOWING, mode=Mode.TLS), "member 2 uses a shared secret, and member 1 TLS"),
        (evolve(KNOWING, oldest=2, newest=3), "speaks the versions 2 to 3 .* it talks to 1 to 1; upgrade the older"),
    ],
    ids=["cluster", "secret", "plaintext", "tls", "version"],
)  # fmt: skip
def test_members_that_do_not_fit_refuse_each_other_and_say_why(other: Terms, complaint: str) -> None:
    dialler, acceptor = sides(KNOWING, other)
    with pytest.raises(ProtocolError, match=complaint) as refused:
        play(dialler, acceptor)
    assert acceptor.is_polite
    assert not acceptor.done
    with pytest.raises(ProtocolError, match=f"refused by the other side: .*{complaint}"):
        dialler.receive(refusal(refused.value))
    assert not dialler.is_polite  # a refusal is not answered


@pytest.mark.parametrize(
    ("mine", "theirs", "version"),
    [((1, 3), (2, 4), 3), ((1, 1), (1, 9), 1), ((5, 6), (1, 5), 5), ((1, 2), (3, 4), None), ((3, 4), (1, 2), None)],
)
def test_the_version_is_the_highest_that_both_speak(
    mine: tuple[int, int], theirs: tuple[int, int], version: int | None
) -> None:
    dialler, acceptor = sides(
        evolve(PLAIN, oldest=mine[0], newest=mine[1]), evolve(PLAIN, oldest=theirs[0], newest=theirs[1])
    )
    if version is None:
        with pytest.raises(VersionMismatchError):
            play(dialler, acceptor)
    else:
        play(dialler, acceptor)
        assert dialler.version == acceptor.version == version


def test_a_later_version_may_add_to_its_hello_and_an_earlier_one_proves_that_too() -> None:
    def add(place: int, body: bytes) -> bytes:
        return body + b"more" if place == 0 else body

    dialler, acceptor = sides(evolve(PLAIN, newest=2), PLAIN)
    play(dialler, acceptor, meddle=add)
    assert acceptor.done
    dialler, acceptor = sides(evolve(KNOWING, newest=2), KNOWING)
    with pytest.raises(ProtocolError, match="does not know the secret"):
        play(dialler, acceptor, meddle=add)
    dialler, acceptor = sides(PLAIN)
    with pytest.raises(MalformedFrameError, match="a HELLO of"):
        play(dialler, acceptor, meddle=add)


def test_who_is_not_the_one_that_was_meant_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"this is member 3, not 1; check the address of 1"):
        play(side(PLAIN, 2, dials=1), side(PLAIN, 3, dials=None))

    dialler = side(PLAIN, 3, dials=1)
    answer = side(PLAIN, 2, dials=None).receive(side(PLAIN, 3, dials=2, nonce=7).begin() or b"")
    with pytest.raises(ProtocolError, match=r"member 2 answers at the address of 1; check both"):
        dialler.receive(answer or b"")


def test_who_is_not_admitted_is_told_why_by_either_side() -> None:
    acceptor = Handshake(PLAIN, nonce=bytes(32), dials=None, admits=lambda peer: f"{peer} may not come")
    with pytest.raises(ProtocolError, match="2 may not come"):
        play(side(PLAIN, 2, dials=1), acceptor)
    dialler = Handshake(
        evolve(PLAIN, me=2), nonce=bytes(32), dials=1, admits=lambda peer: f"{peer} is not believed"
    )  # fmt: skip
    with pytest.raises(ProtocolError, match="1 is not believed"):
        play(dialler, side(PLAIN, 1, dials=None))


# --- attacks ----------------------------------------------------------------------------------------------------------


def test_what_was_recorded_cannot_be_played_again() -> None:
    said = play(*sides(KNOWING))
    acceptor = side(KNOWING, 1, dials=None, nonce=99)
    acceptor.receive(said[0])
    with pytest.raises(ProtocolError, match="does not know the secret"):
        acceptor.receive(said[2])
    dialler = side(KNOWING, 2, dials=1, nonce=98)
    dialler.begin()
    dialler.receive(said[1])
    with pytest.raises(ProtocolError, match="does not know the secret"):
        dialler.receive(said[3])


def test_what_a_member_says_cannot_be_sent_back_to_it() -> None:
    dialler = side(KNOWING, 2, dials=2)
    with pytest.raises(MalformedFrameError, match="plays the same part"):
        dialler.receive(dialler.begin() or b"")
    dialler, acceptor = sides(KNOWING)
    hello = acceptor.receive(dialler.begin() or b"")
    proof = dialler.receive(hello or b"")
    assert proof is not None
    with pytest.raises(ProtocolError, match="does not know the secret"):
        dialler.receive(b"\4" + proof[1:])  # as READY


@pytest.mark.parametrize("place", [2, 3])
@pytest.mark.parametrize("proof", [b"", bytes(32), bytes(31)])
def test_a_proof_that_is_left_out_is_none(place: int, proof: bytes) -> None:
    """CVE-2023-44981: what was optional was not checked where it was absent."""
    dialler, acceptor = sides(KNOWING)
    with pytest.raises(ProtocolError, match="does not know the secret"):
        play(dialler, acceptor, meddle=lambda at, body: body[:1] + proof if at == place else body)


def test_the_acceptor_proves_nothing_to_a_stranger() -> None:
    dialler, acceptor = sides(KNOWING)
    answer = acceptor.receive(dialler.begin() or b"")
    with pytest.raises(ProtocolError):
        acceptor.receive(b"\3" + bytes(32))
    assert answer is not None
    assert answer[0] == 1  # a HELLO, and nothing that comes of the secret


@given(st.integers(0, 3), st.data())
def test_no_bit_of_a_handshake_with_a_secret_can_be_turned(place: int, data: st.DataObject) -> None:
    def turn(at: int, body: bytes) -> bytes:
        if at != place:
            return body
        changed, bit = bytearray(body), data.draw(st.integers(0, 8 * len(body) - 1))
        changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)

    dialler, acceptor = sides(KNOWING)
    with pytest.raises(ProtocolError):
        play(dialler, acceptor, meddle=turn)
    assert not dialler.done


@pytest.mark.parametrize("terms", MODES, ids=lambda terms: terms.mode.name)
@given(st.integers(0, 3), st.binary(max_size=120), st.integers(0, 255), st.booleans())
def test_garbage_at_any_step_is_refused_and_harms_nobody(
    terms: Terms, place: int, garbage: bytes, tag: int, tagged: bool
) -> None:
    genuine = play(*sides(terms))[place]
    body = bytes([tag % 6]) + garbage if tagged else garbage
    dialler, acceptor = sides(terms)
    if body == genuine:
        return
    with pytest.raises(ProtocolError):
        play(dialler, acceptor, meddle=lambda at, said: body if at == place else said)
    assert not (dialler.done and acceptor.done)


@given(st.lists(st.sampled_from(range(4)), max_size=6))
def test_steps_in_another_order_lead_nowhere(order: list[int]) -> None:
    said = play(*sides(KNOWING))
    acceptor = side(KNOWING, 1, dials=None)
    try:
        for place in order:
            acceptor.receive(said[place])
    except ProtocolError:
        pass
    assert acceptor.done == (order[:2] == [0, 2])


def test_what_a_refusal_says_fits_on_one_line_of_a_log() -> None:
    dialler, _ = sides(PLAIN)
    dialler.begin()
    with pytest.raises(ProtocolError) as refused:
        dialler.receive(b"\2" + b"a\nb\x1b[31m\xff" + b"x" * 900)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 500


def test_no_secret_is_shown() -> None:
    assert SECRET.decode() not in repr(KNOWING)
    dialler, acceptor = sides(KNOWING, evolve(KNOWING, secret=b"another one, as long"))
    with pytest.raises(ProtocolError) as refused:
        play(dialler, acceptor)
    assert SECRET.decode() not in str(refused.value)
