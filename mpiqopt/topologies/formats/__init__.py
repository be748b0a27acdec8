"""Files of graphs: one module a format, whose ``read`` makes ``Links`` of what a file says.

A new format is a module here, a word in ``file.Format`` and a line in ``choose``.
"""
