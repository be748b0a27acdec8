"""Text as windows of characters: what a sample is, which files are read, and keys that texts refuse."""

import gzip
import hashlib
import sysconfig
from pathlib import Path

import h5py
import numpy as np
import pytest
from tools.data_files import write

from mpiqopt.cli import main
from mpiqopt.data.python_text import PythonText
from mpiqopt.data.shares import Shares, load_shares
from mpiqopt.data.source import Table
from mpiqopt.data.text import VOCABULARY, TextFiles, tokenize
from mpiqopt.errors import UsageError
from mpiqopt.placement.placement import Placement

SMALL = {"problem": {"name": "softmax"}, "topology": {"name": "ring", "nodes": 2}, "run": {"iterations": 2}}


def load(src, nodes: int = 2, dtype: str = "float64") -> Shares:
    return load_shares(src, src.open(0), Placement(nodes), 0, True, dtype=dtype)


def words(tokens: np.ndarray) -> str:
    """Characters of tokens, by the vocabulary."""
    return "".join(VOCABULARY[int(token)] for token in tokens.ravel())


def sample_texts(table: Table) -> list[str]:
    return [words(row) for row in table.rows(slice(0, table.samples))]


# Tokens


def test_every_character_of_the_vocabulary_is_its_own_token():
    assert len(VOCABULARY) == len({*VOCABULARY}) == 97
    assert tokenize(VOCABULARY).tolist() == list(range(97))
    assert VOCABULARY.isascii() is False
    assert VOCABULARY[:-1].isascii()


def test_all_other_characters_are_one_token():
    """Control characters, letters beyond ASCII, and halves of pairs, which are no text at all."""
    assert tokenize("\0\x1b\x7f\x80\u00e9\U0001f600\ud800").tolist() == [96] * 7
    assert words(tokenize("a\r\nb\rc\n\td\te")) == "a\nb\nc\n    d   e"


# Windows


def test_windows_follow_each_other_and_end_with_their_target(tmp_path):
    """The last characters, too few for a window, are left out; in any run the tokens are exact."""
    src = TextFiles(path=str(tmp_path / write(tmp_path / "a.txt", "Now is the winter of our")), context=4)
    table = src.open(0)
    assert sample_texts(table) == ["Now i", "s the", " wint", "er of"]
    assert words(table.targets) == "ietf"
    assert (table.features, table.shape, table.vocabulary) == (5, (5,), VOCABULARY)
    for dtype in ("float64", "float32"):
        held = load(src, dtype=dtype)
        assert held.features.dtype == dtype
        assert words(held.features) == "Now is the winter of"
        assert (held.shape, held.vocabulary) == ((5,), VOCABULARY)


def test_windows_do_not_cross_files(tmp_path):
    """Files in the order people count, and a node's own in the natural split; a short one has no window."""
    for name, text in {"n10.txt": "uvwxyz", "n2.txt": "abcdefghi", "n3.txt": "-", "n1.md": "0123456"}.items():
        write(tmp_path / name, text)
    src = TextFiles(path=str(tmp_path), context=2, split="natural")
    assert sample_texts(src.open(0)) == ["abc", "def", "ghi", "uvw", "xyz"]
    held = load(src)
    assert held.groups == ("n2.txt", "n10.txt")
    assert held.sizes.tolist() == [3, 2]
    assert sample_texts(TextFiles(path=str(tmp_path), context=2, files="*.m?").open(0)) == ["012", "345"]


def test_no_more_characters_are_read_than_asked_for(tmp_path):
    """Of all files together, the last one in part."""
    write(tmp_path / "a.txt", "abcde")
    write(tmp_path / "b.txt", "fghijklm")
    found = [sample_texts(TextFiles(path=str(tmp_path), context=1, characters=count).open(0)) for count in (5, 9, 99)]
    assert found == [["ab", "cd"], ["ab", "cd", "fg", "hi"], ["ab", "cd", "fg", "hi", "jk", "lm"]]


def test_texts_may_be_compressed_and_of_any_encoding(tmp_path):
    write(tmp_path / "a", gzip.compress(b"caf\xe9s"))
    assert sample_texts(TextFiles(path=str(tmp_path / "a"), context=4, encoding="latin-1").open(0)) == ["caf\ufffds"]


def test_held_out_text_may_end_in_other_characters(tmp_path):
    """Classes are those of the vocabulary, whether or not the text has them as a target."""
    paths = [str(tmp_path / write(tmp_path / name, text)) for name, text in (("a", "abab"), ("b", "cdcd"))]
    held = load(TextFiles(path=paths[0], test_path=paths[1], context=1))
    assert words(held.test_features) == "cdcd"
    assert words(held.test_targets) == "dd"


@pytest.mark.parametrize(
    ("path", "keys", "said"),
    [
        ("none", {}, "data.path = none: no such file"),
        ("short", {}, "short: no file has 65 characters; want data.context + 1 or more"),
        ("bad", {}, "data.path = bad: line 2 is not UTF-8 (byte 0xff); say what it is"),
        ("folder", {"files": "*.rst"}, "data.files = '*.rst': the folder folder has no such file"),
        ("short", {"encoding": "klingon"}, "data.encoding = 'klingon': Python knows no such encoding"),
    ],
)
def test_unusable_texts_are_named(path, keys, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "short", "a short one")
    write(tmp_path / "bad", b"line\n\xff\n")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError) as error:
        TextFiles(path=path, **keys).open(0)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("scale", "standard", "data.scale = 'standard': python-text is a text; want none of it"),
        ("scale", "images", "data.scale = 'images': python-text is a text"),
        ("intercept", True, "data.intercept = True: python-text is a text"),
        ("label_noise", 0.1, "data.label_noise = 0.1: python-text is a text"),
        ("shape", [5, 13], "data.shape = [5, 13]: python-text is a text"),
        ("augment", ["flip"], "data.augment = ['flip']: wants data.shape = [channels, height, width]"),
    ],
)
def test_keys_that_would_change_tokens_are_refused_in_one_line(key, value, said, config, capsys):
    path = config(data={"name": "python-text", "characters": 9000, key: value}, **SMALL)
    assert main(["check", path]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


# Python's own sources


def test_the_text_of_python_is_that_of_its_modules():
    """From the first one on; what was built for this machine is not among them."""
    table = PythonText(characters=20_000, context=99).open(0)
    assert table.samples * 100 <= 20_000
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    first = table.group_names[0]
    assert not first.startswith("_sysconfigdata")
    tokens = tokenize((stdlib / first).read_text("utf-8"))
    assert np.array_equal(table.rows(slice(0, 1))[0], tokens[:100])
    assert table.read["SHA-256"] == hashlib.sha256(table.rows(slice(0, table.samples)).tobytes()).hexdigest()


def test_every_python_has_a_million_characters():
    table = PythonText().open(0)
    # each file loses less than a window at its end
    assert 1_000_000 - 65 * (len(table.group_names) + 9) <= table.samples * 65 <= 1_000_000


def test_results_say_which_text_it_was(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = config(data={"name": "python-text", "characters": 9000, "context": 7}, **SMALL)
    assert main(["run", path, "-q", "-o", "a.h5"]) == 0
    expected = PythonText(characters=9000, context=7).open(0).read
    with h5py.File("a.h5") as file:
        assert {key: file["data"].attrs[key] for key in expected} == expected
    assert expected["SHA-256"].isalnum()


def test_a_python_without_sources_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path / "python.zip")})
    with pytest.raises(UsageError, match=r"data\.name = 'python-text': no sources of the standard library in "):
        PythonText().open(0)
