"""GML, by networkx: nodes by their ids, whatever their labels, and links as often as there are some between two."""

import re

from mpiqopt.topologies.formats.links import Given, Links, links_of_networkx

GRAPH = re.compile(r"^\s*graph\s*\[", re.MULTILINE)


def read(given: Given) -> Links:
    """Read a GML file. Raises UsageError for what is no text, or what networkx raises for what is no GML."""
    import networkx

    # else networkx refuses two links of the same ends
    text = GRAPH.sub(lambda found: f"{found[0]} multigraph 1 ", given.text().removeprefix("\ufeff"), count=1)
    return links_of_networkx(networkx.parse_gml(text, label="id"))._replace(said={"format": "gml"})
