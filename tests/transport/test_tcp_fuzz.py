"""Members whose ports are attacked go on serving; for longer it is done by hand, see fuzzing.py."""

from __future__ import annotations

import asyncio
import itertools
import logging
from pathlib import Path
from random import Random

import pytest
from fuzzing import KINDS, Attack, under_attack

ROUNDS = {"secret": 40, "plaintext": 40, "tls": 20}


@pytest.mark.parametrize("kind", KINDS)
def test_a_node_that_is_attacked_goes_on_serving(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "zkcore.peer")
    attack, rounds = Attack(Random(7), kind, tmp_path), itertools.count()
    written, errors = asyncio.run(under_attack(attack, lambda: next(rounds) < ROUNDS[kind]))
    assert errors == []
    assert written == 3 * ROUNDS[kind]
    attacks = {"garbage", "truncate", "replay", "mutate", "betray", "answer"}
    assert attack.done.keys() == (attacks | {"tear"} if kind == "tls" else attacks)
    # Of every kind it was said why nothing came of it.
    assert "a connection from 127.0.0.1" in caplog.text
    for why in ("no TLS: ", "and the certificate shown is for zk-"):
        assert (why in caplog.text) == (kind == "tls")
    assert "no link with node 1 at" in caplog.text
    assert "the link with node 9 is lost: " in caplog.text
