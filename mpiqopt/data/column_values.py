"""From the values of columns to features and targets: words coded as numbers, and what becomes of missing values."""

from typing import Any, NamedTuple

import numpy as np

from mpiqopt.data.column_roles import Content, Heads, Roles, Terms
from mpiqopt.data.csv_fields import TRUTH
from mpiqopt.data.source import Rows
from mpiqopt.errors import UsageError

# rows whose numbers are put side by side at once: they stay in the cache
TOGETHER = 1024
# Values of a feature that is coded one-hot: each is a column of all samples, and a name or a date has too many.
MOST_CATEGORIES = 10_000


class Gaps(NamedTuple):
    """Say where values are missing, and what ``data.missing`` makes of it.

    how: "refuse", "drop", "mean" or "zero"; masks: bool (m,) for each used column that has gaps, True where a value is
    missing; keep: bool (m,), the samples that stay, or None for all.
    """

    how: str
    masks: dict[int, np.ndarray]
    keep: np.ndarray | None

    @classmethod
    def find(cls, how: str, heads: Heads, roles: Roles, content: Content, where: str) -> "Gaps":
        """Return the gaps of the used columns. Raises UsageError for the first value that must not be missing.

        That is any with "refuse", the node of a sample always, and the target but with "drop": there is no mean of it.
        """
        masks = _masks(content, roles.used, roles.words(heads.kinds))
        fills = how in ("mean", "zero")
        fatal = [j for j in masks if how == "refuse" or j == roles.by or (fills and j == roles.target)]
        if fatal:
            row, column = min((int(np.argmax(masks[j])), j) for j in fatal)
            raise UsageError(f"{where}: {content.place(row, column)} is missing: {_cure(how, column, roles)}")
        if how != "drop" or not masks:
            return cls(how, masks, None)
        keep = ~np.logical_or.reduce(list(masks.values()))
        if not keep.any():
            raise UsageError(f"{where}: data.missing = 'drop': something is missing in every sample")
        return cls(how, masks, keep)

    def kept(self, values: Any) -> Any:
        """Return the values of the samples that stay. values: (m,), an array or a pandas Series."""
        return values if self.keep is None else values[self.keep]

    def filled(
        self, column: int, values: list[np.ndarray], fill: list[float] | None
    ) -> tuple[list[np.ndarray], list[float] | None]:
        """Return the columns of numbers of a feature without gaps, and what gaps are filled with.

        values: float64 (m,) each, one for a number and one per category; fill: that of the training file, by default
        the mean of the values that are there, or 0.
        """
        if self.how not in ("mean", "zero"):
            return [self.kept(each) for each in values], None
        mask = self.masks.get(column)
        if fill is None:
            fill = [_mean(each, mask) if self.how == "mean" else 0.0 for each in values]
        if mask is not None:
            values = [np.where(mask, value, each) for value, each in zip(fill, values, strict=True)]
        return values, fill

    def read(self) -> dict[str, str]:
        """Return what was dropped or filled in a few words, for ``Table.read``; {} if nothing was."""
        if self.keep is not None:
            return {"missing": f"{int((~self.keep).sum())} of {len(self.keep)} samples dropped"}
        count = sum(int(mask.sum()) for mask in self.masks.values())
        how = "the feature's mean" if self.how == "mean" else "0"
        return {"missing": f"{count} filled with {how}"} if count else {}


def _masks(content: Content, used: list[int], words: set[int]) -> dict[int, np.ndarray]:
    """Return where values are missing, of the columns that are not whole. words: the columns read as words."""
    masks = {}
    for j in used:
        mask = content.words(j).isna().to_numpy(bool) if j in words else np.isnan(content.numbers(j))
        if mask.any():
            masks[j] = mask
    return masks


def _cure(how: str, column: int, roles: Roles) -> str:
    """Say what to do about a value that is missing in a column."""
    if column == roles.by:
        return "every sample needs a node"
    if column == roles.target:
        return "say data.missing = 'drop'" if how == "refuse" else "only data.missing = 'drop' helps a target"
    return "say data.missing = 'drop', 'mean' or 'zero'"


def _mean(values: np.ndarray, mask: np.ndarray | None) -> float:
    """Return the mean of the values that are there, 0 if none is."""
    present = values if mask is None else values[~mask]
    return float(np.add.reduce(np.ascontiguousarray(present))) / len(present) if len(present) else 0.0


class FeatureColumns(NamedTuple):
    """Keep features as columns of numbers: float64 (m,) each, names, and what ``Terms`` keeps for a second file."""

    columns: list[np.ndarray]
    names: list[str]
    categories: dict[int, tuple[str, ...]]
    fills: dict[int, list[float] | None]

    @classmethod
    def encode(
        cls, heads: Heads, roles: Roles, content: Content, gaps: Gaps, where: str, terms: Terms | None
    ) -> "FeatureColumns":
        """Return the features as numbers: categories one-hot, true and false as 1 and 0, gaps filled or dropped.

        terms: of the training samples, if these are for testing. Raises UsageError for a category that the training
        file lacks, and for too many of them.
        """
        made = cls([], [], {}, {})
        for j, training in zip(roles.features, terms.roles.features if terms else roles.features, strict=True):
            if j in roles.categories:
                known = terms.categories[training] if terms else _categories(heads, content, j, gaps)
                made.categories[j] = known
                made.names.extend(f"{heads.name(j)}={word}" for word in known)
                values = _one_hot(content, j, known, where)
            else:
                made.names.append(heads.name(j))
                values = [_numbers(heads, content, j, where)]
            values, made.fills[j] = gaps.filled(j, values, terms.fills.get(training) if terms else None)
            made.columns.extend(values)
        return made

    def rows(self, which: Rows) -> np.ndarray:
        """Return the features of k samples, float64 (k, d); a few rows at a time, so that columns stay in the cache."""
        if isinstance(which, slice):
            first, last, _ = which.indices(len(self.columns[0]))
            parts: list[Rows] = [slice(a, min(a + TOGETHER, last)) for a in range(first, last, TOGETHER)]
        else:
            first, last = 0, len(which)
            parts = [which[a : a + TOGETHER] for a in range(0, last, TOGETHER)]
        out = np.empty((last - first, len(self.columns)))
        for k, part in enumerate(parts):
            out[k * TOGETHER : (k + 1) * TOGETHER] = np.array([values[part] for values in self.columns]).T
        return out


def _numbers(heads: Heads, content: Content, column: int, where: str) -> np.ndarray:
    """Return a feature as numbers (m,); true and false are 1 and 0."""
    if heads.kinds[column] != "bool":
        return content.numbers(column)
    words = content.words(column).str.lower()
    values = words.map(TRUTH).to_numpy(np.float64, na_value=np.nan)
    wrong = np.flatnonzero(np.isnan(values) & ~words.isna().to_numpy(bool))
    if len(wrong):
        raise UsageError(f"{where}: {content.place(int(wrong[0]), column)} is neither true nor false, as others are")
    return values


def _categories(heads: Heads, content: Content, column: int, gaps: Gaps) -> tuple[str, ...]:
    """Return the words of a feature in the samples that stay, sorted."""
    known = sorted(gaps.kept(content.words(column)).dropna().unique().tolist())
    if len(known) > MOST_CATEGORIES:
        raise UsageError(
            f"data.categories: {heads.label(column)} has {len(known)} values; want at most {MOST_CATEGORIES}"
        )
    return tuple(known)


def _one_hot(content: Content, column: int, known: tuple[str, ...], where: str) -> list[np.ndarray]:
    """Return a column of 0 and 1 (m,) for each known word, all 0 where the word is missing."""
    from pandas import Categorical

    words = content.words(column)
    codes = np.asarray(Categorical(words, categories=list(known)).codes)
    strange = np.flatnonzero((codes < 0) & ~words.isna().to_numpy(bool))
    if len(strange):
        raise UsageError(f"{where}: {content.place(int(strange[0]), column)} is no value of the training file's column")
    return [(codes == number).astype(np.float64) for number in range(len(known))]


def encoded_targets(
    heads: Heads, roles: Roles, content: Content, gaps: Gaps
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Return the targets that stay, float64 (m,), and the words that 0, 1, ... stand for if the column is of words."""
    j = roles.target
    if heads.kinds[j] not in ("word", "bool"):
        return np.ascontiguousarray(gaps.kept(content.numbers(j))), None
    from pandas import factorize

    codes, words = factorize(gaps.kept(content.words(j)), sort=True)
    return codes.astype(np.float64), tuple(map(str, words))
