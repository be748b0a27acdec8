"""Derived constants that come out the same everywhere."""


def significant(value: float, digits: int) -> float:
    """``value`` to so many significant digits.

    Linear algebra libraries differ in the last bits with the processor and the number of threads; what a trajectory
    depends on must not.
    """
    return float(f"{value:.{digits - 1}e}")
