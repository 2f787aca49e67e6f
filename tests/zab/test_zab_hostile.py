"""One member of an ensemble lies: nobody falls over, and where its word counts for nothing the others never disagree.

A voter that acknowledges what it does not have can make records vanish that were committed with its help; no protocol
of this kind promises anything else. So against a voter that says everything only what each node does by itself is
checked. A voter that makes no such claims, one of weight 0 and an observer must not be able to do any harm at all:
there the Oracle checks every invariant while they talk, and once they are gone the others must work as ever.

ZKCORE_FUZZ_EXAMPLES in the environment tries so many other examples.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from dialogue import Z
from hostile import HostileEnsemble, invented
from hypothesis import given, settings
from hypothesis import strategies as st

from zkcore.errors import BadArgumentsError, NotLeadingError
from zkcore.zab.messages import Ack, AckEpoch, LeaderInfo, PeerId, Role, Vote, ZabMessage
from zkcore.zab.quorum import EnsembleConfig

EXAMPLES = os.environ.get("ZKCORE_FUZZ_EXAMPLES")
FUZZ = settings(max_examples=int(EXAMPLES or 40), derandomize=EXAMPLES is None, deadline=None)

THREE = EnsembleConfig((1, 2, 3))
CLAIMS = (Ack, AckEpoch, LeaderInfo)
"""What makes others rely on the sender: that it has something, promises something, or leads."""

HARMLESS: dict[str, tuple[EnsembleConfig, PeerId, tuple[type, ...]]] = {
    "an observer": (EnsembleConfig((1, 2, 3), observers=(4,)), 4, ()),
    "a voter without weight": (EnsembleConfig((1, 2, 3, 4), weights={4: 0}), 4, ()),
    "a voter that claims nothing": (THREE, 3, CLAIMS),
    "the lowest voter, which claims nothing": (THREE, 1, CLAIMS),
}

small = st.integers(0, 60)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("says"), st.integers(0, 2), st.integers(0, 18), small, small),
        st.tuples(st.just("answers"), st.integers(1, 12), st.integers(0, 5), small, small),
        st.tuples(st.just("runs"), st.sampled_from([1, 3, 20]), small, small, small),
        st.tuples(st.just("proposes"), st.integers(1, 3), small, small, small),
        st.tuples(
            st.sampled_from(["restarts", "relinks", "compacts", "transfers"]), st.integers(0, 2), small, small, small
        ),
    ),
    min_size=25,
    max_size=60,
)
Step = tuple[str, int, int, int, int]


class Story:
    """What happens to one ensemble, step by step."""

    def __init__(self, ensemble: HostileEnsemble, *, settled: bool, silent_about: tuple[type, ...] = ()) -> None:
        self.ensemble = ensemble
        self.silent_about = silent_about
        self.proposed = 0
        self.does: dict[str, Callable[[int, int, int, int], None]] = {
            "says": self.says, "answers": self.answers, "runs": self.runs, "proposes": self.proposes,
            "restarts": self.restarts, "relinks": self.relinks, "compacts": self.compacts, "transfers": self.transfers,
        }  # fmt: skip
        for _ in range(40 if settled else 0):
            ensemble.step()

    def tell(self, steps: list[Step]) -> None:
        for what, *numbers in steps:
            before = {me: list(self.ensemble.hosts[me].state) for me in self.ensemble.honest}
            self.does[what](*numbers)
            if what != "restarts":
                self.check(before)

    def check(self, before: dict[PeerId, list[bytes]]) -> None:
        """What each node does by itself: memory is what the disk holds, and nothing delivered is taken back."""
        for me in self.ensemble.honest:
            host, status = self.ensemble.hosts[me], self.ensemble.peer(me).status()
            saved = host.storage.load()
            assert (saved.base, saved.snapshot, saved.last) == (status.log_base, status.snapshot, status.last_logged)
            assert (saved.accepted_epoch, saved.current_epoch) == (status.accepted_epoch, status.current_epoch)
            assert max(status.last_delivered, saved.snapshot) <= saved.last
            if b"lies" not in host.state:  # it was sent a whole state that somebody made up
                assert host.state[: len(before[me])] == before[me]

    def one(self, number: int) -> PeerId:
        return self.ensemble.honest[number % len(self.ensemble.honest)]

    def said(self, message: ZabMessage) -> bool:
        return not isinstance(message, self.silent_about)

    # --- the steps

    def says(self, to: int, kind: int, one: int, other: int) -> None:
        message = invented(self.ensemble, self.one(to), kind=kind, one=one, other=other)
        if self.said(message):
            self.ensemble.says(self.one(to), message)
        self.ensemble.step()

    def answers(self, count: int, lie: int, *_: int) -> None:
        for _ in range(count):
            waiting = {me: len(self.ensemble.hosts[me].inbox) for me in self.ensemble.honest}
            self.ensemble.answers(lie)
            for me, length in waiting.items():
                inbox = self.ensemble.hosts[me].inbox
                while len(inbox) > length and isinstance(inbox[-1][2], self.silent_about):
                    inbox.pop()
            self.ensemble.step()

    def runs(self, count: int, *_: int) -> None:
        for _ in range(count):
            self.ensemble.step()

    def proposes(self, count: int, *_: int) -> None:
        leader = self.ensemble.leader
        if leader is not None and not self.ensemble.peer(leader).is_full:
            self.proposed += count
            self.ensemble.propose(*[b"%d" % (self.proposed - n) for n in range(count)])

    def restarts(self, number: int, *_: int) -> None:
        me = self.one(number)
        self.ensemble.crash(me)
        self.ensemble.start(me)

    def relinks(self, number: int, *_: int) -> None:
        self.ensemble.relinks(self.one(number))

    def compacts(self, number: int, *_: int) -> None:
        self.ensemble.compacts(self.one(number))

    def transfers(self, number: int, *_: int) -> None:
        leader = self.ensemble.leader
        if leader is None:
            return
        try:
            self.ensemble.peer(leader).transfer((*self.ensemble.config.members, None)[number])
        except (BadArgumentsError, NotLeadingError):
            pass  # the host asked for what cannot be
        self.ensemble.act(leader)


def aspire(ensemble: HostileEnsemble) -> None:
    """The hostile member claims the newest history of all."""
    for me in ensemble.honest:
        ensemble.says(me, Vote(Role.LOOKING, ensemble.hostile, Z(9, 9), 9, 1))


@pytest.mark.parametrize("who", HARMLESS)
@FUZZ
@given(st.booleans(), steps)
def test_whose_word_counts_for_nothing_does_no_harm(who: str, settled: bool, steps: list[Step]) -> None:
    config, hostile, silent_about = HARMLESS[who]
    ensemble = HostileEnsemble(config, hostile, watched=True)
    Story(ensemble, settled=settled, silent_about=silent_about).tell(steps)
    ensemble.leaves()
    ensemble.run(lambda: ensemble.all_serve() and not ensemble.peer(ensemble.leader or 0).is_full)
    ensemble.propose(b"last")
    ensemble.run(lambda: all(ensemble.hosts[me].state[-1:] == [b"last"] for me in ensemble.honest))
    states = [ensemble.hosts[me].state for me in ensemble.honest]
    assert all(state == states[0] for state in states)


@pytest.mark.parametrize("hostile", [1, 3])
@FUZZ
@given(st.booleans(), steps)
def test_a_voter_that_claims_everything_brings_nobody_down(hostile: PeerId, settled: bool, steps: list[Step]) -> None:
    ensemble = HostileEnsemble(THREE, hostile, watched=False)
    story = Story(ensemble, settled=settled)
    if not settled:
        aspire(ensemble)
    story.tell(steps)


# --- it is worth listening to


def test_the_hostile_member_gets_far_enough_to_be_relied_upon() -> None:
    ensemble = HostileEnsemble(THREE, 1, watched=False)
    story = Story(ensemble, settled=True)
    story.answers(12, 0)
    ensemble.run(lambda: ensemble.leader is not None)
    for _ in range(30):
        story.says(1, 2, 0, 0)
        story.answers(6, 1)
        learners = ensemble.peer(ensemble.leader or 3).status().learners
        if any(learner.peer == 1 and learner.stage == "ACTIVE" for learner in learners):
            return
    raise AssertionError(learners)


def test_the_hostile_member_gets_far_enough_to_be_followed() -> None:
    ensemble = HostileEnsemble(THREE, 3, watched=False)
    story = Story(ensemble, settled=False)
    aspire(ensemble)
    for _ in range(60):
        story.answers(3, 3)
        if any(ensemble.peer(me).leader == 3 and ensemble.peer(me).epoch > 0 for me in ensemble.honest):
            return
    raise AssertionError([str(ensemble.peer(me).status()) for me in ensemble.honest])


def test_the_oracle_watches() -> None:
    # without its word nothing here would prove anything: a promise that is broken must be noticed
    ensemble = HostileEnsemble(*HARMLESS["an observer"][:2], watched=True)
    ensemble.run(ensemble.all_serve)
    ensemble.propose(b"x")
    ensemble.run(lambda: all(ensemble.hosts[me].state == [b"x"] for me in ensemble.honest))
    assert ensemble.oracle is not None
    assert ensemble.oracle.is_committed(Z(ensemble.peer(3).epoch, 1))
