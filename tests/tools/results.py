"""Result files and checkpoints to be damaged, the same bytes every time, and what can be done to them."""

import random
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from tools import configs, datasets, odd
from tools.calls import Caller, ticking
from tools.contents import reproducible

RUNS = {
    "tracking": {"algorithm": {"name": "gradient-tracking"}},
    "coded": {"algorithm": {"name": "lead"}, "compressor": {"name": "qsgd", "levels": 3}},
    "recursive": {
        "algorithm": {"name": "proxgt-sr-e", "gossip_rounds": 2, "step_size": 0.2},
        "regularizer": {"name": "l1", "weight": 0.01},
    },
}
# what an error has to be made of, or the right numbers
BITS = ("flipped", "truncated", "blanked")
RESULT, CHECKPOINT, CONFIG = "r.h5", "r.h5.checkpoint", "c.toml"


class Base(NamedTuple):
    """A folder with a run that was stopped half-way (c.toml, r.h5, r.h5.checkpoint) and the whole one, w.h5.

    shown: what `show` says of it; stopped: what is in it; whole: the records of the uninterrupted run; started: the
    records of a run that starts where it was stopped.
    """

    folder: Path
    shown: str
    stopped: dict[str, Any]
    whole: dict[str, Any]
    started: dict[str, Any]


def make(folder: Path, name: str, call: Caller, read: Caller) -> Base:
    """Make the files of one of RUNS in ``folder``."""
    from tools.cases import parsed

    folder.mkdir(parents=True)
    tables = {**configs.SMALL, **RUNS[name], "run": {"iterations": 40, "seed": 5}, "record": {"every": 3}}
    (folder / CONFIG).write_text(tomli_w.dumps(tables))
    (folder / "s.toml").write_text(tomli_w.dumps({**tables, "run": {"iterations": 6, "start": RESULT}}))
    _done(call(folder, ["run", CONFIG, "-q", "-o", "w.h5"], before=ticking))
    stopped = _stop(folder, call, read)
    _done(call(folder, ["run", "s.toml", "-q", "-o", "s.h5"]))
    shown = _done(call(folder, ["show", RESULT])).out
    whole, started = (reproducible(parsed(read(folder, [each]))) for each in ("w.h5", "s.h5"))
    return Base(folder, shown, stopped, whole, started)


def drawn(base: Base, call: Caller) -> bytes:
    """The figure of the stopped run."""
    figure = base.folder / "f.png"
    if not figure.exists():
        _done(call(base.folder, ["plot", RESULT, "-o", figure.name]))
    return figure.read_bytes()


def _done(outcome):
    if outcome.status != 0:
        raise RuntimeError(f"a run of the harness's own ends with {outcome.status}: {outcome.err}")
    return outcome


def _stop(folder: Path, call: Caller, read: Caller) -> dict[str, Any]:
    """Stop the run somewhere in its middle, by its clock; what is in the result file then."""
    from tools.cases import parsed

    for looks in range(16, 400, 8):
        words = ["run", CONFIG, "-q", "-o", RESULT, "--overwrite", "--time-limit", str(1e-3 * looks)]
        if call(folder, words, before=ticking).status != 75:
            continue
        stopped = parsed(read(folder, [RESULT]))
        if stopped["arrays"]["iteration"][0] not in ("(0,)", "(1,)", "(2,)"):
            return stopped
    raise RuntimeError("no time limit stops the run in its middle")


def copied(base: Base, folder: Path) -> None:
    for name in (CONFIG, "s.toml", RESULT, CHECKPOINT):
        shutil.copy(base.folder / name, folder / name)


def damage(rng: random.Random, path: Path, other: Path) -> str:
    """Change or replace a file; how: one of BITS, forged, other (a file of another run), replaced or missing."""
    kind = rng.choices((*BITS, "forged", "other", "replaced"), (4, 1, 1, 3, 1, 1))[0]
    if kind in BITS:
        path.write_bytes(getattr(odd, kind)(rng, path.read_bytes()))
    elif kind == "forged":
        forged(rng, path)
    elif kind == "other":
        shutil.copy(other, path)
    else:
        datasets.replaced(rng, path, devices=False)
        kind = "replaced" if path.is_symlink() or path.exists() else "missing"
    return kind


def forged(rng: random.Random, path: Path) -> None:
    """What HDF5 can say and mpiqopt never does: parts missing, other types, shapes and texts."""
    import h5py

    with h5py.File(path, "r+") as file:
        for _ in range(rng.choice((1, 1, 2, 3))):
            rng.choice((_attribute, _attribute, _dataset))(rng, file)


def _attribute(rng: random.Random, file) -> None:
    name = rng.choice(sorted(file.attrs) or ["config"])
    if rng.random() < 0.3:
        del file.attrs[name]
        return
    was = file.attrs[name]
    value = rng.choice(
        (odd.value(rng), rng.choice(odd.NAMES), rng.choice(odd.SIZES), rng.choice(odd.FLOATS), [was, was])
    )
    if name in ("config", "config_resolved") and rng.random() < 0.7 and isinstance(was, str):
        word = rng.choice(odd.NAMES)
        value = was.replace(rng.choice(("ring", "gradient-tracking", "lead", "logistic", "12", "40")), word)
    try:
        file.attrs[name] = value
    except (TypeError, ValueError, OverflowError, OSError, UnicodeEncodeError):
        file.attrs[name] = 0


def _dataset(rng: random.Random, file) -> None:
    import numpy as np

    names: list[str] = []
    file.visit(names.append)
    name = rng.choice(sorted(names))
    was = file[name]
    value = was[()] if hasattr(was, "dtype") else np.zeros(2)
    del file[name]
    if rng.random() < 0.3:
        return
    changed = rng.choice(
        (
            lambda: value[:-1],
            lambda: np.concatenate([value, value]) if value.ndim else value,
            lambda: value[..., None],
            lambda: value.astype("f4"),
            lambda: value.astype("i8"),
            lambda: value.astype("S4"),
            lambda: np.full_like(value, np.nan if value.dtype.kind == "f" else -1),
            lambda: np.zeros((0, *value.shape[1:])),
            lambda: value.ravel(),
            lambda: np.float64(0),
        )
    )
    try:
        with np.errstate(all="ignore"):
            file[name] = changed()
    except (TypeError, ValueError, IndexError):
        file.create_group(name)
