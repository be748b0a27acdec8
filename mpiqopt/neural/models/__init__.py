"""Built-in networks, one file each: ``build(shape, outputs, **options)`` returns an ``nn.Module``.

What there is can be asked for without PyTorch:

>>> model_titles()["cnn"]
'Small convolutional networks: those of FedAvg, pfl-research and BEER by their options.'
"""

import pkgutil
from pathlib import Path


def model_names() -> list[str]:
    """Return the names of the built-in networks, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def model_titles() -> dict[str, str]:
    """Return by name what each built-in network is: the first line of its file's docstring."""
    import ast

    sources = {name: Path(__path__[0], f"{name}.py").read_text(encoding="utf-8") for name in model_names()}
    return {name: (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0] for name, text in sources.items()}
