"""The report's first sentences: per comparison who leads in quality, and what an epoch costs. Computed from the tables."""

from __future__ import annotations

import pandas as pd

from .collect import Tables
from .findings import MAIN, lead, pick, place, places
from .tables import decimals, label, metric_label, plural, rounded, unit_for


def headline(tables: Tables) -> list[tuple[str, str]]:
    """Per comparison its place and a paragraph about quality and cost, claiming no more than the intervals do."""
    summary, cost = tables.frames["summary"], tables.frames["efficiency"]
    epochs = pick(cost[cost["median"].notna()], metric="epoch_s") if len(cost) else cost
    paragraphs = []
    for track, dataset, seq_len in places(summary, "track", "dataset", "seq_len"):
        own = pick(epochs, track=track, dataset=dataset, seq_len=seq_len)
        sentences = [_quality_sentence(tables, track, dataset, seq_len)]
        for machine, threads in places(own, "machine_name", "threads"):
            sentences.append(_cost_sentence(pick(own, machine_name=machine, threads=threads)))
        paragraphs.append((f"{place(dataset, seq_len)}, track {track}", " ".join(sentences)))
    return paragraphs


def _quality_sentence(tables: Tables, track: str, dataset: str, seq_len: int) -> str:
    plain, masked = (
        lead(tables, dataset, track, seq_len, masking) for masking in ("unmasked", "seen-masked")
    )
    places_ = decimals([(plain.high - plain.low) / 2])
    text = (
        f"{label(plain.model)} has the highest {metric_label(MAIN)},"
        f" {plain.mean:.{places_}f} [{plain.low:.{places_}f}, {plain.high:.{places_}f}] with seen items ranked; "
    )
    if not plain.unproven:
        text += "its lead over every other model exceeds the margin."
    else:
        text += f"its lead over {_listed(plain.unproven)} is not established."
    if masked.model != plain.model:
        text += f" With seen items masked {label(masked.model)} has the highest."
    return text


def _cost_sentence(rows: pd.DataFrame) -> str:
    rows = rows.sort_values("median")
    factor, unit = unit_for("s", rows["median"])
    first = rows.iloc[0]
    where = f"{first.machine_name} ({first.device}, {plural(first.threads, 'thread')})"
    listed = ", ".join(
        f"{label(r.model)} {rounded(r.median / factor, r.iqr / factor)}" for r in rows.itertuples()
    )
    return f"One training epoch on {where}, extrapolated from measured steps, in {unit}: {listed}."


def _listed(models: list[str]) -> str:
    names = [label(model) for model in models]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
