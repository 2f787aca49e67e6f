"""Limits that cannot work are refused when they are written down."""

from __future__ import annotations

import attrs
import pytest

from zkcore.errors import ConfigurationError
from zkcore.zab.limits import Limits
from zkcore.zxid import MAX_COUNTER

NAMES = [field.name for field in attrs.fields(Limits)]


def test_the_defaults_are_those_of_the_protocol() -> None:
    # protocol.md 1.9, in ticks of 10 ms
    limits = Limits()
    assert limits.tick_ms == 10
    assert (limits.vote_resend_ticks, limits.vote_resend_max_ticks, limits.finalize_ticks) == (20, 160, 10)
    assert (limits.init_limit_ticks, limits.sync_limit_ticks, limits.ping_ticks) == (500, 200, 50)
    assert limits.last_counter < MAX_COUNTER


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -1])
def test_every_limit_is_at_least_one(name: str, value: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"Limits\.{name} is {value}"):
        Limits(**{name: value})


def test_a_peer_must_have_time_for_two_pings() -> None:
    assert Limits(ping_ticks=50, sync_limit_ticks=100)
    with pytest.raises(ConfigurationError, match="time for two pings"):
        Limits(ping_ticks=50, sync_limit_ticks=99)


def test_no_zxid_may_run_into_the_next_epoch() -> None:
    assert Limits(last_counter=MAX_COUNTER - 1)
    with pytest.raises(ConfigurationError, match="last_counter"):
        Limits(last_counter=MAX_COUNTER + 1)
