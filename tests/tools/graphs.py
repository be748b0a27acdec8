"""Topology files that are wrong in ways of their own format: edge lists, matrices, GraphML, JSON and others."""

import bz2
import gzip
import json
import lzma
import random
from pathlib import Path
from typing import Any

from tools import datasets, odd

ENDINGS = (
    *("edges", "edges", "edgelist", "txt", "csv", "", "graphml", "graphml", "json", "json"),
    *("mtx", "adjlist", "gml", "gml", "net", "net", "g6", "s6", "graph", "graph"),
)
FORMATS = ("edges", "adjlist", "matrix", "graphml", "gml", "pajek", "graph6", "sparse6", "json", "metis", "mtx")
COMPRESSED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
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
    body = BODIES.get(ending, rng.choice((_list, _list, _matrix, _table)))(rng)
    content = body.encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16")), "replace")
    if rng.random() < 0.1:
        suffix = rng.choice(list(COMPRESSED))
        path, content = path.with_name(f"{path.name}.{suffix}"), COMPRESSED[suffix](content)
    path.write_bytes(content)
    if rng.random() < 0.25:
        path.write_bytes(odd.damaged(rng, path.read_bytes()))
    if rng.random() < 0.06:
        datasets.replaced(rng, path)
    keys = {
        "weights": rng.choice(("file", "file", "metropolis", "lazy-metropolis", "uniform")),
        "directed": rng.random() < 0.5,
        "nodes": rng.choice((4, 5, 6, 2**40)),
        "arcs_are_links": rng.random() < 0.5,
        "largest_component": rng.random() < 0.5,
    }
    if rng.random() < 0.1:
        keys["format"] = rng.choice(FORMATS)
    if rng.random() < 0.05:
        keys["encoding"] = rng.choice(("latin-1", "utf-16-le", "cp1252", "klingon", "utf-7", "idna"))
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


def _table(rng: random.Random) -> str:
    """A matrix with names above, beside or both; or a list of links with an index."""
    size, mark = rng.choice((2, 3, 4, 6)), rng.choice((" ", ",", "\t", ";"))
    names = [rng.choice(("n{}", "{}", "node {}", '"{}"')).format(i) for i in range(size)]
    rows = [[rng.choice("01") for _ in range(size)] for _ in range(size)]
    beside = [[name, *row] for name, row in zip(names, rows, strict=True)] if rng.random() < 0.6 else rows
    head = rng.choice(([names], [["", *names]], [["", "source", "target", "weight"]], []))
    return "\n".join(mark.join(row) for row in [*head, *beside])


def _adjlist(rng: random.Random) -> str:
    return "\n".join(" ".join(row) for row in links(rng))


def _gml(rng: random.Random) -> str:
    rows = [[*row, "0", "0", "0"][:3] for row in links(rng)]
    names = sorted({name for row in rows for name in row[:2]})
    label = rng.choice(('"{}"', '"same"', "{}", '"{}'))
    nodes = "".join(f"node [\nid {name}\nlabel {label.format(name)}\n]\n" for name in names)
    edges = "".join(f"edge [\nsource {a}\ntarget {b}\nweight {w}\n]\n" for a, b, w in rows)
    head = rng.choice(("", 'Creator "me"'))
    return f"{head}\ngraph [\ndirected {rng.choice('012')}\n{nodes}{edges}]\n"


def _pajek(rng: random.Random) -> str:
    rows = [[*row, "0", "0", "0"][:3] for row in links(rng)]
    size = rng.choice((len(rows), len(rows), 6, 10**15))
    names = "".join(f'{i + 1} "{rng.choice(WORDS)}"\n' for i in range(min(size, 9)))
    kind = rng.choice(("edges", "arcs", "edgeslist", "matrix", "partition", "Edges"))
    return f"*Vertices {size}\n{names}*{kind}\n{_from_one(rows)}"


def _from_one(rows: list[list[str]]) -> str:
    """Lines of links, nodes counted from 1."""
    return "".join(
        " ".join(str(int(end) + 1) if end.isdecimal() and len(end) < 9 else end for end in row) + "\n" for row in rows
    )


def _graph6(rng: random.Random) -> str:
    """A ring of five in sparse6, or of four in graph6, or noise in their letters."""
    noise = "".join(chr(rng.randint(63, 126)) for _ in range(rng.randrange(12)))
    return rng.choice(("Cl", ">>graph6<<Cl\n", ":DaYn~", "Cl\nCl", f":{noise}", noise, ":~~~~~~~~", "~~~~~~~~", "&C"))


def _metis(rng: random.Random) -> str:
    """A ring, or lines that say too little."""
    if rng.random() < 0.5:
        size = rng.choice((3, 6))
        return f"{size} {size}\n" + "".join(f"{(i - 1) % size + 1} {(i + 1) % size + 1}\n" for i in range(size))
    rows = links(rng)
    lines = [" ".join(row) for row in rows]
    return f"{len(rows)} {len(rows)}{rng.choice(('', ' 001', ' 011 2', ' 9'))}\n" + "\n".join(lines)


def _market(rng: random.Random) -> str:
    rows = [row[:2] for row in links(rng)]
    of, kind = rng.choice(("pattern", "real", "complex")), rng.choice(("general", "symmetric", "odd"))
    size = rng.choice((len(rows), 10**15))
    lines = _from_one(rows) if of == "pattern" else _from_one(rows).replace("\n", " 0.3\n")
    return f"%%MatrixMarket matrix coordinate {of} {kind}\n{size} {size} {len(rows)}\n{lines}"


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
    if rng.random() < 0.5:
        graph["adjacency"] = adjacency
    else:
        kind = rng.choice(("links", "edges"))
        graph[kind] = [{"source": a, "target": b, "weight": _number(w)} for a, b, w in rows]
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


BODIES = {
    "graphml": _graphml,
    "json": _json,
    "adjlist": _adjlist,
    "gml": _gml,
    "net": _pajek,
    "g6": _graph6,
    "s6": _graph6,
    "graph": _metis,
    "mtx": _market,
}
