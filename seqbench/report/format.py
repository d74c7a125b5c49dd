"""How values are written: the only place that rounds, chooses units, and names models, datasets, machines and verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..config.model_files import shown
from ..core.display import QUANTITIES

DASH = "–"
UNITS = {
    "s": ((1e-3, "ms"), (1, "s"), (60, "min"), (3600, "h")),
    "bytes": ((2**10, "KiB"), (2**20, "MiB"), (2**30, "GiB")),
    "1/s": ((1, "1/s"), (1e3, "1000/s"), (1e6, "million/s")),
    "J": ((1, "J"), (1e3, "kJ")),
    "FLOP": ((1e6, "MFLOP"), (1e9, "GFLOP"), (1e12, "TFLOP")),
    "FLOP/s": ((1e9, "GFLOP/s"), (1e12, "TFLOP/s")),
    "bytes/s": ((1e9, "GB/s"), (1e12, "TB/s")),
}
# Verdicts as their tables have them: the sign beside the word, and the colour (good, bad, open).
VERDICTS = {
    **dict.fromkeys(("better", "above", "cheaper"), ("▲", "good")),
    **dict.fromkeys(("worse", "dearer"), ("▼", "bad")),
    **dict.fromkeys(("reproduced", "reached"), ("✓", "good")),
    **dict.fromkeys(("not reproduced", "below", "failed"), ("✗", "bad")),
    "equivalent": ("=", "level"),
    **dict.fromkeys(("inconclusive", "not published", "not comparable"), ("?", "open")),
    **dict.fromkeys(("not measured", "other hardware"), ("", "muted")),
    "direction only": ("~", "open"),
}


# --- names --------------------------------------------------------------------------------------------------------------


def label(model: str) -> str:
    """Name of a model as its file says."""
    return shown(model).label


def short(model: str) -> str:
    """The same without what stands in brackets."""
    return label(model).partition(" (")[0]


def dataset_name(name: str) -> str:
    """Name of a dataset as it is read: `ml-1m` is ML-1M, `amazon-beauty` is Amazon Beauty."""
    text = ""
    for part in name.split("-"):
        digits = part[:1].isdigit()
        word = part.upper() if digits or len(part) < 3 else part.capitalize()
        text += ("-" if digits else " ") * bool(text) + word
    return text


def condition(dataset: str, seq_len: float) -> str:
    """A dataset at one history length."""
    return f"{dataset_name(dataset)}, L = {count(seq_len)}"


def machine_names(settings: Mapping[str, Any]) -> dict[str, str]:
    """Every machine of the records as it is read; its own name where two would read alike."""
    said: dict[str, str] = {}
    for facts in settings["environments"]:
        cpu = (facts["cpu"] or "").replace("(R)", "").replace("(TM)", "").removesuffix(" Processor")
        on_cpu = facts["device_kind"] == "cpu"
        text = cpu and f"{cpu}, {facts['n_cpus']} CPUs" if on_cpu else facts["device"]
        text = text or facts["machine_name"]
        said.setdefault(facts["machine_name"], text)
    return {n: t if [*said.values()].count(t) == 1 else f"{t} ({n})" for n, t in said.items()}


def metric_label(metric: str, unit: str | None = None) -> str:
    """Label of a quantity with its unit, as the registry has them."""
    entry = QUANTITIES[metric]
    unit = entry.unit if unit is None else unit
    if unit and entry.label.endswith(")"):
        return f"{entry.label[:-1]}, {unit})"
    return f"{entry.label} ({unit})" if unit else entry.label


def direction(metric: str) -> str:
    """Which way is better, in words; empty where neither is."""
    better = QUANTITIES[metric].better
    return f"{better} is better" if better else ""


def verdict(word: object) -> tuple[str, str]:
    """A verdict with its sign, and the mark of its cell."""
    if not known(word):
        return DASH, "muted"
    sign, mark = VERDICTS[str(word)]
    return f"{sign} {word}".strip(), mark


def sign(word: str) -> str:
    """The sign of a verdict alone."""
    return VERDICTS[word][0]


# --- numbers ------------------------------------------------------------------------------------------------------------


def known(value: object) -> bool:
    """Whether a value is there: not None, not NaN, no empty text."""
    return value is not None and value == value and value != ""


def first_digit(value: float) -> int:
    """Decimal place of a number's first digit that is not 0; at most 5, and 3 where there is none."""
    return min(-math.floor(math.log10(value)), 5) if known(value) and value > 0 else 3


def decimals(half_widths: Iterable[float]) -> int:
    """Decimals (3 to 5) that intervals of these half-widths support: where the middle one begins."""
    finite = sorted(h for h in half_widths if known(h) and h > 0)
    return max(first_digit(finite[len(finite) // 2]), 3) if finite else 3


def fixed(value: float, digits: int) -> str:
    """A number in so many decimals, with a true minus; a dash where there is none."""
    return f"{value:,.{digits}f}".replace("-", "−") if known(value) else DASH


def interval(low: float, high: float, digits: int) -> str:
    """An interval in square brackets; nothing where there is none."""
    return f"[{fixed(low, digits)}, {fixed(high, digits)}]" if known(low) and known(high) else ""


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign."""
    return f"{value:+.{digits}f}".replace("-", "−") if known(value) else DASH


def significant(value: float, digits: int = 3) -> str:
    """A number in so many significant digits, thousands whole."""
    if not known(value):
        return DASH
    return rounded(value, abs(value) / 10 ** (digits - 1))


def rounded(value: float, uncertainty: float) -> str:
    """A number with 2 to 4 significant digits, as its uncertainty supports."""
    if value == 0:
        return "0"
    ratio = abs(value) / uncertainty if uncertainty > 0 else math.inf
    digits = 4 if math.isinf(ratio) else min(max(math.ceil(math.log10(ratio)) + 1, 2), 4)
    digits = min(digits, 3) if abs(value) < 1000 else digits
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])  # after rounding: 0.0999 is 0.10
    places = digits - 1 - exponent
    return f"{round(value, places):,.{max(places, 0)}f}".replace("-", "−")


def unit_for(unit: str, values: Iterable[float]) -> tuple[float, str]:
    """Factor and name of the unit in which most of these values read well."""
    finite = sorted(abs(v) for v in values if known(v) and v != 0)
    if unit not in UNITS or not finite:
        return 1, unit
    fits = [pair for pair in UNITS[unit] if finite[len(finite) // 2] >= pair[0]]
    return fits[-1] if fits else UNITS[unit][0]


def quantity(unit: str, value: float, digits: int = 3) -> str:
    """One value in the unit that suits it: 44.1 s, 6.24 min, 1.18 GiB; a dash where there is none."""
    if not known(value):
        return DASH
    factor, name = unit_for(unit, [value])
    return f"{significant(value / factor, digits)} {name}".strip()


def ratio(value: float) -> str:
    """A ratio in two decimals, or in one from 10 on."""
    return fixed(value, 1 if known(value) and abs(value) >= 10 else 2)


def percent(share: float) -> str:
    """A share as a percentage: whole from 10 % on, else one decimal."""
    if not known(share):
        return DASH
    return f"{fixed(100 * share, 0 if abs(share) >= 0.1 else 1).removesuffix('.0')} %"


def count(value: float) -> str:
    """A whole number with thousands separated; a dash where there is none."""
    return f"{int(value):,}" if known(value) else DASH


def plural(n: float, word: str) -> str:
    """A number with its noun."""
    return f"{count(n)} {word}" + ("" if n == 1 else "s")


def listed(names: Iterable[str]) -> str:
    """Names in a row: a, b and c."""
    *names, last = names
    return f"{', '.join(names)} and {last}" if names else last


def length(value: float) -> str:
    """A history length: as it is up to 1,000, above that in two digits, since crossings are estimates."""
    return count(value) if not known(value) or value <= 1000 or value % 1 == 0 else count(float(f"{value:.1e}"))  # fmt: skip


SLOTS = {"ratio": ratio, "percent": percent, "length": length, "count": count}


def slot(value: Any, kind: str) -> str:
    """The value of a sentence's slot, as the table of answers says that it is."""
    return SLOTS[kind](value)


WARNINGS = {
    "failed": "Failed",
    "below_popularity": "Below Popularity",
    "not_a_number": "Not a number",
    "below_baseline": "Below a non-parametric baseline",
    "seeds_apart": "Seeds lie far apart",
    "budget": "Training ended by its budget while still improving",
    "fallback": "Kernel fell back to a slower one",
    "shared_gpu": "GPU shared with another process",
    "few_seeds": "Fewer than three seeds",
    "sessions_apart": "Another session measured equal settings otherwise",
    "substitute_file": "Data file stands in for the publisher's",
    "ties": "Ties in time decide test items",
    "throttled": "Clocks were held down",
    "noisy": "Times scatter between rounds",
    "dirty": "Made with uncommitted code",
    "below_published": "Far below its published value",
}
LEAST = ("below_popularity", "below_baseline", "below_published", "seeds_apart", "few_seeds")  # should lie above  # fmt: skip


def warning(code: str) -> str:
    """What a warning says, by its code."""
    return WARNINGS[code]
