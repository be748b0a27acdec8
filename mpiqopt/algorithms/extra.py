"""EXTRA: exact first-order decentralised descent."""

from dataclasses import dataclass

from mpiqopt.algorithms.pg_extra import PGExtra
from mpiqopt.registry import register


@register("algorithm", "extra")
@dataclass(frozen=True, kw_only=True)
class Extra(PGExtra):
    """X_1 = W X_0 - a G_0,  X_{k+2} = (I + W) X_{k+1} - (I + W)/2 X_k - a (G_{k+1} - G_k).

    PG-EXTRA without h, and computed in the same primal-dual form. It needs one symmetric W.
    Source: Shi, Ling, Wu, Yin, "EXTRA: An exact first-order algorithm for decentralized consensus optimization", 2015,
    with W~ = (I + W)/2.
    """

    proximal = False
