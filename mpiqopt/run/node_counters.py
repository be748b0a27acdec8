"""What each node has done so far: gradients, trainings, and what coordination has sent."""

import numpy as np

from mpiqopt.coordination.traffic import FrameTraffic
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.results.layout import NODE_QUANTITIES

# What methods that train nodes or send frames count is saved in checkpoints under its name with this prefix.
PREFIX = "nodes."


class NodeCounters:
    """The counters of the hosted nodes, arrays (hosted, ...), from the first process of a run on.

    Gradient evaluations are counted for every method, trainings for methods that train nodes, and what nodes do to
    coordinate, and send in frames, for those that do.

    problem, network : of the run; frames: True if its method sends frames
    """

    def __init__(self, problem: Problem, network: Network, frames: bool):
        self._problem, self._network, self._frames = problem, network, frames

    def _in_place(self) -> dict[str, np.ndarray]:
        """Return the arrays that are counted up in place."""
        training = self._problem.training
        own = {} if training is None else vars(training.counters)
        return {"evaluations": self._problem.evaluations, **{PREFIX + name: value for name, value in own.items()}}

    def to_save(self) -> dict[str, np.ndarray]:
        """Return all counters, by the name that they have in checkpoints."""
        return self._in_place() | {PREFIX + name: value for name, value in self._sent().items()}

    def _sent(self) -> dict[str, np.ndarray]:
        """Return the fields of ``FrameTraffic`` by name; none of methods without frames."""
        return self._network.coordination.sent()._asdict() if self._frames else {}

    def restore(self, saved: dict[str, np.ndarray]) -> None:
        """Set all counters to those of a checkpoint, named as ``to_save`` names them."""
        for name, values in self._in_place().items():
            values[:] = saved[name]
        if self._frames:
            sent = FrameTraffic(**{name: saved[PREFIX + name] for name in FrameTraffic._fields})
            self._network.coordination.restore_sent(sent)

    def columns(self, elapsed: float) -> dict[str, np.ndarray] | None:
        """Return the columns of /nodes in a result file, arrays (nodes,), on rank 0; collective.

        elapsed: seconds of the run so far. None on other ranks, and for methods that do not train nodes.
        """
        training, transport = self._problem.training, self._network.transport
        if training is None:
            return None
        sent = self._network.coordination.sent()
        own = vars(training.counters) | {"pieces": sent.pieces, "bytes": sent.frame_bytes.sum(axis=1)}
        own["waiting"] = np.maximum(elapsed - training.busy(), 0)
        gathered = {name: transport.gather(values, self._network.place.counts) for name, values in own.items()}
        columns = {name: values for name, values in gathered.items() if values is not None}
        if transport.rank:
            return None
        columns["staleness"] = columns["staleness"] / np.maximum(columns["joined"], 1)
        return {name: columns[name] for name in NODE_QUANTITIES}
