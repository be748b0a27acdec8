"""One live line on a terminal, a plain line now and then elsewhere."""

import sys
import time

# seconds between lines
LIVE, PLAIN = 0.2, 10.0


class Progress:
    """Progress of a run on rank 0, to standard error."""

    def __init__(self, iterations: int, quiet: bool = False, stream=None):
        self.iterations, self.quiet = iterations, quiet
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self._shown = self._begun = time.monotonic()
        self._from: int | None = None
        self._open = False

    def update(self, iteration: int, metrics) -> None:
        """Show the state at ``iteration`` if the last line is old enough."""
        now = time.monotonic()
        if self._from is None:
            self._from, self._begun = iteration, now
        if self.quiet or now - self._shown < (LIVE if self.live else PLAIN):
            return
        self._shown = now
        rate = (iteration - self._from) / max(now - self._begun, 1e-9)
        left = f"{_duration((self.iterations - iteration) / rate)} left" if rate > 0 else ""
        line = (
            f"iteration {iteration}/{self.iterations}  stationarity {metrics.stationarity:.3e}  "
            f"consensus {metrics.consensus:.1e}  {rate:.4g} it/s  {left}"
        )
        self._write(line)

    def note(self, text: str) -> None:
        """Say something once."""
        if text and not self.quiet:
            self.stream.write(f"mpiqopt: {text}\n")

    def _write(self, line: str) -> None:
        if self.live:
            self.stream.write(f"\r\x1b[2K{line[:118]}")
            self._open = True
        else:
            self.stream.write(line + "\n")
        self.stream.flush()

    def close(self) -> None:
        """Clear the live line."""
        if self._open:
            self.stream.write("\r\x1b[2K")
            self.stream.flush()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
