"""Run several configs on the ranks of one MPI job: python run_many.py FOLDER CONFIG..."""

import sys
from pathlib import Path

from mpiqopt.config.parse import load
from mpiqopt.run.loop import run
from mpiqopt.run.start import Options
from mpiqopt.transport import launch

with launch.session() as transport:
    for path in sys.argv[2:]:
        run(load(path), Options(Path(sys.argv[1]) / f"{Path(path).stem}.h5", quiet=True), transport)
