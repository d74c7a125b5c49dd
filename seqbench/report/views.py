"""Display tables of what was run and how well: which rows and columns, from the tidy tables to cells."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..analysis.collect import Tables
from ..analysis.summary import CONCLUSIVE, UNSTEADY
from ..core.display import PRIMARY_METRIC, QUALITY_METRICS, QUANTITIES
from .findings import condition_name, enough_seeds, failures, lead, pick, unique
from .tables import (
    Cell,
    Column,
    Table,
    decimals,
    first_digit,
    known,
    label,
    metric_label,
    share,
    signed,
    whole,
)

SEEN_ITEMS = {"kept": "Seen items kept", "excluded": "Seen items excluded"}
DASH = Cell("–", mark="muted")


# --- what was run -------------------------------------------------------------------------------------------------------


def machines(tables: Tables) -> Table:
    """What was run where, by machine and number of threads."""
    experiments = tables.frames["experiments"]
    columns = [
        Column(t, number=False) for t in ("Machine", "Device", "Processor and memory", "System")
    ]
    columns += [Column(t) for t in ("Threads", "Trainings", "Measurements", "Not ok")]
    rows = []
    for facts in _environments(tables):
        part = pick(
            experiments, machine=facts["machine"], threads=facts["threads"], device=facts["device"]
        )
        memory = f"{facts['cpu']}, {facts['n_cpus']} cores, {facts['memory_bytes'] / 2**30:.0f} GiB"
        texts = [
            facts["machine_name"],
            facts["device"],
            memory,
            f"{facts['os']}, Python {facts['python']}",
        ]
        counts = [facts["threads"], len(pick(part, kind="train")), len(pick(part, kind="measure"))]
        counts.append(int((part.status != "ok").sum()))
        rows.append([Cell(text) for text in texts] + [Cell(whole(n), value=n) for n in counts])
    return Table("machines", "Machines", columns, rows)


def _environments(tables: Tables) -> list[dict[str, Any]]:
    seen = {}
    for facts in tables.settings["environments"]:
        seen.setdefault((facts["machine"], facts["device"], facts["threads"]), facts)
    return list(seen.values())


def failed(tables: Tables) -> Table:
    """Experiments that did not come to their end, with their reasons."""
    rows = [
        [
            Cell(row.path),
            Cell(row.status, mark="bad"),
            Cell(row.reason if known(row.reason) else "–"),
        ]
        for row in failures(tables).itertuples()
    ]
    columns = [Column(text, number=False) for text in ("Record", "Status", "Reason")]
    return Table("failed", "Experiments that failed", columns, rows)


def datasets(tables: Tables) -> Table:
    """Counts, lengths and ties of the datasets."""
    heads = ("Users", "Items", "Interactions", "k-core", "min", "median", "mean", "max")
    columns = [Column("Dataset", number=False)]
    columns += [Column(t, "Events per user" if k > 3 else "") for k, t in enumerate(heads)]
    columns += [
        Column("Repeats"),
        Column("Test item decided by a tie"),
        Column("Hash", number=False),
    ]
    rows = []
    for name, facts in tables.datasets.items():
        counts = [facts[key] for key in ("n_users", "n_items", "n_interactions", "k_core")]
        lengths = [facts["lengths"][key] for key in ("min", "median", "mean", "max")]
        ties = (facts["ties"] or {}).get("test_decided_by_tie")
        cells = [Cell(whole(n), value=n) for n in counts]
        cells += [Cell(f"{n:,.4g}", value=n) for n in lengths]
        cells += [Cell(share(n), value=n) if known(n) else DASH for n in (facts["repeats"], ties)]
        rows.append([Cell(name), *cells, Cell(facts["hash"][:12], value=facts["hash"])])
    return Table("datasets", "Datasets after filtering", columns, rows)


# --- quality ------------------------------------------------------------------------------------------------------------


def effectiveness(tables: Tables, track: str, dataset: str) -> Table:
    """Test quality of every model of a track on a dataset, with seen items kept and excluded side by side."""
    rows = pick(tables.frames["summary"], track=track, dataset=dataset, ties="conservative")
    oracle = (tables.datasets.get(dataset, {}).get("oracle") or {}).get("test")
    columns = [Column("Model", number=False), Column("Seeds"), Column("Parameters")]
    for seen_items, title in SEEN_ITEMS.items():
        columns += [Column(metric_label(metric), title) for metric in QUALITY_METRICS]
        if oracle and seen_items == "kept":
            columns.append(Column("Share of oracle", title))
    digits = decimals((rows.ci_high - rows.ci_low) / 2)
    body: list[list[Cell]] = []
    lengths = sorted(set(rows.seq_len))
    for seq_len in lengths:
        body.append([Cell(condition_name(dataset, seq_len))])
        part = pick(rows, seq_len=seq_len)
        leads = {m: lead(tables, dataset, track, seq_len, m) for m in SEEN_ITEMS}
        for model in tables.ordered(part.model):
            own = pick(part, model=model)
            body.append(_effectiveness_row(tables, own, leads, digits, oracle))
    caption = f"Test quality on {dataset}, track {track}: mean over seeds ± standard deviation, 95 % interval"
    return Table(
        f"effectiveness-{track}-{dataset}",
        caption,
        columns,
        body,
        _effectiveness_notes(rows, oracle),
    )


def _effectiveness_row(
    tables: Tables, own: pd.DataFrame, leads: dict, digits: int, oracle: dict[str, float] | None
) -> list[Cell]:
    first = own.iloc[0]
    keys = {key: first[key] for key in ("model", "dataset", "track", "seq_len")}
    parameters = pick(tables.frames["experiments"], kind="train", **keys).parameters.max()
    cells = [
        Cell(label(first.model), value=first.model),
        Cell(whole(first.n_seeds), value=first.n_seeds),
    ]
    cells.append(Cell(whole(parameters), value=parameters) if known(parameters) else DASH)
    for seen_items in SEEN_ITEMS:
        for metric in QUALITY_METRICS:
            row = pick(own, seen_items=seen_items, metric=metric).iloc[0]
            best = metric == PRIMARY_METRIC and leads[seen_items].model == first.model
            mark = ("best" if leads[seen_items].established else "lead") if best else ""
            cells.append(_quality_cell(row, digits, mark))
        if oracle and seen_items == "kept":
            part = (
                pick(own, seen_items=seen_items, metric=PRIMARY_METRIC)["mean"].iloc[0]
                / oracle[PRIMARY_METRIC]
            )
            cells.append(Cell(f"{100 * part:.0f} %", value=part))
    return cells


def _quality_cell(row: pd.Series, digits: int, mark: str) -> Cell:
    finer = max(digits, first_digit(row["std"]))  # a small spread is not written as zero
    spread = f" ± {row['std']:.{finer}f}" if known(row["std"]) else ""
    detail = f"[{row.ci_low:.{digits}f}, {row.ci_high:.{digits}f}]"
    return Cell(f"{row['mean']:.{digits}f}{spread}", detail, row["mean"], mark)


def _effectiveness_notes(rows: pd.DataFrame, oracle: dict[str, float] | None) -> list[str]:
    budgets = sorted(set(rows.budget.dropna()))
    notes = [f"Budget of the trained models: at most {'; '.join(budgets)}."] if budgets else []
    marks = (
        "Bold NDCG@10: the interval of the difference to every other model lies beyond the margin, with at least"
        " 3 seeds. Underlined (italic in Markdown): the highest mean, but not established."
    )
    if oracle:
        notes.append(
            "Share of oracle: NDCG@10 as a share of what the generator of the data makes possible."
        )
    return [*notes, marks]


def differences(tables: Tables, track: str, dataset: str) -> Table:
    """Paired differences of NDCG@10 between the trained models, with their verdicts."""
    rows = pick(tables.frames["comparisons"], track=track, dataset=dataset, metric=PRIMARY_METRIC)
    trained = pick(tables.frames["experiments"], trained=True, dataset=dataset, track=track).model
    rows = rows[rows.model_a.isin(trained) & rows.model_b.isin(trained)] if len(rows) else rows
    columns = [Column("Difference", number=False)]
    columns += [Column(QUANTITIES[PRIMARY_METRIC].label, title) for title in SEEN_ITEMS.values()]
    columns += [Column(t, title) for title in SEEN_ITEMS.values() for t in ("Effect", "p (Holm)")]
    body: list[list[Cell]] = []
    for (seq_len,) in unique(rows, "seq_len"):
        body.append([Cell(condition_name(dataset, seq_len))])
        part = pick(rows, seq_len=seq_len)
        for a, b in unique(part, "model_a", "model_b"):
            pair = pick(part, model_a=a, model_b=b)
            cells = [difference_cell(pick(pair, seen_items=m).iloc[0]) for m in SEEN_ITEMS]
            cells += [c for m in SEEN_ITEMS for c in _tested(pick(pair, seen_items=m).iloc[0])]
            body.append([Cell(f"{label(a)} − {label(b)}"), *cells])
    margin = tables.settings["margin"]
    note = (
        f"Margin: {100 * margin:g} % of the better model's mean. Users are paired; every pair and metric stands in"
        " comparisons.csv. Effect: mean difference over the standard deviation of users' differences. p: paired t over users"
        " as a cross-check, adjusted (Holm) over all pairs of models; it knows nothing of the luck of the training, so"
        " nothing is claimed by it."
    )
    return Table(
        f"differences-{track}-{dataset}",
        f"Paired differences on {dataset}, track {track}",
        columns,
        body,
        [note],
    )


def _tested(row: pd.Series) -> list[Cell]:
    """Effect size and adjusted p-value."""
    p = row.p_holm
    text = "< 0.001" if p < 0.001 else f"{p:.3f}"
    return [Cell(f"{row.effect:+.3f}".replace("-", "−"), value=row.effect), Cell(text, value=p)]


def probes(tables: Tables, track: str, dataset: str, probe: str) -> Table:
    """NDCG@10 of every model for each group of users of a probe, or with the order of histories as it was and shuffled."""
    rows = pick(tables.frames["probes"], track=track, dataset=dataset, probe=probe)
    groups = [group for (group,) in unique(rows, "group")]
    digits = decimals((rows.ci_high - rows.ci_low) / 2) if len(rows) else 3
    columns = [
        Column("Model", number=False),
        *[Column(group, probe.capitalize()) for group in groups],
    ]
    body: list[list[Cell]] = []
    for (seq_len,) in unique(rows, "seq_len"):
        part = pick(rows, seq_len=seq_len)
        sizes = ", ".join(
            whole(pick(part, group=g).n_users.max()) for g in groups if len(pick(part, group=g))
        )
        body.append([Cell(f"{condition_name(dataset, seq_len)}: {sizes} users")])
        for model in tables.ordered(part.model):
            own = pick(part, model=model)
            found = [pick(own, group=group) for group in groups]
            cells = [_probe_cell(f.iloc[0], digits) if len(f) else DASH for f in found]
            body.append([Cell(label(model), value=model), *cells])
    caption = f"{QUANTITIES[PRIMARY_METRIC].label} by {probe}, {dataset}, track {track}: mean over seeds, 95 % interval"
    return Table(f"probe-{probe.replace(' ', '-')}-{track}-{dataset}", caption, columns, body)


def _probe_cell(row: pd.Series, digits: int) -> Cell:
    if not known(row["mean"]):
        return DASH
    detail = f"[{row.ci_low:.{digits}f}, {row.ci_high:.{digits}f}]"
    return Cell(f"{row['mean']:.{digits}f}", detail, row["mean"])


def difference_cell(row: Any) -> Cell:
    """A difference with its interval and verdict."""
    verdict = row.verdict
    settled = verdict in CONCLUSIVE and enough_seeds(row.trained_seeds)
    few = "" if settled or verdict not in CONCLUSIVE else ", too few seeds"
    word = "not judged, seeds far apart" if verdict == UNSTEADY else f"{verdict}{few}"
    mark = {"better": "best", "worse": "bad"}.get(verdict, "") if settled else "muted"
    text, _, ends = signed(row.difference, row.ci_low, row.ci_high).partition(" ")
    return Cell(text, f"{ends} {word}", row.difference, mark)
