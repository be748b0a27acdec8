"""Dense-matrix references in plain NumPy, written from ALGORITHMS.md: nothing here calls the package's arithmetic.

X is n x d with a row per node, W an n x n matrix. Three things come from the package, with tests of their own: the
samples that each node holds, the sample numbers of its minibatches (and the numbers that say who trains), and what a
message decodes to (``Wire``).
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import count, cycle, islice, repeat
from typing import Any

import networkx
import numpy as np
import tomli_w

from mpiqopt.algorithms.coordinated import CoordinatedAlgorithm
from mpiqopt.compressors.codec import Codec
from mpiqopt.config.parse import parse
from mpiqopt.run.assembly import Experiment, assemble
from mpiqopt.streams import Streams
from mpiqopt.transport.serial import SerialTransport

GRAPHS = {
    "ring-8": ({"name": "ring", "nodes": 8}, networkx.cycle_graph(8)),
    "grid-9": ({"name": "grid", "nodes": 9}, networkx.grid_2d_graph(3, 3)),
    "star-5": ({"name": "star", "nodes": 5}, networkx.star_graph(4)),
    "path-2": ({"name": "path", "nodes": 2}, networkx.path_graph(2)),
    "single": ({"name": "ring", "nodes": 1}, networkx.empty_graph(1)),
}


def assembled(topology, problem, algorithm, regularizer=None, data=None, compressor=None, **run) -> Experiment:
    """The package's objects for a config that is given table by table."""
    tables = {"run": run, "data": data, "problem": problem, "topology": topology, "algorithm": algorithm}
    if regularizer is not None:
        tables["regularizer"] = regularizer
    if compressor is not None:
        tables["compressor"] = compressor
    return assemble(parse(tomli_w.dumps(tables), "test.toml"), SerialTransport())


def states(experiment: Experiment) -> Iterator[Any]:
    """The package's states: the initial one, then one after each iteration."""
    arguments = experiment.problem, experiment.network, experiment.streams
    state = experiment.algorithm.init(experiment.start, *arguments)
    while True:
        yield state
        state = experiment.algorithm.step(state, *arguments)


def after(experiment: Experiment, iterations: int) -> Any:
    """The package's state after so many iterations."""
    for _, state in zip(range(iterations + 1), states(experiment), strict=False):
        last = state
    return last


def arrays(state: Any) -> list[np.ndarray]:
    """The arrays and numbers of a state, those of nested memories too."""
    return [leaf for field in state for leaf in (arrays(field) if isinstance(field, tuple) else [field])]


# Messages


Sent = dict[tuple[int, int], np.ndarray]


def recorded(experiment: Experiment) -> Sent:
    """The vectors that the package encodes from now on, by round and number of the (first) sender."""
    codec, sent = experiment.network.codec(experiment.start), {}
    encode = codec.encode

    def listen(rows, nodes, round, *blocks):
        sent[round, int(nodes[0])] = rows.copy()
        return encode(rows, nodes, round, *blocks)

    codec.encode = listen
    return sent


class Wire:
    """What receivers decode: the compressor, fed with the vectors that the package sent.

    Compressors are discontinuous: on vectors that differ by 1e-16 two correct programs may send different messages and
    part for good. So every vector of the reference is compared with that of the package, recorded under the same round
    and sender, to ``rtol`` of the largest vector sent; then the package's own is encoded, by a codec of the test's.
    Nothing is lost: a vector that is wrong, missing, or sent in another round or by another node fails here.
    Rounds are counted 0, 1, ...; a download from the server belongs to the round of the upload before it.
    """

    def __init__(self, experiment: Experiment, sent: Sent, rtol: float):
        self._compressor, self.nodes = experiment.config.compressor, len(experiment.start)
        d, dtype = experiment.start.shape[1], experiment.start.dtype
        self._codec = Codec(self._compressor, d, dtype, experiment.config.run.seed, self.nodes)
        self._sent, self._round = sent, 0
        self._atol = rtol * max((np.abs(rows).max() for rows in sent.values()), default=0.0)
        self.coded = self._compressor.name != "identity"
        self.damping = damping(self._compressor, d)

    def gossip(self, rows: np.ndarray) -> np.ndarray:
        """C of every node's row."""
        out = self._decoded(rows, np.arange(self.nodes), self._round)
        self._round += 1
        return out

    upload = gossip

    def download(self, vector: np.ndarray) -> np.ndarray:
        """C of one vector (d,), sent by node n, the server."""
        return self._decoded(vector[None], np.array([self.nodes]), self._round - 1)[0]

    def _decoded(self, rows: np.ndarray, senders: np.ndarray, round: int) -> np.ndarray:
        if not self.coded:
            return rows
        sent = self._sent[round, int(senders[0])]
        np.testing.assert_allclose(sent, rows, rtol=0, atol=self._atol)
        messages = self._codec.encode(sent, senders, round)
        return self._codec.decode(messages, senders, round).astype(np.float64)


def damping(compressor, d: int) -> float:
    """1/(1 + omega) of the worst block for unbiased compressors that are no contractions by themselves, else 1."""
    width = min(compressor.block_size or d, d)
    factors = [1.0]
    for size in {width, d % width or width}:
        if compressor.omega(size) is not None and compressor.delta(size) is None:
            factors.append(1 / (1 + compressor.omega(size)))
    return min(factors)


# Networks


def metropolis(graph: networkx.Graph) -> np.ndarray:
    """w_ij = 1/(1 + max(deg_i, deg_j)) on the edges, a diagonal that makes rows sum to 1; nodes sorted by name."""
    number = {node: i for i, node in enumerate(sorted(graph))}
    W = np.zeros((len(graph), len(graph)))
    for a, b in graph.edges:
        W[number[a], number[b]] = W[number[b], number[a]] = 1 / (1 + max(graph.degree[a], graph.degree[b]))
    return W + np.diag(1 - W.sum(axis=1))


def one_peer(nodes: int) -> list[np.ndarray]:
    """One-peer exponential graph: in round k node i averages with node i + 2^k mod n."""
    I = np.eye(nodes)
    return [(I + np.roll(I, 2**k, axis=1)) / 2 for k in range((nodes - 1).bit_length())]


def contraction(W: np.ndarray) -> float:
    """lambda = ||W - J||_2."""
    return np.linalg.norm(W - 1 / len(W), 2)


def chebyshev(degree: int, x):
    """T_degree(x) by its three-term recurrence, for a number or a symmetric matrix."""
    one, times = (np.eye(len(x)), np.matmul) if np.ndim(x) else (1.0, np.multiply)
    before, now = one, x
    for _ in range(degree - 1):
        before, now = now, 2 * times(x, now) - before
    return now


def extremes(W: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest eigenvalue of a symmetric W but that of equal rows."""
    n = len(W)
    if n == 1:
        return 0.0, 0.0
    eigenvalues = np.linalg.eigvalsh(W - 3 / n)  # 1 becomes -2
    return eigenvalues[1], eigenvalues[-1]


def around_zero(W: np.ndarray) -> tuple[float, float]:
    """Minus and plus the largest size of the ``extremes``."""
    largest = np.abs(extremes(W)).max()
    return -largest, largest


def accelerated_gossip(W: np.ndarray, rounds: int, ends=extremes) -> np.ndarray:
    """P_K = (T_K(t(W)) e + c I)/(1 + c) of one symmetric W, by its eigenvalues but that of equal rows.

    t maps [lambda_n, lambda_2] to [-1, 1]; e = 1/T_K(t(1)); c lifts the lower end to -1/3. J if they are all the same.
    """
    low, high = ends(W)
    if high - low < 1e-12:
        return (W - high * np.eye(len(W))) / (1 - high)
    t = (2 * W - (high + low) * np.eye(len(W))) / (high - low)
    e = 1 / chebyshev(rounds, (2 - high - low) / (high - low))
    c = max(0, (3 * e - 1) / 4)
    return (chebyshev(rounds, t) * e + c * np.eye(len(W))) / (1 + c)


def gossip_matrix(W: Iterator[np.ndarray], rounds: int, accelerated: bool) -> np.ndarray:
    """P_K: the product of the next K matrices, or ``accelerated_gossip``."""
    P = next(W)
    if accelerated:
        return accelerated_gossip(P, rounds)
    for _ in range(rounds - 1):
        P = next(W) @ P
    return P


# Objectives


def least_squares(A, b, x):
    return A.T @ (A @ x - b) / len(b)


def logistic(A, b, x):
    signs = np.where(b == 1, 1, -1)
    return -A.T @ (signs / (1 + np.exp(signs * (A @ x)))) / len(b)


def softmax(A, b, x):
    scores = np.exp(A @ x.reshape(-1, A.shape[1]).T)
    errors = scores / scores.sum(axis=1, keepdims=True) - np.eye(scores.shape[1])[b.astype(int)]
    return (errors.T @ A).ravel() / len(b)


def mean(A, b, x):
    return x - A.mean(axis=0)


LOSSES = {"least-squares": least_squares, "logistic": logistic, "mean": mean, "softmax": softmax}


def soft(x, bound):
    return np.sign(x) * np.maximum(np.abs(x) - bound, 0)


def group_soft(x, bound, size):
    groups = [x[:, k : k + size] for k in range(0, x.shape[1], size)]
    norms = [np.linalg.norm(g, axis=1, keepdims=True) for g in groups]
    return np.hstack([g * np.maximum(1 - bound / np.maximum(s, 1e-300), 0) for g, s in zip(groups, norms, strict=True)])


# prox_{a h}(X) by the name of h; r: the regulariser's settings
PROX = {
    "zero": lambda X, a, r: X,
    "l1": lambda X, a, r: soft(X, a * r.weight),
    "elastic-net": lambda X, a, r: soft(X, a * r.weight * r.l1_ratio) / (1 + a * r.weight * (1 - r.l1_ratio)),
    "group-l1": lambda X, a, r: group_soft(X, a * r.weight, r.group_size),
    "box": lambda X, a, r: np.minimum(np.maximum(X, r.lower), r.upper),
    "nonnegative": lambda X, a, r: np.where(X > 0, X, 0),
}


class Objective:
    """f_1 .. f_n and h of an experiment, in double precision. ``sizes``: samples of each node."""

    def __init__(self, experiment: Experiment):
        shares, self.settings, self.h = experiment.shares, experiment.config.problem, experiment.config.regularizer
        cuts = shares.offsets[1:-1]
        self.A = np.split(shares.features.astype(np.float64), cuts)
        self.b = np.split(shares.targets.astype(np.float64), cuts)
        self.sizes = np.array([len(b) for b in self.b])
        self._streams = Streams(experiment.config.run.seed, 0, self.sizes)

    def grad(self, X: np.ndarray, t: int = 0, size: int | str = "all") -> np.ndarray:
        """Gradients of the f_i at their rows: full, or the mean over the minibatch of iteration t."""
        chosen = [slice(None)] * len(X)
        if size != "all":
            index, counts = self._streams.batch(t, size)
            chosen = [row[:count] for row, count in zip(index, counts, strict=True)]
        loss = LOSSES[self.settings.name]
        G = np.array([loss(A[c], b[c], x) for A, b, c, x in zip(self.A, self.b, chosen, X, strict=True)])
        return G + self.settings.l2 * X + 2 * self.settings.nonconvex * X / (1 + X**2) ** 2

    def trains(self, t: int, activation: str, activation_probability: float, **others) -> np.ndarray:
        """Which nodes train in round t, bool (n,)."""
        if activation == "all":
            return np.ones(len(self.A), bool)
        return self._streams.uniform("activation", t) < activation_probability

    def prox(self, X: np.ndarray, a: float) -> np.ndarray:
        return PROX[self.h.name](X, a, self.h)

    def mean_grad(self, x: np.ndarray) -> np.ndarray:
        """grad F(x)."""
        return self.grad(np.tile(x, (len(self.A), 1))).mean(axis=0)

    def minimiser(self) -> np.ndarray:
        """x* of F + h by the accelerated proximal gradient method for strongly convex F (Nesterov 2004).

        The result is not trusted but certified: F is l2-strongly convex and u = (x - x+)/a + grad F(x+) - grad F(x)
        is a subgradient of F + h at x+ = prox(x - a grad F(x)): |x+ - x*| <= |u|/l2, which must be under 1e-11.
        """
        smoothness = max(np.linalg.norm(A, 2) ** 2 / len(A) for A in self.A) + self.settings.l2
        a, root = 1 / smoothness, np.sqrt(self.settings.l2 / smoothness)
        x = y = np.zeros(self.A[0].shape[1])
        for _ in range(int(40 / root)):
            last, x = x, self._forward_backward(y, a)
            y = x + (1 - root) / (1 + root) * (x - last)
        last, x = x, self._forward_backward(x, a)
        u = (last - x) / a + self.mean_grad(x) - self.mean_grad(last)
        assert np.linalg.norm(u) / self.settings.l2 < 1e-11
        return x

    def _forward_backward(self, x: np.ndarray, a: float) -> np.ndarray:
        return self.prox((x - a * self.mean_grad(x))[None], a)[0]


# Methods: generators of X_1, X_2, ...  W: iterator over the mixing matrices, f: an Objective, a: the step, wire: of
# methods that code their messages


def dgd(X, W, f, a, batch_size):
    for t in count():
        X = next(W) @ X - a * f.grad(X, t, batch_size)
        yield X


def push_sum(X, W, f, a, execution, interval, **sampling):
    mass, weight = X, np.ones((len(X), 1))
    for a_t, grad in samples_of(f, a, **sampling):
        w = next(W)
        mass, weight = w @ (mass - a_t * grad(mass / weight)), w @ weight
        yield mass / weight


def prox_dgd(X, W, f, a, batch_size):
    for t in count():
        X = f.prox(next(W) @ X - a * f.grad(X, t, batch_size), a)
        yield X


def extra(X, W, f, a, batch_size):
    W = next(W)
    before = f.grad(X, 0, batch_size)
    old, X = X, W @ X - a * before
    yield X
    for t in count(1):
        G = f.grad(X, t, batch_size)
        old, X = X, X + W @ X - (old + W @ old) / 2 - a * (G - before)
        before = G
        yield X


def pg_extra(X, W, f, a, batch_size):
    W = next(W)
    before = f.grad(X, 0, batch_size)
    Z = W @ X - a * before
    old, X = X, f.prox(Z, a)
    yield X
    for t in count(1):
        G = f.grad(X, t, batch_size)
        Z = Z + W @ X - (old + W @ old) / 2 - a * (G - before)
        old, X, before = X, f.prox(Z, a), G
        yield X


def nids(X, W, f, a, batch_size):
    Wt = (np.eye(len(X)) + next(W)) / 2
    before = f.grad(X, 0, batch_size)
    Z = X - a * before
    old, X = X, f.prox(Z, a)
    yield X
    for t in count(1):
        G = f.grad(X, t, batch_size)
        Z = Z - X + Wt @ (2 * X - old - a * (G - before))
        old, X, before = X, f.prox(Z, a), G
        yield X


def d2(X, W, f, a, batch_size):
    Wt = (np.eye(len(X)) + next(W)) / 2
    before = f.grad(X, 0, batch_size)
    old, X = X, Wt @ (X - a * before)
    yield X
    for t in count(1):
        G = f.grad(X, t, batch_size)
        old, X = X, Wt @ (2 * X - old - a * (G - before))
        before = G
        yield X


def gradient_tracking(X, W, f, a, batch_size):
    """Both exchanges of an iteration by the same W."""
    Y = before = f.grad(X, 0, batch_size)
    for t in count(1):
        M = next(W)
        X = M @ (X - a * Y)
        G = f.grad(X, t, batch_size)
        Y, before = M @ (Y + G - before), G
        yield X


def centralised(X, W, f, a):
    while True:
        X = np.tile(f.prox(X[:1] - a * f.grad(X).mean(axis=0), a), (len(X), 1))
        yield X


class CodedGossip:
    """K rounds with M = (1 - gamma) I + gamma W for W, coded: M X becomes X + gamma (W - I) X^, X^ += C(X - X^).

    X^ is kept from call to call. Chebyshev: T_{k+1}(t) = 2 t T_k(t) - T_{k-1}(t) at t = (2 M - h - l)/(h - l), divided
    by the same at M = 1, h = -l the largest size of M's eigenvalues but that of equal rows; then c X_0 is added and all
    divided by 1 + c, c as in ``accelerated_gossip``.
    """

    def __init__(self, W, wire: Wire, rounds: int, accelerated: bool, step: float):
        self.W, self.wire, self.rounds, self.step = next(W), wire, rounds, step
        self.hat, self.c = 0.0, 0.0
        self.low, self.high = around_zero((1 - step) * np.eye(wire.nodes) + step * self.W)
        self.accelerated = accelerated and self.high - self.low > 1e-12
        if self.accelerated:
            self.c = max(0, (3 / self.at_one(rounds) - 1) / 4)

    def at_one(self, k: int) -> float:
        """T_k(t(1))."""
        return chebyshev(k, (2 - self.high - self.low) / (self.high - self.low)) if k else 1.0

    def __call__(self, X: np.ndarray) -> np.ndarray:
        first, last, X = X, X, self.first(X)
        for k in range(1, self.rounds):
            last, X = X, self.next(k, last, X)
        return (X + self.c * first) / (1 + self.c)

    def first(self, X: np.ndarray) -> np.ndarray:
        if not self.accelerated:
            return self.once(X)
        return X + 2 / (2 - self.high - self.low) * (self.once(X) - X)

    def once(self, X: np.ndarray) -> np.ndarray:
        self.hat = self.hat + self.wire.damping * self.wire.gossip(X - self.hat)
        return X + self.step * (self.W @ self.hat - self.hat)

    def next(self, k: int, last: np.ndarray, X: np.ndarray) -> np.ndarray:
        if not self.accelerated:
            return self.once(X)
        below, here, above = (self.at_one(j) for j in (k - 1, k, k + 1))
        t = (2 * self.once(X) - (self.high + self.low) * X) / (self.high - self.low)
        return (2 * here * t - below * last) / above


def gossips(W, wire: Wire, rounds: int, accelerated: bool, step: float):
    """The gossip of the trackers and that of the iterates; coded, each has a memory of its own."""
    if wire.coded:
        return [CodedGossip(W, wire, rounds, accelerated, step) for _ in range(2)]
    P = None

    def trackers(X):
        nonlocal P
        P = gossip_matrix(W, rounds, accelerated)
        return P @ X

    return trackers, lambda X: P @ X


def proxgt(X, W, f, a, wire, estimate, gossip_rounds, chebyshev, gossip_step, schedule, decay):
    """estimate(t, X, previous X, previous v) is v_t. Trackers and iterates of an iteration by the same matrices."""
    mix_trackers, mix_iterates = gossips(W, wire, gossip_rounds, chebyshev, gossip_step)
    y = v = np.zeros_like(X)
    old = X
    for t in count():
        last, v = v, estimate(t, X, old, v)
        y = mix_trackers(y + v - last)
        a_t = scheduled(a, t, schedule, decay)
        old, X = X, mix_iterates(f.prox(X - a_t * y, a_t))
        yield X


def proxgt_sa(X, W, f, a, wire, batch_size, **gossip):
    return proxgt(X, W, f, a, wire, lambda t, X, old, v: f.grad(X, t, batch_size), **gossip)


def proxgt_sr_o(X, W, f, a, wire, batch_size, large_batch_size, epoch_length, **gossip):
    def estimate(t, X, old, v):
        if t % epoch_length == 0:
            return f.grad(X, t, large_batch_size)
        return v + f.grad(X, t, batch_size) - f.grad(old, t, batch_size)

    return proxgt(X, W, f, a, wire, estimate, **gossip)


def proxgt_sr_e(X, W, f, a, wire, batch_size, epoch_length, **gossip):
    return proxgt_sr_o(X, W, f, a, wire, batch_size, "all", epoch_length, **gossip)


def samples_of(f, a, batch_size, schedule, decay):
    """a_t and the gradient with the samples of iteration t, for t = 0, 1, ..."""
    for t in count():
        yield scheduled(a, t, schedule, decay), lambda X, t=t: f.grad(X, t, batch_size)


def scheduled(a: float, t: int, schedule: str, decay: float) -> float:
    """a_t."""
    return a / (1 + decay * t) ** {"constant": 0, "inverse": 1, "inverse-sqrt": 0.5}[schedule]


def choco_gossip(X, W, f, a, wire, gossip_step):
    W = next(W)
    X = X - a * f.grad(X)
    hat = np.zeros_like(X)
    while True:
        hat = hat + wire.damping * wire.gossip(X - hat)
        X = X + gossip_step * (W @ hat - hat)
        yield X


def choco_sgd(X, W, f, a, wire, gossip_step, **sampling):
    W = next(W)
    hat = np.zeros_like(X)
    for a_t, grad in samples_of(f, a, **sampling):
        X = X - a_t * grad(X)
        hat = hat + wire.damping * wire.gossip(X - hat)
        X = X + gossip_step * (W @ hat - hat)
        yield X


def prox_lead(X, W, f, a, wire, gossip_step, memory_rate, **sampling):
    """With H_w = W H carried along as in the paper's COMM; Z^ and Z^_w in the dual and in the primal step."""
    W, gamma, alpha = next(W), gossip_step, memory_rate
    D = H = Hw = np.zeros_like(X)
    for a_t, grad in samples_of(f, a, **sampling):
        Z = X - a_t * grad(X) - a_t * D
        Q = wire.gossip(Z - H)
        hat, hat_w = H + Q, Hw + W @ Q
        H, Hw = (1 - alpha) * H + alpha * hat, (1 - alpha) * Hw + alpha * hat_w
        D = D + gamma / (2 * a_t) * (hat - hat_w)
        X = f.prox(Z - gamma / 2 * (hat - hat_w), a_t)
        yield X


def lead(X, W, f, a, wire, gossip_step, memory_rate, **sampling):
    """Algorithm 1 of Liu et al., whose primal step takes the gradient again instead of Z."""
    W, gamma, alpha = next(W), gossip_step, memory_rate
    D = H = Hw = np.zeros_like(X)
    for a_t, grad in samples_of(f, a, **sampling):
        G = grad(X)
        Q = wire.gossip(X - a_t * G - a_t * D - H)
        hat, hat_w = H + Q, Hw + W @ Q
        H, Hw = (1 - alpha) * H + alpha * hat, (1 - alpha) * Hw + alpha * hat_w
        D = D + gamma / (2 * a_t) * (hat - hat_w)
        X = X - a_t * G - a_t * D
        yield X


def forward_backward(X, direction, a, f):
    """All rows are equal and stay so."""
    return np.tile(f.prox(X[:1] - a * direction, a), (len(X), 1))


def sgd(X, W, f, a, **sampling):
    for a_t, grad in samples_of(f, a, **sampling):
        X = forward_backward(X, grad(X).mean(axis=0), a_t, f)
        yield X


def compressed_sgd(X, W, f, a, wire, two_way, **sampling):
    for a_t, grad in samples_of(f, a, **sampling):
        direction = wire.upload(grad(X)).mean(axis=0)
        X = forward_backward(X, wire.download(direction) if two_way else direction, a_t, f)
        yield X


def sign_sgd(X, W, f, a, wire, two_way, **sampling):
    """The majority is counted here, not taken from the wire. A tie is a vote for +1."""
    for a_t, grad in samples_of(f, a, **sampling):
        votes = np.sum(wire.upload(grad(X)) > 0, axis=0)
        direction = np.where(2 * votes >= len(X), 1, -1) if two_way else (2 * votes - len(X)) / len(X)
        X = forward_backward(X, direction, a_t, f)
        yield X


def ef_sgd(X, W, f, a, wire, two_way, **sampling):
    errors, server_error = np.zeros_like(X), np.zeros(X.shape[1])
    for a_t, grad in samples_of(f, a, **sampling):
        wanted = errors + a_t * grad(X)
        sent = wire.damping * wire.upload(wanted)
        errors, change = wanted - sent, sent.mean(axis=0)
        if two_way:
            wanted = server_error + change
            change = wire.damping * wire.download(wanted)
            server_error = wanted - change
        X = np.tile(f.prox(X[:1] - change, a_t), (len(X), 1))
        yield X


def exact_average(rows: np.ndarray, step: float, rounding: str) -> np.ndarray:
    """What FTQC gives every node: step floor(mean of floor(x_i/step)), by integers; float64 (d,).

    nearest: step times the middle of floor and ceil of the mean of round(x_i/step).
    """
    whole = {"floor": np.floor, "nearest": np.rint}[rounding](rows.astype(np.float64) / step)
    total, n = whole.astype(np.int64).sum(axis=0), len(rows)
    low, high = total // n, -(-total // n)
    return step * (low if rounding == "floor" else (low + high) / 2)


class Grid:
    """The averages of the rounds, one call each, and the zooming between them. ``step``: Delta of the next one."""

    def __init__(self, start: np.ndarray, quantization_step, zoom, min_quantization_step, rounding, **others):
        self.last, self.step = start[0], quantization_step
        self._first, self._zoom, self._least, self._rounding = quantization_step, zoom, min_quantization_step, rounding

    def average(self, rows: np.ndarray, joined: np.ndarray) -> np.ndarray:
        """joined: which nodes have something new, bool (n,). The average as (n, d), in the rows' precision."""
        average = exact_average(rows, self.step, self._rounding).astype(rows.dtype)
        share = np.count_nonzero(joined) / len(rows)
        if self._zoom == "auto":
            wanted = 0.1 * np.abs(average.astype(np.float64) - self.last).max()
            self.step = min(max(wanted, self.step * 0.5**share), self.step * 2.0**share, self._first)
        else:
            self.step *= self._zoom**share
        self.step, self.last = max(self.step, self._least), average
        return np.tile(average, (len(rows), 1))


def descended(X, V, t, f, a, rho, local_steps, batch_size, **others):
    """w from X by N_e steps w -= a (g(w) + (w - v)/rho), rho = inf: w -= a g(w); batches are numbered t N_e + e."""
    for e in range(local_steps):
        direction = f.grad(X, t * local_steps + e, batch_size or "all").astype(X.dtype)
        X = X - a * (direction if rho == np.inf else direction + (X - V) / rho)
    return X


def ftqc_dgd_variables(X, f, a, **settings):
    """X and Delta of the next average after each round."""
    grid = Grid(X, **settings)
    for t in count():
        joined = f.trains(t, **settings)
        U = np.where(joined[:, None], descended(X, X, t, f, a, np.inf, **settings), X)
        X = grid.average(U, joined)
        yield X, grid.step


def ftqc_admm_variables(X, f, a, penalty, relaxation, **settings):
    """y, x_i, z_i and Delta of the next average after each round, from y = prox(z), x_i = z_i = the start."""
    grid, Z = Grid(X, **settings), X
    Y = f.prox(Z, penalty)
    for t in count():
        joined = f.trains(t, **settings)
        active = joined[:, None]
        X = np.where(active, descended(X, 2 * Y - Z, t, f, a, penalty, **settings), X)
        Z = np.where(active, Z + 2 * relaxation * (X - Y), Z)
        Y = f.prox(grid.average(Z, joined), penalty)
        yield Y, X, Z, grid.step


def ftqc_dgd(X, W, f, a, **settings):
    """W is not used: the average is exact on any strongly connected graph."""
    for rows, _ in ftqc_dgd_variables(X, f, a, **settings):
        yield rows


def ftqc_admm(X, W, f, a, **settings):
    for Y, *_ in ftqc_admm_variables(X, f, a, **settings):
        yield Y


METHODS: dict[str, Callable[..., Iterator[np.ndarray]]] = {
    "centralized-prox-gradient": centralised,
    "choco-gossip": choco_gossip,
    "choco-sgd": choco_sgd,
    "d2": d2,
    "dgd": dgd,
    "ef-sgd": ef_sgd,
    "extra": extra,
    "fo-sgd": compressed_sgd,
    "ftqc-admm": ftqc_admm,
    "ftqc-dgd": ftqc_dgd,
    "gradient-tracking": gradient_tracking,
    "lead": lead,
    "nids": nids,
    "pg-extra": pg_extra,
    "prox-dgd": prox_dgd,
    "prox-lead": prox_lead,
    "proxgt-sa": proxgt_sa,
    "proxgt-sr-e": proxgt_sr_e,
    "proxgt-sr-o": proxgt_sr_o,
    "push-sum": push_sum,
    "qsgd-sgd": compressed_sgd,
    "sgd": sgd,
    "sign-sgd": sign_sgd,
}


def iterates(experiment: Experiment, matrices: list[np.ndarray], sent: Sent, rtol: float) -> Iterator[np.ndarray]:
    """X_1, X_2, ... of the reference for an experiment's method, in double precision, from its start.

    In the run's own precision where averages are rounded to a grid: on others' points they would soon be others.
    sent: as ``recorded`` while the package ran; rtol: see ``Wire``.
    """
    settings = asdict(experiment.algorithm)
    if experiment.algorithm.default_compressor is not None:
        settings["wire"] = Wire(experiment, sent, rtol)
    W = cycle(matrices) if len(matrices) > 1 else repeat(matrices[0])
    on_grid = isinstance(experiment.algorithm, CoordinatedAlgorithm)
    start = experiment.start if on_grid else experiment.start.astype(np.float64)
    reference = METHODS[experiment.algorithm.name]
    return reference(start, W, Objective(experiment), settings.pop("step_size"), **settings)


def assert_follows(experiment: Experiment, matrices: list[np.ndarray], iterations: int, rtol: float = 1e-12):
    """The first iterates, and all vectors that were coded, agree to ``rtol`` of the largest entry of the trajectory.

    Both sides work with 1e-16; 40 iterations of a stable method leave some 1e-14.
    """
    sent = recorded(experiment) if experiment.network.compressor else {}
    trajectory = np.array([state.x for state in islice(states(experiment), 1, iterations + 1)])
    reference = np.array(list(islice(iterates(experiment, matrices, sent, rtol), iterations)))
    scale = np.abs(reference).max()
    assert np.abs(reference[-1] - experiment.start).max() > 1e-3 * scale  # it has moved
    np.testing.assert_allclose(trajectory, reference, rtol=0, atol=rtol * scale)
