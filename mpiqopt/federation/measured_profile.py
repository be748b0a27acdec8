"""Profiles that a rank measures itself: quick ones, from few windows."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import numpy as np

import mpiqopt
from mpiqopt.federation.counted_costs import FLOAT, counted_costs, full_memory, upload
from mpiqopt.federation.profiles import Full, Profile
from mpiqopt.federation.step_meter import StepMeter, Steps
from mpiqopt.federation.windows import Cost, all_windows
from mpiqopt.kernels import describe_kernels
from mpiqopt.neural.block_count import BlockCount
from mpiqopt.neural.partial import Frozen, Partial, Window
from mpiqopt.problems.local_optimizers import LocalOptimizer
from mpiqopt.problems.problem import Problem

REPEATS = 3
# the least that a window is said to take of what all of them take
LEAST = 1e-3


def measure_windows(
    problem: Problem,
    start: np.ndarray,
    optimizer: LocalOptimizer,
    batch: int,
    frozen: Frozen,
    network: str = "",
    repeats: int = REPEATS,
) -> Profile:
    """Return a profile of this process, from 2 B - 1 windows of B blocks: those that begin at 0 or end at B - 1.

    What a window takes is nearly a sum over blocks, those before, in and after it; so

        c(f, l) = c(f, B - 1) + c(0, l) - c(0, B - 1),

    at most what the two windows take that contain it. Nothing is moved but the network's own row, and gradients are not
    counted. Memory is counted where the system does not tell what is taken.

    Parameters
    ----------
    problem : of a network
    start : (d,), where steps begin
    optimizer : of a step. batch : its samples, 0 for all of the first client
    frozen : how frozen blocks are computed
    network : its name. repeats : steps of which the median is taken
    """
    counts, meter = problem.block_counts(), StepMeter(problem, start, optimizer, batch)
    last = len(counts) - 1
    scales, full = meter.observe(frozen, sum(count.scales for count in counts)), meter.measure(None, repeats)
    ends = [window for window in all_windows(len(counts)) if (window.first == 0) != (window.last == last)]
    found = {window: meter.measure(Partial(window, frozen, scales), repeats) for window in ends}
    counted = {cost.window: cost.memory for cost in counted_costs(counts, meter.batch, frozen)}
    shares = {window: memory_share(steps.memory, full.memory, counted[window]) for window, steps in found.items()}
    costs = sum_of_ends(
        {window: (steps.seconds / full.seconds, shares[window]) for window, steps in found.items()}, last
    )
    return measured_profile(counts, meter.batch, frozen, network, full, costs, device_facts(repeats, full.memory))


def sum_of_ends(costs: Mapping[Window, tuple[float, float]], last: int) -> dict[Window, tuple[float, float]]:
    """Return the costs of all windows from those that begin at 0 or end at ``last``, relative to that of 0-``last``.

    Each is a time and a memory.

    >>> from_0 = {Window(0, 0): (0.5, 0.6), Window(0, 1): (0.75, 0.75)}
    >>> to_2 = {Window(1, 2): (0.75, 0.75), Window(2, 2): (0.4, 0.3)}
    >>> sum_of_ends(from_0 | to_2, 2)[Window(1, 1)]
    (0.5, 0.5)
    """
    known = {**costs, Window(0, last): (1.0, 1.0)}

    def summed(window: Window) -> tuple[float, float]:
        (time, memory), (time_before, memory_before) = known[Window(window.first, last)], known[Window(0, window.last)]
        return _overlap(time, time_before), _overlap(memory, memory_before)

    return {window: known.get(window) or summed(window) for window in all_windows(last + 1)}


def _overlap(one: float, other: float) -> float:
    """Return the cost of what two windows have in common that are all blocks together."""
    return min(one, other, max(one + other - 1, LEAST))


def memory_share(taken: float | None, full: float | None, counted: float) -> float:
    """Return the memory that a window takes relative to all of them; as counted where the system does not tell."""
    return max(taken / full, LEAST) if full and taken is not None else counted


def measured_profile(
    counts: Sequence[BlockCount],
    batch: int,
    frozen: Frozen,
    network: str,
    full: Steps,
    costs: Mapping[Window, tuple[float, float]],
    device: dict[str, str],
) -> Profile:
    """Return a profile from what was measured.

    Parameters
    ----------
    counts : of the blocks. batch : samples of a step. frozen : how frozen blocks were computed. network : its name
    full : steps of the whole network
    costs : time and memory of windows, relative to that. device : facts
    """
    sent = upload(counts, frozen)
    return Profile(
        source="measured",
        network=network,
        blocks=[count.name for count in counts],
        coordinates=[count.coordinates for count in counts],
        batch=batch,
        frozen=frozen,
        full=Full(full.seconds, full.memory or full_memory(counts, batch), FLOAT * sent),
        costs=[
            Cost(*window, time, memory, upload(counts[window.first : window.last + 1], frozen) / sent)
            for window, (time, memory) in sorted(costs.items())
        ],
        device=device,
    )


def device_facts(repeats: int, memory: float | None) -> dict[str, str]:
    """Return what a profile says about where and how it was measured."""
    return {
        "host": platform.node(),
        "processor": platform.machine(),
        "kernels": describe_kernels(),
        "PyTorch": version("torch"),
        "mpiqopt": mpiqopt.__version__,
        "repeats": str(repeats),
        "memory": "counted" if memory is None else "measured",
    }
