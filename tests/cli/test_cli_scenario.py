"""The commands `sim scenario` and `sim shrink`, as a user sees them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from zkcore.cli import scenario
from zkcore.testing import world
from zkcore.testing.file_disk import FileDisk
from zkcore.testing.load import BarePeers

SCRIPT = "nodes 1\nstart\nelect 1\n\nlog\n----\n1 accepted=1 current=1 snapshot=0x0_00000000 log: empty\n"


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    scenario.add_to(parser.add_subparsers(), {"peers": BarePeers})
    chosen = parser.parse_args(words)
    status: int = chosen.run(chosen)
    return status


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.txt"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


def test_a_script_that_runs_as_written(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("scenario", str(script)) == 0
    assert "as written" in capsys.readouterr().out


def test_a_script_that_runs_otherwise_is_shown_as_a_difference(
    script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script.write_text(SCRIPT.replace("empty", "full"), encoding="utf-8")
    assert run("scenario", str(script)) == 1
    output = capsys.readouterr().out
    assert "-1 accepted=1 current=1 snapshot=0x0_00000000 log: full" in output
    assert run("scenario", "--rewrite", str(script)) == 0
    assert script.read_text(encoding="utf-8") == SCRIPT


def test_a_script_that_makes_no_sense_is_told_with_its_line(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script.write_text("nodes 1\nstrat 1\n", encoding="utf-8")
    assert run("scenario", str(script)) == 1
    assert "script.txt:2: there is no command `strat`" in capsys.readouterr().out


def test_a_failing_seed_is_printed_as_a_script_that_can_be_run(
    script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("shrink", "--seed", "0", "--mutant", "ack-before-durable", "--budget", "20") == 1
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    assert run("scenario", "--mutant", "ack-before-durable", str(script)) == 0
    assert run("scenario", str(script)) == 1
    assert "N6 was expected to break, and did not" in capsys.readouterr().out


def test_a_seed_that_breaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("shrink", "--seed", "3", "--budget", "1") == 0
    assert capsys.readouterr().out == "seed 3 breaks nothing\n"


@pytest.mark.parametrize(("words", "made"), [((), 0), (("--storage", "files"), 2), (("--storage", "memory"), 0)])
def test_a_seed_is_shrunk_on_the_storage_on_which_it_was_found(
    words: tuple[str, ...], made: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    disks: list[FileDisk] = []

    def count(me: int, wrote: Any) -> FileDisk:
        disks.append(FileDisk(me, wrote))
        return disks[-1]

    monkeypatch.setattr(world, "FileDisk", count)
    assert run("shrink", "--seed", "2", "--budget", "1", *words) == 0
    assert len(disks) == made


def test_what_is_left_of_a_world_is_told_where_there_is_no_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("shrink", "--seed", "0", "--mutant", "stale-leader-serves", "--budget", "6") == 1
    output = capsys.readouterr().out
    assert output.startswith("seed 0 breaks L4")
    assert "with the strikes" in output
