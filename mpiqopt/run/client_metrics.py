"""What a model is worth to each client: accuracy by class of samples, by client and by class of devices."""

from typing import Any, NamedTuple

import numpy as np

from mpiqopt.data.shares import Shares, label_counts
from mpiqopt.emulation.devices import DeviceGroups
from mpiqopt.placement.placement import Placement
from mpiqopt.placement.shared_rows import is_shared
from mpiqopt.problems.held_out import HeldOut
from mpiqopt.problems.problem import Problem
from mpiqopt.transport.transport import Transport


class ClientEvaluator(NamedTuple):
    """Measures the accuracy of federated methods; every call is collective.

        a_c = part of the held-out samples of class c that is classified rightly,   client i: sum_c p_ic a_c

    p_ic is the part of class c among the training samples of client i: so a_c is weighted as samples like the client's
    own would weight it, whatever its share of the held-out samples. With personal layers a_c is that of the client's
    own model. Classes without held-out samples are left out of the sum.

    Attributes
    ----------
    problem, place, transport : the hosted nodes
    held_out : the samples
    classes : int64 (held-out samples here,), position of each one's label
    totals : float64 (labels,), held-out samples of each class on all ranks
    shares : float64 (nodes, labels), p_ic, on rank 0; None elsewhere
    groups : the classes of devices
    """

    problem: Problem
    place: Placement
    transport: Transport
    held_out: HeldOut
    classes: np.ndarray
    totals: np.ndarray
    shares: np.ndarray | None
    groups: DeviceGroups

    def __call__(self, x: np.ndarray) -> dict[str, Any]:
        """Return the recorded quantities at the iterates x (hosted, d), by name, on rank 0; nothing elsewhere."""
        if is_shared(x):
            common = self._class_accuracy(x[0])
            own = common[None]
        else:
            own = np.stack([self._class_accuracy(self._row(x, node)) for node in range(self.place.nodes)])
            common = _mean_of_known(own)
        return {} if self.shares is None else self._quantities(common, own, self.shares)

    def _quantities(self, common: np.ndarray, own: np.ndarray, shares: np.ndarray) -> dict[str, Any]:
        """Return what is recorded. common: (labels,); own: (nodes, labels), or (1, labels) for all."""
        known = np.isfinite(own)
        weights = np.add.reduce(np.where(known, shares, 0.0), axis=1)
        right = np.add.reduce(np.where(known, own, 0.0) * shares, axis=1)
        clients = np.divide(right, weights, out=np.full(len(shares), np.nan), where=weights > 0)
        devices = [_mean_of_known(clients[self.groups.classes == k, None])[0] for k in range(self.groups.size)]
        mean = _mean_of_known(clients[:, None])[0]
        return {
            "class_accuracy": common,
            "client_accuracy": clients,
            "device_accuracy": np.array(devices),
            "accuracy_spread": float(np.sqrt(_mean_of_known(np.square(clients - mean)[:, None])[0])),
        }

    def _class_accuracy(self, x: np.ndarray) -> np.ndarray:
        """Return a_c at x (d,), float64 (labels,), NaN for classes without held-out samples; collective."""
        hits = np.bincount(self.classes, self.held_out.hits(x), minlength=len(self.totals))
        right = self.transport.total(hits.astype(np.float64))
        most = self.totals * self.held_out.predictions
        return np.divide(right, most, out=np.full(len(most), np.nan), where=most > 0)

    def _row(self, x: np.ndarray, node: int) -> np.ndarray:
        """Return a node's iterate (d,) on all ranks; collective."""
        row = np.zeros(x.shape[1], x.dtype)
        if self.place.first <= node < self.place.last:
            row[:] = x[node - self.place.first]
        # the sum of one row and zeros is that row, exactly
        return self.transport.total(row.astype(np.float64)).astype(x.dtype)


def make_client_evaluator(
    problem: Problem, place: Placement, transport: Transport, shares: Shares, groups: DeviceGroups
) -> ClientEvaluator | None:
    """Return what measures clients' accuracy, collective; None without held-out samples of classes.

    shares: the samples here; groups: the classes of devices of all nodes.
    """
    counts = label_counts(shares)
    if problem.held_out is None or not problem.has_accuracy or counts is None or shares.labels is None:
        return None
    classes = np.searchsorted(shares.labels, shares.test_targets)
    totals = transport.total(np.bincount(classes, minlength=len(shares.labels)).astype(np.float64))
    gathered = transport.gather(counts, place.counts)
    parts = None if gathered is None else gathered / gathered.sum(axis=1, keepdims=True)
    return ClientEvaluator(problem, place, transport, problem.held_out, classes, totals, parts, groups)


def _mean_of_known(rows: np.ndarray) -> np.ndarray:
    """Return the mean of the numbers in each column of (k, width) that are not NaN; NaN where all are."""
    known = np.isfinite(rows)
    count = known.sum(axis=0)
    total = np.add.reduce(np.where(known, rows, 0.0), axis=0)
    return np.divide(total, count, out=np.full(rows.shape[1], np.nan), where=count > 0)
