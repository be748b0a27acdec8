"""Answer signals and deadlines while the main thread is inside a long iteration, the set-up or a wait.

A thread on every rank learns of signals at once (through a pipe that C code fills), also while the main thread is in
MPI or a kernel. Where the ranks do not agree to stop within GRACE seconds, it interrupts what the main thread does, if
that can be thrown away, or ends the job: the last checkpoint stays.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from mpiqopt.transport.transport import Transport

# Signals by which queues and login nodes announce the end. SIGUSR1: SLURM by request, Grid Engine before a suspension;
# SIGUSR2: Grid Engine before it kills, LSF; SIGXCPU: limits of processor time; SIGHUP: a terminal that closes.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU)
# by which the thread wakes the main one: nobody else sends it
INTERRUPT = signal.SIGALRM
# seconds that ranks have to agree to stop; then to throw away what they do
GRACE = 2.0
# a second Ctrl-C within this time is the same one: a terminal sends it to the launcher, which passes it on
SAME_PRESS = 0.3
# all ranks may be told: the first is to say it
FIRST_SPEAKS = 0.5
STOPPED = 75


class Late(BaseException):
    """Raised in the main thread while ``Watch.interruptible``: the run is to stop now. No Exception, so that nobody
    takes it for an error."""


class Watch:
    """Collects the signals of a process, from ``__init__`` to ``close``.

    Parameters
    ----------
    transport : of all ranks, to end the job
    until : time.monotonic() of a deadline, and what sets it
    beat_seconds : seconds between calls of ``beat``

    Attributes
    ----------
    number : of the signal that came; 0 before
    beat : returns why the run must end, or ""; called in the thread
    end : says where the run can go on if the process is ended
    release : called before the process is ended
    interruptible : True while the main thread's work can be thrown away: ``Late`` is raised there
    """

    def __init__(self, transport: Transport, until: tuple[float, str], beat_seconds: float = float("inf")):
        self.transport = transport
        self.deadline, self.deadline_reason = until
        self.number = 0
        self.beat: Callable[[], str] = lambda: ""
        self.end: Callable[[], str] = lambda: "nothing was written"
        self.release: Callable[[], None] = lambda: None
        self._beat_seconds, self._beaten = beat_seconds, time.monotonic()
        self._asked = float("inf")
        self.interruptible = False
        self._answered = self._interrupted = self._closed = False
        self._main_thread = threading.get_ident()  # signal.signal allows no other
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        # nohup ignores SIGHUP, and that must stay; what a job script ignores while a run starts is handled from here on
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        wanted = [number for number in SIGNALS if number != signal.SIGHUP or not ignored]
        self._handlers = {number: signal.signal(number, self._receive) for number in wanted}
        self._handlers[INTERRUPT] = signal.signal(INTERRUPT, self._interrupt)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def reason(self, number: int, late: bool) -> str:
        """Return why the run stops: signal ``number``, or if ``late`` the deadline; "" if it does not."""
        return f"signal {signal.Signals(number).name}" if number else (self.deadline_reason or "time limit") * late

    def answered(self) -> None:
        """Note that all ranks have agreed to stop, so that nobody is interrupted any more."""
        self._answered = True

    def close(self) -> None:
        """End the thread, and restore the handlers of signals."""
        self._closed = True
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.write(self._write, b"\0")
        self._thread.join()
        os.close(self._read)
        os.close(self._write)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.number = number

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Raise Late in the main thread; with several ranks the others would wait for this one for ever."""
        if self.interruptible and self.transport.size == 1 and not self._answered:
            self.interruptible = False
            raise Late

    # In the thread

    def _run(self) -> None:
        while not self._closed:
            now = time.monotonic()
            if now - self._beaten >= self._beat_seconds:
                self._beaten = now
                lost = self.beat()
                if lost:
                    self._give_up(lost)
            for byte in self._received(self._due() - now):
                self._heard(byte)
            if not (self._answered or self._closed):
                self._hurry(time.monotonic())

    def _due(self) -> float:
        """Return when there is something to do unless a signal comes, in time.monotonic()."""
        due = [self._beaten + self._beat_seconds]
        if not self._answered:
            interrupt, end = self._limits()
            due += [end] if self._interrupted else [interrupt, end]
        return min(due)

    def _received(self, seconds: float) -> bytes:
        """Wait for signals for so many seconds at most; return their numbers."""
        wait = None if seconds == float("inf") else max(seconds, 0.0)
        return os.read(self._read, 64) if select.select([self._read], [], [], wait)[0] else b""

    def _heard(self, number: int) -> None:
        """Remember when a signal came first. A second Ctrl-C ends the process at once."""
        if number not in SIGNALS:
            return
        now = time.monotonic()
        if number == signal.SIGINT and self._asked + SAME_PRESS < now:
            self._give_up("Ctrl-C, twice")
        self._asked, self.number = min(self._asked, now), self.number or number

    def _limits(self) -> tuple[float, float]:
        """Return when the main thread is interrupted, and when the process is ended."""
        first = min(self._asked, self.deadline) + GRACE
        if self.transport.size == 1:
            return first, first + GRACE
        return first, first + FIRST_SPEAKS * (self.transport.rank > 0)

    def _hurry(self, now: float) -> None:
        """Interrupt the main thread, or end the process, once it is time."""
        interrupt, end = self._limits()
        if now >= end:
            self._give_up(f"{self.reason(self.number, True)}, in the middle of something long")
        if now >= interrupt and not self._interrupted:
            self._interrupted = True
            signal.pthread_kill(self._main_thread, INTERRUPT)

    def _give_up(self, reason: str) -> None:
        """End the job, and say where it can go on."""
        self.release()
        with suppress(OSError, ValueError):
            sys.stderr.write(f"mpiqopt: stopped: {reason}; {self.end()}\n")
            sys.stderr.flush()
        time.sleep(0.2 * (self.transport.size > 1))  # launchers forward the message before they kill
        self.transport.abort(STOPPED)
