"""Figures of trajectories."""

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.results.reader import Result

ROWS = (("objective", "objective − best seen"), ("stationarity", "stationarity"), ("consensus", "consensus"))
COLUMNS = (
    ("iteration", "iterations", ""),
    ("samples", "gradient samples per node", ""),
    ("bytes", "sent from node to node", "B"),
    ("time", "time", "s"),
)
# what a figure is drawn from
DRAWN = [name for name, *_ in (*ROWS, *COLUMNS)]
# a curve has two points in each of so many pieces: more than there are pixels
PIECES = 2000
LINE_STYLES = ("solid", "dashed", "dashdot", "dotted")


def plot(results: list[Result], output: str) -> None:
    """Objective (above the best seen), stationarity and consensus against iterations, samples, bytes and time."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    best = min(_smallest(result.columns["objective"]) for result in results)
    figure = Figure(figsize=(14, 8.5), layout="constrained")
    axes = figure.subplots(len(ROWS), len(COLUMNS), sharex="col", sharey="row")
    for number, (result, label) in enumerate(zip(results, labels(results), strict=True)):
        # curves that coincide are seen through the gaps of the later one
        style = LINE_STYLES[number % len(LINE_STYLES)]
        for row, (quantity, _) in enumerate(ROWS):
            values = result.columns[quantity] - (best if quantity == "objective" else 0)
            # zeros cannot be drawn on a logarithmic axis
            values[~((values > 0) & np.isfinite(values))] = np.nan
            kept = visible(values)
            for column, (cost, _, _) in enumerate(COLUMNS):
                axes[row, column].plot(result.columns[cost][kept], values[kept], linestyle=style, label=label)
    for row, (_, title) in enumerate(ROWS):
        axes[row, 0].set_ylabel(title)
        if any(np.isfinite(line.get_ydata()).any() for axis in axes[row] for line in axis.lines):
            axes[row, 0].set_yscale("log")
    for column, (_, title, unit) in enumerate(COLUMNS):
        axes[-1, column].set_xlabel(title)
        axes[-1, column].xaxis.set_major_formatter(EngFormatter(unit))
        axes[-1, column].xaxis.set_major_locator(MaxNLocator(5))
    for axis in axes.flat:
        axis.grid(True, alpha=0.3)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=min(len(results), 4))
    save(figure, output)


def _smallest(values: np.ndarray) -> float:
    """The smallest finite value."""
    return float(values.min(initial=np.inf, where=np.isfinite(values)))


def visible(values: np.ndarray) -> np.ndarray:
    """Positions of the values that a curve needs: all, or the first, the last, and the extremes of PIECES pieces.

    A piece without numbers keeps one NaN, a gap in the curve.
    """
    count = len(values)
    if count <= 2 * PIECES:
        return np.arange(count)
    width = -(-count // PIECES)
    pieces = np.full(PIECES * width, np.nan)
    pieces[:count] = values
    pieces = pieces.reshape(PIECES, width)
    first = width * np.arange(PIECES)
    empty = np.isnan(pieces)
    lowest = first + np.where(empty, np.inf, pieces).argmin(axis=1)
    highest = first + np.where(empty, -np.inf, pieces).argmax(axis=1)
    kept = np.unique(np.concatenate([[0], lowest, highest, [count - 1]]))
    return kept[kept < count]


def labels(results: list[Result]) -> list[str]:
    """Algorithm and topology of each run, with the file's name where that is not enough."""
    names = [result.label() for result in results]
    return [
        f"{name} ({result.path})" if names.count(name) > 1 else name
        for name, result in zip(names, results, strict=True)
    ]


def save(figure, output: str) -> None:
    """Write a figure. Raises UsageError if the name has no known ending or cannot be written."""
    try:
        figure.savefig(output, dpi=130)
    except ValueError as error:
        raise UsageError(f"-o {output}: {error}") from error
    except OSError as error:
        raise UsageError(f"-o {output}: cannot write there: {error.strerror or error}") from error
