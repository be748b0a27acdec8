"""Steps of the set-up that may fail, declared by who takes them: afterwards all ranks go on, or all raise one error.

A step is a function; the decorators put the transport in front of its parameters. UsageError, lack of memory and errors
of plug-ins become an AgreedError with the message of the lowest rank that has one.
"""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from mpiqopt.transport.agreement import agreed_from_rank_0, agreed_on_all_ranks, agreed_parts_from_rank_0
from mpiqopt.transport.transport import Transport

P = ParamSpec("P")
T = TypeVar("T")


def on_all_ranks(step: Callable[P, T]) -> Callable[Concatenate[Transport, P], T]:
    """Let every rank take the step.

    >>> from mpiqopt.transport.serial import SerialTransport
    >>> halved = on_all_ranks(lambda x: x / 2)
    >>> halved(SerialTransport(), 5)
    2.5
    """

    @wraps(step)
    def agreed(transport: Transport, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return agreed_on_all_ranks(transport, lambda: step(*args, **kwargs))

    return agreed


def on_rank_0(step: Callable[P, T]) -> Callable[Concatenate[Transport, P], T]:
    """Let rank 0 take the step and send its result, a small object, to the others."""

    @wraps(step)
    def agreed(transport: Transport, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return agreed_from_rank_0(transport, lambda: step(*args, **kwargs))

    return agreed


def dealt_by_rank_0(step: Callable[P, list[T]]) -> Callable[Concatenate[Transport, P], T]:
    """Let rank 0 take the step, which returns a list with a part for each rank, and send each rank its own part."""

    @wraps(step)
    def agreed(transport: Transport, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return agreed_parts_from_rank_0(transport, lambda: step(*args, **kwargs))

    return agreed
