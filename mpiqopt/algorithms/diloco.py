"""DiLoCo: hundreds of local AdamW steps between outer Nesterov steps."""

from dataclasses import dataclass

from mpiqopt.algorithms.fedopt import FedOpt, Outer, OuterStep
from mpiqopt.algorithms.local_training import ClientOptimizer, KeepOptimizer, LocalSteps, Momentum, WeightDecay
from mpiqopt.registry import register


@register("algorithm", "diloco")
@dataclass(frozen=True, kw_only=True)
class DiLoCo(FedOpt):
    """FedOpt as for the training of one model at many sites: AdamW inside, whose moments nodes keep, Nesterov outside.

        each node: local_steps of AdamW from x;   v+ = b v + g,  x+ = x - a (g + b v+),   g = mean of (x - y_i)

    With ``outer_optimizer = "sgd"``, ``outer_step = 1`` it is FedAvg with the same inner steps.
    Source: Douillard et al., "DiLoCo: Distributed low-communication training of language models", 2023.
    """

    optimizer: ClientOptimizer = "adamw"
    momentum: Momentum = 0.9
    weight_decay: WeightDecay = 0.1
    keep_optimizer: KeepOptimizer = True
    local_steps: LocalSteps = 100
    outer_optimizer: Outer = "nesterov"
    outer_step: OuterStep = 0.7
