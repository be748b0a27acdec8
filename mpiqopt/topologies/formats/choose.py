"""Choose the reader of a file: the one that the config names, that of its ending, or that of how its text begins."""

from importlib import import_module

from mpiqopt.files.textfiles import textfile_ending
from mpiqopt.topologies.formats.links import Given, Links

# what ``topology.format`` may say, and the module that reads it
MODULES = {
    "edges": "edges",
    "adjlist": "adjlist",
    "matrix": "matrix",
    "graphml": "graphml",
    "gml": "gml",
    "pajek": "pajek",
    "graph6": "graph6",
    "sparse6": "graph6",
    "json": "json_graphs",
    "metis": "metis",
    "mtx": "matrix_market",
}
ENDINGS = {
    ".graphml": "graphml",
    ".gml": "gml",
    ".net": "pajek",
    ".paj": "pajek",
    ".pajek": "pajek",
    ".g6": "graph6",
    ".graph6": "graph6",
    ".s6": "sparse6",
    ".sparse6": "sparse6",
    ".json": "json",
    ".metis": "metis",
    ".graph": "metis",
    ".adjlist": "adjlist",
}
# How texts of other endings begin, in small letters. .mtx is not among the endings: lists of links are called so, too.
BEGINS = {
    "<": "graphml",
    "{": "json",
    "*vertices": "pajek",
    "*network": "pajek",
    "graph [": "gml",
    "creator ": "gml",
    ">>graph6<<": "graph6",
    ">>sparse6<<": "sparse6",
    "%%matrixmarket": "mtx",
}


def read(path: str, form: str, given: Given) -> Links:
    """Return what a file says.

    path: whose ending counts; form: ``topology.format``; given: the content. The module of a format is imported only
    now: some need networkx. Raises UsageError, or what the readers' libraries raise.

    >>> given = Given(b"a b 0.5\\nb c 0.5\\n", None, "graph.txt")
    >>> links = read("graph.txt", "auto", given)
    >>> links.keys, links.ends.tolist(), links.weights.tolist()
    (('a', 'b', 'c'), [[0, 1], [1, 2]], [0.5, 0.5])
    """
    if form == "auto":
        form = ENDINGS.get(textfile_ending(path)) or _by_begin(given) or "text"
    module = import_module(f"mpiqopt.topologies.formats.{MODULES.get(form, 'text')}")
    return module.read(given)


def _by_begin(given: Given) -> str | None:
    """Return the format of a text that begins as no list of links or names does, else None."""
    begin = " ".join(given.text()[:200].lower().split())
    return next((form for word, form in BEGINS.items() if begin.startswith(word)), None)
