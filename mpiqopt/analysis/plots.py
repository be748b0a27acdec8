"""Figures of trajectories: objective, stationarity and consensus of several runs against their costs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpiqopt.analysis.figures import (
    NAME,
    curve_styles,
    figure_path,
    label_counts,
    legend_above,
    matplotlib_defaults,
    save_figure,
    use_fonts_for,
)
from mpiqopt.analysis.labels import run_labels, run_settings
from mpiqopt.errors import UsageError
from mpiqopt.results.reader import Result
from mpiqopt.terminal import escape_for_terminal, shorten_for_terminal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS = (("objective", "objective − best seen"), ("stationarity", "stationarity"), ("consensus", "consensus"))
# of runs that all have it
TEST = ("test_loss", "loss of held-out samples")
COLUMNS = (
    ("iteration", "iterations", ""),
    ("samples", "gradient samples per node", ""),
    ("bytes", "sent from node to node", "B"),
    ("time", "time", "s"),
)
# what a figure is drawn from
NEEDED = [name for name, *_ in (*ROWS, *COLUMNS)]
DRAWN = [*NEEDED, TEST[0]]
# splits that are drawn, of which the objective depends
UNEVEN = ("dirichlet", "inner-dirichlet", "resource-dirichlet", "pathological")
# a curve has two points in each of so many pieces: more than there are pixels
PIECES = 2000
# An objective that is so many times its start means nothing any more; it is drawn as far as this above the others, as
# a part of their decades.
BEYOND, BEYOND_AXES = 1e6, 0.15
# of axes from 1, up and down: matplotlib's ticks go further, and must be numbers
DECADES = 200
# 0 as it is drawn on a logarithmic axis: below it
BELOW = 5e-324


def plot_runs(results: list[Result], output: str) -> list[str]:
    """Draw objective (above the best seen), stationarity and consensus against iterations, samples, bytes and time.

    Also the loss of held-out samples, if all runs have it. Curves of the same run look the same in all axes.

    Parameters
    ----------
    results: runs that were read with the columns DRAWN. output: file of the figure.

    Returns
    -------
    What the figure does not show, in sentences: runs that diverged, curves without a value above 0, different problems.

    Raises
    ------
    UsageError: the figure cannot be written, or a result file lacks a column.
    """
    figure_path(output)
    for result in results:
        missing = [name for name in NEEDED if name not in result.columns]
        if missing:
            raise UsageError(f"{name_files([result])}: has no /{missing[0]}")
    with matplotlib_defaults():
        curves = [objective_gaps(results)] + [_curves(results, quantity) for quantity, _ in _rows(results)[1:]]
        save_figure(_figure(results, curves), output)
    return [*_on_problems(results), *_on_divergence(results), *_on_nothing(results, curves)]


def _rows(results: list[Result]) -> tuple[tuple[str, str], ...]:
    """Return what is drawn from top to bottom."""
    return (*ROWS, TEST) if all(TEST[0] in result.columns for result in results) else ROWS


def _figure(results: list[Result], curves: list[list[np.ndarray]]) -> "Figure":
    """Return the figure of the curves [row][run]: a row for each quantity, a column for each cost.

    Axes of a row share their scale, those of a column their costs.
    """
    from matplotlib.figure import Figure

    title, names = run_labels(results)
    use_fonts_for([title, *names])
    figure = Figure(figsize=(14, 2.7 * len(curves)), layout="constrained")
    axes = figure.subplots(len(curves), len(COLUMNS), sharex="col", sharey="row")
    for number, (result, (colour, style)) in enumerate(zip(results, curve_styles(len(results)), strict=True)):
        for row, runs in enumerate(curves):
            for column, (cost, *_) in enumerate(COLUMNS):
                # curves that coincide are seen through the gaps of the later one
                _draw(axes[row, column], result.columns[cost], runs[number], color=colour, linestyle=style)
    for row, (_, quantity) in enumerate(_rows(results)):
        axes[row, 0].set_ylabel(quantity)
        _scale(axes[row], curves[row], [has_diverged(result) for result in results])
    for column, (cost, name, unit) in enumerate(COLUMNS):
        axes[-1, column].set_xlabel(name)
        label_counts(axes[-1, column], max(result.columns[cost].max(initial=0) for result in results), unit)
    figure.align_ylabels(axes[:, 0])
    legend_above(figure, axes[0, 0].lines, names, title)
    return figure


def _draw(axis: "Axes", cost: np.ndarray, values: np.ndarray, **look: Any) -> None:
    """Draw a curve; values without neighbours, which have no line, are dots.

    cost, values: (records,). look: colour and line style.
    """
    kept = visible_points(values)
    seen = np.isfinite(values[kept])
    beside = np.concatenate([[False], seen, [False]])
    alone = np.flatnonzero(seen & ~beside[:-2] & ~beside[2:]).tolist()
    dots = {"marker": "o", "markersize": 4, "markevery": alone} if alone else {}
    axis.plot(cost[kept], values[kept], **look, **dots)
    axis.grid(True, alpha=0.3)


def _scale(axes: np.ndarray, curves: list[np.ndarray], diverged: list[bool]) -> None:
    """Scale axes logarithmically; say so if there is nothing to draw.

    axes: a row of axes that share their scale. curves: those of each run. diverged: which runs count only as far as
    BEYOND_AXES above the others.
    """
    known = [values[values > BELOW] for values in curves]
    sane = [values for values, bad in zip(known, diverged, strict=True) if len(values) and not bad]
    if not any(map(len, known)):
        for axis in axes:
            axis.set_yticks([])
            axis.text(0.5, 0.5, "nothing above 0", transform=axis.transAxes, ha="center", va="center", color="gray")
        return
    low, high = np.log10(_range(known))
    if sane:
        own = np.log10(_range(sane))
        high = min(high, own[1] + BEYOND_AXES * max(own[1] - own[0], 1))
    margin = 0.05 * max(high - low, 1)
    low, high = np.clip([low - margin, high + margin], [-DECADES, 1 - DECADES], [DECADES - 1, DECADES])
    axes[0].set_yscale("log")
    axes[0].set_ylim(10.0**low, 10.0**high)


def _range(curves: list[np.ndarray]) -> tuple[float, float]:
    """Return the smallest and largest value of all curves."""
    values = np.concatenate(curves)
    return float(values.min()), float(values.max())


def objective_gaps(results: list[Result]) -> list[np.ndarray]:
    """Return each run's objective above the best that runs of the same problem have seen, (records,); NaN where none.

    Of runs that diverged only what is above the best of the others counts. Runs have the same problem if problem,
    regulariser and data are the same, and the seed where samples are drawn by it.
    """
    problems = [_problem(result) for result in results]
    best = {}
    for problem in set(problems):
        group = [result for result, own in zip(results, problems, strict=True) if own == problem]
        trusted = [result for result in group if not has_diverged(result)] or group
        best[problem] = min(_smallest(result.columns["objective"]) for result in trusted)
    with np.errstate(all="ignore"):
        values = [result.columns["objective"] - best[own] for result, own in zip(results, problems, strict=True)]
    return _above_zero(values)


def _curves(results: list[Result], quantity: str) -> list[np.ndarray]:
    """Return one quantity of all runs."""
    return _above_zero([result.columns[quantity] for result in results])


def _above_zero(curves: list[np.ndarray]) -> list[np.ndarray]:
    """Return what a logarithmic axis can show of curves: NaN for the rest.

    A curve that arrives at 0 for good falls out of the axes; zeros between other values are drawn as the smallest of
    these, so that curves have no holes.
    """
    curves = [np.where(np.isfinite(values), values, np.nan) for values in curves]
    least = min(float(np.min(values, initial=np.inf, where=values > 0)) for values in curves)
    drawn = []
    for values in curves:
        above, zero = values > 0, values == 0
        before, later = np.maximum.accumulate(above), np.maximum.accumulate(above[::-1])[::-1]
        values = np.where(above, values, np.nan)
        values[zero & before & later] = least
        values[zero & before & ~later] = BELOW
        drawn.append(values)
    return drawn


def has_diverged(result: Result) -> bool:
    """Return True if a run was stopped as diverged, or its objective is NaN or BEYOND its start somewhere."""
    objective = result.columns["objective"]
    if str(result.attributes.get("stop_reason", "")).startswith("diverged"):
        return True
    if np.isnan(objective).all():  # there are no records, or it was never measured
        return False
    scale = abs(float(objective[0])) if objective[0] else 1.0
    return not np.abs(objective).max() <= BEYOND * scale


def _problem(result: Result) -> tuple:
    """Return what the objective depends on: keys of problem, regulariser and data, and the seed where data are drawn.

    Paths count by the file's name: the same file may be elsewhere on another machine.
    """
    known = run_settings(result)
    tables = {key: value for key, value in known.items() if key[0] in ("problem", "regularizer", "data")}
    drawn = (
        tables.get(("data", "name")) == "synthetic"
        or tables.get(("data", "split")) in UNEVEN
        or tables.get(("data", "test_fraction"), 0) > 0
        or tables.get(("data", "label_noise"), 0) > 0
    )
    seed = tables.pop(("data", "seed"), known.get(("run", "seed")))
    names = {key: Path(value).name if key[1] == "path" else str(value) for key, value in tables.items()}
    return (*sorted(names.items()), seed if drawn else None)


def _on_problems(results: list[Result]) -> list[str]:
    """Return a note if the runs have different problems."""
    count = len({_problem(result) for result in results})
    return [f"{count} different problems: objectives are drawn above the best seen of each"] if count > 1 else []


def _on_divergence(results: list[Result]) -> list[str]:
    """Return a note if some of the runs, but not all, diverged."""
    bad = [result for result in results if has_diverged(result)]
    if not bad or len(bad) == len(results):
        return []
    return [f"{name_files(bad)} diverged: drawn as far as the axes of the others go"]


def _on_nothing(results: list[Result], curves: list[list[np.ndarray]]) -> list[str]:
    """Return a note on each quantity of which runs have no curve.

    A logarithmic axis shows no value that is 0, negative or not finite.
    """
    notes = []
    for (_, quantity), runs in zip(_rows(results), curves, strict=True):
        blank = [result for result, values in zip(results, runs, strict=True) if not np.isfinite(values).any()]
        if blank:
            notes.append(
                f"{quantity} of {name_files(blank)}: no finite value above 0, which the logarithmic axis could show"
            )
    return notes


def name_files(results: list[Result]) -> str:
    """Return one file by its name, or one and how many more."""
    return escape_for_terminal(shorten_for_terminal(results[0].path, NAME)) + (
        f" and {len(results) - 1} more" if len(results) > 1 else ""
    )


def _smallest(values: np.ndarray) -> float:
    """Return the smallest finite value; infinity if there is none."""
    return float(values.min(initial=np.inf, where=np.isfinite(values)))


def visible_points(values: np.ndarray) -> np.ndarray:
    """Return positions of the values that a curve needs: all, or first, last and the extremes of PIECES pieces.

    A piece without numbers keeps one NaN, a gap in the curve. A figure of a million records is then as small as one of
    a thousand, and looks the same.

    >>> visible_points(np.arange(5.0)).tolist()
    [0, 1, 2, 3, 4]
    >>> len(visible_points(np.random.default_rng(0).random(10**6))) <= 2 * PIECES + 2
    True
    """
    count = len(values)
    if count <= 2 * PIECES:
        return np.arange(count)
    width = -(-count // PIECES)
    filled = np.full(PIECES * width, np.nan)
    filled[:count] = values
    pieces = filled.reshape(PIECES, width)
    first = width * np.arange(PIECES)
    empty = np.isnan(pieces)
    lowest = first + np.where(empty, np.inf, pieces).argmin(axis=1)
    highest = first + np.where(empty, -np.inf, pieces).argmax(axis=1)
    kept = np.unique(np.concatenate([[0], lowest, highest, [count - 1]]))
    return kept[kept < count]
