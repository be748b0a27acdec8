"""Slow machines and bad links on top of real ones: what a run would be like elsewhere, drawn from its seed."""

import heapq
import time
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.field import Field, only, unless
from mpiqopt.placement import Placement
from mpiqopt.streams import generator

Distribution = Literal["fixed", "exponential", "pareto"]
# of the heavy-tailed distribution: finite mean, infinite variance
PARETO_SHAPE = 1.5
# seconds that anything takes at most: computers cannot sleep for longer
LONGEST = 1e9
Factor = Annotated[float, Field(ge=1)]


@dataclass(frozen=True, kw_only=True)
class Emulate:
    """Slower machines and worse links than there are. Everything drawn is drawn from run.seed."""

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
    links: Annotated[
        list[Annotated[list[int], Field(min_length=2, max_length=2)]] | None,
        Field(
            description="links [from, to] that delay, loss and bandwidth are for; none: all",
            needs=(only("of_links", True, "no delay, loss or bandwidth"),),
        ),
    ] = None

    @property
    def of_links(self) -> bool:
        """Whether any link is worse than it is."""
        return self.delay > 0 or self.loss > 0 or self.bandwidth is not None

    @property
    def of_machines(self) -> bool:
        """Whether any machine is slower than it is."""
        return self.slowdown != 1.0 or self.slowdown_distribution != "fixed" or self.gradient_seconds > 0

    def factors(self, nodes: int) -> np.ndarray:
        """Slowdown of every node. Raises UsageError if the list has another length."""
        if isinstance(self.slowdown, list) and len(self.slowdown) != nodes:
            raise UsageError(
                f"emulate.slowdown: a list of {len(self.slowdown)} factors for topology.nodes = {nodes} nodes; want "
                "one number, or one for each node"
            )
        return np.broadcast_to(np.array(self.slowdown, float), nodes)

    def require_links(self, links: np.ndarray) -> None:
        """Raise UsageError unless those chosen are among ``links`` (count, 2) of the network."""
        unknown = sorted(set(map(tuple, self.links or ())) - set(map(tuple, links.tolist())))
        if unknown:
            raise UsageError(f"emulate.links: {list(unknown[0])} is no link of the network")

    def affected(self, links: np.ndarray) -> np.ndarray:
        """Which of the links (count, 2), (sender, receiver), are emulated."""
        if self.links is None:
            return np.ones(len(links), bool)
        chosen = set(map(tuple, self.links))
        return np.array([tuple(link) in chosen for link in links.tolist()], bool)


def drawn(distribution: Distribution, stream: "np.random.Generator", size: int) -> np.ndarray:
    """Numbers of mean 1."""
    if distribution == "fixed":
        return np.ones(size)
    if distribution == "exponential":
        return stream.exponential(size=size)
    return (PARETO_SHAPE - 1) * stream.pareto(PARETO_SHAPE, size)


class Machines:
    """How long trainings are to take at the hosted nodes."""

    def __init__(self, emulate: Emulate, place: Placement, seed: int):
        self._emulate, self._seed, self._first = emulate, seed, place.first
        self._factors = emulate.factors(place.nodes)[place.first : place.last]

    def seconds(self, node: int, round: int, steps: int, taken: float) -> float:
        """Of a training of ``steps`` gradients at the hosted node ``node``, which really took ``taken``."""
        emulate = self._emulate
        plain = steps * emulate.gradient_seconds if emulate.gradient_seconds else taken
        factor = self._factors[node]
        if emulate.slowdown_distribution != "fixed":
            stream = generator(self._seed, "machine", self._first + node, round)
            factor = factor * drawn(emulate.slowdown_distribution, stream, 1)[0]
        return max(taken, min(factor * plain, LONGEST))

    def hold(self, round: int, began: float) -> None:
        """Return when gradients at all hosted nodes, taken one after the other here, would be there."""
        taken = time.perf_counter() - began
        hosted = len(self._factors)
        longest = max(self.seconds(i, round, 1, taken / hosted) for i in range(hosted))
        time.sleep(max(0.0, longest - taken))


class Rounds:
    """Delays of synchronous rounds: every node waits for the slowest message to it."""

    def __init__(self, emulate: Emulate, place: Placement, seed: int):
        self._emulate, self._place, self._seed = emulate, place, seed
        self._held = 0
        self._mine: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def hold(self, links: np.ndarray, bytes: float, began: float) -> None:
        """Return when messages of so many bytes, sent at ``began`` on all ``links`` (count, 2), have arrived here."""
        emulate, place = self._emulate, self._place
        known = self._mine.get(id(links))
        if known is None:
            here = (links[:, 1] >= place.first) & (links[:, 1] < place.last)
            # keeps links, so that id stays theirs
            known = self._mine[id(links)] = links, here & emulate.affected(links)
        mine = known[1]
        self._held += 1
        if not mine.any():
            return
        stream = generator(self._seed, "link", self._held)
        delay = emulate.delay * drawn(emulate.delay_distribution, stream, len(links))[mine].max()
        on_the_way = min(delay + bytes / (emulate.bandwidth or np.inf), LONGEST)
        time.sleep(max(0.0, began + on_the_way - time.perf_counter()))


class EmulatedSteps:
    """Steps of coordination behind bad links. exchange: what brings the frames of a step to other processes."""

    def __init__(self, exchange, rounds: Rounds, links: np.ndarray):
        self._exchange, self._rounds, self._links = exchange, rounds, links

    def exchange(self, nodes) -> None:
        """All frames of a step arrive; on a node's links go equal parts of what it sends."""
        began, before = time.perf_counter(), nodes.bytes_sent.copy()
        self._exchange.exchange(nodes)
        sent = (nodes.bytes_sent - before).max() / max(1, len(self._links) / nodes.nodes)
        self._rounds.hold(self._links, sent, began)

    @property
    def bytes(self) -> int:
        return self._exchange.bytes

    def close(self) -> None:
        self._exchange.close()


class _Flight(NamedTuple):
    due: float
    number: int
    box: int
    frame: bytes


class EmulatedPost:
    """Mailboxes behind bad links: frames are lost, held back and may overtake each other.

    post: what brings frames to other processes; wiring: links by number, as the frames have them.
    """

    def __init__(self, post, emulate: Emulate, wiring, seed: int):
        self._post, self._emulate = post, emulate
        self._stream = generator(seed, "link", wiring.first)
        # links as frames name them at their destination: data by the links in, acknowledgements by the links out
        self._affected = {
            True: _by_box(wiring.out_box, wiring.out_there, emulate.affected(wiring.out_links)),
            False: _by_box(wiring.in_box, wiring.in_there, emulate.affected(wiring.in_links)),
        }
        self._free: dict[tuple[bool, int, int], float] = {}
        self._air: list[_Flight] = []
        self._landed: list[list[bytes]] = [[] for _ in range(wiring.boxes)]
        self._number = 0

    def pass_on(self, nodes) -> bool:
        """Take frames off the nodes, and bring those that are due on their way."""
        now = time.perf_counter()
        moved = False
        for b in range(len(self._landed)):
            if nodes.filled(b):
                self._launch(b, nodes, now)
                moved = True
        while self._air and self._air[0].due <= now:
            flight = heapq.heappop(self._air)
            self._landed[flight.box].append(flight.frame)
        if self._landed[0]:
            frames, self._landed[0] = b"".join(self._landed[0]), []
            nodes.receive(np.frombuffer(frames, np.uint8))
            moved = True
        return self._post.pass_on(_Outbox(nodes, self._landed)) or moved

    def _launch(self, b: int, nodes, now: float) -> None:
        frames, at = nodes.take(b), 0
        for end, link, inward in nodes.cut(frames):
            due = self._due((inward, b, link), end - at, now)
            if due is not None:
                self._number += 1
                heapq.heappush(self._air, _Flight(due, self._number, b, frames[at:end].tobytes()))
            at = end

    def _due(self, link: tuple[bool, int, int], size: int, now: float) -> float | None:
        """When a frame arrives; None if it is lost."""
        emulate = self._emulate
        inward, b, number = link
        if (b, number) not in self._affected[inward]:
            return now
        if emulate.loss and self._stream.random() < emulate.loss:
            return None
        if emulate.bandwidth:
            now = self._free[link] = max(now, self._free.get(link, 0.0)) + size / emulate.bandwidth
        return now + emulate.delay * drawn(emulate.delay_distribution, self._stream, 1)[0]

    @property
    def bytes(self) -> int:
        return self._post.bytes

    @property
    def chosen(self) -> str:
        return self._post.chosen

    def has_taken(self, nodes) -> bool:
        return self._post.has_taken(_Outbox(nodes, self._landed))

    @property
    def quiet(self) -> bool:
        """Whether nothing is in the air."""
        return not self._air and not any(self._landed) and self._post.quiet

    def totals(self):
        return self._post.totals()

    def close(self) -> None:
        self._post.close()


class _Outbox:
    """What has landed, as ``Post.pass_on`` asks nodes for it."""

    def __init__(self, nodes, landed: list[list[bytes]]):
        self.receive, self._landed = nodes.receive, landed

    def filled(self, b: int) -> int:
        return len(self._landed[b])

    def take(self, b: int) -> np.ndarray:
        frames, self._landed[b] = b"".join(self._landed[b]), []
        return np.frombuffer(frames, np.uint8)


def _by_box(box: np.ndarray, number: np.ndarray, affected: np.ndarray) -> set[tuple[int, int]]:
    return set(zip(box[affected].tolist(), number[affected].tolist(), strict=True))
