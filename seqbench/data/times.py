"""What a time column holds: real times in one of four units, or only an order; told apart by the size of the numbers."""

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np

from ..config.sources import SOURCES
from ..core.errors import UserError
from .formats import Interactions
from .layouts import LOOKED_AT

UNITS = {"unix": 1, "unix-ms": 10**3, "unix-us": 10**6, "unix-ns": 10**9}  # of time in a second
TIME_KINDS = (*UNITS, "rank", "partial", "none")
PLAUSIBLE_UNIX_S = (1e8, 4.2e9)  # 1973 to 2103: beyond lie ranks and milliseconds
FIRST_LOGS_S = 788_918_400  # 1995: before it nobody kept interactions
WORDS = {
    "unix": "seconds",
    "unix-ms": "milliseconds",
    "unix-us": "microseconds",
    "unix-ns": "nanoseconds",
}
HIGHEST_RATING = 10
# YYYYMMDD, and with hours, minutes, seconds, milliseconds. One with hours would be a second of 2033 and later.
DATES = ((19700101, 20991231), (1990010100, 2099123123), (197001010000, 209912312359), (19700101000000, 20991231235959),
         (19700101000000000, 20991231235959999))  # fmt: skip
FEWEST_TOLD = 20  # different times from which on yyMMddhhmm is told from seconds


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
    dated = any(low >= least and high <= most for least, most in DATES)
    if dated or _short_dates(times):
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
    in_s = times / UNITS[kind]
    odd = np.flatnonzero((in_s < PLAUSIBLE_UNIX_S[0]) | (in_s > PLAUSIBLE_UNIX_S[1]))
    if len(odd) < len(times) / 2:
        row = int(parsed.known[odd[0]]) + 1
        raise UserError(
            f"{said}: {len(odd):,} of {len(times):,} lie outside, the first is {times[odd[0]]:.15g} in row {row:,}, not counting a header;"
            " correct them, or take their rows out"
        )
    if low >= 0 and high <= HIGHEST_RATING:
        raise UserError(
            f"{said}; if they are ratings, name the column of times under `columns`; if ranks, say `time: rank`"
        )
    raise UserError(f"{said}; say `time: rank` if they only give the order within a user")


def _short_dates(times: np.ndarray) -> bool:
    """Whether all times (n,) are valid as yyMMddhhmm, which Unix seconds of today have as many digits as."""
    if times.max() >= 1e10 or (times.dtype.kind == "f" and (times % 1).any()):
        return False
    some = np.unique(times[:LOOKED_AT].astype(np.int64))
    month, day, hour, minute = (some // 10**place % 100 for place in (6, 4, 2, 0))
    valid = (month - 1 < 12) & (month > 0) & (day - 1 < 31) & (day > 0) & (hour < 24) & (minute < 60)  # fmt: skip
    return len(some) >= FEWEST_TOLD and some[0] >= 10**8 and bool(valid.all())


def say_times(times: np.ndarray) -> Iterator[str]:
    """Lines for the log on real times (n,) in seconds."""
    first, last = (datetime.fromtimestamp(float(t), UTC).date() for t in (times.min(), times.max()))
    yield f"times from {first} to {last} (UTC)"
    early = np.count_nonzero(times < FIRST_LOGS_S)
    if early:
        yield f"warning: {early:,} of {len(times):,} times lie before 1995; are all of them Unix times, and whole?"


def _plausible(low: float, high: float) -> bool:
    return PLAUSIBLE_UNIX_S[0] <= low and high <= PLAUSIBLE_UNIX_S[1]
