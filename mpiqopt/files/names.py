"""Names of nodes and of groups of samples, in the order in which people count them."""

import re
from collections.abc import Collection
from math import isfinite
from typing import Any

DIGITS = re.compile("([0-9]+)")


def in_order(names: Collection) -> list:
    """Return the names sorted: as numbers if all are finite numbers, else as words in which numbers count as numbers.

    n2 comes before n10; names of the same number stay as they were.
    """
    try:
        numbers = {name: float(name) for name in names}
    except (TypeError, ValueError, OverflowError):
        return sorted(names, key=_natural)
    if all(map(isfinite, numbers.values())):
        return sorted(names, key=numbers.__getitem__)
    return sorted(names, key=_natural)


def _natural(name: Any) -> tuple:
    """Words and numbers in turn; a number as its digits, of which there may be thousands."""
    text = str(name)
    parts = DIGITS.split(text)
    digits = [(len(part.lstrip("0")), part.lstrip("0")) for part in parts[1::2]]
    return tuple(zip(parts[::2], [*digits, ()], strict=True)), text
