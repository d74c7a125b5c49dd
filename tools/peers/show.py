"""A result for people: the table, what differs between the rows, who failed and why."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqbench.report.format import count, percent, rounded
from seqbench.report.tables import Cell, Column, Table, markdown

from .result import sample_rows, summary_row

COLUMNS = [
    Column("Contestant", number=False),
    Column("Time per target (µs)"),
    Column("Times row 1"),
    Column("Times row 2"),
    Column("Times row 1 (CPU time)"),
    Column("Share of its roofline"),
    Column("Targets per step"),
    Column("Step (s)"),
    Column("Steps"),
    Column("CPU / wall"),
    Column("Loading (s)"),
    Column("Evaluation pass (s)"),
    Column("Peak memory (GiB)"),
    Column("Parameters"),
]
RAW = ["contestant", "round", "step", "step_s", "cpu_s", "targets"]


def table(result: dict[str, Any]) -> Table:
    """One row per contestant; a failed one has its reason instead of figures."""
    rows = [_row(row) for row in result["contestants"]]
    data = result["data"]
    caption = (
        f"Training on {data['name']} ({data['n_users']:,} users, {data['n_items']:,} items), "
        f"histories of {result['settings']['length']}: median over rounds [95 % interval]"
    )
    return Table("bench-peers", caption, COLUMNS, rows, notes(result))


def notes(result: dict[str, Any]) -> list[str]:
    """What a reader of the table must know, one paragraph each."""
    variables = ", ".join(f"`{k}={v}`" for k, v in result["variables"].items())
    settings = ", ".join(f"{k} {v}" for k, v in result["settings"].items())
    return [
        "A target is an item that is predicted, padding not counted. Times row 1: seconds per target over those of our "
        "SASRec at our usual batch; row 2, where it ran, is ours at the batch of RecTools and RePlay. Ratios are paired by round. CPU / "
        "wall below 1: other work had the core meanwhile, and the ratio of CPU times is the better one. Loading leaves "
        "out imports and writing the data in the form that a library reads.",
        f"Asked of everyone: {settings}; fp32 unless a row says otherwise, Adam, cross-entropy over all items. Environment of every worker: "
        f"{variables}.",
        _limit(result),
        *_said(result),
    ]


def write(result: dict[str, Any], folder: Path) -> None:
    """Write <table's name>.json (all of it), .md (the table), .csv (its numbers), samples.csv (every step)."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = table(result)
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    (folder / f"{shown.name}.json").write_text(text, encoding="utf-8")
    (folder / f"{shown.name}.md").write_text(markdown(shown), encoding="utf-8")
    rows = [summary_row(row) for row in result["contestants"]]
    heads = list(dict.fromkeys(name for row in rows for name in row))
    _csv(folder / f"{shown.name}.csv", heads, [[row.get(name) for name in heads] for row in rows])
    _csv(folder / "samples.csv", RAW, sample_rows(result))


def aligned(shown: Table) -> str:
    """The table in columns of equal width, for a terminal."""
    lines = [[column.text for column in shown.columns]]
    lines += [[f"{c.text} {c.detail}".strip() for c in row] for row in shown.rows]
    full = [line for line in lines if len(line) == len(lines[0])]
    widths = [max(map(len, texts)) for texts in zip(*full, strict=True)]
    body = "\n".join(
        "  ".join(
            text.rjust(width) if column.number else text.ljust(width)
            for text, width, column in zip(line, widths, shown.columns, strict=False)
        ).rstrip()
        for line in lines
    )
    return "\n".join([shown.caption, "", body, "", *shown.notes])


def _row(row: dict[str, Any]) -> list[Cell]:
    if row["status"] != "ok":
        return [
            Cell(row["label"]),
            Cell(f"failed: {row['reason']}"),
            *[Cell("")] * (len(COLUMNS) - 2),
        ]
    figures, facts = row["figures"], row["facts"]
    return [
        Cell(row["label"]),
        _estimate(figures["seconds_per_target"], 1e6),
        _estimate(figures["ratio"]),
        _estimate(figures["ratio_same_batch"]),
        _estimate(figures["cpu_ratio"]),
        _share(figures.get("share_of_roofline")),
        _number(figures["targets_per_step"], 0),
        _number(figures["step_s"]["median"], 3),
        Cell(count(figures["steps"]), value=figures["steps"]),
        _number(figures["cpu_per_wall"], 2),
        _number(facts["seconds"]["load"], 1),
        _number(row["evaluation"]["evaluate_s"], 1),
        _number((row["peak_rss_bytes"] or float("nan")) / 2**30, 2),
        Cell(count(facts["parameters"]), value=facts["parameters"]),
    ]


def _estimate(found: dict[str, float] | None, factor: float = 1.0) -> Cell:
    if found is None:
        return Cell("–")
    median, low, high = (factor * found[key] for key in ("median", "low", "high"))
    half = (high - low) / 2
    detail = f"[{rounded(low, half)}, {rounded(high, half)}]"
    return Cell(rounded(median, half), detail, median)


def _share(found: float | None) -> Cell:
    return Cell("–") if found is None else Cell(percent(found), value=found)


def _number(value: float, places: int) -> Cell:
    return Cell(f"{value:,.{places}f}", value=value)


def _limit(result: dict[str, Any]) -> str:
    """What the machine does at best, and what its rates are for."""
    rates = [
        f"{precision} {name} {' and '.join(f'{run[precision][name] / 1e9:.1f}' for run in result['ceilings'])}"
        for precision, first in (result["ceilings"] or [{}])[0].items()
        for name in first
        if name.endswith("_s")
    ]
    return (
        f"{result['machine']['cpu']}, {result['settings']['threads']} thread(s). "
        f"Rates in 1e9 per second of CPU time, before and after: {', '.join(rates) or 'not measured'}. "
        "Share of its roofline: the least seconds that products, and the exponentials or bytes of a scan, need at these "
        "rates, over the CPU seconds taken."
    )


def _said(result: dict[str, Any]) -> Iterator[str]:
    """What rows say about themselves: failure; versions, what the evaluation gives, what differs, once for rows alike."""
    alike: dict[str, list[str]] = {}
    for row in result["contestants"]:
        if row["status"] != "ok":
            yield f"**{row['label']}** failed: {row['reason']}"
            continue
        facts = row["facts"]
        versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
        said = f"({versions}). Evaluation: {facts['evaluates']}. What differs: {'; '.join(facts['differs'])}."
        alike.setdefault(said, []).append(row["label"])
    for said, labels in alike.items():
        yield f"**{', '.join(labels)}** {said}"


def _csv(path: Path, heads: list[str], rows: list[list[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads)
        writer.writerows(rows)
