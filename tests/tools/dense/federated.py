"""Methods with clients and a server: generators of X_1, X_2, ..., all of whose rows are equal.

Written client by client: f: an Objective; a: the step; wire: what receivers decode; the rest: keys of the config. Links
may delay, but have no bandwidth: then times would depend on the size of messages.
"""

from collections.abc import Callable, Iterator
from itertools import count
from math import ceil, inf
from types import SimpleNamespace

import numpy as np

from mpiqopt.streams import random_stream
from tools.dense.objectives import Objective, scheduled


class Optimiser:
    """SGD with momentum, or AdamW, with what it remembers; after Loshchilov & Hutter 2019 and Sutskever et al. 2013."""

    def __init__(self):
        self.m = self.v = self.k = 0

    def moved(self, y: np.ndarray, g: np.ndarray, a: float, s: SimpleNamespace) -> np.ndarray:
        if s.optimizer == "sgd":
            g = g + s.weight_decay * y
            self.m = s.momentum * self.m + g
            return y - a * (g + s.momentum * self.m if s.nesterov else self.m)
        b1, b2 = s.momentum, s.second_momentum
        self.k += 1
        self.m, self.v = b1 * self.m + (1 - b1) * g, b2 * self.v + (1 - b2) * g**2
        first, second = self.m / (1 - b1**self.k), self.v / (1 - b2**self.k)
        return y - a * (first / (np.sqrt(second) + 1e-8) + s.weight_decay * y)


def batches(f: Objective, i: int, t: int, s: SimpleNamespace) -> list[np.ndarray]:
    """The samples of client i in each step of round t."""
    size = f.sizes[i] if s.batch_size == "all" else min(s.batch_size, f.sizes[i])
    if s.local_steps:
        return [f.draws(i, k, size) for k in range(t * s.local_steps, (t + 1) * s.local_steps)]
    epochs = range(t * s.local_epochs, (t + 1) * s.local_epochs)
    orders = [random_stream(f.seed, "order", i, epoch).permutation(f.sizes[i]) for epoch in epochs]
    return [order[k : k + size] for order in orders for k in range(0, len(order), size)]


class Clock:
    """Who takes part in a round, and whose update comes when."""

    def __init__(self, f: Objective, s: SimpleNamespace, drops: bool, work: Callable[[int, int], float]):
        self.f, self.s, self.drops, self.work, self.n = f, s, drops, work, len(f.sizes)
        self.due: dict[int, int] = {}  # by client at work on a late update, the round in which that is there

    def seconds(self, i: int, t: int) -> float:
        emulate, steps = self.f.emulate, len(batches(self.f, i, t, self.s))
        slowdown = emulate.slowdown[i] if isinstance(emulate.slowdown, list) else emulate.slowdown
        work = self.work(i, t) / self.f.devices.limits(i, t).time
        return round(2 * emulate.delay + slowdown * steps * work * emulate.gradient_seconds, 9)

    def drawn(self, t: int) -> list[int]:
        free = [i for i in range(self.n) if i not in self.due]
        size = self.n if self.s.clients_per_round == "all" else self.s.clients_per_round
        if size >= len(free):
            return free
        turn = random_stream(self.f.seed, "cohort", t).random(self.n)
        return sorted(sorted(free, key=lambda i: turn[i])[:size])

    def round(self, t: int) -> tuple[list[int], list[int], list[int]]:
        """The clients in time, those that will be late, and those whose late updates are there."""
        limit = inf if self.s.deadline is None else self.s.deadline
        times = {i: self.seconds(i, t) for i in self.drawn(t)}
        if self.drops:
            able = [i for i in times if self.f.devices.limits(i, t).full]
            times = {i: times[i] for i in able if times[i] <= limit}
        lost = random_stream(self.f.seed, "dropout", t).random(self.n) < self.s.drop_out
        times = {i: taken for i, taken in times.items() if not lost[i]}
        order = sorted(times.values())
        end = min(limit, limit if self.due else max(order, default=0.0))
        end = max([end, *order[: self.s.min_clients][-1:]])
        arrived = [i for i, when in self.due.items() if when == t]
        self.due = {i: when for i, when in self.due.items() if when > t}
        late = [i for i, taken in times.items() if taken > end]
        if self.s.late == "discard":
            late = []
        for i in late:
            self.due[i] = t + max(1, ceil(round((times[i] - end) / limit, 9)))
        return [i for i, taken in times.items() if taken <= end], late, arrived


class Federation:
    """Rounds: x_r are the models of the regions, of which most methods have one."""

    def __init__(self, X, f, a, wire, server, s, pull=0.0, control=False, drops=False, region=None, every=1):
        self.f, self.a, self.wire, self.s, self.pull, self.every = f, a, wire, s, pull, every
        n = len(X)
        self.region = [0] * n if region is None else region
        self.x = [X[0]] * (max(self.region) + 1)
        self.server: Callable = server
        self.control, self.c, self.c_i = control, np.zeros_like(X[0]), np.zeros_like(X)
        self.clock = Clock(f, s, drops, self.work)
        self.optimisers = [Optimiser() for _ in range(n)]
        self.error: dict[int, np.ndarray] = {}
        self.server_error: dict[int, np.ndarray] = {}
        self.waiting: dict[int, np.ndarray] = {}
        self.p = f.sizes.astype(float) if s.weighting == "samples" else np.ones(n)
        self.feeds_back = s.error_feedback and wire.coded
        self.damping = wire.damping if self.feeds_back else 1.0

    def rows(self, X: np.ndarray) -> Iterator[np.ndarray]:
        """X_1, X_2, ...: the mean of the models of regions, weighted by their clients."""
        shares = np.bincount(self.region, self.p) / self.p.sum()
        for t in count():
            before = self.known()
            self.receive(self.upload(t))
            if (t + 1) % self.every == 0:
                self.x = [shares @ np.array(self.x)] * len(self.x)
            if self.s.two_way:
                self.announce(before)
            yield np.tile(shares @ np.array(self.x), (len(X), 1))

    def work(self, i: int, t: int) -> float:
        """What a step of client i takes in round t, relative to one of the whole model."""
        return 1.0

    def gradient(self, i: int, t: int, y: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """The gradient of client i on some samples in round t."""
        return self.f.node_grad(i, y, chosen)

    def mask(self, i: int, t: int) -> np.ndarray:
        """Which coordinates client i trains in round t."""
        return np.ones(len(self.x[0]), bool)

    def train(self, i: int, t: int) -> np.ndarray:
        """What client i sends of its training."""
        a, x, s = scheduled(self.a, t, self.s.schedule, self.s.decay), self.x[self.region[i]], self.s
        y, steps = x, batches(self.f, i, t, s)
        optimiser = self.optimisers[i] if s.keep_optimizer else Optimiser()
        for chosen in steps:
            g = self.gradient(i, t, y, chosen) + self.pull * (y - x)
            new = optimiser.moved(y, g - self.c_i[i] + self.c if self.control else g, a, s)
            y = np.where(self.mask(i, t), new, y)
        if not self.control:
            return y - x
        new = self.c_i[i] - self.c + (x - y) / (len(steps) * a)
        change, self.c_i[i] = new - self.c_i[i], new
        return np.concatenate([y - x, change])

    def upload(self, t: int) -> dict[int, np.ndarray]:
        """What the server hears in round t, by client."""
        in_time, late, arrived = self.clock.round(t)
        sent = {i: self.waiting.pop(i) for i in arrived} | {i: self.train(i, t) for i in in_time}
        self.waiting |= {i: self.train(i, t) for i in late}
        wanted = {i: v + self.error.get(i, 0.0) for i, v in sent.items()}
        heard = self.hear(wanted)
        if self.feeds_back:
            self.error |= {i: wanted[i] - heard[i] for i in sent}
        return heard

    def hear(self, wanted: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        """What the server decodes of what clients send."""
        return {i: self.damping * v for i, v in self.wire.collect(wanted).items()}

    def receive(self, heard: dict[int, np.ndarray]) -> None:
        """The servers' steps."""
        for r in range(len(self.x)):
            own = [i for i in heard if self.region[i] == r]
            if not own:
                continue
            mean = np.average([heard[i] for i in own], axis=0, weights=self.p[own])
            d = len(self.x[r])
            self.x[r] = self.server(self.x[r], mean[:d])
            if self.control:
                self.c = self.c + len(own) / len(self.f.sizes) * mean[d:]

    def known(self) -> list[np.ndarray]:
        return [np.concatenate([x, self.c]) if self.control else x for x in self.x]

    def announce(self, before: list[np.ndarray]) -> None:
        """Clients hear what has changed, coded."""
        for r, (old, new) in enumerate(zip(before, self.known(), strict=True)):
            wanted = new - old + self.server_error.get(r, 0.0)
            heard = self.damping * self.wire.announce(wanted, r)
            if self.feeds_back:
                self.server_error[r] = wanted - heard
            d = len(self.x[r])
            self.x[r] = (old + heard)[:d]
            if self.control:
                self.c = (old + heard)[d:]


def averaging(step: float) -> Callable:
    return lambda x, moved: x + step * moved


def fedavg(X, W, f, a, wire, server_step, **s):
    return Federation(X, f, a, wire, averaging(server_step), SimpleNamespace(**s)).rows(X)


def fedavg_drop(X, W, f, a, wire, server_step, **s):
    return Federation(X, f, a, wire, averaging(server_step), SimpleNamespace(**s), drops=True).rows(X)


def fedprox(X, W, f, a, wire, server_step, mu, **s):
    return Federation(X, f, a, wire, averaging(server_step), SimpleNamespace(**s), pull=mu).rows(X)


def scaffold(X, W, f, a, wire, server_step, **s):
    return Federation(X, f, a, wire, averaging(server_step), SimpleNamespace(**s), control=True).rows(X)


def hierarchical_fedavg(X, W, f, a, wire, server_step, regions, global_every, **s):
    n = len(X)
    if n == 1 or isinstance(regions, list):
        region = [0] * n if n == 1 else regions
    else:  # region r ends before client floor((r + 1) n/R)
        region = [next(r for r in range(regions) if i < (r + 1) * n // regions) for i in range(n)]
    settings = SimpleNamespace(**s)
    return Federation(X, f, a, wire, averaging(server_step), settings, region=region, every=global_every).rows(X)


class OuterOptimiser:
    """The server's, after Reddi et al. 2021 (Delta: what has moved in the mean) and PyTorch's SGD."""

    def __init__(self, name, step, b1, b2, tau):
        self.name, self.step, self.b1, self.b2, self.tau = name, step, b1, b2, tau
        self.m, self.v = 0.0, tau**2

    def __call__(self, x: np.ndarray, delta: np.ndarray) -> np.ndarray:
        if self.name == "sgd":
            return x + self.step * delta
        if self.name in ("momentum", "nesterov"):
            self.m = self.b1 * self.m + delta
            return x + self.step * (self.m if self.name == "momentum" else delta + self.b1 * self.m)
        self.m = self.b1 * self.m + (1 - self.b1) * delta
        square = delta**2
        self.v = {
            "adagrad": self.v + square,
            "adam": self.b2 * self.v + (1 - self.b2) * square,
            "yogi": self.v - (1 - self.b2) * square * np.sign(self.v - square),
        }[self.name]
        return x + self.step * self.m / (np.sqrt(self.v) + self.tau)


def fedopt(X, W, f, a, wire, outer_optimizer, outer_step, outer_momentum, outer_second_momentum, adaptivity, **s):
    server = OuterOptimiser(outer_optimizer, outer_step, outer_momentum, outer_second_momentum, adaptivity)
    return Federation(X, f, a, wire, server, SimpleNamespace(**s)).rows(X)


def centralized(X, W, f, a, batch_size, schedule, decay, **s):
    """One optimiser, on the samples of all nodes in a new order each epoch."""
    settings, optimiser, x = SimpleNamespace(**s), Optimiser(), X[0]
    owner = np.repeat(np.arange(len(X)), f.sizes)
    position = np.concatenate([np.arange(size) for size in f.sizes])
    size = len(owner) if batch_size == "all" else min(batch_size, len(owner))
    t = 0
    for epoch in count():
        order = random_stream(f.seed, "order", len(X), epoch).permutation(len(owner))
        for k in range(0, len(order), size):
            batch = order[k : k + size]
            g = sum(f.node_grad(owner[j], x, position[j : j + 1]) for j in batch) / len(batch)
            x = optimiser.moved(x, g, scheduled(a, t, schedule, decay), settings)
            t += 1
            yield np.tile(x, (len(X), 1))
