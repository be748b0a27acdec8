"""Methods whose clients train parts of a network, a multilayer perceptron in NumPy: generators of X_1, X_2, ..."""

import json
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from mpiqopt.run.assembly import Experiment
from mpiqopt.streams import random_stream
from tools.dense.federated import Federation, averaging
from tools.dense.objectives import Objective


class Perceptron(Objective):
    """f_1 .. f_n of an mlp with tanh and cross-entropy; the row has W (outputs, inputs) and b of each layer."""

    def __init__(self, experiment: Experiment):
        super().__init__(experiment)
        classes = int(max(b.max() for b in self.b)) + 1
        self.widths = [self.A[0].shape[1], *self.settings.options["hidden"], classes]

    def node_grad(self, i: int, x: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        return self.grad_of(self.A[i][chosen], self.b[i][chosen].astype(int), x, self.widths, 1.0)

    @staticmethod
    def grad_of(A, b: np.ndarray, x: np.ndarray, widths: list[int], scale: float, known=None) -> np.ndarray:
        """The gradient at x (d,) of layers of these widths, whose hidden ones are divided by ``scale``.

        known: the classes whose outputs count, the others being 0.
        """
        layers, at = [], 0
        for inputs, outputs in zip(widths[:-1], widths[1:], strict=True):
            W = x[at : at + inputs * outputs].reshape(outputs, inputs)
            at += inputs * outputs
            layers.append((W, x[at : at + outputs]))
            at += outputs
        values = [A]
        for W, bias in layers[:-1]:
            values.append(np.tanh((values[-1] @ W.T + bias) / scale))
        W, bias = layers[-1]
        counts = np.ones(widths[-1]) if known is None else np.isin(np.arange(widths[-1]), known)
        scores = np.exp((values[-1] @ W.T + bias) * counts)
        back = counts * (scores / scores.sum(axis=1, keepdims=True) - np.eye(scores.shape[1])[b]) / len(b)
        found = []
        for (W, _), value in zip(reversed(layers), reversed(values), strict=True):
            found = [back.T @ value, back.sum(axis=0), *found]
            back = back @ W * (1 - value**2) / scale
        return np.concatenate([each.ravel() for each in found])


class PartialFederation(Federation):
    """Rounds of clients that train some parts; parts: of coordinates, int arrays."""

    parts: list[np.ndarray]
    share: bool  # parts move by the mean of their senders times these senders' share

    def chosen(self, i: int, t: int) -> list[int]:
        """The parts that client i trains in round t."""
        raise NotImplementedError

    def mask(self, i: int, t: int) -> np.ndarray:
        self.sends[i] = self.chosen(i, t)  # until it is drawn again, so that late updates have theirs
        mask = np.zeros(len(self.x[0]), bool)
        for k in self.sends[i]:
            mask[self.parts[k]] = True
        return mask

    def hear(self, wanted: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        vectors = {i: {k: v[self.parts[k]] for k in self.sends[i]} for i, v in wanted.items()}
        heard = {i: np.zeros_like(v) for i, v in wanted.items()}
        for i, parts in self.wire.collect_parts(vectors).items():
            for k, v in parts.items():
                heard[i][self.parts[k]] = v * (self.wire.damping_of(len(v)) if self.feeds_back else 1.0)
        return heard

    def receive(self, heard: dict[int, np.ndarray]) -> None:
        moved = np.zeros_like(self.x[0])
        for k, part in enumerate(self.parts):
            own = [i for i in heard if k in self.sends[i]]
            if own:
                mean = np.average([heard[i][part] for i in own], axis=0, weights=self.p[own])
                moved[part] = mean * (self.p[own].sum() / self.p[list(heard)].sum() if self.share else 1.0)
        self.x[0] = self.server(self.x[0], moved)


class Windows(PartialFederation):
    """Parts are the blocks of the file ``profile``; a client trains a window that its limits allow."""

    def __init__(self, X, f, a, wire, server, s):
        profile = json.loads(Path(s.profile).read_text())
        super().__init__(X, f, a, wire, server, s)
        ends = np.cumsum([0, *profile["coordinates"]])
        self.parts = [np.arange(first, last) for first, last in zip(ends[:-1], ends[1:], strict=True)]
        self.costs = profile["windows"]
        self.share, self.sends = s.aggregation == "share", {}

    def limits(self, i: int, t: int) -> dict[str, float]:
        devices = self.f.devices
        if self.s.windows == "own":
            return devices.limits(i, t)._asdict()
        return {
            key: min(np.min(getattr(table, key)) for table in devices.tables) for key in ("time", "memory", "upload")
        }

    def window(self, i: int, t: int) -> dict:
        limits = self.limits(i, t)
        fit = [c for c in self.costs if all(c[key] <= limit for key, limit in limits.items())]
        inside = lambda c, e: e["first"] <= c["first"] and c["last"] <= e["last"]  # noqa: E731
        largest = [c for c in fit if not any(e is not c and inside(c, e) for e in fit)]
        largest.sort(key=lambda c: (c["first"], c["last"]))
        return largest[int(random_stream(self.f.seed, "window", i, t).integers(len(largest)))]

    def work(self, i: int, t: int) -> float:
        return self.window(i, t)["time"]

    def chosen(self, i: int, t: int) -> list[int]:
        window = self.window(i, t)
        return list(range(window["first"], window["last"] + 1))


def cocofl(X, W, f, a, wire, server_step, **s) -> Iterator[np.ndarray]:
    return Windows(X, f, a, wire, averaging(server_step), SimpleNamespace(**s)).rows(X)


class Widths(PartialFederation):
    """Clients train the leading units of hidden layers; parts: what each width has and the next smaller one has not.

    A client takes the widest network whose share of coordinates is within its limit of upload, the only one.
    """

    share = False

    def __init__(self, X, f, a, wire, server, s):
        super().__init__(X, f, a, wire, server, s)
        self.sends = {}
        ends = [f.widths[0], f.widths[-1]]
        hidden = [[ceil(each * width) for each in f.widths[1:-1]] for width in s.widths]
        self.widths = [[ends[0], *each, ends[1]] for each in hidden]
        self.held = [leading(f.widths, each) for each in self.widths]
        kept = [set(each) for each in self.held] + [set()]
        self.parts = [np.array(sorted(a - b)) for a, b in zip(kept[:-1], kept[1:], strict=True)]

    def level(self, i: int, t: int) -> int:
        limit = self.f.devices.limits(i, t).upload
        return next(k for k, each in enumerate(self.held) if len(each) <= limit * len(self.held[0]))

    def chosen(self, i: int, t: int) -> list[int]:
        return list(range(self.level(i, t), len(self.parts)))

    def gradient(self, i: int, t: int, y: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        k, f = self.level(i, t), self.f
        out = np.zeros_like(y)
        samples = f.A[i][chosen], f.b[i][chosen].astype(int)
        known = np.unique(f.b[i]) if self.s.masked_loss else None
        out[self.held[k]] = f.grad_of(*samples, y[self.held[k]], self.widths[k], self.s.widths[k], known)
        return out


def leading(wide: list[int], narrow: list[int]) -> np.ndarray:
    """Coordinates of a narrow perceptron in the row of a wide one, in the order of the narrow one's row."""
    found, at = [], 0
    for k in range(1, len(wide)):
        W = at + np.arange(wide[k] * wide[k - 1]).reshape(wide[k], wide[k - 1])
        at += W.size
        found += [W[: narrow[k], : narrow[k - 1]].ravel(), at + np.arange(narrow[k])]
        at += wide[k]
    return np.concatenate(found)


def heterofl(X, W, f, a, wire, server_step, **s) -> Iterator[np.ndarray]:
    return Widths(X, f, a, wire, averaging(server_step), SimpleNamespace(**s)).rows(X)
