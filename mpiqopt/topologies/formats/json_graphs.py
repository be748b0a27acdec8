"""JSON as networkx and D3 write it: node-link (nodes with links or edges) or adjacency, told apart by their keys.

Node-link: {"nodes": [{"id": "a"}, {"id": "b"}], "links": [{"source": "a", "target": "b", "weight": 0.5}]}; adjacency:
{"nodes": [{"id": "a"}, {"id": "b"}], "adjacency": [[{"id": "b"}], [{"id": "a"}]]}, the neighbours of node after node.
"""

import json
from collections.abc import Hashable, Iterator
from typing import Any

from mpiqopt.errors import UsageError, list_in_error_line, quote_in_error
from mpiqopt.topologies.formats.links import Collector, Given, Links


def read(given: Given) -> Links:
    """Read a JSON file. Raises UsageError for JSON of other keys, or what the parser raises for what is none."""
    found = json.loads(given.text())
    if not isinstance(found, dict):
        raise UsageError(f"a JSON {type(found).__name__}, want an object with nodes, and links, edges or adjacency")
    kinds = [key for key in ("links", "edges", "adjacency") if key in found]
    if not isinstance(found.get("nodes"), list) or len(kinds) != 1 or not isinstance(found[kinds[0]], list):
        said = list_in_error_line("has the keys ", map(quote_in_error, found)) if found else "has no keys"
        raise UsageError(f"{said}; want lists nodes, and one of links, edges or adjacency")
    (kind,) = kinds
    keys = [_key(node, i) for i, node in enumerate(found["nodes"])]
    collector = Collector(keys)
    directed = _flag(found, "directed")
    if kind == "adjacency":
        _adjacent(found[kind], keys, directed is False, collector)
    else:
        for i, (a, b, weight) in enumerate(_listed(found[kind], kind)):
            _require_node(a, collector, f"{kind}[{i}]")
            _require_node(b, collector, f"{kind}[{i}]")
            collector.link(a, b, weight)
    # what says nothing of directions is what the config says that it is, if it names links from both of their ends
    unsaid = None if kind == "adjacency" else False
    named = "adjacency" if kind == "adjacency" else f"node-link, {kind}"
    return collector.links(unsaid if directed is None else directed, said={"format": f"json ({named})"})


def _flag(found: dict[str, Any], key: str) -> bool | None:
    """Return what a key says, None if it is not there. Raises UsageError for what is neither true nor false."""
    value = found.get(key)
    if not (value is None or isinstance(value, bool) or value in (0, 1)):
        raise UsageError(f"{key} = {quote_in_error(value)}, want true or false")
    return None if value is None else bool(value)


def _key(node: Any, place: int) -> Hashable:
    """Return what tells a node apart: its id, by default its place."""
    if not isinstance(node, dict):
        raise UsageError(f"nodes[{place}] = {quote_in_error(node)}, want an object with an id")
    return _hashable(node.get("id", place))


def _hashable(value: Any) -> Hashable:
    """Return an id; lists of JSON, which networkx writes for tuples, as tuples."""
    if isinstance(value, list):
        return tuple(_hashable(each) for each in value)
    if isinstance(value, dict):
        raise UsageError(f"the id of a node is {quote_in_error(value)}, want a word or number")
    return value


def _require_node(key: Hashable, known: Collector, where: str) -> None:
    """Raise UsageError for an end of a link that is not among the nodes: probably a typing error."""
    if key not in known:
        raise UsageError(f"{where} leads to {quote_in_error(key)}, which is not in nodes")


def _listed(links: list, kind: str) -> Iterator[tuple[Hashable, Hashable, Any]]:
    """Yield source, target and weight (None without) of each link of a list."""
    for i, link in enumerate(links):
        if not isinstance(link, dict) or not {"source", "target"} <= link.keys():
            raise UsageError(f"{kind}[{i}] = {quote_in_error(link)}, want an object with source and target")
        yield _hashable(link["source"]), _hashable(link["target"]), link.get("weight")


def _adjacent(rows: list, keys: list[Hashable], both_ways: bool, found: Collector) -> None:
    """Collect the neighbours of each node. both_ways: a link that was named with the same weight is not taken again."""
    if len(rows) != len(keys):
        raise UsageError(f"adjacency has {len(rows)} lists for {len(keys)} nodes")
    seen: set[tuple[Hashable, Hashable, Any]] = set()
    for node, (key, row) in enumerate(zip(keys, rows, strict=True)):
        for each in row if isinstance(row, list) else [row]:
            if not isinstance(each, dict) or "id" not in each:
                raise UsageError(f"adjacency[{node}] has {quote_in_error(each)}, want objects with an id")
            other, weight = _hashable(each["id"]), each.get("weight")
            _require_node(other, found, f"adjacency[{node}]")
            if both_ways and (other, key, str(weight)) in seen:
                continue
            seen.add((key, other, str(weight)))
            found.link(key, other, weight)
