"""One run: its length, who runs where, and what is running."""

import contextlib
import os
from dataclasses import dataclass, field

from accounting import cpu_seconds
from contenders import CONTENDERS
from programs import free_ports
from sequential import await_answer, request


@dataclass
class Running:
    """A proxy that runs."""

    contender: object
    program: object
    ports: list

    @property
    def http(self):
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def https(self):
        return f"https://127.0.0.1:{self.ports[1]}"

    @property
    def name(self):
        return self.contender.name


@dataclass
class Bench:
    """The settings of a run. The proxy that is measured has the first core for itself; upstream and load have the second one."""

    place: object
    rounds: int = int(os.environ.get("BENCH_ROUNDS", 5))
    seconds: float = float(os.environ.get("BENCH_SECONDS", 2))
    contenders: tuple = CONTENDERS
    proxy_cores: set = field(default_factory=lambda: {0})
    load_cores: set = field(default_factory=lambda: {1})

    @property
    def whole_seconds(self):
        """The length of one load: wrk takes whole seconds."""
        return max(1, round(self.seconds))

    @property
    def short_seconds(self):
        return max(1, self.whole_seconds // 2)

    @contextlib.contextmanager
    def started(self, contender, **options):
        """A proxy of its own, for as long as it is needed."""
        ports = free_ports(3)
        with contender.start(self.place, ports, self.proxy_cores, **options) as program:
            if not options.get("is_tls"):
                await_answer(ports[0], request(self.place.paths["2 KB"], self.place.fields), contender.name)
            yield Running(contender, program, ports)

    @contextlib.contextmanager
    def all_started(self, contenders=None, is_tls=False):
        """All proxies at once, so that they can be measured in turn."""
        with contextlib.ExitStack() as stack:
            running = []
            for contender in self.contenders if contenders is None else contenders:
                options = {"is_tls": True} if is_tls and contender.one_listener else {}
                running.append(stack.enter_context(self.started(contender, **options)))
            yield running

    def in_turn(self, running, measure):
        """A B C … A B C …, once for warming up: what `measure` gives for each proxy in each round, as {name: [values]}."""
        found = {each.name: [] for each in running}
        for each in running:
            measure(each)
        for _ in range(self.rounds):
            for each in running:
                found[each.name].append(measure(each))
        return found

    def cost(self, each, load):
        """What a load has found, and the processor time that the proxy has used meanwhile, in seconds."""
        before = cpu_seconds(each.program.pid)
        result = load()
        used = cpu_seconds(each.program.pid) - before
        return result, used


def split(found, *names):
    """{proxy: [(a, b), …]} as {name of a: {proxy: [a, …]}, name of b: …}."""
    return {name: {who: [values[at] for values in rounds] for who, rounds in found.items()} for at, name in enumerate(names)}

