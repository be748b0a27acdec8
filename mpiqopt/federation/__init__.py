"""Rounds of clients: who takes part, whose update is late, the server's optimiser, regions."""
