"""A graph from a file: ``formats`` reads what the file says, and here it becomes nodes 0, 1, ..., links and weights.

What a file leaves open (directions, weights, repeated links) is decided by the keys of the config, and every decision
is listed by ``mpiqopt check`` (``Made.read``). What is doubtful is refused.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np

from mpiqopt.arithmetic.distinct import distinct_values
from mpiqopt.errors import UsageError, brief_error, clip_for_error_line, errors_name_file
from mpiqopt.field import Field, only
from mpiqopt.files import textfiles
from mpiqopt.files.names import sort_names
from mpiqopt.registry import register
from mpiqopt.terminal import escape_for_terminal
from mpiqopt.topologies.formats import choose
from mpiqopt.topologies.formats.links import Given, Links, at_line, finite_number
from mpiqopt.topologies.formats.matrix import NEAR
from mpiqopt.topologies.graph import Graph, Made, Weights
from mpiqopt.topologies.mixing import Mixing, column_stochastic_mixing, mixing_from_edges, mixing_with_diagonal

Format = Literal[
    "auto", "edges", "adjlist", "matrix", "graphml", "gml", "pajek", "graph6", "sparse6", "json", "metis", "mtx"
]
# Two weights of a link are the same up to this: those of a symmetric W may differ in their last digits.
SAME = 1e-12
# characters of the names of an arc in a message
LONGEST_ARC = 40


@register("topology", "file")
@dataclass(frozen=True, kw_only=True)
class File(Graph):
    """A graph in any of the usual formats (docs/graphs.md), also in a file that ends in .gz, .bz2 or .xz.

    Node names may be anything; they are numbered in sorted order, in which numbers in names count as numbers (n2 comes
    before n10). With ``weights = "file"`` the weights of the file (the third column of an edge list, the entries of a
    matrix, attributes ``weight``) are w_ij, and the diagonal makes the rows sum to 1.

    A file whose links are arcs is a graph if every arc has its way back. With ``directed = true`` the links of the file
    are arcs: a line "a b" of an edge list is a -> b (an undirected GraphML or JSON graph has both arcs of every edge).
    Then w_ij = 1/(1 + outdegree_j) for every arc j -> i and for i = j, and only methods for directed graphs can use it,
    unless rows of W happen to sum to 1 too.
    """

    drawn = False

    path: Annotated[str, Field(description="the graph's file, relative to the config file")]
    format: Annotated[
        Format,
        Field(
            description="of the file; auto goes by its ending, of texts (.txt, .csv, .edges and others) by what is in "
            "them: edges, adjlist (a line for each node, with its neighbours) or matrix"
        ),
    ] = "auto"
    encoding: Annotated[
        str | None, Field(description="of a text without a byte order mark, such as latin-1; by default UTF-8")
    ] = None
    nodes: Annotated[int | None, Field(ge=1, description="if given, so many nodes there must be")] = None  # type: ignore[assignment]  # other graphs want a number
    weights: Annotated[
        Weights | Literal["file"],
        Field(
            description="as for other graphs, or file: the weights in the file are w_ij",
            needs=(only("directed", False),),
        ),
    ] = "metropolis"  # type: ignore[assignment]  # other graphs have no weights of their own
    directed: Annotated[bool, Field(description="read arcs (from, to); their weights are 1/(1 + outdegree)")] = False
    arcs_are_links: Annotated[
        bool,
        Field(description="take arcs that have no way back for undirected links", needs=(only("directed", False),)),
    ] = False
    largest_component: Annotated[
        bool,
        Field(description="keep the largest connected (directed: strongly connected) part alone, of several the first"),
    ] = False

    def __post_init__(self) -> None:
        if self.directed and self.weights != "metropolis":
            raise UsageError(
                f"topology.weights = {self.weights!r}: with topology.directed = true weights are 1/(1 + outdegree); "
                "leave weights out"
            )

    def edges(self) -> np.ndarray:
        """Return the links of the file, or its arcs if ``directed``, each once."""
        return self._simple().ends

    def cycle(self) -> list[Mixing]:
        """Return the one matrix of ``make``."""
        return self.make().cycle

    def make(self) -> Made:
        """Return the matrix, the names of the nodes and how the file was understood. Raises UsageError."""
        graph = self._simple()
        nodes = len(graph.names)
        if self.nodes not in (None, nodes):
            raise UsageError(
                f"topology.nodes = {self.nodes}: {self.path} has {nodes} nodes; leave nodes out, or say {nodes}"
            )
        if self.directed:
            mixing = column_stochastic_mixing(nodes, graph.ends)
        elif self.weights == "file":
            mixing = mixing_with_diagonal(nodes, graph.ends, graph.weights)
        else:
            mixing = mixing_from_edges(nodes, graph.ends, self.weights)
        return Made([mixing], graph.names, graph.read)

    def _simple(self) -> "_Simple":
        """Read the file. Raises UsageError that names it, whatever a reading library raises."""
        where = f"topology.path = {self.path}"
        given = Given(
            textfiles.read_decompressed_textfile(self.path, where), self.encoding, where, self.weights == "file"
        )
        try:
            links = choose.read(self.path, self.format, given)
        except UsageError as error:
            raise error if str(error).startswith(where) else UsageError(f"{where}: {error}") from None
        except MemoryError:
            raise
        except RecursionError:
            raise UsageError(f"{where}: not readable as a graph: nested too deeply") from None
        except (KeyError, IndexError) as error:
            raise UsageError(f"{where}: not readable as a graph: {brief_error(error)}") from error
        except Exception as error:
            raise UsageError(f"{where}: not readable as a graph: {error}") from error
        with errors_name_file(where):
            return self._chosen(links)

    def _chosen(self, links: Links) -> "_Simple":
        """Return what the keys of the config make of the links. Raises UsageError where these do not fit."""
        if not links.keys:
            raise UsageError("the graph has no nodes")
        said = dict(links.said)
        if links.matrix and self.weights == "file":
            _require_rows(links)
        links, said["links"] = self._undirected(links) if not self.directed else _arcs(links)
        if self.weights == "file":
            _require_weights(links)
        elif not self.directed and not np.all(np.isnan(links.weights) | (links.matrix & (links.weights == 1))):
            said["weights"] = "those of the file are not used (topology.weights = 'file' takes them)"
        graph, dropped = _numbered(links, self.directed)
        if dropped:
            said["dropped"] = dropped
        if self.largest_component:
            graph, said["component"] = _largest(graph, self.directed, self.weights == "file")
        return graph._replace(read={subject: escape_for_terminal(words) for subject, words in said.items()})

    def _undirected(self, links: Links) -> tuple[Links, str]:
        """Return the links as undirected ones, and how they came to be that.

        Raises UsageError, with the first one, for arcs without a way back, unless ``arcs_are_links``.
        """
        if not links.directed:
            both = _both_ways(links)
            return links, f"undirected, {both} of them given both ways" if both else "undirected"
        alone = _without_return(links)
        if alone is None:
            return links, "undirected" if links.matrix else "undirected: each arc has its way back"
        if self.arcs_are_links:
            return links, "undirected: arcs are taken as links"
        a, b = (links.keys[end] for end in links.ends[alone].tolist())
        # the keys last, which a line that is too long keeps
        arc = at_line(int(links.lines[alone]), clip_for_error_line(f"({a}, {b})", LONGEST_ARC))
        raise UsageError(
            f"{arc} has no way back: the graph is directed; set topology.directed = true, or topology.arcs_are_links = "
            "true"
        )


class _Simple(NamedTuple):
    """Keep a graph of nodes 0, 1, ...: n names, each link or arc once, sorted, int64 (E, 2), and weights (E,).

    weights: NaN where the file gives none; read: how the file was understood.
    """

    names: tuple[str, ...]
    ends: np.ndarray
    weights: np.ndarray
    read: dict[str, str] = {}


def _arcs(links: Links) -> tuple[Links, str]:
    """Return the links as arcs: both ways where the file says that they are undirected, and a word on it."""
    if links.directed is not False:
        return links, "directed"
    both = [np.concatenate([links.ends, links.ends[:, ::-1]]), *(np.tile(a, 2) for a in (links.weights, links.lines))]
    return links._replace(ends=both[0], weights=both[1], lines=both[2]), "directed: each link both ways"


def _keys(links: Links) -> tuple[np.ndarray, np.ndarray]:
    """Return a number for each arc, and that of the arc back, int64 (E,) each."""
    size = len(links.keys)
    return links.ends @ [size, 1], links.ends @ [1, size]


def _without_return(links: Links) -> int | None:
    """Return the first of the arcs that have no way back, None if all have."""
    there, back = _keys(links)  # a loop is its own way back
    alone = np.flatnonzero(~np.isin(back, there))
    return int(alone[0]) if len(alone) else None


def _require_weights(links: Links) -> None:
    """Raise UsageError, with both weights, unless each link has one weight."""
    apart = links.ends[:, 0] != links.ends[:, 1]
    missing = np.flatnonzero(apart & np.isnan(links.weights))
    given = np.flatnonzero(apart & ~np.isnan(links.weights))
    key = np.sort(links.ends, axis=1) @ [len(links.keys), 1]
    order = given[np.argsort(key[given], kind="stable")]
    unlike = (np.diff(key[order]) == 0) & (np.abs(np.diff(links.weights[order])) > SAME)
    if unlike.any():
        first, second = order[int(np.argmax(unlike)) :][:2].tolist()
        line = f" (line {links.lines[first]})" * bool(links.lines[first])
        one, two = f"{links.weights[first]:.12g}{line}", f"{links.weights[second]:.12g}"
        raise UsageError(f"{links.arc(second)} has two weights: {one} and {two} (weights = 'file')")
    lacking = missing[~np.isin(key[missing], key[given])]
    if len(lacking):
        raise UsageError(f"{links.arc(int(lacking[0]))} has no weight (weights = 'file')")


def _require_rows(links: Links) -> None:
    """Raise UsageError unless entries of a matrix are there on both sides of the diagonal, and its rows sum to 1.

    The message has both entries, or the sum.
    """
    alone = _without_return(links)
    if alone is not None:
        raise UsageError(f"{links.arc(alone)} has weight {links.weights[alone]:.12g}, and 0 back (weights = 'file')")
    if np.isnan(links.weights).any():  # a pattern
        return
    sums = np.bincount(links.ends[:, 0], links.weights, minlength=len(links.keys))
    wrong = np.flatnonzero(~(np.abs(sums - 1) <= NEAR))
    if len(wrong):
        row = int(wrong[0])
        raise UsageError(f"row {row + 1} of the matrix sums to {sums[row]:.12g}, want 1 (weights = 'file')")


def _numbered(links: Links, directed: bool) -> tuple[_Simple, str]:
    """Return nodes in the order of their keys and each link once, with the weight given last, and what was dropped.

    A link that a format names from both ends is not counted as dropped.
    """
    names = _names(links)
    order = sort_names(links.keys)
    place = {key: i for i, key in enumerate(order)}
    numbers = np.array([place[key] for key in links.keys], np.int64)
    ends = numbers[links.ends] if directed else np.sort(numbers[links.ends], axis=1)
    named = dict(zip(links.keys, names, strict=True))
    keys = ends @ [len(order), 1]
    chosen = np.lexsort((~np.isnan(links.weights), keys))  # stable: of those with a weight the last one comes last
    chosen = chosen[np.diff(keys[chosen], append=-1) != 0]
    loops = int(np.sum(ends[:, 0] == ends[:, 1]))
    chosen = chosen[ends[chosen, 0] != ends[chosen, 1]]
    graph = _Simple(tuple(named[key] for key in order), ends[chosen], links.weights[chosen])
    return graph, "" if links.matrix else _dropped(loops, _repeated(links))


def _apart(links: Links) -> np.ndarray:
    """Return the links without loops, as numbers of arcs and of the arcs back: int64 (2, E)."""
    return np.array(_keys(links._replace(ends=links.ends[links.ends[:, 0] != links.ends[:, 1]])))


def _repeated(links: Links) -> int:
    """Return how many links were there before in the same direction, loops aside."""
    there, _ = _apart(links)
    return len(there) - len(distinct_values(there))


def _both_ways(links: Links) -> int:
    """Return how many links are there in both directions, loops aside."""
    there, back = (distinct_values(each) for each in _apart(links))
    return len(np.intersect1d(there, back, assume_unique=True)) // 2


def _dropped(loops: int, repeated: int) -> str:
    """Say what was dropped: "1 loop, 2 repeated links"; "" if nothing was."""
    counts = ((loops, "loop"), (repeated, "repeated link"))
    return ", ".join(f"{count} {word}{'s' * (count > 1)}" for count, word in counts if count)


def _names(links: Links) -> tuple[str, ...]:
    """Return the names of nodes, in the order of their keys, such as a terminal can show and a file can store."""
    names = _as_whole(tuple(escape_for_terminal(str(key)) for key in links.labels or links.keys))
    if len(set(names)) == len(names):
        return names
    return tuple(escape_for_terminal(repr(key)) for key in links.keys)  # 1 and "1" of JSON


def _as_whole(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names that are all whole numbers written as floats, as NumPy does ("3.0e+00"), without decimals."""
    values = [finite_number(name) for name in names if set(name) & set(".eE")]
    if len(values) < len(names) or not all(value.is_integer() for value in values):
        return names
    whole = tuple(str(int(value)) for value in values)
    return whole if len(set(whole)) == len(whole) else names


def _largest(graph: _Simple, directed: bool, weighted: bool) -> tuple[_Simple, str]:
    """Return the connected part with the most nodes, numbered anew, and how many of all these are.

    directed: strongly connected; weighted: links of weight 0 connect nothing.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    nodes = len(graph.names)
    a, b = graph.ends[graph.weights != 0].T if weighted else graph.ends.T
    adjacency = csr_array((np.ones(len(a)), (a, b)), shape=(nodes, nodes))
    part = connected_components(adjacency, directed=directed, connection="strong")[1]
    sizes = np.bincount(part)
    # parts are numbered in no order that is promised: the largest of the lowest node
    kept = part == part[np.argmax(sizes[part])]
    numbers = np.cumsum(kept) - 1
    inside = kept[graph.ends].all(axis=1)
    names = tuple(name for name, keep in zip(graph.names, kept.tolist(), strict=True) if keep)
    return _Simple(names, numbers[graph.ends[inside]], graph.weights[inside]), f"{len(names)} of {nodes} nodes"
