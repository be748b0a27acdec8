"""Decentralised optimisation and distributed learning on MPI ranks."""

__version__ = "0.1.0"
