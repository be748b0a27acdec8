"""mpiqopt examples: the example configs and job scripts, copied.

    $ mpiqopt examples here
    here/configs/breast-cancer.toml written

The exit status is 2 if one cannot be written.
"""

from pathlib import Path

import click

import mpiqopt
from mpiqopt.errors import UsageError

# in a checkout links to the folders beside the package, in a wheel their files
EXAMPLES = Path(mpiqopt.__file__).parent / "examples"


@click.command("examples")
@click.argument("folder", metavar="DIR", type=Path)
def command(folder: Path) -> None:
    """Copy the example configs and job scripts into DIR, where the lines of the README then work.

    A file that is there stays as it is.
    """
    done = []
    for source in sorted(path for path in EXAMPLES.glob("*/*") if path.is_file()):
        copy = folder / source.relative_to(EXAMPLES)
        done.append(f"{copy} {'written' if _copied(source, copy) else 'is there already: left as it is'}")
    click.echo("\n".join(done))  # at the end: all are copied even if standard output is closed


def _copied(source: Path, copy: Path) -> bool:
    """Copy a file unless there is one; return True if it was copied. Raises UsageError if it cannot be written."""
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with open(copy, "xb") as file:
            file.write(source.read_bytes())
    except FileExistsError:
        if not copy.is_file():
            raise UsageError(f"{copy}: cannot write there (not a folder or file)") from None
        return False
    except OSError as error:
        raise UsageError(f"{copy}: cannot write there ({error.strerror})") from None
    return True
