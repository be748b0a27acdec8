"""How the numbers of a run still move at its end."""

import numpy as np

from mpiqopt.results.reader import Result

# between the middle and the end: less than this is no movement
STILL = 1.25


def trends(result: Result) -> str:
    """Return a line on stationarity and consensus in the second half of a run."""
    iterations = result.columns["iteration"]
    said = (f"{name} {trend(iterations, result.columns[name])}" for name in ("stationarity", "consensus"))
    return f"in the second half: {', '.join(said)}"


def trend(iterations: np.ndarray, values: np.ndarray) -> str:
    """Return how values (records,) > 0 moved from the middle of the iterations to the end, in words."""
    middle = int(np.searchsorted(iterations, iterations[-1] / 2))
    before, now = float(values[middle]), float(values[-1])
    if now == 0:
        return "is 0"
    if before == 0 or now > STILL * before:
        return "rises"
    if now * STILL > before:
        return "falls no more"
    tenfold = (iterations[-1] - iterations[middle]) / np.log10(before / now)
    return f"falls tenfold in {tenfold:.3g} iterations"
