"""Profiles of windows: counted, their files, what follows from few measurements, peaks of memory."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from mpiqopt.errors import UsageError, fits_in_error_line
from mpiqopt.federation.counted_costs import counted_costs, upload
from mpiqopt.federation.measured_profile import sum_of_ends
from mpiqopt.federation.profiles import Full, counted_profile, profile_path, read_profile, write_profile
from mpiqopt.federation.windows import all_windows
from mpiqopt.memory import PeakMemory, release_pages
from mpiqopt.neural.block_count import BlockCount
from mpiqopt.neural.partial import Frozen, Window

# a network of three blocks: many activations first, many parameters last
COUNTS = [
    BlockCount("stem", 100, 10, 2, 10**6, 3000, 60_000, 20_000),
    BlockCount("body", 2000, 20, 3, 5 * 10**6, 20_000, 20_000, 9000),
    BlockCount("head", 50_000, 0, 0, 10**5, 9000, 100, 100),
]


def test_the_whole_network_takes_all_of_everything():
    costs = {cost.window: cost for cost in counted_costs(COUNTS, 32, Frozen())}
    assert list(costs) == all_windows(3)
    assert costs[Window(0, 2)][2:] == (1.0, 1.0, 1.0)
    assert all(0 < value < 1 for window, cost in costs.items() if window != (0, 2) for value in cost[2:])


@pytest.mark.parametrize("frozen", [Frozen(), Frozen("float", "float"), Frozen("int8", "float")])
def test_a_window_takes_no_less_than_those_inside_it(frozen):
    costs = counted_costs(COUNTS, 32, frozen)
    for inner in costs:
        for outer in costs:
            if outer.window.contains(inner.window):
                assert outer.upload >= inner.upload
                assert outer.time >= inner.time


def test_upload_counts_every_number_that_travels_and_scales_where_they_do():
    assert upload(COUNTS[:2], Frozen()) == 100 + 10 + 2 + 2000 + 20 + 3
    assert upload(COUNTS[:2], Frozen("float", "float")) == 100 + 10 + 2000 + 20
    profile = counted_profile(COUNTS, 32)
    assert profile.full.upload == 4 * (52_130 + 5)
    assert profile.cost(Window(1, 2)).upload == (2000 + 20 + 3 + 50_000) / (52_130 + 5)


def test_int8_saves_time_before_a_window_and_after_it():
    whole, last, first = (
        next(cost for cost in counted_costs(COUNTS, 32, frozen) if cost.window == window)
        for frozen, window in ((Frozen(), (0, 2)), (Frozen(), (2, 2)), (Frozen("int8", "float"), (0, 0)))
    )
    in_float = {cost.window: cost for cost in counted_costs(COUNTS, 32, Frozen("float", "float"))}
    assert last.time < in_float[Window(2, 2)].time < whole.time
    assert first.time == in_float[Window(0, 0)].time  # nothing is before it
    both = {cost.window: cost.time for cost in counted_costs(COUNTS, 32, Frozen())}
    assert both[Window(0, 0)] < first.time  # body and head are quicker in int8


def test_a_profile_survives_its_file(tmp_path):
    path = str(tmp_path / "profile.json")
    counted = counted_profile(COUNTS, 32, Frozen("int8", "float", 6), network="small")
    measured = replace(counted, source="measured", full=Full(0.25, 1e6, 52_135 * 4), device={"host": "here"})
    for profile in (counted, measured):
        write_profile(profile, path)
        assert read_profile(path) == profile
    assert [file.name for file in tmp_path.iterdir()] == ["profile.json"]


WRONG = {
    "source = 'guessed'": {"source": "guessed"},
    "blocks: is missing": {"blocks": None},
    "coordinates: has 2 entries": {"coordinates": [1, 2]},
    "batch = -1": {"batch": -1},
    "batch = True": {"batch": True},
    "frozen.bits = 9": {"frozen": {"before": "int8", "after": "int8", "bits": 9}},
    "frozen.after: is missing": {"frozen": {"before": "int8"}},
    "full.memory = 0": {"full": {"seconds": None, "memory": 0, "upload": 4}},
    "full.upload = 1.5": {"full": {"seconds": None, "memory": 1, "upload": 1.5}},
    "windows = []": {"windows": []},
    "windows[0]: blocks 0 to 3": {"windows": [{"first": 0, "last": 3, "time": 1, "memory": 1, "upload": 1}]},
    "windows[1]: window 0-0 is there twice": {
        "windows": [{"first": 0, "last": 0, "time": 1, "memory": 1, "upload": 1}] * 2
    },
    "windows[0].time = nan": {"windows": [{"first": 0, "last": 0, "time": float("nan"), "memory": 1, "upload": 1}]},
    "version = 2": {"version": 2},
    "is no profile of mpiqopt": {"format": "other"},
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_with_a_profile_is_said_in_a_line(said, tmp_path):
    path = str(tmp_path / "profile.json")
    write_profile(counted_profile(COUNTS, 32), path)
    content = json.loads((tmp_path / "profile.json").read_text()) | WRONG[said]
    kept = {key: value for key, value in content.items() if value is not None}
    (tmp_path / "profile.json").write_text(json.dumps(kept))
    with pytest.raises(UsageError) as raised:
        read_profile(path)
    assert said in str(raised.value)
    assert str(raised.value).startswith(path)
    assert fits_in_error_line(str(raised.value).replace(str(tmp_path), ""))


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"[]", b"\xff\xfe\x00"])
def test_a_file_of_something_else_is_no_profile_and_is_not_replaced(content, tmp_path):
    path = tmp_path / "profile.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="profile"):
        read_profile(str(path))
    if content:
        with pytest.raises(UsageError, match="profile"):
            profile_path(str(path))
    assert path.read_bytes() == content


def test_a_profile_is_of_one_network():
    profile = counted_profile(COUNTS, 32, network="small")
    names, sizes = [count.name for count in COUNTS], [count.coordinates for count in COUNTS]
    profile.require_network(names, sizes)
    with pytest.raises(UsageError, match="3 blocks there and 2 here"):
        profile.require_network(names[:2], sizes[:2])
    with pytest.raises(UsageError, match="block 1 is 'body' there and 'tail' here"):
        profile.require_network(["stem", "tail", "head"], sizes)
    with pytest.raises(UsageError, match="block body has 2020 coordinates there and 2021 here"):
        profile.require_network(names, [110, 2021, 50_000])


def test_all_windows_follow_from_those_at_the_ends_where_costs_are_sums():
    before, trained, after = np.array([1, 2, 3, 4]) / 40, np.array([3, 6, 9, 22]) / 40, np.array([2, 4, 6, 8]) / 40
    exact = {
        Window(f, g): float(before[:f].sum() + trained[f : g + 1].sum() + after[g + 1 :].sum())
        for f, g in all_windows(4)
    }
    ends = {window: (cost, cost) for window, cost in exact.items() if (window.first == 0) != (window.last == 3)}
    for window, (time, memory) in sum_of_ends(ends, 3).items():
        assert time == memory == pytest.approx(exact[window], abs=1e-12)


def test_a_sum_of_ends_is_at_most_what_contains_it_and_over_zero():
    ends = {Window(0, 0): (0.2, 0.9), Window(0, 1): (0.3, 1.2), Window(1, 2): (0.3, 1.1), Window(2, 2): (0.1, 0.4)}
    time, memory = sum_of_ends(ends, 2)[Window(1, 1)]
    assert 0 < time < 0.01
    assert memory == 1.1
    assert sum_of_ends({}, 0) == {Window(0, 0): (1.0, 1.0)}


def test_a_peak_of_memory_shows_what_was_taken_and_given_back():
    if PeakMemory().taken() is None:
        pytest.skip("this system does not tell peaks")
    array = np.zeros(1 << 22)  # 32 MB, of which nothing is there yet
    peaks = []
    for fill in (True, False, True):
        release_pages(array)
        peak = PeakMemory()
        if fill:
            array += 1
        peaks.append(peak.taken())
    assert peaks[0] > 3e7
    assert peaks[1] < 1e7
    assert peaks[2] > 3e7
    assert all(abs(one - other) > 2e7 for one, other in pairwise(peaks))


def test_released_pages_are_zero_and_the_rest_stays():
    array = np.ones(1 << 16)
    inner = array[1:-1]
    release_pages(inner)
    assert array[0] == array[-1] == 1
    assert set(np.unique(array)) <= {0.0, 1.0}
