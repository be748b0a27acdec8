"""Devices of different strength: the tables [[devices]], and how long a round takes on which device."""

import json
from pathlib import Path

import numpy as np
import pytest

from mpiqopt.cli import main
from mpiqopt.config.continuation import first_continuation_difference
from mpiqopt.config.idle import idle_keys_warning
from mpiqopt.config.parse import parse
from mpiqopt.emulation.devices import DeviceClass, Devices
from mpiqopt.emulation.machines import Machines
from mpiqopt.emulation.settings import Emulate
from mpiqopt.errors import UsageError
from mpiqopt.federation.client_times import ClientTimes
from mpiqopt.network.network import Network
from mpiqopt.placement.placement import Placement
from mpiqopt.run.assembly import assemble
from mpiqopt.topologies.lattices import Ring
from mpiqopt.topologies.topology import topology_in_turn
from mpiqopt.transport.serial import SerialTransport

CONFIG = """
[run]
seed = 3
iterations = 4
[data]
name = "synthetic"
task = "classification"
samples = 40
features = 3
[problem]
name = "logistic"
[topology]
name = "star"
nodes = 4
[algorithm]
name = "fedavg"
step_size = 0.1
[emulate]
gradient_seconds = 0.5
sleep = false
"""
STRONG_AND_WEAK = """
[[devices]]
share = 3
[[devices]]
time = 0.5
upload = [0.5, 1.0]
"""


def test_a_list_of_tables_becomes_classes_in_their_order():
    devices = parse(CONFIG + STRONG_AND_WEAK, "my.toml").devices
    assert devices == (DeviceClass(share=3), DeviceClass(time=0.5, upload=[0.5, 1.0]))
    assert parse(CONFIG, "my.toml").devices == ()


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ("[[devices]]\n[[devices]]\ntime = 2", "devices[1].time = 2: want less than or equal to 1"),
        ("[[devices]]\nmemory = 0.0", "devices[0].memory = 0.0: want greater than 0"),
        ("[[devices]]\nmemory = '1'", "devices[0].memory = '1': want a valid number or a valid list"),
        ("[[devices]]\nmemory = [0.5]", "devices[0].memory = [0.5]: want at least 2 items"),
        ("[[devices]]\nupload = [0.5, 2.0]", "devices[0].upload = [0.5, 2.0]: want"),
        ("[[devices]]\nshare = 0", "devices[0].share = 0: want greater than 0"),
        ("[[devices]]\ntime = true", "devices[0].time = True: want"),
        ("[[devices]]\nmemroy = 0.5", "devices[0].memroy: unknown key (did you mean 'memory'?)"),
        ("[devices]\ntime = 0.5", "devices = {'time': 0.5}: want tables [[devices]]"),
    ],
)
def test_what_is_wrong_with_a_class_is_said_with_its_number(tables, said):
    with pytest.raises(UsageError) as caught:
        parse(CONFIG + tables, "my.toml")
    assert f"my.toml: {said}" in str(caught.value)
    assert len(str(caught.value)) <= 200


def test_all_wrong_keys_of_all_classes_are_named():
    with pytest.raises(UsageError, match=r"devices\[0\]\.time = 7: .*devices\[1\]\.speed: .*devices\[1\]\.share = -1"):
        parse(CONFIG + "[[devices]]\ntime = 7\n[[devices]]\nshare = -1\nspeed = 2", "my.toml")


def test_a_class_without_clients_is_refused():
    config = parse(CONFIG + "[[devices]]\n[[devices]]\nshare = 0.01", "my.toml")
    with pytest.raises(UsageError, match=r"my.toml: devices\[1\]\.share = 0.01: no client of 4 is of this class"):
        config.topology()


def test_overrides_change_a_class_and_add_one():
    words = ("devices[1].time=.25", "devices[2].memory=.75")
    config = parse(CONFIG + STRONG_AND_WEAK, "my.toml", words)
    assert [each.time for each in config.devices] == [1.0, 0.25, 1.0]
    assert config.devices[2].memory == 0.75
    assert parse(config.text, "my.toml").devices == config.devices
    assert parse(CONFIG, "my.toml", ("devices[0].time=.5",)).devices == (DeviceClass(time=0.5),)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("devices.time=.5", "the config's devices is not a single table; want devices[0].KEY=VALUE"),
        ("devices[5].time=.5", "the next one of the tables [[devices]] is devices[2]"),
        ("run[0].seed=1", "the config's run is no list of tables [[run]]"),
    ],
)
def test_overrides_of_no_table_of_the_list_are_refused(word, said):
    with pytest.raises(UsageError) as caught:
        parse(CONFIG + STRONG_AND_WEAK, "my.toml", (word,))
    assert said in str(caught.value)


def test_an_override_of_a_graph_in_turn_drops_the_keys_that_its_new_kind_lacks():
    config = CONFIG.replace("[topology]", "[[topology]]").replace('"star"', '"grid"\nrows = 2')
    graph, _ = parse(config + '[[topology]]\nname = "ring"\nnodes = 4', "my.toml", ("topology[0].name=ring",)).graphs
    assert graph == Ring(nodes=4)


def test_resolved_text_has_every_default_and_is_the_same_config():
    config = parse(CONFIG + STRONG_AND_WEAK, "my.toml")
    again = parse(config.resolved_text(), "my.toml")
    assert again.devices == config.devices
    assert config.resolved()["devices"][0] == {"share": 3, "time": 1.0, "memory": 1.0, "upload": 1.0}
    assert "devices" not in parse(CONFIG, "my.toml").resolved()


def test_other_devices_are_no_continuation():
    plain, two = parse(CONFIG, "a.toml"), parse(CONFIG + STRONG_AND_WEAK, "b.toml")
    written_out = parse(CONFIG + STRONG_AND_WEAK + "memory = 1.0", "b.toml")
    assert first_continuation_difference(two, written_out) is None
    for old, new in ((plain, two), (two, plain)):
        assert "devices = [" in first_continuation_difference(old, new)


def test_limits_that_change_nothing_are_named():
    warning = idle_keys_warning(parse(CONFIG + STRONG_AND_WEAK, "my.toml"))
    assert warning.endswith("devices[1].upload (the method trains the whole network on every device)")
    assert "devices[1].time" not in warning
    warning = idle_keys_warning(parse(CONFIG + STRONG_AND_WEAK, "my.toml", ("algorithm.name=dgd",)))
    assert "devices[1].time" in warning


def test_the_schema_has_a_list_of_classes(capsys):
    assert main(["config-schema"]) == 0
    devices = json.loads(capsys.readouterr().out)["properties"]["devices"]
    assert (devices["type"], devices["minItems"]) == ("array", 1)
    assert set(devices["items"]["properties"]) == {"share", "time", "memory", "upload"}


def test_check_prints_the_classes(tmp_path: Path, capsys):
    path = tmp_path / "two.toml"
    path.write_text(CONFIG + STRONG_AND_WEAK)
    assert main(["check", str(path)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("[[devices]]") == 2
    assert "upload = [" in printed


def test_methods_find_the_devices_of_all_clients_in_the_network():
    config = parse(CONFIG + STRONG_AND_WEAK, "my.toml")
    devices = assemble(config, SerialTransport()).network.devices
    assert devices.classes.tolist() == [0, 0, 0, 1]
    assert devices.limits(3, 7) == Devices(config.devices, 4, 3).limits(3, 7)
    ring = topology_in_turn(["ring"], [Ring(nodes=4).make()])
    alike = Network(ring, Placement(4), SerialTransport()).devices
    assert all(alike.limits(client, 0).full for client in range(4))


def test_a_weaker_device_takes_longer_by_its_limit_of_the_round():
    devices = Devices([DeviceClass(), DeviceClass(time=[0.25, 0.5])], 4, seed=1)
    emulate = Emulate(slowdown=[1.0, 2.0, 1.0, 2.0], gradient_seconds=0.5)
    times, cohort, steps = ClientTimes(emulate, Placement(4), 1, devices), np.array([0, 1, 3]), np.array([4, 4, 6])
    for round in range(3):
        limit = devices.limits(3, round).time
        assert 0.25 <= limit <= 0.5
        expected = [2.0, 4.0, 6.0 / limit]
        assert np.allclose(times.seconds(cohort, round, steps, 0, 0), expected, rtol=0, atol=1e-9)


def test_part_of_the_work_takes_part_of_the_time_of_training_and_all_of_that_of_messages():
    emulate = Emulate(gradient_seconds=1.0, bandwidth=10.0)
    times = ClientTimes(emulate, Placement(2), 0)
    seconds = times.seconds(np.array([0, 1]), 0, np.array([8, 8]), np.array([5, 10]), 20, np.array([0.25, 1.0]))
    assert seconds.tolist() == [4.5, 11.0]


def test_without_limits_times_keep_every_bit():
    emulate = Emulate(slowdown=1.7, slowdown_distribution="pareto", gradient_seconds=0.3, delay=0.1)
    cohort, steps = np.arange(6), np.arange(1, 7)
    plain, limited = (ClientTimes(emulate, Placement(6), 5, each) for each in (None, Devices((), 6, 5)))
    assert plain.seconds(cohort, 2, steps, 10, 10).tobytes() == limited.seconds(cohort, 2, steps, 10, 10).tobytes()


def test_trainings_that_take_as_long_as_here_take_longer_on_a_weaker_device():
    devices = Devices([DeviceClass(), DeviceClass(time=0.5)], 4, seed=0)
    last = Machines(Emulate(slowdown=3.0), Placement(4, 2, 1), 0, devices)
    assert last.seconds(1, 0, steps=5, taken=2.0) == 12.0
    first = Machines(Emulate(slowdown=3.0), Placement(4, 2, 0), 0, devices)
    assert first.seconds(1, 0, steps=5, taken=2.0) == 6.0
