"""graph6 and sparse6, by networkx: one graph as a line of printable characters."""

from mpiqopt.errors import UsageError
from mpiqopt.topologies.formats.links import Given, Links, links_of_networkx, require_nodes

HEADERS = (b">>graph6<<", b">>sparse6<<")


def read(given: Given) -> Links:
    """Read a graph6 or sparse6 file. Raises UsageError for several graphs, or what networkx raises."""
    import networkx

    lines = [line.strip() for line in given.content.split(b"\n") if line.strip()]
    for header in HEADERS:
        lines = [line.removeprefix(header) for line in lines if line != header]
    if len(lines) != 1:
        raise UsageError(f"{len(lines)} graphs in one file, want one: a line each")
    (line,) = lines
    if not all(63 <= byte <= 126 for byte in line.removeprefix(b":")):
        raise UsageError("want one line of characters from ? to ~")
    sparse = line.startswith(b":")
    require_nodes(_nodes(line.removeprefix(b":")))
    graph = networkx.from_sparse6_bytes(line) if sparse else networkx.from_graph6_bytes(line)
    return links_of_networkx(graph)._replace(said={"format": "sparse6" if sparse else "graph6"})


def _nodes(line: bytes) -> int:
    """Return how many nodes a line says that there are: 6 bits in a byte, 18 bits behind one "~", 36 behind two.

    Looked at before networkx makes them all. Raises UsageError for a line that ends before. Source: McKay,
    https://users.cecs.anu.edu.au/~bdm/data/formats.txt
    """
    digits = [byte - 63 for byte in line]
    marks = 2 if digits[:2] == [63, 63] else int(digits[:1] == [63])
    size = (1, 3, 6)[marks]
    used = digits[marks : marks + size]
    if len(used) < size:
        raise UsageError("the line ends before it says how many nodes there are")
    return sum(digit << 6 * place for place, digit in enumerate(reversed(used)))
