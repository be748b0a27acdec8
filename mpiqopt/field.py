"""What is said of a config key beside its type: ranks import parts without the library that checks configs."""

from typing import NamedTuple


class Field(NamedTuple):
    """Bounds and meaning of a config key, in Annotated; ``config`` makes a pydantic field of it.

    ge, gt, le, lt: bounds of a number; min_length, max_length: of a string or list.
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    description: str | None = None
