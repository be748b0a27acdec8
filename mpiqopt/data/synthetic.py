"""Gaussian samples with a planted solution."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from mpiqopt.data.source import SMALL, Rows, Source, Table
from mpiqopt.distinct import distinct
from mpiqopt.field import Field
from mpiqopt.products import row_products
from mpiqopt.registry import register
from mpiqopt.streams import generator, standard_normal

# Samples drawn from one stream. A rank draws all blocks once, for the targets, and keeps the rows of its own.
BLOCK = 1024


@register("data", "synthetic")
@dataclass(frozen=True, kw_only=True)
class Synthetic(Source):
    """Rows a_j ~ N(0, I_d) and a planted parameter x* (classes, d) with N(0, 1/d) entries.

    regression: b = a . x* + noise N(0, 1); with noise = 0 the least-squares optimum is x* exactly. classification:
    the class is drawn from the softmax of the scores a . x*_c (for two classes: P(b = +1) = 1/(1 + exp(-a . x*))).
    """

    samples: Annotated[int, Field(ge=1, description="number of samples, over all nodes")] = 1000
    features: Annotated[int, Field(ge=1, description="number of features d")] = 20
    task: Annotated[Literal["regression", "classification"], Field(description="what the targets are")] = "regression"
    classes: Annotated[int, Field(ge=2, description="number of classes (classification)")] = 2
    noise: Annotated[float, Field(ge=0, description="standard deviation of the noise (regression)")] = 0.1
    density: Annotated[float, Field(gt=0, le=1, description="part of the entries of x* that are not zero")] = 1.0

    def open(self, seed: int) -> Table:
        outputs = self.classes if self.task == "classification" and self.classes > 2 else 1
        planted = generator(seed, "synthetic")
        truth = standard_normal(planted, (outputs, self.features)) / np.sqrt(self.features)
        truth *= planted.random(truth.shape) < self.density
        targets = np.empty(self.samples)
        for start in range(0, self.samples, BLOCK):
            rows, normal, uniform = self._block(seed, start // BLOCK)
            stop = min(start + BLOCK, self.samples)
            targets[start:stop] = self._targets(row_products(rows, truth), normal, uniform)[: stop - start]
        return Table("synthetic", targets, self.features, lambda which: self._rows(seed, which), truth.ravel())

    def is_small(self) -> bool:
        return 8 * self.samples * self.features <= SMALL

    def _block(self, seed: int, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features, normal and uniform numbers of one block of samples."""
        stream = generator(seed, "synthetic", 1, block)
        rows, normal = standard_normal(stream, (BLOCK, self.features)), standard_normal(stream, BLOCK)
        return rows, normal, stream.random(BLOCK)

    def _targets(self, scores: np.ndarray, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        if self.task == "regression":
            return scores[:, 0] + self.noise * normal
        if scores.shape[1] == 1:
            scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
        # only compared with a random number: its last bit decides with a probability of 1e-16
        odds = np.exp(scores - scores.max(axis=1, keepdims=True)).cumsum(axis=1)
        return (uniform[:, None] * odds[:, -1:] > odds).sum(axis=1).astype(np.float64)

    def _rows(self, seed: int, which: Rows) -> np.ndarray:
        index = np.arange(self.samples)[which]
        out = np.empty((len(index), self.features))
        for block in distinct(index // BLOCK):
            low, high = np.searchsorted(index, (block * BLOCK, (block + 1) * BLOCK))
            out[low:high] = self._block(seed, block)[0][index[low:high] - block * BLOCK]
        return out
