"""Result files in HDF5: writing the trajectory of a run, reading it, the lock of a file, and checkpoints."""
