"""Display tables of protocols: what each does to every model's value, and to the order of the models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..analysis import protocols
from ..analysis.collect import Tables
from ..core.display import PRIMARY_METRIC, QUANTITIES
from .findings import pick, unique
from .tables import Cell, Column, Table, decimals, first_digit, known, label
from .views import DASH

PER_DATASET = ("summary", "comparisons", "contrasts", "probes", "curves", "effectiveness")


def without_variants(tables: Tables) -> Tables:
    """The tables without datasets that only repeat another one under another protocol."""
    variants = protocols.variants(tables.datasets)
    frames = {
        name: frame[~frame.dataset.isin(list(variants))]
        if name in PER_DATASET and len(frame)
        else frame
        for name, frame in tables.frames.items()
    }
    return replace(tables, frames=frames)


def keys(tables: Tables) -> list[tuple[str, str]]:
    """Track and base dataset of every table."""
    return unique(tables.frames["protocols"], "track", "base")


def values(tables: Tables, track: str, base: str) -> Table:
    """NDCG@10 of every model under every protocol, and how far the models keep their order."""
    rows = pick(tables.frames["protocols"], track=track, base=base)
    agreement = pick(tables.frames["agreement"], track=track, base=base)
    models = tables.ordered(rows.model)
    digits = decimals((rows.ci_high - rows.ci_low) / 2)
    columns = [Column("Protocol", number=False), Column("Other test item", "Users")]
    columns += [
        Column(label(model), f"{QUANTITIES[PRIMARY_METRIC].label}, mean ± SD over seeds")
        for model in models
    ]
    columns += [
        Column(text, "Order of the models")
        for text in ("Kendall's tau", "Pairs swapped", "Contradicted")
    ]
    body: list[list[Cell]] = []
    for (seq_len,) in unique(rows, "seq_len"):
        body.append([Cell(f"{base}, L = {seq_len}")])
        part = pick(rows, seq_len=seq_len)
        for (name,) in unique(part, "protocol"):
            own = pick(part, protocol=name)
            facts = tables.datasets[own.iloc[0].dataset]
            cells = [_value(pick(own, model=model), digits) for model in models]
            order = pick(agreement, seq_len=seq_len, protocol=name)
            body.append([Cell(name), _moved(facts), *cells, *_order(order)])
    caption = f"Protocols on {base}, track {track}: what they do to the values and to the order of the models"
    return Table(f"protocols-{track}-{base}", caption, columns, body, [NOTE])


NOTE = (
    "All items ranked unless said otherwise. Tau-b between the models' means under a protocol and under leave-one-out in file"
    " order; swapped: pairs of models that change places; contradicted: those whose difference is established under both, in"
    " opposite directions; agreement.csv names the pairs. Values under different splits rank other users or"
    " other targets: only the order of the models is compared."
)


def ties(tables: Tables, track: str, base: str) -> Table:
    """How far values move when events with equal times are shuffled, beside how far training seeds move them."""
    rows = pick(tables.frames["protocols"], track=track, base=base)
    columns = [
        Column("Model", number=False),
        Column("Mean", "File order"),
        Column("SD over training seeds", "File order"),
    ]
    columns += [
        Column(t, "Ties shuffled") for t in ("Orders", "Lowest", "Highest", "SD over orders")
    ]
    columns += [Column("Difference", "float32 clock")]
    body: list[list[Cell]] = []
    for (seq_len,) in unique(rows, "seq_len"):
        part = pick(rows, seq_len=seq_len)
        found = [s for s in protocols.spread(part.to_dict("records")) if s["ties"] and s["base"]]
        if found:
            body.append([Cell(f"{base}, L = {seq_len}: {QUANTITIES[PRIMARY_METRIC].label}")])
            body += [
                _ties_row(one)
                for one in sorted(found, key=lambda s: tables.ordered(part.model).index(s["model"]))
            ]
    note = (
        "Each order is a permutation of the events that share a time within a user; it changes what is held out and what is"
        " learned from. float32 clock: events sorted by times rounded to 32-bit floats, as RecBole does."
    )
    return Table(
        f"ties-{track}-{base}", f"Ties in time on {base}, track {track}", columns, body, [note]
    )


def _value(rows: pd.DataFrame, digits: int) -> Cell:
    if not len(rows):
        return DASH
    row = rows.iloc[0]
    finer = max(digits, first_digit(row["std"]))
    spread = f" ± {row['std']:.{finer}f}" if known(row["std"]) else ""
    return Cell(
        f"{row['mean']:.{digits}f}{spread}",
        f"[{row.ci_low:.{digits}f}, {row.ci_high:.{digits}f}]",
        row["mean"],
    )


def _moved(facts: dict[str, Any]) -> Cell:
    changes = facts.get("order_changes")
    if not changes:
        return DASH
    share = changes["test"] / changes["users"]
    return Cell(
        f"{changes['test']:,}", f"{100 * share:.1f} % of {changes['users']:,}", changes["test"]
    )


def _order(rows: pd.DataFrame) -> list[Cell]:
    if not len(rows):
        return [DASH, DASH, DASH]
    row = rows.iloc[0]
    tau = Cell(f"{row.tau:.2f}", value=row.tau) if known(row.tau) else DASH
    mark = "bad" if row.contradicted else ""
    return [
        tau,
        Cell(f"{row.swapped} of {row.pairs}", value=row.swapped),
        Cell(f"{row.contradicted}", value=row.contradicted, mark=mark),
    ]


def _ties_row(one: dict[str, Any]) -> list[Cell]:
    base, shuffled, clock = one["base"], one["ties"], one["own"].get("float32 clock")
    spread = float(np.std(shuffled, ddof=1)) if len(shuffled) > 1 else None
    difference = clock["mean"] - base["mean"] if clock else None
    numbers = [base["mean"], base["std"], None, min(shuffled), max(shuffled), spread]
    cells = [Cell(f"{n:.4f}", value=n) if known(n) else DASH for n in numbers]
    cells[2] = Cell(str(len(shuffled)), value=len(shuffled))
    last = (
        Cell(f"{difference:+.4f}".replace("-", "−"), value=difference)
        if known(difference)
        else DASH
    )
    return [Cell(label(one["model"]), value=one["model"]), *cells, last]
