"""Topology files that are wrong in ways of their own format: edge lists, matrices, GraphML, JSON."""

import json
import random
from pathlib import Path
from typing import Any

from tools import datasets, odd

ENDINGS = ("edges", "edges", "edgelist", "txt", "csv", "graphml", "graphml", "json", "json", "mtx", "")
WORDS = (
    "a",
    "node 3",
    "[b]",
    "$x$",
    "日本",
    "\x1b[31m",
    "-1",
    "0",
    "1.5",
    "nan",
    "1e3",
    "9" * 25,
    "9223372036854775808",
    "_",
    "x" * 400,
)
WEIGHTS = (
    "0.25",
    "0.25",
    "1",
    "0",
    "-0.5",
    "nan",
    "inf",
    "-inf",
    "word",
    "1e308",
    "1e-320",
    "0x1",
    "1,5",
    "",
    odd.DIGITS,
    "{}",
)


def write(rng: random.Random, folder: Path) -> dict[str, Any]:
    """Make a file, or something that is none; returns the table [topology] that names it."""
    ending = rng.choice(ENDINGS)
    path = folder / (f"g.{ending}" if ending else "g")
    body = {"graphml": _graphml, "json": _json}.get(ending, rng.choice((_list, _list, _matrix)))(rng)
    path.write_bytes(body.encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16")), "replace"))
    if rng.random() < 0.25:
        path.write_bytes(odd.damaged(rng, path.read_bytes()))
    if rng.random() < 0.06:
        datasets.replaced(rng, path)
    keys = {
        "weights": rng.choice(("file", "file", "metropolis", "lazy-metropolis", "uniform")),
        "directed": rng.random() < 0.5,
        "nodes": rng.choice((4, 5, 6, 2**40)),
    }
    return {"name": "file", "path": path.name, **{k: v for k, v in keys.items() if rng.random() < 0.35}}


def links(rng: random.Random) -> list[list[str]]:
    """A ring, of which a few links are missing, doubled or lead elsewhere."""
    nodes = rng.choice((1, 2, 3, 5, 6, 6, 6, 40))
    rows = [[str(i), str((i + 1) % nodes)] for i in range(nodes)]
    for _ in range(rng.choice((0, 0, 1, 1, 2, 4))):
        row = rng.choice(rows) if rows else ["0", "1"]
        rng.choice(
            (
                lambda row=row: row.__setitem__(rng.randrange(len(row)), rng.choice(WORDS)) if row else None,
                lambda row=row: rows.append(row[::-1]),
                lambda row=row: rows.append(row[:]),
                lambda row=row: rows.append([row[0]] * 2) if row else None,
                lambda row=row: row.pop() if row else None,
                lambda row=row: row.append(rng.choice(WEIGHTS)),
                lambda: rows.append([rng.choice(WORDS), rng.choice(WORDS)]),
                lambda: rows.pop() if rows else None,
                lambda: rows.append(["5"]),
                lambda: rows.append([]),
            )
        )()
    if rng.random() < 0.5:
        even = rng.random() < 0.5
        rows = [[*row, "0.3" if even else rng.choice(WEIGHTS)] for row in rows]
    return rows


def _list(rng: random.Random) -> str:
    head = rng.choice(("", "", "# nodes\n", "source target weight\n", "% mtx\n", "6 6 6\n", "\n\n"))
    mark = rng.choice((" ", " ", "\t", ",", "  ", ";"))
    return head + "\n".join(mark.join(row) for row in links(rng)) + rng.choice(("\n", ""))


def _matrix(rng: random.Random) -> str:
    rows, columns = rng.choice((1, 2, 4, 6)), rng.choice((1, 2, 3, 4, 6))
    mark = rng.choice((" ", ",", "\t"))
    return "\n".join(
        mark.join(rng.choice(("0", "1", "0.5", rng.choice(WEIGHTS))) for _ in range(columns)) for _ in range(rows)
    )


def _graphml(rng: random.Random) -> str:
    rows = [[*row, "0", "0", "0"][:3] for row in links(rng)]
    names = {name for row in rows for name in row[:2]}
    kind = rng.choice(("directed", "undirected", "sideways"))
    of = rng.choice(("double", "string", "int", "boolean", "long", "word"))
    head = rng.choice(
        (
            '<?xml version="1.0"?>',
            "",
            '<?xml version="1.0" encoding="klingon"?>',
            '<!DOCTYPE g [<!ENTITY a "ha"><!ENTITY b "&a;&a;"><!ENTITY c SYSTEM "file:///etc/hostname">]>',
            _bomb(),
        )
    )
    entity = "&b;" if "!DOCTYPE" in head else ""
    nodes = "".join(f'<node id="{name}"/>' for name in sorted(names) if rng.random() < 0.95)
    edges = "".join(
        f'<edge source="{a}" target="{b}"><data key="w">{rng.choice((w, entity or w))}</data></edge>'
        for a, b, w in rows
    )
    return (
        f'{head}<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><key id="w" for="edge" attr.name="weight" '
        f'attr.type="{of}"/><graph edgedefault="{kind}">{nodes}{edges}</graph></graphml>'
    )


def _bomb() -> str:
    """Entities that would take gigabytes, each made of ten of the one before."""
    steps = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    return f'<!DOCTYPE g [<!ENTITY e0 "ha">{steps}<!ENTITY b "&e11;">]>'


def _json(rng: random.Random) -> str:
    rows = [[*row, "0", "0", "0"][:3] for row in links(rng)]
    names = sorted({name for row in rows for name in row[:2]})
    adjacency = [[{"id": b, "weight": _number(w)} for a, b, w in rows if a == name] for name in names]
    graph = {
        "directed": rng.random() < 0.3,
        "multigraph": rng.random() < 0.2,
        "graph": [],
        "nodes": [{"id": n} for n in names],
    }
    graph["adjacency"] = adjacency
    for _ in range(rng.choice((0, 0, 1, 2))):
        name = rng.choice(list(graph))
        rng.choice((lambda name=name: graph.pop(name), lambda name=name: graph.__setitem__(name, odd.value(rng))))()
        if not graph:
            break
    return rng.choice(
        (json.dumps(graph), json.dumps(graph), "[" * 100_000, json.dumps([graph]), json.dumps(odd.value(rng)), "{}")
    )


def _number(word: str) -> Any:
    try:
        return float(word)
    except ValueError:
        return word
