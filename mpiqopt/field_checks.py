"""Checks of a table of the config against the types, bounds and defaults of a dataclass's fields, by pydantic."""

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from dataclasses import Field as DataclassField
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pydantic
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from mpiqopt.errors import Wrong, WrongKeys, quote_in_error
from mpiqopt.field import Field


def check_fields(cls: type, table: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the value of every field of a dataclass: from the table, else its default.

    Parameters
    ----------
    cls: a dataclass whose fields may be ``Annotated`` with ``Field``. table: keys and values, without keys that cls
        lacks.
    where: name of the table, for error lines.

    Raises
    ------
    WrongKeys: a value has a wrong type or is out of bounds, or a key without default is missing; all of them.

    >>> from mpiqopt.regularizers.l1 import L1
    >>> check_fields(L1, {"weight": 0.5}, "regularizer")
    {'weight': 0.5}
    >>> check_fields(L1, {"weight": -1.0}, "regularizer")
    Traceback (most recent call last):
    mpiqopt.errors.WrongKeys: regularizer.weight = -1.0: want greater than or equal to 0
    """
    table = {key: _whole(value) if key in _integers(cls) else value for key, value in table.items()}
    large = [_too_large(where, key, table[key]) for key in table if _integers(cls).get(key) and _is_large(table[key])]
    try:
        values = pydantic_model(cls).model_validate(table)
    except ValidationError as error:
        raise WrongKeys([*large, *_wrong(error, where)]) from None
    if large:
        raise WrongKeys(large)
    return {field.name: getattr(values, field.name) for field in fields(cls)}


def _is_large(value: Any) -> bool:
    """Return True for integers that arrays and files cannot have."""
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def _too_large(where: str, key: str, value: int) -> Wrong:
    """Return the line on an integer beyond 64 bits."""
    return Wrong(f"{where}.{key}", f"{where}.{key} = {quote_in_error(value)}: want less than 2^63 in magnitude")


@cache
def pydantic_model(cls: type) -> type[BaseModel]:
    """Return the pydantic model with the fields of a dataclass: its checks and its JSON schema."""
    hints = get_type_hints(cls, include_extras=True)
    columns = {
        field.name: (_checkable(hints[field.name]), ... if default_of(field) is MISSING else default_of(field))
        for field in fields(cls)
    }
    return create_model(
        cls.__name__,
        __config__=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False),
        __doc__=cls.__doc__,
        **columns,
    )


def _checkable(hint: Any) -> Any:
    """Return a type whose ``Field`` marks are pydantic's."""
    if isinstance(hint, Field):
        said = {
            name: value
            for name, value in hint._asdict().items()
            if name not in ("needs", "family") and value is not None
        }
        conditions = [condition for need in hint.needs if (condition := need.condition())]
        if conditions:
            said["description"] = "; ".join([hint.description or "", *conditions])
        return pydantic.Field(**said)
    if get_origin(hint) is Annotated:
        return Annotated[tuple(_checkable(part) for part in (hint.__origin__, *hint.__metadata__))]
    if get_origin(hint) in (Union, UnionType):
        return Union[tuple(_checkable(part) for part in get_args(hint))]  # noqa: UP007 - of as many as there are
    return list.__class_getitem__(_checkable(get_args(hint)[0])) if get_origin(hint) is list else hint


@cache
def _integers(cls: type) -> dict[str, bool]:
    """Return the fields that are integers, or integers or words; True unless they have an upper bound of their own."""
    hints = get_type_hints(cls, include_extras=True)
    found = {field.name: {*_leaves(hints[field.name])} for field in fields(cls)}
    whole = {name: leaves for name, leaves in found.items() if int in leaves and float not in leaves}
    return {name: not any(map(_bounds, leaves)) for name, leaves in whole.items()}


def _leaves(hint: Any) -> Iterator[Any]:
    """Yield the types, words and marks in a type hint."""
    yield from (leaf for part in get_args(hint) for leaf in _leaves(part))
    if not get_args(hint):
        yield hint


def _bounds(mark: Any) -> bool:
    """Return True if a mark gives a number an upper bound."""
    return isinstance(mark, Field) and (mark.lt or mark.le) is not None


def _whole(value: Any) -> Any:
    """Return the integer that a float such as 1e4 is; other values as they are."""
    return int(value) if type(value) is float and value.is_integer() else value


def _wrong(error: ValidationError, where: str) -> list[Wrong]:
    """Return the wrong keys; the alternatives of a union are joined by "or"."""
    by_key: dict[str, list] = {}
    for problem in error.errors(include_url=False, include_context=False):
        by_key.setdefault(problem["loc"][0], []).append(problem)
    return [Wrong(f"{where}.{key}", f"{where}.{key}{_reason(problems)}") for key, problems in by_key.items()]


def _reason(problems: list) -> str:
    """Return what a key's value is and what is wanted instead."""
    if problems[0]["type"] == "missing":
        return ": missing; it has no default"
    value = problems[0]["input"]
    if any(not problem["type"].endswith(("_type", "_parsing", "literal_error")) for problem in problems):
        # of a number out of bounds where there may be a list, too, not that it is none
        problems = [problem for problem in problems if not problem["type"].endswith("_type")]
    wanted = dict.fromkeys(map(_wanted, problems))
    said = " or ".join(wanted).replace("a valid boolean", "a valid boolean (true or false)")
    return f" = {quote_in_error(value)}: want {said}"


def _wanted(problem: Any) -> str:
    """Return what pydantic wants instead: "greater than 0", "at least 2 items"."""
    return re.sub(r"Input should be |(List|String) should have | after validation.*", "", problem["msg"])


def default_of(field: DataclassField) -> Any:
    """Return the default of a dataclass's field, made anew if it is a list or table; MISSING without one."""
    return field.default if field.default_factory is MISSING else field.default_factory()
