"""The figure of a profile: a map of all windows for each resource."""

from typing import TYPE_CHECKING

import numpy as np

from mpiqopt.analysis.figures import matplotlib_defaults, save_figure, use_fonts_for, without_math
from mpiqopt.federation.profiles import RESOURCES, Profile
from mpiqopt.terminal import escape_for_terminal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# blocks up to which the numbers fit in their fields
NUMBERED = 12
TITLES = {"time": "time of a step", "memory": "peak memory", "upload": "uploaded bytes"}


def draw_profile(profile: Profile, output: str) -> None:
    """Draw time, memory and upload of each window, first block down and last block across, to the file ``output``.

    Raises UsageError if it cannot be written, or holds something else than a figure.
    """
    with matplotlib_defaults():
        save_figure(_figure(profile), output)


def _figure(profile: Profile) -> "Figure":
    """Return the figure: three maps with one scale of colours."""
    from matplotlib.figure import Figure

    names = [escape_for_terminal(name) for name in profile.blocks]
    use_fonts_for([*names, profile.network])
    side = max(3.0, 0.28 * len(names) + 1)
    figure = Figure(figsize=(3 * side + 2, side + 1.2), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for panel, resource in zip(panels, RESOURCES, strict=True):
        _draw_map(panel, profile, resource, names)
    panels[0].set_ylabel("first block")
    figure.colorbar(panels[-1].images[0], ax=panels, label="relative to training all blocks")
    title = figure.suptitle(f"{profile.network}, {profile.batch} samples a step, {profile.source}")
    without_math(title)
    return figure


def _draw_map(panel: "Axes", profile: Profile, resource: str, names: list[str]) -> None:
    """Draw a field for each window; those that are not in the profile stay empty."""
    shares = np.full((len(names), len(names)), np.nan)
    for cost in profile.costs:
        shares[cost.first, cost.last] = getattr(cost, resource)
    panel.imshow(shares, vmin=0, vmax=1, cmap="viridis")
    panel.set(title=TITLES[resource], xlabel="last block")
    places = np.arange(len(names))
    panel.set_xticks(places, names, rotation=90)
    panel.set_yticks(places, names)
    without_math(*panel.get_xticklabels(), *panel.get_yticklabels())
    if len(names) > NUMBERED:
        return
    for first, last in np.argwhere(np.isfinite(shares)):
        share = shares[first, last]
        colour = "white" if share < 0.6 else "black"
        panel.text(last, first, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=colour)
