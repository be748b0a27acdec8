"""A result file as a table on the screen."""

import numpy as np

from mpiqopt.results.reader import Result

# column, heading, format
COLUMNS = (
    ("iteration", "iteration", "{:d}"),
    ("objective", "objective", "{:.8g}"),
    ("stationarity", "stationarity", "{:.3e}"),
    ("consensus", "consensus", "{:.3e}"),
    ("accuracy", "accuracy", "{:.4f}"),
    ("nonzeros", "non-zeros", "{:d}"),
    ("samples", "samples/node", "{:.0f}"),
    ("rounds", "rounds", "{:d}"),
    ("bytes", "MB sent", "{:.3f}"),
    ("time", "seconds", "{:.3f}"),
)
MOST_ROWS = 12
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


def chosen_rows(records: int, most: int = MOST_ROWS) -> np.ndarray:
    """First, last and evenly spaced records between."""
    return (
        np.unique(np.linspace(0, records - 1, min(records, most)).round().astype(int)) if records else np.empty(0, int)
    )


def print_summary(result: Result) -> None:
    """Print how the run ended, some of its records, and what some of its nodes did."""
    from rich.console import Console

    about, records = result.attributes, len(result.columns["iteration"])
    reason = f" ({about['stop_reason']})" if about.get("stop_reason") else ""
    console = Console(width=max(Console().width, 120), highlight=False)
    columns = [column for column in COLUMNS if column[0] in result.columns]
    console.print(_table(f"{result.path}: {result.label()}", columns, result.columns, chosen_rows(records)))
    if result.by_node:
        chosen = chosen_rows(result.nodes)
        by_node = {"node": np.arange(result.nodes), **result.by_node}
        console.print(_table("", (("node", "node", "{:d}"), *NODE_COLUMNS), by_node, chosen))
    carried = f"; frames by {about['transport']}" if "transport" in about else ""
    console.print(
        f"{about['status']}{reason}; {records} records; {about['ranks']} rank{'s' * (about['ranks'] != 1)}, "
        f"MPI: {about['mpi_library']}{carried}; made {about['created']} by mpiqopt {about['mpiqopt_version']}",
        soft_wrap=True,
    )


def _table(title: str, columns, values: dict[str, np.ndarray], rows: np.ndarray):
    """A rich table of some rows of the columns (name, heading, format)."""
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", show_edge=False)
    for _, heading, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        cells = [(form, values[name][row] / (1e6 if name == "bytes" else 1)) for name, _, form in columns]
        table.add_row(*(form.format(int(value) if "d}" in form else value) for form, value in cells))
    return table
