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


def chosen_rows(records: int, most: int = MOST_ROWS) -> np.ndarray:
    """First, last and evenly spaced records between."""
    return (
        np.unique(np.linspace(0, records - 1, min(records, most)).round().astype(int)) if records else np.empty(0, int)
    )


def print_summary(result: Result) -> None:
    """Print how the run ended and some of its records."""
    from rich.console import Console
    from rich.table import Table

    about, records = result.attributes, len(result.columns["iteration"])
    reason = f" ({about['stop_reason']})" if about.get("stop_reason") else ""
    table = Table(title=f"{result.path}: {result.label()}", title_justify="left", show_edge=False)
    columns = [column for column in COLUMNS if column[0] in result.columns]
    for _, heading, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in chosen_rows(records):
        values = [result.columns[name][row] / (1e6 if name == "bytes" else 1) for name, _, _ in columns]
        cells = zip(columns, values, strict=True)
        table.add_row(*(form.format(int(value) if "d}" in form else value) for (_, _, form), value in cells))
    console = Console(width=max(Console().width, 120), highlight=False)
    console.print(table)
    console.print(
        f"{about['status']}{reason}; {records} records; {about['ranks']} rank{'s' * (about['ranks'] != 1)}, "
        f"MPI: {about['mpi_library']}; made {about['created']} by mpiqopt {about['mpiqopt_version']}",
        soft_wrap=True,
    )
