"""Which rank hosts which nodes, what it needs from others, and sums that do not depend on it."""
