"""HDF5: the trajectory file, reading it, and checkpoints."""
