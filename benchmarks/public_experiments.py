"""Two public experiments on a9a repeated, and the gossip steps that coded gossip bears: tables of README.md.

usage: python benchmarks/public_experiments.py A9A.GZ [beer] [choco] [gamma]   (ten minutes; by default all three)

A9A.GZ: the training part of a9a in LIBSVM's format (123 features, the first 32,560 rows); accuracies are those on
a9a.t.gz, if it is in the same folder.

* ``beer``: the convex-data experiment of Zhao, Li, Li, Richtarik, Chi, "BEER", NeurIPS 2022 (github.com/liboyue/beer):
  logistic regression with .05 sum x^2/(1 + x^2), sorted by label, ring of 10 with FDLA weights, batches of 100, step
  .1, 2000 iterations.
* ``choco``: the convex experiment of Koloskova, Stich, Jaggi, "Decentralized stochastic optimization and gossip
  algorithms with compressed communication", ICML 2019 (github.com/epfml/ChocoSGD): l2-regularised logistic regression,
  rows of norm 1, ring of 9, batches of 1, 10 passes, steps .1 m/(t + d), their gamma and the automatic one.
* ``gamma``: the largest stable and the best gossip step of CHOCO-gossip on random vectors, and of CHOCO-SGD in the
  setting of ``choco``, sorted, with fewer iterations; beside delta and what ``gossip_step = "auto"`` gives.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tomli_w
from scipy.optimize import minimize
from scipy.sparse import csr_array, hstack, save_npz
from sklearn.datasets import load_svmlight_file
from sklearn.preprocessing import normalize

from mpiqopt.config.parse import parse
from mpiqopt.errors import NotFinite
from mpiqopt.run.assembly import Experiment, assemble
from mpiqopt.transport.serial import SerialTransport

SAMPLES, FEATURES = 32560, 123
Table = dict[str, Any]


def assembled(**tables: Table) -> Experiment:
    """Return the package's objects for a config that is given table by table."""
    return assemble(parse(tomli_w.dumps(tables), "public_experiments"), SerialTransport())


def final(e: Experiment, iterations: int) -> np.ndarray:
    """Return the iterates (nodes, d) after so many iterations; raises NotFinite where they diverge beyond numbers."""
    state = e.algorithm.init(e.start, e.problem, e.network, e.streams)
    with np.errstate(all="ignore"):
        for _ in range(iterations):
            state = e.algorithm.step(state, e.problem, e.network, e.streams)
    return state.x


def header(*columns: str) -> None:
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}", flush=True)


def row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


# BEER's experiment

BEER_NODES, BEER_ITERATIONS, BEER_SEEDS = 10, 2000, 5
QSGD = {"name": "qsgd", "levels": 16, "block_size": 0}


class Published(NamedTuple):
    """Of a method after 2000 iterations: objective, and accuracy on the test data."""

    objective: str
    accuracy: str


# DSGD mixes before the step in the notebook's program; mixing after it is CHOCO-SGD with exact messages and gamma = 1.
# BEER is gradient tracking with both variables coded, one round each: ProxGT with K = 1 but for the order of two lines.
BEER_METHODS: dict[str, tuple[Table, Table | None, Published]] = {
    "BEER, 5-bit gsgd": (
        {"name": "proxgt-sa", "gossip_rounds": 1, "chebyshev": False, "gossip_step": 0.7},
        QSGD,
        Published("", ".79"),
    ),
    "CHOCO-SGD, 5-bit gsgd": ({"name": "choco-sgd", "gossip_step": 0.7}, QSGD, Published(".4996", ".769")),
    "D2": ({"name": "d2"}, None, Published(".4963", ".790")),
    "DSGD, W X - a G": ({"name": "dgd"}, None, Published(".499", "")),
    "DSGD, W (X - a G)": ({"name": "choco-sgd", "gossip_step": 1.0}, None, Published(".498", "")),
}


def with_intercept(path: Path) -> tuple[csr_array, np.ndarray]:
    """Return features (samples, 124), the last one 1, and labels."""
    features, labels = load_svmlight_file(str(path), n_features=FEATURES)
    return csr_array(hstack([features, np.ones((features.shape[0], 1))])), labels


def scaled(a9a: Path, folder: Path) -> tuple[Path, float]:
    """Write features, intercept included, divided by the number that makes the logistic loss 1-smooth; return both."""
    features, labels = with_intercept(a9a)
    if features.shape[0] != SAMPLES:
        raise SystemExit(f"{a9a}: want {SAMPLES} samples, got {features.shape[0]}")
    largest = np.linalg.eigvalsh((features.T @ features).toarray())[-1]
    divisor = float(np.sqrt(largest / SAMPLES) / 2)
    path = folder / "scaled.npz"
    save_npz(path, features / divisor)
    np.savez(path, **np.load(path), y=labels)
    return path, divisor


def beer(a9a: Path, folder: Path) -> None:
    """Print the table of BEER's experiment."""
    path, divisor = scaled(a9a, folder)
    # the notebook's start: uniform on [0, 1), another one at every node
    start = np.random.RandomState(0).rand(FEATURES + 1, BEER_NODES).T
    np.save(folder / "start.npy", np.ascontiguousarray(start))
    held_out = a9a.with_name("a9a.t.gz")
    test = with_intercept(held_out) if held_out.exists() else None
    header("method", "objective", "published", "test accuracy", "published ", "gradient norm", "consensus")
    for label, (algorithm, compressor, published) in BEER_METHODS.items():
        ends = []
        for seed in range(BEER_SEEDS):
            e = assembled(
                run={"seed": seed, "start": str(folder / "start.npy")},
                data={"name": "npz", "path": str(path), "split": "by-label"},
                problem={"name": "logistic", "nonconvex": 0.05},
                topology={"name": "ring", "nodes": BEER_NODES, "weights": "fdla"},
                algorithm=algorithm | {"batch_size": 100, "step_size": 0.1},
                **({} if compressor is None else {"compressor": compressor}),
            )
            x = final(e, BEER_ITERATIONS)
            metrics = e.evaluate(x)
            accuracy = np.nan if test is None else np.mean((test[0] @ x.mean(axis=0) > 0) == (test[1] > 0))
            ends.append((metrics.objective, accuracy, np.sqrt(metrics.stationarity), metrics.consensus))
        objective, accuracy, gradient, consensus = np.mean(ends, axis=0)
        spread = np.std(ends, axis=0)[0]
        shown = "" if test is None else f"{accuracy:.3f}"
        numbers = f"{gradient:.4f}", f"{consensus:.2g}"
        row(label, f"{objective:.4f} ± {spread:.4f}", published.objective, shown, published.accuracy, *numbers)
    print(f"\nlambda of W: {e.config.topology().contraction:.6f} (notebook: 0.825665); divisor {divisor:.4f}\n")


# CHOCO-SGD's experiment

CHOCO_NODES, CHOCO_PASSES, CHOCO_SEEDS = 9, 10, (1, 2, 3, 4)
PASS = SAMPLES // CHOCO_NODES
# the published gap to the optimum: sorted, random split; "": not known, None: not repeated
CHOCO_METHODS: dict[str, tuple[Table, Table | None, str, str | None]] = {
    "DSGD, exact messages": ({"gossip_step": 1.0}, None, "", "4e-4"),
    "qsgd, 16 levels": ({"gossip_step": 0.34}, QSGD, "9e-4", "4e-4"),
    "qsgd, 16 levels, auto": ({}, QSGD, "", None),
    "top 1 %": ({"gossip_step": 0.04}, {"name": "top-k", "fraction": 0.01}, "1.3e-2", ""),
    "top 1 %, auto": ({}, {"name": "top-k", "fraction": 0.01}, "", None),
    "random 1 %": ({"gossip_step": 0.01}, {"name": "random-k", "fraction": 0.01}, "4.7e-2", "4.7e-4"),
    "random 1 %, auto": ({}, {"name": "random-k", "fraction": 0.01}, "", None),
}


def smallest_loss(a9a: Path) -> float:
    """Return the minimum over x of (1/m) sum_j log(1 + exp(-b_j a_j.x)) + |x|^2/(2m), |a_j| = 1."""
    features, labels = load_svmlight_file(str(a9a), n_features=FEATURES)
    rows, signs = normalize(features), np.where(labels > 0, 1.0, -1.0)

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        margins = signs * (rows @ x)
        pull = rows.T @ (signs / (1 + np.exp(margins)))
        return np.mean(np.logaddexp(0, -margins)) + x @ x / (2 * SAMPLES), (x - pull) / SAMPLES

    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 0, "gtol": 1e-10}
    return float(minimize(loss, np.zeros(FEATURES), jac=True, method="L-BFGS-B", options=options).fun)


class Choco(NamedTuple):
    """The setting: steps .1 m/(t + d) = a/(1 + t/d) with a = .1 m/d, the same start N(0, .01^2) at all nodes."""

    a9a: Path
    folder: Path
    smallest: float

    def experiment(self, algorithm: Table, compressor: Table | None, topology: Table, split: str, seed: int):
        start = self.folder / f"start{seed}.npy"
        if not start.exists():
            np.save(start, np.random.RandomState(seed).normal(0, 0.01, FEATURES))
        steps = {"step_size": 0.1 * SAMPLES / FEATURES, "schedule": "inverse", "decay": 1 / FEATURES}
        return assembled(
            run={"seed": seed, "start": str(start)},
            data={
                "name": "libsvm",
                "path": str(self.a9a),
                "features": FEATURES,
                "split": split,
                "scale": "unit-rows",
            },
            problem={"name": "logistic", "l2": 1 / SAMPLES},
            topology=topology,
            algorithm={"name": "choco-sgd", "batch_size": 1} | steps | algorithm,
            **({} if compressor is None else {"compressor": compressor}),
        )

    def gap(self, e: Experiment, iterations: int) -> float:
        """Return F - F* of the mean iterate; infinite where the run diverges."""
        try:
            value = e.evaluate(final(e, iterations)).objective - self.smallest
        except NotFinite:
            return np.inf
        return value if np.isfinite(value) else np.inf

    def of_step(self, step: float, compressor: Table, topology: Table) -> float:
        """Return the gap of a gossip step on sorted data after SGD_ITERATIONS."""
        return self.gap(self.experiment({"gossip_step": step}, compressor, topology, "by-label", 0), SGD_ITERATIONS)


def choco(a9a: Path, folder: Path) -> None:
    """Print the table of CHOCO-SGD's experiment."""
    setting = Choco(a9a, folder, smallest_loss(a9a))
    ring = {"name": "ring", "nodes": CHOCO_NODES}
    header("messages", "gamma", "F - F*, sorted", "published", "F - F*, random split", "published ")
    for label, (algorithm, compressor, *published) in CHOCO_METHODS.items():
        cells = []
        for split, known in zip(("by-label", "iid"), published, strict=True):
            if known is None:
                cells += ["", ""]
                continue
            runs = [setting.experiment(algorithm, compressor, ring, split, seed) for seed in CHOCO_SEEDS]
            gaps = [setting.gap(e, CHOCO_PASSES * PASS) for e in runs]
            cells += [f"{np.mean(gaps):.1e} ± {np.std(gaps):.0e}", known]
        row(label, f"{runs[0].algorithm.gossip_step:.3g}", *cells)
    print(f"\nF* = {setting.smallest:.6f}\n")


# The gossip step

GOSSIP_ITERATIONS, SGD_ITERATIONS = 2000, 6000
FACTOR = 2**0.25  # to which gammas are found
SMALLEST = 1e-3  # gamma that is tried
# of its start: below, gossip is finished; above, it has blown up
FINISHED, BLOWN_UP = 1e-24, 1e8
# SGD whose gap is larger than this many times that of the automatic gamma counts as unstable
WORSE = 1.5
TOPOLOGIES: dict[str, Table] = {
    "ring 8": {"name": "ring", "nodes": 8},
    "ring 16": {"name": "ring", "nodes": 16},
    "torus 16": {"name": "torus", "nodes": 16},
}
COMPRESSORS: dict[str, Table] = {
    **{f"top-k, {share:.0%}": {"name": "top-k", "fraction": share} for share in (0.01, 0.05, 0.1, 0.25)},
    **{f"random-k, {share:.0%}": {"name": "random-k", "fraction": share} for share in (0.01, 0.05, 0.1, 0.25)},
    **{f"qsgd, s = {levels}": {"name": "qsgd", "levels": levels, "block_size": 0} for levels in (1, 2, 4, 16)},
    "scaled-sign": {"name": "scaled-sign"},
    "one-bit": {"name": "one-bit"},
}


def gossip(folder: Path, topology: Table, compressor: Table, gamma: float | str) -> Experiment:
    """Return CHOCO-gossip of vectors N(0, I), d = 123, whose mean is 0: its rounding would be a floor."""
    nodes = topology["nodes"]
    vectors = np.random.default_rng(5).standard_normal((nodes, FEATURES))
    path = folder / f"vectors{nodes}.npz"
    np.savez(path, X=vectors - vectors.mean(axis=0), y=np.arange(nodes) % 2.0)
    return assembled(
        run={"seed": 0},
        data={"name": "npz", "path": str(path), "split": "contiguous"},
        problem={"name": "mean"},
        topology=topology,
        algorithm={"name": "choco-gossip", "gossip_step": gamma},
        compressor=compressor,
    )


def rate(e: Experiment) -> float:
    """Return the factor of the root of |X - mean|^2 + |X - X^|^2 in an iteration, fitted to the last two thirds.

    Infinite where vectors diverge beyond numbers.
    """
    state = e.algorithm.init(e.start, e.problem, e.network, e.streams)
    logs: list[tuple[int, float]] = []
    with np.errstate(all="ignore"):
        for k in range(1, GOSSIP_ITERATIONS + 1):
            try:
                state = e.algorithm.step(state, e.problem, e.network, e.streams)
            except NotFinite:
                return np.inf
            if k % 5 and k > 1:
                continue
            apart, unsent = state.x - state.x.mean(axis=0), state.x - state.memory.sent
            logs.append((k, float(np.log(np.sum(apart * apart) + np.sum(unsent * unsent)))))
            if not logs[0][1] + np.log(FINISHED) < logs[-1][1] < logs[0][1] + np.log(BLOWN_UP):
                break
    kept = np.array(logs[len(logs) // 3 :])
    return float(np.exp(np.polyfit(kept[:, 0], kept[:, 1], 1)[0] / 2))


class Tried:
    """A function of gamma, smaller is better, that remembers what it gave."""

    def __init__(self, function: Callable[[float], float]):
        self.function, self.values = function, {}

    def __call__(self, gamma: float) -> float:
        if gamma not in self.values:
            self.values[gamma] = self.function(gamma)
        return self.values[gamma]

    def largest(self, limit: float, first: float) -> float:
        """Return the largest gamma, 1 at most, up to which values are below ``limit``: from ``first`` by doubling."""
        low, high = first, min(1.0, 2 * first)
        while low > SMALLEST and not self(low) < limit:
            low, high = low / 2, low
        while low < 1 and self(high) < limit:
            low, high = high, min(1.0, 2 * high)
        while high / low > 1.01 * FACTOR:
            middle = float(np.sqrt(low * high))
            low, high = (middle, high) if self(middle) < limit else (low, middle)
        return low

    def best(self, largest: float) -> float:
        """Return the gamma of the smallest value, from the largest one downwards."""
        gamma = largest
        while gamma > SMALLEST and self(gamma / FACTOR) < self(gamma):
            gamma /= FACTOR
        return gamma


def gamma(a9a: Path, folder: Path) -> None:
    """Print what gossip steps each compressor bears over each topology, and what they lead to."""
    setting = Choco(a9a, folder, smallest_loss(a9a))
    measures = "largest", "largest m/delta", "best", "auto -> best"
    header("network", "compressor", "delta", "auto", *measures, "SGD: largest", "SGD: best", "SGD: auto -> best")
    for network, topology in TOPOLOGIES.items():
        for label, compressor in COMPRESSORS.items():
            e = gossip(folder, topology, compressor, "auto")
            auto, delta = e.algorithm.gossip_step, e.network.codec(e.start).delta
            own = 1 - e.config.topology().cycle[0].dense().diagonal().min()
            rates = Tried(lambda step: rate(gossip(folder, topology, compressor, step)))  # noqa: B023
            gaps = Tried(lambda step: setting.of_step(step, compressor, topology))  # noqa: B023
            most, sgd_most = rates.largest(1.0, auto), gaps.largest(WORSE * gaps(auto), auto)
            best, sgd_best = rates.best(most), gaps.best(sgd_most)
            row(
                *(network, label, f"{delta:.3g}", f"{auto:.3g}", f"{most:.2g}", f"{most * own / delta:.2g}"),
                *(f"{best:.2g}", f"{rates(auto):.4f} -> {rates(best):.4f}"),
                *(f"{sgd_most:.2g}", f"{sgd_best:.2g}", f"{gaps(auto):.1e} -> {gaps(sgd_best):.1e}"),
            )
    print("\nm = max_i (1 - w_ii): 2/3 on rings, 4/5 on the torus.\n")


if __name__ == "__main__":
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= {"beer", "choco", "gamma"}:
        raise SystemExit(__doc__)
    data, chosen = Path(sys.argv[1]).resolve(), sys.argv[2:] or ["beer", "choco", "gamma"]
    with tempfile.TemporaryDirectory() as scratch:
        for part in (beer, choco, gamma):
            if part.__name__ in chosen:
                part(data, Path(scratch))
