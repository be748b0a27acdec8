"""GraphML, by networkx: links are arcs if ``edgedefault`` says so; labels are names where no two are the same."""

from io import BytesIO

from mpiqopt.errors import UsageError
from mpiqopt.topologies.formats.links import Given, Links, links_of_networkx

SPACE = "{http://graphml.graphdrawing.org/xmlns}"


def read(given: Given) -> Links:
    """Read a GraphML file, which says its encoding itself. Raises UsageError, or what networkx raises."""
    import networkx

    content = given.content if given.encoding is None else _without_declaration(given.text()).encode()
    graph = networkx.read_graphml(BytesIO(content))
    _require_one(content)
    return links_of_networkx(graph)._replace(said={"format": "graphml"})


def _without_declaration(text: str) -> str:
    """Return a text without the declaration of its encoding, which the config has overruled."""
    text = text.lstrip("\ufeff \t\r\n")
    return text[text.index("?>") + 2 :] if text.startswith("<?xml") and "?>" in text else text


def _require_one(content: bytes) -> None:
    """Raise UsageError for graphs that networkx leaves out: several in a file, and those inside nodes but of yEd."""
    from xml.etree.ElementTree import fromstring

    elements = list(fromstring(content).iter())
    graphs = sum(each.tag in ("graph", f"{SPACE}graph") for each in elements)
    if graphs > 1 + sum(each.get("yfiles.foldertype") == "group" for each in elements):
        raise UsageError(f"{graphs} graphs in one file, want one")
