"""The commands `sim run` and `sim replay`, as a user sees them."""

from __future__ import annotations

import json

import pytest

from zkcore.cli.main import main


def test_run_counts_what_it_ran(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "run", "--seeds", "3", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["seeds"] == 3
    assert result["failure"] is None
    assert result["events"] > 100
    assert sum(result["node_faults"].values()) > 0
    assert sum(result["message_faults"].values()) > 0
    assert result["sometimes"]["DIFF"] > 0
    assert not result["interrupted"]


def test_a_violation_is_replayed_event_for_event(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "run", "--seeds", "20", "--drive", "peers", "--mutant", "ack-before-durable", "--json"]) == 1
    failure = json.loads(capsys.readouterr().out)["failure"]
    words = failure["replay"].split()
    assert words[:3] == ["python", "-m", "zkcore"]
    assert main(words[3:]) == 1
    output = capsys.readouterr().out
    assert output.splitlines()[-1] == f"broken: {failure['violation']}"


def test_a_seed_without_a_violation_replays_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "replay", "--seed", "1", "--last", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "earlier lines" in lines[0]
    assert lines[-1] == "no invariant is broken"
    assert main(["sim", "replay", "--seed", "1", "--full"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > len(lines)


def test_the_violation_is_told_in_words_with_the_seed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["sim", "run", "--seeds", "20", "--mutant", "commit-without-quorum"])
    output = capsys.readouterr().out
    assert "breaks X9" in output
    assert "replay it with: python -m zkcore sim replay --seed" in output


def test_workers_find_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sim", "run", "--seeds", "30", "--drive", "peers", "--mutant", "trunc-skipped", "--json"]
    main(arguments)
    alone = json.loads(capsys.readouterr().out)
    main([*arguments, "--jobs", "2"])
    together = json.loads(capsys.readouterr().out)
    assert alone["failure"] == together["failure"]
    assert alone["events"] == together["events"]


def test_an_unknown_mutant_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["sim", "run", "--mutant", "nonsense"])
    assert exit_.value.code == 2
    assert "nonsense" in capsys.readouterr().err
