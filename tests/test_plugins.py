"""Plug-ins that are wrong: status 2 and one line that names file, class and reason; what is right stays possible."""

import os
import sys

import pytest
from tools.methods import GENERAL
from tools.plugins import HEAD

from mpiqopt import registry
from mpiqopt.cli import main
from mpiqopt.registry import family_members

# number of the first line of what follows
FIRST = HEAD.count("\n") + 1
# what Python says of bytes of 0 in its files
NOT_TEXT = "SyntaxError" if sys.version_info >= (3, 11, 4) else "ValueError"


def line(capsys, *arguments: str) -> str:
    """Return the one line of a command that is refused."""
    assert main([*arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mpiqopt: ")
    assert err.count("\n") == 1
    assert len(err) <= 201
    return err


def algorithm(body: str, base: str = "DGD") -> str:
    return f'@register("algorithm", "mine")\n@part\nclass Mine({base}):\n    """Mine."""\n    ' + body.replace(
        "\n", "\n    "
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1/0", f"mine.py: ZeroDivisionError: division by zero (line {FIRST})"),
        ("sys.exit(3)", f"mine.py: SystemExit: 3 (line {FIRST})"),
        ("sys.exit()", f"mine.py: SystemExit (line {FIRST})"),
        ("raise GeneratorExit", f"mine.py: GeneratorExit (line {FIRST})"),
        ("raise ValueError('\\x1b[31m' + 'long\\n' * 900)", r"ValueError: \x1b[31mlong long"),
        ("def f(:", f"SyntaxError: invalid syntax (mine.py, line {FIRST})"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("register('algoritm', 'mine')", "unknown family (did you mean 'algorithm'?); families: data, problem"),
        ("register('algorithm', 'two words')(DGD)", "has the name 'dgd' already"),
        ("@register('algorithm', 'two words')\n@part\nclass Mine(DGD): pass", "want a name without spaces"),
        ("@register('algorithm', 3)\n@part\nclass Mine(DGD): pass", "want a name without spaces"),
        ("register('algorithm', 'extra')(DGD)", "'extra'"),
        (
            "@register('algorithm', 'mine')\ndef f(): pass",
            "f is no class derived from mpiqopt.algorithms.algorithm.Algor",
        ),
        (
            "@register('problem', 'mine')\n@part\nclass Mine(DGD): pass",
            "Mine is no class derived from mpiqopt.problems",
        ),
        (algorithm("def init(self, x, *others): return State(x)", "Algorithm"), "class Mine lacks step()"),
        ("@register('topology', 'mine')\n@part\nclass Mine(Graph): pass", "class Mine lacks edges()"),
        ("@register('compressor', 'mine')\n@part\nclass Mine(Compressor): pass", "lacks decode(), encode(), nbytes()"),
        (
            "@register('algorithm', 'mine')\nclass Mine(DGD):\n    factor: float = 1.0",
            "is no dataclass, so 'factor' is no",
        ),
        (
            "@register('algorithm', 'mine')\n@part\nclass Mine(DGD):\n    name: str = 'a'",
            "has a field 'name', which is a key of every table",
        ),
        ("@register('algorithm', 'mine')\n@part\nclass Mine(DGD):\n    name: str", "has a field 'name'"),
        (algorithm("factor: 'Nothing' = 1.0"), "types of the fields of class Mine: NameError: name 'Nothing'"),
        (algorithm("factor: np.ndarray = None"), "types of the fields of class Mine: PydanticSchemaGenerationError"),
        (
            "@register('algorithm', 'mine')\n@dataclass\nclass Mine(DGD):\n    factor: float = 1.0",
            "cannot inherit non-froz",
        ),
    ],
)
@pytest.mark.parametrize("command", ["run", "list"])
def test_a_plugin_that_cannot_be_loaded(command, text, said, plugin, config, capsys):
    """One line of at most 200 characters, whatever the file does; nothing of it stays registered."""
    before = {family: set(family_members(family)) for family in registry.FOLDERS}
    arguments = [config(), "-q"] if command == "run" else []
    assert said in line(capsys, command, *arguments, "--plugin", plugin(text))
    assert {family: set(family_members(family)) for family in registry.FOLDERS} == before
    assert registry.plugins == {}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.mkdir(), "mine.py: is a folder"),
        (lambda path: path.write_bytes(bytes(range(256)) * 9), f"mine.py: {NOT_TEXT}"),
        (lambda path: path.write_bytes(b"\xff\xfe\xfa"), "mine.py: SyntaxError: (unicode error)"),
        (lambda path: os.mkfifo(path), "mine.py: no such Python file"),
        (lambda path: path.symlink_to(path.name), "mine.py: no such Python file"),
        (lambda path: None, "mine.py: no such Python file"),
    ],
    ids=["folder", "binary", "other encoding", "fifo", "link to itself", "nothing"],
)
def test_a_plugin_that_is_no_python_file(make, said, plugin, capsys, tmp_path):
    make(tmp_path / "mine.py")
    assert said in line(capsys, "list", "--plugin", "mine.py")


def test_a_path_that_no_file_can_have(plugin, capsys):
    assert main(["list", "--plugin", "b" * 260]) == 2
    assert capsys.readouterr().err.endswith("b: File name too long\n")


NAMES = [(family, name) for family in ("topology", "algorithm", "compressor") for name in family_members(family)]


@pytest.mark.parametrize(("family", "name"), NAMES[:: len(NAMES) // 12])
@pytest.mark.parametrize("same_class", [True, False])
def test_no_plugin_takes_the_name_of_a_part(same_class, family, name, plugin, capsys):
    """Whatever its class is called and whether the part was imported before: both are named."""
    theirs = family_members(family)[name]
    text = f"from {theirs.__module__} import {theirs.__name__} as Base\n"
    own = theirs.__name__ if same_class else "Mine"
    text += f"@register({family!r}, {name!r})\n@part\nclass {own}(Base): pass\n"
    said = line(capsys, "list", "--plugin", plugin(text))
    assert f"{family} {name!r} is there already, by {theirs.__name__} of {theirs.__module__}: {own} of mine" in said


def test_two_plugins_of_one_name(plugin, capsys):
    """Refused if they register the same name, even if the files and classes are called alike; fine if they do not."""
    one, other = plugin(algorithm("pass"), "a/mine.py"), plugin(algorithm("pass"), "b/mine.py")
    said = line(capsys, "list", "--plugin", one, "--plugin", other)
    assert "algorithm 'mine' is there already, by Mine of a/mine.py: Mine of b/mine.py wants another name" in said
    other = plugin(algorithm("pass").replace('"mine"', '"yours"'), "b/mine.py")
    assert main(["list", "algorithm", "--plugin", one, "--plugin", other, "--plugin", f"./{one}"]) == 0
    assert {"mine", "yours"} <= set(family_members("algorithm"))
    assert len({family_members("algorithm")[name].__module__ for name in ("mine", "yours")}) == 2


@pytest.mark.mpi
def test_two_plugins_of_one_file_name_on_two_ranks(plugin, config, mpiqopt):
    """Classes are handed to other ranks by the name of their module."""
    words = [word for path in ("a/mine.py", "b/mine.py") for word in ("--plugin", path)]
    plugin(algorithm("pass"), "a/mine.py")
    plugin('@register("regularizer", "mine")\n@part\nclass Mine(L1):\n    proximal = True', "b/mine.py")
    path = config(algorithm={"name": "mine"})
    assert mpiqopt("run", path, "-q", *words, ranks=2).returncode == 0


def test_a_plugin_that_has_changed_is_run_again(plugin, capsys):
    assert main(["list", "--plugin", plugin(algorithm("pass"))]) == 0
    plugin(algorithm("pass").replace('"mine"', '"yours"'))
    assert main(["list", "--plugin", "mine.py"]) == 0
    assert "yours" in family_members("algorithm")
    assert "mine" not in family_members("algorithm")


STEPS = {
    "float64 through mix_coded": (
        'default_compressor = "identity"\n'
        "def step(self, state, problem, network, rng):\n"
        "    return State(state.x + network.gossip.mix_coded(state.x)[1])",
        "x of the state is float64 8x7 after iteration 1, was float32 8x7 at the start",
    ),
    "another shape": (
        "def step(self, state, *others):\n    return State(state.x, np.zeros((8, 3)))",
        "other of the state is float64 8x3 after iteration 1, was float64 8x2 at the start",
    ),
    "another layout": (
        "def step(self, state, *others):\n    return State(state.x, np.asfortranarray(state.other))",
        "other of the state is float64 8x2 not C-contiguous after iteration 1, was float64 8x2",
    ),
    "a number": (
        "def step(self, state, *others):\n    return State(state.x, 0)",
        "other of the state is a int after iteration 1, was float64 8x2 at the start",
    ),
    "no tuple": (
        "def step(self, state, *others):\n    return state.x",
        "x of the state is a NoneType after iteration 1, was float32 8x7",
    ),
    "nothing": ("def step(self, state, *others):\n    pass", "x of the state is a NoneType after iteration 1"),
    "later": (
        "def step(self, state, problem, network, rng):\n"
        "    x = network.mix(state.x)\n"
        "    return State(x.astype(np.float64) if network.traffic.rounds == 20 else x, state.other)",
        "x of the state is float64 8x7 after iteration",
    ),
}
INIT = "\ndef init(self, x, *others):\n    return State(x, np.zeros((len(x), 2)))"


@pytest.mark.parametrize("kind", STEPS)
def test_a_state_that_changes_its_form(kind, plugin, config, capsys):
    """The field, the iteration, what it is and what it was."""
    step, said = STEPS[kind]
    path = config(run={"iterations": 40, "dtype": "float32"}, algorithm={"name": "mine", "step_size": 0.1})
    words = ["--set", "record.every=20", "--plugin", plugin(algorithm(step + INIT, "Algorithm"))]
    assert f"algorithm 'mine': {said}" in line(capsys, "run", path, "-q", *words)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[x]", "init() returns a list, want a NamedTuple whose first field is x"),
        ("None", "init() returns a NoneType, want a NamedTuple"),
        ("NamedTuple('Other', [('y', object)])(x)", "init() returns a NamedTuple of y: want x as its first field"),
        ("State(x[:, :3])", "init() returns x as float64 8x3 not C-contiguous, want float64 8x7"),
        ("State(x.astype('f'))", "init() returns x as float32 8x7, want float64 8x7"),
        ("State(x, [1])", "init() returns other as a list, want an array with a row for each of the 8 nodes"),
        ("State(x, x[0])", "init() returns other as float64 7, want an array with a row for each of the 8 nodes"),
        ("State(x, np.array([None] * 8))", "init() returns other as object 8, want an array with a row"),
    ],
)
def test_a_state_that_is_none(value, said, plugin, config, capsys):
    path = config(algorithm={"name": "mine", "step_size": 0.1})
    text = algorithm(f"def init(self, x, *others):\n    return {value}")
    assert said in line(capsys, "run", path, "-q", "--plugin", plugin(text))


def test_the_package_s_own_methods_keep_their_form(config, tmp_path, monkeypatch):
    """float32, coded where messages are coded; also by mailboxes and in the background."""
    monkeypatch.chdir(tmp_path)
    settings = {"sign-sgd": {"step_size": 0.01}, "proxgt-sa": {"batch_size": 5}, "proxgt-sr-o": {"large_batch_size": 9}}
    settings["proxgt-sr-o"] |= {"batch_size": 3, "epoch_length": 4}
    for name, cls in GENERAL.items():
        variants = {"coordination": "mailboxes", "execution": "asynchronous"}
        for more in [{}, *({key: value} for key, value in variants.items() if hasattr(cls, key))]:
            coded = {"compressor": {"name": "qsgd"}} if cls.default_compressor == "identity" else {}
            table = {"name": name, **settings.get(name, {}), **more}
            path = config(run={"iterations": 9, "dtype": "float32"}, algorithm=table, **coded)
            assert main(["run", path, "-q", "--overwrite", "--set", "record.every=2"]) == 0, (name, more)


def test_automatic_keys_of_a_plugin(plugin, config, capsys):
    """Its resolve() knows L whether step_size is given or not; a key that nobody resolves is named."""
    factor = "factor: float | Literal['auto'] = 'auto'\n"
    step = (
        "def step(self, state, *others):\n    return super().step(state, *others)._replace(x=state.x * self.factor)\n"
    )
    resolve = "def resolve(self, facts):\n    return replace(super().resolve(facts), factor=1 / facts.lipschitz)"
    words = ["-q", "--overwrite", "--plugin", plugin(algorithm(factor + step))]
    for table in ({"name": "mine"}, {"name": "mine", "step_size": 0.1}):
        said = line(capsys, "run", config(algorithm=table), *words)
        assert "algorithm.factor = 'auto': Mine.resolve() makes no number of it: give algorithm.factor" in said
        assert main(["run", config(algorithm=table), *words, "--set", "algorithm.factor=0.5"]) == 0
    plugin(algorithm(factor + step + resolve))
    for table in ({"name": "mine"}, {"name": "mine", "step_size": 0.1}):
        assert main(["run", config(algorithm=table), *words]) == 0


@pytest.mark.parametrize(
    ("links", "said"),
    [
        ("[(0, 1), (3, 99)]", "links node 99, want 0 to 7 (topology.nodes = 8)"),
        ("[(0, 1), (-1, 2)]", "links node -1, want 0 to 7 (topology.nodes = 8)"),
        ("[(0, 8)]", "links node 8, want 0 to 7"),
        ("[(0, 1, 2)]", "returns int64 (1, 3), want integers (links, 2): pairs of nodes"),
        ("[0, 1]", "returns int64 (2,), want integers"),
        ("[(0.5, 1)]", "returns float64 (1, 2), want integers"),
        ("[('a', 'b')]", "returns <U1 (1, 2), want integers"),
        ("[(0, 1), (2,)]", "returns rows of different lengths, want pairs of nodes"),
        ("None", "returns object (), want integers"),
    ],
)
@pytest.mark.parametrize(("base", "method"), [("Graph", "edges"), ("Digraph", "arcs")])
@pytest.mark.parametrize("command", ["run", "check", "topology"])
def test_links_of_nodes_that_do_not_exist(command, base, method, links, said, plugin, config, capsys):
    text = f"@register('topology', 'mine')\n@part\nclass Mine({base}):\n    def {method}(self): return {links}"
    path = config(topology={"name": "mine", "nodes": 8})
    assert f"topology.name = 'mine': {method}() {said}" in line(capsys, command, path, "--plugin", plugin(text))


def test_links_may_be_whole_numbers_of_another_type(plugin, config, capsys):
    ring = "np.stack([np.arange(8.0), (np.arange(8.0) + 1) % 8], axis=1)"
    text = f"@register('topology', 'mine')\n@part\nclass Mine(Graph):\n    def edges(self): return {ring}"
    assert main(["topology", config(topology={"name": "mine", "nodes": 8}), "--plugin", plugin(text)]) == 0
    mine = capsys.readouterr().out
    assert main(["topology", config()]) == 0
    assert mine.split()[3:] == capsys.readouterr().out.split()[3:]


LATE = {
    "step": (
        algorithm("def step(self, state, *others): return [][3]"),
        f"IndexError: list index out of range (--plugin mine.py: iteration 0: Mine.step, line {FIRST + 4})",
    ),
    "later": (
        algorithm(
            "def step(self, state, problem, network, rng):\n"
            "    return 1 / 0 if network.traffic.rounds > 9 else super().step(state, problem, network, rng)"
        ),
        f"ZeroDivisionError: division by zero (--plugin mine.py: iteration 10: Mine.step, line {FIRST + 5})",
    ),
    "exit": (
        algorithm("def step(self, *all): sys.exit('enough')"),
        f"SystemExit: enough (--plugin mine.py: iteration 0: Mine.step, line {FIRST + 4})",
    ),
    "init": (
        algorithm("def init(self, *all): raise ValueError"),
        f"ValueError (--plugin mine.py: Mine.init, line {FIRST + 4})",
    ),
    "resolve": (
        algorithm("def automatic_step(self, facts): return 1 / 0"),
        f"by zero (--plugin mine.py: Mine.automatic_step, line {FIRST + 4})",
    ),
    "prox": (
        "@register('regularizer', 'mine')\n@part\nclass Mine(L1):\n    def prox(self, x, step): return 1 / 0",
        f"by zero (--plugin mine.py: Mine.prox, line {FIRST + 3})",
    ),
    "grad": (
        "@register('problem', 'mine')\n@part\nclass Mine(Loss):\n    curvature = 1.0\n    def node(self, *all): 1 / 0",
        f"Mine.node, line {FIRST + 4})",
    ),
    "encode": (
        "@register('compressor', 'mine')\n@part\nclass Mine(Compressor):\n    def nbytes(self, d, dtype): return 3\n"
        "    def encode(self, *all): 1 / 0\n    def decode(self, *all): pass",
        f"by zero (--plugin mine.py: iteration 0: Mine.encode, line {FIRST + 4})",
    ),
    "cycle": (
        "@register('topology', 'mine')\n@part\nclass Mine(Graph):\n    def edges(self): pass\n"
        "    def cycle(self): return 5",
        "TypeError: 'int' object is not iterable (--plugin mine.py: see mpiqopt test FILE, or MPIQOPT_TRACEBACK=1)",
    ),
}
USED = {
    "prox": {"regularizer": {"name": "mine"}, "algorithm": {"name": "prox-dgd"}},
    "grad": {"problem": {"name": "mine"}},
    "encode": {"compressor": {"name": "mine"}, "algorithm": {"name": "lead", "gossip_step": 0.1, "step_size": 0.1}},
    "cycle": {"topology": {"name": "mine"}},
}


@pytest.mark.parametrize("kind", LATE)
def test_an_error_in_a_plugin_is_one_line(kind, plugin, config, capsys):
    """Where in the file, in which class and in which iteration; the traceback is for who asks for it."""
    text, said = LATE[kind]
    path = config(**USED.get(kind, {"algorithm": {"name": "mine"}}))
    assert said in line(capsys, "run", path, "-q", "--plugin", plugin(text))


def test_the_traceback_of_a_plugin_s_error_on_demand(plugin, config, capsys, monkeypatch):
    monkeypatch.setenv("MPIQOPT_TRACEBACK", "1")
    words = ["-q", "--overwrite", "--plugin", plugin(LATE["step"][0])]
    assert main(["run", config(algorithm={"name": "mine"}), *words]) == 2
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-1].startswith(
        "mpiqopt: IndexError: list index out of range (--plugin mine.py: iteration 0: Mine.step, line"
    )
    assert main(["list", "--plugin", plugin("1/0", "other.py")]) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_records_before_an_error_are_kept(plugin, config, capsys):
    from mpiqopt.results.reader import read_result

    words = ["-q", "--set", "record.every=2", "--plugin", plugin(LATE["later"][0])]
    assert main(["run", config(algorithm={"name": "mine"}), *words]) == 2
    assert read_result("small.h5").columns["iteration"].tolist()[:5] == [0, 2, 4, 6, 8]


@pytest.mark.mpi
@pytest.mark.parametrize("kind", ["step", "later", "exit", "grad", "cycle"])
def test_an_error_in_a_plugin_on_two_ranks(kind, plugin, config, mpiqopt):
    """One line of ours and status 2, as from one process; launchers add a line of their own."""
    text, said = LATE[kind]
    path = config(**USED.get(kind, {"algorithm": {"name": "mine"}}))
    result = mpiqopt("run", path, "-q", "--plugin", plugin(text), ranks=2)
    assert_one_line(result, said)


@pytest.mark.mpi
def test_an_error_on_one_rank_ends_the_others(plugin, config, mpiqopt):
    step = "def step(self, state, problem, network, rng):\n    x = network.mix(state.x)\n"
    text = algorithm(step + "    return State(x if network.traffic.rounds < 9 or network.place.rank == 0 else 1 / 0)")
    result = mpiqopt("run", config(algorithm={"name": "mine"}), "-q", "--plugin", plugin(text), ranks=2)
    place = f"(--plugin mine.py: iteration 8: Mine.step, line {FIRST + 6})"
    assert_one_line(result, f"rank 1: ZeroDivisionError: division by zero {place}", status=1)


@pytest.mark.mpi
def test_a_state_that_changes_its_form_on_two_ranks(plugin, config, mpiqopt):
    """All ranks find it in the first iteration, and end in order: one line, and none of the launcher's."""
    step, said = STEPS["float64 through mix_coded"]
    path = config(run={"iterations": 40, "dtype": "float32"}, algorithm={"name": "mine", "step_size": 0.1})
    result = mpiqopt("run", path, "-q", "--plugin", plugin(algorithm(step + INIT, "Algorithm")), ranks=2)
    assert_one_line(result, said.replace("8x7", "4x7"))


def assert_one_line(result, said: str, status: int = 2) -> None:
    assert result.returncode == status
    assert result.stderr.count("mpiqopt: ") == 1
    assert "Traceback" not in result.stderr
    assert said in result.stderr
