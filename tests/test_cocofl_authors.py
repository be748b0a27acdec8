"""What the authors' public code of CoCoFL (Pfeiffer et al., TMLR 2023) answers to inputs of ours, and what we answer.

Their code was run once, with PyTorch 2.13 on a CPU, and is not needed here: the numbers of this file were made up by
us, or printed by it.
"""

import numpy as np
import pytest
from tools.experiments import assembled

from mpiqopt.algorithms.cocofl import CoCoFL
from mpiqopt.algorithms.federated_portions import Portions
from mpiqopt.algorithms.federated_round import State
from mpiqopt.algorithms.federated_uploads import Uploads
from mpiqopt.emulation.devices import Limits
from mpiqopt.federation.feasible import FeasibleCosts
from mpiqopt.federation.windows import Cost, maximal_windows
from mpiqopt.network.parts import Parts

# made-up costs of windows, in per cent: (first, last, time, memory, upload)
FIVE = """0 0 20 14 27  0 1 54 38 34  0 2 76 62 56  0 3 50 82 96  0 4 100 100 100  1 1 19 18 14  1 2 31 48 32
1 3 49 83 59  1 4 110 83 94  2 2 16 28 15  2 3 41 44 28  2 4 73 80 65  3 3 13 19 20  3 4 26 51 45  4 4 21 25 16"""
EIGHT = """0 0 10 16 10  0 1 17 30 27  0 2 28 31 24  0 3 56 36 52  0 4 59 59 71  0 5 83 86 103  0 6 80 77 66
0 7 100 100 100  1 1 11 12 17  1 2 29 17 17  1 3 29 43 49  1 4 64 46 56  1 5 63 81 67  1 6 71 82 99  1 7 111 101 87
2 2 11 10 13  2 3 17 29 16  2 4 36 48 49  2 5 45 54 69  2 6 76 47 58  2 7 55 81 56  3 3 9 16 8  3 4 17 25 24
3 5 41 51 38  3 6 60 55 53  3 7 63 49 86  4 4 14 8 13  4 5 21 31 34  4 6 23 23 31  4 7 63 32 34  5 5 17 11 12
5 6 16 22 23  5 7 38 27 23  6 6 10 11 12  6 7 27 33 21  7 7 17 10 8"""


@pytest.mark.parametrize(
    ("costs", "time", "upload", "memory", "windows"),
    [
        (FIVE, 1.0, 1.0, 1.0, "0-4"),
        (FIVE, 0.56, 0.56, 0.78, "0-1 1-2 2-3 3-4"),
        (FIVE, 0.27, 0.17, 0.87, "1-1 2-2 4-4"),
        (FIVE, 0.35, 0.11, 0.68, ""),
        (EIGHT, 1.0, 1.0, 1.0, "0-7"),
        (EIGHT, 0.91, 0.88, 0.81, "0-6 2-7"),
        (EIGHT, 0.27, 0.51, 0.7, "0-1 2-3 3-4 4-6 6-7"),
        (EIGHT, 0.15, 0.98, 0.65, "0-0 1-1 2-2 3-3 4-4 6-6"),
        (EIGHT, 0.45, 0.5, 0.82, "0-2 1-3 2-4 3-5 4-6 5-7"),
        (EIGHT, 0.84, 0.59, 0.81, "0-3 1-4 2-7"),
    ],
)
def test_same_windows(costs, time, upload, memory, windows):
    """A device draws among the windows that their filter_table leaves, also where windows cost more than the whole."""
    table = [Cost(int(each[0]), int(each[1]), *each[2:] / 100) for each in np.fromstring(costs, sep=" ").reshape(-1, 5)]
    fits = FeasibleCosts(table, [str(cost.window) for cost in table]).fit(Limits(time, memory, upload))
    possible = maximal_windows([table[k] for k in np.flatnonzero(fits)])
    assert " ".join(str(cost.window) for cost in possible) == windows


# Four clients train blocks 0 and 1, 1 and 2, 1, 2 of four blocks. A row has weights of each block, then two running
# means of block 1; two scales belong to block 1, one to block 2.
ROW = Parts(12, [[slice(0, 3)], [slice(3, 7), slice(10, 12)], [slice(7, 9)], [slice(9, 10)]])
SCALES = Parts(3, [[], [slice(0, 2)], [slice(2, 3)], []])
TRAINED = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 1, 0]], bool)
OLD = [1, -2, 0.5, 0.25, 3, -1, 0, 7, 8, 9, 0.5, 4]
CLIENTS = [
    [2, -1, 0.75, 0.5, 2, -2, 1, 0, 0, 0, 1.5, 3],
    [0, 0, 0, 1, 2.5, 0, 0.125, 6, 10, 0, -0.5, 2],
    [0, 0, 0, 0, 1, 3, 0.25, 0, 0, 0, 0.25, 0],
    [0, 0, 0, 0, 0, 0, 0, 5, -4, 0, 0, 0],
]
CLIENT_SCALES = [[0.3, 0.6, 0], [0.5, 0.1, 0.8], [0.1, 0.2, 0], [0, 0, 0.3]]
# their CoCoFLServer.model_averaging of these
AVERAGE = [1.25, -1.75, 0.5625, 0.4375, 2.125, 0, 0.34375, 6.25, 5.5, 9, 0.4375, 2.25]
AVERAGE_SCALES = [0.3, 0.3, 0.55]


def test_same_average():
    """Blocks that many, some and none have trained become the same; scales are the mean of those who trained."""
    data = {"name": "synthetic", "samples": 8, "features": 2}
    network = assembled({"name": "star", "nodes": 4}, {"name": "least-squares"}, {"name": "sgd"}, data=data).network
    old, portions, method = np.array(OLD, float), Portions(ROW, SCALES), CoCoFL(step_size=0.1)
    uploads = Uploads(network, portions, np.arange(4), TRAINED, np.ones(4), old.dtype)
    assert uploads.beside is not None
    for node, (row, scales) in enumerate(zip(CLIENTS, CLIENT_SCALES, strict=True)):
        uploads.messages.add(node, row - old)
        uploads.beside.add(node, np.array(scales, np.float32))
    heard = uploads.finish()
    moved = old + heard.mean * ROW.spread(method.counts_for(heard.coverage), old.dtype)
    np.testing.assert_allclose(moved, AVERAGE, rtol=1e-15)
    before = State(*[None] * len(State._fields))._replace(x=old[None], common=np.full((1, 3), 0.1, np.float32))
    np.testing.assert_allclose(method.receive_beside(heard, portions, before).common[0], AVERAGE_SCALES, rtol=1e-6)


# parameters, and running statistics but those of their norms that keep none, of a message of a client of theirs
UPLOADS = {
    "resnet18": {
        "0-9": (11173962, 9472), "0-0": (1856, 0), "1-1": (73984, 256), "2-4": (599552, 1536), "3-6": (2625280, 3840),
        "4-7": (6068224, 6144), "8-9": (4725770, 2048), "9-9": (5130, 0),
    },
    "mobilenetv2": {
        "0-19": (2296922, 32464), "0-0": (928, 0), "0-5": (42704, 2768), "7-7": (21056, 896), "8-9": (108544, 3328),
        "10-16": (1159040, 19520), "11-17": (1630528, 22976), "15-19": (1590730, 13440), "19-19": (12810, 0),
    },
}  # fmt: skip
# blocks whose norms keep no running statistics there, and their channels
WITHOUT = {"resnet18": {0: 64}, "mobilenetv2": {0: 32, 18: 1280}}


@pytest.mark.torch
@pytest.mark.parametrize("model", UPLOADS)
def test_same_uploads(model):
    """The same blocks have the same numbers; ours have running statistics in the stem and the last convolution, too."""
    from mpiqopt.neural.model import blocks, describe, make_model

    network = make_model(model, (3, 32, 32), 10, {}, seed=0)
    parameters = [count for _, count in describe(network)]
    statistics = [sum(map(_statistics, map(network.get_submodule, names))) for names in blocks(network)]
    for window, (sent, running) in UPLOADS[model].items():
        first, last = map(int, window.split("-"))
        more = sum(2 * channels for block, channels in WITHOUT[model].items() if first <= block <= last)
        assert sum(parameters[first : last + 1]) == sent
        assert sum(statistics[first : last + 1]) == running + more


def _statistics(module):
    return sum(buffer.numel() for buffer in module.buffers() if buffer.is_floating_point())
