"""kazoo on three processes whose leader is killed: a sample of what `kazoo_under_fire.py` plays by hand."""

from __future__ import annotations

from pathlib import Path

from kazoo_under_fire import RECIPES, UnderFire, serve
from live_ensemble import LiveEnsemble


def test_nothing_is_lost_between_its_consumers_when_the_leader_is_killed(tmp_path: Path) -> None:
    with LiveEnsemble(tmp_path, serve) as ensemble:
        fire = UnderFire(ensemble, kills=1)
        try:
            RECIPES["locking_queue"](fire)
        finally:
            fire.close()
