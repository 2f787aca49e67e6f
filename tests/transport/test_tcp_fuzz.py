"""Members whose ports are attacked go on serving; for longer it is done by hand, see fuzzing.py."""

from __future__ import annotations

import asyncio
import itertools
import logging
from random import Random

import pytest
from fuzzing import SECRET, Attack, under_attack

from zkcore import Plaintext, SharedSecret

ROUNDS = 40


@pytest.mark.parametrize("security", [SharedSecret(SECRET), Plaintext()], ids=["secret", "plaintext"])
def test_a_node_that_is_attacked_goes_on_serving(
    security: SharedSecret | Plaintext, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "zkcore.peer")
    attack, rounds = Attack(Random(7), security), itertools.count()
    written, errors = asyncio.run(under_attack(attack, security, lambda: next(rounds) < ROUNDS))
    assert errors == []
    assert written == 3 * ROUNDS
    assert attack.done.keys() == {"garbage", "truncate", "replay", "mutate", "betray", "answer"}
    # Of every kind it was said why nothing came of it.
    assert "a connection from 127.0.0.1" in caplog.text
    assert "no link with member 1 at" in caplog.text
    assert "the link with member 9 is lost: " in caplog.text
