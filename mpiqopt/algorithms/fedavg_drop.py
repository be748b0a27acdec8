"""Federated averaging that leaves weak devices out."""

from dataclasses import dataclass

import numpy as np

from mpiqopt.algorithms.fedavg import FedAvg
from mpiqopt.algorithms.federated_portions import NONE, Portions
from mpiqopt.emulation.devices import Devices
from mpiqopt.network.network import Network
from mpiqopt.network.parts import Parts
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register


@register("algorithm", "fedavg-drop")
@dataclass(frozen=True, kw_only=True)
class FedAvgDrop(FedAvg):
    """FedAvg over those clients of a round that can train the whole network; the others do not even begin.

    That is what existing systems do with weak devices, to be compared with: their data never reach the model. Left out
    is a client whose device has a limit below 1 in the round ([[devices]]), or that cannot finish within the deadline.
    """

    drops_late = True
    fits_devices = True

    def make_portions(self, problem: Problem, network: Network, seed: int) -> Portions:
        return WholeModels(super().make_portions(problem, network, seed).parts, network.devices)

    def left_out(self, cohort: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        return seconds > (self.deadline or np.inf)


class WholeModels(Portions):
    """All of the model, for devices that can train it.

    devices : of all clients
    """

    def __init__(self, parts: Parts, devices: Devices):
        super().__init__(parts)
        self._devices = devices

    def draw(self, clients: np.ndarray, t: int) -> np.ndarray:
        full = [self._devices.limits(client, t).full for client in clients.tolist()]
        return np.where(full, 0, NONE)
