"""``python -m mpiqopt`` is the command ``mpiqopt``."""

import sys
from importlib.util import find_spec

from mpiqopt.cli import complain, main

if __name__ == "__main__":
    if find_spec("mpiqopt._gossip") is None:
        complain(
            f"its kernels are not built for this Python ({sys.executable}): type `pip install .` where setup.py is"
        )
        sys.exit(2)
    sys.exit(main())
