"""Commands that are refused in one line."""

from pathlib import Path

from mpiqopt.cli import main


def refused(capsys, folder: Path, *arguments: str) -> str:
    """The one line that a command says; checks the rest."""
    before = sorted(folder.rglob("*"))
    status = main(list(map(str, arguments)))
    out, err = capsys.readouterr()
    assert status == 2, (out, err)
    assert out == ""
    assert err.startswith("mpiqopt: ")
    assert err.count("\n") == 1
    assert len(err) <= 201
    assert sorted(folder.rglob("*")) == before
    return err
