"""Time to a target loss over a link of 100 Mbit/s, with and without compression: the table of README.md.

usage: python benchmarks/throttled.py [RATE]      (as root on Linux, MPICH; two minutes)

Two ranks with one node each, in network namespaces joined by a throttled link (thin_link.py): softmax regression on
the one-hot coded digits of compression.py, 10,880 parameters, full gradients, float64, the step 1/L for all. The bytes
on the wire are checked against those that the runs report.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from compression import one_hot
from thin_link import thin_link

from mpiqopt.results.reader import read_result

TEXT = """
run = {{iterations = 1500}}
data = {{name = "npz", path = "onehot.npz", split = "dirichlet"}}
problem = {{name = "softmax", l2 = 1e-3}}
topology = {{name = "ring", nodes = 2}}
algorithm = {{step_size = 0.073, {algorithm}}}
compressor = {{{compressor}}}
record.every = 20
"""
RUNS = {
    "LEAD, identity": ('name = "lead"', 'name = "identity"'),
    "LEAD, qsgd 8 bits": ('name = "lead"', 'name = "qsgd"'),
    "LEAD, qsgd 4 bits": ('name = "lead"', 'name = "qsgd", levels = 7'),
    "SGD (full gradients), identity": ('name = "sgd"', 'name = "identity"'),
    "error feedback, flattened one-bit, two ways": (
        'name = "ef-sgd", two_way = true',
        'name = "flattened-one-bit", clip = 1.5',
    ),
    "error feedback, scaled sign, two ways": ('name = "ef-sgd", two_way = true', 'name = "scaled-sign"'),
}


def first(columns: dict[str, np.ndarray], name: str, target: float) -> float:
    """The value of a quantity when the objective is first at most the target."""
    reached = columns["objective"] <= target
    return float(columns[name][reached.argmax()]) if reached.any() else np.inf


def main(rate: str) -> None:
    results = {}
    with thin_link(rate) as link, tempfile.TemporaryDirectory() as name:
        config, result = Path(name) / "a.toml", Path(name) / "a.h5"
        one_hot(Path(name) / "onehot.npz")
        for label, (algorithm, compressor) in RUNS.items():
            config.write_text(TEXT.format(algorithm=algorithm, compressor=compressor))
            link.run([sys.executable, "-m", "mpiqopt", "run", config, "-o", result, "-q", "--overwrite"], timeout=600)
            link.check(result)
            results[label] = read_result(result).columns
    plain = results["SGD (full gradients), identity"]
    target = plain["objective"][plain["iteration"] == 1000].item()
    print(f"{rate}: until the loss {target:.4f}, that of gradient descent after 1000 iterations\n")
    print("| method | iterations | MB sent | seconds | of which coding | times faster |")
    print("| --- | --- | --- | --- | --- | --- |")
    for label, columns in results.items():
        seconds = first(columns, "time", target)
        if "identity" in label:
            reference = seconds
        coding = f"{first(columns, 'codec_time', target):.2f}" if "codec_time" in columns else ""
        print(
            f"| {label} | {first(columns, 'iteration', target):.0f} | {first(columns, 'bytes', target) / 1e6:.1f} | "
            f"{seconds:.2f} | {coding} | {reference / seconds:.1f} |"
        )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "100mbit")
