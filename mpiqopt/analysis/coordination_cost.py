"""What a round of coordination will cost, in words, before a run is started."""

import numpy as np

from mpiqopt.algorithms.coordinated import CoordinatedAlgorithm
from mpiqopt.analysis.graphs import diameter
from mpiqopt.analysis.rounds import Round, measure_network, predict_round, predict_start
from mpiqopt.analysis.tables import bytes_for_tables
from mpiqopt.coordination.innovations import power_of_two_below
from mpiqopt.coordination.protocol import CoordinationProtocol, FrameProtocol
from mpiqopt.registry import find_member
from mpiqopt.run.assembly import Experiment

# how many Delta points are apart in late rounds, as a rule, when Delta follows the change
ZOOMED = 1e6
# more steps of the grid than integers of coordination have: the run would say so
MOST_APART = 2.0**62
# the coordinator that sends least and works on every network; the other one has the same calls
CHEAPEST, AS_CHEAP = "collect", ("collect", "tree")
# a round of coordination takes so many seconds and so many times as long as by that
HOPELESS_SECONDS, HOPELESS_TIMES = 1.0, 20


def describe_coordination(experiment: Experiment, ranks: int) -> list[tuple[str, str]]:
    """Return what a round of coordination will cost, by the coordinator's model; nothing if there is none."""
    algorithm = experiment.algorithm
    if not isinstance(algorithm, CoordinatedAlgorithm):
        return []
    network, name = measure_network(experiment.network.topology), algorithm.coordinator
    protocol = algorithm.protocol
    settles = algorithm.innovates
    d = experiment.problem.d + algorithm.extra_integers

    def cost(protocol: CoordinationProtocol, spread: float) -> Round | None:
        return predict_round(protocol, network, d, spread, algorithm.by_mailboxes, ranks, settles)

    topology, first = experiment.network.topology, _spread(experiment, algorithm)
    later = algorithm.late_innovation if settles else ZOOMED
    mine, late = cost(protocol, first), cost(protocol, later)
    least = cost(find_member("coordinator", CHEAPEST)(), first)
    # of digraphs that are not doubly stochastic it is there already
    facts = [("diameter", diameter(topology))] * topology.doubly_stochastic
    if mine is None or late is None or least is None:
        return [*facts, (f"a round of {name}", f"not predicted, {name} has no model: see a run")]
    facts.append((f"a round of {name}", f"about {_round(mine)} (the first, values differ by {first:.0f} Delta)"))
    if settles:
        facts.append(
            ("  later", f"about {_round(late)}, for what is new, some {later:.2g} Delta, and what was left over")
        )
    elif algorithm.zoom != 1:
        facts.append(("  with zoom", f"about {_round(late)} when they differ by {ZOOMED:.2g} Delta"))
    start = predict_start(protocol, network, algorithm.by_mailboxes, ranks)
    if start is not None:
        facts.append(("  before the first", f"about {_round(start)}"))
    if name not in AS_CHEAP and isinstance(protocol, FrameProtocol):
        facts.append((f"  {CHEAPEST} instead", f"about {_round(least)}"))
    if mine.seconds > max(HOPELESS_SECONDS, HOPELESS_TIMES * least.seconds):
        cure = f"want algorithm.coordinator = {CHEAPEST!r}, or more links"
        facts.append(("warning", f"{name} is hopeless on this graph: {cure}"))
    return facts


def _spread(experiment: Experiment, algorithm: CoordinatedAlgorithm) -> float:
    """Return how many grid steps nodes will be apart in the first round, by gradients at the start."""
    gradients = experiment.problem.value_and_grad(experiment.start)[1]
    largest = max(np.ptp(gradients, axis=0).max(), np.abs(gradients).max())
    moved = float(algorithm.step_size) * algorithm.descent().steps * largest
    step = algorithm.quantization_step
    delta = power_of_two_below(step) if algorithm.innovates else step
    return min(max(1.0, float(moved) / delta), MOST_APART)


def _round(cost: Round) -> str:
    return f"{bytes_for_tables(cost.bytes, 2)} and {cost.seconds:.2g} s"
