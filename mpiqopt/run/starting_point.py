"""The point x_0 at which a run starts: ``run.start``."""

import numpy as np

from mpiqopt.config.config import Config
from mpiqopt.errors import UsageError, quote_in_error
from mpiqopt.files.inputs import require_input_file
from mpiqopt.placement.placement import Placement
from mpiqopt.placement.shared_rows import shared_rows
from mpiqopt.problems.problem import Problem
from mpiqopt.run.steps import on_rank_0
from mpiqopt.streams import random_stream, standard_normal
from mpiqopt.transport.transport import Transport


def starting_point(config: Config, problem: Problem, place: Placement, transport: Transport) -> np.ndarray:
    """Return x_0, (hosted, d) of the problem's dtype, with equal rows unless a file has one for each node; collective.

    For methods with ``one_row`` these are ``shared_rows``.

        auto: as the problem draws it, or 0;  zero: 0;  normal: one draw from N(0, I/d) for all nodes;
        a file: what it holds

    Raises AgreedError if ``run.start`` names a file that holds no such point.
    """
    if config.run.start == "auto":
        point = _drawn_point(transport, config, problem)
    elif config.run.start == "zero":
        point = np.zeros(problem.d)
    elif config.run.start == "normal":
        point = standard_normal(random_stream(config.run.seed, "start"), problem.d) / np.sqrt(problem.d)
    else:
        point = _earlier_point(transport, config, problem.d, place.nodes)
    if config.algorithm.one_row:
        return shared_rows(point.astype(problem.dtype), problem.hosted)
    rows = point[place.first : place.last] if point.ndim == 2 else np.repeat(point[None], problem.hosted, axis=0)
    return np.ascontiguousarray(rows, dtype=problem.dtype)


@on_rank_0
def _drawn_point(config: Config, problem: Problem) -> np.ndarray:
    """Return the start (d,) that the problem draws: rank 0's, as processors may differ in the last bit of it."""
    return problem.start(config.run.seed)


@on_rank_0
def _earlier_point(config: Config, d: int, nodes: int) -> np.ndarray:
    """Return what a file holds: of a result file the final mean iterate (d,), of a .npy file (d,) or (nodes, d).

    Raises UsageError for a file that cannot be read, for other shapes, and for numbers that are not finite.
    """
    where = f"{config.path}: run.start = {quote_in_error(config.run.start)}"
    try:
        point = _read_point(config.start_file)
        finite = np.isfinite(point).all()
    except MemoryError:
        raise
    except Exception as error:  # whatever the reading libraries say of a file that is no array
        raise UsageError(f"{where}: want auto, zero, normal, a result file or a .npy file: {error}") from error
    if point.shape not in ((d,), (nodes, d)):
        raise UsageError(f"{where}: is {' x '.join(map(str, point.shape))}, want {d} numbers or {nodes} x {d}")
    if not finite:
        raise UsageError(f"{where}: holds numbers that are not finite")
    if point.ndim == 2 and (config.algorithm.common_point or config.algorithm.one_row):
        raise UsageError(f"{where}: a start for each node, but nodes of {config.algorithm.name!r} share one point")
    return point


def _read_point(path: str) -> np.ndarray:
    """Return the numbers of a .npy file, or the final mean iterate of a result file, in float64."""
    from mpiqopt.results.reader import final_mean

    require_input_file(path)
    if not path.endswith(".npy"):
        return final_mean(path)
    array = np.load(path, allow_pickle=False)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"numbers of type {array.dtype}")
    return array.astype(np.float64)
