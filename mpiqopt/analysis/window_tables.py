"""Tables of profiles: what each window of a network takes."""

import sys

from mpiqopt.analysis.tables import Column, bytes_for_tables, format_number, print_table
from mpiqopt.federation.profiles import Profile
from mpiqopt.terminal import escape_for_terminal, terminal_width, two_terminal_columns


def print_profile(profile: Profile) -> None:
    """Print what training the whole network takes, and a row for each window: relative to that, in per cent."""
    width = terminal_width(sys.stdout)
    print(two_terminal_columns(_facts(profile), width), end="\n")
    print_table(
        [
            Column("window", [str(cost.window) for cost in profile.costs], is_name=True),
            *(
                Column(f"{name} %", [format_number("{:.1f}", 100 * getattr(cost, name)) for cost in profile.costs])
                for name in ("time", "memory", "upload")
            ),
            Column("blocks", [_blocks(profile, cost.first, cost.last) for cost in profile.costs], is_name=True),
        ],
        width,
    )


def _facts(profile: Profile) -> list[tuple[str, str]]:
    """Return facts about a profile, and what the whole network takes, as (name, text)."""
    full, frozen = profile.full, profile.frozen
    bits = f" of {frozen.bits} bits" * (frozen.bits < 8)
    return [
        ("network", f"{profile.network}, {len(profile.blocks)} blocks, {sum(profile.coordinates)} coordinates"),
        ("frozen blocks", f"{frozen.before} before the window, {frozen.after} after it{bits}"),
        *((name, text) for name, text in profile.device.items() if name != "mpiqopt"),
        ("batch", f"{profile.batch} samples"),
        *([("whole network: time", f"{1e3 * full.seconds:.4g} ms a step")] if full.seconds is not None else []),
        ("  memory", f"{bytes_for_tables(full.memory)} above the loaded network"),
        ("  upload", bytes_for_tables(full.upload)),
    ]


def _blocks(profile: Profile, first: int, last: int) -> str:
    """Return the names of the first and last block of a window."""
    names = [profile.blocks[first]] + [profile.blocks[last]] * (last > first)
    return escape_for_terminal(" to ".join(names))
