"""Slower machines and worse links than there are, drawn from the run's seed."""
