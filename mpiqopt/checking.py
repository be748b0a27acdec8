"""What a table of the config may hold, by pydantic: of the types, bounds and defaults of a dataclass's fields."""

from dataclasses import MISSING, fields
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pydantic
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from mpiqopt.errors import UsageError
from mpiqopt.field import Field


def checked(cls: type, table: dict[str, Any], where: str) -> dict[str, Any]:
    """Every field of a dataclass, from a table without foreign keys. Raises UsageError that names key and value."""
    try:
        values = model(cls).model_validate(table)
    except ValidationError as error:
        raise UsageError(_in_one_line(error, where)) from None
    return {field.name: getattr(values, field.name) for field in fields(cls)}


@cache
def model(cls: type) -> type[BaseModel]:
    """The pydantic model with the fields of a dataclass: its checks and its JSON schema."""
    hints = get_type_hints(cls, include_extras=True)
    columns = {
        field.name: (_checkable(hints[field.name]), ... if field.default is MISSING else field.default)
        for field in fields(cls)
    }
    return create_model(
        cls.__name__,
        __config__=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False),
        __doc__=cls.__doc__,
        **columns,
    )


def _checkable(hint: Any) -> Any:
    """A type whose ``Field`` marks are pydantic's."""
    if isinstance(hint, Field):
        return pydantic.Field(**{name: value for name, value in hint._asdict().items() if value is not None})
    if get_origin(hint) is Annotated:
        return Annotated[tuple(_checkable(part) for part in (hint.__origin__, *hint.__metadata__))]
    if get_origin(hint) in (Union, UnionType):
        return Union[tuple(_checkable(part) for part in get_args(hint))]  # noqa: UP007 - of as many as there are
    return list[_checkable(get_args(hint)[0])] if get_origin(hint) is list else hint


def _in_one_line(error: ValidationError, where: str) -> str:
    """The first wrong key; the alternatives of a union are joined by "or"."""
    problems = error.errors(include_url=False)
    key = problems[0]["loc"][0]
    if problems[0]["type"] == "missing":
        return f"{where}.{key}: missing; it has no default"
    same = [problem for problem in problems if problem["loc"][0] == key]
    wanted = dict.fromkeys(problem["msg"].removeprefix("Input should be ") for problem in same)
    return f"{where}.{key} = {problems[0]['input']!r}: want {' or '.join(wanted)}"
