"""What replicas say to each other beside ZAB, bundled: in order for each of them, and taken apart as it was put in."""

from __future__ import annotations

import pytest
from virtual import Ensemble

from zkcore.errors import BadArgumentsError, ProtocolError, RequestError, SessionExpiredError, ThrottledError
from zkcore.replica.forward import Forwarded, Refused, Submit, Touch, TouchReply, bundle, pack, unpack
from zkcore.tree.requests import SetData
from zkcore.zab.messages import Forward

SAID: list[Forwarded] = [Touch(1, 1), Submit(1, 2, 5, b"body"), TouchReply(3, 4, True)]


def test_what_follows_each_other_to_one_peer_goes_together() -> None:
    one, two, three = map(pack, SAID)
    sent = list(bundle([(7, one), (7, two), (8, three), (7, three)]))
    assert sent == [(7, Forward(one + two)), (8, Forward(three)), (7, Forward(three))]
    assert list(unpack(sent[0][1].data)) == SAID[:2]


@pytest.mark.parametrize(
    ("refused", "kind", "says"),
    [
        (Refused(1, 2, -8, "server 9 is none"), BadArgumentsError, "server 9 is none"),
        (Refused(1, 2, -127), ThrottledError, ThrottledError.summary),
        (Refused(1, 2, -112, "over"), SessionExpiredError, "over"),
        (Refused(1, 2, 12345), RequestError, RequestError.summary),
    ],
)
def test_a_refusal_says_why(refused: Refused, kind: type[Exception], says: str) -> None:
    (found,) = unpack(pack(refused))
    assert found == refused
    assert isinstance(found, Refused)
    assert (type(found.error), str(found.error)) == (kind, says)


def test_a_bundle_that_is_large_enough_goes_alone() -> None:
    large = pack(Submit(1, 1, 5, b"x" * (1 << 18)))
    small = pack(Touch(1, 1))
    assert list(bundle([(7, small), (7, large), (7, small)])) == [(7, Forward(small + large)), (7, Forward(small))]
    assert list(bundle([(7, large), (7, large)])) == [(7, Forward(large)), (7, Forward(large))]


def test_there_is_nothing_behind_the_last_and_one_at_least() -> None:
    with pytest.raises(ProtocolError):
        list(unpack(b""))
    data = b"".join(map(pack, SAID))
    for wrong in (data[:-1], data + b"\x63", data + b"\x02"):
        found = unpack(wrong)
        assert [next(found), next(found)] == SAID[:2]
        with pytest.raises(ProtocolError):
            list(found)


def test_the_writes_of_one_batch_reach_the_leader_in_one_message_and_in_order() -> None:
    world = Ensemble()
    leader = world.elect()
    one, _ = world.followers()
    session = world.open(one)
    world.settle()
    world.submit(one, session, *(SetData(f"/{number}", b"") for number in range(20)))
    (message,) = [each for each in world.flying[one, leader] if isinstance(each, Forward)]
    asked = [each.xid for each in unpack(message.data) if isinstance(each, Submit)]
    assert asked == sorted(asked)
    assert len(asked) == 20
