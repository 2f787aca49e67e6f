"""How fresh reads are: the levels, the question they share, and the order they keep."""

from __future__ import annotations

from typing import Any

import pytest
from virtual import PASSWORD, Ensemble

from zkcore.errors import BadArgumentsError, NoNodeError
from zkcore.replica.answers import Detached, Replied, WatchFired
from zkcore.replica.forward import AskIndex, Forwarded, Index, Refused, Submit, pack, unpack
from zkcore.replica.levels import AtLeast, Read, ReadLevel, Sync
from zkcore.replica.reading import Gated, Questions
from zkcore.tree.requests import Create, Exists, GetChildren, GetData, SetData
from zkcore.zab.messages import Ack, Forward, Ping

PLACES = ["leader", "follower", "observer"]


class Scene:
    """Three voters and an observer, `/a` written through the leader, and a session at one of them.

    The others apply one transaction with each input, so that what they have applied is less than what is committed for
    a while.
    """

    def __init__(self, place: str = "follower") -> None:
        self.world = Ensemble(3, observers=1, slow=(1, 2, 4))
        self.leader = self.world.elect()
        assert self.leader == 3
        self.me = {"leader": 3, "follower": 1, "observer": 4}[place]
        self.writer = self.world.open(self.leader)
        self.session = self.world.open(self.me)
        self.world.ask(self.leader, self.writer, Create("/a", b"0"))
        self.world.pass_ms(2000)
        assert len(self.world.trees()) == 1

    def write(self, count: int) -> None:
        """Have so many writes answered at the leader, in one batch. A slow replica has applied few of them then."""
        self.world.submit(self.leader, self.writer, *(SetData("/a", b"%d" % one) for one in range(1, count + 1)))
        self.world.step_until(lambda: len(self.world.replies(self.leader, self.writer)) == count + 2)

    def answers(self) -> list[Any]:
        """What the session was answered, after its opening."""
        return self.world.replies(self.me, self.session)[1:]

    def waiting(self, *kinds: type[Forwarded]) -> list[Forwarded]:
        """What is on its way from one replica to another, of these kinds."""
        return [
            content
            for _, messages in sorted(self.world.flying.items())
            for message in messages
            if isinstance(message, Forward)
            for content in unpack(message.data)
            if isinstance(content, kinds)
        ]


def data_of(replied: Replied) -> object:
    assert replied.error is None
    return replied.result.data  # type: ignore[attr-defined]


# --- what each level shows


@pytest.mark.parametrize("place", ["follower", "observer"])
def test_a_read_of_the_session_may_be_behind_and_a_linearizable_one_never_is(place: str) -> None:
    scene = Scene(place)
    scene.write(10)
    scene.world.submit(scene.me, scene.session, GetData("/a"))
    scene.world.submit(scene.me, scene.session, GetData("/a"), read=Read.LINEARIZABLE)
    assert data_of(scene.answers()[0]) != b"10"
    assert len(scene.answers()) == 1, "the leader was not asked yet"
    scene.world.pass_ms(1000)
    assert data_of(scene.answers()[1]) == b"10"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("read", [Read.LINEARIZABLE, Read.at_least(1 << 32 | 3)], ids=["linearizable", "at least"])
def test_every_replica_answers_every_level(place: str, read: ReadLevel) -> None:
    scene = Scene(place)
    assert scene.world.ask(scene.me, scene.session, GetData("/a"), read=read).data == b"0"
    assert scene.world.ask(scene.me, scene.session, Exists("/none"), read=read) is None
    with pytest.raises(NoNodeError):
        scene.world.ask(scene.me, scene.session, GetChildren("/none"), read=read)


def test_a_linearizable_read_waits_for_the_leaders_word_and_then_for_what_it_says() -> None:
    scene = Scene()
    scene.write(20)
    replica = scene.world.replicas[scene.me]
    scene.world.submit(scene.me, scene.session, GetData("/a"), read=Read.LINEARIZABLE)
    assert any("wait for the leader to say" in line for line in replica.explain())
    scene.world.step_until(lambda: any("to apply more" in line for line in replica.explain()))
    assert scene.answers() == []
    scene.world.pass_ms(1000)
    assert data_of(scene.answers()[0]) == b"20"


def test_a_linearizable_read_does_not_wait_for_what_is_only_proposed_and_a_sync_does() -> None:
    scene = Scene("leader")
    follower, other = 1, 2
    session = scene.world.open(follower)
    scene.world.hold((other, scene.leader), (4, scene.leader))
    hold_acks(scene.world, (follower, scene.leader))
    before = scene.world.replicas[scene.leader].peer.last_committed
    scene.world.submit(scene.leader, scene.writer, SetData("/a", b"proposed"))
    scene.world.settle()
    scene.world.submit(follower, session, GetData("/a"), read=Read.LINEARIZABLE)
    scene.world.submit(follower, session, Sync(), read=Read.LINEARIZABLE)
    scene.world.settle()
    assert scene.world.replicas[scene.leader].peer.last_committed == before
    assert [data_of(one) for one in scene.world.replies(follower, session)[1:]] == [b"0"]
    scene.world.release((other, scene.leader), (4, scene.leader))
    scene.world.pass_ms(1000)
    assert scene.world.replies(follower, session)[-1].result > before
    assert scene.world.ask(follower, session, GetData("/a")).data == b"proposed"


def hold_acks(world: Ensemble, direction: tuple[int, int]) -> None:
    """From now on the acknowledgements sent in a direction are lost, and nothing else."""
    real = world._send

    def send(me: int, messages: Any) -> None:
        real(me, [(to, one) for to, one in messages if (me, to) != direction or not isinstance(one, Ack)])

    world._send = send  # type: ignore[method-assign]


@pytest.mark.parametrize("place", PLACES)
def test_a_sync_says_how_much_is_applied_and_reads_after_it_show_no_less(place: str) -> None:
    scene = Scene(place)
    scene.write(10)
    scene.world.submit(scene.me, scene.session, Sync(), read=Read.LINEARIZABLE)
    scene.world.submit(scene.me, scene.session, GetData("/a"))
    scene.world.pass_ms(1000)
    synced, read = scene.answers()
    assert synced.result >= scene.world.replicas[scene.leader].peer.last_committed
    assert data_of(read) == b"10"


# --- at least


def test_what_is_applied_already_is_read_at_once_and_sends_nothing() -> None:
    scene = Scene()
    zxid = scene.world.replicas[scene.me].tree.last_zxid
    scene.world.submit(scene.me, scene.session, GetData("/a"), read=Read.at_least(zxid))
    assert data_of(scene.answers()[0]) == b"0"
    assert scene.waiting(AskIndex) == []


def test_a_client_reads_what_another_one_wrote() -> None:
    scene = Scene()
    scene.write(20)
    written = scene.world.replies(scene.leader, scene.writer)[-1].result.mzxid
    scene.world.submit(scene.me, scene.session, GetData("/a"), read=Read.at_least(written - 5))
    assert scene.answers() == []
    scene.world.step_until(lambda: scene.answers() != [])
    assert b"15" <= data_of(scene.answers()[0]) < b"19", "it waits no longer than it must"


def test_what_nobody_can_have_seen_is_refused_and_not_waited_for() -> None:
    scene = Scene()
    scene.world.submit(scene.me, scene.session, GetData("/a"), read=Read.at_least(1 << 40))
    scene.world.submit(scene.me, scene.session, GetData("/a"))
    scene.world.settle()
    refused, read = scene.answers()
    assert isinstance(refused.error, BadArgumentsError)
    assert data_of(read) == b"0"


@pytest.mark.parametrize("nonsense", [-1, True, "0x1_00000001", 1.5])
def test_what_is_no_zxid_is_refused_where_it_is_given(nonsense: Any) -> None:
    with pytest.raises(BadArgumentsError):
        Read.at_least(nonsense)


def test_what_is_no_level_is_refused_and_nothing_has_happened() -> None:
    scene = Scene()
    with pytest.raises(BadArgumentsError):
        scene.world.submit(scene.me, scene.session, GetData("/a"), read="LINEARIZABLE")  # type: ignore[arg-type]
    assert scene.world.replicas[scene.me].can_read(scene.session)


# --- order


def test_a_write_behind_a_linearizable_read_waits_for_it_and_is_not_seen_by_it() -> None:
    scene = Scene()
    scene.world.submit(scene.me, scene.session, GetData("/a"), read=Read.LINEARIZABLE)
    scene.world.submit(scene.me, scene.session, SetData("/a", b"mine"), GetData("/a"))
    assert scene.waiting(Submit) == []
    scene.world.pass_ms(1000)
    first, written, second = scene.answers()
    assert data_of(first) == b"0"
    assert written.result.version == 1
    assert data_of(second) == b"mine"


def test_a_write_does_not_overtake_one_that_waited_for_a_linearizable_read() -> None:
    """The leader's word and the next request reach the replica in one batch of inputs."""
    scene = Scene()
    world, me = scene.world, scene.me
    world.submit(me, scene.session, GetData("/a"), read=Read.LINEARIZABLE)
    world.submit(me, scene.session, SetData("/a", b"first"))
    world.step_until(lambda: bool(scene.waiting(Index)))
    arriving = world.flying[scene.leader, me]
    while scene.waiting(Index):
        world.replicas[me].receive(scene.leader, arriving.popleft(), world.now)
    world.submit(me, scene.session, SetData("/a", b"second"), GetData("/a"))
    assert [message.xid for message in scene.waiting(Submit)] == [2, 3]
    world.pass_ms(1000)
    assert data_of(scene.answers()[-1]) == b"second"


@pytest.mark.parametrize("place", PLACES)
def test_reads_and_writes_of_all_sorts_are_carried_out_in_the_order_of_requests(place: str) -> None:
    scene = Scene(place)
    world, me, session = scene.world, scene.me, scene.session
    levels: list[ReadLevel] = [Read.LINEARIZABLE, Read.SESSION, Read.at_least(1), Read.LINEARIZABLE, Read.LINEARIZABLE]
    xids = []
    for number, read in enumerate(levels):
        xids += world.submit(me, session, GetData("/a"), read=read)
        xids += world.submit(me, session, SetData("/a", b"w%d" % number), GetData("/a"))
    world.pass_ms(2000)
    assert [one.xid for one in scene.answers()] == xids
    seen = [data_of(one) for one in scene.answers() if hasattr(one.result, "data")]
    assert seen == [b"0", b"w0", b"w0", b"w1", b"w1", b"w2", b"w2", b"w3", b"w3", b"w4"]


def test_writes_before_a_linearizable_read_do_not_wait() -> None:
    scene = Scene()
    scene.world.submit(scene.me, scene.session, SetData("/a", b"mine"))
    scene.world.submit(scene.me, scene.session, GetData("/a"), read=Read.LINEARIZABLE)
    assert len(scene.waiting(Submit, AskIndex)) == 2
    scene.world.pass_ms(1000)
    assert data_of(scene.answers()[1]) == b"mine"


def test_a_watch_set_by_a_linearizable_read_goes_off() -> None:
    scene = Scene()
    scene.world.ask(scene.me, scene.session, GetData("/a", True), read=Read.LINEARIZABLE)
    scene.write(1)
    scene.world.pass_ms(1000)
    fired = [told for told in scene.world.heard(scene.me, scene.session) if isinstance(told, WatchFired)]
    assert [one.event.path for one in fired] == ["/a"]


# --- one question for all


def test_reads_that_wait_share_one_question_and_those_that_come_meanwhile_the_next() -> None:
    scene = Scene()
    others = [scene.world.open(scene.me) for _ in range(3)]
    for session in (scene.session, *others):
        scene.world.submit(scene.me, session, GetData("/a"), GetData("/a"), read=Read.LINEARIZABLE)
    assert len(scene.waiting(AskIndex)) == 1
    scene.world.submit(scene.me, others[0], GetData("/a"), read=Read.LINEARIZABLE)
    assert len(scene.waiting(AskIndex)) == 1
    asked = 0
    while scene.world.deliver_one():
        asked = max(asked, len(scene.waiting(AskIndex)))
    assert asked == 1
    assert [len(scene.world.replies(scene.me, session)) for session in (scene.session, *others)] == [3, 4, 3, 3]


def test_a_read_is_never_answered_with_an_older_question() -> None:
    questions = Questions()
    first, second = (Gated(session, GetData("/a"), Read.LINEARIZABLE) for session in (1, 2))
    questions.waiting.append(first)
    nonce = questions.ask()
    questions.waiting.append(second)
    assert not questions.is_due
    assert questions.on_index(nonce + 1, 9, 9) == []
    assert questions.on_index(nonce, 5, 6) == [first]
    assert (first.needs, second.needs) == (5, None)
    assert questions.is_due
    assert questions.on_index(nonce, 5, 6) == [], "it was answered before"
    assert questions.on_index(questions.ask(), 7, 8) == [second]


@pytest.mark.parametrize(
    ("request_", "level", "needs"),
    [
        (GetData("/a"), Read.LINEARIZABLE, 5),
        (Sync(), Read.LINEARIZABLE, 8),
        (GetData("/a"), AtLeast(4), 4),
        (GetData("/a"), AtLeast(5), 5),
    ],
)
def test_what_must_be_applied(request_: Any, level: ReadLevel, needs: int) -> None:
    gated = Gated(1, request_, level)
    gated.on_index(committed=5, proposed=8)
    assert (gated.needs, gated.error) == (needs, None)


# --- leaders that come and go


@pytest.mark.parametrize("question", [GetData("/a"), Sync()], ids=["read", "sync"])
def test_a_leader_that_was_deposed_without_knowing_it_answers_no_linearizable_read(question: Any) -> None:
    scene = Scene("leader")
    world, old = scene.world, scene.leader
    # Everything reaches the old leader, and nothing leaves it: it is the last to learn what the others do.
    others = [me for me in world.replicas if me != old]
    world.hold(*((other, old) for other in others), *((old, other) for other in others))
    for other in others:
        world.replicas[other].report_lost(old)
        world.act(other)
    world.step_until(lambda: all(world.replicas[me].leader not in (None, old) for me in others))
    leader = world.replicas[others[0]].leader
    assert leader is not None
    assert world.replicas[old].leader == old
    newer = world.open(leader)
    world.ask(leader, newer, SetData("/a", b"newer"))
    world.submit(old, scene.session, question, read=Read.LINEARIZABLE)
    world.submit(old, scene.writer, GetData("/a"))
    assert data_of(world.replies(old, scene.writer)[-1]) == b"0", "stale, and this level may be"
    world.step_until(lambda: world.replicas[old].leader != old)
    assert scene.answers() == []
    assert isinstance(world.heard(old, scene.session)[-1], Detached)


def test_when_the_leader_is_lost_its_questions_are_forgotten_and_the_next_is_asked_anew() -> None:
    scene = Scene()
    scene.world.submit(scene.me, scene.session, GetData("/a"), read=Read.LINEARIZABLE)
    scene.world.submit(scene.me, scene.session, SetData("/a", b"never sent"))
    scene.world.kill(scene.leader)
    leader = scene.world.elect()
    assert isinstance(scene.world.heard(scene.me, scene.session)[-1], Detached)
    scene.world.attach(scene.me, scene.session)
    scene.world.run(lambda: scene.world.replicas[scene.me].can_read(scene.session))
    scene.world.pass_ms(1000)
    answer = scene.world.ask(scene.me, scene.session, GetData("/a"), read=Read.LINEARIZABLE)
    assert answer.data == b"0"
    assert scene.world.replicas[scene.me].leader == leader


def test_a_session_that_leaves_takes_its_reads_and_the_writes_behind_them_along() -> None:
    """Even where the leader's word has come, and what was held up was about to go: the session goes on elsewhere, or
    here and anew, and its claim says that nothing follows."""
    scene = Scene()
    world, replica = scene.world, scene.world.replicas[scene.me]
    world.submit(scene.me, scene.session, GetData("/a"), read=Read.LINEARIZABLE)
    world.submit(scene.me, scene.session, SetData("/a", b"never sent"))
    world.step_until(lambda: bool(scene.waiting(Index)))
    for message in world.flying[scene.leader, scene.me]:
        replica.receive(scene.leader, message, world.now)
    world.flying[scene.leader, scene.me].clear()
    replica.detach(scene.session)
    world.attach(scene.me, scene.session)
    assert scene.waiting(Submit) == []
    world.pass_ms(1000)
    assert world.ask(scene.me, scene.session, GetData("/a"), read=Read.LINEARIZABLE).data == b"0"


def test_a_leader_that_refuses_a_read_is_not_listened_to_and_holds_nobody_up() -> None:
    scene = Scene()
    (xid,) = scene.world.submit(scene.me, scene.session, GetData("/a"), read=Read.LINEARIZABLE)
    scene.world.submit(scene.me, scene.session, SetData("/a", b"1"))
    nonsense = Forward(pack(Refused(scene.session, xid, -101)))
    scene.world.replicas[scene.me].receive(scene.leader, nonsense, scene.world.now)
    scene.world.pass_ms(1000)
    assert [one.error for one in scene.answers()] == [None, None]


def test_a_question_from_a_link_that_is_gone_is_not_answered_on_the_next() -> None:
    """A replica that was started anew counts its questions from the beginning: an old answer could pass for a new."""
    scene = Scene("leader")
    world, leader, follower, other = scene.world, scene.leader, 1, 2
    session = world.open(follower)
    world.hold((other, leader), (4, leader))
    world.submit(follower, session, GetData("/a"), read=Read.LINEARIZABLE)
    world.step_until(lambda: any(isinstance(one, Ping) for one in world.flying[leader, other]))
    world.hold((follower, leader))
    world.kill(follower)
    world.start(follower)
    world.settle()
    assert any(isinstance(one, Ping) for one in world.flying[other, leader])
    world.release((other, leader))
    while world.deliver_one():
        assert scene.waiting(Index) == []


def test_a_follower_may_ask_before_its_leader_has_delivered_all_of_the_past() -> None:
    world = Ensemble(3, slow=(3,))
    world.elect()
    session = world.open(1)
    world.submit(1, session, *(Create(f"/n{number}", b"") for number in range(20)))
    world.pass_ms(1000)
    for me in (1, 2, 3):
        world.kill(me)
    for me in (3, 1):
        world.start(me)
    world.step_until(lambda: world.replicas[1].leader is not None)
    assert world.replicas[1].leader == 3
    session = world.replicas[1].open(10_000, world.now, password=PASSWORD)
    world.submit(1, session, GetChildren("/"), read=Read.LINEARIZABLE)
    while world.flying[1, 3]:
        world.replicas[3].receive(1, world.flying[1, 3].popleft(), world.now)
        world.act(3)
    assert world.replicas[3].leader is None, "it has not delivered its history yet"
    world.pass_ms(1000)
    assert len(world.replies(1, session)[-1].result) == 21
