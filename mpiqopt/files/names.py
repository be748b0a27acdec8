"""Names of nodes and of groups of samples, in the order in which people count them."""

import re
from collections.abc import Collection
from math import isfinite
from typing import Any

DIGITS = re.compile("([0-9]+)")


def sort_names(names: Collection) -> list:
    """Return the names sorted: as numbers if all are finite numbers, else as words in which numbers count as numbers.

    names: strings, or whatever a JSON file has. Those of the same number stay in the order in which they were given.

    >>> sort_names(["n10", "n2", "m3"]), sort_names(["10", "9", "1e1"])
    (['m3', 'n2', 'n10'], ['9', '10', '1e1'])
    """
    try:
        numbers = {name: float(name) for name in names}
    except (TypeError, ValueError, OverflowError):
        return sorted(names, key=_natural)
    if all(map(isfinite, numbers.values())):
        return sorted(names, key=numbers.__getitem__)
    return sorted(names, key=_natural)


def _natural(name: Any) -> tuple:
    """Return a key to sort by: words and numbers in turn.

    A number is given as its count of digits and these, without leading zeros: Python makes no int of thousands of them.
    """
    text = str(name)
    parts = DIGITS.split(text)
    digits = [(len(part.lstrip("0")), part.lstrip("0")) for part in parts[1::2]]
    return tuple(zip(parts[::2], [*digits, ()], strict=True)), text
