"""Graphs, mixing weights and their spectrum. One file a graph; each registers in the family "topology"."""
