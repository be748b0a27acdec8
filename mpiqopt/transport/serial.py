"""All nodes in one process: nothing travels."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from mpiqopt.transport.transport import Channel, FrameExchange, FrameQueue, FrameSource, SteppingNodes, Transport

if TYPE_CHECKING:  # errors are told without the kernels: these may be what is wrong
    from mpiqopt.placement.placement import ExchangePlan


class SerialChannel(Channel):
    """No ghost rows."""

    def __init__(self, width: int, dtype: DTypeLike):
        self.ghosts = np.empty((0, width), dtype)

    def exchange(self, rows: np.ndarray) -> np.ndarray:
        return self.ghosts

    def free(self) -> None:
        pass


class SerialFrames(FrameExchange, FrameQueue):
    """Frames between the nodes of one process: nothing goes to another."""

    mail_transport = "none (one process)"
    bytes = 0
    quiet = True

    def exchange(self, nodes: SteppingNodes) -> None:
        nodes.deliver()

    def pass_on(self, nodes: FrameSource) -> bool:
        return False  # nodes of one process hear each other without help

    def has_taken(self, nodes: FrameSource) -> bool:
        return True

    def totals(self) -> tuple[Callable[[], bool], np.ndarray]:
        return (lambda: True), np.zeros(2, np.int64)

    def close(self) -> None:
        pass


class SerialTransport(Transport):
    """The transport of a run without mpiexec: one rank, which hears nobody but itself."""

    rank, size, local_rank = 0, 1, 0
    name = "rank 0"  # for messages
    library = "none (one process)"
    crowded = False  # whether waiting takes a processor from somebody

    @property
    def processors(self) -> int:
        """How many processors this rank has for its threads."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def channel(self, exchange: ExchangePlan, tag: int, width: int, dtype: DTypeLike) -> SerialChannel:
        return SerialChannel(width, dtype)

    def gather(self, rows: np.ndarray, counts: list[int]) -> np.ndarray | None:
        return rows

    def scatter(self, rows: np.ndarray | None, counts: list[int], out: np.ndarray) -> None:
        out[:] = rows

    def broadcast(self, array: np.ndarray) -> np.ndarray:
        return array

    def alltoall(self, outgoing: np.ndarray, sent: list[int], received: list[int]) -> np.ndarray:
        return outgoing

    def concatenate(self, own: np.ndarray, counts: list[int]) -> np.ndarray:
        return own

    def maximum(self, values: np.ndarray) -> np.ndarray:
        return values

    def total(self, values: np.ndarray) -> np.ndarray:
        return values

    def first_error(self, message: str | None) -> str | None:
        return message

    def share(self, value: Any) -> Any:
        return value

    def deal(self, parts: list | None) -> Any:
        assert parts is not None
        return parts[0]

    def frame_exchange(self, ranks: tuple[int, ...]) -> SerialFrames:
        return SerialFrames()

    def frame_queue(self, ranks: tuple[int, ...], mail_transport: str) -> SerialFrames:
        return SerialFrames()

    def close(self) -> None:
        pass

    def abort(self, status: int = 1) -> None:
        os._exit(status)
