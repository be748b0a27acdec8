"""What rounds of a server and some of the nodes will cost, found by planning the first of them."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.federated import FederatedAlgorithm
from mpiqopt.algorithms.federated_portions import NONE
from mpiqopt.emulation.devices import group_devices, name_devices
from mpiqopt.network.cohort import Cohort
from mpiqopt.network.cohort_mean import CodedMean, CohortMean, PlainMean
from mpiqopt.network.served_blocks import ServedBlocks
from mpiqopt.network.server_round import Part, ServerRound
from mpiqopt.placement.placement import Placement
from mpiqopt.run.assembly import Experiment
from mpiqopt.transport.serial import SerialTransport

# rounds that are planned at most: of 10,000 clients they take a second
PLANNED = 100


def plan_rounds(experiment: Experiment) -> list[ServerRound]:
    """Return what the first rounds will cost, PLANNED at most; none if all nodes take part in every one."""
    config = experiment.config
    rounds = min(PLANNED, config.run.iterations)
    return list(
        experiment.algorithm.server_rounds(experiment.problem, experiment.network, config.run.seed, rounds) or ()
    )


class Traffic(NamedTuple):
    """Bytes from node to node, and between ranks."""

    payload: float
    moved: float


def mean_traffic(experiment: Experiment, rounds: Iterable[ServerRound], ranks: int, coded: bool) -> Traffic:
    """Return the bytes of a round in the mean over some rounds.

    ranks: how many the nodes are to be spread over. coded: False for messages that are not compressed.
    """
    counted: dict[tuple[bytes, bytes, bytes, int], Traffic] = {}
    found = []
    for each in rounds:
        parts = b"".join(part.senders.tobytes() + b"|" + part.receivers.tobytes() + b"|" for part in each.parts)
        key = each.senders.tobytes(), parts, each.receivers.tobytes(), each.between
        if key not in counted:
            counted[key] = _traffic(experiment, each, ranks, coded)
        found.append(counted[key])
    return Traffic(*np.mean(found, axis=0).tolist())


def _traffic(experiment: Experiment, each: ServerRound, ranks: int, coded: bool) -> Traffic:
    """Return the bytes of a round, as ``CohortServer`` counts them."""
    dtype = experiment.problem.dtype
    compressed = coded and experiment.algorithm.coded_downlink
    payload = moved = 0
    for part in each.parts or (Part(each.senders, each.values, 0, each.receivers),):
        for values, kind, is_coded in ((part.values, dtype, coded), (part.beside, np.dtype(np.float32), False)):
            if values and (len(part.senders) or len(each.parts) < 2):
                up = _cohort(part.senders, each)
                mean = _mean(experiment, up, values, ranks, kind, is_coded)
                payload, moved = payload + up.senders * mean.nbytes, moved + mean.moved()
        uncoded = 4 * part.beside + (0 if compressed else part.values * dtype.itemsize)
        payload += _cohort(part.receivers, each).senders * uncoded
    payload += each.between * each.values * dtype.itemsize
    if not compressed:  # every rank has the vector
        return Traffic(payload, moved)
    down, size = _cohort(each.receivers, each), experiment.network.codec(np.empty((0, each.values), dtype)).nbytes
    spread = len(down.sizes) * (ranks - 1) * size if len(each.receivers) else 0
    return Traffic(payload + down.senders * size, moved + spread)


def _cohort(nodes: np.ndarray, each: ServerRound) -> Cohort:
    return Cohort(nodes, np.ones(len(nodes)), each.groups, True, np.dtype(float))


def _mean(experiment: Experiment, cohort: Cohort, values: int, ranks: int, dtype: np.dtype, coded: bool) -> CohortMean:
    """Return the mean that a round would make, which knows the bytes that it would move."""
    place, transport = Placement(experiment.network.place.nodes, ranks), SerialTransport()
    if not coded:
        return PlainMean(cohort, place, transport, values, dtype)
    codec = experiment.network.codec(np.empty((0, values), dtype))
    return CodedMean(cohort, place, transport, ServedBlocks(codec, place, transport), 0)


def describe_rounds(experiment: Experiment, rounds: list[ServerRound]) -> list[tuple[str, str]]:
    """Return who takes part in rounds and how much is computed, as (name, text); nothing without such rounds."""
    if not rounds:
        return []
    steps = np.concatenate([each.steps for each in rounds])
    work = f"{np.mean([each.evaluations for each in rounds]):.4g} of single samples, in the mean"
    facts = [("clients per round", _clients(experiment, rounds)), ("gradients per round", work)]
    if experiment.algorithm.federated and len(steps):
        most = f" to {steps.max()}" if steps.max() > steps.min() else ""
        facts.insert(1, ("  local steps", f"{steps.min()}{most} of a client"))
    return [*facts, *_devices(experiment), *_trained(experiment, rounds), *_seconds(experiment, rounds)]


def _clients(experiment: Experiment, rounds: list[ServerRound]) -> str:
    """Return how many clients take part in a round, in the mean."""
    late, left_out, lost = (
        float(np.mean([getattr(each, name) for each in rounds])) for name in ("late", "left_out", "lost")
    )
    drawn = float(np.mean([len(each.steps) for each in rounds]))
    words = [f"{drawn:.4g} of {experiment.network.place.nodes} train"]
    words += [f"{late:.3g} late"] * (late > 0) + [f"{left_out:.3g} left out"] * (left_out > 0)
    words += [f"{lost:.3g} lost"] * (lost > 0)
    return ", ".join(words)


def _devices(experiment: Experiment) -> list[tuple[str, str]]:
    """Return the classes of devices; nothing if all are alike."""
    network = experiment.network
    groups = group_devices(network.devices, network.emulate.factors(network.place.nodes))
    if groups.size < 2:
        return []
    names, counts = name_devices(groups.facts), np.bincount(groups.classes).tolist()
    between = "; " if "time_low" in groups.facts else ", "
    said = between.join(f"{count} of {name}" for name, count in zip(names, counts, strict=True))
    return [("classes of devices", f"{groups.size}: {said}" if groups.size <= 8 else f"{groups.size}")]


def _trained(experiment: Experiment, rounds: list[ServerRound]) -> list[tuple[str, str]]:
    """Return what clients of each class of devices draw in these rounds; nothing if all train the whole model."""
    algorithm, network, seed = experiment.algorithm, experiment.network, experiment.config.run.seed
    if not isinstance(algorithm, FederatedAlgorithm):
        return []
    portions, classes = algorithm.portions(experiment.problem, network, seed), network.devices.classes
    if not portions.names:
        return []
    facts = []
    for device in range(len(network.devices.tables)):
        clients = np.flatnonzero(classes == device)
        drawn = np.unique([portions.draw(clients, t) for t in range(len(rounds))])
        facts.append((f"  devices[{device}]", "train " + ", ".join(portions.names[k] for k in drawn if k != NONE)))
    return facts


def _seconds(experiment: Experiment, rounds: list[ServerRound]) -> list[tuple[str, str]]:
    """Return how long rounds last, as emulated; nothing if they take no emulated time."""
    mean = float(np.mean([each.seconds for each in rounds]))
    whole = mean * experiment.config.run.iterations
    return [("emulated time", f"{mean:.4g} s a round, {whole:.4g} s of the whole run")] if mean else []
