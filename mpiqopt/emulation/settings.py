"""What is emulated: the config table [emulate]."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.field import Field, only, unless

Distribution = Literal["fixed", "exponential", "pareto"]
# of the heavy-tailed distribution: finite mean, infinite variance
PARETO_SHAPE = 1.5
# seconds that anything takes at most: computers cannot sleep for longer
LONGEST = 1e9
Factor = Annotated[float, Field(ge=1)]


@dataclass(frozen=True, kw_only=True)
class Emulate:
    """Slower machines and worse links than there are; everything drawn is drawn from run.seed."""

    slowdown: Annotated[
        Factor | list[Factor],
        Field(description="how many times slower computation is, of all nodes or a list with one factor a node"),
    ] = 1.0
    slowdown_distribution: Annotated[
        Distribution,
        Field(
            description="of the time of a training, with the slowdown as its mean: fixed, exponential, or pareto "
            "(heavy-tailed, shape 1.5)"
        ),
    ] = "fixed"
    gradient_seconds: Annotated[
        float, Field(ge=0, description="s of a gradient at slowdown 1; 0: what it takes on this machine")
    ] = 0.0
    delay: Annotated[float, Field(ge=0, description="s that a message is on its way, at the mean")] = 0.0
    delay_distribution: Annotated[
        Distribution, Field(description="of the delay of each message", needs=(unless("delay", 0),))
    ] = "fixed"
    loss: Annotated[float, Field(ge=0, lt=1, description="probability that a message is lost (mailboxes only)")] = 0.0
    bandwidth: Annotated[float | None, Field(gt=0, description="bytes per second of a link; none: unlimited")] = None
    region_bandwidth: Annotated[
        float | None,
        Field(
            gt=0,
            description="bytes per second of a link between regions; none: that of bandwidth",
            needs=(only("algorithm.in_regions", True, "the method has no regions"),),
        ),
    ] = None
    links: Annotated[
        list[Annotated[list[int], Field(min_length=2, max_length=2)]] | None,
        Field(
            description="links [from, to] that delay, loss and bandwidth are for; none: all",
            needs=(only("of_links", True, "no delay, loss or bandwidth"),),
        ),
    ] = None
    silent: Annotated[
        list[Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=3, max_length=3)]],
        Field(
            description="[node, s, s]: a node from which, and to which, nothing comes from the first time on, counted "
            "from when coordination begins in a process, and for as long as the second (mailboxes only)"
        ),
    ] = field(default_factory=list)
    sleep: Annotated[
        bool,
        Field(
            description="wait for the emulated seconds of federated rounds; false: only count them, in /emulated_time "
            "and /clients/seconds",
            needs=(
                only("algorithm.federated", True, "only federated rounds can do without waiting"),
                only("of_anything", True, "nothing is emulated"),
            ),
        ),
    ] = True

    @property
    def of_links(self) -> bool:
        """True if delay, loss or bandwidth of links is emulated, or nodes are silent."""
        return self.delay > 0 or self.loss > 0 or self.bandwidth is not None or bool(self.silent)

    @property
    def of_machines(self) -> bool:
        """True if computation is slowed down, or takes a given time."""
        return self.slowdown != 1.0 or self.slowdown_distribution != "fixed" or self.gradient_seconds > 0

    @property
    def of_anything(self) -> bool:
        """True if machines or links are emulated."""
        return self.of_links or self.of_machines or self.region_bandwidth is not None

    def factors(self, nodes: int) -> np.ndarray:
        """Return the slowdown of every node, float64 (nodes,).

        Raises UsageError if the list of the config has another length.
        """
        if isinstance(self.slowdown, list) and len(self.slowdown) != nodes:
            raise UsageError(
                f"emulate.slowdown: a list of {len(self.slowdown)} factors for topology.nodes = {nodes} nodes; want "
                "one number, or one for each node"
            )
        return np.broadcast_to(np.array(self.slowdown, float), nodes)

    def require_links(self, links: np.ndarray) -> None:
        """Raise UsageError unless the chosen links are among the network's ``links``, (count, 2), (from, to)."""
        unknown = sorted(set(map(tuple, self.links or ())) - set(map(tuple, links.tolist())))
        if unknown:
            raise UsageError(f"emulate.links: {list(unknown[0])} is no link of the network")

    def require_silent(self, nodes: int) -> None:
        """Raise UsageError unless silent nodes are among the network's, each once."""
        silent = [node for node, _, _ in self.silent]
        for node in silent:
            if node not in range(nodes) or silent.count(node) > 1:
                wanted = f"nodes 0 to {nodes - 1}, each once"
                raise UsageError(f"emulate.silent: {node:g} is no node, or is there twice; want {wanted}")

    def affected(self, links: np.ndarray) -> np.ndarray:
        """Return True for each of the links (count, 2), (sender, receiver), that is emulated: bool (count,)."""
        if self.links is None:
            return np.ones(len(links), bool)
        chosen = set(map(tuple, self.links))
        return np.array([tuple(link) in chosen for link in links.tolist()], bool)


def draw_factors(distribution: Distribution, stream: "np.random.Generator", size: int) -> np.ndarray:
    """Return ``size`` numbers of mean 1: ones, exponential, or Pareto of shape 3/2, whose variance is infinite.

    >>> draw_factors("fixed", np.random.default_rng(0), 3).tolist()
    [1.0, 1.0, 1.0]
    """
    if distribution == "fixed":
        return np.ones(size)
    if distribution == "exponential":
        return stream.exponential(size=size)
    return (PARETO_SHAPE - 1) * stream.pareto(PARETO_SHAPE, size)
