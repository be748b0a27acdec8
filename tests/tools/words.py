"""Command lines as people mistype them."""

import random
from typing import Any

from tools import configs, odd

COMMANDS = ("run", "check", "list", "topology", "show", "plot", "compress-bench", "config-schema", "examples")
FILES = (
    "c.toml",
    "s.toml",
    "r.h5",
    "r.h5.checkpoint",
    "notes.txt",
    "folder",
    "none.toml",
    "",
    ".",
    "..",
    "fifo",
    "-",
    "--",
)
# to read: as root, a program that writes a file in their place takes them from the machine
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/proc/self/mem")
TYPED = (
    "1e4", ".1", "5.", "True", "FALSE", "yes", "1_000", "0x10", "1,5", "+3", "-0", "''", '"', "[1,2", "[[1,2],[2,3]]",
    "{a=1}",
    "nan", "-inf", " 3 ", "3 # c", "3\n[x]", "12abc", "auto", "None", "1979-05-27", "=", "==", "1e400", "½",
)  # fmt: skip
FIGURES = (
    "f.png",
    "f.pdf",
    "f.svg",
    "f",
    "f.xyz",
    "f.toml",
    "folder/f.png",
    "new/f.png",
    "[b].png",
    "$x.png",
    "日本.png",
)
OUTPUTS = (
    "n.h5",
    "n",
    "new/deep/n.h5",
    "[b].h5",
    "$x$.h5",
    "日本.h5",
    "a b.h5",
    "n.h5/",
    "x" * 300,
    "c.toml/n.h5",
    "a\nb.h5",
    "\x1b.h5",
)
NUMBERS = ("0", "-1", "1e400", "nan", "inf", "", "1", "0.3", "1e-300", "word", "9" * 30, odd.DIGITS)
OPTIONS = (
    "--resume",
    "--overwrite",
    "-q",
    "--verbose",
    "--help",
    "-h",
    "--version",
    "--rezume",
    "-x",
    "--",
    "-",
    "--plugin",
    "--set",
)


def draw(rng: random.Random, schema: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Words, and the names that the call may make or change."""
    command = rng.choice((*COMMANDS, "run", "run", "run", "check", "check", "plot"))
    given, outputs = _DRAWN.get(command, _other)(rng, schema)
    words = [command, *given]
    for _ in range(rng.choice((0, 0, 0, 0, 1, 2))):
        words.insert(rng.randrange(len(words) + 1), rng.choice((*OPTIONS, *FILES, *odd.NAMES[:12])))
    words = [word.replace("\x00", "") for word in words]
    return words, outputs


def typed(rng: random.Random, schema: dict[str, Any]) -> str:
    """--set's TABLE.KEY=VALUE, nearly."""
    family, table = rng.choice(list(schema["properties"].items()))
    part = rng.choice(configs.members(table))
    family += f"[{rng.randrange(3)}]" if family == "devices" and rng.random() < 0.8 else ""
    name = rng.choice(list(part["properties"]))
    if rng.random() < 0.1:
        name, family = rng.choice((name[:-1], "", name.upper(), f"{name}.x")), rng.choice((family, family[:-1], ""))
    value = rng.choice(
        (
            lambda: odd.toml(configs.allowed(rng, part["properties"].get(name, {}))),
            lambda: str(configs.allowed(rng, part["properties"].get(name, {}))),
            lambda: rng.choice(TYPED),
            lambda: rng.choice(TYPED),
            lambda: rng.choice(odd.NAMES),
            lambda: str(odd.value(rng)),
            lambda: rng.choice(NUMBERS),
        )
    )()
    return rng.choice(
        (f"{family}.{name}={value}",) * 8 + (f"{family}.{name}", f"{family}={value}", f"{name} = {value}")
    )


def _sets(rng: random.Random, schema: dict[str, Any]) -> list[str]:
    count = rng.choice((0, 1, 1, 2, 3))
    return [word for _ in range(count) for word in ("--set", typed(rng, schema))]


def _config(rng: random.Random) -> str:
    return "c.toml" if rng.random() < 0.8 else rng.choice((*FILES, *DEVICES))


def _run(rng: random.Random, schema: dict[str, Any]) -> tuple[list[str], list[str]]:
    limit = rng.choice(("1", "1", "1", rng.choice(NUMBERS[1:])))
    given = [_config(rng), *_sets(rng, schema)]
    given += ["--time-limit", "1"] if limit == "1" else ["--time-limit", "1", "--time-limit", limit]
    output = rng.choice(("n.h5", "n.h5", rng.choice(OUTPUTS), rng.choice(OUTPUTS), rng.choice(FILES), None))
    flags = rng.choice(([], [], ["--overwrite"], ["--resume"], ["--overwrite", "--resume"]))
    if output:
        outputs = (
            [output.rstrip("/")] if output in (*OUTPUTS, "-", "--", "none.toml") or (output == "r.h5" and flags) else []
        )
    else:
        outputs = [f"{name}.h5" for name in ("c", "s", "notes", "none", "folder", *(["r"] if flags else []))]
    given += [] if output is None else ["-o", output]
    return [*given, *flags, "-q"], [*outputs, *_parents(outputs)]


def _parents(names: list[str]) -> list[str]:
    return [name.rpartition("/")[0] for name in names if "/" in name]


def _check(rng: random.Random, schema: dict[str, Any]) -> tuple[list[str], list[str]]:
    ranks = ["--ranks", rng.choice(("2", *NUMBERS))] if rng.random() < 0.3 else []
    return [_config(rng), *_sets(rng, schema), *ranks], []


def _plot(rng: random.Random, schema: dict[str, Any]) -> tuple[list[str], list[str]]:
    files = [rng.choice(("r.h5", "r.h5", *FILES, *DEVICES)) for _ in range(rng.choice((1, 1, 2, 3)))]
    return _drawing(rng, files)


def _topology(rng: random.Random, schema: dict[str, Any]) -> tuple[list[str], list[str]]:
    given = [_config(rng), *_sets(rng, schema)]
    return _drawing(rng, given) if rng.random() < 0.5 else (given, [])


def _drawing(rng: random.Random, given: list[str]) -> tuple[list[str], list[str]]:
    figure = rng.choice((rng.choice(FIGURES), rng.choice(FIGURES), rng.choice(FILES)))
    written = [figure, f"{figure}.png"] if figure in (*FIGURES, "-", "--") else []
    return [*given, "-o", figure], [*written, *_parents(written)]


def _bench(rng: random.Random, schema: dict[str, Any]) -> tuple[list[str], list[str]]:
    names = [part["title"] for part in configs.members(schema["properties"]["compressor"])]
    chosen = [
        rng.choice((*names, "qsgd,levels=3", "qsgd,levels=", "qsgd,=", ",", *NUMBERS))
        for _ in range(rng.choice((1, 2)))
    ]
    size = ["--size", rng.choice(("100", "1000", "1", *NUMBERS))]
    return [*chosen, *size, "--repeat", "1"], []


def _examples(rng: random.Random, schema: dict[str, Any]) -> tuple[list[str], list[str]]:
    return [rng.choice(("new", "new/deep", "c.toml", "folder", "", ".", *odd.NAMES[:6]))], ["*"]


def _other(rng: random.Random, schema: dict[str, Any]) -> tuple[list[str], list[str]]:
    pool = (*FILES, *DEVICES, "data", "algorithm", "topology", "--markdown", "familly", *odd.NAMES[:20])
    return [rng.choice(pool) for _ in range(rng.choice((0, 1, 1, 2)))], []


_DRAWN = {
    "run": _run,
    "check": _check,
    "plot": _plot,
    "topology": _topology,
    "compress-bench": _bench,
    "examples": _examples,
}
