"""One line on how the files of a run were understood, so that a misread column is seen at once."""

from pathlib import Path

from mpiqopt.errors import LINE, clip_for_error_line, fits_in_error_line
from mpiqopt.run.assembly import Experiment


def what_was_read(experiment: Experiment) -> str:
    """Return the line on data and graph files, "a.csv: csv; 2 features: x, y; ..."; "" if the run has read none."""
    shares, graph = experiment.shares, experiment.network.topology.read
    said = [f"{Path(shares.where).name}: {_phrases(shares.read)}"] if shares.read else []
    if graph:
        path = getattr(experiment.config.graphs[0], "path", "topology")
        said.append(f"{Path(path).name}: {_phrases(graph)}")
    if not fits_in_error_line("; ".join(said)):
        said = [clip_for_error_line(each, LINE // len(said) - 2) for each in said]
    return "; ".join(said)


def _phrases(read: dict[str, str]) -> str:
    return "; ".join(_phrase(subject, words) for subject, words in read.items())


def _phrase(subject: str, words: str) -> str:
    """Return the subject and its words, or how many there are: "2 features: a, b"; formats need no subject."""
    if subject == "format":
        return words
    count, colon, names = words.partition(":")
    return f"{count} {subject}{colon}{names}" if subject == "features" else f"{subject} {words}"
