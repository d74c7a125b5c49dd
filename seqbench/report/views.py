"""Which tables stand in which section of the page: each a declaration of its rows and columns, made into cells by one function.

A table has rows by some keys of a tidy table, headings over runs of rows, and columns that repeat for every value of other keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..analysis.published_values import ABSENT
from ..analysis.tables import Tables, pick, unique
from ..analysis.verdicts import versus
from ..core.display import PHASES, PRIMARY_METRIC, QUANTITIES, heading, shown_quantities
from . import format as fmt
from .figures_cost import COMMON, X
from .format import DASH, known
from .tables import Cell, Column, Table

NOTHING = (DASH, "not measured")  # a column of these alone is left out
Row = Mapping[str, Any]
Rows = Callable[[Tables], pd.DataFrame]
COSTS = (("train", "step_s"), ("train", "peak_allocated_bytes"), ("inference", "batch_s"))  # held against each other  # fmt: skip
STEPS = (("train", "epoch_s"), ("train", "share_of_roofline"), ("train", "peak_reserved_bytes"), ("train", "saved_bytes"), ("inference", "batch_s"))  # of the ablation  # fmt: skip
# What grows along the other curves.
SIZE = {curve: column for curve, (_, column) in X.items() if curve != COMMON}


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
    rows: Rows
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
    words = {"margin": fmt.percent(content.settings["margin"]), "focal": fmt.label(content.focal_model)}  # fmt: skip
    for view in VIEWS:
        frame = view.rows(content)
        if frame.empty or ("verdict" in frame and frame.verdict.eq(ABSENT).all()):
            continue  # published values alone answer nothing
        view = replace(view, caption=view.caption.format(**words), note=view.note.format(**words))
        note = view.note
        parts = frame.groupby(list(view.split), sort=False) if view.split else [((), frame)]
        for values, part in parts:
            table = _table(view, part, content, values, [note] * bool(note))
            found.setdefault(view.section, []).append(table)
            note = ""  # once for all of a kind
    return found


def _table(view: View, frame: pd.DataFrame, content: Tables, split: tuple, notes: list[str]) -> Table:  # fmt: skip
    said, groups = _Names(content), _spread(view, frame, content)
    columns = [Column(HEADS.get(key, key.capitalize()), number=False) for key in view.by]
    columns += [Column(field.text, number=field.number) for field in view.fields]
    for values in groups:
        over = _capital(said.heading(view.spread, values))
        for field in view.own:
            alone = len(view.own) == 1
            columns.append(Column(over if alone else field.text, "" if alone else over, field.number))  # fmt: skip
    body: list[list[Cell]] = []
    under: Iterable[tuple[tuple, pd.DataFrame]] = [((), frame)]
    if view.heading:  # in the order of first use, key by key
        places = [pd.factorize(frame[key], use_na_sentinel=False)[0] for key in view.heading]
        under = frame.iloc[np.lexsort(places[::-1])].groupby(list(view.heading), sort=False, dropna=False)  # fmt: skip
    for values, part in under:
        if view.heading:
            place = "-".join(str(int(v) if isinstance(v, float) else v) for v in values if known(v))
            body.append([Cell(_capital(said.heading(view.heading, values)) or "All", value=place)])
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
    kept = [k for k in range(len(columns)) if any(len(r) > 1 and r[k].text not in NOTHING for r in body)]  # fmt: skip
    name = "-".join([view.name, *(str(value).lower().replace(" ", "-") for value in split)])
    caption = ", ".join([view.caption, *filter(None, [said.heading(view.split, split)])])
    body = [[row[k] for k in kept] if len(row) > 1 else row for row in body]
    return Table(name, caption, [columns[k] for k in kept], body, notes)


def _spread(view: View, frame: pd.DataFrame, content: Tables) -> list[tuple]:
    """Values that repeat the columns, none of them missing; models in their order."""
    found = unique(frame, *view.spread) if view.spread else []
    found = [values for values in found if all(map(known, values))]
    if view.spread in (("model",), ("comparator",), ("model_b",)):
        return [(model,) for model in content.ordered(model for (model,) in found)]
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
        """Values in a row, those with a word that need one."""
        return ", ".join(WORDS.get(k, "{}").format(self(k, v)) for k, v in zip(keys, values, strict=True) if known(v))  # fmt: skip


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


NAMES: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(("dataset", "base"), fmt.dataset_name),
    **dict.fromkeys(("model", "comparator", "model_b"), fmt.label),
    **dict.fromkeys(("seq_len", "x", "seed", "max_steps", "seconds"), fmt.count),
    **dict.fromkeys(("metric", "quantity"), lambda value: QUANTITIES[value].label),
    "code": fmt.warning,
    "goal": lambda value: fmt.fixed(value, 4),
    "subject": lambda value: QUANTITIES[value].label if value in QUANTITIES else fmt.label(value),
    **dict.fromkeys(("hash", "code_revision"), lambda value: value[:12]),
    "code_dirty": lambda value: "yes" if value else "no",
    "chosen": lambda value: ", ".join(
        f"{key} {setting}" for key, setting in json.loads(value).items()
    ),
}
WORDS = {
    "seq_len": "L = {}",
    "track": "track {}",
    "seen_items": "seen items {}",
    "goal": "goal {}",
    "data_differs": "Data: {}",
}
HEADS = {"seq_len": "L", "max_steps": "Updates", "seconds": "Seconds", "x": "Size", "seen_items": "Seen items", "path": "Record", "machine_name": "Machine", "machine_a": "First", "machine_b": "Second", "differs": "Set-up", "source": "Where", "subject": "About", "code": "Warning", "text": "Detail", "cpu": "Processor", "os": "System", "code_revision": "Revision", "code_dirty": "Uncommitted changes"}  # fmt: skip


# --- cells --------------------------------------------------------------------------------------------------------------


def of_row(head: str, cell: Callable[[Row], Cell], number: bool = True) -> Field:
    """A column whose cells need their own row alone."""
    return Field(head, lambda rows, _: cell(rows[0]), number)


def number(head: str, column: str, show: Callable[[Any], str] = fmt.count) -> Field:
    """A column of numbers."""
    return of_row(head, lambda row: Cell(show(row[column]), value=row[column]))


def quality(head: str, column: str, low: str = "", high: str = "", missing: str = DASH) -> Field:
    """A quality with its interval, in the digits that it supports; in four without one."""

    def cell(row: Row) -> Cell:
        ends = [row.get(low), row.get(high)]
        if not known(row[column]):
            return Cell(missing, mark="muted")
        digits = fmt.decimals([(ends[1] - ends[0]) / 2]) if all(map(known, ends)) else 4
        return Cell(fmt.fixed(row[column], digits), fmt.interval(*ends, digits), row[column])

    return of_row(head, cell)


def measured(head: str, column: str, low: str = "", high: str = "", unit: str = "", missing: str = DASH) -> Field:  # fmt: skip
    """A cost with its quartiles, in one unit for all rows under a heading and what was published; unit: or that of the quantity."""

    def cell(rows: list[Row], peers: list[Row]) -> Cell:
        row = rows[0]
        if not known(row[column]):
            return Cell(missing, mark="muted", title=row.get("reason") or "")
        about = row.get("metric", row.get("quantity"))
        alike = [p[c] for p in peers for c in {column, "published", "ours"} if known(p.get(c)) and (unit or p.get("metric", p.get("quantity")) == about)]  # fmt: skip
        suited = max(min(alike), max(alike) / 999)  # the smallest, unless the largest would be long
        factor, name = fmt.unit_for(unit or QUANTITIES[about].unit, [suited])
        value, *ends = (fmt.significant(row[key] / factor) for key in (column, low, high) if known(row.get(key)))  # fmt: skip
        return Cell(f"{value} {name}".strip(), f"[{', '.join(ends)}]" * (len(set(ends)) == 2), row[column])  # fmt: skip

    return Field(head, cell)


def of_total(head: str, column: str, of: str) -> Field:
    """So many of so many."""
    return of_row(head, lambda row: Cell(f"{fmt.count(row[column])} of {fmt.count(row[of])}" if known(row[column]) else DASH))  # fmt: skip


def signed(column: str, show: Callable[[float], str]) -> Field:
    """A value with its interval behind the sign of its verdict."""

    def cell(row: Row) -> Cell:
        sign, (_, mark) = fmt.sign(row["verdict"]), fmt.verdict(row["verdict"])
        ends = ", ".join(show(row[f"{column}_{end}"]).removesuffix(" %") for end in ("low", "high"))
        title = ": ".join(filter(None, (row["verdict"], _why(row))))
        return Cell(f"{sign} {show(row[column])}", f"[{ends}]", row[column], mark, title)  # fmt: skip

    return of_row("", cell)


def _why(row: Row) -> str:
    return row["why"].replace("_", " ") if known(row.get("why")) else ""


def _verdict(row: Row) -> Cell:
    word, mark = fmt.verdict(row["verdict"])
    return Cell(word, mark=mark, title=_why(row))


def _crossing(row: Row) -> Cell:
    """Where the cheaper of two models changes: the length with its interval or what it lies between, or which is cheaper all along."""
    if known(row["x"]):
        winner = "changes" if row["extrapolated"] else fmt.label(row["cheaper_max"])
        low, high = (fmt.length(row[end]) for end in ("low", "high"))
        if row["bracketed"]:
            return Cell(f"{winner} above a crossing between {low} and {high}")
        beyond = ", extrapolated" * bool(row["extrapolated"])
        return Cell(f"{winner} from {fmt.length(row['x'])}", f"[{low}, {high}]{beyond}", row["x"])
    if row["cheaper_min"] == row["cheaper_max"]:
        return Cell(f"{fmt.label(row['cheaper_max'])} throughout", mark="muted")
    return Cell("inconclusive", mark="open")


def _said_of(row: Row) -> str:
    """The verdict of a claim; that of a ratio whose direction holds, but not its figure, is a word of its own."""
    return "direction only" if row["why"] == "figure" and known(row["comparator"]) else row["verdict"]  # fmt: skip


def _marks(rows: list[Row], _: list[Row]) -> Cell:
    """Verdicts of one claim: a sign per metric, or one word where all agree; the ratio of a single one."""
    words = [_said_of(row) for row in rows]
    found = {NAMES["metric"](row["metric"]): fmt.verdict(said) for row, said in zip(rows, words, strict=True)}  # fmt: skip
    why = ", ".join(dict.fromkeys(filter(None, map(_why, rows))))
    if len(set(found.values())) > 1:
        signs = [f"{fmt.sign(said)}\u00a0{name}" for name, said in zip(found, words, strict=True)]
        return Cell(", ".join(signs), mark="open", title=why)
    first, (word, mark) = rows[0], next(iter(found.values()))
    detail = ", ".join(found) if known(first["focal_value"]) else ""
    if len(rows) == 1 and known(first["ratio_or_difference"]):
        published = f", published {fmt.ratio(first['published'])}" * known(first["published"])
        detail = "difference of log-log slopes " * (first["kind"] == "growth") + fmt.ratio(first["ratio_or_difference"]) + published  # fmt: skip
    return Cell(word, detail, mark=mark, title=why)


def _allowed(row: Row) -> Cell:
    """What the value of a warning should be, with its limit."""
    limit, sign = row["limit"], "≥" if row["code"] in fmt.LEAST else "≤"
    if known(limit) and row["code"] == "sessions_apart":
        sign = f"{fmt.significant(1 / limit)} to"
    return Cell(f"{sign} {fmt.significant(limit)}" if known(limit) else DASH, value=limit)


def _until(rows: list[Row], peers: list[Row]) -> Cell:
    """Time to quality, or the updates of the rung where no machine measured them."""
    if known(rows[0]["seconds"]):
        return measured("", "seconds", "seconds_low", "seconds_high", "s").cell(rows, peers)
    updates = rows[0]["max_steps"]
    return Cell(f"{fmt.count(updates)} updates") if known(updates) else Cell("not reached", mark="muted")  # fmt: skip


def _taken(row: Row) -> Cell:
    if not known(row["model"]):
        return Cell("not measured", mark="muted")
    return Cell(fmt.label(row["model"]), f"{fmt.significant(row['inference_s'])} s", row["model"], "best")  # fmt: skip


def _doubtful(row: Row) -> Cell:
    """Of a cheaper model that is not taken: its inference, and the upper end of what it loses, or why that is not judged."""
    said = {"open": f"up to −{fmt.percent(row['loss_high'])}", "unjudged_apart": "not judged: a seed ended far below the others", "unjudged_few": "not judged: too few seeds"}  # fmt: skip
    if row["variant"] not in said:
        return Cell(DASH, mark="muted")
    return Cell(fmt.label(row["other"]), f"{fmt.significant(row['other_s'])} s, {said[row['variant']]}", row["other"])  # fmt: skip


# --- rows ---------------------------------------------------------------------------------------------------------------


def of(name: str, keep: Callable[[pd.DataFrame], Any] | None = None, main: bool = False, **values: Any) -> Rows:  # fmt: skip
    """Rows of a tidy table with these values for which `keep` holds; none where there is no such table.

    main: without variants of datasets and steps of the ablation, in the order of every table.
    """

    def rows(content: Tables) -> pd.DataFrame:
        frame = content.frames.get(name, pd.DataFrame())
        frame = pick(content.main(name) if main and len(frame) else frame, **values)
        frame = frame[keep(frame)] if keep and len(frame) else frame
        return content.sorted(frame) if main and len(frame) else frame

    return rows


def _of_pairs(frame: pd.DataFrame, pairs: Iterable[tuple[str, str]], about: str = "metric") -> pd.DataFrame:  # fmt: skip
    """Rows of these phases and quantities, in their order, with the name of each as `cost`."""
    if frame.empty:
        return frame
    order = {pair: k for k, pair in enumerate(pairs)}
    found = list(zip(frame.phase, frame[about], strict=True))
    frame = frame.assign(place=[order.get(p, -1) for p in found], cost=[heading(*p) if p in order else "" for p in found])  # fmt: skip
    return frame[frame.place >= 0].sort_values("place", kind="stable")


def _paper_costs(content: Tables) -> pd.DataFrame:
    rows = of("paper", lambda f: f.phase.notna() & f.machine_name.notna())(content)
    return _of_pairs(rows, unique(rows, "phase", "quantity"), "quantity")


def _ratios(*sources: str) -> Rows:
    def rows(content: Tables) -> pd.DataFrame:
        found = _of_pairs(of("cost_ratios", lambda f: f.source.isin(sources))(content), COSTS)
        sizes = [row[SIZE.get(row["source"], "seq_len")] for row in found.to_dict("records")]
        return found.assign(x=sizes)

    return rows


def _crossed(*curves: str) -> Rows:
    found = of("crossovers", lambda f: f.curve.isin(curves))
    return lambda content: _of_pairs(pick(found(content), model_a=content.focal_model), COSTS)


def _costs(*kinds: str) -> Rows:
    found = of("efficiency", lambda f: f.curve.isna() & f["median"].notna(), main=True)
    pairs = {k: [(p, m) for p in PHASES for m in shown_quantities(p, k, *kinds)] for k in ("cpu", "cuda")}  # fmt: skip
    return lambda content: pd.concat([_of_pairs(pick(found(content), device_kind=k), own) for k, own in pairs.items()])  # fmt: skip


def _ablation(content: Tables) -> pd.DataFrame:
    steps = content.settings.get("ablation") or []
    rows = of("efficiency", lambda f: f.track.isin(steps) & f.curve.isna() & f["median"].notna())(content)  # fmt: skip
    if rows.empty:
        return rows
    several = rows.groupby(["dataset", "seq_len", "machine_name"]).track.transform("nunique") > 2
    rows = rows[several].sort_values("track", key=lambda own: own.map(steps.index), kind="stable")
    return _of_pairs(rows, STEPS)


def _warnings(content: Tables) -> pd.DataFrame:
    """Those of a dataset before those of its lengths; of one length the most serious first."""
    rows = of("warnings")(content)
    if rows.empty:
        return rows
    order = {name: k for k, name in enumerate(dict.fromkeys([*content.settings["datasets"], *content.datasets]))}  # fmt: skip
    place = rows.dataset.map(order).fillna(len(order))
    return rows.assign(place=place).sort_values(["place", "seq_len"], kind="stable", na_position="first")  # fmt: skip


def _machines(content: Tables) -> pd.DataFrame:
    keys = ["machine_name", "device", "threads"]
    facts = pd.DataFrame(content.settings["environments"]).drop_duplicates(keys)
    rows = content.frames["experiments"]
    counts = rows[keys].assign(
        trainings=rows.kind == "train", measurements=rows.kind == "measure", failed=rows.status != "ok"
    )  # fmt: skip
    return facts.merge(counts.groupby(keys).sum().reset_index())


def _datasets(content: Tables) -> pd.DataFrame:
    facts = content.datasets.items()
    return pd.DataFrame([{"test_decided_by_tie": None, **own, **own["lengths"], **(own["ties"] or {}), "dataset": name} for name, own in facts])  # fmt: skip


# --- the tables ---------------------------------------------------------------------------------------------------------

NDCG = QUANTITIES[PRIMARY_METRIC].label
PUBLISHED = "not published"
MADE = ("track", "dataset", "seq_len")
RATIO, CROSSING = (signed("ratio", fmt.ratio),), (of_row("", _crossing, number=False),)
JUDGED = (number("Share", "share", fmt.percent), of_row("Verdict", _verdict, number=False))
MARKS = "✓ reproduced · ~ the direction holds, the published figure does not · ✗ not reproduced · ? inconclusive"
OPEN = "▲ better · ▼ worse · = within the margin · ? inconclusive: the interval does not lie beyond the margin of {margin} of the better mean, Holm's correction keeps it open, or seeds lie apart."
BELOW_ONE = "Below 1 {focal} is cheaper. In brackets: quartiles."

VIEWS = (
    View("advice", "take", "By data and length", of("advice", lambda f: ~f.variant.isin(("few_seeds", "alone"))), ("dataset", "seq_len"),
         (of_row("Ranks highest", lambda row: Cell(fmt.label(row["best"]), fmt.fixed(row["ndcg"], 3), row["best"]), number=False),), ("track",), ("machine_name",), (of_row("Take", _taken, number=False), of_row("Cheaper, not taken", _doubtful, number=False)), ("seen_items",),
         note="Take: the cheapest inference among the trained models shown to rank at most {margin} below the highest; its time per 1,000 users. Not taken: a cheaper model, and how much lower it may rank, or why that is not judged. A machine that measured no inference is left out."),
    View("paper-quality", "paper", "The paper's MovieLens-1M table: quality", of("paper", lambda f: f.phase.isna()),
         ("model",), (quality("Published", "published", missing=PUBLISHED),), ("quantity",), ("track",), (quality("Ours", "ours", "low", "high"), *JUDGED)),
    View("paper-cost", "paper", "The paper's MovieLens-1M table: cost", _paper_costs, ("model",),
         (measured("Published", "published", missing=PUBLISHED),), ("cost",), ("track", "machine_name"), (measured("Ours", "ours", "low", "high"), *JUDGED)),
    View("paper-differs", "paper", "What differs from the paper's set-up", of("paper", lambda f: f.differs.notna()), ("track", "differs"), heading=("data_differs",)),
    View("claims", "paper", "The paper's claims", of("claims"), ("claim", "source"), (), ("kind",), ("track",), (Field("Verdict", _marks, number=False),), note=MARKS),
    View("ratios-length", "lengths", "{focal}'s cost over that of each other model, synthetic full-length batches", _ratios(COMMON),
         ("seq_len",), (), ("fixed", "cost"), ("comparator",), RATIO, ("machine_name",), note=BELOW_ONE),
    View("crossings-length", "lengths", "Which model is cheaper, and from which length on", _crossed(COMMON),
         ("cost",), (), ("machine_name", "fixed"), ("model_b",), CROSSING, note="In brackets: 95 % bootstrap interval. Between: no length between these two was measured."),
    View("differences", "where", f"Difference in {NDCG} of {{focal}} to each other model, share of the better mean", versus,
         ("dataset", "seq_len"), (), ("seen_items",), ("model_b",), (signed("share", fmt.percent),), ("track",), note=OPEN),
    View("ratios", "where", "{focal}'s cost over that of each other model, on the datasets", _ratios("dataset"),
         ("dataset", "seq_len"), (), ("machine_name", "cost"), ("comparator",), RATIO, ("track",), note=BELOW_ONE),
    View("equal-cost", "training", "Difference in final validation of {focal} to each other model at equal cost, share of the better mean", of("equal_cost"),
         ("seconds", "seen_items"), (), MADE, ("comparator",), (signed("share", fmt.percent),), ("machine_name",), note="Cost: seconds of a core, or of a GPU. The least and the most that every model's budgets span, and between; interpolated between budgets over the logarithm of cost. Not corrected for their number. " + OPEN),
    View("ladder", "training", "What more training buys: every budget of a ladder", of("ladder", seen_items="kept"), ("model", "max_steps"),
         (number("Seeds", "n_seeds"), number("Predictions", "predictions", fmt.significant), number("Positions", "positions", fmt.significant), quality("Final validation", "value", "value_low", "value_high"), measured("Time", "seconds", "seconds_low", "seconds_high", "s")), (*MADE, "machine_name")),
    View("time-to-quality", "training", "Cheapest budget whose final validation reaches 95 % of the best of a condition", of("time_to_quality"),
         ("dataset", "seq_len", "goal", "machine_name"), (), ("track",), ("model",), (Field("", _until),), note="Training time of that budget. In brackets: quartiles."),
    View("budgets", "more", "How trainings ended and what they cost", of("budgets", main=True), ("machine_name", "model"),
         (number("Seeds", "n_seeds"), number("Steps", "steps"), number("Chosen step", "best_step"), number("Epochs", "epochs"), number("Predictions", "predictions", fmt.significant), number("Positions", "positions", fmt.significant),
          of_total("Ended by the budget", "ended_by_budget", "n_seeds"), measured("Training", "train_s", unit="s"), measured("All seeds", "core_s", unit="s")), MADE),
    View("published-values", "more", "Values that others published", of("published_values"), ("model", "source", "note", "metric"), (quality("Published", "published"),),
         ("dataset", "seq_len", "seen_items"), ("track",), (quality("Ours", "ours", "ours_low", "ours_high"), *JUDGED)),
    View("search", "more", "The search behind a tuned track", of("searches", main=True), ("model", "chosen"),
         (number("Trials", "trials"), number("Failed", "failed"), number("Collapsed", "collapsed"), quality("Default", "default"), quality("Median", "median"), quality("Best", "best"),
          quality("Finals", "mean"), of_row("Chosen", lambda row: Cell("the default" if row["chosen_trial"] == 0 and known(row["default"]) else f"trial {fmt.count(row['chosen_trial'])}"), number=False),
          measured("Time", "train_s", unit="s")), MADE),
    View("ablation", "more", "From the paper's set-up to equal models, one switch a step", _ablation,
         ("track",), (), ("dataset", "seq_len", "machine_name", "cost"), ("model",), (measured("", "median", "q25", "q75"),)),
    View("protocols", "more", f"{NDCG} of the same models under other protocols", of("protocols"),
         ("protocol", "seen_items"), (), ("track", "base", "seq_len"), ("model",), (quality("", "mean", "ci_low", "ci_high"),)),
    View("agreement", "more", "Do protocols agree on the order of the models?", of("agreement"), ("protocol", "seen_items", "swapped_pairs"),
         (number("Kendall's tau", "tau", fmt.ratio), number("Pairs", "pairs"), number("Swapped", "swapped"), number("Contradicted", "contradicted")), ("track", "base", "seq_len")),
    View("quality", "more", "Quality of every model", of("summary", main=True, ties="conservative"),
         ("model",), (), ("dataset", "seq_len", "seen_items"), ("metric",), (quality("", "mean", "ci_low", "ci_high"),), ("track",)),
    View("probes", "more", f"{NDCG} by groups of users", of("probes", main=True),
         ("group",), (), ("dataset", "seq_len", "probe"), ("model",), (quality("", "mean", "ci_low", "ci_high"),), ("track",)),
    View("costs", "more", "Cost on the datasets", _costs("time", "memory"), ("model",), (), ("dataset", "seq_len"), ("cost",), (measured("", "median"),), ("track", "machine_name")),
    View("arithmetic", "more", "Arithmetic and energy on the datasets", _costs("arithmetic", "energy"),
         ("model",), (), ("dataset", "seq_len"), ("cost",), (measured("", "median"),), ("track", "machine_name")),
    View("ratios-size", "more", "{focal}'s cost over that of each other model, other curves", _ratios(*SIZE),
         ("x",), (), ("machine_name", "source", "fixed", "cost"), ("comparator",), RATIO, note=BELOW_ONE),
    View("crossings-size", "more", "Which model is cheaper, and from where on, other curves", _crossed(*SIZE), ("cost",), (), ("machine_name", "curve", "fixed"), ("model_b",), CROSSING),
    View("warnings", "provenance", "Warnings", _warnings, ("code", "track", "seen_items", "model", "subject", "machine_name", "text"),
         (number("Value", "value", fmt.significant), of_row("Should be", _allowed), of_total("Cases", "count", "of")), ("dataset", "seq_len")),
    View("failed", "provenance", "Experiments that failed", of("experiments", lambda f: f.status != "ok"), ("path", "status", "reason")),
    View("machines", "provenance", "Machines", _machines, ("machine_name", "device", "cpu", "os", "python"),
         (number("Cores", "n_cpus"), measured("Memory", "memory_bytes", unit="bytes"), number("Threads", "threads"), number("Trainings", "trainings"), number("Measurements", "measurements"), number("Failed", "failed"))),
    View("datasets", "provenance", "Datasets after filtering", _datasets, ("dataset", "hash"),
         (number("Users", "n_users"), number("Items", "n_items"), number("Interactions", "n_interactions"), number("k-core", "k_core"),
          *(number(f"Length, {end}", end, fmt.significant) for end in ("min", "median", "mean", "max")), number("Repeats", "repeats", fmt.percent),
          number("Test item decided by a tie", "test_decided_by_tie", fmt.percent))),
    View("origins", "provenance", "Seeds that were trained, by machine", of("origins", main=True), ("dataset", "seq_len", "machine_name"), (), ("track",), ("model",), (number("", "seeds", str),)),
    View("repeats", "provenance", f"One training on two machines: {NDCG}", of("repeats", metric=PRIMARY_METRIC), ("dataset", "seq_len", "model", "seed", "seen_items"),
         (quality("First", "value_a"), quality("Second", "value_b"), number("Difference", "difference", lambda v: fmt.signed(v, 4))), ("machine_a", "machine_b", "track_b")),
    View("machine-effect", "provenance", "What another machine changes", of("machine_effect"), ("machine_a", "machine_b", "seen_items"),
         (number("Trainings", "n_trainings"), quality("Change", "change", "change_low", "change_high"),
          quality("Spread between machines", "spread_machines"), quality("Spread between seeds", "spread_seeds"))),
    View("codes", "provenance", "Code that made the records", of("experiments"), ("code_revision", "code_dirty"),
         (Field("Models", lambda rows, _: Cell(fmt.listed(dict.fromkeys(fmt.label(row["model"]) for row in rows))), number=False),
          Field("Records", lambda rows, _: Cell(fmt.count(len(rows)), value=len(rows))))),
)  # fmt: skip
