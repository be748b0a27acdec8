"""Files of figures: drawn alike whatever the user's settings of matplotlib are, and written whole or not at all.

A figure is made inside ``matplotlib_defaults()`` and written by ``save_figure``:

>>> with matplotlib_defaults():
...     from matplotlib.figure import Figure
...     figure = Figure()
...     _ = figure.subplots().plot([1.0, 0.1])
...     save_figure(figure, "figure.svg")
>>> figure_path("figure.svg").name  # may be written again: it is a figure
'figure.svg'
>>> figure_path("figure.txt")
Traceback (most recent call last):
mpiqopt.errors.UsageError: -o figure.txt: want the name of a file that ends in .png, .pdf, ...
"""

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpiqopt.errors import UsageError
from mpiqopt.files.replacement import replace_file
from mpiqopt.terminal import escape_for_terminal, shorten_for_terminal

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# endings, and how files of that kind begin
KINDS = {
    ".png": rb"\x89PNG\r\n\x1a\n",
    ".pdf": rb"%PDF-",
    ".svg": rb"\s*<(svg\b|[?!].*<svg\b)",
    ".eps": rb"%!PS",
    ".ps": rb"%!PS",
    ".jpg": rb"\xff\xd8\xff",
    ".jpeg": rb"\xff\xd8\xff",
    ".tif": rb"II\*\0|MM\0\*",
    ".tiff": rb"II\*\0|MM\0\*",
    ".webp": rb"RIFF....WEBP",
}
BEGINNING = 4096
# characters of a name in a message
NAME = 80
DOTS_PER_INCH = 130
# more entries than that make a legend in small print
FEW = 12
MOST_COLUMNS = 6
# colours that are told apart, as matplotlib's C0 ... C9
COLOURS = 10
LINE_STYLES = ("solid", "dashed", "dashdot", "dotted")


def figure_path(output: str) -> Path:
    """Return the file that ``-o OUTPUT`` means, links followed; commands ask this before they begin to work.

    Raises
    ------
    UsageError: the ending is none of ``KINDS``, something is there that is no figure of that kind, the folder does not
        exist, or nothing can be written there.
    """
    path, said = Path(output), _said(output)
    kind = path.suffix.lower()
    if kind not in KINDS or output.endswith(os.sep):
        raise UsageError(f"{said}: want the name of a file that ends in {', '.join(KINDS)}")
    try:
        real = Path(os.path.realpath(path))
        _require_free(real, kind)
        if not real.parent.is_dir():
            raise NotADirectoryError(None, "there is no such folder")
        if not os.access(real.parent, os.W_OK | os.X_OK):
            raise PermissionError(None, "the folder is write-protected")
    except OSError as error:
        raise UsageError(f"{said}: cannot write there: {error.strerror or error}") from error
    return real


def _said(output: str) -> str:
    """Return the option as error lines name it."""
    return f"-o {escape_for_terminal(shorten_for_terminal(output, NAME))}"


def _require_free(path: Path, kind: str) -> None:
    """Raise OSError unless there is nothing, an empty file or a figure of the kind at ``path``.

    A result file or a config is never replaced by a figure because of a slip in -o.
    """
    if not os.path.lexists(path):
        return
    if not path.is_file():
        raise OSError(None, "is a folder" if path.is_dir() else "is no regular file")
    with open(path, "rb") as file:
        begins = file.read(BEGINNING)
    if begins and not re.match(KINDS[kind], begins, re.DOTALL):
        raise OSError(None, f"is a file that is no {kind[1:].upper()} figure, which stays")
    if not os.access(path, os.W_OK):
        raise PermissionError(None, "is write-protected")


def save_figure(figure: "Figure", output: str) -> None:
    """Write a figure to ``output``, at DOTS_PER_INCH if it is made of pixels.

    figure: matplotlib's. The file is replaced in one step, so that a reader sees the old or the new one. Raises
    UsageError as ``figure_path``, and if the disk is full.
    """
    path, image = figure_path(output), BytesIO()
    figure.savefig(image, format=Path(output).suffix[1:].lower(), dpi=DOTS_PER_INCH)
    try:
        replace_file(path, image.getvalue())
    except OSError as error:
        raise UsageError(f"{_said(output)}: cannot write there: {error.strerror or error}") from error


@contextmanager
def matplotlib_defaults() -> Iterator[None]:
    """Draw by matplotlib's own defaults, and without its warnings, inside of a ``with``.

    The user's matplotlibrc, MPLBACKEND and the files of the folder have no influence; they are as before afterwards.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # of folders that are not writable, of fonts
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _import_matplotlib()
            from matplotlib import rc_context, rcParamsDefault

            # not by its [] or items, which would look for a window system
            with rc_context({key: value for key, value in dict.items(rcParamsDefault) if key != "backend"}):
                yield
    finally:
        logger.setLevel(level)


def _import_matplotlib() -> None:
    """Import matplotlib where the first settings that it finds are its own.

    Those of others, in the folder or the home directory, can keep it from starting.
    """
    if "matplotlib" in sys.modules:
        return
    spec = find_spec("matplotlib")
    own = Path((spec and spec.origin) or "").parent / "mpl-data"
    here = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
    backend = os.environ.pop("MPLBACKEND", None)  # of a notebook, which hands it to its children
    try:
        if (own / "matplotlibrc").is_file():
            os.chdir(own)
        import matplotlib

        matplotlib.use("agg")
    finally:
        os.fchdir(here)
        os.close(here)
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


def use_fonts_for(texts: list[str]) -> None:
    """Add a font of this machine to the usual one if that has not all characters of ``texts``.

    The font with most of the missing characters is taken; what no font has is drawn as a box.
    """
    import matplotlib
    from matplotlib.font_manager import findfont, fontManager

    usual = matplotlib.rcParams["font.sans-serif"][0]
    others = {ord(c) for text in texts for c in text if not c.isascii()}
    missing = others and others - _characters(findfont(usual))
    if missing:
        # the font of last resort, which comes with matplotlib 3.11, draws boxes for all there is
        fonts = [font for font in fontManager.ttflist if not font.name.startswith("Last Resort")]
        best = max(fonts, key=lambda font: (len(missing & _characters(font.fname)), font.style))
        matplotlib.rcParams["font.family"] = [usual, best.name]


def _characters(path: str) -> set[int]:
    """Return the code points of a font file, none of one that cannot be read.

    Fonts of a machine may be broken, or of a kind that matplotlib does not know.
    """
    from matplotlib.ft2font import FT2Font

    with suppress(OSError, RuntimeError):
        return set(FT2Font(path).get_charmap())
    return set()


def curve_styles(count: int) -> list[tuple[Any, str]]:
    """Return a colour and a line style for each of ``count`` curves.

    All are different for up to 20 curves, and nearly so beyond.
    """
    import matplotlib

    if count <= 2 * COLOURS:
        colours = [f"C{number % COLOURS}" for number in range(count)]
    else:
        colours = [matplotlib.colormaps["turbo"](number / (count - 1)) for number in range(count)]
    return [(colour, LINE_STYLES[number % len(LINE_STYLES)]) for number, colour in enumerate(colours)]


def label_counts(axis: "Axes", most: float, unit: str) -> None:
    """Label an axis of counts with few round numbers and the unit, from 0; to 1 where nothing was counted."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axis.xaxis.set_major_formatter(EngFormatter(unit))
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=unit != "s"))
    if most == 0:
        axis.set_xlim(-0.05, 1)


def legend_above(figure: "Figure", handles: "Sequence[Artist]", names: list[str], title: str = "") -> None:
    """Put a legend above all axes in as many columns as fit; the figure grows by what it takes.

    Parameters
    ----------
    figure: matplotlib's, with a constrained layout. handles, names: the curves and what to call them.
    title: of the legend, "" for none.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    size = "medium" if len(names) <= FEW else "small" if len(names) <= 4 * FEW else "x-small"
    for rows in range(-(-len(names) // MOST_COLUMNS), len(names) + 1):
        columns = -(-len(names) // rows)
        legend = figure.legend(
            handles, names, loc="outside upper center", ncols=columns, fontsize=size, title=title or None
        )
        without_math(*legend.get_texts(), legend.get_title())
        box = legend.get_window_extent(renderer)
        if box.width < 0.98 * figure.bbox.width or columns == 1:
            break
        legend.remove()
    figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)


def without_math(*texts: "Text") -> None:
    """Draw dollar signs in texts of a figure as they are: names are no formulas."""
    for text in texts:
        text.set_parse_math(False)
