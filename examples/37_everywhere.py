"""Run an action on all nodes, and be told when it is complete: who did it, who failed and why, and who is gone.

It prints::

    v1: done everywhere: True
    v2 on host-1: done, v2 since v1
    v2 on host-2: failed, RuntimeError: the disk is full
    v2 on host-3: lost, it died in the midst of it
    v2: complete: True, done everywhere: False
"""

import asyncio
from typing import Any

import zkcore

HOSTS = ("host-1", "host-2", "host-3")


class Host:
    """One process: its version, which everybody may ask it to change."""

    def __init__(self, cluster: zkcore.LocalCluster, name: str) -> None:
        self.cluster, self.name, self.version = cluster, name, "v0"

    async def deploy(self, call: zkcore.Call[str]) -> str:
        if call.argument == "v2" and self.name == "host-2":
            raise RuntimeError("the disk is full")
        if call.argument == "v2" and self.name == "host-3":
            self.zk.freeze()  # as if the process was killed
            await asyncio.sleep(60)
        before, self.version = self.version, call.argument
        return f"{self.version} since {before}"

    async def live(self) -> None:
        async with self.cluster.client(timeout=0.5) as self.zk:
            try:
                await everywhere_of(self.zk, name=self.name, actions={"deploy": self.deploy}).serve()
            except zkcore.LeaseLostError:
                pass


def everywhere_of(zk: zkcore.Client, **options: Any) -> zkcore.Everywhere[str]:
    return zkcore.Everywhere(zk, "/fleet", codec=zkcore.json_codec, **options)


async def main() -> None:
    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk:
        hosts = [asyncio.create_task(Host(cluster, name).live()) for name in HOSTS]
        fleet = everywhere_of(zk)
        while len(await fleet.members()) < len(HOSTS):
            await asyncio.sleep(0.01)

        report = await fleet.run("deploy", "v1")
        print("v1: done everywhere:", report.is_done)

        report = await fleet.run("deploy", "v2", timeout=30)
        for name, outcome in sorted(report.outcomes.items()):
            *_, reason = outcome.traceback.strip().splitlines() or ["it died in the midst of it"]
            print(f"v2 on {name}: {outcome.state}, {outcome.result or reason}")
        print(f"v2: complete: {report.is_complete}, done everywhere: {report.is_done}")
        for host in hosts:
            host.cancel()
        await asyncio.wait(hosts)


asyncio.run(main())
