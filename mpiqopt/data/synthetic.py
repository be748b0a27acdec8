"""Gaussian samples with a planted solution."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from mpiqopt.arithmetic.distinct import distinct_values
from mpiqopt.arithmetic.products import row_products
from mpiqopt.data.source import SMALL, Rows, Source, Table
from mpiqopt.field import Field, only
from mpiqopt.memory import require_memory
from mpiqopt.registry import register
from mpiqopt.streams import random_stream, standard_normal

# Samples drawn from one stream. A rank draws all blocks once, for the targets, and those of its own rows once more:
# so no rank stores the features of others, and they do not depend on which ranks there are.
BLOCK = 1024
# numbers that are drawn at once: a block may be too wide for the memory
PIECE = 1 << 20


@register("data", "synthetic")
@dataclass(frozen=True, kw_only=True)
class Synthetic(Source):
    """Rows a_j ~ N(0, I_d) and a planted parameter x* (classes, d) with N(0, 1/d) entries.

    regression: b = a . x* + noise N(0, 1); with noise = 0 the least-squares optimum is x* exactly. classification:
    the class is drawn from the softmax of the scores a . x*_c (for two classes: P(b = +1) = 1/(1 + exp(-a . x*))).
    """

    draws = True

    samples: Annotated[int, Field(ge=1, description="number of samples, over all nodes")] = 1000
    features: Annotated[int, Field(ge=1, description="number of features d")] = 20
    task: Annotated[Literal["regression", "classification"], Field(description="what the targets are")] = "regression"
    classes: Annotated[int, Field(ge=2, description="number of classes", needs=(only("task", "classification"),))] = 2
    noise: Annotated[
        float,
        Field(ge=0, description="standard deviation of the noise", needs=(only("task", "regression"),)),
    ] = 0.1
    density: Annotated[float, Field(gt=0, le=1, description="part of the entries of x* that are not zero")] = 1.0

    def open(self, seed: int) -> Table:
        """Return the table of the samples drawn from ``seed``, with the planted parameter as its ``solution``.

        Draws all features once, in pieces, for the targets. Raises MemoryError if targets or parameter do not fit.

        >>> table = Synthetic(samples=100, features=3, noise=0.0).open(seed=1)
        >>> a, b = table.rows(slice(0, 100)), table.targets
        >>> bool(np.allclose(a @ table.solution, b))
        True
        >>> np.array_equal(table.rows(np.array([5, 70])), a[[5, 70]])
        True
        """
        outputs = self.classes if self.task == "classification" and self.classes > 2 else 1
        require_memory(8 * self.samples, f"data.samples = {self.samples}: their targets")
        require_memory(16 * outputs * self.features, f"data.features = {self.features}: the parameter that is planted")
        planted = random_stream(seed, "synthetic")
        truth = standard_normal(planted, (outputs, self.features)) / np.sqrt(self.features)
        truth *= planted.random(truth.shape) < self.density
        targets = np.empty(self.samples)
        for start in range(0, self.samples, BLOCK):
            stream = self._stream(seed, start // BLOCK)
            scores = np.concatenate([row_products(rows, truth) for _, rows in self._pieces(stream)])
            normal, uniform = standard_normal(stream, BLOCK), stream.random(BLOCK)
            stop = min(start + BLOCK, self.samples)
            targets[start:stop] = self._targets(scores, normal, uniform)[: stop - start]
        return Table("synthetic", targets, self.features, lambda which: self._rows(seed, which), truth.ravel())

    def count(self) -> int:
        """Return the number of samples, as the config says it."""
        return self.samples

    def nbytes(self) -> int:
        """Return the bytes of the float64 features (samples, features)."""
        return 8 * self.samples * self.features

    def is_small(self) -> bool:
        """Return True if all features have at most 16 MB: then they are drawn on rank 0 alone."""
        return self.nbytes() <= SMALL

    def _stream(self, seed: int, block: int) -> np.random.Generator:
        """Return the random numbers of a block of samples, in this order: its features, row by row, a normal number
        for each sample, and a uniform one for each."""
        return random_stream(seed, "synthetic", 1, block)

    def _pieces(self, stream: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the features of a block, a few rows at a time, and the place of the first of these in the block."""
        together = max(1, PIECE // self.features)
        for start in range(0, BLOCK, together):
            yield start, standard_normal(stream, (min(together, BLOCK - start), self.features))

    def _targets(self, scores: np.ndarray, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Return the targets (k,) of samples with these scores (k, outputs); a class by inversion of its distribution.

        normal, uniform: random numbers (k,), of which a task uses one.
        """
        if self.task == "regression":
            return scores[:, 0] + self.noise * normal
        if scores.shape[1] == 1:
            scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
        # only compared with a random number: its last bit decides with a probability of 1e-16
        odds = np.exp(scores - scores.max(axis=1, keepdims=True)).cumsum(axis=1)
        return (uniform[:, None] * odds[:, -1:] > odds).sum(axis=1).astype(np.float64)

    def _rows(self, seed: int, which: Rows) -> np.ndarray:
        """Draw the features of k samples again, float64 (k, d): the blocks that they are in, up to the last of them."""
        index = np.arange(self.samples)[which]
        out = np.empty((len(index), self.features))
        for block in distinct_values(index // BLOCK):
            last = np.searchsorted(index, (block + 1) * BLOCK)
            for start, rows in self._pieces(self._stream(seed, block)):
                first = block * BLOCK + start
                low, high = np.searchsorted(index, (first, first + len(rows)))
                out[low:high] = rows[index[low:high] - first]
                if high == last:
                    break  # the other rows are not wanted here
        return out
