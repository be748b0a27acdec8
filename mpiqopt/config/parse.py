"""From a file or text to a config, or one line that says what is wrong: the one place where configs come from."""

from pathlib import Path

from mpiqopt.config.build import build_config
from mpiqopt.config.config import Config
from mpiqopt.config.continuation import keep_defaults
from mpiqopt.config.overrides import apply_overrides
from mpiqopt.config.toml import NotTOML, read_toml, write_toml
from mpiqopt.errors import (
    LINE,
    LONG_PATH,
    QUOTED,
    UsageError,
    Wrong,
    WrongKeys,
    clip_for_error_line,
    fits_in_error_line,
    list_in_error_line,
)
from mpiqopt.files.inputs import require_input_file

# how a result file begins
HDF5_BEGINS = b"\x89HDF\r\n\x1a\n"
# bytes of a config at most
LONGEST = 1 << 24


def load(path: str, overrides: tuple[str, ...] = ()) -> Config:
    """Read and check a config file, or the config in a result file.

    Paths in the config of a result file are relative to the folder of the config that was run, if it is still there,
    else to that of the result file. Keys that it does not give have the defaults of that run.

    Parameters
    ----------
    path : of the file
    overrides : words ``TABLE.KEY=VALUE`` that replace values

    Raises
    ------
    UsageError
        If the file cannot be read or is no config, with all keys that are wrong.
    """
    content = _content(path)
    if content.startswith(HDF5_BEGINS):
        return _load_stored(path, overrides)
    try:
        return parse(content.decode("utf-8-sig").replace("\r\n", "\n"), path, overrides)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a text file in UTF-8 ({error.reason} at byte {error.start})") from error


def _content(path: str) -> bytes:
    """Return the bytes of a file; of a result file, which may be large, only how it begins."""
    try:
        require_input_file(path)
        with open(path, "rb") as file:
            begin = file.read(len(HDF5_BEGINS))
            content = begin if begin == HDF5_BEGINS else begin + file.read(LONGEST)
    except OSError as error:
        cure = " (`mpiqopt examples .` copies the examples here)" if path.startswith("configs/") else ""
        raise UsageError(f"{path}: {error.strerror or error}{cure}") from error
    if len(content) > LONGEST:
        raise UsageError(f"{path}: more than {LONGEST >> 20} MB are no config")
    return content


def _load_stored(path: str, overrides: tuple[str, ...]) -> Config:
    """Return the config in a result file, with overrides."""
    from mpiqopt.results.reader import read_result

    result = read_result(path, ())
    folder = result.attributes.get("config_folder", "")
    there = folder if folder and Path(folder).is_dir() else str(Path(path).parent)
    return keep_defaults(parse(result.attributes["config"], path, overrides, there), result.config, result.resolved)


def parse(text: str, path: str, overrides: tuple[str, ...] = (), folder: str | None = None) -> Config:
    """Check a config that is given as TOML text.

    Parameters
    ----------
    text : the config
    path : where it comes from, for messages
    overrides : words ``TABLE.KEY=VALUE`` that replace values
    folder : what relative paths are relative to; by default the folder of ``path``

    Raises
    ------
    UsageError
        With all keys that are wrong, or why the text is no TOML.
    """
    try:
        tables = read_toml(text)
        apply_overrides(tables, overrides)
        config = build_config(tables, text, path, str(Path(path).parent) if folder is None else folder)
        return config._replace(text=write_toml(tables)) if overrides else config
    except NotTOML as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from error
    except WrongKeys as error:
        raise UsageError(_all_wrong(path, error.wrong)) from None
    except RecursionError:
        raise UsageError(f"{path}: not a config: values in values, too deep to be read") from None


def _all_wrong(path: str, wrong: tuple[Wrong, ...]) -> str:
    """Return what is wrong with keys, if it fits in a line, else which they are and what is wrong with the first."""
    messages = {each.key: each.message for each in reversed(wrong)}
    keys = [*reversed(messages)]
    whole = f"{path}: {'; '.join(messages[key] for key in keys)}"
    if len(keys) == 1 or fits_in_error_line(whole):
        return whole
    line = list_in_error_line(f"{clip_for_error_line(path, LONG_PATH)}: {len(keys)} wrong keys: ", keys)
    rest = LINE - len(line) - 2
    return line if rest < QUOTED else f"{line}; {clip_for_error_line(messages[keys[0]], rest)}"
