"""``mpiqopt export``: the network of a run, for PyTorch."""

import numpy as np
import pytest
import tomli_w

from mpiqopt.cli import main
from mpiqopt.results.reader import final_mean

CONFIG = {
    "run": {"iterations": 2},
    "data": {"name": "digits", "test_fraction": 0.3},
    "problem": {"name": "torch", "model": "cnn", "options": {"channels": [4, 8], "dense": [16]}},
    "topology": {"name": "star", "nodes": 3},
    "algorithm": {"name": "fedavg", "step_size": 0.1, "batch_size": 50},
}


@pytest.mark.torch
def test_exported_network_predicts_as_the_run_did(tmp_path, capsys):
    """Its accuracy on the held-out samples is that of the last record, sample by sample."""
    torch = pytest.importorskip("torch")
    from mpiqopt.config.parse import parse
    from mpiqopt.neural.model import make_model
    from mpiqopt.run.assembly import assemble
    from mpiqopt.transport.serial import SerialTransport

    config, result, model = (tmp_path / name for name in ("a.toml", "a.h5", "a.pt"))
    config.write_text(tomli_w.dumps(CONFIG))
    assert main(["run", str(config), "-o", str(result), "-q"]) == 0
    assert main(["export", str(result), "-o", str(model)]) == 0
    assert "state dict of cnn" in capsys.readouterr().out
    network = make_model("cnn", (1, 8, 8), 10, CONFIG["problem"]["options"], seed=5)
    network.load_state_dict(torch.load(model))
    made = assemble(parse(config.read_text(), str(config)), SerialTransport())
    inputs = torch.from_numpy(made.shares.test_features.astype(np.float32)).reshape(-1, 1, 8, 8)
    right = network.eval()(inputs).argmax(1).numpy() == made.shares.test_targets
    assert np.array_equal(right, made.problem.held_out.hits(final_mean(result)))


def test_other_problems_have_no_network(tmp_path, capsys):
    config, result = tmp_path / "a.toml", tmp_path / "a.h5"
    config.write_text(tomli_w.dumps(CONFIG | {"problem": {"name": "softmax"}}))
    assert main(["run", str(config), "-o", str(result), "-q"]) == 0
    assert main(["export", str(result), "-o", str(tmp_path / "a.pt")]) == 2
    assert "its problem is no network (problem.name = 'torch')" in capsys.readouterr().err
    assert not (tmp_path / "a.pt").exists()
