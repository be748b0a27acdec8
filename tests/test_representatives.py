"""The cases that `make test` runs of a product of parameters have every value, or every pair of values."""

from itertools import product
from types import SimpleNamespace

import pytest
from tools.representatives import mark_others_slow

VALUES = {"graph": ["ring", "star", "torus"], "nodes": [4, 9, 16, 25], "dtype": ["float64", "float32"]}


class Case:
    """What is looked at of a case of a test."""

    def __init__(self, function: str, size: int, params: dict, *others: str):
        self.function, self.nodeid = function, f"{function}[{params}]"
        self.callspec = SimpleNamespace(params=params)
        self.marks = {name: getattr(pytest.mark, name).mark for name in others}
        self.marks["representatives"] = pytest.mark.representatives(size).mark

    def get_closest_marker(self, name):
        return self.marks.get(name)

    def add_marker(self, mark):
        self.marks[mark.name] = mark.mark


def cases(function: str, size: int) -> list[Case]:
    return [Case(function, size, dict(zip(VALUES, values, strict=True))) for values in product(*VALUES.values())]


def quick(items: list[Case]) -> list[dict]:
    return [item.callspec.params for item in items if "slow" not in item.marks]


def test_every_value_stays():
    """In at least as many cases as a parameter has values, and at most as many as there are values."""
    items = cases("f", 1)
    mark_others_slow(items)
    for name, values in VALUES.items():
        assert {params[name] for params in quick(items)} == set(values)
    assert 4 <= len(quick(items)) <= 9


def test_every_pair_of_values_stays():
    items = cases("f", 2)
    mark_others_slow(items)
    for first, second in (("graph", "nodes"), ("graph", "dtype"), ("nodes", "dtype")):
        found = {(params[first], params[second]) for params in quick(items)}
        assert found == set(product(VALUES[first], VALUES[second]))
    assert 12 <= len(quick(items)) < 24


def test_the_choice_depends_on_no_other_test_and_no_order():
    alone, among = cases("f", 1), cases("f", 1)
    mark_others_slow(alone)
    mark_others_slow([*cases("e", 1), *reversed(among), *cases("g", 2)])
    assert quick(alone) == quick(among)


@pytest.mark.parametrize("mark", ["slow", "torch"])
def test_cases_that_are_left_out_stand_for_nobody(mark):
    left_out = Case("f", 1, {"nodes": 4}, mark)
    left_out.nodeid = ""  # the first in order
    other = Case("f", 1, {"nodes": 4})
    mark_others_slow([left_out, other])
    assert "slow" not in other.marks
