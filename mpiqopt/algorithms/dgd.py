"""Decentralised gradient descent.

One step is the formula, W as a dense matrix:

>>> from mpiqopt.contracts.algorithm import state_after, small_experiment
>>> made = small_experiment(DGD(step_size=0.1), start="normal")
>>> W, before = made.network.topology.cycle[0].dense(), state_after(made, 0)
>>> formula = W @ before.x - 0.1 * made.problem.grad(before.x)
>>> bool(abs(state_after(made, 1, before).x - formula).max() < 1e-12)
True
"""

from dataclasses import dataclass

from mpiqopt.algorithms.prox_dgd import ProxDGD
from mpiqopt.registry import register


@register("algorithm", "dgd")
@dataclass(frozen=True, kw_only=True)
class DGD(ProxDGD):
    """X+ = W X - a G(X).

    Converges to a neighbourhood of the optimum whose size is proportional to the step: the minimiser of
    sum_i f_i(x_i) + (1/2a) <X, (I - W) X>.
    Any doubly stochastic W, also several in turn; no h. With k = ``local_steps`` X <- X - a G(X) goes before, k - 1
    times, and the size is proportional to k a.
    Source: Nedic and Ozdaglar, "Distributed subgradient methods for multi-agent optimization", 2009; its bias: Yuan,
    Ling, Yin, "On the convergence of decentralized gradient descent", 2016.
    """

    proximal = False
