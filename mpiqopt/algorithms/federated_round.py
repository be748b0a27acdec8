"""One round of a federated method: who takes part, training, messages, and the server's step."""

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mpiqopt.algorithms.federated_plan import Late, Plan, none_late, plan_round
from mpiqopt.algorithms.federated_uploads import Heard, Uploads
from mpiqopt.algorithms.rollback import held_out_loss
from mpiqopt.emulation.settings import LONGEST
from mpiqopt.federation.deadline import LEFT_OUT, LOST, ROLLED_BACK, USED
from mpiqopt.network.network import Network
from mpiqopt.network.parts import Parts
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
    late_beside : float32 (hosted, .): of late updates what travels beside them, uncoded
    busy : int64 (hosted, nodes) shared rows: until which round clients are at work on a late update
    portions : int64 (hosted, nodes) shared rows: what of the model they train, where that differs
    accepted : held-out loss after the last step that was not taken back; inf before the first
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
    late_beside: Rows
    busy: Rows
    portions: Rows
    accepted: float
    seconds: float
    t: int


# Fields of what clients remember from round to round; all that they keep, of which a round changes some rows.
MEMORY = ("own", "inner_first", "inner_second", "taken", "error")
KEPT = (*MEMORY, "late", "late_beside")
# Fields of what the server and all clients have in common, which go back to before with a step that is taken back.
COMMON = ("x", "first", "second", "common", "server_error")


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
        self.portions = method.portions(problem, network, streams.seed)
        self.moving = self.layers.travelling_before(problem.client_trainer(streams).weights)
        self.feedback = method.feeds_back(network)
        self.damping = self._damping()  # (width of a message,), or one number
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
        trained, heard = self._train_and_upload(plan)
        after = self._serve(heard, plan)
        kept, taken_back = self._judged(after, plan)
        self._log(plan, trained, taken_back)
        if self.network.emulate.sleep:
            lasts = min(max(after.seconds - self.state.seconds, self.slowest), LONGEST)
            time.sleep(max(0.0, lasts - (time.perf_counter() - began)))
        return kept

    def _damping(self) -> np.ndarray | float:
        """Return by what coded messages are multiplied so that errors that are fed back do not grow."""
        parts, dtype = self.portions.parts, self.problem.dtype
        if not self.feedback:
            return 1.0
        sizes = parts.sizes.tolist()
        factors = [self.network.codec(np.empty((0, size), dtype)).damping if size else 1.0 for size in sizes]
        return parts.spread(np.array(factors), dtype)

    def _plan(self) -> Plan:
        """Draw the clients of the round, and find out whose updates are used."""
        state, late = self.state, none_late(self.network.place.nodes)
        if self.method.applies_late:
            late = Late(state.busy[0], state.portions[0] if len(state.portions) else late.portions)
        return plan_round(self.method, self.problem, self.network, self.streams.seed, state.t, late)

    def _download(self, plan: Plan) -> None:
        """Count what the clients of the round download, unless all get the coded change at its end."""
        if not self.method.two_way:
            self._spread_parts(self.problem.dtype, self.portions.parts, plan)
            self._spread_beside(plan)

    def _spread_beside(self, plan: Plan) -> None:
        """Count the download of what travels beside messages."""
        if self.portions.beside is not None:
            self._spread_parts(np.dtype(np.float32), self.portions.beside, plan)

    def _spread_parts(self, dtype: np.dtype, parts: Parts, plan: Plan) -> None:
        """Count the download of parts of vectors to those who receive them; everybody here knows what they are."""
        for size, receivers in zip(parts.sizes.tolist(), plan.receivers_of_parts(self.portions), strict=True):
            nothing = np.broadcast_to(dtype.type(0), size)
            self.network.server.cohort.spread_to(nothing, receivers, wait=False)

    def _train_and_upload(self, plan: Plan) -> tuple[dict[int, Trained], Heard]:
        """Let the hosted clients of the round train and send: return what trainings came to, and what the server hears.

        With ``groups`` the mean of each, (groups, width).
        """
        place, uploads = self.network.place, self._begin_uploads(plan)
        now, due = set(plan.senders.tolist()), set(plan.due.tolist())
        trained: dict[int, Trained] = {}
        for node in _hosted(np.union1d(plan.trained, plan.due), place.first, place.last):
            i = node - place.first
            if node in due:
                row, beside = self.state.late[i], self.state.late_beside[i] if uploads.beside else None
            else:
                trained[i], row = self._train(i, int(plan.portions[node]))
                beside = self.method.beside(trained[i], self.state) if uploads.beside else None
            if node in now:
                self._upload(uploads, i, row, beside)
            else:
                self.after.late[i] = row
                if beside is not None:
                    self.after.late_beside[i] = beside
        return trained, uploads.finish()

    def _begin_uploads(self, plan: Plan) -> Uploads:
        """Begin the means of what the senders of the round send, and count their bytes."""
        held = self.portions.held[plan.portions[plan.senders]]
        weights = self.method.weights(self.problem.all_sizes)[plan.senders]
        network, dtype = self.network, self.problem.dtype
        return Uploads(
            network, self.portions, plan.senders, held, weights, dtype, groups=self.groups, echo=self.feedback
        )

    def _train(self, i: int, portion: int) -> tuple[Trained, np.ndarray]:
        """Train a portion at hosted client i: return what that came to, and what it sends (width,)."""
        method, state, after, layers = self.method, self.state, self.after, self.layers
        start = self._start(i)
        reached = start.copy()  # some portions are written alone
        memory = tuple(rows[i] for rows in (after.inner_first, after.inner_second) if len(rows))
        trained = self.portions.trainer(self.problem, self.streams, portion).train(
            i,
            start,
            method.work(state.t),
            state.t,
            reached,
            method.correction(i, state),
            memory,
            int(state.taken[i]) if memory else 0,
            **self.portions.partial(portion, state),
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

    def _upload(self, uploads: Uploads, i: int, row: np.ndarray, beside: np.ndarray | None) -> None:
        """Send what client i sends, with what its earlier messages have left out."""
        node = self.network.place.first + i
        if beside is not None and uploads.beside is not None:
            uploads.beside.add(node, beside)
        if not self.feedback:
            uploads.messages.add(node, row)
            return
        wanted = self.after.error[i] + row
        heard = uploads.messages.add(node, wanted)
        self.after.error[i] = wanted - self.damping * heard

    def _serve(self, heard: Heard, plan: Plan) -> State:
        """Take the server's step along the mean of the updates, and return the state after the round."""
        after = self._advanced(plan, plan.arrivals.seconds)
        x = new = self.layers.travel(self.state.x[0])
        if len(plan.senders):
            share = len(plan.senders) / self.network.place.nodes
            new, after = self.method.receive(self._aggregated(heard), x, self.moving, share, after)
            after = self.method.receive_beside(heard, self.portions, after)
        if self.method.two_way:
            self._spread_beside(plan)
            before, now = self.method.known(x, self.state), self.method.known(new, after)
            change, after = self._announce(now - before, plan, after)
            new, after = self.method.learn(before + change, after)
        return after._replace(x=self._rows(new))

    def _aggregated(self, heard: Heard) -> np.ndarray:
        """Return what the server's step is along, (width,): the mean, each part times what its senders count for."""
        mean, parts = self.damping * heard.mean, self.portions.parts
        return mean if parts.whole else mean * parts.spread(self.method.counts_for(heard.coverage), mean.dtype)

    def _judged(self, after: State, plan: Plan) -> tuple[State, bool]:
        """Return the state after the round, and True if the server's step was taken back: the held-out loss jumps.

        Then what its senders keep goes back, too, as if they had not been there: else SCAFFOLD's c would no longer be
        the mean of the c_i, and numbers that are none would stay. Clients that are late go on.
        """
        if not self.method.rollback:
            return after, False
        loss, place = held_out_loss(self.problem, self.network, after.x[0]), self.network.place
        if loss <= self.method.rollback_threshold * self.state.accepted:
            return after._replace(accepted=loss), False
        senders = np.array(_hosted(plan.senders, place.first, place.last), np.int64) - place.first
        for name in MEMORY:
            if len(rows := getattr(after, name)):
                rows[senders] = getattr(self.state, name)[senders]
        return after._replace(**{name: getattr(self.state, name) for name in COMMON}), True

    def _advanced(self, plan: Plan, seconds: float) -> State:
        """Return the state after the round but for what the server does. seconds: emulated, that it lasts."""
        after, hosted = self.after._replace(t=self.state.t + 1), len(self.state.x)
        if len(after.busy):
            after = after._replace(busy=shared_rows(plan.late.busy, hosted))
        if len(after.portions):
            after = after._replace(portions=shared_rows(plan.late.portions, hosted))
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

    def _log(self, plan: Plan, trained: dict[int, Trained], taken_back: bool) -> None:
        """Log the round for the hosted clients. taken_back: True if the server's step was."""
        place, sent = self.network.place, plan.sent
        columns = {name: np.zeros(place.nodes, np.int64) for name in ("sampled", "steps", "up_bytes", "down_bytes")}
        outcome = plan.arrivals.outcome
        columns["sampled"][plan.cohort] = np.where(taken_back & (outcome == USED), ROLLED_BACK, outcome)
        columns["sampled"][plan.left_out], columns["sampled"][plan.lost] = LEFT_OUT, LOST
        columns["up_bytes"][plan.senders] = sent.up(plan.portions[plan.senders])
        columns["down_bytes"][plan.receivers] = sent.down(plan.portions[plan.receivers])
        seconds = np.zeros(place.nodes)
        seconds[plan.cohort] = plan.seconds
        columns |= self.portions.columns(plan)
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
