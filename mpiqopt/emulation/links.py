"""Links that are worse than they are: messages that are late, lost or thin."""

import heapq
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from mpiqopt.emulation.settings import LONGEST, Emulate, draw_factors
from mpiqopt.placement.placement import Placement
from mpiqopt.streams import random_stream
from mpiqopt.transport.transport import FrameExchange, FrameQueue, FrameSource, SteppingNodes


class RoundDelays:
    """Delays of synchronous rounds: every node waits for the slowest message to it.

    A message of b bytes takes delay D + b/bandwidth, D drawn with mean 1 (or 1) for every message of a round.

    Parameters
    ----------
    emulate : the table [emulate].
    place : which nodes this rank hosts.
    seed : of the drawn delays, which depend on the round and the link, not on ranks.
    """

    def __init__(self, emulate: Emulate, place: Placement, seed: int):
        self._emulate, self._place, self._seed = emulate, place, seed
        self._rounds = 0
        self._mine: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def delay(self, links: np.ndarray, bytes: float, began: float, among: np.ndarray | None = None) -> None:
        """Sleep until messages of so many bytes, sent at ``began`` on all ``links``, would have arrived here.

        links: (count, 2), (sender, receiver), the same array in every call for the same links; began: as
        time.perf_counter counts; among: bool (count,), those of the links that carry one, by default all.
        """
        emulate, place = self._emulate, self._place
        known = self._mine.get(id(links))
        if known is None:
            here = (links[:, 1] >= place.first) & (links[:, 1] < place.last)
            # keeps links, so that id stays theirs
            known = self._mine[id(links)] = links, here & emulate.affected(links)
        mine = known[1] if among is None else known[1] & among
        self._rounds += 1
        if not mine.any():
            return
        stream = random_stream(self._seed, "link", self._rounds)
        delay = emulate.delay * draw_factors(emulate.delay_distribution, stream, len(links))[mine].max()
        on_the_way = min(delay + bytes / (emulate.bandwidth or np.inf), LONGEST)
        time.sleep(max(0.0, began + on_the_way - time.perf_counter()))


class CountingNodes(SteppingNodes, Protocol):
    """Nodes that act in steps and count what they send."""

    nodes: int  # of the whole network
    bytes_sent: np.ndarray  # int64 (hosted,)


class CuttingNodes(FrameSource, Protocol):
    """Nodes that tell where their frames end."""

    def cut(self, frames: np.ndarray) -> list[tuple[int, int, bool]]:
        """Return the end of each frame, the number of its link at the receiver, and True if that leads into it."""


class EmulatedFrameExchange:
    """Steps of coordination behind emulated links. exchange: what brings the frames of a step to other processes."""

    def __init__(self, exchange: FrameExchange, delays: RoundDelays, links: np.ndarray):
        self._exchange, self._delays, self._links = exchange, delays, links

    def exchange(self, nodes: CountingNodes) -> None:
        """Let all frames of a step arrive, late: each link of a node carries an equal part of what it sends."""
        began, before = time.perf_counter(), nodes.bytes_sent.copy()
        self._exchange.exchange(nodes)
        sent = (nodes.bytes_sent - before).max() / max(1, len(self._links) / nodes.nodes)
        self._delays.delay(self._links, sent, began)

    @property
    def bytes(self) -> int:
        return self._exchange.bytes

    def close(self) -> None:
        self._exchange.close()


class _Flight(NamedTuple):
    """A frame on its way: when it is due (s), a number that breaks ties, the box it goes to."""

    due: float
    number: int
    box: int
    frame: bytes


class EmulatedFrames:
    """Mailboxes behind emulated links: frames are lost, delayed and may overtake each other.

    frames: what brings them to other processes; wiring: links by number, as the frames have them; began: since when
    nodes are silent after some time, as time.perf_counter counts.
    """

    def __init__(self, frames: FrameQueue, emulate: Emulate, wiring: Any, seed: int, began: float):
        self._frames, self._emulate, self.mail_transport = frames, emulate, frames.mail_transport
        self._stream = random_stream(seed, "link", wiring.first)
        # links as frames name them at their destination: data by the links in, acknowledgements by the links out
        self._affected = {
            True: _by_box(wiring.out_box, wiring.out_there, emulate.affected(wiring.out_links)),
            False: _by_box(wiring.in_box, wiring.in_there, emulate.affected(wiring.in_links)),
        }
        self._silent = [(int(node), began + after, began + after + seconds) for node, after, seconds in emulate.silent]
        ends = (
            (True, wiring.out_box, wiring.out_there, wiring.out_links),
            (False, wiring.in_box, wiring.in_there, wiring.in_links),
        )
        self._ends = {
            (inward, b, number): link
            for inward, box, there, links in ends
            if self._silent
            for b, number, link in zip(box.tolist(), there.tolist(), links.tolist(), strict=True)
        }
        self._free: dict[tuple[bool, int, int], float] = {}
        self._air: list[_Flight] = []
        self._landed: list[list[bytes]] = [[] for _ in range(wiring.boxes)]
        self._number = 0

    def pass_on(self, nodes: CuttingNodes) -> bool:
        """Take frames off the nodes, and send those that are due. True if there were any."""
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
        return self._frames.pass_on(_Outbox(nodes, self._landed)) or moved

    def _launch(self, b: int, nodes: CuttingNodes, now: float) -> None:
        """Take all frames out of box b; those that are not lost are on their way."""
        frames, at = nodes.take(b), 0
        for end, link, inward in nodes.cut(frames):
            due = self._due((inward, b, link), end - at, now)
            if due is not None:
                self._number += 1
                heapq.heappush(self._air, _Flight(due, self._number, b, frames[at:end].tobytes()))
            at = end

    def _due(self, link: tuple[bool, int, int], size: int, now: float) -> float | None:
        """Return when a frame of ``size`` bytes arrives, in seconds of time.perf_counter; None if it is lost."""
        emulate = self._emulate
        inward, b, number = link
        if self._silent and any(begin <= now < end and node in self._ends[link] for node, begin, end in self._silent):
            return None
        if (b, number) not in self._affected[inward]:
            return now
        if emulate.loss and self._stream.random() < emulate.loss:
            return None
        if emulate.bandwidth:
            now = self._free[link] = max(now, self._free.get(link, 0.0)) + size / emulate.bandwidth
        return now + emulate.delay * draw_factors(emulate.delay_distribution, self._stream, 1)[0]

    @property
    def bytes(self) -> int:
        return self._frames.bytes

    def has_taken(self, nodes: FrameSource) -> bool:
        return self._frames.has_taken(_Outbox(nodes, self._landed))

    @property
    def quiet(self) -> bool:
        """True if no frame is on its way."""
        return not self._air and not any(self._landed) and self._frames.quiet

    def totals(self) -> tuple[Callable[[], bool], np.ndarray]:
        return self._frames.totals()

    def close(self) -> None:
        self._frames.close()


class _Outbox:
    """Frames that have arrived, as ``FrameQueue.pass_on`` asks nodes for them."""

    def __init__(self, nodes: FrameSource, landed: list[list[bytes]]):
        self.receive, self._landed = nodes.receive, landed

    def filled(self, b: int) -> int:
        return len(self._landed[b])

    def take(self, b: int) -> np.ndarray:
        frames, self._landed[b] = b"".join(self._landed[b]), []
        return np.frombuffer(frames, np.uint8)


def _by_box(box: np.ndarray, number: np.ndarray, affected: np.ndarray) -> set[tuple[int, int]]:
    """Return (box, number of the link there) of the links that are affected."""
    return set(zip(box[affected].tolist(), number[affected].tolist(), strict=True))
