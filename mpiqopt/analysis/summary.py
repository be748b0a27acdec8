"""A result file as tables on the screen: a row for each of tables.MOST_ROWS records, and one for each of as many nodes.

Quantities that a file does not have, such as the accuracy of a loss without classes, have no column; nor have those
that were never measured (``record.training``).
"""

import sys
from collections.abc import Iterable

import numpy as np

from mpiqopt.analysis.clients import print_clients
from mpiqopt.analysis.tables import (
    Column,
    bytes_for_tables,
    format_number,
    print_heading,
    print_table,
    summary_rows,
)
from mpiqopt.results.reader import Result
from mpiqopt.terminal import escape_for_terminal, terminal_width, wrap_for_terminal

# column, heading, format
COLUMNS = (
    ("iteration", "iteration", "{:d}"),
    ("objective", "objective", "{:.8g}"),
    ("stationarity", "stationarity", "{:.3e}"),
    ("consensus", "consensus", "{:.3e}"),
    ("test_loss", "test loss", "{:.6g}"),
    ("accuracy", "accuracy", "{:.4f}"),
    ("nonzeros", "non-zeros", "{:d}"),
    ("samples", "samples/node", "{:.0f}"),
    ("rounds", "rounds", "{:d}"),
    ("bytes", "MB sent", "{:.3f}"),
    ("time", "seconds", "{:.3f}"),
)
# of what each node did: column, heading, format
NODE_COLUMNS = (
    ("joined", "rounds joined", "{:d}"),
    ("local_steps", "local steps", "{:d}"),
    ("staleness", "late (mean)", "{:.2f}"),
    ("stalest", "late (most)", "{:d}"),
    ("training", "s training", "{:.3f}"),
    ("waiting", "s waiting", "{:.3f}"),
    ("pieces", "pieces sent", "{:d}"),
    ("bytes", "MB sent", "{:.3f}"),
)


def print_summary(result: Result) -> None:
    """Print how the run ended, some of its records, and what some of its nodes did, or all of its clients together.

    Tables are as wide as the terminal: columns that do not fit go on below.
    """
    width = terminal_width(sys.stdout)
    print_heading(escape_for_terminal(result.path), escape_for_terminal(result.label()), width)
    print_table(_table(COLUMNS, result.columns, summary_rows(len(result.columns["iteration"]))), width)
    if result.by_node:
        by_node = {"node": np.arange(result.nodes), **result.by_node}
        print_table(_table((("node", "node", "{:d}"), *NODE_COLUMNS), by_node, summary_rows(result.nodes)), width)
    print_clients(result, width)
    for line in (*_frames(result), escape_for_terminal(_end(result))):
        print("\n".join(wrap_for_terminal(line, width)) if width else line, flush=True)


def _frames(result: Result) -> list[str]:
    """Return what nodes have sent in frames, by kind, and the steps and votes of a round; nothing of other runs."""
    columns = {
        name: result.columns[name][-1:]
        for name in ("frames", "frame_bytes", "rounds", "steps", "votes")
        if name in result.columns
    }
    if "frames" not in columns or not columns["frames"].sum() or "kind" not in result.axes:
        return []
    sent = zip(result.axes["kind"], columns["frames"][0].tolist(), columns["frame_bytes"][0].tolist(), strict=True)
    kinds = ", ".join(f"{kind} {count} ({bytes_for_tables(size)})" for kind, count, size in sent if count)
    if "steps" not in columns or "votes" not in columns or not columns["rounds"]:
        return [f"frames: {kinds}"]
    steps, votes = (float(columns[name][0] / columns["rounds"][0]) for name in ("steps", "votes"))
    return [f"frames: {kinds}; a round takes {steps:.4g} steps and {votes:.3g} votes"]


def _end(result: Result) -> str:
    """Return how the run ended and where it was made, in one sentence.

    Of runs by mailboxes it also says what carried the frames: windows or messages.
    """
    about, records = result.attributes, len(result.columns["iteration"])
    reason = f" ({about['stop_reason']})" if about.get("stop_reason") else ""
    carried = f"; frames by {about['transport']}" if "transport" in about else ""
    return (
        f"{about['status']}{reason}; {records} records; {about['ranks']} rank{'s' * (about['ranks'] != 1)}, "
        f"MPI: {about['mpi_library']}{carried}; made {about['created']} by mpiqopt {about['mpiqopt_version']}"
    )


def _table(quantities: Iterable[tuple[str, str, str]], values: dict[str, np.ndarray], rows: np.ndarray) -> list[Column]:
    """Return some rows of those quantities that the file has.

    quantities: (name, heading, format). values: by name, (records,). rows: positions in them.
    """
    return [
        Column(heading, [format_number(form, values[name][row] / (1e6 if name == "bytes" else 1)) for row in rows])
        for name, heading, form in quantities
        if name in values and not (len(values[name]) and np.isnan(values[name]).all())
    ]
