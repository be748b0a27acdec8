"""Check ``problem.options`` against the signature of a model's builder."""

from collections.abc import Callable, Iterable, Sequence
from inspect import Parameter, signature
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from mpiqopt.errors import UsageError, list_in_error_line, quote_in_error
from mpiqopt.registry import suggest_word

KEY = "problem.options"
# kinds of parameters that take any number of arguments
VARIABLE = Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL


class OptionError(ValueError):
    """An option with a value that a builder cannot take; the message begins with the option's name."""


class Least(NamedTuple):
    """The least value of a whole number, as an annotation."""

    value: int


# a number of layers, units, channels
Size = Annotated[int, Least(1)]


class Kind(NamedTuple):
    """What a type hint allows: in words, and as a test."""

    words: str
    fits: Callable[[Any], bool]


def _is_whole(value: Any) -> bool:
    """Return True for whole numbers, which true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


PLAIN = {
    bool: Kind("true or false", lambda value: isinstance(value, bool)),
    int: Kind("a whole number", _is_whole),
    float: Kind("a number", lambda value: isinstance(value, float) or _is_whole(value)),
    str: Kind("a text", lambda value: isinstance(value, str)),
}


def check_options(build: Callable[..., Any], options: dict[str, Any]) -> None:
    """Raise UsageError unless a builder takes options of these names, with values of the types that its hints say.

    Options are all parameters of the builder after the first two, shape and outputs. Hints other than bool, int, float,
    str, Size, Literal and lists of these are not checked.
    """
    parameters = list(signature(build).parameters.values())
    if not any(each.kind is Parameter.VAR_KEYWORD for each in parameters):
        _check_names([each.name for each in parameters[2:]], options)
    for each in parameters[2:]:
        if each.kind not in VARIABLE and each.default is Parameter.empty and each.name not in options:
            raise UsageError(f"{KEY}: lacks {each.name}, which this model wants")
    hints = _hints(build)
    for name, value in options.items():
        kind = _kind_of(hints.get(name))
        if kind is not None and not kind.fits(value):
            raise UsageError(f"{KEY}: {name} = {quote_in_error(value)}: want {kind.words}")


def describe_options(build: Callable[..., Any], given: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the name of each option of a builder, and its value as in TOML, given or the default, and what it may be.

    Options that a builder takes as ``**options`` are among them if they are given.
    """
    hints = _hints(build)
    named = [each for each in list(signature(build).parameters.values())[2:] if each.kind not in VARIABLE]
    values = {each.name: each.default for each in named} | given
    return [(name, _as_toml(value) + _allowed(hints.get(name))) for name, value in values.items()]


def _allowed(hint: Any) -> str:
    """Return what a type hint allows, after a colon; "" if that is not checked."""
    kind = _kind_of(hint)
    return "" if kind is None else f": {kind.words}"


def _as_toml(value: Any) -> str:
    """Return how a config says a value; of objects that none can say, how Python does."""
    import json

    return json.dumps(value, default=repr)


def _check_names(known: Sequence[str], options: Iterable[str]) -> None:
    """Raise UsageError for a name that is not known."""
    for name in options:
        if name not in known:
            said = f"{KEY}: unknown option {quote_in_error(name)}{suggest_word(name, known)}; this model "
            raise UsageError(list_in_error_line(said + "has ", known) if known else said + "has no options")


def _hints(build: Callable[..., Any]) -> dict[str, Any]:
    """Return the type hints of a function, or of a class's ``__init__``; none if they cannot be evaluated."""
    try:
        return get_type_hints(build.__init__ if isinstance(build, type) else build, include_extras=True)  # type: ignore[misc]
    except Exception:  # names that only a type checker imports, objects without hints
        return {}


def _kind_of(hint: Any) -> Kind | None:
    """Return what a type hint allows, None if it is of no kind that is checked."""
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and origin is None:
        return PLAIN.get(hint)
    if origin is Literal:
        return Kind(" or ".join(map(repr, arguments)), lambda value: value in arguments)
    if origin is Annotated and isinstance(arguments[1], Least):
        least = arguments[1].value
        return Kind(f"a whole number from {least} up", lambda value: _is_whole(value) and value >= least)
    if origin in (list, Sequence):
        return _list_of(_kind_of(arguments[0]))
    return None


def _list_of(each: Kind | None) -> Kind | None:
    """Return the kind of lists whose members are of a kind."""
    if each is None:
        return None
    return Kind(
        f"a list, each {each.words}",
        lambda value: isinstance(value, list | tuple) and all(map(each.fits, value)),
    )
