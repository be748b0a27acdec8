"""Federated averaging that leaves weak devices out."""

from dataclasses import dataclass

import numpy as np

from mpiqopt.algorithms.fedavg import FedAvg
from mpiqopt.errors import UsageError
from mpiqopt.registry import register


@register("algorithm", "fedavg-drop")
@dataclass(frozen=True, kw_only=True)
class FedAvgDrop(FedAvg):
    """FedAvg over those clients of a round that can finish it within the deadline; the others do not even begin.

    What existing systems do with weak devices, to be compared with: their data never reach the model.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.deadline is None:
            raise UsageError(
                "algorithm.deadline: 'fedavg-drop' wants one, in emulated seconds: who is slower is left out"
            )

    def left_out(self, cohort: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        return seconds > (self.deadline or np.inf)
