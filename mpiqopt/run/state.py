"""Check what the state of a method is, and that it keeps its form: checkpoints and kernels rely on it."""

from typing import Any, NamedTuple

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.placement.shared_rows import is_shared
from mpiqopt.results.checkpoint import flat_state


class Form(NamedTuple):
    """Type, shape and layout of an array of a state; shared: its rows are ``shared_rows``.

    >>> import numpy as np
    >>> str(Form(np.dtype("float64"), (8, 5), True))
    'float64 8x5'
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    contiguous: bool
    shared: bool = False

    def __str__(self) -> str:
        layout = " in one row for all" if self.shared else "" if self.contiguous else " not C-contiguous"
        return f"{self.dtype} {'x'.join(map(str, self.shape))}{layout}"


def form_of(rows: np.ndarray) -> Form:
    """Return the form of an array (hosted, ...), which does not depend on how many nodes are hosted.

    A single shared row is contiguous, and several are not: of these the form is that of the row.

    >>> str(form_of(np.broadcast_to(np.ones(5), (8, 5))))
    'float64 8x5 in one row for all'
    """
    shared = is_shared(rows)
    layout = rows[0] if shared else rows
    return Form(rows.dtype, rows.shape, layout.flags.c_contiguous, shared)


def state_form(name: str, state: Any, start: np.ndarray) -> dict[str, Form]:
    """Return the forms of a state's arrays, by the name of the field.

    Parameters
    ----------
    name : of the method, for messages
    state : what its ``init`` returned
    start : x_0 (hosted, d), of whose form x must be: one shared row, or a row for each node

    Raises
    ------
    UsageError
        Unless it is a NamedTuple of arrays (hosted, ...), numbers and such NamedTuples, with x as its first field.
    """
    where = f"algorithm {name!r}: init() returns"
    if not hasattr(state, "_asdict"):
        raise UsageError(f"{where} a {type(state).__name__}, want a NamedTuple whose first field is x")
    if state._fields[:1] != ("x",):
        raise UsageError(f"{where} a NamedTuple of {', '.join(state._fields)}: want x as its first field")
    wanted = form_of(start)
    forms = _forms(state)
    if forms.get("x") != wanted:
        raise UsageError(f"{where} x as {_described(forms, 'x', state)}, want {wanted}")
    for field, value in flat_state(state).items():
        rows = np.shape(value)[:1] == start.shape[:1] if isinstance(value, np.ndarray) else np.isscalar(value)
        if not rows or getattr(value, "dtype", start.dtype).hasobject:
            raise UsageError(
                f"{where} {field} as {_described(forms, field, state)}, want an array with a row for each of the "
                f"{len(start)} nodes here, a number or a NamedTuple"
            )
    return forms


def require_same_state_form(name: str, before: dict[str, Form], state: Any, iteration: int) -> None:
    """Raise UsageError, with the first field that differs, unless a state is of the form that it had at the start.

    before: ``state_form`` of the initial state; state: that after ``iteration`` iterations of the method ``name``.
    """
    now = _forms(state)
    if now == before:
        return
    field = next(field for field in {**before, **now} if before.get(field) != now.get(field))
    raise UsageError(
        f"algorithm {name!r}: {field} of the state is {_described(now, field, state)} after iteration {iteration}, "
        f"was {before.get(field, 'no array')} at the start: step() must keep types and shapes (.astype)"
    )


def _forms(state: Any) -> dict[str, Form]:
    """Return the forms of the arrays; none if the state is no NamedTuple."""
    fields = flat_state(state).items() if hasattr(state, "_asdict") else ()
    return {field: form_of(value) for field, value in fields if isinstance(value, np.ndarray)}


def _described(forms: dict[str, Form], field: str, state: Any) -> str:
    """Return what a field is, in words: the form of an array, or its type."""
    if field in forms:
        return str(forms[field])
    value = flat_state(state).get(field) if hasattr(state, "_asdict") else None
    return f"a {type(value).__name__}"
