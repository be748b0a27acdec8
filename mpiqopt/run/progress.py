"""One live line on a terminal, a plain line now and then elsewhere."""

import sys
import time
from typing import TextIO

from mpiqopt.errors import one_line
from mpiqopt.terminal import LiveLine

# seconds between lines
LIVE, PLAIN = 0.2, 10.0


class Progress:
    """Progress of a run on rank 0, to standard error."""

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

    def update(self, iteration: int, metrics) -> None:
        """Show the state at ``iteration`` if the last line is old enough."""
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

    def _facts(self, iteration: int, metrics, rate: float) -> list[tuple[str, ...]]:
        """What there is to say, the most important first, each in forms of which later ones are shorter."""
        done = f"{iteration}/{self.iterations}"
        facts = [
            (f"iteration {done}", done, f"{100 * iteration // max(self.iterations, 1)} %"),
            (f"stationarity {metrics.stationarity:.3e}", f"stat. {metrics.stationarity:.1e}"),
        ]
        if rate > 0:
            facts.append((f"{_duration((self.iterations - iteration) / rate)} left",))
        return [*facts, (f"consensus {metrics.consensus:.1e}",), (f"{rate:.4g} it/s",)]

    def note(self, text: str) -> None:
        """Say something once."""
        if text and not self.quiet:
            self._line.clear()
            self._line.write(f"{one_line(text)}\n")

    def close(self) -> None:
        """Clear the live line."""
        self._line.clear()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
