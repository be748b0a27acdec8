"""Networks at the nodes, by PyTorch: the one package that imports it, and only where a network is used."""
