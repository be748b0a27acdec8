"""Files of graphs: one module a format, whose ``read`` makes ``Links`` of what a file holds."""
