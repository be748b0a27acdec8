"""What methods with difference-coded gossip share."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, Facts
from mpiqopt.field import Field
from mpiqopt.network.gossip import Memory

GAMMA = "gamma: (1 - gamma) I + gamma W is used for W where messages are coded; auto: by the compressor"
Gamma = Annotated[float, Field(gt=0, le=1)] | Literal["auto"]


@dataclass(frozen=True, kw_only=True)
class CodedGossip(Algorithm):
    """Every message is C(X - X^), where X^ is what all nodes know of a node's vector; C is the config's compressor."""

    default_compressor = "identity"
    fixed_symmetric = True

    gossip_step: Annotated[Gamma, Field(description=GAMMA)] = "auto"

    def resolve(self, facts: Facts):
        resolved = super().resolve(facts)
        if self.gossip_step == "auto":
            resolved = replace(resolved, gossip_step=self.automatic_gossip_step(facts))
        return resolved

    def approach(self, x: np.ndarray, memory: Memory) -> np.ndarray:
        """X + gamma (W - I) X^, of the type of X."""
        return (x + self.gossip_step * memory.heard).astype(x.dtype, copy=False)

    def automatic_gossip_step(self, facts: Facts) -> float:
        """delta of the compressor; 1/(1 + 3/2 m omega n/(n - 1)) for an omega that gossip may count on (ours).

        m = max_i (1 - w_ii), the largest share that a node takes from others. On ten graphs with ten compressors gossip
        still converged with 1.4 times this step.
        """
        if facts.gossip_omega is None:
            return compressor_delta(facts)
        mixing = facts.topology.cycle[0]
        share, n = 1 - float(mixing.diagonal().min()), mixing.nodes
        return 1 / (1 + 1.5 * share * facts.gossip_omega * n / max(n - 1, 1))


def compressor_delta(facts: Facts) -> float:
    """The compressor's delta; 1/2 for one that has none, which means an absolute error (ours)."""
    return 0.5 if facts.delta is None else facts.delta
