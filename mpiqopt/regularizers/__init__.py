"""The non-smooth part h and its prox. One file a regulariser; each registers in the family "regularizer"."""
