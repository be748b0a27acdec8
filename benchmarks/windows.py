"""What training a window of a network's blocks takes, relative to training all of it: time, memory, directions.

    OMP_NUM_THREADS=1 python benchmarks/windows.py --model resnet18 --cuts 0 3 7 10

Windows lie between the cuts. Beside each other, on drawn images: freezing by ``requires_grad`` alone, folded float,
8 bits before the window, 8 bits on both sides. Time is that of this process (thread_time), the median of interleaved
repetitions; memory is the resident peak of a fresh process over what it has before there is a network, and above the
loaded network, whose weights every window needs. The cosine is that of the window's gradient to the one of float, after
some steps of training.
"""

import argparse
import json
import subprocess
import sys
import time
from statistics import median

import numpy as np
import torch
from torch.nn import functional

from mpiqopt.memory import trim_memory
from mpiqopt.neural.int8 import has_bfloat16, why_not
from mpiqopt.neural.model import make_model
from mpiqopt.neural.network_blocks import named_blocks, row_blocks
from mpiqopt.neural.partial import Frozen, Partial, Window
from mpiqopt.neural.rows import RowModule
from mpiqopt.neural.window import WindowNetwork

SHAPE, CLASSES, STEP = (3, 32, 32), 10, 0.05
MODES = {
    "naive": None,
    "float": Frozen("float", "float"),
    "int8 before": Frozen("int8", "float"),
    "int8": Frozen("int8", "int8"),
}


class Setting:
    """A network with settled statistics, and a batch."""

    def __init__(self, model: str, batch: int):
        self._drawn, self._batch = torch.Generator().manual_seed(0), batch
        self._patterns = torch.randn(CLASSES, 3, 4, 4, generator=self._drawn)
        self.draw()
        self.net = RowModule(make_model(model, SHAPE, CLASSES, {}, seed=0), torch.float32, torch.device("cpu"))
        self.blocks = row_blocks(self.net, named_blocks(self.net.model))
        self.scales = np.zeros(self.blocks[-1].scales.stop, np.float32)

    def draw(self) -> None:
        """Draw another batch: a smooth pattern a class, with smooth and rough noise."""
        self.targets = torch.randint(CLASSES, (self._batch,), generator=self._drawn)
        smooth = torch.randn(self._batch, 3, 8, 8, generator=self._drawn)
        rough = torch.randn(self._batch, *SHAPE, generator=self._drawn)
        patterns = functional.interpolate(self._patterns[self.targets], size=SHAPE[1:], mode="bilinear")
        self.inputs = patterns + 2 * functional.interpolate(smooth, size=SHAPE[1:], mode="bilinear") + 0.3 * rough

    def settle(self, steps: int) -> None:
        """Train the whole network for some steps, so that statistics settle, and learn the scales."""
        for _ in range(steps):
            self.net.gradient.zero_()
            self.step(self.net)
            self.net.row[: self.net.weights].add_(self.net.gradient[: self.net.weights], alpha=-STEP)
            self.draw()
        start = self.net.row.clone()
        whole = WindowNetwork(self.net, self.blocks, Partial(Window(0, len(self.blocks) - 1), Frozen(), self.scales))
        whole.train(True)
        with torch.no_grad():
            whole.forward(self.inputs)
        self.scales = whole.observed()
        whole.close()
        self.net.load(start)
        self.draw()

    def window(self, window: Window, mode: str) -> WindowNetwork:
        """Return the network with a window."""
        frozen = MODES[mode]
        made = WindowNetwork(self.net, self.blocks, Partial(window, frozen or Frozen(), self.scales))
        if frozen is None:
            made.compute_as_it_is()
        made.train(True)
        return made

    def step(self, network: RowModule | WindowNetwork) -> float:
        """Return the seconds of a gradient."""
        network.train(True)
        began = time.thread_time()
        functional.cross_entropy(network.forward(self.inputs), self.targets).backward()
        return time.thread_time() - began

    def gradient(self, network: WindowNetwork) -> torch.Tensor:
        """Return the gradient of the window's parameters."""
        part = network.parameters
        self.net.gradient[part].zero_()
        self.step(network)
        return self.net.gradient[part].clone()


def times_and_cosines(
    model: str, batch: int, windows: list[Window], repeats: int, steps: int
) -> dict[str, dict[str, float]]:
    """Return for each window and mode the time relative to a full gradient, and the cosine."""
    setting = Setting(model, batch)
    setting.settle(steps)
    start = setting.net.row.clone()
    found: dict[str, dict[str, float]] = {}
    for window in windows:
        taken: dict[str, list[float]] = {mode: [] for mode in MODES}
        gradients, full = {}, []
        for _ in range(repeats):
            full.append(setting.step(setting.net))
            for mode in MODES:
                network = setting.window(window, mode)
                setting.net.load(start)
                gradients[mode] = setting.gradient(network)
                taken[mode].append(setting.step(network))
                network.close()
        for mode, seconds in taken.items():
            cosine = functional.cosine_similarity(gradients[mode].double(), gradients["float"].double(), dim=0).item()
            found[f"{window} {mode}"] = {"time": median(seconds) / median(full), "cosine": cosine}
    return found


def resident(field: str) -> float:
    """Return VmRSS or VmHWM of this process in MB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1000 for line in status if line.startswith(field))


def measure_memory(model: str, batch: int, window: Window | None, mode: str) -> tuple[float, float]:
    """Return the resident peak of three steps in this process; window: None for all blocks.

    In MB over what it had before there was a network, and over what it had when that was loaded.
    """
    why_not()
    tiny = torch.randn(1, 4, 8, 8, requires_grad=True)
    functional.conv2d(tiny, torch.randn(4, 4, 3, 3, requires_grad=True)).sum().backward()
    before = resident("VmRSS")
    setting = Setting(model, batch)
    setting.scales[:] = 5.0  # as if known: what they are takes no memory
    trim_memory()
    loaded = resident("VmRSS")
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    network = setting.net if window is None else setting.window(window, mode)
    trained = slice(0, setting.net.weights) if window is None else network.parameters
    for _ in range(3):
        setting.net.gradient[trained].zero_()
        setting.step(network)
        setting.net.row[trained].add_(setting.net.gradient[trained], alpha=-0.01)
    peak = resident("VmHWM")
    return peak - before, peak - loaded


def measured_in_a_process(model: str, batch: int, window: Window | None, mode: str) -> tuple[float, float]:
    """Return ``measure_memory`` of a fresh process."""
    where = "" if window is None else str(window)
    command = [sys.executable, __file__, "--model", model, "--batch", str(batch), "--memory-of", where, mode]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    over_all, over_network = map(float, said.split())
    return over_all, over_network


def main() -> None:
    """Print a table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", default="resnet18")
    arguments.add_argument("--batch", type=int, default=32)
    arguments.add_argument("--cuts", type=int, nargs="+", default=[0, 3, 7, 10])
    arguments.add_argument("--repeats", type=int, default=7)
    arguments.add_argument("--steps", type=int, default=100, help="of training before anything is measured")
    arguments.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    if given.memory_of:
        where, mode = given.memory_of
        window = Window(*map(int, where.split("-"))) if where else None
        print(*measure_memory(given.model, given.batch, window, mode))
        return
    windows = [Window(first, end - 1) for first, end in zip(given.cuts[:-1], given.cuts[1:], strict=True)]
    print(f"PyTorch {torch.__version__}, 8 bits: {why_not() or 'yes'}, bfloat16: {has_bfloat16()}")
    found = times_and_cosines(given.model, given.batch, windows, given.repeats, given.steps)
    full = measured_in_a_process(given.model, given.batch, None, "")
    print(f"{given.model}, batch {given.batch}: all blocks take {full[0]:.0f} MB, {full[1]:.0f} MB above the network")
    for window in windows:
        for mode in MODES:
            memory = measured_in_a_process(given.model, given.batch, window, mode)
            row = found[f"{window} {mode}"] | {"memory": memory[0] / full[0], "above network": memory[1] / full[1]}
            print(f"{window!s:>6} {mode:12}", json.dumps({name: round(value, 3) for name, value in row.items()}))


if __name__ == "__main__":
    main()
