"""Loss against bytes of SGD with coded messages: figure compression.png and the tables of README.md.

usage: python benchmarks/compression.py   (some two minutes)

Softmax regression on the 1438 training digits of scikit-learn, 8 nodes and a server, float32: dense gradients (64
scaled pixels, batches of 16), and sparse ones (each pixel's value one-hot coded, 1088 features, batches of 1). Every
method has the step size of a grid (factors of 2) at which its final loss is lowest; bytes are those of both ways.
"""

import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from sklearn.datasets import load_digits

from mpiqopt.config.parse import parse
from mpiqopt.errors import NumericalError
from mpiqopt.results.reader import Result, read_result
from mpiqopt.run.loop import run
from mpiqopt.run.start import Options
from mpiqopt.transport.serial import SerialTransport

TEXT = """
run = {{iterations = 3000, seed = 1, dtype = "float32"}}
data = {data}
problem = {{name = "softmax", l2 = 1e-4}}
topology = {{name = "star", nodes = 8}}
algorithm = {{schedule = "inverse-sqrt", decay = 0.01, batch_size = {batch}, step_size = {step}, {algorithm}}}
{compressor}
record.every = 50
"""
# the table, the batch, and the loss to be reached
DATA = {
    "digits, dense gradients": ('{name = "digits", split = "iid", scale = "standard", test_fraction = 0.2}', 16, 0.05),
    "one-hot digits, sparse gradients": (
        '{name = "npz", path = "onehot.npz", split = "iid", test_fraction = 0.2}',
        1,
        0.2,
    ),
}
# label: algorithm, compressor, steps to be tried
STEPS = 2.0 ** np.arange(-8, 3)
METHODS = {
    "SGD, float32": ('name = "sgd"', ""),
    "QSGD, 4 bits, two ways": ('name = "qsgd-sgd", two_way = true', 'name = "qsgd", levels = 7'),
    "TernGrad, two ways": ('name = "qsgd-sgd", two_way = true', 'name = "terngrad"'),
    "signSGD, majority": ('name = "sign-sgd"', ""),
    "scaled sign + error feedback, two ways": ('name = "ef-sgd", two_way = true', 'name = "scaled-sign"'),
    "dithered bit, not flattened, one way": ('name = "qsgd-sgd"', 'name = "one-bit"'),
    "dithered bit, not flattened, two ways": ('name = "qsgd-sgd", two_way = true', 'name = "one-bit"'),
    "FO-SGD, one way": ('name = "fo-sgd"', ""),
    "FO-SGD, two ways": ('name = "fo-sgd", two_way = true', ""),
    "FO-SGD, two ways, c = 2": ('name = "fo-sgd", two_way = true', 'name = "flattened-one-bit", clip = 2.0'),
}


def one_hot(path: Path) -> None:
    """The digits with each of 64 pixels as 17 indicators of its value, sparse."""
    from scipy.sparse import csr_array

    digits = load_digits()
    columns = (17 * np.arange(64) + digits.data.astype(int)).ravel()
    starts = np.arange(0, len(columns) + 1, 64)
    rows = csr_array((np.ones(len(columns)), columns, starts), shape=(len(digits.data), 17 * 64))
    np.savez(path, data=rows.data, indices=rows.indices, indptr=rows.indptr, shape=rows.shape, y=digits.target)


def solve(data: str, method: str, step: float, folder: Path) -> Result | None:
    """The trajectory; None if it diverged."""
    algorithm, compressor = METHODS[method]
    table, batch, _ = DATA[data]
    # signs move every coordinate by the step
    step = step / 100 if "sign-sgd" in algorithm else step
    text = TEXT.format(
        data=table,
        batch=batch,
        step=step,
        algorithm=algorithm,
        compressor=f"compressor = {{{compressor}}}" * bool(compressor),
    )
    try:
        run(
            parse(text, str(folder / "config")), Options(folder / "a.h5", overwrite=True, quiet=True), SerialTransport()
        )
    except NumericalError:
        return None
    result = read_result(folder / "a.h5")
    return result if np.isfinite(result.columns["objective"][-1]) else None


def best(data: str, method: str, folder: Path) -> tuple[float, Result]:
    """The step of the grid with the lowest final loss, and its trajectory."""
    tried = ((step, solve(data, method, step, folder)) for step in STEPS.tolist())
    return min(((s, r) for s, r in tried if r is not None), key=lambda pair: pair[1].columns["objective"][-1])


def bytes_to(result: Result, loss: float) -> float:
    """Bytes until the loss is first at most ``loss``; infinity if it never is."""
    reached = result.columns["objective"] <= loss
    return float(result.columns["bytes"][reached.argmax()]) if reached.any() else np.inf


def compare(data: str, axes, folder: Path) -> None:
    """One table and one row of the figure."""
    results = {method: best(data, method, folder) for method in METHODS}
    target = DATA[data][2]
    print(f"\n{data}: MB until the loss is {target:.3g}\n")
    print("| method | step | final loss | accuracy | bytes an iteration | MB to the loss |")
    print("| --- | --- | --- | --- | --- | --- |")
    for number, (method, (step, result)) in enumerate(results.items()):
        columns = result.columns
        each = columns["bytes"][-1] / columns["iteration"][-1]
        needed = bytes_to(result, target)
        print(
            f"| {method} | {step:g} | {columns['objective'][-1]:.4f} | {columns['accuracy'][-1]:.3f} | {each:.0f} | "
            f"{needed / 1e6:.3g} |".replace("| inf |", "| not reached |")
        )
        for axis, cost in zip(axes, ("bytes", "iteration"), strict=True):
            shown = columns[cost] > 0
            style = ("solid", "dashed")[number % 2]
            axis.plot(columns[cost][shown], columns["objective"][shown], linestyle=style, label=method)
    for axis, label, unit in zip(axes, ("sent, both ways", "iterations"), ("B", ""), strict=True):
        axis.set(xlabel=label, ylabel="loss", xscale="log", yscale="log", title=data)
        axis.xaxis.set_major_formatter(EngFormatter(unit))
        axis.axhline(target, color="black", linestyle="dotted", linewidth=0.8)
        axis.grid(True, alpha=0.3)


if __name__ == "__main__":
    figure = Figure(figsize=(13, 9.5), layout="constrained")
    with tempfile.TemporaryDirectory() as name:
        one_hot(Path(name) / "onehot.npz")
        for data, axes in zip(DATA, figure.subplots(2, 2, sharey="row"), strict=True):
            compare(data, axes, Path(name))
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    figure.savefig(Path(__file__).with_name("compression.png"), dpi=110)
