"""LEAD: linear convergence with compressed messages."""

from dataclasses import dataclass

from mpiqopt.algorithms.prox_lead import ProxLEAD
from mpiqopt.registry import register


@register("algorithm", "lead")
@dataclass(frozen=True, kw_only=True)
class LEAD(ProxLEAD):
    """Prox-LEAD without h: X+ = X - a (G + D+).

    D is the dual variable of Prox-LEAD; gamma, alpha and what it needs are as there.
    Source: Liu, Li, Wang, Tang, Yan, "Linear convergent decentralized optimization with compression", ICLR 2021,
    Algorithm 1.
    """

    proximal = False
