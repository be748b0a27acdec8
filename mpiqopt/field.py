"""Bounds and meaning of a config key beside its type, without the library that checks configs: ranks import this."""

from typing import Any, NamedTuple


class Need(NamedTuple):
    """A condition without which a key changes nothing: another one is ``value`` (or, with ``wanted`` False, is not).

    key: a key or attribute of the same part, or TABLE.KEY of another one. value: a tuple stands for any of its members.
    because: why nothing changes, by default the value that the other key has.
    """

    key: str
    value: Any
    wanted: bool
    because: str = ""

    def holds(self, value: Any) -> bool:
        """Return True if the other key's value lets this one matter."""
        return (value in self._values) == self.wanted

    @property
    def _values(self) -> tuple:
        return self.value if isinstance(self.value, tuple) else (self.value,)

    def condition(self) -> str:
        """Say when the key matters; "" if ``because`` says it."""
        if self.because:
            return ""
        value = " or ".join(f'"{v}"' if isinstance(v, str) else str(v).lower() for v in self._values)
        if self.value is None:
            return f"only with {self.key}"
        return f"{'only' if self.wanted else 'not'} with {self.key} = {value}"

    def why(self, value: Any) -> str:
        """Say why nothing changes, given the other key's value."""
        return self.because or f"{self.key} is {'not given' if value is None else repr(value)}"


def only(key: str, value: Any, because: str = "") -> Need:
    """Return the condition that a key matters only if another one is ``value``, or one of them if that is a tuple.

    >>> only("split", "dirichlet").condition()
    'only with split = "dirichlet"'
    >>> only("split", "dirichlet").holds("iid")
    False
    """
    return Need(key, value, True, because)


def unless(key: str, value: Any, because: str = "") -> Need:
    """Return the condition that a key matters unless another one is ``value``."""
    return Need(key, value, False, because)


class Field(NamedTuple):
    """Bounds and meaning of a config key, in Annotated; ``config`` makes a pydantic field of it.

    ge, gt, le, lt: bounds of a number; min_length, max_length: of a string or list. needs: all without which the key
    changes nothing; a key that is given in vain is named by ``run`` and ``check``. family: that of
    the registry of which the value names a part.
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    description: str | None = None
    needs: tuple[Need, ...] = ()
    family: str | None = None
