"""Numbers that come out the same everywhere, whatever the processor, its BLAS and its libm."""

from functools import lru_cache

# Decimal digits of what is computed before it is rounded to the 17 of a float: what is lost decides how it is rounded
# with a probability of 1e-23.
DIGITS = 40


def round_significant(value: float, digits: int) -> float:
    """Return ``value`` to so many significant decimal digits.

    Linear algebra libraries differ in the last bits with the processor and the number of threads; what a trajectory
    depends on must not.

    >>> round_significant(2 / 3, 3), round_significant(123456.0, 2)
    (0.667, 120000.0)
    """
    return float(f"{value:.{digits - 1}e}")


@lru_cache(1024)  # fractional exponents take 0.1 ms, and rounds have the same ones again and again
def exact_power(base: float, exponent: float) -> float:
    """Return base^exponent, base > 0, rounded correctly: libm's last bit depends on the processor."""
    from decimal import Context, Decimal  # most runs start without it

    return float(Context(prec=DIGITS).power(Decimal(base), Decimal(exponent)))


def exact_exponential(x: float) -> float:
    """Return e^x, rounded correctly; infinity beyond the largest float."""
    from decimal import Context, Decimal

    return float(Context(prec=DIGITS).exp(Decimal(x)))
