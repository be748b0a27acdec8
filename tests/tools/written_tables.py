"""One table as many programs write it, and what reading it gives."""

import numpy as np
import pandas
import pytest

from mpiqopt.data.source import Table
from mpiqopt.errors import LINE, UsageError

X = np.array([[0.25, -1.5], [1e-7, 3.0], [2.0, 1 / 3], [-0.125, 123456.789]])
Y = np.array([0.1, -2.0, 30.5, 4.0])
NAMES = ["a", "b", "y"]
FRAME = pandas.DataFrame(np.column_stack([X, Y]), columns=NAMES)


def rows(table: Table) -> np.ndarray:
    found = table.rows(slice(0, table.samples))
    return found if isinstance(found, np.ndarray) else found.toarray()


def refusal(write, *arguments, **keys) -> str:
    """The line that refuses a file."""
    with pytest.raises(UsageError) as caught:
        write(*arguments, **keys)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= LINE
    return str(caught.value)


def r_table(mark: str = " ", decimal: str = ".", corner: str | None = None) -> str:
    """What R writes with row names: write.table, or write.csv with a name for the corner."""
    names = [f'"{name}"' for name in NAMES]
    lines = [mark.join(names if corner is None else [corner, *names])]
    for number, row in enumerate(FRAME.to_numpy().tolist(), 1):
        lines.append(mark.join([f'"{number}"', *(repr(value).replace(".", decimal) for value in row)]))
    return "\n".join(lines) + "\n"


def savetxt(**keys) -> str:
    from io import StringIO

    text = StringIO()
    np.savetxt(text, FRAME.to_numpy(), **keys)
    return text.getvalue()


EUROPEAN = FRAME.to_csv(sep=";", decimal=",", index=False)
WRITTEN = {
    "pandas": FRAME.to_csv(index=False),
    "pandas with its index": FRAME.to_csv(),
    "pandas with an index that has a name": FRAME.rename_axis("").to_csv(),
    "pandas, European": EUROPEAN,
    "pandas, tabs": FRAME.to_csv(sep="\t", index=False),
    "pandas, no header": FRAME.to_csv(index=False, header=False),
    "pandas, carriage returns": FRAME.to_csv(index=False, lineterminator="\r\n"),
    "old Macintosh": FRAME.to_csv(index=False, lineterminator="\r"),
    "numpy": savetxt(),
    "numpy, commas": savetxt(delimiter=","),
    "numpy, header": savetxt(delimiter=",", header="a,b,y", comments=""),
    "numpy, header as a comment": savetxt(header="a b y"),
    "numpy, footer": savetxt(delimiter=";", footer="the end"),
    "R, write.table": r_table(),
    "R, write.table, tabs, no quotes": r_table("\t").replace('"', ""),
    "R, write.csv": r_table(",", corner='""'),
    "R, write.csv2": r_table(";", ",", corner='""'),
    "spreadsheet": "\ufeff" + FRAME.to_csv(index=False, lineterminator="\r\n", quoting=1),
    "spreadsheet, sep": "sep=;\r\n" + EUROPEAN.replace("\n", "\r\n"),
    "spreadsheet, empty lines": FRAME.to_csv(index=False).replace("\n", "\n\n") + "  \n\n",
    "bars": FRAME.to_csv(sep="|", index=False),
    "blanks around": savetxt(fmt="%30.20g"),
    "delimiter at the ends": FRAME.to_csv(index=False).replace("\n", ",\n"),
    "delimiter at the header's end": FRAME.to_csv(index=False).replace("y\n", "y,\n"),
    "delimiter at the samples' ends": FRAME.to_csv(index=False).replace("\n", ",\n").replace("y,\n", "y\n"),
    "comments": "# made by\n\n# a logger\n" + FRAME.to_csv(index=False).replace("\n2.0", "\n#1,2,3\n2.0") + "# end",
    "comments behind numbers": savetxt(delimiter=",", fmt="%.17g").replace("\n", " # a note, or two\n"),
}
