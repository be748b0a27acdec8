"""Show the progress of a run: one live line on a terminal, a plain line now and then elsewhere."""

import math
import sys
import time
from typing import TextIO

from mpiqopt.errors import error_line
from mpiqopt.run.metrics import Metrics
from mpiqopt.terminal import LiveLine, duration

# Seconds between lines: people watch the live one, and logs should stay short.
LIVE, PLAIN = 0.2, 10.0


class Progress:
    """Shows how far a run is, on rank 0.

    Parameters
    ----------
    iterations : that the run does
    quiet : say nothing
    stream : what is written to; by default standard error
    """

    def __init__(self, iterations: int, quiet: bool = False, stream: TextIO | None = None):
        self.iterations = iterations
        self.stream = stream or sys.stderr
        self.quiet = quiet or self.stream is None
        self._line = LiveLine(self.stream)
        self._shown = self._begun = time.monotonic()
        self._from: int | None = None

    @property
    def live(self) -> bool:
        """True if the progress is a line that is written over."""
        return self._line.live

    def update(self, iteration: int, metrics: Metrics) -> None:
        """Show the metrics at ``iteration`` if the last line is old enough."""
        now = time.monotonic()
        if self._from is None:
            self._from, self._begun = iteration, now
        if self.quiet or now - self._shown < (LIVE if self.live else PLAIN):
            return
        self._shown = now
        rate = (iteration - self._from) / max(now - self._begun, 1e-9)
        facts = self._facts(iteration, metrics, rate)
        if self.live:
            self._line.show(*facts)
        else:
            self._line.write("  ".join(forms[0] for forms in facts) + "\n")

    def _facts(self, iteration: int, metrics: Metrics, rate: float) -> list[tuple[str, ...]]:
        """Return what there is to say, the most important first, each in several forms, the longest first."""
        done = f"{iteration}/{self.iterations}"
        facts = [
            (f"iteration {done}", done, f"{100 * iteration // max(self.iterations, 1)} %"),
            *_measure(metrics),
        ]
        if rate > 0:
            facts.append((f"{duration((self.iterations - iteration) / rate)} left",))
        return [*facts, (f"consensus {metrics.consensus:.1e}",), (f"{rate:.4g} it/s",)]

    def note(self, text: str) -> None:
        """Write one line on its own."""
        if text and not self.quiet:
            self._line.clear()
            self._line.write(f"{error_line(text)}\n")

    def close(self) -> None:
        """Clear the live line."""
        self._line.clear()


def _measure(metrics: Metrics) -> list[tuple[str, ...]]:
    """Return the stationarity, in several forms; where ``record.training`` leaves it out what tells most instead."""
    if not math.isnan(metrics.stationarity):
        return [(f"stationarity {metrics.stationarity:.3e}", f"stat. {metrics.stationarity:.1e}")]
    if not math.isnan(metrics.objective):
        return [(f"objective {metrics.objective:.4g}", f"obj. {metrics.objective:.4g}")]
    if metrics.accuracy is not None:
        return [(f"accuracy {metrics.accuracy:.4f}", f"acc. {metrics.accuracy:.3f}")]
    return []
