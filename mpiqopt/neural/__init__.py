"""Networks: the only package that imports torch, and is itself imported inside functions of other packages."""
