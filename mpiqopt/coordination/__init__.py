"""How all nodes come to the same vector, close to the mean of theirs, by exchanging integers in finite time."""
