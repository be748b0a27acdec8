"""Tables with named columns of numbers and words: the config's keys about columns, and how a table is made of them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from mpiqopt.data.column_roles import Content, Heads, Roles, Terms, may_be_index, require_index, unnamed_index
from mpiqopt.data.column_values import FeatureColumns, Gaps, encoded_targets
from mpiqopt.data.files import FileSource
from mpiqopt.data.labels import label_mapping, list_few_labels, number_groups, renumber_labels
from mpiqopt.data.source import Table
from mpiqopt.errors import QUOTED, UsageError, clip_for_error_line, list_in_error_line, quote_in_error
from mpiqopt.field import Field

# a column in the config: its name, or its number from 0 on, negative from the end
Column = int | str


@dataclass(frozen=True, kw_only=True)
class Columns(FileSource):
    """Read a table with named columns of numbers and words: the base of the formats that have such columns.

    A format finds the ``Heads`` of a file, asks for ``roles`` (of a test file for ``roles_of_test``), reads the columns
    into a ``Content`` and gives all to ``make_table``.
    """

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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features is not None and self.ignore is not None:
            raise UsageError(
                f"data.ignore = {quote_in_error(self.ignore)}: data.features says which are; want one of the two"
            )

    def roles(self, heads: Heads, where: str) -> Roles:
        """Return what each column is for, by the keys of the config.

        where: what messages call the file. Raises UsageError for columns that are not there or fit no role.
        """
        target = self._find(heads, self.target, "target", where)
        by = None if self.by is None else self._find(heads, self.by, "by", where)
        ignored = {self._find(heads, column, "ignore", where) for column in self.ignore or ()}
        index = unnamed_index(heads) if self.features is None and not {0} & {target, by, *ignored} else None
        if self.features is None:
            used = [j for j in range(len(heads.kinds)) if j not in {target, by, index, *ignored}]
        else:
            used = [self._find(heads, column, "features", where) for column in self.features]
        for key, column in (("target", target), ("by", by)):
            if column is not None and (column in used or (key == "target" and column in ignored | {by})):
                raise UsageError(f"{where}: data.{key}: {heads.label(column)} cannot be a feature, too, nor be ignored")
        if len(set(used)) < len(used):
            raise UsageError(f"{where}: data.features names a column twice")
        return Roles(target, tuple(used), self._coded(heads, used, where), by, index)

    def _coded(self, heads: Heads, used: Sequence[int], where: str) -> frozenset[int]:
        """Return the features that are coded one-hot."""
        if self.categories == "all":
            return frozenset(j for j in used if heads.kinds[j] == "word")
        coded = [self._find(heads, column, "categories", where) for column in self.categories or ()]
        for column in coded:
            if column not in used:
                raise UsageError(f"{where}: data.categories: {heads.label(column)} is no feature")
        return frozenset(coded)

    def _find(self, heads: Heads, given: Column, key: str, where: str) -> int:
        """Return the number of a column, from 0 on. Raises UsageError if there is none, or several of the name."""
        size, names = len(heads.kinds), heads.names or ()
        if isinstance(given, int) and -size <= given < size:
            return given % size
        if given != "" and names.count(given) == 1:
            return names.index(given)
        if given in names and given != "":
            places = [f"{j + 1}" for j, name in enumerate(names) if name == given]
            raise UsageError(
                f"{where}: data.{key} = {quote_in_error(given)}: columns {', '.join(places)} are called so; "
                "say a number"
            )
        known = [f"0 .. {size - 1}", *filter(None, names)] if names else [f"0 .. {size - 1} (the file has no header)"]
        raise UsageError(
            list_in_error_line(f"data.{key} = {quote_in_error(given)}: {where} has no such column; columns: ", known)
        )

    def require_numbers(self, heads: Heads, roles: Roles, where: str, example: Callable[[int], str]) -> None:
        """Raise UsageError for a feature of words. example(column): where the first stands, and what it is."""
        for j in roles.features:
            if heads.kinds[j] == "word" and j not in roles.categories:
                key = heads.key(j)
                raise UsageError(
                    f"{where}: {example(j)} is no number: say data.ignore = [{key}], or data.categories = [{key}] for "
                    "one-hot"
                )

    def make_table(
        self,
        path: str,
        where: str,
        heads: Heads,
        roles: Roles,
        content: Content,
        said: dict[str, str],
        like: Table | None,
    ) -> Table:
        """Return the table of columns that were read.

        Parameters
        ----------
        path, where:
            the file, and what messages call it
        heads, roles, content:
            what is known of the columns, what each is for, and their values
        said:
            how the format was understood, for ``Table.read``
        like:
            the table of the training samples if these are for testing: its categories, labels and fills apply

        Raises
        ------
        UsageError
            for missing values that ``data.missing`` does not allow, for categories or labels that the training samples
            lack, and if no feature is left
        """
        require_index(heads, roles, content, where)
        gaps = Gaps.find(self.missing, heads, roles, content, where)
        features = FeatureColumns.encode(heads, roles, content, gaps, where, None if like is None else like.terms)
        if not features.columns:
            raise UsageError(f"{where}: no feature is left beside the target")
        targets, words = encoded_targets(heads, roles, content, gaps)
        if like is not None:
            targets, words = renumber_labels(targets, words, like), like.words
        groups: np.ndarray | None = None
        group_names: tuple[str, ...] = ()
        if roles.by is not None:
            groups, group_names = number_groups(gaps.kept(content.words(roles.by)).to_numpy(object))
        said = said | _understood(heads, roles, features, words, group_names) | gaps.read()
        if self.features is None and 0 in roles.features and may_be_index(heads, content):
            said["perhaps an index"] = f"{heads.label(0)}, which counts (data.ignore = [0] leaves it out)"
        return Table(
            path,
            targets,
            len(features.columns),
            features.rows,
            names=tuple(features.names) if heads.names or features.categories else None,
            words=words,
            groups=groups,
            group_names=group_names,
            read=said,
            terms=Terms(heads, roles, features.categories, features.fills),
        )

    def roles_of_test(self, heads: Heads, terms: Terms, where: str) -> Roles:
        """Return the roles of the columns of a test file: by their names, or by their places where there are none.

        heads: of the test file; terms: of the training file. Raises UsageError for a column that is not there, or there
        twice.
        """
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
                raise UsageError(f"{where}: it has {how} {quote_in_error(name)}, which the training file has")
            return places[name]

        return Roles(
            place(roles.target),
            tuple(map(place, roles.features)),
            frozenset(map(place, roles.categories)),
            None if roles.by is None else place(roles.by),
            unnamed_index(heads) if self.features is None else None,
        )

    def heads_of_test(self, heads: Heads, roles: Roles, terms: Terms) -> Heads:
        """Return the heads of a test file with the kinds of the training file's columns where these are used.

        A column of words may have numbers only in the few lines of a test file, or no value at all.
        """
        kinds = list(heads.kinds)
        for own, training in zip(roles.used, terms.roles.used, strict=True):
            kinds[own] = terms.heads.kinds[training]
        return heads._replace(kinds=tuple(kinds))


def _understood(
    heads: Heads,
    roles: Roles,
    features: FeatureColumns,
    words: tuple[str, ...] | None,
    group_names: tuple[str, ...],
) -> dict[str, str]:
    """Return what the columns were taken for, in a few words each, for ``Table.read``."""
    name, names = heads.names[roles.target] if heads.names else "", features.names
    said = {"target": f"{quote_in_error(name)} (column {roles.target + 1})" if name else f"column {roles.target + 1}"}
    said["features"] = f"{len(names)}" + (f": {list_few_labels(names)}" if heads.names or features.categories else "")
    if words:
        said["labels"] = label_mapping(words)
    for j, known in features.categories.items():
        said[f"categories of {clip_for_error_line(heads.name(j), QUOTED)}"] = list_few_labels(known)
    if roles.index is not None:
        kind = "names of rows" if heads.row_names or heads.kinds[0] == "word" else "an index"
        said["left out"] = f"column 1, without a name: {kind} (data.features keeps it)"
    if group_names and roles.by is not None:
        said["nodes"] = f"{heads.label(roles.by)}: {len(group_names)} names"
    return said
