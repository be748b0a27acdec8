"""Data sets, loaders and splits among nodes. One file a kind of source; each registers in the family "data"."""
