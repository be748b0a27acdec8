"""How rows travel between ranks: all in one process, or MPI neighbours."""
