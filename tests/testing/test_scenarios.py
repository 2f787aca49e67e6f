"""The golden scripts of tests/scenarios, one for each known trap (docs/protocol.md 3): each runs as written, and fails
when the rule that keeps out of the trap is taken away.

`pytest --zkcore-rewrite` renews what the scripts expect. Commands and their errors are tested first, on small scripts.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from zkcore.testing.checkers import Violation
from zkcore.testing.interpreter import ScenarioError
from zkcore.testing.scenario import Scenario
from zkcore.testing.scenario_guards import GUARDS, unguarded
from zkcore.zab.learner import Learner

SCRIPTS = sorted((Path(__file__).parent.parent / "scenarios").glob("*.txt"))


def scenario(text: str) -> Scenario:
    return Scenario(dedent(text).lstrip(), name="small")


def output(text: str) -> list[str]:
    """What the last block of a script prints."""
    return scenario(text).run()[-1]


LED = """
    nodes 3
    start 1 2
    elect 2
"""


# --- the interpreter --------------------------------------------------------------------------------------------------


def test_a_script_that_runs_as_expected_is_left_as_it_is() -> None:
    text = """
        # Two of three agree.
        nodes 3
        start 1 2
        elect 2

        propose 2 a
        stabilize

        check
        ----
        committed: 0x1_00000001=a

        # The third has nothing.
        log 3
        ----
        3 accepted=0 current=0 snapshot=0x0_00000000 log: empty
    """
    script = scenario(text)
    assert script.rewritten(script.run()) == script.text


def test_what_a_script_expects_is_rewritten_and_nothing_else() -> None:
    script = scenario("# Why.\nnodes 1\nstart\n\nelect 1\n\nstate\n----\nnonsense\nmore\n\n# The end.\ncheck\n----\n")
    assert script.rewritten(script.run()) == (
        "# Why.\nnodes 1\nstart\n\nelect 1\n\nstate\n----\n"
        "1 established LEADING leader=1 epoch=1 logged=0x0_00000000 committed=0x0_00000000\n"
        "\n# The end.\ncheck\n----\ncommitted: nothing\n"
    )


def test_a_command_that_prints_nothing_is_ok() -> None:
    script = scenario("nodes 3\n----\n")
    assert script.rewritten(script.run()) == "nodes 3\n----\nok\n"


def test_what_comments_say_by_name_can_be_asked_for() -> None:
    assert scenario("# A story: long.\n# guard: no-quorum\nnodes 1\n").notes == {"guard": "no-quorum"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nodes 3\nstat 1", "small:2: there is no command `stat`; did you mean `state`?"),
        ("nodes 3\n\n\nqqq", "small:4: there is no command `qqq`; there are: nodes, start,"),
        ("start 1", "small:1: there are no nodes yet; begin with `nodes 3`"),
        ("nodes three", "small:1: `nodes three`: 'three' is not a number; it is `nodes VOTERS"),
        ("nodes 3 tick=5", "'tick' is no field of Limits, and none of observers, spares, groups, weights and filler"),
        ("nodes 3 tick_ms=0", "Limits.tick_ms is 0"),
        ("nodes", "small:1: `nodes`: a word is missing; it is `nodes VOTERS"),
        ("nodes 3\nstart 4", "small:2: there is no node 4; there are 1, 2, 3"),
        ("nodes 3\nstart 1 1", "small:2: node 1 is up already"),
        ("nodes 3\ncrash 1", "small:2: node 1 is down already"),
        ("nodes 3\nstart 1\ncrash 1 keep 1", "small:3: node 1 is not saving 1 writes or more"),
        ("nodes 3\nstart 1\ncrash 1 kept 1", "is not `keep WRITES`"),
        ("nodes 3\nstart\nlink 1 2\nlink 2 1", "small:4: nodes 2 and 1 have a link"),
        ("nodes 3\nstart\nlink 1 2 loudly", "'loudly' means nothing here"),
        ("nodes 3\nstart\ndeliver 1-2", "'1-2' is not a direction such as 1>2"),
        ("nodes 3\nstart\ndeliver 1>2", "small:3: nothing is under way from 1 to 2"),
        ("nodes 3\nstart\nlink 1 2\ndeliver 1>2 ACK", "small:4: no ACK is under way from 1 to 2, but VOTE"),
        ("nodes 3\nstart\ndrop 1>2", "small:3: node 2 has no link to 1"),
        ("nodes 3\nstart\nsave 1", "small:3: node 1 is not saving anything"),
        ("nodes 3\nstart\nresume 1", "small:3: node 1 does not stand still"),
        ("nodes 3\nstart\nsnapshot 1", "small:3: node 1 has applied nothing yet"),
        ("nodes 3\nsave", "`save`: a word is missing; it is `save ID ...`"),
        ("nodes 3\nstart 1 2\nelect 1 2", "small:3: node 1 does not come to lead"),
        ("nodes 3\nstart 1 2\nelect 2 3", "small:3: node 3 is down"),
        ("nodes 1\nexpect-violation X9", "small: X9 was expected to break, and did not"),
        ("----\nok", "small:1: ---- without a command before it"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        scenario(text).run()
    assert complaint in str(refused.value)


def test_a_violation_that_was_not_expected_ends_the_script() -> None:
    with pytest.raises(Violation) as broken:
        scenario(LED + "unlink 1\nsettle").run()
    assert broken.value.invariant == "L2"
    assert broken.value.__notes__ == ["at small:5: settle"]


def test_a_violation_that_was_expected_is_part_of_the_output() -> None:
    line = output(LED + "unlink 1\n\nexpect-violation L2\nsettle")[-1]
    assert line.startswith("broken: L2: no agreement after")


def test_an_expected_violation_is_the_end() -> None:
    with pytest.raises(ScenarioError, match="the script ended with the violation before"):
        scenario(LED + "unlink 1\n\nexpect-violation L2\nsettle\n\nstate").run()


# --- the steps --------------------------------------------------------------------------------------------------------


def test_messages_are_delivered_up_to_the_one_that_is_named() -> None:
    assert output(LED + "propose 2 a\npropose 2 b\nhold-saves 1\n\ndeliver 2>1 PROPOSAL\ndeliver 2>1\n\nsent") == []
    lines = output(LED + "propose 2 a\npropose 2 b\n\ndeliver 2>1 PROPOSAL\n\nsent")
    assert lines == [
        "1 > 2  ACK 0x1_00000001",
        "2 > 1  PROPOSAL 0x1_00000002..0x1_00000002",
    ]


def test_what_arrives_while_a_save_is_held_is_the_next_batch() -> None:
    text = LED + "hold-saves 1\npropose 2 a\npropose 2 b\npropose 2 c\n\ndeliver 2>1 3\n"
    assert output(text) == [
        "1 <- 2  PROPOSAL 0x1_00000001..0x1_00000001",
        "1 begins to save APPEND 0x1_00000001..0x1_00000001",
    ]
    assert output(text + "\nsave 1\n") == [
        "1 saved APPEND 0x1_00000001..0x1_00000001",
        "1 -> 2  ACK 0x1_00000001",
        "1 <- 2  PROPOSAL 0x1_00000002..0x1_00000002",
        "1 <- 2  PROPOSAL 0x1_00000003..0x1_00000003",
        "1 begins to save APPEND 0x1_00000002..0x1_00000002; APPEND 0x1_00000003..0x1_00000003",
    ]


def test_a_crash_in_a_save_keeps_what_it_is_told_to_keep() -> None:
    text = LED + "hold-saves 1\npropose 2 a b c\ndeliver 2>1 PROPOSAL\n\ncrash 1 keep 0 records 2\n"
    assert output(text) == ["1 saved APPEND 0x1_00000001..0x1_00000002", "1 is down"]
    assert output(text + "\nlog 1\n") == [
        "1 accepted=1 current=1 snapshot=0x0_00000000 log: 0x1_00000001=a 0x1_00000002=b"
    ]


def test_what_a_node_sent_before_it_crashed_still_arrives_and_then_its_loss() -> None:
    assert output(LED + "propose 2 a\ncrash 2\n\ndeliver 2>1 all\n")[-5:] == [
        "1 <- 2  PROPOSAL 0x1_00000001..0x1_00000001",
        "1 saved APPEND 0x1_00000001..0x1_00000001",
        "1 -> 2  ACK 0x1_00000001",
        "1 -- 2  lost",
        "1 LOOKING epoch=1: the link to leader 2 broke",
    ]


def test_what_is_under_way_vanishes_with_a_link_that_is_dropped() -> None:
    lines = output(LED + "propose 2 a\n\ndrop 2>1\n")
    assert lines[:2] == ["1 -- 2  lost", "1 LOOKING epoch=1: the link to leader 2 broke"]


def test_nodes_that_are_kept_apart_stay_apart_until_they_are_linked_by_name() -> None:
    assert output("nodes 2\nstart\nunlink 1 2\nrun 100\n\nsent") == []
    assert output("nodes 2\nstart\nunlink 1 2\nlink 1 2\nelect 2\n\nstate 2")[0].startswith("2 established LEADING")


def test_an_end_that_has_not_heard_of_a_new_link_yet_speaks_to_nobody() -> None:
    """1 has heard that its link broke and that it is up again; 2 still believes in the old one."""
    text = """
        nodes 2
        start
        elect 2
        drop 2>1
        link 1 2 unheard

        propose 2 a

        sent
    """
    assert output(text)[-1] == "2 > 1  linked"
    assert output(text + "\n\ndeliver 1>2 all\n")[-3:] == [
        "2 -- 1  lost",
        "2 -- 1  linked",
        "2 -> 1  VOTE LEADING for 2 zxid=0x0_00000000 epoch=1 round=1",
    ]


def test_a_loss_that_an_end_was_never_told_of_takes_the_link_with_it() -> None:
    assert output("nodes 2\nstart\nlink 1 2 unheard\nunlink 1 2\n\nsent") == []


def test_a_disk_that_was_replaced_is_known_to_be_another() -> None:
    text = LED + "propose 2 a\nstabilize\ncrash 2\nwipe 2\n\nstart 2\n"
    assert output(text) == ["2 starts: accepted=0 current=0 snapshot=0x0_00000000 last=0x0_00000000 lost its EPOCHS"]
    assert output(text + "\nstart 3\nsettle\n")[-1] == "all follow 1"


def test_a_leader_hands_over_or_refuses() -> None:
    assert output(LED + "\ntransfer 2 1\nsettle")[-1] == "all follow 1"
    (refusal,) = output(LED + "\ntransfer 2 3")
    assert refusal.startswith("2 refuses: BadArgumentsError: server 3 cannot take over")


def test_observers_groups_and_weights_are_part_of_an_ensemble() -> None:
    text = "nodes 4 observers=1 groups=1,2/3,4 weights=1:2,2:1,3:1,4:2 tick_ms=20\nstart\n\nelect 4\n\nstate 5"
    assert output(text)[0].startswith("5 established OBSERVING leader=4")


def test_a_snapshot_with_a_filler_is_sent_in_pieces() -> None:
    text = """
        nodes 3 filler=100 snapshot_chunk_bytes=50 retained_records=1
        start 1 2
        elect 2
        propose 2 a b c
        stabilize
        snapshot 2
        start 3
        until 2>3 SNAP 2 3

        stabilize 2 3
    """
    assert [line for line in output(text) if "saved CHUNK" in line] == [
        "3 saved CHUNK of snapshot 0x1_00000003 0+50",
        "3 saved CHUNK of snapshot 0x1_00000003 50+50",
        "3 saved CHUNK of snapshot 0x1_00000003 100+12",
    ]


def test_a_failing_disk_throws_the_peer_away_and_the_next_begins_from_what_it_kept() -> None:
    text = LED + "fail-disk 2 keep 0 records 1\n\npropose 2 a b\n"
    assert output(text)[-3:] == ["2 saved APPEND 0x1_00000001..0x1_00000001", "2 storage failed", "2 is down"]
    assert output(text + "\nstart 2\n") == [
        "2 starts: accepted=1 current=1 snapshot=0x0_00000000 last=0x1_00000001"
    ]  # fmt: skip


def test_a_node_that_stood_still_feeds_what_arrived_before_the_time_that_passed() -> None:
    lines = output(LED + "propose 2 a\npause 1\ndeliver 2>1\ntick 1 5000\n\nresume 1\n")
    assert lines[:2] == ["1 <- 2  PROPOSAL 0x1_00000001..0x1_00000001", "1 saved APPEND 0x1_00000001..0x1_00000001"]
    assert not any("LOOKING" in line for line in lines)


def test_a_refused_proposal_and_a_dropped_read_are_told() -> None:
    assert output(LED + "propose 1 a\nread 1\n")[-2:] == [
        "1 cannot propose, it is no established leader",
        "1 read index dropped",
    ]


def test_a_read_is_answered_when_a_quorum_has_answered() -> None:
    lines = output(LED + "propose 2 a\nstabilize\n\nread 2\nstabilize\n")
    assert lines[-1] == "2 read index 0x1_00000001"


# --- the scripts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_runs_as_written(path: Path, pytestconfig: pytest.Config) -> None:
    script = Scenario(path.read_text(encoding="utf-8"), name=path.name)
    renewed = script.rewritten(script.run())
    if pytestconfig.getoption("--zkcore-rewrite"):
        path.write_text(renewed, encoding="utf-8")
    else:
        assert renewed == script.text, "see the difference; --zkcore-rewrite takes it over"


TRAPS = """
    ack-newleader-before-fsync ack-order ae-stuck commit-between-newleader-and-uptodate diff-async-log
    diff-log-sync-ack diff-no-snapshot diff-race-4785 dirty-snapshot disk-error-hole early-lastProcessed
    epoch-before-log epoch-not-durable highest-zxid-absent hole-in-committedlog log-epoch-ahead-of-ce missing-snapshot
    newleader-too-early paper-issue-1 paper-issue-2 paper-issue-3 partial-snap-then-diff partial-trunc-then-diff
    retained-db stale-vote-join sync-stale sync-thread-survives truncate-disk-full uncommitted-tail-vs-lower-leader
    voter-changed-mind zxid-rollover
"""
"""The known traps that have a script."""


def test_every_known_trap_has_a_script() -> None:
    assert {path.stem for path in SCRIPTS} >= set(TRAPS.split())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_fails_without_the_rule_it_guards(path: Path) -> None:
    """By the invariants it names, each with those before it switched off: the last of them is the harm that is done."""
    script = Scenario(path.read_text(encoding="utf-8"), name=path.name)
    seen = script.notes["seen as"].split()
    with unguarded(script.notes["guard"]):
        if seen == ["transcript"]:
            assert script.rewritten(script.run()) != script.text
            return
        for number, invariant in enumerate(seen):
            with pytest.raises(Violation) as broken:
                script.run(without=frozenset(seen[:number]))
            assert broken.value.invariant == invariant, broken.value


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_tells_the_history_and_the_rule(path: Path) -> None:
    opening = path.read_text(encoding="utf-8").partition("\nnodes ")[0].splitlines()
    assert all(line.startswith("#") and len(line) <= 120 for line in opening)
    assert opening[0].startswith(("# ZOOKEEPER-", "# The paper", "# No number"))
    assert "docs/protocol.md" in Scenario("\n".join(opening)).notes["rule"]


def test_every_guard_is_that_of_a_script() -> None:
    guards = {Scenario(path.read_text(encoding="utf-8")).notes["guard"] for path in SCRIPTS}
    assert set(GUARDS) <= guards


def test_what_was_taken_away_is_back_afterwards() -> None:
    flush = Learner.flush
    with unguarded("ack-overtakes"):
        assert Learner.flush is not flush
    assert Learner.flush is flush
