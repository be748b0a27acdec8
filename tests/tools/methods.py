"""The methods of the package by name, those apart that train parts of a network and so want one."""

from mpiqopt.registry import family_members

ALGORITHMS = family_members("algorithm")
# on any problem
GENERAL = {name: cls for name, cls in ALGORITHMS.items() if not cls.trains_blocks}
OF_NETWORKS = {name: cls for name, cls in ALGORITHMS.items() if cls.trains_blocks}
