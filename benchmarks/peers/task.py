"""The training task of federated_speed.py, shared by all that are compared: the samples, the networks and the numbers.

Drivers import nothing of mpiqopt, so that each runs in the environment of its framework; they read the samples from an
.npz file and print one line of JSON (``report``).
"""

import contextlib
import functools
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

COHORT = 50
BATCH = 10
LOCAL_RATE = 0.1
SERVER_RATE = 1.0
EVERY = 10  # rounds from one evaluation to the next, also the rounds of a block


def read_samples(path: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the clients' features (clients, points, 1, 28, 28) and labels, and those held out, float32 and int64."""
    file = np.load(path)
    return tuple(torch.from_numpy(file[name]) for name in ("features", "labels", "test_features", "test_labels"))


def make_network(name: str, seed: int = 0) -> nn.Module:
    """Return the network `name` with PyTorch's usual random start: "cnn" (1.2 M parameters) or "softmax" (7850)."""
    torch.manual_seed(seed)
    if name == "softmax":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    convolutions = nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    network = nn.Sequential(*convolutions, nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10))
    # some 10 % faster on a CPU, for whoever trains it
    return network.to(memory_format=torch.channels_last)


@functools.cache
def worker(path: str, name: str) -> tuple[tuple[torch.Tensor, ...], nn.Module, torch.optim.Optimizer]:
    """Return samples, network and optimizer of a process that trains clients, made at its first call."""
    torch.set_num_threads(1)
    network = make_network(name)
    return read_samples(path), network, torch.optim.SGD(network.parameters(), LOCAL_RATE)


@torch.no_grad()
def accuracy(network: nn.Module, features: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the fraction of samples whose largest output is that of their label."""
    return (network(features).argmax(1) == labels).float().mean().item()


def processor_seconds() -> float:
    """Return the processor time that this process and its living descendants have used (Linux)."""
    ticks, parents = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # a process that has just ended
            process, fields = int(path.parent.name), path.read_text().rpartition(")")[2].split()
            parents[process], ticks[process] = int(fields[1]), int(fields[11]) + int(fields[12])
    family = {os.getpid()}
    while grown := {child for child, parent in parents.items() if parent in family} - family:
        family |= grown
    return sum(ticks[process] for process in family) / os.sysconf("SC_CLK_TCK")


class Blocks:
    """Take the times at the ends of blocks of rounds; the first block is warm-up."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float]] = []

    def end(self) -> None:
        """Note that a block, with its evaluation, is over."""
        self.times.append((time.perf_counter(), processor_seconds()))

    def report(self, reached: float, **versions: str) -> None:
        """Print seconds and processor seconds of each block but the first, the last accuracy, and versions, as JSON."""
        seconds, processor = np.diff(self.times, axis=0).T.tolist()
        outcome = {"seconds": seconds, "processor": processor, "accuracy": reached}
        print(json.dumps({**outcome, **versions, "torch": torch.__version__}), flush=True)


def arguments() -> tuple[str, str, int]:
    """Return what the command line says: path of the samples, name of the network, rounds."""
    torch.set_num_threads(1)
    return sys.argv[1], sys.argv[2], int(sys.argv[3])
