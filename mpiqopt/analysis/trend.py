"""How the numbers of a run still change at its end, in words.

>>> trend_in_words(np.array([0, 50, 100]), np.array([1.0, 1e-2, 1e-4]))
'falls tenfold in 25 iterations'
>>> trend_in_words(np.array([0, 50, 100]), np.array([1.0, 1e-2, 1e-2]))
'falls no more'
"""

import numpy as np

from mpiqopt.results.reader import Result

# between the middle and the end: less than this is no movement
STILL = 1.25


def describe_trends(result: Result) -> str:
    """Return a line on stationarity, where it was measured, and consensus in the second half of a run with records."""
    iterations, columns = result.columns["iteration"], result.columns
    measured = [name for name in ("stationarity", "consensus") if not np.isnan(columns[name]).all()]
    said = (f"{name} {trend_in_words(iterations, columns[name])}" for name in measured)
    return f"in the second half: {', '.join(said)}"


def trend_in_words(iterations: np.ndarray, values: np.ndarray) -> str:
    """Return how values (records,) >= 0 changed from the middle of the iterations to the end.

    One of: "is 0", "rises", "falls no more", "falls tenfold in K iterations".
    """
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
