"""Every part keeps what its family promises (compressors: test_compressors.py), and every promise can be broken."""

import numpy as np
import pytest
from tools.data_files import write_samples
from tools.methods import OF_NETWORKS

from mpiqopt import registry
from mpiqopt.cli import main
from mpiqopt.config.build import build_from_config
from mpiqopt.contracts.contract import checks_of_family
from mpiqopt.registry import FOLDERS, family_members

# Settings of parts that have none of their own, and more than one of those whose settings matter.
SETTINGS = {
    ("algorithm", "sign-sgd"): [{"step_size": 0.01}],
    ("algorithm", "proxgt-sa"): [{"batch_size": 5}],
    ("algorithm", "proxgt-sr-o"): [{"batch_size": 3, "large_batch_size": 11, "epoch_length": 7}],
    ("algorithm", "coordinated-prox-gradient"): [
        {},
        {"accelerated": True},
        {"accelerated": True, "strong_convexity": 0.0, "step_size": 0.3},
        {"estimator": "sr-e"},
    ],
    ("problem", "logistic"): [{}, {"l2": 0.3, "nonconvex": 0.2}],
    ("regularizer", "l1"): [{"weight": 0.4}],
    ("regularizer", "elastic-net"): [{"weight": 0.7, "l1_ratio": 0.3}],
    ("regularizer", "box"): [{"lower": -0.5, "upper": 0.8}],
    ("regularizer", "group-l1"): [{"weight": 0.6, "group_size": 3}],
    # a smooth network, for differences of values
    ("problem", "torch"): [{"options": {"hidden": [6], "activation": "tanh"}}],
    # on a network: int8 in single precision, and float
    ("algorithm", "cocofl"): [{"step_size": 0.05}, {"step_size": 0.05, "frozen": "float", "frozen_after": "float"}],
    ("algorithm", "heterofl"): [{"step_size": 0.05}],
    ("algorithm", "diloco"): [{"local_steps": 5}],  # of the 100 by default, which take long
    ("topology", "file"): [{"path": "graph.edges"}],
    ("topology", "erdos-renyi"): [{"seed": 2}],
    ("data", "synthetic"): [{"samples": 1100}, {"samples": 90, "task": "classification", "classes": 3}],
    **{("data", kind): [{"path": f"data.{kind}"}] for kind in ("csv", "libsvm", "npz", "hdf5", "parquet")},
    ("data", "idx"): [{"path": "data.idx", "labels_path": "labels.idx"}],
    ("data", "images"): [{"path": "data.images"}],
    ("data", "text"): [{"path": "data.text", "context": 6}],
    ("data", "python-text"): [{"characters": 20_000}],
}
# Somewhere else, or not everywhere: mnist-5k has tests of its own.
AWAY = ("openml", "mnist-5k")
PARTS = [
    (family, name, settings)
    for family in FOLDERS
    for name in family_members(family)
    for settings in SETTINGS.get((family, name), [{}])
    if family != "compressor" and name not in AWAY
]


@pytest.mark.parametrize(
    ("family", "name", "settings", "check"),
    [
        pytest.param(
            *part,
            check,
            id="-".join([*part[:2], *map(str, part[2].values()), check.__name__]),
            marks=[pytest.mark.torch] if part[1] in ("torch", *OF_NETWORKS) else [],
        )
        for part in PARTS
        for check in checks_of_family(part[0])
    ],
)
def test_parts_keep_their_promises(family, name, settings, check, tmp_path):
    if settings.get("path") == "graph.edges":
        (tmp_path / "graph.edges").write_text("0 1\n1 2\n2 0\n2 3\n")
    elif "path" in settings:
        rng = np.random.default_rng(0)
        features = np.where(rng.random((53, 6)) < 0.4, rng.standard_normal((53, 6)).round(3), 0)
        features[0, 5] = 1.0
        write_samples(name, tmp_path / settings["path"], features, rng.integers(0, 2, 53).astype(float))
    with np.errstate(all="ignore"):
        reason = check(build_from_config(family, {"name": name, **settings}, str(tmp_path / "test.toml")))
    if reason:
        pytest.skip(reason)


MINE = '\n@register("{family}", "mine")\n@part\nclass Mine({base}):\n'
STEP = "    def step(self, state, problem, network, rng):\n"
INIT = "    def init(self, x, problem, network, rng): return State(x, x.copy())\n"
GOOD = "        x = network.mix(state.x) - self.step_size * problem.grad(state.x)\n"
IDENTITY = (
    "    def nbytes(self, d, dtype): return 8 * d\n"
    "    def encode(self, x, messages, draw):\n"
    "        if not np.isfinite(x).all():\n"
    "            raise NotFinite(int(np.argmin(np.isfinite(x).all(axis=1))))\n"
    "        messages.view(np.float64)[:] = x\n"
    "    def decode(self, messages, x, draw): x[:] = messages.view(np.float64)\n"
    "    def delta(self, d): return 1.0\n"
)
NODE = "    def node(self, features, targets, x):\n        r = row_products(features, x[None])[:, 0] - targets\n"
GRADIENT = "row_products(features.T, r[None])[:, 0] / len(r)\n"
TABLE = "    def open(self, seed):\n        a = np.arange(60.0).reshape(20, 3)\n"
SUMS = (
    "    def start(self, site, values):\n"
    "        return {'site': site, 'known': {site.node: values}, 'fresh': [site.node], 'steps': 0}\n"
    "    def step(self, node):\n"
    "        fresh, node['fresh'], node['steps'] = node['fresh'], [], node['steps'] + 1\n"
    "        return [Message(k, i, node['known'][i]) for i in fresh for k in range(node['site'].links_out)]\n"
    "    def absorb(self, node, label, values):\n"
    "        if label not in node['known']:\n"
    "            node['known'][label] = values\n"
    "            node['fresh'].append(label)\n"
    "    def look(self, node):\n"
    "        if len(node['known']) == node['site'].nodes:\n"
    "            return sum(node['known'].values())\n"
)
RING = "np.stack([np.arange(self.nodes), (np.arange(self.nodes) + 1) % self.nodes], axis=1)"

# What is right, and by the check that notices it what is wrong: family, base class, body and a part of what is said.
RIGHT = {
    "algorithm": ("DGD", INIT + STEP + GOOD + "        return State(x, state.other)\n"),
    "compressor": ("Compressor", IDENTITY),
    "problem": ("Loss", "    curvature = 1.0\n" + NODE + "        return np.mean(r * r) / 2, " + GRADIENT),
    "regularizer": ("L1", "    pass\n"),
    "topology": ("Graph", f"    def edges(self): return {RING}\n"),
    "data": ("Source", TABLE + "        return source_table('mine', a, np.arange(20.0))\n"),
    "coordinator": ("NodeProtocol", SUMS),
}
WRONG = [
    (
        "state is a named tuple of rows",
        "algorithm",
        "    def init(self, x, *others): return {'x': x}\n" + STEP + "        return state\n",
        "init() returns a dict",
    ),
    (
        "types and shapes stay",
        "algorithm",
        INIT + STEP + GOOD + "        return State(x.astype('d'), state.other)\n",
        "x of the state is float64 8x5 after iteration 1, was float32 8x5",
    ),
    (
        "step leaves its state alone",
        "algorithm",
        INIT + STEP + GOOD + "        state.other[:] += 1\n        return State(x, state.other)\n",
        "other of the state that step() got is changed by it: 40 values differ",
    ),
    (
        "same state gives same bits",
        "algorithm",
        INIT + STEP + GOOD + "        return State(x + 1e-9 * np.random.random(), state.other)\n",
        "x of the state is another when step() is called again",
    ),
    (
        "checkpoint goes on",
        "algorithm",
        INIT
        + STEP
        + "        problem.calls = getattr(problem, 'calls', 0) + 1\n"
        + GOOD
        + "        return State(x / problem.calls, state.other)\n",
        "x of the state after a checkpoint is another",
    ),
    (
        "rounds are as predicted",
        "algorithm",
        INIT + STEP + GOOD + "        return State(network.mix(x), state.other)\n",
        "5 iterations take 10 rounds, want 5",
    ),
    (
        "objective falls",
        "algorithm",
        INIT + STEP + "        return State(network.mix(state.x) + 0.01 * problem.grad(state.x), state.other)\n",
        "at the start and",
    ),
    (
        "every node reaches the optimum",
        "algorithm",
        "    exact = True\n" + RIGHT["algorithm"][1],
        "after 1500 iterations, want 1e-14",
    ),
    (
        "size is that of the messages",
        "compressor",
        IDENTITY.replace("8 * d", "8.0 * d"),
        "nbytes(1) is 8.0, want a whole",
    ),
    (
        "every byte is written",
        "compressor",
        IDENTITY.replace("messages.view(np.float64)[:] = x", "messages.view(np.float64)[:, 1:] = x[:, 1:]"),
        "bytes over 0x55 and 0xAA",
    ),
    (
        "same keys give same bytes",
        "compressor",
        IDENTITY.replace("[:] = x", "[:] = x + np.random.random()"),
        "bytes of a second message",
    ),
    (
        "input is left alone",
        "compressor",
        IDENTITY.replace("        messages.view", "        x *= 1\n        messages.view"),
        "read-only",
    ),
    (
        "rows are independent",
        "compressor",
        IDENTITY.replace("[:] = x\n", "[:] = x - 1e-9 * x.mean()\n"),
        "message of row 0 alone",
    ),
    ("mean error is within its bound", "compressor", IDENTITY.replace("[:] = x\n", "[:] = 0.9 * x\n"), "is 0.01, want"),
    (
        "damped it contracts",
        "compressor",
        IDENTITY.replace("[:] = x\n", "[:] = 3 * x\n").replace("return 1.0", "return 0.1"),
        "E|damping C(x) - x|^2/|x|^2 is 4, want at most 0.9",
    ),
    (
        "mean is x",
        "compressor",
        IDENTITY.replace("[:] = x\n", "[:] = 0.9 * x\n").replace(
            "delta(self, d): return 1.0", "omega(self, d): return 1.0"
        ),
        "E C(x) - x is",
    ),
    (
        "mean of messages is that of vectors",
        "compressor",
        IDENTITY + "    def decode_mean(self, messages, x, draw): self.decode(messages[0], x, draw)\n",
        "decode_mean of 2 nodes is off by",
    ),
    (
        "not finite is refused",
        "compressor",
        IDENTITY.replace("if not", "if False and not"),
        "NotFinite of row None, want 0 for nan",
    ),
    (
        "broken messages do no harm",
        "compressor",
        IDENTITY.replace("x[:] = messages.view(np.float64)", "x.base[:] = messages.view(np.float64)"),
        "decode() writes beside its row",
    ),
    (
        "node returns value and gradient",
        "problem",
        NODE + "        return np.mean(r * r) / 2, x[:3]\n",
        "node() returns a gradient of shape (3,), want (7,) (numbers)",
    ),
    (
        "gradient is that of the value",
        "problem",
        "    curvature = 1.0\n" + NODE + "        return np.mean(r * r), " + GRADIENT,
        "gradient against finite differences (numbers): relative error",
    ),
    (
        "points and data are left alone",
        "problem",
        "    curvature = 1.0\n" + NODE + "        targets *= 0.99\n        return np.mean(r * r) / 2, " + GRADIENT,
        "a second evaluation (numbers)",
    ),
    (
        "common point is equal rows",
        "problem",
        NODE + "        CALLS.append(0)\n        r = r + 1e-9 * len(CALLS)\n"
        "        return np.mean(r * r) / 2, " + GRADIENT,
        "a common point (numbers)",
    ),
    (
        "batches are means over samples",
        "problem",
        NODE + "        return np.sum(r * r) / 2, " + GRADIENT.replace(" / len(r)", ""),
        "gradient of a batch (numbers): relative error",
    ),
    (
        "curvature bounds the hessian",
        "problem",
        RIGHT["problem"][1].replace("curvature = 1.0", "curvature = 0.5"),
        "v^T H v =",
    ),
    (
        "single precision agrees",
        "problem",
        "    curvature = 1.0\n" + NODE + "        r = r.astype('e').astype(r.dtype) if x.dtype == 'f' else r\n"
        "        return np.mean(r * r) / 2, " + GRADIENT,
        "in float32 (numbers): relative error",
    ),
    (
        "sparse rows are as good",
        "problem",
        RIGHT["problem"][1].replace("row_products(features, x[None])[:, 0]", "np.dot(features, x)"),
        "Error",
    ),
    ("value is a number", "regularizer", "    def __call__(self, x): return None\n", "h(x) is None, want a float"),
    (
        "prox keeps type and argument",
        "regularizer",
        "    def prox(self, x, step): return x.astype('d') / 1\n",
        "prox of float32 (5, 8) is float64 (5, 8)",
    ),
    (
        "prox treats rows one by one",
        "regularizer",
        "    def prox(self, x, step): return super().prox(x, step) + x.dtype.type(1e-3 * len(x.shape))\n",
        "rows of prox (float64): 40 values differ",
    ),
    (
        "prox minimises",
        "regularizer",
        "    def prox(self, x, step): return super().prox(x, 2 * step)\n",
        "of prox(x) is",
    ),
    (
        "matrices are sorted rows of numbers",
        "topology",
        RIGHT["topology"][1]
        + "    def cycle(self): return [m._replace(columns=m.columns[::-1].copy()) for m in super().cycle()]\n",
        "columns do not ascend in",
    ),
    (
        "weights sum to one",
        "topology",
        RIGHT["topology"][1]
        + "    def cycle(self): return [m._replace(weights=m.weights * 0.9) for m in super().cycle()]\n",
        "of W sums to 0.9, want 1, for 8 nodes",
    ),
    ("repeated mixing averages", "topology", "    def edges(self): return [(0, 1)]\n", "the graph is not connected"),
    (
        "same seed same graph",
        "topology",
        "    def edges(self): return np.random.default_rng().integers(0, self.nodes, (99, 2))\n",
        "made again for",
    ),
    (
        "table has a target for each row",
        "data",
        TABLE + "        return Table('mine', np.arange(20.0), 4, lambda which: a[which])\n",
        "rows are (20, 3), want (targets, features) = (20, 4)",
    ),
    (
        "rows are the same however asked",
        "data",
        TABLE + "        return Table('mine', np.arange(20.0), 3, lambda which: a[which] if isinstance(which, slice) "
        "else a[which][::-1])\n",
        "rows(indices)",
    ),
    (
        "opened again it is the same",
        "data",
        TABLE + "        return source_table('mine', a + np.random.random(), np.arange(20.0))\n",
        "rows of a second table",
    ),
    (
        "shape is that of the rows",
        "data",
        TABLE + "        return source_table('mine', a, np.arange(20.0), shape=(1, 2, 2))\n",
        "shape (1, 2, 2) has 4 numbers, want 3, the features",
    ),
    (
        "shape is that of the rows",
        "data",
        TABLE + "        return source_table('mine', a, np.arange(20.0), shape=(3,), vocabulary='abc')\n",
        "some tokens are none of 0 .. 2",
    ),
    (
        "sum is exact in steps",
        "coordinator",
        SUMS.replace("sum(node['known'].values())", "sum(node['known'].values()) + 5"),
        "floor(S/n) in call 0 on path of 2: 4 values differ, the first at (0,)",
    ),
    (
        "sum is exact when frames are lost",
        "coordinator",
        SUMS.replace("len(node['known']) == node['site'].nodes", "node['steps'] >= node['site'].diameter"),
        "floor(S/n) by mailboxes in call 0",
    ),
    (
        "number of ranks makes no difference",
        "coordinator",
        SUMS + "    def rules(self, wiring, overlay, d, seed):\n"
        "        return super().rules(wiring._replace(first=0), overlay, d, seed)\n",
        "on 2 ranks",
    ),
]


def source(family: str, body: str) -> str:
    imports = "from mpiqopt.data.source import Source, Table, source_table\nfrom mpiqopt.errors import NotFinite\n"
    imports += "from mpiqopt.arithmetic.products import row_products\nCALLS = []\n"
    imports += "from mpiqopt.coordination.protocol import Message, NodeProtocol\n"
    return imports + MINE.format(family=family, base=RIGHT[family][0]) + body


@pytest.mark.parametrize("family", RIGHT)
def test_what_is_right_keeps_everything(family, plugin, capsys):
    assert main(["test", plugin(source(family, RIGHT[family][1]))]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(checks_of_family(family)) + 1
    assert all(line.startswith(f"{family} mine: ") and ("ok" in line or "not claimed" in line) for line in lines[:-1])
    assert lines[-1] == "all kept"


@pytest.mark.parametrize(("claim", "family", "body", "said"), WRONG, ids=[claim for claim, *_ in WRONG])
def test_what_is_wrong_is_noticed(claim, family, body, said, plugin, capsys):
    """By the check for it, with what was found; the line is one, and the status is 1."""
    assert main(["test", plugin(source(family, body))]) == 1
    out, err = capsys.readouterr()
    broken = [line for line in out.splitlines() if line.startswith(f"{family} mine: {claim}: BROKEN: ")]
    assert len(broken) == 1, out
    assert said in broken[0]
    assert err == ""
    assert out.splitlines()[-1].endswith(" broken")


def test_every_check_is_broken_once():
    claims = {(family, check.__name__.replace("_", " ")) for family in FOLDERS for check in checks_of_family(family)}
    assert {(family, claim) for claim, family, *_ in WRONG} == claims


def test_an_error_of_the_plugin_is_what_is_said(plugin, capsys):
    """File, function and line, not a traceback; the other checks go on."""
    body = INIT + STEP + "        return [][3]\n"
    assert main(["test", plugin(source("algorithm", body))]) == 1
    out, err = capsys.readouterr()
    assert (
        "types and shapes stay: BROKEN: IndexError: list index out of range (--plugin mine.py: Mine.step, line" in out
    )
    assert "state is a named tuple of rows: ok" in out
    assert "Traceback" not in out + err


def test_keys_are_given_by_name_of_the_part(plugin, capsys):
    """A key without a default has to be."""
    path = plugin(source("regularizer", "    much: float\n    pass\n"))
    assert main(["test", path]) == 2
    assert "regularizer.much: missing; it has no default (--set mine.KEY=VALUE gives a key)" in capsys.readouterr().err
    assert main(["test", path, "--set", "mine.much=2.0"]) == 0
    for word, said in (
        ("mine.mch=2", "unknown key (did you mean 'much'?)"),
        ("yours.much=2", "no part 'yours' here; parts: mine"),
        ("much=2", "want NAME.KEY=VALUE"),
        ("mine.much=word", "regularizer.much = 'word': want a valid number"),
    ):
        assert main(["test", path, "--set", word]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("text", ["1/0", "sys.exit(0)", "x = 1", "def f(:", "register('data', 'x')"])
def test_a_file_that_is_no_plugin_is_status_2(text, plugin, capsys):
    assert main(["test", plugin(text)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "mine.py" in err


def test_the_examples_keep_what_they_promise(capsys, monkeypatch):
    from pathlib import Path

    monkeypatch.setattr(registry, "plugins", {})
    folder = Path(__file__).parent.parent / "docs" / "examples"
    examples = [path for path in sorted(folder.glob("*.py")) if path.stem != "own_model"]  # a network is no plug-in
    try:
        assert main(["test", *map(str, examples)]) == 0
    finally:
        for path in [*registry.plugins]:
            registry._forget(path)
    said = capsys.readouterr().out
    for part in ("algorithm heavy-ball-dgd", "compressor int8", "problem huber", "topology wheel"):
        assert f"{part}: " in said


@pytest.mark.mpi
def test_it_speaks_once_under_a_launcher(plugin, mpiqopt):
    result = mpiqopt("test", plugin(source("topology", RIGHT["topology"][1])), ranks=2)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == len(checks_of_family("topology")) + 1
