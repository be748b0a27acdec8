"""Folders of images, a sub-folder for each class, and perhaps one around these for each site."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np

from mpiqopt.data.labels import label_mapping
from mpiqopt.data.shapes import unit_pixels
from mpiqopt.data.source import SMALL, Rows, Source, Table, silence_source_readers
from mpiqopt.errors import UsageError, quote_in_error
from mpiqopt.field import Field
from mpiqopt.files.names import sort_names
from mpiqopt.registry import register

ENDINGS = (".png", ".jpg", ".jpeg")


class Image(NamedTuple):
    """Say where an image lies. site: "" without sites; path: of the file."""

    site: str
    label: str
    path: str


@register("data", "images")
@dataclass(frozen=True, kw_only=True)
class Images(Source):
    """PNG and JPEG files FOLDER/CLASS/*.png, or FOLDER/SITE/CLASS/*.png, pixels 0..255 divided by 255; by Pillow.

    Classes, sites and files are sorted, with the numbers in their names as numbers; files of other kinds and names that
    begin with a point are passed over. Rank 0 reads files of up to 16 MB for all; of more every rank reads those of the
    nodes that it hosts.
    """

    path: Annotated[str, Field(description="the folder, relative to the config file")]
    test_path: Annotated[
        str | None, Field(description="a folder of the same form with the images that are held out")
    ] = None
    size: Annotated[
        Annotated[list[Annotated[int, Field(ge=1, le=65535)]], Field(min_length=2, max_length=2)] | None,
        Field(description="[height, width] to which images are resized; by default all must have the same"),
    ] = None
    grey: Annotated[bool, Field(description="one channel of brightness instead of red, green and blue")] = False
    sites: Annotated[
        bool,
        Field(description="folders of classes lie in one for each site, whose images are a node's for split = natural"),
    ] = False

    def open(self, seed: int) -> Table:
        """Return the table of the folder, of whose files none but the first is opened before rows are asked for."""
        return self._table("path", None)

    def held_out(self, table: Table) -> Table | None:
        """Return the table of ``test_path``. Raises UsageError for a class that the training images lack."""
        return None if self.test_path is None else self._table("test_path", table)

    def count(self) -> int:
        """Return the number of files. Raises UsageError if there is none."""
        return len(self._listed("path"))

    def is_small(self) -> bool:
        """Return True if all files have at most 16 MB together."""
        keys = [key for key in ("path", "test_path") if getattr(self, key) is not None]
        return sum(os.stat(image.path).st_size for key in keys for image in self._listed(key)) <= SMALL

    def _listed(self, key: str) -> list[Image]:
        """Return all images of a folder, in order. key: "path" or "test_path". Raises UsageError if there is none."""
        folder = getattr(self, key)
        where = f"data.{key} = {folder}"
        try:
            sites = _subfolders(folder) if self.sites else [("", folder)]
            found = [
                Image(site, label, path)
                for site, inner in sites
                for label, own in _subfolders(inner)
                for path in _files(own)
            ]
        except (OSError, ValueError) as error:  # names with a NUL are no names
            raise UsageError(f"{where}: {getattr(error, 'strerror', None) or error}") from error
        if not found:
            levels = "SITE/CLASS" if self.sites else "CLASS"
            raise UsageError(f"{where}: no images; want {levels}/NAME with one of {', '.join(ENDINGS)}")
        return found

    def _table(self, key: str, like: Table | None) -> Table:
        """Return the table of a folder. like: that of the training images, if these are for testing."""
        folder, images = getattr(self, key), self._listed(key)
        labels = like.words if like is not None and like.words else sort_names({image.label for image in images})
        numbers = {label: number for number, label in enumerate(labels)}
        strange = [image for image in images if image.label not in numbers]
        if strange:
            raise UsageError(
                f"data.{key} = {folder}: its class {quote_in_error(strange[0].label)} is none of the training images"
            )
        targets = np.array([numbers[image.label] for image in images], np.float64)
        paths = [image.path for image in images]
        shape = (1 if self.grey else 3, *(self.size or self._pixels(paths[0], None).shape[1:]))

        def rows(which: Rows) -> np.ndarray:
            own = paths[which] if isinstance(which, slice) else [paths[number] for number in which.tolist()]
            pixels = np.empty((len(own), *shape), np.uint8)
            for number, path in enumerate(own):
                pixels[number] = self._pixels(path, shape)
            return unit_pixels(pixels.reshape(len(own), prod(shape)))

        read = {"format": "images", "shape": " x ".join(map(str, shape)), "labels": label_mapping(labels)}
        more = {"shape": shape, "words": tuple(labels), **self._groups(images, read), "read": read}
        return Table(folder, targets, prod(shape), rows, **more)

    def _groups(self, images: list[Image], read: dict[str, str]) -> dict[str, Any]:
        """Return ``groups`` and ``group_names`` of a table, nothing without sites; adds to ``read``."""
        if not self.sites:
            return {}
        starts = [number for number, image in enumerate(images) if number == 0 or image.site != images[number - 1].site]
        names = tuple(images[start].site for start in starts)
        read["nodes"] = f"{len(names)} sites"
        counts = [after - before for before, after in pairwise([*starts, len(images)])]
        return {"groups": np.repeat(np.arange(len(names)), counts), "group_names": names}

    def _pixels(self, path: str, shape: tuple[int, ...] | None) -> np.ndarray:
        """Return the pixels of a file, uint8 (c, h, w). shape: that it has to have, if any; Pillow resizes, bilinear.

        Raises UsageError for a file that is no image, is damaged, has no bytes as pixels, or is of another size.
        """
        try:
            with silence_source_readers():
                pixels = self._opened(path)
        except (UsageError, MemoryError):
            raise
        except Exception as error:  # Pillow raises SyntaxError, too
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UsageError(f"{path}: not readable as an image: {reason}") from error
        if shape is not None and pixels.shape != shape:
            size = " x ".join(map(str, pixels.shape[1:]))
            raise UsageError(
                f"{path}: {size} pixels, others have {shape[1]} x {shape[2]}; say data.size = [height, width]"
            )
        return pixels

    def _opened(self, path: str) -> np.ndarray:
        """Return the pixels of a file, uint8 (c, h, w), resized if ``size`` is given; raises what Pillow raises."""
        import PIL.Image

        with PIL.Image.open(path) as image:
            if image.mode[0] in "IF":
                raise UsageError(f"{path}: pixels of 16 or more bits ({image.mode}); want bytes")
            converted = image.convert("L" if self.grey else "RGB")
        if self.size is not None:
            converted = converted.resize((self.size[1], self.size[0]), PIL.Image.Resampling.BILINEAR)
        pixels = np.asarray(converted)
        return pixels[None] if self.grey else pixels.transpose(2, 0, 1)


def _subfolders(folder: str) -> Iterator[tuple[str, str]]:
    """Yield name and path of the folders in a folder, in order. Raises OSError."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    yield from ((name, str(Path(folder) / name)) for name in sort_names(names))


def _files(folder: str) -> Iterator[str]:
    """Yield the paths of the images in a folder, in order. Raises OSError."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.lower().endswith(ENDINGS) and entry.name[0] != "."]
    yield from (str(Path(folder) / name) for name in sort_names(names))
