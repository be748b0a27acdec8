"""The methods. One file a method; each registers in the family "algorithm"."""
