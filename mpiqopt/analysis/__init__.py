"""Summaries, plots and cost estimates. Nothing here needs MPI."""
