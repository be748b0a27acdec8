"""Numbers that come out the same everywhere, whatever the processor, its BLAS and its libm."""

from functools import lru_cache

# of what is computed before it is rounded: what is lost hardly ever decides how
DIGITS = 40


def significant(value: float, digits: int) -> float:
    """Return ``value`` to so many significant digits.

    Linear algebra libraries differ in the last bits with the processor and the number of threads; what a trajectory
    depends on must not.
    """
    return float(f"{value:.{digits - 1}e}")


@lru_cache(1024)  # fractional exponents take 0.1 ms, and rounds have the same ones again and again
def power(base: float, exponent: float) -> float:
    """Return base^exponent, base > 0, rounded correctly: libm's last bit depends on the processor."""
    from decimal import Context, Decimal  # most runs start without it

    return float(Context(prec=DIGITS).power(Decimal(base), Decimal(exponent)))


def exponential(x: float) -> float:
    """Return e^x, rounded correctly."""
    from decimal import Context, Decimal

    return float(Context(prec=DIGITS).exp(Decimal(x)))
