"""Decentralised gradient descent."""

from dataclasses import dataclass

from mpiqopt.algorithms.prox_dgd import ProxDGD
from mpiqopt.registry import register


@register("algorithm", "dgd")
@dataclass(frozen=True, kw_only=True)
class DGD(ProxDGD):
    """X+ = W X - a G(X).

    Converges to a neighbourhood of the optimum whose size is proportional to the step: the minimiser of
    sum_i f_i(x_i) + (1/2a) <X, (I - W) X>. Nedic and Ozdaglar 2009; Yuan, Ling, Yin 2016.
    """

    proximal = False
