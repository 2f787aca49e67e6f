"""A web application with several workers: each migrates when it starts, and one of them does the job of every second.

The workers are tasks here; in your application they are processes. It prints::

    steps run, in order: ['create users', 'add emails']
    worker that ran them: one of three
    ticks went on when their worker died: True
    begun again was only what it died in: True
    later workers have higher tokens: True
"""

import asyncio
from collections import Counter

import zkcore


class Application:
    """What its workers share outside of zkcore, such as a database: it takes note of who did what."""

    def __init__(self, cluster: zkcore.LocalCluster) -> None:
        self.cluster = cluster
        self.steps: list[str] = []
        self.migrated: list[str] = []
        self.ticks: Counter[float] = Counter()
        self.workers: list[tuple[str, int]] = []

    async def create_users(self, step: zkcore.MigrationStep) -> None:
        self.steps.append(step.name)

    async def add_emails(self, step: zkcore.MigrationStep) -> None:
        self.steps.append(step.name)

    async def worker(self, name: str) -> None:
        async def send_mails(tick: zkcore.Tick) -> None:
            self.ticks[tick.due] += 1
            self.workers.append((name, tick.token))
            if len(self.workers) == 2:
                zk.freeze()  # as if the process was killed in the midst of it
                await asyncio.sleep(60)

        steps = {"create users": self.create_users, "add emails": self.add_emails}
        async with self.cluster.client(timeout=0.5) as zk:
            if await zkcore.Migrations(zk, "/migrations", steps).migrate():
                self.migrated.append(name)
            job = zkcore.SingletonJob(zk, "/jobs/mails", send_mails, schedule=zkcore.Every(0.2), name=name)
            try:
                await job.serve()
            except zkcore.LeaseLostError:
                pass


async def main() -> None:
    async with zkcore.local_cluster(3) as cluster:
        application = Application(cluster)
        workers = [asyncio.create_task(application.worker(f"web-{number}")) for number in (1, 2, 3)]
        while len(application.workers) < 4:
            await asyncio.sleep(0.05)
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)
        print("steps run, in order:", application.steps)
        print("worker that ran them:", "one of three" if len(application.migrated) == 1 else application.migrated)
        print("ticks went on when their worker died:", application.workers[0][0] != application.workers[-1][0])
        print("begun again was only what it died in:", sorted(application.ticks.values())[-2:] == [1, 2])
        tokens = [token for _, token in application.workers]
        print("later workers have higher tokens:", tokens == sorted(tokens) and tokens[0] < tokens[-1])


asyncio.run(main())
