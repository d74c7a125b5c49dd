"""Which tables stand in which section of the page: each a declaration of its rows and columns, made into cells by one function.

A table has rows by some keys of a tidy table, headings over runs of rows, and columns that repeat for every value of other keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..analysis.rows import pick, unique
from ..analysis.tables import Tables
from ..core.display import PHASES, PRIMARY_METRIC, QUANTITIES, heading, shown_quantities
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
CURVES = ("length-at-constant-tokens", "batch-size", "catalogue-size")


@dataclass(frozen=True)
class Field:
    """A column: its head, and the cell of the rows of its key (mostly one) beside all rows under the same heading."""

    text: str
    cell: Callable[[list[Row], list[Row]], Cell]
    number: bool = True


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
    said, groups = _Names(content), _spread(view, frame, content)
    columns = [Column(HEADS.get(key, key.capitalize()), number=False) for key in view.by]
    columns += [Column(field.text, number=field.number) for field in view.fields]
    for values in groups:
        over = said.heading(view.spread, values)
        for field in view.own:
            alone = len(view.own) == 1
            columns.append(Column(over if alone else field.text, "" if alone else over, field.number))  # fmt: skip
    body: list[list[Cell]] = []
    under = frame.groupby(list(view.heading), sort=False, dropna=False) if view.heading else [((), frame)]  # fmt: skip
    for values, part in under:
        if view.heading:
            body.append([Cell(said.heading(view.heading, values))])
        all_rows = part.astype(object).to_dict("records")
        by_key: dict[tuple, list[Row]] = {}
        for row in all_rows:
            by_key.setdefault(tuple(row[k] if known(row[k]) else "" for k in view.by), []).append(row)  # fmt: skip
        for key, rows in by_key.items():
            shown = [(said(k, v), v) for k, v in zip(view.by, key, strict=True)]
            cells = [Cell(name, value=value) for name, value in shown]
            cells += [field.cell(rows, all_rows) for field in view.fields]
            for values in groups:
                own = [row for row in rows if [row[k] for k in view.spread] == list(values)]
                cells += [f.cell(own, all_rows) if own else Cell(DASH, mark="muted") for f in view.own]  # fmt: skip
            body.append(cells)
    kept = [k for k in range(len(columns)) if any(len(r) > 1 and r[k].text != DASH for r in body)]
    name = "-".join([view.name, *(str(value).lower().replace(" ", "-") for value in split)])
    caption = ", ".join([view.caption, *([said.heading(view.split, split)] if split else [])])
    body = [[row[k] for k in kept] if len(row) > 1 else row for row in body]
    return Table(name, caption, [columns[k] for k in kept], body, [view.note] * bool(view.note))


def _spread(view: View, frame: pd.DataFrame, content: Tables) -> list[tuple]:
    """Values that repeat the columns, models in their order; a missing value only where there is no other."""
    found = unique(frame, *view.spread) if view.spread else []
    found = [values for values in found if all(map(known, values))]
    models = [k for k in view.spread if k in ("model", "comparator", "model_b")]
    if models:
        order = content.ordered(frame[models[0]])
        found.sort(key=lambda values: order.index(values[view.spread.index(models[0])]))
    return found


class _Names:
    """How values of keys are read, alone below their head and in a heading."""

    def __init__(self, content: Tables) -> None:
        self.machines = fmt.machine_names(content.settings)

    def __call__(self, key: str, value: Any) -> str:
        if not known(value):
            return DASH
        if key in ("machine_name", "machine_a", "machine_b"):
            return self.machines.get(value, str(value))
        return NAMES[key](value) if key in NAMES else str(value)

    def heading(self, keys: tuple[str, ...], values: tuple) -> str:
        """Values in a row, those with a word that needs one."""
        found = [WORDS.get(k, "{}").format(self(k, v)) for k, v in zip(keys, values, strict=True) if known(v)]  # fmt: skip
        text = ", ".join(found)
        return text[:1].upper() + text[1:]


def _subject(value: str) -> str:
    """What a warning is about: a model, a quantity, or text."""
    return QUANTITIES[value].label if value in QUANTITIES else fmt.label(value)


NAMES: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(("dataset", "base"), fmt.dataset_name),
    **dict.fromkeys(("model", "comparator", "model_b"), fmt.label),
    **dict.fromkeys(("seq_len", "x", "seed"), fmt.count),
    **dict.fromkeys(("metric", "quantity"), lambda value: QUANTITIES[value].label),
    "code": fmt.warning,
    "goal": lambda value: fmt.fixed(value, 4),
    "subject": _subject,
}
WORDS = {"seq_len": "L = {}", "track": "track {}", "seen_items": "seen items {}", "goal": "goal {}"}
HEADS = {"seq_len": "L", "x": "Size", "seen_items": "Seen items", "path": "Record", "machine_name": "Machine", "machine_a": "First", "machine_b": "Second"}  # fmt: skip


# --- cells --------------------------------------------------------------------------------------------------------------


def of_row(head: str, cell: Callable[[Row], Cell], number: bool = True) -> Field:
    """A column whose cells need their own row alone."""
    return Field(head, lambda rows, _: cell(rows[0]), number)


def text(head: str, column: str, show: Callable[[Any], str] = str) -> Field:
    """A column of text."""
    return of_row(head, lambda row: Cell(show(row[column]) if known(row[column]) else DASH, value=row[column]), number=False)  # fmt: skip


def number(
    head: str, column: str, show: Callable[[Any], str] = fmt.count, bad: bool = False
) -> Field:
    """A column of numbers; bad: what is not zero is marked."""

    def cell(row: Row) -> Cell:
        value = row[column]
        return Cell(
            show(value), value=value, mark="bad" if bad and known(value) and value > 0 else ""
        )

    return of_row(head, cell)


def quality(head: str, column: str, low: str, high: str) -> Field:
    """A quality with its interval, in the digits that it supports."""

    def cell(row: Row) -> Cell:
        if not known(row[column]):
            return Cell(DASH, mark="muted")
        digits = fmt.decimals([(row[high] - row[low]) / 2]) if known(row[high]) else 3
        return Cell(fmt.fixed(row[column], digits), fmt.interval(row[low], row[high], digits), row[column])  # fmt: skip

    return of_row(head, cell)


def measured(head: str, column: str, low: str = "", high: str = "", unit: str = "") -> Field:
    """A cost with its quartiles, in one unit for all rows under a heading; unit: or that of the quantity that the row is about."""

    def cell(rows: list[Row], peers: list[Row]) -> Cell:
        row, value = rows[0], rows[0][column]
        if not known(value):
            return Cell(DASH, mark="muted", title=row.get("reason") or "")
        about = "metric" if "metric" in row else "quantity"
        alike = [peer[column] for peer in peers if unit or peer[about] == row[about]]
        factor, name = fmt.unit_for(unit or QUANTITIES[row[about]].unit, alike)
        ends = [
            fmt.significant(row[end] / factor) for end in (low, high) if end and known(row[end])
        ]
        detail = f"[{', '.join(ends)}]" if len(set(ends)) == 2 else ""
        return Cell(f"{fmt.significant(value / factor)} {name}".strip(), detail, value)

    return Field(head, cell)


def judged(head: str, column: str = "verdict") -> Field:
    """A verdict; why it is open under the pointer."""

    def cell(row: Row) -> Cell:
        word, mark = fmt.verdict(row[column])
        return Cell(word, mark=mark, title=_why(row))

    return of_row(head, cell, number=False)


def _why(row: Row) -> str:
    return row["why"].replace("_", " ") if known(row.get("why")) else ""


def _signed(column: str, show: Callable[[float], str]) -> Field:
    """A value with its interval behind the sign of its verdict."""

    def cell(row: Row) -> Cell:
        sign, mark = fmt.verdict(row["verdict"])
        ends = ", ".join(show(row[f"{column}_{end}"]).removesuffix(" %") for end in ("low", "high"))
        title = ": ".join(filter(None, (row["verdict"], _why(row))))
        return Cell(
            f"{sign.split(' ')[0]} {show(row[column])}", f"[{ends}]", row[column], mark, title
        )

    return of_row("", cell)


def _crossing(row: Row) -> Cell:
    """Where the cheaper of two models changes: the length with its interval, or which is cheaper all along."""
    if not known(row["x"]):
        same = row["cheaper_min"] == row["cheaper_max"]
        return Cell(f"{fmt.label(row['cheaper_max'])} throughout" if same else "inconclusive", mark="muted" if same else "open")  # fmt: skip
    at = fmt.crossing(row["x"], row["bracketed"])
    winner = "cheaper changes" if row["extrapolated"] else fmt.label(row["cheaper_max"])
    detail = f"[{fmt.length(row['low'])}, {fmt.length(row['high'])}]{', extrapolated' * bool(row['extrapolated'])}"
    return Cell(f"{winner} from {at}", detail, row["x"])


def _marks(rows: list[Row], _: list[Row]) -> Cell:
    """Verdicts of one claim: a sign per metric, or one word where all agree; the ratio of a single one."""
    verdicts = [fmt.verdict(row["verdict"]) for row in rows]
    names = [NAMES["metric"](row["metric"]) for row in rows]
    why = ", ".join(dict.fromkeys(filter(None, map(_why, rows))))
    if len(set(verdicts)) > 1:
        signs = [f"{word.split(' ')[0]} {name}" for (word, _), name in zip(verdicts, names, strict=True)]  # fmt: skip
        return Cell(", ".join(signs), mark="open", title=why)
    (word, mark), first = verdicts[0], rows[0]
    detail = ", ".join(names) if known(first["focal_value"]) else ""
    if len(rows) == 1 and known(first["ratio_or_difference"]):
        published = f", published {fmt.ratio(first['published'])}" if known(first["published"]) else ""  # fmt: skip
        detail = f"{fmt.ratio(first['ratio_or_difference'])}{published}"
    return Cell(word, detail, mark=mark, title=why)


def _seeds(rows: list[Row], _: list[Row]) -> Cell:
    return Cell("; ".join(f"{row['machine_name']} ({row['seeds']})" for row in rows))


def _share_of(count: str, of: str) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        if not known(row[count]):
            return Cell(DASH, mark="muted")
        return Cell(f"{fmt.count(row[count])} of {fmt.count(row[of])}", value=row[count])

    return cell


def _published(field: Field) -> Field:
    """The same column, where a missing value is one that nobody published."""

    def cell(rows: list[Row], peers: list[Row]) -> Cell:
        return field.cell(rows, peers) if known(rows[0]["published"]) else Cell("not published", mark="muted")  # fmt: skip

    return Field(field.text, cell)


def _chosen(value: str) -> str:
    return ", ".join(f"{key} {setting}" for key, setting in json.loads(value).items())


# --- rows ---------------------------------------------------------------------------------------------------------------


def whole(name: str, **values: Any) -> Callable[[Tables], pd.DataFrame]:
    """Rows of a tidy table with these values; none where there is no such table."""
    return lambda content: pick(content.frames.get(name, pd.DataFrame()), **values)


def main(name: str) -> Callable[[Tables], pd.DataFrame]:
    """The same without variants of datasets and steps of the ablation, in the order of every table."""

    def rows(content: Tables) -> pd.DataFrame:
        found = content.main(name) if name in content.frames else pd.DataFrame()
        return content.sorted(found) if len(found) else found

    return rows


def _of_pairs(frame: pd.DataFrame, pairs: tuple[tuple[str, str], ...]) -> pd.DataFrame:
    """Rows of these phases and metrics, in their order."""
    if frame.empty:
        return frame
    order = {pair: k for k, pair in enumerate(pairs)}
    places = pd.Series([order.get(pair, -1) for pair in zip(frame.phase, frame.metric, strict=True)], frame.index)  # fmt: skip
    kept = frame[places >= 0]
    kept = kept.iloc[places[places >= 0].argsort(kind="stable")]
    return kept.assign(cost=[heading(*pair) for pair in zip(kept.phase, kept.metric, strict=True)])


def _paper(content: Tables, costs: bool) -> pd.DataFrame:
    rows = content.frames.get("paper", pd.DataFrame())
    if rows.empty:
        return rows
    rows = rows[rows.phase.notna() == costs]
    if not costs:
        return rows
    rows = rows[rows.machine_name.notna()]
    return rows.assign(
        cost=[heading(*pair) for pair in zip(rows.phase, rows.quantity, strict=True)]
    )


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

RATIO = (_signed("ratio", fmt.ratio),)
CROSSING = (of_row("", _crossing, number=False),)
SHORT_HASH = 12

VIEWS = (
    View("paper-quality", "paper", "The paper's MovieLens-1M table: quality", lambda c: _paper(c, costs=False), ("model",),
         (_published(number("Published", "published", lambda v: fmt.fixed(v, 4))),), ("quantity",), ("track",),
         (quality("Ours", "ours", "low", "high"), number("Share", "share", fmt.percent), judged("Verdict"))),
    View("paper-cost", "paper", "The paper's MovieLens-1M table: cost", lambda c: _paper(c, costs=True), ("model",),
         (_published(measured("Published", "published")),), ("cost",), ("track", "machine_name"),
         (measured("Ours", "ours", "low", "high"), number("Share", "share", fmt.percent), judged("Verdict"))),
    View("paper-differs", "paper", "What differs from the paper's set-up",
         lambda c: _differing(c), ("track",), (text("Set-up", "differs"), text("Data", "data_differs"))),
    View("claims", "paper", "The paper's claims", whole("claims"), ("claim",), (text("Where", "source"),), ("kind",), ("track",),
         (Field("Verdict", _marks, number=False),)),
    View("ratios-length", "lengths", "The focal model's cost over each comparator's, synthetic full-length batches", lambda c: _ratios(c, COMMON), ("x",), (),
         ("machine_name", "fixed", "cost"), ("comparator",), RATIO, note="Below 1 the focal model is cheaper. In brackets: quartiles."),
    View("crossings-length", "lengths", "Which model is cheaper, and from which length on", lambda c: _crossed(c, COMMON), ("cost",), (),
         ("machine_name", "fixed"), ("model_b",), CROSSING, note="In brackets: 95 % bootstrap interval."),
    View("differences", "where", f"Difference in {QUANTITIES[PRIMARY_METRIC].label} to each comparator, share of the better mean", _versus,
         ("dataset", "seq_len"), (), ("seen_items",), ("model_b",), (_signed("share", fmt.percent),), ("track",)),
    View("ratios", "where", "The focal model's cost over each comparator's, on the datasets", lambda c: _ratios(c, "dataset"), ("dataset", "seq_len"), (),
         ("machine_name", "track", "cost"), ("comparator",), RATIO, note="Below 1 the focal model is cheaper. In brackets: quartiles."),
    View("time-to-quality", "training", "Training until 95 % of the best final validation of a condition", whole("time_to_quality"), ("model",),
         (of_row("Seeds there", _share_of("n_reached", "n_seeds")), number("Steps", "steps")), ("track", "dataset", "seq_len", "goal"), ("machine_name",),
         (measured("Time", "seconds", "seconds_low", "seconds_high", "s"),)),
    View("budgets", "training", "How trainings ended and what they cost", main("budgets"), ("machine_name", "model"),
         (number("Seeds", "n_seeds"), number("Steps", "steps"), number("Chosen step", "best_step"), number("Epochs", "epochs"),
          of_row("Ended by the budget", _share_of("ended_by_budget", "n_seeds")), measured("Training", "train_s", unit="s"), measured("All seeds", "core_s", unit="s")),
         ("track", "dataset", "seq_len")),
    View("published-values", "more", "Values that others published", whole("published_values"), ("model", "source", "note", "metric"),
         (number("Published", "published", lambda v: fmt.fixed(v, 4)),), ("dataset", "seq_len", "seen_items"), ("track",),
         (quality("Ours", "ours", "ours_low", "ours_high"), number("Share", "share", fmt.percent), judged("Verdict"))),
    View("search", "more", "The search behind a tuned track", main("searches"), ("model",),
         (number("Trials", "trials"), number("Failed", "failed", bad=True), *(number(head, column, lambda v: fmt.fixed(v, 4)) for head, column in
          (("Default", "default"), ("Median", "median"), ("Best", "best"), ("Finals", "mean"))), measured("Time", "train_s", unit="s"), text("Chosen", "chosen", _chosen)),
         ("track", "dataset", "seq_len")),
    View("ablation", "more", "From the paper's set-up to equal models, one switch a step", _ablation, ("track",), (),
         ("dataset", "seq_len", "machine_name", "cost"), ("model",), (measured("Median", "median", "q25", "q75"),)),
    View("protocols", "more", "The same models under other protocols", whole("protocols"), ("protocol", "seen_items"), (),
         ("track", "base", "seq_len"), ("model",), (quality(QUANTITIES[PRIMARY_METRIC].label, "mean", "ci_low", "ci_high"),)),
    View("agreement", "more", "Do protocols agree on the order of the models?", whole("agreement"), ("protocol", "seen_items"),
         (number("Kendall's tau", "tau", lambda v: fmt.fixed(v, 2)), number("Pairs", "pairs"), number("Swapped", "swapped"),
          number("Contradicted", "contradicted", bad=True), text("Swapped pairs", "swapped_pairs")), ("track", "base", "seq_len")),
    View("probes", "more", f"{QUANTITIES[PRIMARY_METRIC].label} by groups of users", main("probes"), ("group",), (), ("dataset", "seq_len", "probe"), ("model",),
         (quality("Mean", "mean", "ci_low", "ci_high"),), ("track",)),
    View("costs", "more", "Cost on the datasets", lambda c: _costs(c, "time", "memory"), ("model",), (), ("dataset", "seq_len"), ("cost",),
         (measured("Median", "median"),), ("track", "machine_name")),
    View("arithmetic", "more", "Arithmetic of a step and of a batch", lambda c: _costs(c, "arithmetic", "energy"), ("model",), (), ("dataset", "seq_len"),
         ("cost",), (measured("Median", "median"),), ("track", "machine_name")),
    View("ratios-size", "more", "The focal model's cost over each comparator's, other curves", lambda c: _ratios(c, *CURVES), ("x",), (),
         ("machine_name", "source", "fixed", "cost"), ("comparator",), RATIO),
    View("crossings-size", "more", "Which model is cheaper, and from where on, other curves", lambda c: _crossed(c, *CURVES), ("cost",), (),
         ("machine_name", "curve", "fixed"), ("model_b",), CROSSING),
    View("warnings", "provenance", "Warnings", whole("warnings"), ("subject", "track", "dataset", "seq_len", "model", "seen_items"),
         (number("Value", "value", fmt.significant), number("Limit", "limit", fmt.significant), of_row("Cases", _share_of("count", "of")), text("Detail", "text")), ("code",)),
    View("failed", "provenance", "Experiments that failed", _failed, ("path",), (text("Status", "status"), text("Reason", "reason"))),
    View("machines", "provenance", "Machines", _machines, ("machine_name",),
         (text("Device", "device"), text("Processor", "cpu"), number("Cores", "n_cpus"), measured("Memory", "memory_bytes", unit="bytes"), text("System", "os"),
          text("Python", "python"), number("Threads", "threads"), number("Trainings", "trainings"), number("Measurements", "measurements"), number("Failed", "failed", bad=True))),
    View("datasets", "provenance", "Datasets after filtering", _datasets, ("dataset",),
         (number("Users", "n_users"), number("Items", "n_items"), number("Interactions", "n_interactions"), number("k-core", "k_core"),
          *(number(f"Length, {end}", end, fmt.significant) for end in ("min", "median", "mean", "max")), number("Repeats", "repeats", fmt.percent),
          number("Test item decided by a tie", "tied", fmt.percent), text("Hash", "hash", lambda v: v[:SHORT_HASH]))),
    View("origins", "provenance", "Where it was trained: machine (seeds)", main("origins"), ("dataset", "seq_len"), (), ("track",), ("model",),
         (Field("Machine", _seeds, number=False),)),
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
