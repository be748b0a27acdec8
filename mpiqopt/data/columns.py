"""From named columns of numbers and words to a table: which are features, which is the target, what is missing."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from mpiqopt.data.files import FileSource
from mpiqopt.data.layout import TRUTH
from mpiqopt.data.source import Rows, Table, few, grouped, mapping, renumbered
from mpiqopt.errors import QUOTED, UsageError, clipped, listing, quoted
from mpiqopt.field import Field

# rows whose numbers are put side by side at once: they stay in the cache
TOGETHER = 1024
# values of a feature that is coded one-hot
MOST_CATEGORIES = 10_000
# samples that a feature does not count by chance
NO_CHANCE = 10
# characters of a name in a line that says more than that
SHORT = 40

Column = int | str


class Heads(NamedTuple):
    """What is known of columns before they are read.

    names: "" where one has none, None if none has; kinds: as in ``Layout``; row_names: True if the first column is one
    of names of rows, by convention of the format.
    """

    names: tuple[str, ...] | None
    kinds: tuple[str, ...]
    row_names: bool = False

    def label(self, column: int) -> str:
        """Return what messages call a column: its number, from 1 on, and its name."""
        name = self.names[column] if self.names else ""
        return f"column {column + 1}" + (f" ({clipped(quoted(name), SHORT)})" if name else "")

    def name(self, column: int) -> str:
        """Return the name of a feature."""
        return (self.names[column] if self.names else "") or f"column {column + 1}"


class Roles(NamedTuple):
    """What each column is for; index: one that is left out because it only counts or names the rows."""

    target: int
    features: tuple[int, ...]
    categories: frozenset[int]
    by: int | None
    index: int | None

    def words(self, kinds: Sequence[str]) -> set[int]:
        """Return the columns that are read as words; others are numbers."""
        used = {self.target, self.by, *self.features} - {None}
        return {j for j in used if kinds[j] in ("word", "bool") or j in self.categories or j == self.by}


class Content:
    """The columns of one file, read. A format says where a value stands."""

    samples: int

    @abstractmethod
    def numbers(self, column: int) -> np.ndarray:
        """Return a column as float64, NaN where a value is missing."""

    @abstractmethod
    def words(self, column: int) -> Any:
        """Return a column as a pandas Series of strings, some of them missing."""

    @abstractmethod
    def place(self, row: int, column: int) -> str:
        """Return where a value stands, and the value if it is known: "line 7, column 2 ('b')"."""


class Terms(NamedTuple):
    """What a second file is read by: categories and what fills gaps, by feature's column."""

    heads: Heads
    roles: Roles
    categories: dict[int, tuple[str, ...]]
    fills: dict[int, Any]


@dataclass(frozen=True, kw_only=True)
class Columns(FileSource):
    """A table with named columns of numbers and words."""

    target: Annotated[
        int | str, Field(description="the target's column: its name, or its number from 0 on (negative from the end)")
    ] = -1
    features: Annotated[
        list[int | str] | None,
        Field(min_length=1, description="columns of the features, by names or numbers; by default all others"),
    ] = None
    ignore: Annotated[
        list[int | str] | None, Field(description="columns that are no features, by names or numbers")
    ] = None
    missing: Annotated[
        Literal["refuse", "drop", "mean", "zero"],
        Field(
            description="what becomes of empty fields, ?, NA, NaN, null and the like: the file is refused, the sample "
            "dropped, or the feature's mean or 0 taken"
        ),
    ] = "refuse"
    categories: Annotated[
        list[int | str] | Literal["all"] | None,
        Field(description="features whose values are coded one-hot, by names or numbers; all: every column of words"),
    ] = None
    by: Annotated[
        int | str | None, Field(description="column that names the node of each sample, for split = natural")
    ] = None

    def __post_init__(self):
        super().__post_init__()
        if self.features is not None and self.ignore is not None:
            raise UsageError(f"data.ignore = {quoted(self.ignore)}: data.features says which are; want one of the two")

    def roles(self, heads: Heads, where: str) -> Roles:
        """Say what each column is for. Raises UsageError for columns that are not there or fit no role."""
        target = self._find(heads, self.target, "target", where)
        by = None if self.by is None else self._find(heads, self.by, "by", where)
        ignored = {self._find(heads, column, "ignore", where) for column in self.ignore or ()}
        index = _index(heads) if self.features is None and not {0} & {target, by, *ignored} else None
        if self.features is None:
            used = [j for j in range(len(heads.kinds)) if j not in {target, by, index, *ignored}]
        else:
            used = [self._find(heads, column, "features", where) for column in self.features]
        for key, column in (("target", target), ("by", by)):
            if column in used or (key == "target" and column in ignored | {by}):
                raise UsageError(f"{where}: data.{key}: {heads.label(column)} cannot be a feature, too, nor be ignored")
        if len(set(used)) < len(used):
            raise UsageError(f"{where}: data.features names a column twice")
        return Roles(target, tuple(used), self._coded(heads, used, where), by, index)

    def _coded(self, heads: Heads, used: Sequence[int], where: str) -> frozenset[int]:
        if self.categories == "all":
            return frozenset(j for j in used if heads.kinds[j] == "word")
        coded = [self._find(heads, column, "categories", where) for column in self.categories or ()]
        for column in coded:
            if column not in used:
                raise UsageError(f"{where}: data.categories: {heads.label(column)} is no feature")
        return frozenset(coded)

    def _find(self, heads: Heads, given: Column, key: str, where: str) -> int:
        """The number of a column, from 0 on. Raises UsageError."""
        size, names = len(heads.kinds), heads.names or ()
        if isinstance(given, int) and -size <= given < size:
            return given % size
        if given != "" and names.count(given) == 1:
            return names.index(given)
        if given in names and given != "":
            places = [f"{j + 1}" for j, name in enumerate(names) if name == given]
            raise UsageError(
                f"{where}: data.{key} = {quoted(given)}: columns {', '.join(places)} are called so; say a number"
            )
        known = [f"0 .. {size - 1}", *filter(None, names)] if names else [f"0 .. {size - 1} (the file has no header)"]
        raise UsageError(listing(f"data.{key} = {quoted(given)}: {where} has no such column; columns: ", known))

    def require_numbers(self, heads: Heads, roles: Roles, where: str, example: Any) -> None:
        """Raise UsageError for a feature of words. example(column): where the first stands, and what it is."""
        for j in roles.features:
            if heads.kinds[j] == "word" and j not in roles.categories:
                raise UsageError(
                    f"{where}: {example(j)} is no number: say data.ignore = [{self._called(heads, j)}], or "
                    f"data.categories = [{self._called(heads, j)}] for one-hot"
                )

    def _called(self, heads: Heads, column: int) -> str:
        name = heads.names[column] if heads.names else ""
        return quoted(name) if 0 < len(name) < SHORT // 2 and heads.names.count(name) == 1 else str(column)

    def made(self, path: str, where: str, heads: Heads, roles: Roles, content: Content, said: dict, like) -> Table:
        """Return the table of columns that were read. like: that of the training samples; its terms hold, then."""
        _require_index(heads, roles, content, where)
        masks = _masks(content, _used(roles), roles.words(heads.kinds))
        keep = self._kept(heads, roles, content, masks, where)
        features = self._features(
            heads, roles, content, _Gaps(masks, keep), where, None if like is None else like.terms
        )
        if not features.columns:
            raise UsageError(f"{where}: no feature is left beside the target")
        targets, words = self._targets(heads, roles, content, keep)
        if like is not None:
            targets, words = renumbered(targets, words, like), like.words
        groups, group_names = None, ()
        if roles.by is not None:
            groups, group_names = grouped(_only(content.words(roles.by), keep).to_numpy(object))
        said = said | _said(heads, roles, features, words, group_names) | self._said_missing(masks, keep)
        if self.features is None and 0 in roles.features and _may_be_index(heads, content):
            said["perhaps an index"] = f"{heads.label(0)}, which counts (data.ignore = [0] leaves it out)"
        return Table(
            path,
            targets,
            len(features.columns),
            lambda which: _rows(features.columns, which),
            names=tuple(features.names) if heads.names or features.categories else None,
            words=words,
            groups=groups,
            group_names=group_names,
            read=said,
            terms=Terms(heads, roles, features.categories, features.fills),
        )

    def _features(self, heads, roles: Roles, content: Content, gaps: "_Gaps", where: str, terms) -> "_Features":
        """The features as numbers. terms: of the training samples, if these are for testing."""
        made = _Features([], [], {}, {})
        for j, training in zip(roles.features, terms.roles.features if terms else roles.features, strict=True):
            if j in roles.categories:
                known = terms.categories[training] if terms else _categories(heads, content, j, gaps.keep)
                made.categories[j] = known
                made.names.extend(f"{heads.name(j)}={word}" for word in known)
                values = _coded(content, j, known, where)
            else:
                made.names.append(heads.name(j))
                values = [_numbers(heads, content, j, where)]
            fill = terms.fills.get(training) if terms else None
            values, made.fills[j] = self._filled(values, gaps.masks.get(j), gaps.keep, fill)
            made.columns.extend(values)
        return made

    def alike(self, heads: Heads, terms: Terms, where: str) -> Roles:
        """Return the roles of the columns of a second file: by their names, or by their places where there are none."""
        first, roles = terms.heads, terms.roles
        if (first.names is None) != (heads.names is None):
            raise UsageError(f"{where}: only one of the two files has a header; say data.header if that is not so")
        if first.names is None and len(first.kinds) != len(heads.kinds):
            raise UsageError(f"{where}: it has {len(heads.kinds)} columns, the training file {len(first.kinds)}")

        places = {name: j for j, name in enumerate(heads.names or ())}
        often, same = Counter(heads.names or ()), heads.names == first.names

        def place(column: int) -> int:
            if same or not first.names:
                return column
            name = first.names[column]
            if often[name] != 1:
                how = "several columns" if often[name] else "no column"
                raise UsageError(f"{where}: it has {how} {quoted(name)}, which the training file has")
            return places[name]

        return Roles(
            place(roles.target),
            tuple(map(place, roles.features)),
            frozenset(map(place, roles.categories)),
            None if roles.by is None else place(roles.by),
            _index(heads) if self.features is None else None,
        )

    def kinds_of(self, heads: Heads, roles: Roles, terms: Terms) -> Heads:
        """Return the heads of a second file with the kinds of the first one's columns where these are used."""
        kinds = list(heads.kinds)
        for own, training in zip(_used(roles), _used(terms.roles), strict=True):
            kinds[own] = terms.heads.kinds[training]
        return heads._replace(kinds=tuple(kinds))

    def _kept(self, heads: Heads, roles: Roles, content: Content, masks: dict, where: str) -> np.ndarray | None:
        """Which samples stay, None for all. Raises UsageError for what is missing and may not be."""
        fills = self.missing in ("mean", "zero")
        fatal = [j for j in masks if self.missing == "refuse" or j == roles.by or (fills and j == roles.target)]
        if fatal:
            row, column = min((int(np.argmax(masks[j])), j) for j in fatal)
            raise UsageError(f"{where}: {content.place(row, column)} is missing: {self._cure(column, roles)}")
        if self.missing != "drop" or not masks:
            return None
        keep = ~np.logical_or.reduce(list(masks.values()))
        if not keep.any():
            raise UsageError(f"{where}: data.missing = 'drop': something is missing in every sample")
        return keep

    def _cure(self, column: int, roles: Roles) -> str:
        """What to do about a value that is missing in a column."""
        if column == roles.by:
            return "every sample needs a node"
        if column == roles.target:
            return (
                "say data.missing = 'drop'" if self.missing == "refuse" else "only data.missing = 'drop' helps a target"
            )
        return "say data.missing = 'drop', 'mean' or 'zero'"

    def _filled(self, coded: list[np.ndarray], mask, keep, fill) -> tuple[list[np.ndarray], Any]:
        """The columns of a feature without gaps, and what gaps are filled with."""
        if self.missing not in ("mean", "zero"):
            return [_only(values, keep) for values in coded], None
        if fill is None:
            fill = [_mean(values, mask) if self.missing == "mean" else 0.0 for values in coded]
        if mask is not None:
            coded = [np.where(mask, value, values) for value, values in zip(fill, coded, strict=True)]
        return coded, fill

    def _targets(self, heads: Heads, roles: Roles, content: Content, keep) -> tuple[np.ndarray, tuple[str, ...] | None]:
        """The targets as numbers, and the words that these stand for."""
        j = roles.target
        if heads.kinds[j] not in ("word", "bool"):
            return np.ascontiguousarray(_only(content.numbers(j), keep)), None
        from pandas import factorize

        codes, words = factorize(_only(content.words(j), keep), sort=True)
        return codes.astype(np.float64), tuple(map(str, words))

    def _said_missing(self, masks: dict[int, np.ndarray], keep: np.ndarray | None) -> dict[str, str]:
        if keep is not None:
            return {"missing": f"{int((~keep).sum())} of {len(keep)} samples dropped"}
        count = sum(int(mask.sum()) for mask in masks.values())
        how = "the feature's mean" if self.missing == "mean" else "0"
        return {"missing": f"{count} filled with {how}"} if count else {}


class _Gaps(NamedTuple):
    """Where values are missing, by column, and which samples stay; None: all."""

    masks: dict[int, np.ndarray]
    keep: np.ndarray | None


class _Features(NamedTuple):
    """Features as columns of numbers, their names, and ``Terms`` for a second file."""

    columns: list[np.ndarray]
    names: list[str]
    categories: dict[int, tuple[str, ...]]
    fills: dict[int, Any]


def _said(heads: Heads, roles: Roles, features: _Features, words, group_names: tuple[str, ...]) -> dict[str, str]:
    """What the columns were taken for, in a few words each."""
    name, names = heads.names[roles.target] if heads.names else "", features.names
    said = {"target": f"{quoted(name)} (column {roles.target + 1})" if name else f"column {roles.target + 1}"}
    said["features"] = f"{len(names)}" + (f": {few(names)}" if heads.names or features.categories else "")
    if words:
        said["labels"] = mapping(words)
    for j, known in features.categories.items():
        said[f"categories of {clipped(heads.name(j), QUOTED)}"] = few(known)
    if roles.index is not None:
        kind = "names of rows" if heads.row_names or heads.kinds[0] == "word" else "an index"
        said["left out"] = f"column 1, without a name: {kind} (data.features keeps it)"
    if group_names:
        said["nodes"] = f"{heads.label(roles.by)}: {len(group_names)} names"
    return said


def _used(roles: Roles) -> list[int]:
    return [roles.target, *roles.features, *([] if roles.by is None else [roles.by])]


def _index(heads: Heads) -> int | None:
    """The first column, if it has no name where others have one: names of rows, or pandas' index."""
    return 0 if heads.row_names or (heads.names and heads.names[0] == "" and any(heads.names)) else None


def _require_index(heads: Heads, roles: Roles, content: Content, where: str) -> None:
    """Raise UsageError unless the column that is left out counts the rows, or names each in another way."""
    if roles.index is None:
        return
    if heads.row_names or heads.kinds[0] == "word":
        if content.words(0).is_unique:
            return
        if heads.row_names:
            names, columns = len(heads.names) - 1, len(heads.names)
            raise UsageError(f"{where}: {names} names, {columns} columns, of which the first names no rows: it repeats")
    elif heads.kinds[0] == "number" and _counts(content.numbers(0)):
        return
    raise UsageError(f"{where}: column 1 has no name and does not count: say data.ignore = [0], or list data.features")


def _counts(values: np.ndarray) -> bool:
    """True for 0, 1, 2, ... or 1, 2, 3, ..., as an index does."""
    return len(values) > 0 and values[0] in (0, 1) and np.array_equal(values, np.arange(len(values)) + values[0])


def _may_be_index(heads: Heads, content: Content) -> bool:
    """True if the first column counts so many samples that it is no chance."""
    return heads.kinds[0] == "number" and content.samples >= NO_CHANCE and _counts(content.numbers(0))


def _masks(content: Content, used: list[int], words: set[int]) -> dict[int, np.ndarray]:
    """Where values are missing, of the columns that are not whole."""
    masks = {}
    for j in used:
        mask = content.words(j).isna().to_numpy(bool) if j in words else np.isnan(content.numbers(j))
        if mask.any():
            masks[j] = mask
    return masks


def _numbers(heads: Heads, content: Content, column: int, where: str) -> np.ndarray:
    """A feature as numbers; true and false are 1 and 0."""
    if heads.kinds[column] != "bool":
        return content.numbers(column)
    words = content.words(column).str.lower()
    values = words.map(TRUTH).to_numpy(np.float64, na_value=np.nan)
    wrong = np.flatnonzero(np.isnan(values) & ~words.isna().to_numpy(bool))
    if len(wrong):
        raise UsageError(f"{where}: {content.place(int(wrong[0]), column)} is neither true nor false, as others are")
    return values


def _categories(heads: Heads, content: Content, column: int, keep) -> tuple[str, ...]:
    known = sorted(_only(content.words(column), keep).dropna().unique().tolist())
    if len(known) > MOST_CATEGORIES:
        raise UsageError(
            f"data.categories: {heads.label(column)} has {len(known)} values; want at most {MOST_CATEGORIES}"
        )
    return tuple(known)


def _coded(content: Content, column: int, known: tuple[str, ...], where: str) -> list[np.ndarray]:
    """One-hot: a column of 0 and 1 for each value, 0 where it is missing."""
    from pandas import Categorical

    words = content.words(column)
    codes = np.asarray(Categorical(words, categories=list(known)).codes)
    strange = np.flatnonzero((codes < 0) & ~words.isna().to_numpy(bool))
    if len(strange):
        raise UsageError(f"{where}: {content.place(int(strange[0]), column)} is no value of the training file's column")
    return [(codes == number).astype(np.float64) for number in range(len(known))]


def _mean(values: np.ndarray, mask: np.ndarray | None) -> float:
    present = values if mask is None else values[~mask]
    return float(np.add.reduce(np.ascontiguousarray(present))) / len(present) if len(present) else 0.0


def _only(values, keep):
    return values if keep is None else values[keep]


def _rows(columns: list[np.ndarray], which: Rows) -> np.ndarray:
    """The features of some samples (k, d)."""
    if isinstance(which, slice):
        first, last, _ = which.indices(len(columns[0]))
        parts = [slice(a, min(a + TOGETHER, last)) for a in range(first, last, TOGETHER)]
    else:
        first, last = 0, len(which)
        parts = [which[a : a + TOGETHER] for a in range(0, last, TOGETHER)]
    out = np.empty((last - first, len(columns)))
    for k, part in enumerate(parts):
        out[k * TOGETHER : (k + 1) * TOGETHER] = np.array([values[part] for values in columns]).T
    return out
