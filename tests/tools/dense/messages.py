"""What receivers decode of the vectors that the package sent."""

import numpy as np

from mpiqopt.algorithms.federated import FederatedAlgorithm
from mpiqopt.compressors.codec import Codec
from mpiqopt.run.assembly import Experiment

Sent = dict[tuple[int, int], np.ndarray]


def widths(experiment: Experiment) -> list[int]:
    """How many numbers messages have, and the parts of those of federated methods."""
    method, d = experiment.algorithm, experiment.start.shape[1]
    if not isinstance(method, FederatedAlgorithm):
        return [d]
    parts = method.portions(experiment.problem, experiment.network, experiment.config.run.seed).parts
    return [size for size in dict.fromkeys([parts.width, *parts.sizes.tolist()]) if size]


def recorded(experiment: Experiment) -> Sent:
    """The vectors that the package encodes from now on, by round and number of the (first) sender.

    What the server sends to regions of nodes, one after the other, has the numbers n, n + 1, ...; part k of a message
    has the round r + (k << 40).
    """
    sent: Sent = {}
    for width in widths(experiment):
        _record(experiment.network.codec(np.empty((0, width), experiment.start.dtype)), len(experiment.start), sent)
    return sent


def _record(codec: Codec, nodes_in_all: int, sent: Sent) -> None:
    encode = codec.encode

    def listen(rows, nodes, round, *blocks):
        sender = int(nodes[0])
        while sender >= nodes_in_all and (round, sender) in sent:
            sender += 1
        sent[round, sender] = rows.copy()
        return encode(rows, nodes, round, *blocks)

    codec.encode = listen


class Wire:
    """What receivers decode: the compressor, fed with the vectors that the package sent.

    Compressors are discontinuous: on vectors that differ by 1e-16 two correct programs may send different messages and
    part for good. So every vector of the reference is compared with that of the package, recorded under the same round
    and sender, to ``rtol`` of the largest vector sent; then the package's own is encoded, by a codec of the test's.
    Nothing is lost: a vector that is wrong, missing, or sent in another round or by another node fails here.
    Rounds are counted 0, 1, ...; a download from the server belongs to the round of the upload before it.
    """

    def __init__(self, experiment: Experiment, sent: Sent, rtol: float):
        self._compressor, self.nodes = experiment.config.compressor, len(experiment.start)
        dtype, seed = experiment.start.dtype, experiment.config.run.seed
        self._codecs = {d: Codec(self._compressor, d, dtype, seed, self.nodes) for d in widths(experiment)}
        self._sent, self._round = sent, 0
        self._atol = rtol * max((np.abs(rows).max() for rows in sent.values()), default=0.0)
        self.coded = self._compressor.name != "identity"
        self.damping = self.damping_of(widths(experiment)[0])

    def damping_of(self, d: int) -> float:
        """By what messages of d numbers are multiplied where errors are fed back."""
        return damping(self._compressor, d)

    def gossip(self, rows: np.ndarray) -> np.ndarray:
        """C of every node's row."""
        out = self._decoded(rows, np.arange(self.nodes), self._round)
        self._round += 1
        return out

    upload = gossip

    def collect(self, vectors: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        """C of the vectors of some nodes, by node, in one round."""
        self._round += 1
        return {i: self._decoded(v[None], np.array([i]), self._round - 1)[0] for i, v in vectors.items()}

    def collect_parts(self, vectors: dict[int, dict[int, np.ndarray]]) -> dict[int, dict[int, np.ndarray]]:
        """C of the parts of vectors that some nodes send, by node and part, in one round."""
        self._round += 1
        return {
            i: {k: self._decoded(v[None], np.array([i]), self._round - 1 + (k << 40))[0] for k, v in parts.items()}
            for i, parts in vectors.items()
        }

    def download(self, vector: np.ndarray) -> np.ndarray:
        """C of one vector (d,), sent by node n, the server."""
        return self._decoded(vector[None], np.array([self.nodes]), self._round - 1)[0]

    def announce(self, vector: np.ndarray, region: int = 0) -> np.ndarray:
        """C of one vector (d,), sent to clients by node n, the server of a region, after the round."""
        return self._decoded(vector[None], np.array([self.nodes]), self._round, region)[0]

    def _decoded(self, rows: np.ndarray, senders: np.ndarray, round: int, region: int = 0) -> np.ndarray:
        if not self.coded:
            return rows
        sent = self._sent[round, int(senders[0]) + region]
        np.testing.assert_allclose(sent, rows, rtol=0, atol=self._atol)
        codec = self._codecs[rows.shape[1]]
        return codec.decode(codec.encode(sent, senders, round), senders, round).astype(np.float64)


def damping(compressor, d: int) -> float:
    """1/(1 + omega) of the worst block for unbiased compressors that are no contractions by themselves, else 1."""
    width = min(compressor.block_size or d, d)
    factors = [1.0]
    for size in {width, d % width or width}:
        if compressor.omega(size) is not None and compressor.delta(size) is None:
            factors.append(1 / (1 + compressor.omega(size)))
    return min(factors)
