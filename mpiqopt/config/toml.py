"""TOML text <-> tables; the libraries are imported on use, because ranks > 0 need neither."""

import sys
from typing import Any

# parts of a dotted name; a config has two
DEEPEST = 100


class NotTOML(ValueError):
    """Why a text cannot be read as TOML, in one line."""


def read_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text. Raises NotTOML, and RecursionError for values nested too deep."""
    import re
    import tomllib

    # Python's reader takes time of the square of such a name's length: 20 s for 200 kB
    long = re.search(rf"^\s*\[*\s*[\w\"'-]+(?:\s*\.\s*[\w\"'-]+){{{DEEPEST},}}", text, re.MULTILINE)
    if long:
        line = text.count("\n", 0, long.end()) + 1
        raise NotTOML(f"a name of more than {DEEPEST} parts (at line {line})")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise NotTOML(error) from None
    except ValueError:  # Python's own limit on the digits of an integer
        raise NotTOML(f"a number of more than {sys.get_int_max_str_digits()} digits") from None


def write_toml(tables: dict[str, Any]) -> str:
    """Return tables as TOML text, which ``read_toml`` reads to equal tables."""
    import tomli_w

    return tomli_w.dumps(tables)
