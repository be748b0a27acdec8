"""Files that users give: are they there and the same on all ranks, their compression and encoding, names in them."""
