"""Local losses f_i and their gradients. One file a loss; each registers in the family "problem"."""
