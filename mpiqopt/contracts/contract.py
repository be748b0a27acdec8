"""What a check is, and how those of a family are done on a part.

A check is a function of a part whose name is the claim. It raises Broken where the claim does not hold, and returns why
nothing was to be checked, or nothing.

>>> from mpiqopt.regularizers.regularizer import Regularizer
>>> class Wrong(Regularizer):  # the prox of 0.5 |x|^2 is x/(1 + step)
...     def __call__(self, x): return 0.5 * float(x @ x)
...     def prox(self, x, step): return x / (2 + step)
>>> [(verdict.claim, verdict.broken) for verdict in check_part("regularizer", Wrong())]
[('value is a number', False), ('prox keeps type and argument', False),
 ('prox treats rows one by one', False), ('prox minimises', True)]
"""

import traceback
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from mpiqopt.errors import LINE, UsageError, brief_error
from mpiqopt.registry import place_in_plugin, wants_traceback

Check = Callable[[Any], str | None]


class Broken(Exception):
    """A claim that a part does not keep; the message says what was found, with numbers."""


class Verdict(NamedTuple):
    """The result of one check.

    claim: what was checked, in words. said: "ok", why nothing was checked, or what was found. broken: True if the claim
    does not hold.
    """

    claim: str
    said: str
    broken: bool


def promise(holds: Any, message: str) -> None:
    """Raise Broken, with the message, unless a condition holds."""
    if not holds:
        raise Broken(message)


def promise_equal(found: np.ndarray, wanted: np.ndarray, what: str) -> None:
    """Raise Broken unless two arrays have the same shape and bits, but for the type.

    NaN equals NaN. what: names the array in the message, which gives the first place that differs.
    """
    promise(found.shape == wanted.shape, f"{what}: shape {found.shape}, want {wanted.shape}")
    if not np.array_equal(found, wanted, equal_nan=found.dtype.kind == "f"):
        places = np.argwhere(found != wanted)
        where = tuple(places[0].tolist())
        raise Broken(f"{what}: {len(places)} values differ, the first at {where}: {found[where]!r}, {wanted[where]!r}")


def checks_of_family(family: str) -> tuple[Check, ...]:
    """Return the checks of a family, in the order of what a newcomer gets wrong first."""
    return import_module(f"mpiqopt.contracts.{family}").CHECKS


def check_part(family: str, part: Any) -> Iterator[Verdict]:
    """Do the checks of a family on a part, one after the other, and yield what each found.

    Parameters
    ----------
    family: such as "algorithm". part: an object of it, with the keys that are to be tested.

    Errors that a part raises make a broken claim; only KeyboardInterrupt passes. Warnings are not shown.
    """
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for check in checks_of_family(family):
            yield Verdict(check.__name__.replace("_", " "), *_outcome(check, part))


def _outcome(check: Check, part: Any) -> tuple[str, bool]:
    """Return what a check found, and True if the claim does not hold."""
    try:
        return check(part) or "ok", False
    except (Broken, UsageError) as error:
        return str(error), True
    except (Exception, SystemExit) as error:  # whatever a plug-in's code raises
        if wants_traceback():
            traceback.print_exception(error)
        return place_in_plugin(error) or brief_error(error, LINE), True
