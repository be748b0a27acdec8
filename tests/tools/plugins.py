"""What plug-ins of tests begin with."""

HEAD = """
import sys
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm
from mpiqopt.algorithms.dgd import DGD
from mpiqopt.compressors.compressor import Compressor
from mpiqopt.problems.loss import Loss
from mpiqopt.registry import register
from mpiqopt.regularizers.l1 import L1
from mpiqopt.topologies.graph import Graph
from mpiqopt.topologies.digraphs import Digraph

part = dataclass(frozen=True, kw_only=True)

class State(NamedTuple):
    x: np.ndarray
    other: object = 0
"""
