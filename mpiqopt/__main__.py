"""``python -m mpiqopt`` is the command ``mpiqopt``."""

import sys

from mpiqopt.cli import main

if __name__ == "__main__":
    sys.exit(main())
