"""What is in a result file: the names, types, units and meaning of the recorded quantities.

``docs/results.md`` explains them at length. Notation: x_i is the iterate of node i, of n; F the average of the nodes'
losses and h the regularizer; s(x) = (x - prox_{t h}(x - t grad F(x)))/t the gradient mapping with t =
``record.mapping_step``.
"""

from typing import NamedTuple


class Quantity(NamedTuple):
    """Describe a dataset along the axis ``record``, one value per record.

    dtype: of NumPy; units: as in UDUNITS, "1" for pure numbers; meaning: its attribute ``long_name``; optional: True if
    it is only there where the problem or the config asks for it; axis: of those that have several values per record,
    the second axis.

    >>> QUANTITIES["time"].units, QUANTITIES["accuracy"].optional, "time" in REPRODUCIBLE
    ('s', True, False)
    """

    dtype: str
    units: str
    meaning: str
    optional: bool = False
    axis: str = ""


QUANTITIES = {
    "iteration": Quantity("int64", "1", "iterations done"),
    "time": Quantity("float64", "s", "time spent in the algorithm on rank 0, recording excluded"),
    "objective": Quantity("float64", "1", "F + h at the mean iterate"),
    "stationarity": Quantity("float64", "1", "squared norm of the gradient mapping at the mean iterate"),
    "consensus": Quantity("float64", "1", "(1/n) sum_i |x_i - mean|^2"),
    "nonzeros": Quantity("int64", "1", "non-zero coordinates of the prox-gradient point of the mean iterate"),
    "samples": Quantity("float64", "1", "gradient evaluations of single samples so far, mean over nodes"),
    "rounds": Quantity("int64", "1", "gossip, server or coordination rounds so far"),
    "bytes": Quantity("int64", "byte", "payload from node to node so far, summed over directed edges"),
    "mpi_bytes": Quantity("int64", "byte", "bytes handed to MPI between ranks so far"),
    "steps": Quantity("float64", "1", "steps of coordination so far, in its calls, mean over nodes", True),
    "votes": Quantity("int64", "1", "votes of coordination so far, in its calls", True),
    "codec_time": Quantity("float64", "s", "time spent on rank 0 in encoding and decoding, part of time", True),
    "emulated_time": Quantity(
        "float64", "s", "emulated time of rounds: messages, and trainings with emulate.gradient_seconds", True
    ),
    "test_loss": Quantity("float64", "1", "mean loss of the held-out samples at the mean iterate, nothing added", True),
    "accuracy": Quantity("float64", "1", "held-out samples classified rightly at the mean iterate", True),
    "accuracy_spread": Quantity("float64", "1", "standard deviation of client_accuracy over clients (parity)", True),
    "criterion": Quantity("float64", "1", "(1/n) sum_i |s(x_i)|^2 + L^2 consensus", True),
    "error": Quantity("float64", "1", "squared distance of the mean iterate to the planted solution", True),
}

# (record, axis): several values per record, of methods whose clients train for a server.
CLIENT_VECTORS = {
    "class_accuracy": Quantity(
        "float64", "1", "held-out samples of the class that are classified rightly at the common point", True, "class"
    ),
    # single precision: thousands of clients are common, and tests have far fewer samples than it has digits
    "client_accuracy": Quantity(
        "float32", "1", "accuracy that the client may expect on samples distributed as its own", True, "client"
    ),
    "device_accuracy": Quantity("float64", "1", "mean of client_accuracy over the device class", True, "device"),
}
# The same of methods whose nodes send frames: kinds are ``mpiqopt.coordination.traffic.FRAME_KINDS``.
FRAME_VECTORS = {
    "frames": Quantity("int64", "1", "frames sent so far, sum over nodes", True, "kind"),
    "frame_bytes": Quantity("int64", "byte", "bytes of these frames, headers included, sum over nodes", True, "kind"),
}
VECTORS = CLIENT_VECTORS | FRAME_VECTORS

# The same values on any number of ranks, of methods that wait for each other; the rest are measurements.
REPRODUCIBLE = (*(name for name in QUANTITIES if name not in ("time", "mpi_bytes", "codec_time")), *VECTORS)

# Along the axes ``round`` and ``client`` of the group /clients: a round is an iteration of the method.
CLIENT_QUANTITIES = {
    "sampled": Quantity("int8", "1", "what became of the client in the round"),
    "loss": Quantity("float32", "1", "mean training loss over the local steps, before each step; NaN if not drawn"),
    "accuracy": Quantity("float32", "1", "training accuracy over the same samples; NaN if unknown"),
    "steps": Quantity("int32", "1", "local steps"),
    "up_bytes": Quantity("int64", "byte", "payload from the client to the server"),
    "down_bytes": Quantity("int64", "byte", "payload from the server to the client"),
    "seconds": Quantity("float32", "s", "training and transfers at the client, as emulated where that is on"),
    # of methods that train on each device what it can
    "window_first": Quantity("int16", "1", "first block that the client trained; -1 if none", True),
    "window_last": Quantity("int16", "1", "last block that the client trained; -1 if none", True),
    "width": Quantity("float32", "1", "width of what the client trained, of the whole network's; NaN if none", True),
    "time_share": Quantity("float32", "1", "time of a step, of one of the whole network's; NaN if none", True),
    "memory_share": Quantity("float32", "1", "peak memory of training, of the whole network's; NaN if none", True),
}
# The values of ``sampled``, from 0 on.
OUTCOMES = ("not_drawn", "used", "late_discarded", "late_applied", "left_out", "lost", "rolled_back")
# Attributes of /clients/device, a number for each class: limits are there where the config has [[devices]].
DEVICE_FACTS = (
    "slowdown",
    *(f"{limit}_{end}" for limit in ("time", "memory", "upload") for end in ("low", "high")),
)

# Along the axis ``node`` of the group /nodes, for methods that train nodes one by one.
NODE_QUANTITIES = {
    "joined": Quantity("int64", "1", "rounds in which the node took part with something new"),
    "local_steps": Quantity("int64", "1", "gradient steps"),
    "staleness": Quantity("float64", "1", "rounds that trainings came late, mean over those that joined"),
    "stalest": Quantity("int64", "1", "the largest number of rounds that a training came late"),
    "training": Quantity("float64", "s", "time spent in training, as emulated"),
    "waiting": Quantity("float64", "s", "time not spent in training"),
    "pieces": Quantity("int64", "1", "pieces of coordination or push-sum sent"),
    "bytes": Quantity("int64", "byte", "sent in frames, headers, acknowledgements and repetitions included"),
}
