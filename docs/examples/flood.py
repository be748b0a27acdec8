"""Every node hears the integers of every other one, and adds them up: a coordinator in a few lines of Python."""

from types import SimpleNamespace

from mpiqopt.coordination.protocol import Message, NodeProtocol
from mpiqopt.registry import register


@register("coordinator", "flood")
class Flood(NodeProtocol):
    """Every node's integers go over every link once, in D steps, and S is summed at every node: n messages a link."""

    def start(self, site, values):
        return SimpleNamespace(site=site, known={site.node: values}, fresh=[site.node])

    def step(self, node):
        fresh, node.fresh = node.fresh, []
        return [Message(link, own, node.known[own]) for own in fresh for link in range(node.site.links_out)]

    def absorb(self, node, label, values):
        if label not in node.known:
            node.known[label] = values
            node.fresh.append(label)

    def look(self, node):
        return sum(node.known.values()) if len(node.known) == node.site.nodes else None
