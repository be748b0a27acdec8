"""Steps of the set-up that may fail on some ranks only: afterwards all ranks go on, or all raise the same error."""

from collections.abc import Callable
from typing import Any, TypeVar

from mpiqopt.errors import AgreedError, UsageError, out_of_memory_error_line
from mpiqopt.registry import explain_plugin_error
from mpiqopt.transport.transport import Transport

T = TypeVar("T")


def agreed_on_all_ranks(transport: Transport, make: Callable[[], T]) -> T:
    """Call ``make`` on every rank and return each rank's own result; collective.

    If it raises UsageError on some, all ranks raise AgreedError with the message of the lowest of them.
    """
    result, message = _attempt(make)
    return _agreed(result, transport.first_error(message))


def agreed_from_rank_0(transport: Transport, make: Callable[[], T]) -> T:
    """Call ``make`` on rank 0 and return its (small) result on all ranks, or raise AgreedError; collective."""
    return _agreed(*transport.share(_attempt(make) if transport.rank == 0 else None))


def agreed_parts_from_rank_0(transport: Transport, make: Callable[[], list[T]]) -> T:
    """Call ``make`` on rank 0 for a part for each rank; return each rank's own, or raise AgreedError; collective."""
    parts = None
    if transport.rank == 0:
        made, message = _attempt(make)
        parts = [(part, None) for part in made or ()] if message is None else [(None, message)] * transport.size
    return _agreed(*transport.deal(parts))


def _attempt(make: Callable[[], T]) -> tuple[T | None, str | None]:
    """Return the result and None, or None and the message of an error that the user can mend."""
    try:
        return make(), None
    except UsageError as error:
        return None, str(error)
    except Exception as error:
        message = out_of_memory_error_line(error) or explain_plugin_error(error)
        if not message:
            raise
        return None, message


def _agreed(result: Any, message: str | None) -> Any:
    """Return the result. Raises AgreedError if there is a message."""
    if message is not None:
        raise AgreedError(message)
    return result
