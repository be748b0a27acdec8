"""Steps of the set-up that may fail on some ranks only: afterwards all ranks go on, or all raise the same error."""

from collections.abc import Callable
from typing import TypeVar

from mpiqopt.errors import AgreedError, UsageError, out_of_memory
from mpiqopt.registry import explained
from mpiqopt.transport.transport import Transport

T = TypeVar("T")


def together(transport: Transport, make: Callable[[], T]) -> T:
    """Every rank does it. If one raises UsageError, all raise AgreedError with the message of the lowest rank."""
    result, message = _attempt(make)
    return _agreed(result, transport.first_error(message))


def by_first(transport: Transport, make: Callable[[], T]) -> T:
    """Rank 0 does it, and all get the (small) result, or raise AgreedError."""
    return _agreed(*transport.share(_attempt(make) if transport.rank == 0 else None))


def dealt(transport: Transport, make: Callable[[], list[T]]) -> T:
    """Rank 0 makes a part for each rank, and each gets its own, or all raise AgreedError."""
    parts = None
    if transport.rank == 0:
        made, message = _attempt(make)
        parts = [(part, None) for part in made] if message is None else [(None, message)] * transport.size
    return _agreed(*transport.deal(parts))


def _attempt(make: Callable[[], T]) -> tuple[T | None, str | None]:
    """The result, or the message of the error that the user can mend."""
    try:
        return make(), None
    except UsageError as error:
        return None, str(error)
    except Exception as error:
        message = out_of_memory(error) or explained(error)
        if not message:
            raise
        return None, message


def _agreed(result: T, message: str | None) -> T:
    if message is not None:
        raise AgreedError(message)
    return result
