"""The package's modules and sub-packages in the order of imports."""

from pathlib import Path

PACKAGE = Path(__file__).parent.parent.parent / "mpiqopt"

# A module imports only from modules above its own.
ORDER = (
    "terminal",
    "errors",
    "kernels",
    "memory",
    "field",
    "field_checks",
    "files",
    "arithmetic",
    "registry",
    "streams",
    "topologies",
    "placement",
    "compressors",
    "data",
    "regularizers",
    "neural",
    "problems",
    "transport",
    "emulation",
    "coordination",
    "network",
    "federation",
    "algorithms",
    "results",
    "config",
    "run",
    "contracts",
    "analysis",
    "cli",
)
