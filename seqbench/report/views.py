"""Which tables stand in which section of the page: each a declaration of its rows and columns, made into cells by one function.

A table has rows by some keys of a tidy table, headings over runs of rows, and columns that repeat for every value of other keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..analysis.rows import pick, unique
from ..analysis.tables import Tables
from ..core.display import PHASES, PRIMARY_METRIC, QUANTITIES, shown_quantities
from . import format as fmt
from .figures_cost import COMMON
from .format import DASH, known
from .tables import Cell, Column, Table

Row = Mapping[str, Any]
COSTS = (
    ("train", "step_s"),
    ("train", "peak_allocated_bytes"),
    ("inference", "batch_s"),
)  # held against each other
STEPS = (("train", "epoch_s"), ("train", "peak_reserved_bytes"), ("train", "saved_bytes"), ("inference", "batch_s"))  # of the ablation  # fmt: skip
SIGNS = {"": "", "interval": "interval", "few_seeds": "few seeds", "seeds_apart": "seeds apart", "holm": "corrected for many", "few_rounds": "few rounds"}  # fmt: skip
CURVES = ("length-at-constant-tokens", "batch-size", "catalogue-size")


@dataclass(frozen=True)
class Field:
    """A column: its head, and the cell of a row (or of all rows of a key, with `many`)."""

    text: str
    cell: Callable[[Any], Cell]
    number: bool = True
    many: bool = False


@dataclass(frozen=True)
class View:
    """A table of the page, or one for each value of `split`.

    rows: the tidy table, filtered. heading: keys of the rows that are named over a run of rows. by: keys of a row, shown first.
    fields: further columns of a row. spread, own: keys whose every value repeats the columns `own`.
    """

    name: str
    section: str
    caption: str
    rows: Callable[[Tables], pd.DataFrame]
    by: tuple[str, ...]
    fields: tuple[Field, ...] = ()
    heading: tuple[str, ...] = ()
    spread: tuple[str, ...] = ()
    own: tuple[Field, ...] = ()
    split: tuple[str, ...] = ()
    note: str = ""


def tables(content: Tables) -> dict[str, list[Table]]:
    """All tables that have rows, by section of the page."""
    found: dict[str, list[Table]] = {}
    for view in VIEWS:
        frame = view.rows(content)
        for values in unique(frame, *view.split) if view.split else [()]:
            part = pick(frame, **dict(zip(view.split, values, strict=True)))
            if len(part):
                found.setdefault(view.section, []).append(_table(view, part, content, values))
    return found


def _table(view: View, frame: pd.DataFrame, content: Tables, split: tuple) -> Table:
    said = _Names(content)
    keys, groups = [*view.heading, *view.by], _spread_values(view, frame, content)
    columns = [Column(HEADS.get(key, key.capitalize()), number=False) for key in view.by]
    columns += [Column(field.text, number=field.number) for field in view.fields]
    for values in groups:
        over = ", ".join(said(key, value) for key, value in zip(view.spread, values, strict=True))
        columns += [Column(field.text, over, field.number) for field in view.own]
    body: list[list[Cell]] = []
    heading: tuple | None = None
    for key, rows in frame.groupby(keys, sort=False, dropna=False):
        records = rows.astype(object).to_dict("records")
        if view.heading and key[: len(view.heading)] != heading:
            heading = key[: len(view.heading)]
            body.append([Cell(", ".join(said(k, v) for k, v in zip(view.heading, heading, strict=True) if known(v)))])  # fmt: skip
        shown = zip(view.by, key[len(view.heading) :], strict=True)
        cells = [Cell(said(k, v), value=v if known(v) else None) for k, v in shown]
        cells += [_cell(field, records) for field in view.fields]
        for values in groups:
            mine = [r for r in records if all(_same(r[k], v) for k, v in zip(view.spread, values, strict=True))]  # fmt: skip
            cells += [_cell(field, mine) for field in view.own]
        body.append(cells)
    names = [said(key, value) for key, value in zip(view.split, split, strict=True)]
    name = "-".join([view.name, *(str(value).lower().replace(" ", "-") for value in split)])
    return Table(
        name, ", ".join([view.caption, *names]), columns, body, [view.note] * bool(view.note)
    )


def _spread_values(view: View, frame: pd.DataFrame, content: Tables) -> list[tuple]:
    if not view.spread:
        return []
    found = unique(frame, *view.spread)
    models = [k for k in view.spread if k in ("model", "comparator", "model_b")]
    if models:
        order = content.ordered(frame[models[0]])
        found.sort(key=lambda values: order.index(values[view.spread.index(models[0])]))
    return found


def _same(one: Any, two: Any) -> bool:
    return one == two or not (known(one) or known(two))


def _cell(field: Field, records: list[Row]) -> Cell:
    if not records:
        return Cell(DASH, mark="muted")
    return field.cell(records if field.many else records[0])


class _Names:
    """How values of keys are read."""

    def __init__(self, content: Tables) -> None:
        machines = fmt.machine_names(content.settings)
        self.machine = lambda name: machines.get(name, str(name))

    def __call__(self, key: str, value: Any) -> str:
        if not known(value):
            return DASH
        if key == "machine_name" or key in ("machine_a", "machine_b"):
            return self.machine(value)
        return NAMES[key](value) if key in NAMES else str(value)


NAMES: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(("dataset", "base"), fmt.dataset_name),
    **dict.fromkeys(("model", "comparator", "model_b"), fmt.label),
    "seq_len": lambda value: f"L = {fmt.count(value)}",
    "x": fmt.count,
    "track": lambda value: f"track {value}",
    "phase": fmt.phase_label,
    **dict.fromkeys(("metric", "quantity"), lambda value: QUANTITIES[value].label),
    "seen_items": lambda value: f"seen items {value}",
    "code": fmt.warning,
    "seed": fmt.count,
    "goal": lambda value: f"goal {fmt.fixed(value, 4)}",
}
HEADS = {"model": "Model", "seq_len": "L", "x": "L", "seen_items": "Seen items", "path": "Record", "machine_name": "Machine", "metric": "Metric"}  # fmt: skip


# --- cells --------------------------------------------------------------------------------------------------------------


def text(head: str, column: str, show: Callable[[Any], str] = str) -> Field:
    """A column of text."""
    return Field(head, lambda row: Cell(show(row[column]) if known(row[column]) else DASH, value=row[column]), number=False)  # fmt: skip


def number(
    head: str, column: str, show: Callable[[Any], str] = fmt.count, bad: bool = False
) -> Field:
    """A column of numbers; bad: what is not zero is marked."""

    def cell(row: Row) -> Cell:
        value = row[column]
        return Cell(
            show(value), value=value, mark="bad" if bad and known(value) and value > 0 else ""
        )

    return Field(head, cell)


def quality(head: str, column: str, low: str, high: str) -> Field:
    """A quality with its interval, in the digits that it supports."""

    def cell(row: Row) -> Cell:
        if not known(row[column]):
            return Cell(DASH, mark="muted")
        digits = fmt.decimals([(row[high] - row[low]) / 2]) if known(row[high]) else 3
        return Cell(fmt.fixed(row[column], digits), fmt.interval(row[low], row[high], digits), row[column])  # fmt: skip

    return Field(head, cell)


def measured(head: str, column: str, low: str = "", high: str = "", unit: str = "") -> Field:
    """A cost in a unit that suits it, with its quartiles; unit: or that of the quantity that the row is about."""

    def cell(row: Row) -> Cell:
        own = unit or QUANTITIES[row.get("metric") or row["quantity"]].unit
        value = row[column]
        if not known(value):
            return Cell(DASH, mark="muted", title=row.get("reason") or "")
        factor, name = fmt.unit_for(own, [value])
        ends = [
            fmt.significant(row[end] / factor) for end in (low, high) if end and known(row[end])
        ]
        detail = f"[{', '.join(ends)}]" if len(ends) == 2 and ends[0] != ends[1] else ""
        return Cell(f"{fmt.significant(value / factor)} {name}".strip(), detail, value)

    return Field(head, cell)


def judged(head: str, column: str = "verdict") -> Field:
    """A verdict; why it is open under the pointer."""

    def cell(row: Row) -> Cell:
        word, mark = fmt.verdict(row[column])
        return Cell(word, mark=mark, title=_why(row))

    return Field(head, cell, number=False)


def _why(row: Row) -> str:
    why = row.get("why")
    return SIGNS.get(why, why.replace("_", " ")) if known(why) else ""


def _difference(row: Row) -> Cell:
    """A difference as a share of the better mean, with its interval and the mark of its verdict."""
    sign, mark = fmt.verdict(row["verdict"])
    ends = [fmt.percent(row[end]).removesuffix(" %") for end in ("share_low", "share_high")]
    return Cell(f"{sign.split(' ')[0]} {fmt.percent(row['share'])}", f"[{', '.join(ends)}]", row["share"], mark, _why(row) or row["verdict"])  # fmt: skip


def _ratio(row: Row) -> Cell:
    sign, mark = fmt.verdict(row["verdict"])
    ends = [fmt.ratio(row[end]) for end in ("ratio_low", "ratio_high")]
    return Cell(f"{sign.split(' ')[0]} {fmt.ratio(row['ratio'])}", f"[{', '.join(ends)}]", row["ratio"], mark, row["verdict"])  # fmt: skip


def _crossing(row: Row) -> Cell:
    """Where the cheaper of two models changes: the length with its interval, or which is cheaper all along."""
    if known(row["x"]):
        about = "about " * bool(row["bracketed"]) + "beyond, at about " * bool(row["extrapolated"])
        winner = fmt.label(row["cheaper_max"]) if not row["extrapolated"] else "crosses"
        detail = f"[{fmt.length(row['low'])}, {fmt.length(row['high'])}]"
        return Cell(f"{winner} from {about}{fmt.length(row['x'])}", detail, row["x"])
    if row["cheaper_min"] == row["cheaper_max"]:
        return Cell(f"{fmt.label(row['cheaper_max'])} throughout", mark="muted")
    return Cell("inconclusive", mark="open")


def _marks(rows: list[Row]) -> Cell:
    """Verdicts of one claim: a sign per metric, or one word where all agree."""
    verdicts = [fmt.verdict(row["verdict"]) for row in rows]
    words = {row["verdict"] for row in rows}
    names = [QUANTITIES[row["metric"]].label if row["metric"] in QUANTITIES else row["metric"] for row in rows]  # fmt: skip
    detail = ", ".join(names)
    first = rows[0]
    if len(rows) == 1 and known(first["ratio_or_difference"]):
        detail = f"{fmt.ratio(first['ratio_or_difference'])}" + (f", published {fmt.ratio(first['published'])}" if known(first["published"]) else "")  # fmt: skip
    why = ", ".join(dict.fromkeys(_why(row) for row in rows if _why(row)))
    if len(words) == 1:
        return Cell(verdicts[0][0], detail if known(first["focal_value"]) else "", mark=verdicts[0][1], title=why)  # fmt: skip
    signs = [
        f"{word.split(' ')[0]} {name}" for (word, _), name in zip(verdicts, names, strict=True)
    ]
    return Cell(", ".join(signs), mark="open", title=why)


def _seeds(rows: list[Row]) -> Cell:
    return Cell("; ".join(f"{row['machine_name']} ({row['seeds']})" for row in rows))


def _reached(row: Row) -> Cell:
    all_of = row["n_reached"] == row["n_seeds"]
    return Cell(f"{fmt.count(row['n_reached'])} of {fmt.count(row['n_seeds'])}", value=row["n_reached"], mark="" if all_of else "open")  # fmt: skip


# --- rows ---------------------------------------------------------------------------------------------------------------


def whole(name: str, **values: Any) -> Callable[[Tables], pd.DataFrame]:
    """Rows of a tidy table with these values; none where there is no such table."""
    return lambda content: pick(content.frames.get(name, pd.DataFrame()), **values)


def main(name: str, **values: Any) -> Callable[[Tables], pd.DataFrame]:
    """The same without variants of datasets and steps of the ablation."""
    return lambda content: pick(content.main(name), **values) if name in content.frames else pd.DataFrame()  # fmt: skip


def _of_pairs(frame: pd.DataFrame, pairs: tuple[tuple[str, str], ...]) -> pd.DataFrame:
    """Rows of these phases and metrics, in their order."""
    if frame.empty:
        return frame
    order = {pair: k for k, pair in enumerate(pairs)}
    places = pd.Series([order.get(pair, -1) for pair in zip(frame.phase, frame.metric, strict=True)], frame.index)  # fmt: skip
    kept = frame[places >= 0]
    return kept.iloc[places[places >= 0].argsort(kind="stable")]


def _paper(content: Tables, costs: bool) -> pd.DataFrame:
    rows = content.frames.get("paper", pd.DataFrame())
    if rows.empty:
        return rows
    rows = rows[rows.phase.notna() == costs]
    return rows[rows.machine_name.notna()] if costs else rows


def _differing(content: Tables) -> pd.DataFrame:
    rows = content.frames.get("paper", pd.DataFrame())
    return (
        rows.dropna(subset="differs").drop_duplicates(["track", "differs"]) if len(rows) else rows
    )


def _ratios(content: Tables, *sources: str) -> pd.DataFrame:
    rows = content.frames.get("cost_ratios", pd.DataFrame())
    rows = _of_pairs(rows[rows.source.isin(sources)] if len(rows) else rows, COSTS)
    return rows.assign(x=rows.sequences.where(rows.source == "batch-size", rows.n_items.where(rows.source == "catalogue-size", rows.seq_len))) if len(rows) else rows  # fmt: skip


def _crossed(content: Tables, *curves: str) -> pd.DataFrame:
    rows = pick(content.frames["crossovers"], model_a=content.focal_model)
    return _of_pairs(rows[rows.curve.isin(curves)] if len(rows) else rows, COSTS)


def _versus(content: Tables) -> pd.DataFrame:
    rows = pick(content.frames["comparisons"], metric=PRIMARY_METRIC, model_a=content.focal_model)
    trained = pick(content.frames["leaderboard"], trained=True)
    return rows[rows.model_b.isin(set(trained.model))] if len(rows) else rows


def _costs(content: Tables, *groups: str) -> pd.DataFrame:
    rows = content.main("efficiency")
    rows = rows[rows.curve.isna() & rows["median"].notna()] if len(rows) else rows
    if rows.empty:
        return rows
    parts = [
        _of_pairs(own, tuple((p, m) for p in PHASES for m in shown_quantities(p, kind, *groups)))
        for kind, own in rows.groupby("device_kind", sort=False)
    ]
    return pd.concat(parts)


def _ablation(content: Tables) -> pd.DataFrame:
    steps = content.settings.get("ablation") or []
    rows = content.frames["efficiency"]
    rows = rows[rows.track.isin(steps) & rows.curve.isna() & rows["median"].notna()] if len(rows) else rows  # fmt: skip
    if rows.empty:
        return rows
    several = rows.groupby(["dataset", "seq_len", "machine_name"]).track.transform("nunique") > 2
    rows = rows[several].sort_values("track", key=lambda own: own.map(steps.index), kind="stable")
    return _of_pairs(rows, STEPS)


def _machines(content: Tables) -> pd.DataFrame:
    keys = ("machine_name", "device", "cpu", "n_cpus", "memory_bytes", "os", "python", "threads")
    rows = pd.DataFrame([{key: facts[key] for key in keys} for facts in content.settings["environments"]])  # fmt: skip
    counts = content.frames["experiments"].groupby(["machine_name", "device", "threads"])
    counts = counts.agg(trainings=("kind", lambda own: (own == "train").sum()), measurements=("kind", lambda own: (own == "measure").sum()), failed=("status", lambda own: (own != "ok").sum()))  # fmt: skip
    return rows.drop_duplicates().merge(counts.reset_index()) if len(rows) else rows


def _datasets(content: Tables) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "dataset": name, **{key: facts[key] for key in ("n_users", "n_items", "n_interactions", "k_core", "repeats", "hash")},
                **facts["lengths"], "tied": (facts["ties"] or {}).get("test_decided_by_tie"),
            }
            for name, facts in content.datasets.items()
        ]
    )  # fmt: skip


def _codes(content: Tables) -> pd.DataFrame:
    columns = ["model", "code_hash", "code_revision", "code_dirty"]
    return content.frames["experiments"][columns].drop_duplicates().sort_values(columns[:2])


def _failed(content: Tables) -> pd.DataFrame:
    rows = content.frames["experiments"]
    return rows[rows.status != "ok"] if len(rows) else rows


# --- the tables ---------------------------------------------------------------------------------------------------------

RATIO = (Field("Ratio", _ratio),)
CROSSING = (Field("Cheaper", _crossing, number=False),)
SHORT_HASH = 12

VIEWS = (
    View("paper-quality", "paper", "The paper's MovieLens-1M table: quality", lambda c: _paper(c, costs=False), ("model",),
         (number("Published", "published", lambda v: fmt.fixed(v, 4)),), ("quantity",), ("track",),
         (quality("Ours", "ours", "low", "high"), number("Share", "share", fmt.percent), judged("Verdict"))),
    View("paper-cost", "paper", "The paper's MovieLens-1M table: cost", lambda c: _paper(c, costs=True), ("model",),
         (measured("Published", "published"),), ("phase", "quantity"), ("track", "machine_name"),
         (measured("Ours", "ours", "low", "high"), number("Share", "share", fmt.percent), judged("Verdict"))),
    View("paper-differs", "paper", "What differs from the paper's set-up",
         lambda c: _differing(c), ("track",), (text("Set-up", "differs"), text("Data", "data_differs"))),
    View("claims", "paper", "The paper's claims", whole("claims"), ("claim",), (text("Where", "source"),), ("kind",), ("track",),
         (Field("Verdict", _marks, number=False, many=True),)),
    View("ratios-length", "lengths", "The focal model's cost over each comparator's, synthetic full-length batches", lambda c: _ratios(c, COMMON), ("x",), (),
         ("machine_name", "fixed", "phase", "metric"), ("comparator",), RATIO, note="Below 1 the focal model is cheaper. In brackets: quartiles."),
    View("crossings-length", "lengths", "Which model is cheaper, and from which length on", lambda c: _crossed(c, COMMON), ("phase", "metric"), (),
         ("machine_name", "fixed"), ("model_b",), CROSSING, note="In brackets: 95 % bootstrap interval."),
    View("differences", "where", f"Difference in {QUANTITIES[PRIMARY_METRIC].label} to each comparator, share of the better mean", _versus,
         ("dataset", "seq_len"), (), ("seen_items",), ("model_b",), (Field("Difference", _difference),), ("track",)),
    View("ratios", "where", "The focal model's cost over each comparator's, on the datasets", lambda c: _ratios(c, "dataset"), ("dataset", "seq_len"), (),
         ("machine_name", "track", "phase", "metric"), ("comparator",), RATIO, note="Below 1 the focal model is cheaper. In brackets: quartiles."),
    View("time-to-quality", "training", "Training until 95 % of the best final validation of a condition", whole("time_to_quality"), ("model",),
         (Field("Seeds there", _reached), number("Steps", "steps")), ("track", "dataset", "seq_len", "goal"), ("machine_name",),
         (measured("Time", "seconds", "seconds_low", "seconds_high", "s"),)),
    View("budgets", "training", "How trainings ended and what they cost", main("budgets"), ("machine_name", "model"),
         (number("Seeds", "n_seeds"), number("Steps", "steps"), number("Chosen step", "best_step"), number("Epochs", "epochs"),
          number("Ended by the budget", "ended_by_budget"), measured("Training", "train_s", unit="s"), measured("All seeds", "core_s", unit="s")),
         ("track", "dataset", "seq_len")),
    View("published-values", "more", "Values that others published", whole("published_values"), ("model", "source", "note", "metric"),
         (number("Published", "published", lambda v: fmt.fixed(v, 4)),), ("dataset", "seq_len", "seen_items"), ("track",),
         (quality("Ours", "ours", "ours_low", "ours_high"), number("Share", "share", fmt.percent), judged("Verdict"))),
    View("search", "more", "The search behind a tuned track", whole("searches"), ("model",),
         (number("Trials", "trials"), number("Failed", "failed", bad=True), *(number(head, column, lambda v: fmt.fixed(v, 4)) for head, column in
          (("Default", "default"), ("Median", "median"), ("Best", "best"), ("Finals", "mean"))), measured("Time", "train_s", unit="s"), text("Chosen", "chosen")),
         ("track", "dataset", "seq_len")),
    View("ablation", "more", "From the paper's set-up to equal models, one switch a step", _ablation, ("track",), (),
         ("dataset", "seq_len", "machine_name", "phase", "metric"), ("model",), (measured("Median", "median", "q25", "q75"),)),
    View("protocols", "more", "The same models under other protocols", whole("protocols"), ("protocol", "seen_items"), (),
         ("track", "base", "seq_len"), ("model",), (quality(QUANTITIES[PRIMARY_METRIC].label, "mean", "ci_low", "ci_high"),)),
    View("agreement", "more", "Do protocols agree on the order of the models?", whole("agreement"), ("protocol", "seen_items"),
         (number("Kendall's tau", "tau", lambda v: fmt.fixed(v, 2)), number("Pairs", "pairs"), number("Swapped", "swapped"),
          number("Contradicted", "contradicted", bad=True), text("Swapped pairs", "swapped_pairs")), ("track", "base", "seq_len")),
    View("probes", "more", f"{QUANTITIES[PRIMARY_METRIC].label} by groups of users", main("probes"), ("group",), (), ("dataset", "seq_len", "probe"), ("model",),
         (quality("Mean", "mean", "ci_low", "ci_high"),), ("track",)),
    View("costs", "more", "Cost on the datasets", lambda c: _costs(c, "time", "memory"), ("model",), (), ("dataset", "seq_len"), ("phase", "metric"),
         (measured("Median", "median"),), ("track", "machine_name")),
    View("arithmetic", "more", "Arithmetic of a step and of a batch", lambda c: _costs(c, "arithmetic", "energy"), ("model",), (), ("dataset", "seq_len"),
         ("phase", "metric"), (measured("Median", "median"),), ("track", "machine_name")),
    View("ratios-size", "more", "The focal model's cost over each comparator's, other curves", lambda c: _ratios(c, *CURVES), ("x",), (),
         ("machine_name", "source", "fixed", "phase", "metric"), ("comparator",), RATIO),
    View("crossings-size", "more", "Which model is cheaper, and from where on, other curves", lambda c: _crossed(c, *CURVES), ("phase", "metric"), (),
         ("machine_name", "curve", "fixed"), ("model_b",), CROSSING),
    View("warnings", "provenance", "Warnings", whole("warnings"), ("subject", "track", "dataset", "seq_len", "model", "seen_items"),
         (number("Value", "value", fmt.significant), number("Limit", "limit", fmt.significant), number("Cases", "count"), number("Of", "of"), text("Detail", "text")), ("code",)),
    View("failed", "provenance", "Experiments that failed", _failed, ("path",), (text("Status", "status"), text("Reason", "reason"))),
    View("machines", "provenance", "Machines", _machines, ("machine_name",),
         (text("Device", "device"), text("Processor", "cpu"), number("Cores", "n_cpus"), measured("Memory", "memory_bytes", unit="bytes"), text("System", "os"),
          text("Python", "python"), number("Threads", "threads"), number("Trainings", "trainings"), number("Measurements", "measurements"), number("Failed", "failed", bad=True))),
    View("datasets", "provenance", "Datasets after filtering", _datasets, ("dataset",),
         (number("Users", "n_users"), number("Items", "n_items"), number("Interactions", "n_interactions"), number("k-core", "k_core"),
          *(number(f"Length, {end}", end, fmt.significant) for end in ("min", "median", "mean", "max")), number("Repeats", "repeats", fmt.percent),
          number("Test item decided by a tie", "tied", fmt.percent), text("Hash", "hash", lambda v: v[:SHORT_HASH]))),
    View("origins", "provenance", "Where it was trained: machine (seeds)", main("origins"), ("dataset", "seq_len"), (), ("track",), ("model",),
         (Field("Machine", _seeds, number=False, many=True),)),
    View("repeats", "provenance", "One training on two machines", whole("repeats", metric=PRIMARY_METRIC),
         ("dataset", "seq_len", "model", "seed", "seen_items"),
         (number("First", "value_a", lambda v: fmt.fixed(v, 4)), number("Second", "value_b", lambda v: fmt.fixed(v, 4)), number("Difference", "difference", lambda v: fmt.signed(v, 4))),
         ("machine_a", "machine_b", "track_b")),
    View("machine-effect", "provenance", "What another machine changes", whole("machine_effect"), ("machine_a", "machine_b", "seen_items"),
         (number("Trainings", "n_trainings"), quality("Change", "change", "change_low", "change_high"), number("Spread between machines", "spread_machines", lambda v: fmt.fixed(v, 4)),
          number("Spread between seeds", "spread_seeds", lambda v: fmt.fixed(v, 4)))),
    View("codes", "provenance", "Code that made the records", _codes, ("model",),
         (text("Code", "code_hash", lambda v: v[:SHORT_HASH]), text("Revision", "code_revision", lambda v: v[:SHORT_HASH]), text("Uncommitted changes", "code_dirty", lambda v: "yes" if v is True else "no"))),
)  # fmt: skip
