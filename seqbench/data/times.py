"""What a time column holds: real times in one of four units, or only an order; told apart by the size of the numbers."""

import dataclasses

from ..config.sources import SOURCES
from ..core.errors import UserError
from .formats import Interactions

UNITS = {"unix": 1, "unix-ms": 10**3, "unix-us": 10**6, "unix-ns": 10**9}  # of time in a second
TIME_KINDS = (*UNITS, "rank", "partial", "none")
PLAUSIBLE_UNIX_S = (1e8, 1e11)  # 1973 to 5138: beyond lie ranks and milliseconds
WORDS = {
    "unix": "seconds",
    "unix-ms": "milliseconds",
    "unix-us": "microseconds",
    "unix-ns": "nanoseconds",
}
HIGHEST_RATING = 10
DATES = ((19700101, 20991231), (19700101000000, 20991231235959))  # YYYYMMDD, YYYYMMDDhhmmss


def time_kind(name: str, definition: dict, parsed: Interactions) -> tuple[str, Interactions]:
    """What the time column holds, and the rows with times in seconds if it holds real ones."""
    local, source = definition.get("local", {}), definition["source"]
    has_time = parsed.time is not None
    default = SOURCES[source].time if source in SOURCES else "unix" if has_time else "none"
    kind = local.get("time", default)
    key = f"datasets.{name}.local.time"
    if kind not in TIME_KINDS:
        raise UserError(f"{key}: {kind!r} is unknown; allowed: {', '.join(TIME_KINDS)}")
    if kind != "none" and not has_time and (kind in UNITS or parsed.position is None):
        raise UserError(f"{key}: {kind} needs a time column, but local.columns maps none")
    if kind not in UNITS:
        return kind, parsed
    times = parsed.of_known(parsed.time)
    low, high = float(times.min()), float(times.max())
    found = [unit for unit, per_s in UNITS.items() if _plausible(low / per_s, high / per_s)]
    said = f"{key}: times from {low:.15g} to {high:.15g} are no Unix {WORDS[kind]}"
    if any(low >= least and high <= most for least, most in DATES):
        raise UserError(
            f"{said} but dates such as {int(low)}; write Unix seconds, or say `time: rank`, which keeps their order"
        )
    if found == [kind]:
        if kind != "unix":
            parsed = dataclasses.replace(parsed, time=parsed.time / UNITS[kind])
        return "unix", parsed
    if found:
        raise UserError(f"{said} but {WORDS[found[0]]}; say `time: {found[0]}`")
    if low <= 0 and _plausible(high, high):
        raise UserError(f"{said}; write the real ones, or say `time: partial` if some are unknown")
    if _plausible(low, low) and any(_plausible(high / n, high / n) for n in UNITS.values()):
        raise UserError(f"{said}: several units are mixed; write all times in seconds")
    if low >= 0 and high <= HIGHEST_RATING:
        raise UserError(
            f"{said}; if they are ratings, name the column of times under `columns`; if ranks, say `time: rank`"
        )
    raise UserError(f"{said}; say `time: rank` if they only give the order within a user")


def _plausible(low: float, high: float) -> bool:
    return PLAUSIBLE_UNIX_S[0] <= low and high <= PLAUSIBLE_UNIX_S[1]
