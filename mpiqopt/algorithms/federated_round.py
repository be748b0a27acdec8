"""One round of a federated method: who takes part, training, messages, and the server's step."""

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mpiqopt.algorithms.federated_plan import Plan, message_bytes, plan_round
from mpiqopt.emulation.settings import LONGEST
from mpiqopt.federation.deadline import LEFT_OUT, all_free
from mpiqopt.network.cohort_server import CohortMean
from mpiqopt.network.network import Network
from mpiqopt.placement.shared_rows import shared_rows
from mpiqopt.problems.client_training import Trained
from mpiqopt.problems.problem import Problem
from mpiqopt.streams import Streams

if TYPE_CHECKING:
    from mpiqopt.algorithms.federated import FederatedAlgorithm

# An array with a row for each hosted client, or () for what the method does not keep.
Rows = Any


class State(NamedTuple):
    """The state of a federated method; d coordinates, of which the shared ones travel.

    Attributes
    ----------
    x : (hosted, d): the common point, one row for all; with personal layers a row for each client
    first, second : (hosted, d) shared rows: what the server's optimiser keeps
    common : shared rows: what else the server sends to all clients, such as SCAFFOLD's c
    own : (hosted, .): what a client keeps, such as SCAFFOLD's c_i
    inner_first, inner_second, taken : (hosted, d), and int64 (hosted,): what clients' optimisers keep, and their steps
    error, server_error : (hosted, .) and shared rows: what coded messages have left out so far
    late : (hosted, .): updates that are still on their way
    busy : int64 (hosted, nodes) shared rows: until which round clients are at work on a late update
    seconds : of all rounds, as emulated
    t : rounds done
    """

    x: np.ndarray
    first: Rows
    second: Rows
    common: Rows
    own: Rows
    inner_first: Rows
    inner_second: Rows
    taken: Rows
    error: Rows
    server_error: Rows
    late: Rows
    busy: Rows
    seconds: float
    t: int


# Fields of the state that clients keep, of which a round changes some rows.
KEPT = ("own", "inner_first", "inner_second", "taken", "error", "late")


class FederatedRound:
    """A round from one state to the next, on the ranks together.

    Parameters
    ----------
    method : whose hooks say how clients train, what they send, and what the server does with it
    state : at the beginning; not changed
    problem, network, streams : of the run
    """

    def __init__(
        self, method: "FederatedAlgorithm", state: State, problem: Problem, network: Network, streams: Streams
    ):
        self.method, self.state, self.problem, self.network, self.streams = method, state, problem, network, streams
        self.layers = problem.layers(tuple(method.personal))
        self.width = method.width(problem)
        self.moving = self.layers.travelling_before(problem.client_trainer(streams).weights)
        self.feedback = method.feeds_back(network)
        self.damping = network.codec(self._kind()).damping if self.feedback else 1.0
        self.groups: np.ndarray | None = None  # int64 (nodes,), of which each has a mean of its own
        self.slowest = 0.0  # seconds of the slowest hosted client, where trainings take as long as they take here
        self.common = state.x[0]  # one object for all clients: what trains them moves it to a device once
        self.personal: dict[int, np.ndarray] = {}  # points of hosted clients with personal layers
        # whose arrays of what clients keep are changed row by row
        self.after = state._replace(**{name: rows.copy() for name in KEPT if len(rows := getattr(state, name))})

    def run(self) -> State:
        """Return the state after the round; it lasts as long as on the emulated clients."""
        began = time.perf_counter()
        plan = self._plan()
        self._download(plan)
        mean = self._train_and_upload(plan)
        after = self._serve(mean, plan)
        if self.network.emulate.sleep:
            lasts = min(max(after.seconds - self.state.seconds, self.slowest), LONGEST)
            time.sleep(max(0.0, lasts - (time.perf_counter() - began)))
        return after

    def _kind(self) -> np.ndarray:
        """Return an empty array of the messages' width and type."""
        return np.empty((0, self.width), self.problem.dtype)

    def _plan(self) -> Plan:
        """Draw the clients of the round, and find out whose updates are used."""
        busy = self.state.busy[0] if self.method.applies_late else all_free(self.network.place.nodes)
        return plan_round(self.method, self.problem, self.network, self.streams.seed, self.state.t, busy)

    def _download(self, plan: Plan) -> None:
        """Count what the clients of the round download, unless all get the coded change at its end."""
        if not self.method.two_way:
            nothing = np.broadcast_to(self.problem.dtype.type(0), self.width)  # everybody knows what it would be
            self.network.server.cohort.spread_to(nothing, plan.receivers, wait=False)

    def _train_and_upload(self, plan: Plan) -> np.ndarray:
        """Let the hosted clients of the round train and send: return the mean of what they send, (width,).

        With ``groups`` that of each, (groups, width).
        """
        place, network, dtype = self.network.place, self.network, self.problem.dtype
        uploads = network.server.cohort.begin(
            plan.senders,
            self.method.weights(self.problem.all_sizes)[plan.senders],
            network.coded,
            self.width,
            dtype,
            groups=self.groups,
            echo=self.feedback,
            wait=False,
        )
        now, due = set(plan.senders.tolist()), set(plan.due.tolist())
        trained: dict[int, Trained] = {}
        for node in _hosted(np.union1d(plan.trained, plan.due), place.first, place.last):
            i = node - place.first
            if node in due:
                row = self.state.late[i]
            else:
                trained[i], row = self._train(i)
            if node in now:
                self._upload(uploads, i, row)
            else:
                self.after.late[i] = row
        self._log(plan, trained, uploads.nbytes)
        return uploads.finish()

    def _train(self, i: int) -> tuple[Trained, np.ndarray]:
        """Train hosted client i: return what that came to, and what it sends (width,)."""
        method, state, after, layers = self.method, self.state, self.after, self.layers
        start = self._start(i)
        reached = np.empty_like(start)
        memory = tuple(rows[i] for rows in (after.inner_first, after.inner_second) if len(rows))
        trained = self.problem.client_trainer(self.streams).train(
            i,
            start,
            method.work(state.t),
            state.t,
            reached,
            method.correction(i, state),
            memory,
            int(state.taken[i]) if memory else 0,
        )
        if memory:
            after.taken[i] += trained.steps
        if method.personal:
            self.personal[i] = reached
        moved = layers.travel(reached)
        moved = np.subtract(moved, layers.travel(start), out=moved)
        return trained, method.payload(i, moved, trained, state, after)

    def _start(self, i: int) -> np.ndarray:
        """Return where hosted client i begins, (d,)."""
        return self.state.x[i] if self.method.personal else self.common

    def _upload(self, uploads: CohortMean, i: int, row: np.ndarray) -> None:
        """Send what client i sends, with what its earlier messages have left out."""
        node = self.network.place.first + i
        if not self.feedback:
            uploads.add(node, row)
            return
        wanted = self.after.error[i] + row
        heard = uploads.add(node, wanted)
        self.after.error[i] = wanted - self.damping * heard

    def _serve(self, mean: np.ndarray, plan: Plan) -> State:
        """Take the server's step along the mean of the updates, and return the state after the round."""
        after = self._advanced(plan, plan.arrivals.seconds)
        x = new = self.layers.travel(self.state.x[0])
        if len(plan.senders):
            share = len(plan.senders) / self.network.place.nodes
            new, after = self.method.receive(self.damping * mean, x, self.moving, share, after)
        if self.method.two_way:
            before, now = self.method.known(x, self.state), self.method.known(new, after)
            heard, after = self._announce(now - before, plan, after)
            new, after = self.method.learn(before + heard, after)
        return after._replace(x=self._rows(new))

    def _advanced(self, plan: Plan, seconds: float) -> State:
        """Return the state after the round but for what the server does. seconds: emulated, that it lasts."""
        after, hosted = self.after._replace(t=self.state.t + 1), len(self.state.x)
        if len(after.busy):
            after = after._replace(busy=shared_rows(plan.arrivals.busy_until, hosted))
        return after._replace(seconds=self.state.seconds + seconds)

    def _announce(self, change: np.ndarray, plan: Plan, after: State) -> tuple[np.ndarray, State]:
        """Send the coded change (width,) of what all know to all nodes: return what they hear, and the state."""
        network = self.network
        if self.feedback:
            change = change + after.server_error[0]
        heard = network.server.cohort.spread_to(change, plan.receivers, coded=network.coded, wait=False)
        heard = self.damping * heard
        if self.feedback:
            after = after._replace(server_error=shared_rows(change - heard, len(after.x)))
        return heard, after

    def _rows(self, x: np.ndarray) -> np.ndarray:
        """Return the rows of the clients, (hosted, d), of the coordinates x (p,) that travel and their own layers."""
        before = self.state.x
        if not self.method.personal:
            return shared_rows(x, len(before))
        rows = before.copy()
        for i, row in enumerate(rows):
            row[:] = self.layers.join(x, self.personal.get(i, before[i]))
        return rows

    def _log(self, plan: Plan, trained: dict[int, Trained], up_bytes: int) -> None:
        """Log the round for the hosted clients."""
        place, came = self.network.place, plan.arrivals
        columns = {name: np.zeros(place.nodes, np.int64) for name in ("sampled", "steps", "up_bytes", "down_bytes")}
        columns["sampled"][plan.cohort], columns["sampled"][plan.left_out] = came.outcome, LEFT_OUT
        columns["up_bytes"][plan.senders] = up_bytes
        columns["down_bytes"][plan.receivers] = message_bytes(self.method, self.problem, self.network)[0]
        seconds = np.zeros(place.nodes)
        seconds[plan.cohort] = plan.seconds
        own = {name: values[place.first : place.last] for name, values in (columns | {"seconds": seconds}).items()}
        for name in ("loss", "accuracy"):
            own[name] = np.full(place.hosted, np.nan)
        for i, result in trained.items():
            own["loss"][i], own["accuracy"][i], own["steps"][i] = result.loss, result.accuracy, result.steps
            if not self.network.emulate.gradient_seconds:  # else the plan has the seconds of training
                own["seconds"][i] += result.seconds
                self.slowest = max(self.slowest, own["seconds"][i])
        self.problem.client_trainer(self.streams).client_log.add(self.state.t, own)


def _hosted(nodes: np.ndarray, first: int, last: int) -> list[int]:
    """Return those of the nodes, ascending, that are first, first + 1, ... last - 1."""
    return nodes[(nodes >= first) & (nodes < last)].tolist()
