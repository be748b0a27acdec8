"""What clients did, in numbers: who took part, whose updates came late, and how accurate the model is for whom.

>>> sampled = np.array([[1, 0, 2], [1, 1, 0], [3, 4, 1]])  # (rounds, clients)
>>> rounds_used(count_outcomes(sampled)).tolist()
[3, 1, 1]
"""

from collections.abc import Iterator

import numpy as np

from mpiqopt.analysis.partial_training import block_parts, saved_parts, width_parts
from mpiqopt.analysis.tables import Column, format_number, print_table, summary_rows
from mpiqopt.emulation.devices import Limits, limit_text
from mpiqopt.results.layout import OUTCOMES
from mpiqopt.results.reader import Clients, Result
from mpiqopt.terminal import escape_for_terminal, shorten_for_terminal, two_terminal_columns

NOT_DRAWN, USED, DISCARDED, APPLIED, LEFT_OUT, LOST, ROLLED_BACK = range(len(OUTCOMES))
# of which only some runs have any, and what to call them
RARE = {LOST: "lost", ROLLED_BACK: "rolled back"}
# up to so many classes of samples have a column each, whose name has so many characters at most
MOST_CLASSES, NAME = 20, 16
# rows of a table of blocks
MOST_BLOCKS = 40


def count_outcomes(sampled: np.ndarray) -> np.ndarray:
    """Return in how many rounds each client had each of ``layout.OUTCOMES``, int (7, clients).

    sampled: (rounds, clients), as in a result file.
    """
    return np.array([np.count_nonzero(sampled == outcome, axis=0) for outcome in range(len(OUTCOMES))])


def rounds_used(outcomes: np.ndarray) -> np.ndarray:
    """Return in how many rounds each client's update was used, at once or late; outcomes: (7, clients)."""
    return outcomes[USED] + outcomes[APPLIED]


def class_names(result: Result, count: int) -> list[str]:
    """Return what to call ``count`` classes of samples, as the data do or by number, fit for a terminal."""
    named = result.axes.get("class", np.arange(count)).tolist()
    return [
        shorten_for_terminal(escape_for_terminal(f"{each:g}" if isinstance(each, int | float) else each), NAME)
        for each in named
    ]


def print_clients(result: Result, width: int | None) -> None:
    """Print who took part and how accurate the last model is for whom, if a file says so.

    result: read with the quantity "sampled" of rounds, and what ``partial_training`` needs. width: characters of a
    line; None for any.
    """
    facts = [*_facts(result)]
    if facts:
        print("\n" + two_terminal_columns(facts, width), end="")
    for columns in (_by_device(result), _saved_by_device(result), *_trained(result), _by_class(result)):
        if columns:
            print()
            print_table(columns, width)
    if facts:
        print()


def _facts(result: Result) -> Iterator[tuple[str, str]]:
    """Yield names and values of what is said of all clients together."""
    clients = result.clients
    if clients is not None and "sampled" in clients.rounds:
        outcomes, rounds = count_outcomes(clients.rounds["sampled"]), len(clients.rounds["sampled"])
        drawn = outcomes[USED:].sum() / max(rounds, 1)
        kinds = f" with {clients.classes} classes of devices" if clients.classes > 1 else ""
        yield "clients", f"{len(clients.device)}{kinds}; {rounds} rounds, {drawn:.4g} drawn in each on average"
        counts = outcomes.sum(axis=1).tolist()
        used, discarded, applied, out = counts[USED : LEFT_OUT + 1]
        rare = "".join(f", {counts[outcome]} {word}" for outcome, word in RARE.items() if counts[outcome])
        yield (
            "updates",
            f"{used} used, {applied} late and applied, {discarded} late and discarded, {out} left out{rare}",
        )
        back = np.count_nonzero((clients.rounds["sampled"] == ROLLED_BACK).any(axis=1))
        if back:
            yield "rolled back", f"{back} of {rounds} rounds, after which the held-out loss had jumped"
        yield "rounds used", _range(rounds_used(outcomes), "{:.0f}", "fewest", "median {:g}", "most")
    if len(result.columns.get("client_accuracy", ())):
        overall, spread = (result.columns.get(name, np.full(1, np.nan))[-1] for name in ("accuracy", "accuracy_spread"))
        clients_have = _range(result.columns["client_accuracy"][-1], "{:.4f}", "worst", f"spread {spread:.4f}", "best")
        yield "accuracy", f"{overall:.4f} overall; of clients: {clients_have}"
    by_device = result.columns.get("device_accuracy", np.empty((0, 0)))
    if len(by_device) and np.isfinite(by_device[-1]).sum() > 1:
        low, high = np.nanmin(by_device[-1]), np.nanmax(by_device[-1])
        yield "parity", f"classes of devices differ by {high - low:.4f} in accuracy"
    if clients is not None and (saved := saved_parts(clients)):
        yield "saved", ", ".join(f"{100 * parts[-1]:.1f} % of {name}" for name, parts in saved.items())


def _range(values: np.ndarray, form: str, low: str, middle: str, high: str) -> str:
    """Return the smallest, a middle and the largest of values (clients,), with the clients that have them."""
    if not np.isfinite(values).any():
        return "unknown"
    least, most = int(np.nanargmin(values)), int(np.nanargmax(values))
    median = middle.format(float(np.nanmedian(values)))
    return (
        f"{low} {form.format(values[least])} (client {least}), {median}, "
        f"{high} {form.format(values[most])} (client {most})"
    )


def _by_device(result: Result) -> list[Column]:
    """Return a row for each class of devices, or some of many; no columns if there is one class at most."""
    clients = result.clients
    if clients is None or clients.classes < 2:
        return []
    rows = summary_rows(clients.classes)
    sizes = _sums(clients, np.ones(len(clients.device)))
    columns = [*_devices(clients, rows), _column("clients", "{:d}", sizes[rows])]
    if "sampled" in clients.rounds:
        outcomes = count_outcomes(clients.rounds["sampled"])
        used = _sums(clients, rounds_used(outcomes))
        columns.append(_column("rounds used (mean)", "{:.2f}", (used / np.maximum(sizes, 1))[rows]))
        columns.append(_percents("% of updates", (used / max(used.sum(), 1))[rows]))
        headings = {APPLIED: "late, applied", DISCARDED: "late, discarded", LEFT_OUT: "left out"}
        headings |= {outcome: word for outcome, word in RARE.items() if outcomes[outcome].any()}
        for outcome, heading in headings.items():
            columns.append(_column(heading, "{:d}", _sums(clients, outcomes[outcome])[rows]))
    if len(result.columns.get("device_accuracy", ())):
        columns.append(_column("accuracy", "{:.4f}", result.columns["device_accuracy"][-1][rows]))
    return columns


def _devices(clients: Clients, rows: np.ndarray) -> list[Column]:
    """Return the columns that say which class of devices a row is: its limits, or its slowdown."""
    if "time_low" not in clients.facts:
        return [_column("slowdown", "{:.4g}", clients.facts["slowdown"][rows])]
    numbers = Column("device", [str(row) for row in rows.tolist()])
    limits = [Column(name, [limit_text(clients.facts, name, row) for row in rows.tolist()]) for name in Limits._fields]
    return [numbers, *limits]


def _saved_by_device(result: Result) -> list[Column]:
    """Return what each class of devices has saved, or some of many; no columns if that is nothing, or one class."""
    clients = result.clients
    saved = {} if clients is None or clients.classes < 2 else saved_parts(clients)
    if clients is None or not saved:
        return []
    rows = summary_rows(clients.classes)
    columns = [_percents(f"{name} saved (%)", parts[rows]) for name, parts in saved.items()]
    return [_devices(clients, rows)[0], *columns]


def _trained(result: Result) -> Iterator[list[Column]]:
    """Yield a table of how often each block was trained, or each width, by class of devices."""
    clients = result.clients
    if clients is None:
        return
    shown = summary_rows(clients.classes, MOST_CLASSES)
    if "window_first" in clients.rounds and "window_last" in clients.rounds:
        windows = clients.rounds["window_first"], clients.rounds["window_last"]
        parts = block_parts(*windows, clients.device, clients.classes)
        rows = summary_rows(len(parts), MOST_BLOCKS)
        yield [_column("block trained by", "{:d}", rows), *_by_devices(parts[rows], shown)]
    if "width" in clients.rounds:
        widths, parts = width_parts(clients.rounds["width"], clients.device, clients.classes)
        rows = summary_rows(len(parts), MOST_BLOCKS)
        yield [_column("width trained by", "{:.4g}", widths[rows]), *_by_devices(parts[rows], shown)]


def _by_devices(parts: np.ndarray, shown: np.ndarray) -> list[Column]:
    """Return a column for each class of devices that is shown; parts: (rows, classes)."""
    return [_percents(f"device {device} (%)", parts[:, device]) for device in shown.tolist()]


def _sums(clients: Clients, values: np.ndarray) -> np.ndarray:
    """Return the sums of values (clients,) over each class of devices, float64 (devices,)."""
    return np.bincount(clients.device, values, minlength=clients.classes)


def _by_class(result: Result) -> list[Column]:
    """Return a column for each class of samples; no columns if there are too many classes, or none."""
    recorded = result.columns.get("class_accuracy", np.empty((0, 0)))
    if not len(recorded) or recorded.shape[1] > MOST_CLASSES:
        return []
    names = class_names(result, recorded.shape[1])
    rows = [Column("class", ["accuracy"], is_name=True)]
    return rows + [_column(name, "{:.4f}", value) for name, value in zip(names, recorded[-1:].T, strict=True)]


def _column(heading: str, form: str, values: np.ndarray) -> Column:
    """Return a column of numbers; those that are unknown (NaN) have a dash."""
    return Column(heading, [format_number(form, value) if value == value else "–" for value in values.tolist()])


def _percents(heading: str, parts: np.ndarray) -> Column:
    """Return a column of parts in per cent; those that are unknown (NaN) have a dash."""
    return Column(heading, [f"{100 * part:.1f}" if part == part else "–" for part in parts.tolist()])
