"""Numbers that come out the same everywhere, whatever the processor, its BLAS and its libm."""

from decimal import Context, Decimal
from functools import lru_cache

# so many digits that what is lost of them hardly ever decides how a float64 is rounded
_EXACT = Context(prec=40)


def significant(value: float, digits: int) -> float:
    """Return ``value`` to so many significant digits.

    Linear algebra libraries differ in the last bits with the processor and the number of threads; what a trajectory
    depends on must not.
    """
    return float(f"{value:.{digits - 1}e}")


@lru_cache(1024)  # a fractional exponent takes 0.1 ms, and rounds have the same ones again and again
def power(base: float, exponent: float) -> float:
    """Return base^exponent, base > 0, rounded correctly: libm's last bit depends on the processor."""
    return float(_EXACT.power(Decimal(base), Decimal(exponent)))


def exponential(x: float) -> float:
    """Return e^x, rounded correctly."""
    return float(_EXACT.exp(Decimal(x)))
