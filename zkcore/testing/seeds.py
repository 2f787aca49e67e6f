"""Running a test in one AppWorld after another, a seed each; and what a failure says, so that it can be had again.

This module must not know any test runner; `zkcore.testing.plugin` is pytest's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from attrs import Factory, define

from zkcore.testing.app_world import AppWorld

__all__ = ["Seeds", "run_seeds"]


@define
class Seeds:
    """What came of some seeds: how many there were, how long their worlds lasted in virtual seconds, what struck."""

    count: int = 0
    seconds: float = 0.0
    faults: Counter[str] = Factory(Counter)

    def add(self, world: AppWorld) -> None:
        self.count += 1
        self.seconds += world.now
        self.faults.update(world.fault_counts)


def run_seeds(
    test: Callable[..., Coroutine[Any, Any, object]],
    seeds: Iterable[int],
    *,
    make_world: Callable[[int], AppWorld] = AppWorld,
    again: str = "run_seeds(test, [{seed}])",
    done: Seeds | None = None,
) -> Seeds:
    """Run the coroutine function `test(world)` in the world of each of `seeds`, up to the first that fails.
    `make_world` makes the world of a seed. Returns what they came to, added to `done`.

    What a test raises is raised, with notes: the seed, `again` (how to have it again, with the seed in the place of
    `{seed}`), and what happened last.
    """
    __tracebackhide__ = True
    done = done if done is not None else Seeds()
    for seed in seeds:
        world = make_world(seed)
        try:
            world.run(test, world)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            error.add_note(_story(world, again.replace("{seed}", str(seed))))
            raise
        finally:
            done.add(world)
    return done


def _story(world: AppWorld, again: str) -> str:
    failed = f"zkcore: seed {world.seed} failed at {world.now:.6f} virtual seconds"
    lines = [failed, f"again:  {again}", "what happened last:"]
    return "\n".join([*lines, *(world.lines or ["  (nothing)"])])
