"""Figures of clients: how accurate the model is for whom, who took part, and with what part of the network.

A row for each run, panels side by side.

>>> np.round(cell_edges(np.array([0, 10, 20, 25])), 1).tolist()
[-5.0, 5.0, 15.0, 22.5, 27.5]
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mpiqopt.analysis.clients import class_names, count_outcomes, rounds_used
from mpiqopt.analysis.figures import (
    figure_path,
    label_counts,
    matplotlib_defaults,
    save_figure,
    use_fonts_for,
    without_math,
)
from mpiqopt.analysis.labels import run_labels
from mpiqopt.analysis.partial_training import block_parts, saved_parts, width_parts
from mpiqopt.analysis.plots import name_files, visible_points
from mpiqopt.analysis.tables import summary_rows
from mpiqopt.emulation.devices import Limits, limit_text, name_devices
from mpiqopt.errors import UsageError
from mpiqopt.results.layout import CLIENT_VECTORS
from mpiqopt.results.reader import Clients, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# what a figure is drawn from
DRAWN = ("iteration", "bytes", "accuracy", *CLIENT_VECTORS)
# inches of a panel, and of what stands above all
PANEL = (3.5, 3.3)
# up to so many devices are in a legend, and so many classes of samples have names
LEGEND, NAMED = 6, 20
# a map has so many columns at most, a histogram so many bars
CELLS, BARS = 500, 20
# how much of the distance between groups of bars they take
GROUP = 0.85


class Panel(NamedTuple):
    """One kind of panel: its title, what draws it, what results need for it, and True if its heights are accuracies.

    needs: names of what is recorded, "trained" for windows or widths, or "saved" for something that is.
    """

    title: str
    draw: Callable[["Axes", Result], None]
    needs: tuple[str, ...]
    is_accuracy: bool = True


def plot_clients(results: list[Result], output: str) -> list[str]:
    """Draw accuracies of devices, clients and classes of samples, and in how many rounds clients took part.

    Of methods that train on each device what it can also which blocks or widths, and what that saves.

    Parameters
    ----------
    results: runs that were read with the columns DRAWN, the quantity "sampled" of rounds, and what ``partial_training``
        needs. output: of the figure.

    Returns
    -------
    What the figure does not show, in sentences: quantities that some of the runs do not have.

    Raises
    ------
    UsageError: the figure cannot be written, or a result file says nothing of clients.
    """
    figure_path(output)
    silent = [result for result in results if not any(_has(result, panel) for panel in PANELS)]
    if silent:
        raise UsageError(f"{name_files(silent[:1])}: says nothing of clients, which methods with a server have")
    panels = [panel for panel in PANELS if any(_has(result, panel) for result in results)]
    with matplotlib_defaults():
        save_figure(_figure(results, panels), output)
    return [*_on_nothing(results, panels)]


def _has(result: Result, panel: Panel) -> bool:
    """Return True if there is something to draw in a panel."""
    clients = result.clients
    known: dict[str, Any] = dict(result.columns)
    if clients is not None:
        trained = clients.rounds.get("window_first", clients.rounds.get("width", ()))
        known |= clients.rounds | {"trained": trained, "saved": saved_parts(clients)}
    return all(len(known.get(name, ())) for name in panel.needs)


def _on_nothing(results: list[Result], panels: list[Panel]) -> list[str]:
    """Return a note on each panel that runs leave empty."""
    lacking = {panel.title: [result for result in results if not _has(result, panel)] for panel in panels}
    return [f"{title}: {name_files(runs)} did not record it" for title, runs in lacking.items() if runs]


def _figure(results: list[Result], panels: list[Panel]) -> "Figure":
    """Return the figure: rows of panels, of which those of accuracies share their range."""
    from matplotlib.figure import Figure

    _, names = run_labels(results)
    use_fonts_for([*names, *(name for result in results for name in class_names(result, 0))])
    width, height = PANEL
    figure = Figure(figsize=(width * max(len(panels), 2), height * len(results)), layout="constrained")
    axes = figure.subplots(len(results), len(panels), squeeze=False)
    for row, result, name in zip(axes, results, names, strict=True):
        for each, panel in zip(row, panels, strict=True):
            _draw(each, panel, result, above=name.count("\n") + 1)
        title = row[0].set_title(name + "\n", loc="left", fontsize="medium", fontweight="bold")
        title.set_in_layout(False)  # it may be wider than its panel
        without_math(title)
    drawn = [(row, column) for row in range(len(results)) for column in range(len(panels))]
    _share([axes[at] for at in drawn if panels[at[1]].is_accuracy and _has(results[at[0]], panels[at[1]])])
    return figure


def _draw(axes: "Axes", panel: Panel, result: Result, above: int) -> None:
    """Draw a panel of a run, or say that there is nothing. above: lines left for the run's name above the title."""
    axes.set_title("\n" * above + panel.title, fontsize="medium")
    if _has(result, panel):
        panel.draw(axes, result)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", va="center", color="gray")


def _share(axes: list["Axes"]) -> None:
    """Give axes the range that all of them need, and a grid."""
    limits = [each.get_ylim() for each in axes]
    for each in axes:
        each.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        each.grid(True, alpha=0.3)


def _devices(cost: str, name: str, unit: str) -> Callable[["Axes", Result], None]:
    """Return what draws the accuracy of each class of devices against a cost."""

    def draw(axes: "Axes", result: Result) -> None:
        values, x = result.columns["device_accuracy"], result.columns[cost]
        for k, (colour, label) in enumerate(zip(_colours(values.shape[1]), _device_names(result), strict=True)):
            _curve(axes, x, values[:, k], color=colour, label=label)
        if "accuracy" in result.columns:
            _curve(axes, x, result.columns["accuracy"], color="black", linestyle="dotted", label="all held-out samples")
        axes.set_xlabel(name)
        label_counts(axes, x.max(initial=0), unit)
        if cost == "iteration":
            limits = result.clients is not None and "time_low" in result.clients.facts
            title = " / ".join(Limits._fields) if limits else None
            axes.legend(fontsize="x-small", loc="lower right", title=title, title_fontsize="x-small")

    return draw


def _curve(axes: "Axes", x: np.ndarray, values: np.ndarray, **look: Any) -> None:
    """Draw a curve, a dot if it has one point."""
    kept = visible_points(values)
    axes.plot(x[kept], values[kept], marker="o" if len(kept) == 1 else "", markersize=4, **look)


def _colours(count: int) -> list:
    """Return a colour for each class of devices, in their order: from violet to green."""
    import matplotlib

    return [matplotlib.colormaps["viridis"](0.8 * k / max(count - 1, 1)) for k in range(count)]


def _device_names(result: Result) -> list[str | None]:
    """Return what the legend calls the classes of devices: the first and the last only, if there are many."""
    count = result.columns["device_accuracy"].shape[1] if "device_accuracy" in result.columns else 0
    if result.clients is None or count < 2:
        return ["mean over clients"] * count
    sizes = np.bincount(result.clients.device, minlength=count)
    named = range(count) if count <= LEGEND else (0, count - 1)
    facts = result.clients.facts
    names = name_devices(facts)
    if "time_low" in facts:  # short: what the numbers are is above them
        names = [" / ".join(limit_text(facts, name, k) for name in Limits._fields) for k in range(count)]
    return [f"{names[k]} ({sizes[k]} clients)" if k in named else None for k in range(count)]


def _clients(axes: "Axes", result: Result) -> None:
    """Draw mean, spread, worst and best of the clients' accuracies."""
    x, values = result.columns["iteration"], result.columns["client_accuracy"].astype(np.float64)
    kept = summary_rows(len(x), CELLS)
    x, values = x[kept], values[kept]
    mean, spread = np.nanmean(values, axis=1), np.nanstd(values, axis=1)
    worst, best = np.nanmin(values, axis=1), np.nanmax(values, axis=1)
    axes.fill_between(x, worst, best, alpha=0.15, lw=0, label="worst to best")
    low, high = np.maximum(mean - spread, worst), np.minimum(mean + spread, best)  # no accuracy beyond 1
    axes.fill_between(x, low, high, color="C0", alpha=0.35, lw=0, label="mean ± spread")
    axes.plot(x, mean, color="C0", marker="o" if len(x) == 1 else "", markersize=4, label="mean")
    axes.set_xlabel("iterations")
    label_counts(axes, x.max(initial=0), "")
    axes.legend(fontsize="x-small", loc="lower right")


def _classes(axes: "Axes", result: Result) -> None:
    """Draw a map of the accuracy of each class of samples; what is unknown stays blank."""
    from matplotlib.ticker import MaxNLocator

    x, values = result.columns["iteration"], result.columns["class_accuracy"]
    kept = summary_rows(len(x), CELLS)
    count = values.shape[1]
    cells = axes.pcolormesh(cell_edges(x[kept]), np.arange(count + 1) - 0.5, values[kept].T, rasterized=True)
    axes.figure.colorbar(cells, ax=axes)
    axes.invert_yaxis()
    if count <= NAMED:
        axes.set_yticks(range(count), class_names(result, count), fontsize="small")
        without_math(*axes.get_yticklabels())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("class")
    axes.set_xlabel("iterations")
    label_counts(axes, x.max(initial=0), "")


def cell_edges(centres: np.ndarray) -> np.ndarray:
    """Return borders of cells around ascending positions (k,), half way between two: (k + 1,)."""
    if len(centres) == 1:
        return centres[0] + np.array([-0.5, 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def _participation(axes: "Axes", result: Result) -> None:
    """Draw how many clients took part in how many rounds, as bars in the colours of their devices."""
    from matplotlib.ticker import MaxNLocator

    clients = result.clients
    assert clients is not None  # there are rounds
    used = rounds_used(count_outcomes(clients.rounds["sampled"]))
    low, high = int(used.min()), int(used.max())
    step = -(-(high - low + 1) // BARS)
    edges = np.arange(low, high + step + 1, step) - 0.5
    axes.hist(_by_device(clients, used), edges, stacked=True, color=_colours(clients.classes), rwidth=0.9)
    axes.set_xlabel("rounds in which its update was used")
    axes.set_ylabel("clients")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True))


def _by_device(clients: Clients, values: np.ndarray) -> list[np.ndarray]:
    """Return values (clients,) of each class of devices."""
    return [values[clients.device == k] for k in range(clients.classes)]


def _trained(axes: "Axes", result: Result) -> None:
    """Draw in which part of the trainings of each class of devices each block, or each width, was trained."""
    from matplotlib.ticker import MaxNLocator

    clients = result.clients
    assert clients is not None  # there are rounds
    if "window_first" in clients.rounds:
        windows = clients.rounds["window_first"], clients.rounds["window_last"]
        _bars(axes, block_parts(*windows, clients.device, clients.classes))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("block")
    else:
        widths, parts = width_parts(clients.rounds["width"], clients.device, clients.classes)
        _bars(axes, parts)
        axes.set_xticks(range(len(widths)), [f"{width:g}" for width in widths])
        axes.set_xlabel("width")
    axes.set_ylabel("% of trainings")


def _saved(axes: "Axes", result: Result) -> None:
    """Draw what each class of devices saves, compared with training and sending the whole network."""
    clients = result.clients
    assert clients is not None  # something is saved
    saved = saved_parts(clients)
    _bars(axes, np.array([parts[:-1] for parts in saved.values()]))
    axes.set_xticks(range(len(saved)), [name.replace(" ", "\n") for name in saved], fontsize="small")
    axes.set_ylabel("% saved")


def _bars(axes: "Axes", parts: np.ndarray) -> None:
    """Draw parts (k, classes) in per cent, k groups of bars in the colours of devices."""
    count, classes = parts.shape
    for device, colour in enumerate(_colours(classes)):
        places = np.arange(count) + (device - (classes - 1) / 2) * GROUP / classes
        axes.bar(places, 100 * np.nan_to_num(parts[:, device]), GROUP / classes, color=colour)
    axes.set_ylim(min(0, axes.get_ylim()[0]), max(100, axes.get_ylim()[1]))
    axes.grid(True, axis="y", alpha=0.3)
    axes.set_axisbelow(True)


PANELS = (
    Panel("accuracy by device", _devices("iteration", "iterations", ""), ("device_accuracy", "iteration")),
    Panel("accuracy by device", _devices("bytes", "sent from node to node", "B"), ("device_accuracy", "bytes")),
    Panel("accuracy of clients", _clients, ("client_accuracy", "iteration")),
    Panel("accuracy of classes", _classes, ("class_accuracy", "iteration"), False),
    Panel("participation", _participation, ("sampled",), False),
    Panel("blocks or widths trained", _trained, ("trained",), False),
    Panel("saved", _saved, ("saved",), False),
)
