"""The pytest plugin, in runs of pytest of its own: seeds, markers, options, fixtures, and what a failure says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import zkcore

ROOT = Path(zkcore.__file__).parent.parent


class Runs:
    """Runs of pytest in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, source: str, *options: str, plugins: tuple[str, ...] = ()) -> tuple[int, str]:
        """The exit code, and what was printed."""
        (self.folder / "test_it.py").write_text(dedent(source), encoding="utf-8")
        (self.folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        named = [part for name in ("zkcore.testing.plugin", *plugins) for part in ("-p", name)]
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "pytest", "-q", "--strict-markers", *named, *options],
            cwd=self.folder, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False,
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


SEEDS = """
    import pytest

    seeds = []

    @pytest.mark.zkcore(seeds=7)
    async def test_in_worlds(zk_world, zk_seed):
        assert zk_seed == zk_world.seed
        await zk_world.sleep(3600)
        assert zk_world.now >= 3600
        seeds.append(zk_seed)

    def test_afterwards():
        print(f"seeds {seeds}")
"""


def test_a_test_runs_once_for_each_seed(runs: Runs) -> None:
    code, printed = runs(SEEDS, "-s")
    assert code == 0, printed
    assert "seeds [0, 1, 2, 3, 4, 5, 6]" in printed
    assert "zkcore: 1 tests, 7 seeds, 0 faults, 7.0 virtual hours" in printed


def test_the_options_say_how_many_seeds_or_which(runs: Runs) -> None:
    assert "seeds [0, 1]" in runs(SEEDS, "-s", "--zkcore-seeds", "2")[1]
    assert "seeds [41]" in runs(SEEDS, "-s", "--zkcore-seed", "41")[1]
    assert "--zkcore-seeds 0: give a number" in runs(SEEDS, "--zkcore-seeds", "0")[1]


FAILING = """
    import pytest

    class TestAccount:
        @pytest.mark.zkcore(seeds=10, faults="pause")
        @pytest.mark.parametrize("limit", [2, 3])
        async def test_it(self, zk_world, limit):
            zk_world.say(f"seed {zk_world.seed} of {limit}")
            assert zk_world.seed < limit
"""


def test_a_failure_says_how_to_have_it_again(runs: Runs) -> None:
    code, printed = runs(FAILING)
    assert code == 1
    assert "assert 3 < 3" in printed
    assert "zkcore: seed 3 failed at" in printed
    assert "seed 3 of 3" in printed
    assert "again:  pytest 'test_it.py::TestAccount::test_it[3]' --zkcore-seed 3" in printed
    assert "virtual_loop.py" not in printed  # the traceback is the user's own
    assert "plugin.py" not in printed
    code, printed = runs(FAILING, "test_it.py::TestAccount::test_it[3]", "--zkcore-seed", "3")
    assert code == 1
    assert "1 failed" in printed


def test_a_bare_cluster_runs_on_real_time(runs: Runs) -> None:
    code, printed = runs(
        """
        import asyncio
        import pytest

        @pytest.fixture
        def path():
            return "/here"

        async def test_a_client(zk_client, path):
            await zk_client.create(path)

        @pytest.mark.zkcore(nodes=5)
        async def test_a_cluster(zk_cluster):
            assert len(zk_cluster.nodes) == 5

        async def test_a_cluster_and_its_client(zk_cluster, zk_client):
            zk_cluster.kill(zk_cluster.leader)
            await zk_cluster.wait_for_leader()
            await zk_client.exists("/")

        def test_blocking(zk_sync_client):
            zk_sync_client.create("/here")

        @pytest.mark.zkcore(nodes=3)
        def test_of_what_uses_kazoo(zk_server):
            from kazoo.client import KazooClient
            assert zk_server.hosts.count(":") == 3
            zk = KazooClient(hosts=zk_server.hosts)
            zk.start()
            assert zk.create("/here") == "/here"
            zk.stop()
            zk.close()

        def test_alone(zk_server):
            assert zk_server.hosts.count(":") == 1
        """
    )
    assert code == 0, printed
    assert "6 passed" in printed


def test_a_plain_function_runs_its_world_itself(runs: Runs) -> None:
    code, printed = runs(
        """
        def test_it(zk_world, zk_seed):
            async def story():
                async with zk_world.client() as zk:
                    return await zk.create("/here")
            assert zk_world.run(story) == "/here"
            assert zk_seed == 0
        """
    )
    assert code == 0, printed


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("async def test_it(zk_world): pass", "takes keywords only: faults, limits, "),
        ("async def test_it(zk_cluster): pass", "takes keywords only"),
    ],
)
def test_a_marker_that_makes_no_sense_is_refused(runs: Runs, source: str, says: str) -> None:
    for marker in ("zkcore(seedz=3)", "zkcore(3)"):
        code, printed = runs(f"import pytest\n@pytest.mark.{marker}\n{source}\n")
        assert code != 0
        assert says in printed


def test_a_plain_function_has_no_use_for_an_asyncio_cluster(runs: Runs) -> None:
    code, printed = runs("def test_it(zk_client): pass")
    assert code != 0
    assert "is for `async def` tests" in printed
    assert "zk_sync_client" in printed


def test_what_a_crashed_app_leaves_behind_is_silent(runs: Runs) -> None:
    """With every warning an error."""
    code, printed = runs(
        """
        import asyncio, contextlib
        import pytest
        import zkcore

        async def main(connect):
            try:
                async with connect() as zk, zkcore.Lock(zk, "/lock"):
                    await asyncio.gather(asyncio.sleep(1000), zk.port.wait(timeout=2000))
            finally:
                await asyncio.sleep(1)

        @pytest.mark.zkcore(seeds=5)
        async def test_it(zk_world):
            for name in "abc":
                zk_world.app(name).spawn(main, zk_world.client)
            await zk_world.sleep(5)
            zk_world.crash("a")
            await zk_world.sleep(5)
            zk_world.restart("a")
            zk_world.crash("b")
            zk_world.pause("c")
            zk_world.kill(1)
            await zk_world.sleep(5)
        """,
        "-p", "unraisableexception",
    )  # fmt: skip
    assert code == 0, printed
    assert "Warning" not in printed
    assert "destroyed" not in printed


def test_it_works_with_xdist(runs: Runs) -> None:
    pytest.importorskip("xdist")
    code, printed = runs(SEEDS + FAILING.replace("import pytest", ""), "-n", "2", plugins=("xdist",))
    assert code == 1
    assert "2 failed, 2 passed" in printed
    assert "again:  pytest 'test_it.py::TestAccount::test_it[3]' --zkcore-seed 3" in printed


def test_the_package_names_the_plugin() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.entry-points.pytest11]\nzkcore = "zkcore.testing.plugin"\n' in project


def test_zkcore_runs_without_pytest() -> None:
    """Only the plugin imports it, and nothing imports the plugin."""
    code = "import sys; sys.modules['pytest'] = None; import zkcore.testing.app_world, zkcore.testing.seeds"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_the_plugin_imports_no_more_than_it_must() -> None:
    code = "import sys, zkcore.testing.plugin as p; print([m for m in sys.modules if m.startswith('zkcore.testing.')])"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "['zkcore.testing.plugin']\n"
