"""The reference of every method by name, and the comparison of the package's iterates with it."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import cycle, islice, repeat

import numpy as np

from mpiqopt.algorithms.coordinated import CoordinatedAlgorithm
from mpiqopt.run.assembly import Experiment
from tools.dense import federated, partial
from tools.dense.coded import choco_gossip, choco_sgd, compressed_sgd, ef_sgd, lead, prox_lead, sgd, sign_sgd
from tools.dense.coordinated import ftqc_admm, ftqc_dgd
from tools.dense.innovations import coordinated_prox_gradient
from tools.dense.messages import Sent, Wire, recorded
from tools.dense.objectives import Objective
from tools.dense.proxgt import proxgt_sa, proxgt_sr_e, proxgt_sr_o
from tools.dense.uncoded import (
    centralised,
    d2,
    dgd,
    extra,
    gradient_tracking,
    nids,
    noloco,
    pg_extra,
    prox_dgd,
    push_diging,
    push_sum,
)
from tools.experiments import states

METHODS: dict[str, Callable[..., Iterator[np.ndarray]]] = {
    "centralized": federated.centralized,
    "centralized-prox-gradient": centralised,
    "choco-gossip": choco_gossip,
    "choco-sgd": choco_sgd,
    "cocofl": partial.cocofl,
    "coordinated-prox-gradient": coordinated_prox_gradient,
    "d2": d2,
    "dgd": dgd,
    "diloco": federated.fedopt,
    "ef-sgd": ef_sgd,
    "extra": extra,
    "fedavg": federated.fedavg,
    "fedavg-drop": federated.fedavg_drop,
    "fedopt": federated.fedopt,
    "fedprox": federated.fedprox,
    "fo-sgd": compressed_sgd,
    "ftqc-admm": ftqc_admm,
    "ftqc-dgd": ftqc_dgd,
    "gradient-tracking": gradient_tracking,
    "heterofl": partial.heterofl,
    "hierarchical-fedavg": federated.hierarchical_fedavg,
    "lead": lead,
    "local-sgd": federated.fedavg,
    "nids": nids,
    "noloco": noloco,
    "pg-extra": pg_extra,
    "prox-dgd": prox_dgd,
    "prox-lead": prox_lead,
    "proxgt-sa": proxgt_sa,
    "proxgt-sr-e": proxgt_sr_e,
    "proxgt-sr-o": proxgt_sr_o,
    "push-diging": push_diging,
    "push-sum": push_sum,
    "qsgd-sgd": compressed_sgd,
    "scaffold": federated.scaffold,
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
    objective = partial.Perceptron if experiment.config.problem.name == "torch" else Objective
    return reference(start, W, objective(experiment), settings.pop("step_size"), **settings)


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
