"""Steps of the set-up that may fail on some ranks only: afterwards all ranks go on, or all raise the same error."""

from collections.abc import Callable
from typing import TypeVar

from mpiqopt.errors import AgreedError, UsageError

T = TypeVar("T")


def together(transport, make: Callable[[], T]) -> T:
    """Every rank does it. If one raises UsageError, all raise AgreedError with the message of the lowest rank."""
    result, message = None, None
    try:
        result = make()
    except UsageError as error:
        message = str(error)
    except MemoryError as error:
        message = f"not enough memory: {error}"
    message = transport.first_error(message)
    if message is not None:
        raise AgreedError(message)
    return result


def by_first(transport, make: Callable[[], T]) -> T:
    """Rank 0 does it, and all get the (small) result, or raise AgreedError."""
    return transport.share(together(transport, lambda: make() if transport.rank == 0 else None))
