"""Which cases of parametrised tests `make test` runs: those named, or those with every value, or pair of values."""

from collections.abc import Iterable
from itertools import combinations
from zlib import crc32

import pytest


def slow(*values) -> list:
    """Return values of a parameter whose tests are slow."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def mark_others_slow(items: Iterable[pytest.Item]) -> None:
    """Mark cases of tests with the mark ``representatives`` slow that have nothing new.

    representatives(1): each value of each parameter is in a case that stays, representatives(2): each pair of values of
    two parameters. Cases are gone through in an order of their names that no other case has a say in, and that varies
    all parameters at once, so that few cases are enough. Slow cases, and those that need PyTorch, stand for nobody.
    """
    seen = set()
    for item in sorted(items, key=lambda item: crc32(item.nodeid.encode())):
        mark = item.get_closest_marker("representatives")
        if mark is None or item.get_closest_marker("slow") or item.get_closest_marker("torch"):
            continue
        values = sorted((name, repr(value)) for name, value in item.callspec.params.items())
        new = {(item.function, *group) for group in combinations(values, mark.args[0])}
        if new <= seen:
            item.add_marker(pytest.mark.slow)
        seen |= new
