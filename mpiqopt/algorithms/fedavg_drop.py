"""Federated averaging that leaves weak devices out."""

from dataclasses import dataclass

import numpy as np

from mpiqopt.algorithms.fedavg import FedAvg
from mpiqopt.registry import register


@register("algorithm", "fedavg-drop")
@dataclass(frozen=True, kw_only=True)
class FedAvgDrop(FedAvg):
    """FedAvg over those clients of a round that can finish it within the deadline; the others do not even begin.

    What existing systems do with weak devices, to be compared with: their data never reach the model. Without a
    deadline nobody is left out.
    """

    drops_late = True

    def left_out(self, cohort: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        return seconds > (self.deadline or np.inf)
