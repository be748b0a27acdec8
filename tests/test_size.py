"""Large networks: what ``check`` promises, and what it leaves out."""

import subprocess
import sys

import pytest
from tools.commands import TIMEOUT, environment

from mpiqopt.cli import main
from mpiqopt.topologies.topology import Topology


def peak_megabytes(*arguments: str) -> float:
    """Peak memory of a command in a process of its own; what wait tells of it would count this one's, too."""
    code = (
        "import sys; from mpiqopt.cli import main; status = main(sys.argv[1:]); "
        "print('PEAK', open('/proc/self/status').read().split('VmHWM:')[1].split()[0]); sys.exit(status)"
    )
    words = [sys.executable, "-c", code, *arguments]
    run = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=True)
    return int(run.stdout.split("PEAK")[1]) * 1024 / 1e6


CASES = {
    "small": {},
    "many nodes": {"topology": {"name": "random-regular", "nodes": 20_000, "degree": 10}},
    "many features": {
        "topology": {"name": "ring", "nodes": 3000},
        "data": {"name": "synthetic", "samples": 9000, "features": 500},
        "run": {"iterations": 3, "dtype": "float32"},
    },
    "coded": {"algorithm": {"name": "lead"}, "data": {"name": "synthetic", "samples": 5000, "features": 400},
              "topology": {"name": "torus", "nodes": 5000}},
    "dense": {"topology": {"name": "complete", "nodes": 1500}},
    # blocks of samples are larger than all of the data
    "wide": {"data": {"name": "synthetic", "samples": 60, "features": 200_000},
             "topology": {"name": "ring", "nodes": 4}},
    "tall": {"data": {"name": "synthetic", "samples": 3_000_000, "features": 2}},
    "in another order": {"data": {"name": "synthetic", "samples": 200_000, "features": 60, "split": "iid"}},
    "scaled": {"data": {"name": "synthetic", "samples": 200_000, "features": 60, "scale": "standard"},
               "topology": {"name": "ring", "nodes": 1}},
    "copied": {"data": {"name": "synthetic", "samples": 200_000, "features": 60, "scale": "unit-rows",
                        "intercept": True, "test_fraction": 0.4}},
}  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", CASES)
def test_a_run_takes_the_memory_that_check_says(case, config, tmp_path, capfd):
    """Within 1.5 times, libraries included; models of the parts are within 15 % on the machine they were made on."""
    tables = {"run": {"iterations": 3}, "data": {"name": "synthetic", "samples": 20_000, "features": 5}}
    tables["problem"] = {"name": "least-squares"}
    tables["algorithm"] = {"name": "gradient-tracking", "step_size": 1e-6}
    path = config(**tables | CASES[case])
    assert main(["check", path]) == 0
    words = capfd.readouterr().out.split("# memory per rank")[1].split()
    promised = float(words[1]) * {"MB,": 1, "GB,": 1000}[words[2]]
    assert promised / 1.5 < peak_megabytes("run", path, "-q", "-o", str(tmp_path / "a.h5")) < 1.5 * promised


def test_check_of_a_large_network_computes_no_more_than_the_run(config, capsys, monkeypatch):
    """Lambda of a long ring takes minutes, and the run does not need it; of a small one it is shown."""
    monkeypatch.setattr(Topology, "_second_largest", property(lambda self: pytest.fail("asked for an eigenvalue")))
    data = {"name": "synthetic", "task": "classification", "samples": 3000, "features": 2}
    ring, algorithm = {"name": "ring", "nodes": 3000}, {"name": "gradient-tracking", "step_size": 0.1}
    assert main(["check", config(data=data, topology=ring, algorithm=algorithm)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "contraction lambda not needed, and slow to find: mpiqopt topology" in out
