"""A world for unit tests of your own asyncio code: it runs on virtual time, with a cluster, and fails by a seed.

An AppWorld has nodes, which are real Hosts with real replicas (`zkcore.replica.host`), and apps, which are groups of
your coroutines. All run on one VirtualLoop, each in a process of its own that can be paused or crash, and talk over
links that take their time and can be cut. So a test can say what happens when::

    async def test_a_holder_that_sleeps(zk_world):
        account = zk_world.fenced_resource("account")
        for name in ("one", "two", "three"):
            zk_world.app(name).spawn(worker, account)          # your code: `async def worker(account): ...`
        await zk_world.sleep(10)
        zk_world.pause("one")
        await zk_world.sleep(60)
        zk_world.resume("one")
        zk_world.always("no update is lost", lambda: account.value == len(account.history))
        await zk_world.eventually("there is progress", lambda: account.value > 100, within=60)

or leave it to the seed (`faults="crash,partition,pause"`). `zkcore.testing.plugin` runs such a test for many seeds;
`run_seeds` (`zkcore.testing.seeds`) does it without pytest.

Everything drawn comes from the seed, by named streams, and the `random` module is seeded with it, too. What your code
asks the machine (`time.time()`, `uuid4()`, threads) is not ruled by it: ask the running loop for the time.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable
from contextvars import copy_context
from hashlib import blake2b
from random import Random
from typing import Any, TypeAlias, TypeVar

from zkcore.client.timeouts import DEFAULT_SESSION_TIMEOUT
from zkcore.errors import BadArgumentsError, ConfigurationError
from zkcore.replica.host import Host
from zkcore.replica.rules import Rules
from zkcore.testing.app_faults import AppFaults
from zkcore.testing.apps import App
from zkcore.testing.boundary import SimulationError
from zkcore.testing.channels import Channel, Distances
from zkcore.testing.far_client import AppClient, FarHost, FarPort
from zkcore.testing.fenced_resource import FencedResource
from zkcore.testing.hosted_nodes import HostedNode, HostedNodes
from zkcore.testing.node_links import NodeLinks
from zkcore.testing.processes import Life, Process, home, where_tasks_wait
from zkcore.testing.promises import Promises, WorldFailure
from zkcore.testing.trace import Trace, random_stream
from zkcore.testing.virtual_loop import VirtualLoop
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId
from zkcore.zab.quorum import EnsembleConfig

__all__ = ["AppWorld", "Place"]

T = TypeVar("T")

EPOCH = 1_800_000_000.0
"""The wall clock of every world begins here, in seconds since 1970."""

_LAST_LINES = 40

TEST = "test"
"""The app that the test itself is."""


Place: TypeAlias = "PeerId | str | App"
"""A node by its number, an app by its name or itself."""


class AppWorld:
    """See the module. `run` runs a test in it, once.

    `nodes` voters, numbered from 1, then `observers`. `faults` names the classes of fault that the seed may draw (see
    `zkcore.testing.app_faults`), separated by commas; none by default. A test that has not ended after `time_limit`
    virtual seconds, or `most_steps` steps of the loop, fails.

    Raises ConfigurationError for what cannot be a world.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        nodes: int = 3,
        observers: int = 0,
        limits: Limits | None = None,
        rules: Rules | None = None,
        faults: str = "",
        time_limit: float = 24 * 3600.0,
        most_steps: int = 10_000_000,
    ) -> None:
        for number, least, what in ((nodes, 1, "nodes"), (observers, 0, "observers")):
            if not isinstance(number, int) or isinstance(number, bool) or number < least:
                raise ConfigurationError(f"a world of {number!r} {what}; give a number, at least {least}")
        self.seed = seed
        self.loop = VirtualLoop(seed, on_step=self._on_step)
        self.loop.on_error = self._on_error
        self.context = copy_context()
        self.ensemble = EnsembleConfig(range(1, nodes + 1), observers=range(nodes + 1, nodes + observers + 1))
        self.trace = Trace()
        self.lines: deque[str] = deque(maxlen=_LAST_LINES)
        """What happened last, a line each."""
        self._time_limit = time_limit
        self._most_steps = most_steps
        self.distances = Distances(seed)
        self._nodes = HostedNodes(
            self.loop,
            self.ensemble,
            NodeLinks(self.loop, seed, self.distances),
            wall=self.wall,
            limits=limits,
            rules=rules,
        )
        self._apps: dict[str, App] = {}
        self._cuts: set[frozenset[str]] = set()
        self._notices = random_stream(seed, "notices")
        self._clients = 0
        self._own_ports: list[FarPort] = []  # the test's
        self._promises = Promises(self.loop, self.context, self.fail)
        self._failure: BaseException | None = None
        self._faults = AppFaults(self, faults)
        self._test = self.app(TEST)

    def __repr__(self) -> str:
        return f"<AppWorld of seed {self.seed} at {self.now:.3f} s>"

    # --- running

    def run(self, test: Callable[..., Coroutine[Any, Any, T]], *args: Any, **options: Any) -> T:
        """Elect a leader, then run `test(*args, **options)` to its end, and end the world. What it raises is raised;
        WorldFailure for what the test promised and the world does not keep."""
        __tracebackhide__ = True
        state = random.getstate()
        random.seed(self.seed)
        try:
            main = self.loop.create_task(
                self._main(test, args, options), name=TEST, context=self._test.process.context.copy()
            )
            self.loop.call_later(self._time_limit, self._on_time_limit, context=self.context)
            result: T = self.loop.run_until_complete(main)
            return result
        finally:
            random.setstate(state)
            self.loop.close()

    async def _main(
        self, test: Callable[..., Coroutine[Any, Any, T]], args: tuple[Any, ...], options: dict[str, Any]
    ) -> T:
        for me in self.ensemble.members:
            self._nodes.start(me)
        while self.leader is None:
            await asyncio.sleep(0.05)
        self.say(f"node {self.leader} leads")
        self._faults.begin()
        return await test(*args, **options)

    def _on_time_limit(self) -> None:
        self.fail(
            WorldFailure(
                f"the test has not ended after {self._time_limit} virtual seconds; these wait:\n"
                f"{where_tasks_wait(self.loop)}"
            )
        )

    def fail(self, error: BaseException) -> None:
        """End the world with `error` after the present step, unless something has failed before."""
        if self._failure is None:
            self._failure = error

    def _on_error(self, context: dict[str, Any]) -> None:
        """A callback that fails is a failure; that of a task which nobody asks is told, since somebody still may."""
        message, error = context.get("message"), context.get("exception")
        self.say(f"{message}: {type(error).__name__}: {error}")
        if "handle" in context:
            failure = WorldFailure(str(message))
            failure.__cause__ = error
            self.fail(failure)

    def _on_step(self, process: Process | None) -> None:
        __tracebackhide__ = True
        loop = self.loop
        self.trace.mark(loop.now_ns, process.number if process is not None else 0)
        if process not in self._nodes.processes:
            self._promises.check_always()
        self._promises.check_hopes()
        if self._failure is not None:
            raise self._failure
        if loop.steps > self._most_steps:
            raise SimulationError(
                f"{loop.steps} steps were not enough for this test; make it shorter, or allow more with most_steps"
            )

    # --- promises

    def always(self, name: str, predicate: Callable[[], object]) -> None:
        """From now on `predicate()` must be true after each step of an app. It must be quick, and change nothing."""
        self._promises.always(name, predicate)

    def eventually(self, name: str, predicate: Callable[[], object], *, within: float) -> asyncio.Future[None]:
        """`predicate()` must become true within so many virtual seconds. Awaiting it waits for that; it need not be
        awaited."""
        self.loop.check_here()
        return self._promises.eventually(name, predicate, within=within)

    # --- time, chance and notes

    @property
    def now(self) -> float:
        """Virtual seconds since the world began."""
        return self.loop.time()

    def wall(self) -> float:
        """Virtual seconds since 1970."""
        return EPOCH + self.loop.time()

    async def sleep(self, seconds: float) -> None:
        """Let so many virtual seconds pass."""
        self.loop.check_here()
        await asyncio.sleep(seconds)

    def rng(self, name: str) -> Random:
        """A generator of the test's own, by the seed and `name`."""
        return random_stream(self.seed, f"user/{name}")

    @property
    def fault_counts(self) -> Counter[str]:
        """How many strikes of each class the seed has brought."""
        return self._faults.counts

    def say(self, text: str) -> None:
        """Take note of what happened: a failure shows the last of these, and the trace holds them all."""
        self.lines.append(f"{self.now:12.6f}  {text}")
        self.trace.mark(self.loop.now_ns, int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big"))

    @property
    def digest(self) -> int:
        """A hash of all that has happened. The same seed and the same test give the same."""
        return self.trace.digest

    # --- apps and clients

    def app(self, name: str) -> App:
        """The app of that name; a new one where there is none."""
        if name not in self._apps:
            if not isinstance(name, str) or not name or name.startswith("node "):
                raise BadArgumentsError(f"an app has a name that is no node's, which {name!r} is not")
            self._apps[name] = App(name, self)
        return self._apps[name]

    @property
    def apps(self) -> tuple[App, ...]:
        """All but the test itself."""
        return tuple(app for app in self._apps.values() if app is not self._test)

    def client(self, *, timeout: float = DEFAULT_SESSION_TIMEOUT) -> AppClient:
        """A client of the cluster, as `LocalCluster.client` gives them, but at a distance: every read takes a round
        trip. It is in the app whose code calls this: hand the method to code that connects by itself."""
        owner = self._present_app()

        def connect(timeout: float) -> FarPort:
            self.loop.check_here()
            self._clients += 1
            rng = random_stream(self.seed, f"client/{self._clients}")
            known: dict[Process, FarHost] = {}

            def hosts() -> list[FarHost]:
                """In another order each time: who was refused asks another."""
                found = [known.get(node.process) or self._far(owner, node, known) for node in self._nodes.up.values()]
                rng.shuffle(found)
                return found

            port = FarPort(hosts, timeout=timeout, rng=rng, wall=self.wall)
            if owner is self._test:
                self._own_ports.append(port)
            return port

        return AppClient(connect, timeout=timeout)

    def _present_app(self) -> App:
        process = home()
        app = self._apps.get(process.name) if process is not None else None
        return self._test if app is None else app

    def _far(self, app: App, node: HostedNode, known: dict[Process, FarHost]) -> FarHost:
        there, here = node.process, app.process
        far = known[there] = FarHost(
            node.host,
            to_node=Channel(self.loop, there.context, self.distances.between_apps(here.name, there.name)),
            to_app=Channel(self.loop, here.context, self.distances.between_apps(there.name, here.name)),
            reachable=lambda: there.life is not Life.DEAD and frozenset((here.name, there.name)) not in self._cuts,
        )
        app.far.append(far)
        return far

    def fenced_resource(self, name: str = "resource", value: Any = 0) -> FencedResource:
        """Something for a lock to protect, outside of all apps and nodes: it remembers the highest token it has seen,
        and refuses lower ones."""
        return FencedResource(name, value, loop=self.loop, distances=self.distances, say=self.say)

    # --- nodes

    @property
    def nodes(self) -> tuple[PeerId, ...]:
        """The numbers of the nodes that are up; some may be paused."""
        return tuple(sorted(self._nodes.up))

    @property
    def leader(self) -> PeerId | None:
        """The node that leads with a quorum behind it, as far as it knows, or None."""
        return self._nodes.leader

    def host(self, me: PeerId) -> Host:
        """The shell of a node that is up: look, but do not touch."""
        return self._nodes.get(me).host

    @property
    def sessions(self) -> tuple[int, ...]:
        """The sessions of the apps that the leader knows to live; not those of the test itself."""
        leader = self.leader
        if leader is None:
            return ()
        own = {port.session.id for port in self._own_ports}
        return tuple(sorted(id for id in self._nodes.get(leader).host.replica.tree.sessions if id not in own))

    def life(self, who: Place) -> Life:
        """How a node or an app is."""
        if isinstance(who, int):
            return self._nodes.up[who].process.life if who in self._nodes.up else Life.DEAD
        return self._known(who).process.life

    # --- what happens to them

    def kill(self, node: PeerId) -> None:
        """A node crashes; what it had saved outlives it."""
        self.loop.check_here()
        host = self._nodes.get(node).host
        self._nodes.kill(node)
        self.say(f"node {node} crashes")
        for app in self._apps.values():
            for far in app.far:
                if far.host is host and far.connection is not None:
                    far.connection.break_("the node is gone")  # it had not heard of this one yet, and tells it nothing

    def crash(self, app: str | App) -> None:
        """An app crashes: nothing of it runs any more, no `finally`. Its sessions are left to expire."""
        self.loop.check_here()
        crashed = self._app(app)
        self.say(f"{crashed.name} crashes")
        self.loop.crash(crashed.process)
        for far in crashed.far:
            if far.connection is not None:
                far.connection.leave()

    def restart(self, who: Place) -> None:
        """Start a node that is down on what it had saved, or an app that crashed with what was spawned in it."""
        self.loop.check_here()
        if isinstance(who, int):
            self._nodes.start(who)
            self.say(f"node {who} starts")
            return
        app = self._app(who, up=False)
        self.say(f"{app.name} starts")
        app.begin_anew()

    def pause(self, who: Place) -> None:
        """Nothing of a node or an app runs until `resume`, and time goes on, as with SIGSTOP."""
        self.loop.check_here()
        process = self._process(who)
        self.say(f"{process.name} is paused")
        self.loop.pause(process)

    def resume(self, who: Place) -> None:
        """A paused node or app goes on, with all that has gathered."""
        self.loop.check_here()
        process = self._process(who)
        self.say(f"{process.name} goes on")
        self.loop.resume(process)

    def partition(self, *sides: Place | Iterable[Place]) -> None:
        """Nothing passes between the sides until `heal`. A side is a node, an app, or several; one side alone is cut
        off from everybody else. Those not named are not affected."""
        self.loop.check_here()
        groups = [
            [self._name(who) for who in ((side,) if isinstance(side, int | str | App) else side)] for side in sides
        ]
        if len(groups) == 1:
            groups.append([name for name in self._names() if name not in groups[0]])
        self.say("partition: " + " | ".join(", ".join(group) for group in groups))
        for index, group in enumerate(groups):
            for other in groups[index + 1 :]:
                for one in group:
                    for two in other:
                        self._cut(one, two)

    def heal(self) -> None:
        """Everybody can talk to everybody again."""
        self.loop.check_here()
        if self._cuts:
            self.say("the partitions end")
        for pair in sorted(map(sorted, self._cuts)):
            one, two = map(self._number, pair)
            if one is not None and two is not None:
                self._nodes.links.heal(one, two)
        self._cuts.clear()

    def reset(self, one: PeerId, two: PeerId) -> None:
        """The link between two nodes breaks, and is made anew."""
        self.loop.check_here()
        self.say(f"the link of nodes {one} and {two} breaks")
        self._nodes.links.reset(one, two)

    def expire(self, who: AppClient | int) -> None:
        """The ensemble ends a session, as if its client had been silent for the whole timeout: a client, or the id of
        its session. Raises BadArgumentsError where nobody leads."""
        self.loop.check_here()
        session = who if isinstance(who, int) else who.session_id
        leader = self.leader
        if leader is None:
            raise BadArgumentsError("nobody leads at the moment, so nothing expires; wait for world.leader")
        self.say(f"session {session:#x} expires")
        node = self._nodes.get(leader)
        task = self.loop.create_task(node.host.kill_session(session), context=node.process.context.copy())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may lead no longer

    def calm(self) -> None:
        """No more faults from the seed; and whatever is cut, paused or down works again."""
        self.loop.check_here()
        self._faults.end()
        self.heal()
        for me in self.ensemble.members:
            self._mend(me)
        for app in self.apps:
            self._mend(app)

    def _mend(self, who: Place) -> None:
        life = self.life(who)
        if life is Life.DEAD:
            self.restart(who)
        elif life is Life.PAUSED:
            self.resume(who)

    # --- names

    def _names(self) -> list[str]:
        return [*(f"node {me}" for me in self.ensemble.members), *self._apps]

    def _number(self, name: str) -> PeerId | None:
        return int(name[5:]) if name.startswith("node ") else None

    def _name(self, who: Place) -> str:
        if isinstance(who, int):
            if who not in self.ensemble.members:
                raise BadArgumentsError(f"there is no node {who!r}; there are {self.ensemble.members}")
            return f"node {who}"
        return self._known(who).name

    def _known(self, who: str | App) -> App:
        app = self._apps.get(who) if isinstance(who, str) else who
        if app is None or self._apps.get(app.name) is not app:
            raise BadArgumentsError(f"there is no app {who!r}; there are {', '.join(self._apps)}")
        return app

    def _app(self, who: str | App, *, up: bool = True) -> App:
        app = self._known(who)
        if app is self._test:
            raise BadArgumentsError("the test itself cannot crash, nor be paused: put that part into an app of its own")
        if app.up is not up:
            raise BadArgumentsError(f"{app.name} {'has crashed; restart it first' if up else 'has not crashed'}")
        return app

    def _process(self, who: Place) -> Process:
        return self._nodes.get(who).process if isinstance(who, int) else self._app(who).process

    def _cut(self, one: str, two: str) -> None:
        if one == two or frozenset((one, two)) in self._cuts:
            return
        self._cuts.add(frozenset((one, two)))
        first, second = self._number(one), self._number(two)
        if first is not None and second is not None:
            self._nodes.links.cut(first, second)
        elif first is not None or second is not None:
            app = self._apps[one if first is None else two]
            me = second if first is None else first
            for far in app.far:
                if far.host.replica.me == me and far.connection is not None:
                    far.connection.break_("cut off", seconds=10 * self._notices.random() ** 3)
