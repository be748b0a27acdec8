"""One run: from a config to its objects, the loop, and its end."""
