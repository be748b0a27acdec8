"""Measures what training each window of a network takes on this device, each in a process of its own.

What is measured is kept in FILE.part beside the profile until that is whole: a measurement that was interrupted goes on
where it was.
"""

import ctypes
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm
from mpiqopt.algorithms.fedavg import FedAvg
from mpiqopt.algorithms.local_training import LocalOptimization
from mpiqopt.config.config import Config
from mpiqopt.errors import UsageError, errors_name_file
from mpiqopt.federation.counted_costs import counted_costs
from mpiqopt.federation.measured_profile import device_facts, measured_profile, memory_share
from mpiqopt.federation.profiles import Profile
from mpiqopt.federation.step_meter import StepMeter, Steps
from mpiqopt.federation.windows import all_windows
from mpiqopt.files.replacement import replace_file
from mpiqopt.neural.block_count import BlockCount
from mpiqopt.neural.partial import Frozen, Partial, Window
from mpiqopt.neural.warm_up import warm_up
from mpiqopt.problems.problem import Problem
from mpiqopt.problems.torch import Torch
from mpiqopt.regularizers.zero import Zero
from mpiqopt.run.assembly import assemble
from mpiqopt.transport.serial import SerialTransport

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


# what a file is called that has a part of the measurements
ENDING = ".part"
# of Linux: a process is sent a signal when its parent ends, however that ends
PR_SET_PDEATHSIG = 1
# of optimisers: the point should stay where it is, and how long a step takes does not depend on it
STEP = 1e-3
PLAIN = FedAvg(step_size=STEP)


class Measured(NamedTuple):
    """What a window has taken.

    Attributes
    ----------
    first, last : the window
    seconds : of a step
    full_seconds : of a step of the whole network, right after that
    memory : bytes at most above the loaded network; None where the system does not tell
    """

    first: int
    last: int
    seconds: float
    full_seconds: float
    memory: float | None


class DeviceProfiler:
    """Measures the windows of the network of a config, on the CPU.

    The processes that measure are forked from one that has loaded network and samples, and computed nothing yet: what
    it has in memory is not counted. In each the window is measured first, and then the whole network, so that others
    who use the machine slow both down.

    Parameters
    ----------
    config : of a run; its algorithm's optimiser, batch size and keys of frozen blocks count, where it has them
    batch : samples of a step; None for the algorithm's
    repeats : steps of which medians are taken

    Attributes
    ----------
    windows : all, in the order in which they are measured: the whole network first
    blocks : their names

    Raises
    ------
    UsageError : the problem has no blocks, or the algorithm's batch size is not known before its run
    """

    def __init__(self, config: Config, batch: int | None, repeats: int) -> None:
        self._frozen, self._repeats = _frozen(config.algorithm), repeats
        self._network, self._threads = getattr(config.problem, "model", ""), getattr(config.problem, "threads", 1)
        local = config.algorithm if isinstance(config.algorithm, LocalOptimization) else PLAIN
        self._problem = _problem(config)
        with errors_name_file(config.path):
            self.blocks = [block.name for block in self._problem.blocks()]
        start = self._problem.start(config.run.seed).astype(self._problem.dtype)
        optimizer = local.local_optimizer(0)._replace(step=STEP)
        # one thread's own time leaves out when others had its processor
        clock = time.thread_time if self._threads == 1 else time.perf_counter
        chosen = _batch_of(config) if batch is None else batch
        self._meter = StepMeter(self._problem, start, optimizer, chosen, clock)
        whole = Window(0, len(self.blocks) - 1)
        self.windows = [whole, *(window for window in all_windows(len(self.blocks)) if window != whole)]
        self._counts, self._scales = _in_a_child(self._look)

    def settings(self) -> dict[str, Any]:
        """Return what has to be the same for measurements that belong together."""
        return {
            "network": self._network,
            "blocks": [count._asdict() for count in self._counts],
            "batch": self._meter.batch,
            "threads": self._threads,
            "frozen": self._frozen._asdict(),
            "device": device_facts(self._repeats, None),
        }

    def measure(self, window: Window) -> Measured:
        """Return what a window takes. Raises MemoryError if its process was ended for lack of memory."""
        return _in_a_child(lambda: self._measure(window))

    def profile(self, measured: Sequence[Measured]) -> Profile:
        """Return the profile that measurements of all windows make."""
        by_window = {Window(each.first, each.last): each for each in measured}
        whole = by_window[self.windows[0]]
        full = Steps(median(each.full_seconds for each in measured), whole.memory, self._scales)
        counted = {cost.window: cost.memory for cost in counted_costs(self._counts, self._meter.batch, self._frozen)}
        costs = {
            window: (each.seconds / each.full_seconds, memory_share(each.memory, full.memory, counted[window]))
            for window, each in by_window.items()
        }
        costs[self.windows[0]] = (1.0, 1.0)
        facts = device_facts(self._repeats, full.memory) | {"threads": str(self._threads)}
        return measured_profile(self._counts, self._meter.batch, self._frozen, self._network, full, costs, facts)

    def _look(self) -> tuple[list[BlockCount], np.ndarray]:
        """Return what blocks compute, and the scales of the network."""
        warm_up(self._threads)
        counts = self._problem.block_counts()
        return counts, self._meter.observe(self._frozen, sum(count.scales for count in counts))

    def _measure(self, window: Window) -> Measured:
        """Measure a window, and then the whole network."""
        warm_up(self._threads)
        whole = window == self.windows[0]
        partial = None if whole else Partial(window, self._frozen, self._scales)
        steps = self._meter.measure(partial, self._repeats)
        full = steps if whole else self._meter.measure(None, self._repeats)
        return Measured(*window, steps.seconds, full.seconds, steps.memory)


def _batch_of(config: Config) -> int:
    """Return how many samples a step of a config's algorithm has, 0 for all. Raises UsageError if it is to choose."""
    chosen = getattr(config.algorithm, "batch_size", "all")
    if chosen == "auto":
        raise UsageError(f"{config.path}: algorithm.batch_size = 'auto': want a number, or --batch")
    return 0 if chosen == "all" else int(chosen)


def _frozen(algorithm: Algorithm) -> Frozen:
    """Return how an algorithm computes frozen blocks; the default for those that freeze none."""
    keys = {"before": "frozen", "after": "frozen_after", "bits": "frozen_bits"}
    return Frozen(**{name: getattr(algorithm, key) for name, key in keys.items() if hasattr(algorithm, key)})


def _problem(config: Config) -> Problem:
    """Return the problem of a config, for PyTorch with one thread: others would not survive a fork."""
    problem = replace(config.problem, threads=1) if isinstance(config.problem, Torch) else config.problem
    run = replace(config.run, device="cpu")
    plain = config._replace(run=run, problem=problem, algorithm=PLAIN, regularizer=Zero())
    return assemble(plain, SerialTransport()).problem


def _in_a_child(work: Callable[[], Any]) -> Any:
    """Return what a function returns in a process of its own, which begins as a copy of this one."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(work, send), daemon=True)
    # Python drops a KeyboardInterrupt that comes while it forks, in what modules let it do then
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        child.start()
        send.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        done, answer = receive.recv()
    except EOFError:
        child.join()
        raise MemoryError(
            f"the process that measures a window was ended (exit status {child.exitcode}), as if for lack of memory"
        ) from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if child.pid is not None:
            child.kill()
            child.join()
        receive.close()
    if not done:
        raise answer
    return answer


def _answer(work: Callable[[], Any], send: "Connection") -> None:
    """Do the work in a child, and send its result, or the error that it raised."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent, who gets it, too, ends this process
    with suppress(OSError, AttributeError):  # another system than Linux
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        answer = True, work()
    except Exception as error:
        answer = False, error
    send.send(answer)


class PartFile:
    """The measurements of a profile that is not complete yet, in a file beside it.

    Parameters
    ----------
    profile : path of the profile
    settings : what has to be the same, for measurements to belong together

    Attributes
    ----------
    path : of the file
    measured : what it has; nothing if there is no such file, or it is of other settings
    """

    def __init__(self, profile: str, settings: dict[str, Any]) -> None:
        self.path, self._settings = Path(os.path.realpath(profile) + ENDING), settings
        self.measured: list[Measured] = []
        with suppress(OSError, ValueError, TypeError, KeyError):  # missing, or no such file
            found = json.loads(self.path.read_text())
            if found["settings"] == json.loads(json.dumps(settings)):
                self.measured = [Measured(*each) for each in found["measured"]]

    def add(self, measured: Measured) -> None:
        """Add a measurement, and write all. Raises UsageError if that is not possible."""
        self.measured.append(measured)
        content = json.dumps({"settings": self._settings, "measured": self.measured})
        try:
            replace_file(self.path, content.encode())
        except OSError as error:
            raise UsageError(f"{self.path}: cannot write there: {error.strerror or error}") from error

    def remove(self) -> None:
        """Remove the file: the profile is complete."""
        self.path.unlink(missing_ok=True)


def measure_device(profiler: DeviceProfiler, part: PartFile) -> Iterator[Measured]:
    """Measure the windows that a file does not have yet, one by one, and add them to it."""
    known = {Window(each.first, each.last) for each in part.measured}
    for window in profiler.windows:
        if window not in known:
            part.add(profiler.measure(window))
            yield part.measured[-1]
