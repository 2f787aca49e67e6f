"""The commands `sim run`, `sim replay` and `sim hashes`, as a user sees them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from zkcore.cli import sim
from zkcore.cli.main import main
from zkcore.testing.trace import Trace
from zkcore.testing.world import Report


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


def test_a_share_of_the_seeds_is_run_again_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sim", "run", "--first-seed", "3", "--seeds", "6", "--drive", "peers", "--recheck", "0.25", "--json"]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["rechecked"] == [4, 8]
    assert result["different"] == []


def test_a_world_that_is_another_elsewhere_is_told_loudly(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the clocks of this process alone run ahead."""
    real = Trace.mark

    def mark(self: Trace, now: int, *facts: int) -> None:
        real(self, now + 1, *facts)

    monkeypatch.setattr(Trace, "mark", mark)
    assert main(["sim", "run", "--seeds", "2", "--drive", "peers", "--recheck", "1"]) == 1
    assert "NOT DETERMINISTIC: seeds [0, 1]" in capsys.readouterr().out


@pytest.mark.parametrize("share", ["2", "-0.1"])
def test_a_share_is_between_none_and_all(share: str) -> None:
    with pytest.raises(SystemExit):
        main(["sim", "run", "--recheck", share])


def test_hashes_tell_seeds_apart_and_workers_agree(capsys: pytest.CaptureFixture[str]) -> None:
    main(["sim", "hashes", "--seeds", "4", "--drive", "peers"])
    alone = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in alone] == ["0", "1", "2", "3"]
    assert len({line.split()[1] for line in alone}) == 4
    main(["sim", "hashes", "--first-seed", "1", "--seeds", "3", "--every", "2", "--jobs", "2", "--drive", "peers"])
    assert capsys.readouterr().out.splitlines() == alone[2:3]


def test_an_interrupted_run_tells_what_it_has(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sim.simulate

    def interrupted(seed: int, **options: Any) -> Report:
        if seed == 2:
            raise KeyboardInterrupt
        return real(seed, **options)

    monkeypatch.setattr(sim, "simulate", interrupted)
    assert main(["sim", "run", "--seeds", "5", "--drive", "peers"]) == 130
    output = capsys.readouterr().out
    assert "interrupted" in output
    assert output.split()[:2] == ["seeds:", "2"]


def test_ctrl_c_ends_the_workers_too() -> None:
    """The terminal sends it to all of them. None has anything to say but the one that was started first."""
    command = [sys.executable, "-m", "zkcore", "sim", "hashes", "--seeds", "100000", "--jobs", "2", "--drive", "peers"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        assert run.stdout.readline()
        os.killpg(run.pid, signal.SIGINT)
        _, complaints = run.communicate(timeout=60)
    assert run.returncode == 130
    assert complaints == ""


def test_what_never_happened_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    main(["sim", "run", "--seeds", "1", "--recheck", "0"])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[-1] == "never" for line in lines)
    assert any(line.startswith("median message faults") for line in lines)
