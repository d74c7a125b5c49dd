"""The paper's sentences, held against what was measured: config/claims.yaml in, verdicts out.

Per track, because a track of the paper's protocol and a fair one answer different questions:

    reproduced         the interval supports the sentence, within the declared tolerance where it has a figure
    not reproduced     the interval contradicts it, or its direction holds but its figure does not
    inconclusive       neither: the interval is too wide, too few seeds were run, or they lie far apart
    not measured here  there is nothing to hold it against on these machines
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ..analysis.collect import Tables
from ..analysis.summary import UNSTEADY
from ..core.display import QUANTITIES
from ..core.errors import UserError
from .curves import lengths
from .findings import enough_seeds, facing, in_order, pick, unique
from .tables import Cell, Column, Table, label, plural, rounded, unit_for
from .views import DASH

FILE = Path(__file__).resolve().parents[2] / "config" / "claims.yaml"
YES, NO, UNSURE, ABSENT = "reproduced", "not reproduced", "inconclusive", "not measured here"
DIRECTION = "the direction holds, the figure does not"
ROUNDS = 3  # fresh processes of each model, below which a cost decides nothing
MARKS = {YES: "best", NO: "bad", UNSURE: "muted", ABSENT: "muted"}
NEEDED = {
    "quality": {"sentence", "dataset", "seq_len", "seen_items", "metrics", "comparators", "source"},
    "values": {"sentence", "dataset", "seq_len", "seen_items", "metric", "published", "tolerance", "tracks",
               "source"},
    "cost": {"sentence", "dataset", "seq_len", "phase", "metric", "focal_model", "comparators", "tolerance", "tracks", "batch",
             "source"},
    "growth": {"sentence", "phase", "metric", "comparators", "source"},
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One sentence in one track: what was measured, in words, and the verdict. kind: the list of the file it stands in."""

    kind: str
    sentence: str
    source: str
    track: str
    measured: str
    verdict: str


def read(path: Path = FILE) -> dict[str, Any]:
    """Return the claims, checked.

    Raises:
        UserError: a key that is missing or unknown, a metric that does not exist; one line that names it.
    """
    claims = yaml.safe_load(path.read_text(encoding="utf-8"))
    for kind, needed in NEEDED.items():
        for number, claim in enumerate(claims.get(kind, [])):
            where = f"{path.name}: {kind}[{number}]"
            for key in sorted(needed ^ set(claim)):
                what = "is missing" if key in needed else "is unknown"
                raise UserError(
                    f"{where}.{key} {what}; a claim of this kind has: {', '.join(sorted(needed))}"
                )
            for metric in claim.get("metrics", [claim.get("metric")]):
                if metric not in QUANTITIES:
                    raise UserError(
                        f"{where}: metric {metric!r} is unknown; see seqbench/core/metrics.py"
                    )
    return claims


def judge(tables: Tables, claims: Mapping[str, Any]) -> list[Finding]:
    """Every claim in every track that was run, in the order of the file."""
    focal_model = claims["focal_model"]
    tracks = in_order(t for (t,) in unique(tables.frames["experiments"], "track") if t)
    makers = {"quality": _quality, "values": _values, "cost": _cost, "growth": _growth}
    return [
        Finding(kind, sentence, claim["source"], track, *found)
        for kind, maker in makers.items()
        for claim in claims.get(kind, [])
        for track in tracks
        if track
        in claim.get(
            "tracks", tracks
        )  # another protocol says nothing about the figures of this one
        for sentence, found in maker(tables, claim, focal_model, track)
    ]


Found = tuple[str, str]  # what was measured, and the verdict


def _quality(
    tables: Tables, claim: Mapping, focal_model: str, track: str
) -> Iterator[tuple[str, Found]]:
    condition = {key: claim[key] for key in ("dataset", "seq_len", "seen_items")}
    for comparator in claim["comparators"]:
        for metric in claim["metrics"]:
            sentence = f"{claim['sentence'].format(comparator=label(comparator))}: {QUANTITIES[metric].label}"
            rows = pick(tables.frames["comparisons"], track=track, metric=metric, **condition)
            found = pick(facing(rows, focal_model), model_b=comparator)
            yield sentence, _difference(found.iloc[0]) if len(found) else ("", ABSENT)


def _difference(row: pd.Series) -> Found:
    numbers = f"{row.difference:+.4f} [{row.ci_low:+.4f}, {row.ci_high:+.4f}]"
    measured = f"difference {numbers}".replace("-", "−")
    if not enough_seeds(row.trained_seeds):
        return f"{measured}, {plural(row.trained_seeds, 'seed')}", UNSURE
    if row.verdict == UNSTEADY:
        return f"{measured}, seeds far apart", UNSURE
    return measured, {"better": YES, "inconclusive": UNSURE}.get(row.verdict, NO)


def _values(
    tables: Tables, claim: Mapping, focal_model: str, track: str
) -> Iterator[tuple[str, Found]]:
    condition = {key: claim[key] for key in ("dataset", "seq_len", "seen_items", "metric")}
    rows = pick(
        tables.frames["summary"], track=track, model=focal_model, ties="conservative", **condition
    )
    if rows.empty:
        yield claim["sentence"], ("", ABSENT)
        return
    row, published = rows.iloc[0], claim["published"]
    low, high = (published * (1 + sign * claim["tolerance"]) for sign in (-1, 1))
    measured = (
        f"{row['mean']:.4f} [{row.ci_low:.4f}, {row.ci_high:.4f}], {plural(row.n_seeds, 'seed')}"
    )
    inside = low <= row.ci_low and row.ci_high <= high
    apart = row.ci_high < low or row.ci_low > high
    verdict = YES if inside else NO if apart else UNSURE
    yield claim["sentence"], (measured, verdict if enough_seeds(row.n_seeds) else UNSURE)


def _cost(
    tables: Tables, claim: Mapping, focal_model: str, track: str
) -> Iterator[tuple[str, Found]]:
    rows = pick(
        tables.frames["efficiency"], device_kind="cuda", track=track, dataset=claim["dataset"],
        seq_len=claim["seq_len"], phase=claim["phase"], metric=claim["metric"],
    )  # fmt: skip
    if len(rows):  # of the paper's workload only: no other says anything about its figures
        rows = rows[(rows.batch_size == claim["batch"]) & rows["median"].notna()]
    for comparator, figure in claim["comparators"].items():
        published = f"{claim['focal_model']:g} against {figure:g}"
        sentence = claim["sentence"].format(comparator=label(comparator), published=published)
        for own, where in _by_gpu(rows):
            ratio = claim["focal_model"] / figure
            yield sentence + where, _ratio(own, focal_model, comparator, ratio, claim["tolerance"])


def _by_gpu(rows: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, str]]:
    """The rows of each machine, and how a sentence names it: only where several measured the claim."""
    names = unique(rows, "machine_name")
    if len(names) < 2:
        yield rows, ""
        return
    for (name,) in names:
        yield pick(rows, machine_name=name), f" (on {name})"


def _ratio(
    rows: pd.DataFrame, focal_model: str, comparator: str, published: float, tolerance: float
) -> Found:
    """The ratio of medians; its bounds pair the lower quartile of one with the upper of the other."""
    own, other = pick(rows, model=focal_model), pick(rows, model=comparator)
    if own.empty or other.empty:
        return "", ABSENT
    a, b = own.iloc[0], other.iloc[0]
    ratio, low, high = a["median"] / b["median"], a.q25 / b.q75, a.q75 / b.q25
    shown = (rounded(value, (high - low) / 2) for value in (ratio, low, high))
    measured = f"{_beside(a, b)}: " + "ratio {} [{}, {}]".format(*shown)
    measured += f", published {rounded(published, published)}"
    if min(a["rounds"], b["rounds"]) < ROUNDS:
        return f"{measured}, fewer than {ROUNDS} processes", UNSURE
    if low >= 1:
        return measured, NO
    if high > 1:
        return measured, UNSURE
    near = published / (1 + tolerance) <= ratio <= published * (1 + tolerance)
    return (measured, YES) if near else (f"{measured}; {DIRECTION}", NO)


def _beside(a: pd.Series, b: pd.Series) -> str:
    """Two medians of one cost with its name: memory is not the same by the allocator's pool and by what is in it."""
    metric = QUANTITIES[a.metric]
    factor, unit = unit_for(metric.unit, (a["median"], b["median"]))
    values = (rounded(row["median"] / factor, row.iqr / factor) for row in (a, b))
    return f"{metric.label.lower().replace('gpu', 'GPU')} {' against '.join(values)} {unit}"


def _growth(
    tables: Tables, claim: Mapping, focal_model: str, track: str
) -> Iterator[tuple[str, Found]]:
    rows = pick(
        tables.frames["scaling"], device_kind="cuda", track=track, curve="length-at-constant-batch",
        phase=claim["phase"], metric=claim["metric"],
    )  # fmt: skip
    for comparator in claim["comparators"]:
        sentence = claim["sentence"].format(comparator=label(comparator))
        for part, where in _by_gpu(rows):
            for own, which in _by_curve(part):
                yield sentence + where + which, _slopes(own, focal_model, comparator)


def _by_curve(rows: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, str]]:
    """The rows of each curve of one machine, and how a sentence names it: only where there are several."""
    keys = unique(rows, "fixed", "threads")
    if len(keys) < 2:
        yield rows, ""
        return
    for fixed, threads in keys:
        yield pick(rows, fixed=fixed, threads=threads), f" ({fixed}, {plural(threads, 'thread')})"


def _slopes(rows: pd.DataFrame, focal_model: str, comparator: str) -> Found:
    """Which of two costs grows less at the long end of one curve."""
    own, other = pick(rows, model=focal_model), pick(rows, model=comparator)
    own, other = (part[part.slope_end.notna()] if len(part) else part for part in (own, other))
    if own.empty or other.empty:
        return "", ABSENT
    a, b = own.iloc[0], other.iloc[0]
    measured = f"slope {_slope(a)} against {_slope(b)}"
    if a.slope_over != b.slope_over:
        return f"{measured}, over different lengths", UNSURE
    measured += f" over L = {lengths(a.slope_over)}"
    if min(a.n_rounds, b.n_rounds) < ROUNDS:
        return f"{measured}, fewer than {ROUNDS} processes", UNSURE
    less, more = a.slope_end_high < b.slope_end_low, a.slope_end_low > b.slope_end_high
    return measured, YES if less else NO if more else UNSURE


def _slope(row: pd.Series) -> str:
    return f"{row.slope_end:.2f} [{row.slope_end_low:.2f}, {row.slope_end_high:.2f}]"


def table(tables: Tables, claims: Mapping[str, Any] | None = None) -> Table:
    """Claims by sentence; a column of what was measured and a verdict per track."""
    claims = claims or read()
    findings = judge(tables, claims)
    tracks = list(dict.fromkeys(f.track for f in findings))
    columns = [Column("The paper says", number=False), Column("Where", number=False)]
    for track in tracks:
        columns += [
            Column(text, f"Track {track}", number=False) for text in ("Measured", "Verdict")
        ]
    body: list[list[Cell]] = []
    for sentence, source in dict.fromkeys((f.sentence, f.source) for f in findings):
        cells = [Cell(sentence), Cell(source, mark="muted")]
        for track in tracks:
            found = next((f for f in findings if (f.sentence, f.track) == (sentence, track)), None)
            if found is None:  # no claim about this track
                cells += [DASH, DASH]
                continue
            cells += [Cell(found.measured or "–"), Cell(found.verdict, mark=MARKS[found.verdict])]
        body.append(cells)
    counts = {v: sum(f.verdict == v for f in findings) for v in MARKS}
    said = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)
    notes = [
        f"{said}. Cost is judged on GPUs only. Sentences are in our words, figures are those of {claims['source']};"
        " tolerances stand in config/claims.yaml.",
    ]
    return Table("claims-of-the-paper", "Claims of the paper", columns, body, notes)
