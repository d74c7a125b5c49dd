"""The table `answers`: which variant of each sentence holds, and the numbers in its slots.

Everything is said of the default view: the first track, the longest history of the first configured dataset, seen items
kept, and for cost the machine that measured most of that condition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from ..core.display import PRIMARY_METRIC
from .costs import LENGTHS
from .rows import TRACKS, pick, trainings, unique
from .scaling_rows import CONCLUSIVE_SHARE
from .tables import Tables

SEEN_ITEMS, UNJUDGED = "kept", ("few_seeds", "seeds_apart")
CURVES = (LENGTHS, "length-at-constant-tokens")  # where two costs cross: the first that tells
STEP, MEMORY = ("train", "step_s"), ("train", "peak_allocated_bytes")
COLUMNS = (
    *("place", "variant", "focal", "comparator", "dataset", "seq_len", "track", "machine_name"),
    *("device_kind", "a", "a_as", "b", "b_as", "c", "c_as"),
)
# Every place with its variants, and how the numbers a, b and c of its slots are read.
PLACES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "better": (("everywhere", "some", "mixed", "worse", "level", "unmeasured"), ("count", "count", "count")),
    "faster": (("always", "from", "never", "until", "unclear", "unmeasured"), ("length", "length")),
    "smaller": (("less", "more", "paper_only", "unclear", "unmeasured"), ("ratio", "ratio")),
    "quality": (("above", "below", "level", "open", "unmeasured"), ("percent",)),
    "others": (("several", "none", "unmeasured"), ("count", "count", "count")),
    "step": (("slower", "faster", "mixed", "unmeasured"), ("ratio", "ratio", "length")),
    "crossing": (("from", "until", "always", "never", "beyond", "unclear", "unmeasured"), ("length", "length", "ratio")),
    "memory": (("both", "paper", "matched", "unmeasured"), ("ratio", "ratio")),
    "caution": (("below_published", "seeds_apart", "below_baseline", "few_seeds", "none"), ("percent",)),
}  # fmt: skip
Said = dict[str, Any]


def rows(tables: Tables) -> pd.DataFrame:
    """One row per place: the variant that holds and its numbers, with how each is read (`*_as`)."""
    view = View(tables)
    about = {"focal": tables.focal_model, "comparator": view.comparator, **view.condition, **view.machine}  # fmt: skip
    found = []
    for place, (_, kinds) in PLACES.items():
        said = getattr(view, place)()
        reads = {f"{name}_as": kind for name, kind in zip("abc", kinds, strict=False) if said.get(name) is not None}  # fmt: skip
        found.append({"place": place, **about, **said, **reads})
    return pd.DataFrame(found, columns=list(COLUMNS))


def _is(variant: str, a: Any = None, b: Any = None, c: Any = None, **about: Any) -> Said:
    return {"variant": variant, "a": a, "b": b, "c": c, **about}


@dataclass(frozen=True)
class View:
    """What the sentences are about; one method per place says what holds there."""

    tables: Tables

    @cached_property
    def trained(self) -> set[str]:
        """Models of which a training came to its end."""
        rows = trainings(self.tables.frames["experiments"])
        return set(rows.model) if len(rows) else set()

    @cached_property
    def condition(self) -> dict[str, Any]:
        """Track, dataset and length, of those with a trained model if there are any."""
        board = self.tables.frames["leaderboard"]
        judged = board[board.trained.eq(True) & board.ndcg.notna()]
        board = judged if len(judged) else board
        if board.empty:
            return {"track": None, "dataset": None, "seq_len": None}
        track = next((t for t in TRACKS if t in set(board.track)), board.track.iloc[0])
        own = pick(board, track=track)  # datasets stand as configured
        own = pick(own, dataset=own.dataset.iloc[0])
        return {"track": track, "dataset": own.dataset.iloc[0], "seq_len": int(own.seq_len.max())}

    @cached_property
    def comparator(self) -> str | None:
        """The first trained model after the focal one."""
        others = self.trained | set(self.tables.frames["costs"].model)
        return next(iter(self.tables.ordered(others - {self.tables.focal_model})), None)

    @cached_property
    def machine(self) -> dict[str, Any]:
        """The machine that measured most of the default condition, on the dataset before full-length batches, CPUs first."""
        board = self.tables.frames["leaderboard"]
        here = pick(board, seen_items=SEEN_ITEMS, **self.condition)

        def measured(place: tuple[str, str]) -> tuple:
            own = pick(here, machine_name=place[0]).cost_source
            return (own == "dataset").sum(), own.notna().sum(), place[1] == "cpu"

        names = unique(board, "machine_name", "device_kind") or [(None, None)]
        best = max(names, key=measured) if len(names) > 1 else names[0]
        return dict(zip(("machine_name", "device_kind"), best, strict=True))

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """The focal model's comparisons with trained models in the default track."""
        rows = self.tables.frames["comparisons"]
        if rows.empty:
            return pd.DataFrame(
                columns=["dataset", "seq_len", "model_b", "verdict", "why", "share"]
            )
        rows = pick(
            rows, track=self.condition["track"], seen_items=SEEN_ITEMS, metric=PRIMARY_METRIC,
            model_a=self.tables.focal_model,
        )  # fmt: skip
        return rows[rows.model_b.isin(self.trained)]

    def ratios(self, cost: tuple[str, str], **where: Any) -> pd.DataFrame:
        """Ratios of a cost to the main comparator's."""
        rows = self.tables.frames["cost_ratios"]
        return pick(rows, comparator=self.comparator, phase=cost[0], metric=cost[1], **where)

    # --- verdicts -------------------------------------------------------------------------------------------------------

    def better(self) -> Said:
        """In how many conditions the focal model is better than every comparator, or worse than any."""
        judged = self.comparisons[~self.comparisons.why.isin(UNJUDGED)]
        conditions = set(unique(judged, "dataset", "seq_len"))
        verdicts = self.comparisons.groupby(["dataset", "seq_len"]).verdict.agg(set)
        verdicts = [said for at, said in verdicts.items() if at in conditions]
        ahead, behind = sum(v == {"better"} for v in verdicts), sum("worse" in v for v in verdicts)
        if not verdicts:
            return _is("unmeasured")
        if ahead == len(verdicts):
            return _is("everywhere", ahead)
        if ahead:
            return _is("mixed" if behind else "some", ahead, len(verdicts), behind or None)
        return _is("worse", behind, len(verdicts)) if behind else _is("level", None, len(verdicts))

    def faster(self) -> Said:
        """Up to which length its training step is longer than the main comparator's, and from which on it is shorter."""
        steps = self.ratios(STEP, track=self.condition["track"], **self.machine)
        turn, at, crossover = self._turn()
        if crossover is None:
            verdicts = set(steps.verdict) if len(steps) else set()
            alone = {("cheaper",): _is("always"), ("dearer",): _is("never", steps.seq_len.max() if len(steps) else None)}  # fmt: skip
            return alone.get(tuple(verdicts), _is("unclear" if verdicts else "unmeasured"))
        if turn == "from":
            longer = steps[(steps.verdict == "dearer") & (steps.seq_len < at)]
            longer = longer[longer.source.isin(("dataset", crossover.curve))]
            return _is("from", longer.seq_len.max() if len(longer) else crossover.x_min, at)
        numbers = {"never": crossover.x_max, "beyond": crossover.x_max, "until": at}
        return _is("never" if turn == "beyond" else turn, numbers.get(turn))

    def smaller(self) -> Said:
        """Whether training needs less memory of a GPU than the main comparator: in the paper's set-up, and matched."""
        paper, matched = self._memory()
        verdicts = [row.verdict if row is not None else None for row in (paper, matched)]
        if verdicts == [None, None]:
            return _is("unmeasured")
        variant = {
            ("cheaper", "cheaper"): "less", (None, "cheaper"): "less", ("cheaper", "dearer"): "paper_only",
            ("dearer", "dearer"): "more", (None, "dearer"): "more",
        }.get(tuple(verdicts), "unclear")  # fmt: skip
        return self._of_memory(variant, paper, matched)

    # --- sentences ------------------------------------------------------------------------------------------------------

    def quality(self) -> Said:
        """The difference to the main comparator in the default condition."""
        where = {"dataset": self.condition["dataset"], "seq_len": self.condition["seq_len"]}
        own = pick(self.comparisons, model_b=self.comparator, **where)
        if own.empty:
            return _is("unmeasured")
        row = own.iloc[0]
        variants = {"better": "above", "worse": "below", "equivalent": "level"}
        return _is(variants.get(row.verdict, "open"), row.share)

    def others(self) -> Said:
        """Of the comparisons of the default track: how many significantly better, how many worse."""
        judged = self.comparisons[~self.comparisons.why.isin(UNJUDGED)]
        if judged.empty:
            return _is("unmeasured")
        better, worse = (int((judged.verdict == v).sum()) for v in ("better", "worse"))
        return _is("several" if better or worse else "none", better, worse, len(judged))

    def step(self) -> Said:
        """The least and the largest ratio of training steps on the datasets themselves."""
        own = self.ratios(STEP, track=self.condition["track"], source="dataset", **self.machine)
        if own.empty:
            return _is("unmeasured")
        low, high = own.ratio.min(), own.ratio.max()
        variant = "slower" if low > 1 else "faster" if high < 1 else "mixed"
        return _is(variant, low, high, own.seq_len.max())

    def crossing(self) -> Said:
        """From which length on the training step is shorter than the main comparator's, and the ratio at the longest one."""
        turn, at, crossover = self._turn()
        if crossover is None:
            return _is("unmeasured")
        if turn in ("from", "until", "beyond"):
            return _is(turn, at, crossover.x_max, crossover.ratio_max)
        return _is(turn, None, crossover.x_max, crossover.ratio_max)

    def memory(self) -> Said:
        """The ratio of GPU memory in the paper's set-up, and matched in the default condition."""
        paper, matched = self._memory()
        names = {(True, True): "both", (True, False): "paper", (False, True): "matched"}
        variant = names.get((paper is not None, matched is not None), "unmeasured")
        return self._of_memory(variant, paper, matched)

    def caution(self) -> Said:
        """What weighs most against the answer in the default condition."""
        warnings = self.tables.frames["warnings"]
        here = pick(warnings, **self.condition)
        here = here[here.seen_items.isna() | (here.seen_items == SEEN_ITEMS)]
        weak = pick(here[here.model != self.tables.focal_model], code="below_published")
        if len(weak):
            row = weak.sort_values("value").iloc[0]
            return _is("below_published", row.value, comparator=row.model)
        for code in ("seeds_apart", "below_baseline", "few_seeds"):
            found = pick(here, code=code)
            if len(found):
                return _is(code, comparator=self.tables.ordered(found.model)[0])
        return _is("none")

    # --- what they rest on ----------------------------------------------------------------------------------------------

    def _turn(self) -> tuple[str, float | None, Any]:
        """How the training steps of the two cross along the first curve that tells, where, and its row of `crossovers`."""
        found = None
        for row in self._crossovers():
            found = row
            ahead = row.cheaper_max == self.tables.focal_model
            if pd.notna(row.x) and not row.extrapolated and row.share >= CONCLUSIVE_SHARE:
                # Between points far apart only the farther one is known to lie beyond the crossing.
                ends = {True: row.high, False: row.low}
                return "from" if ahead else "until", ends[ahead] if row.bracketed else row.x, row
            crossing = 0 if row.extrapolated else row.share  # of the resamples, within the points
            if row.cheaper_min == row.cheaper_max and crossing <= 1 - CONCLUSIVE_SHARE:
                if row.extrapolated and not ahead:
                    return "beyond", row.x, row
                return "always" if ahead else "never", None, row
        return "unclear", None, found

    def _crossovers(self) -> Iterator[Any]:
        rows = self.tables.frames["crossovers"]
        pair = {"model_a": self.tables.focal_model, "model_b": self.comparator}
        cost = {"phase": STEP[0], "metric": STEP[1], "track": self.condition["track"]}
        rows = pick(rows, **pair, **cost, **self.machine)
        for curve in CURVES if len(rows) else ():
            yield from pick(rows, curve=curve).itertuples()

    def _memory(self) -> tuple[Any, Any]:
        """Rows of `cost_ratios` on a GPU: in the paper's set-up, and in the default condition."""
        rows = self.ratios(MEMORY, device_kind="cuda")
        if rows.empty:
            return None, None
        rows = rows.sort_values("sequences", ascending=False, kind="stable")
        on_data, curve = rows[rows.source == "dataset"], rows[rows.source == LENGTHS]
        n_items = self.tables.datasets.get(self.condition["dataset"], {}).get("n_items")
        track, seq_len = self.condition["track"], self.condition["seq_len"]
        paper = pick(on_data, track="paper", dataset=self.condition["dataset"])
        matched = pick(on_data, **self.condition)
        stand_in = pick(curve, track=track, seq_len=seq_len, n_items=n_items)
        matched = matched if len(matched) else stand_in
        return tuple(next(own.itertuples(), None) for own in (paper, matched))

    def _of_memory(self, variant: str, paper: Any, matched: Any) -> Said:
        found = [row for row in (paper, matched) if row is not None]
        where = {"machine_name": found[0].machine_name, "device_kind": "cuda"} if found else {}
        return _is(variant, *(row.ratio if row is not None else None for row in (paper, matched)), **where)  # fmt: skip
