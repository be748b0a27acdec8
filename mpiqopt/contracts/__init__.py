"""Promises of the parts of each family, as checks of one part.

They are what `mpiqopt test FILE.py` runs on plug-ins, and what the package's own tests run on its parts. A module is
called like the family that it checks.
"""
