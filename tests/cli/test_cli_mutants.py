"""The command `sim mutants`, as a user sees it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from zkcore.cli import mutants
from zkcore.cli.sim import PROGRAMS
from zkcore.testing.checkers import Violation
from zkcore.testing.world import Report, simulate

SCRIPTS = str(Path(__file__).parent.parent / "scenarios")


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    mutants.add_to(parser.add_subparsers(), PROGRAMS)
    chosen = parser.parse_args(["mutants", "--scripts", SCRIPTS, *words])
    status: int = chosen.run(chosen)
    return status


def rows(output: str) -> dict[str, list[str]]:
    """The words of every line of the table but the first, by the name that they begin with."""
    table = output.partition("\n\n")[0].splitlines()[1:]
    return {line.split()[0]: line.split()[1:] for line in table}


def always(monkeypatch: pytest.MonkeyPatch, violation: Violation | None) -> None:
    report = evolve(simulate(0), violation=violation)

    def simulated(seed: int, **options: Any) -> Report:
        return report

    monkeypatch.setattr(mutants, "simulate", simulated)


def test_a_bug_is_found_from_every_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--starts", "3", "--seeds", "20", "--mutant", "ack-before-durable") == 0
    output = capsys.readouterr().out
    drive, found, median, least, most, _, breaks = rows(output)["ack-before-durable"]
    assert (drive, found, breaks) == ("peers", "3/3", "N6")
    assert 1 <= int(least) <= int(median) <= int(most) <= 20
    assert "1 planted bugs: 1 found by seeds, 0 by scripts" in output


def test_a_guard_is_looked_for_in_its_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--mutant", "hole-sent") == 0
    output = capsys.readouterr().out
    assert rows(output)["hole-sent"][:2] == ["script", "1/1"]
    assert "0 found by seeds, 1 by scripts" in output


def test_what_no_seed_finds_may_have_a_script(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    always(monkeypatch, None)
    assert run("--starts", "1", "--seeds", "5", "--mutant", "read-unconfirmed") == 0
    assert "0 found by seeds, 1 by scripts" in capsys.readouterr().out


def test_a_bug_that_nothing_finds_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    always(monkeypatch, None)
    assert run("--starts", "2", "--seeds", "5", "--mutant", "watches-lost") == 1
    output = capsys.readouterr().out
    assert output.splitlines()[1].endswith("NOT FOUND")
    assert "NOT FOUND: watches-lost" in output


def test_a_seed_that_fails_without_the_bug_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    always(monkeypatch, Violation("X9", "a false alarm"))
    assert run("--starts", "1", "--seeds", "3", "--mutant", "watches-lost") == 1
    assert "FALSE ALARMS, seeds that break an invariant without any bug planted: 0, 1, 2" in capsys.readouterr().out


def test_workers_find_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--starts", "2", "--seeds", "20", "--mutant", "ack-before-durable", "--mutant", "handover-too-early")
    found = []
    for jobs in ("1", "2"):
        assert run(*words, "--jobs", jobs) == 0
        found.append({name: words[:5] + words[6:] for name, words in rows(capsys.readouterr().out).items()})
    assert found[0] == found[1]
