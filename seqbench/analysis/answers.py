"""The table `answers`: which variant of each sentence holds, and the numbers in its slots.

Everything is said of the default view: the first track, the longest history of the first configured dataset, seen items
kept, and for cost the machine that measured most of that condition.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from ..core.display import TABLES
from .costs import LENGTHS
from .published_values import NEAR, deciding
from .scaling_rows import CONCLUSIVE_SHARE
from .tables import CONDITION, Tables, pick, unique
from .verdicts import UNJUDGED, versus

SEEN_KEPT = "kept"
CURVES = (LENGTHS, "length-at-constant-tokens")  # where two costs cross: the first that tells
STEP, INFERENCE = ("train", "step_s"), ("inference", "batch_s")
MEMORY = ("train", "peak_allocated_bytes")
SLOTS = {  # how the numbers a, b and c of a place are read
    **dict.fromkeys(("better", "conditions", "others"), ("count", "count", "count")),
    **dict.fromkeys(("smaller", "memory"), ("ratio", "ratio")),
    **dict.fromkeys(("quality", "caution"), ("percent", "percent")),
    **dict.fromkeys(("faster", "inference"), ("length", "length")),
    "step": ("ratio", "ratio", "length"),
    "crossing": ("length", "length", "ratio"),
    "crossing.two": ("length", "length", "length"),
}
VARIANTS = {
    "better": ("everywhere", "here", "some", "mixed", "worse", "worse_here", "level", "level_here", "few_seeds", "unclear", "unmeasured", "alone"),
    "conditions": ("several", "one", "unmeasured", "alone"),
    "faster": ("always", "always_here", "never_here", "from", "never", "until", "unclear", "unmeasured", "alone"),
    "inference": ("from", "until", "always", "never", "beyond", "unclear", "unmeasured", "alone"),
    "smaller": ("less", "more", "paper_only", "unclear", "unmeasured", "alone"),
    "quality": ("above", "below", "level", "open", "unmeasured", "alone"),
    "others": ("several", "none", "one", "unmeasured", "alone"),
    "step": ("slower", "slower_evenly", "faster", "faster_evenly", "mixed", "unmeasured", "alone"),
    "crossing": ("from", "two", "until", "always", "never", "beyond", "unclear", "unmeasured", "alone"),
    "memory": ("both", "paper", "matched", "unmeasured", "alone"),
    "caution": ("below_published", "both_below_published", "seeds_apart", "below_baseline", "few_seeds", "none"),
}  # fmt: skip
Said = dict[str, Any]


def rows(tables: Tables) -> pd.DataFrame:
    """One row per place: the variant that holds and its numbers, with how each is read (`*_as`)."""
    view = DefaultView(tables)
    about = {"focal": tables.focal_model, "comparator": view.comparator, **view.condition, **view.machine}  # fmt: skip
    found = []
    for place in VARIANTS:
        said = getattr(view, place)()
        if view.comparator is None and said["variant"] == "unmeasured":
            said["variant"] = "alone"
        reads = zip("abc", slots(place, said["variant"]), strict=False)
        reads = {f"{name}_as": kind for name, kind in reads if said[name] is not None}
        found.append({"place": place, **about, **said, **reads})
    return pd.DataFrame(found, columns=TABLES["answers"])


def slots(place: str, variant: str) -> tuple[str, ...]:
    """How the numbers a, b and c of a sentence are read."""
    return SLOTS.get(f"{place}.{variant}", SLOTS[place])


def _is(variant: str, a: Any = None, b: Any = None, c: Any = None, **about: Any) -> Said:
    return {"variant": variant, "a": a, "b": b, "c": c, **about}


@dataclass(frozen=True)
class DefaultView:
    """What the sentences are about; a method per place says what holds there."""

    tables: Tables

    @cached_property
    def condition(self) -> Said:
        """Track, dataset and length; of those with a trained model, if there are any."""
        board = self.tables.frames["leaderboard"]
        judged = board[board.trained.eq(True) & board.ndcg.notna()]
        board = judged if len(judged) else board
        if board.empty:
            return dict.fromkeys(CONDITION)
        # Datasets and tracks stand in their order.
        board = pick(board, dataset=board.dataset.iloc[0])
        board = pick(board, track=board.track.iloc[0])
        return dict(zip(CONDITION, board.sort_values("seq_len").iloc[-1][list(CONDITION)], strict=True))  # fmt: skip

    @cached_property
    def comparator(self) -> str | None:
        """The first trained model after the focal one."""
        others = {*pick(self.tables.frames["leaderboard"], trained=True).model}
        return next(iter(self.tables.ordered(others - {self.tables.focal_model})), None)

    @cached_property
    def machine(self) -> Said:
        """The machine that measured most of the default condition, on the dataset before full-length batches, CPUs first."""
        here = pick(self.tables.frames["leaderboard"], seen_items=SEEN_KEPT, **self.condition)

        def measured(place: tuple[str, str]) -> tuple:
            own = pick(here, machine_name=place[0]).cost_source
            return (own == "dataset").sum(), own.notna().sum(), place[1] == "cpu"

        places = unique(here, "machine_name", "device_kind")
        best = max(places, key=measured) if places else (None, None)
        return dict(zip(("machine_name", "device_kind"), best, strict=True))

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """The focal model's comparisons with trained models in the default track."""
        return versus(self.tables, track=self.condition["track"], seen_items=SEEN_KEPT)

    def ratios(self, cost: tuple[str, str], **where: Any) -> pd.DataFrame:
        """Ratios of a cost to the main comparator's."""
        where |= {"comparator": self.comparator, "phase": cost[0], "metric": cost[1]}
        return pick(self.tables.frames["cost_ratios"], **where)

    @cached_property
    def verdicts(self) -> pd.Series:
        """The set of its verdicts by condition, where any comparison is judged."""
        places = self.comparisons.groupby(["dataset", "seq_len"])
        return places.verdict.agg(set)[places.why.agg(lambda why: not why.isin(UNJUDGED).all())]

    def turn(self, cost: tuple[str, str], **machine: Any) -> tuple[str, float | None, Any]:
        """Where its cost and the main comparator's cross on one machine, if none is named the default one: how, where, and
        the row of the first curve that tells."""
        where = {"model_a": self.tables.focal_model, "model_b": self.comparator, "phase": cost[0], "metric": cost[1]}  # fmt: skip
        where |= {"track": self.condition["track"], **(machine or self.machine)}
        rows, row = pick(self.tables.frames["crossovers"], **where), None
        for row in (row for curve in CURVES for row in pick(rows, curve=curve).itertuples()):
            ahead = row.cheaper_max == self.tables.focal_model
            if pd.notna(row.x) and not row.extrapolated and row.share >= CONCLUSIVE_SHARE:
                # Between points far apart only the farther one is known to lie beyond the crossing.
                bracket = row.high if ahead else row.low
                return "from" if ahead else "until", bracket if row.bracketed else row.x, row
            crossing = 0 if row.extrapolated else row.share  # of the resamples, within the points
            if row.cheaper_min == row.cheaper_max and crossing <= 1 - CONCLUSIVE_SHARE:
                later = row.extrapolated and not ahead
                return "beyond" if later else "always" if ahead else "never", row.x if later else None, row  # fmt: skip
        return "unclear", None, row

    @cached_property
    def gpu(self) -> tuple[Any, Any]:
        """Rows of `cost_ratios` for the memory of a GPU: in the paper's set-up, and in the default condition."""
        rows = self.ratios(MEMORY, device_kind="cuda").sort_values("sequences", ascending=False)
        track, dataset, seq_len = (self.condition[key] for key in CONDITION)
        on_data, n_items = pick(rows, source="dataset"), self.tables.datasets.get(dataset, {}).get("n_items")  # fmt: skip
        curve = pick(rows, source=LENGTHS, track=track, seq_len=seq_len, n_items=n_items)
        paper = pick(on_data, dataset=dataset, track="paper")
        matched = pd.concat([pick(on_data, **self.condition), curve])
        return next(paper.itertuples(), None), next(matched.itertuples(), None)

    # --- verdicts -------------------------------------------------------------------------------------------------------

    def better(self) -> Said:
        """In how many conditions the focal model is better than every comparator, or worse than any."""
        n, ahead, behind = len(self.verdicts), sum(v == {"better"} for v in self.verdicts), sum("worse" in v for v in self.verdicts)  # fmt: skip
        if not n:
            return _is("few_seeds" if "few_seeds" in set(self.comparisons.why) else "unclear" if len(self.comparisons) else "unmeasured")  # fmt: skip
        if n == 1:
            return _is("here" if ahead else "worse_here" if behind else "level_here")
        if n == ahead:
            return _is("everywhere", n)
        if ahead:
            return _is("mixed" if behind else "some", ahead, n, behind or None)
        return _is("worse", behind, n) if behind else _is("level", None, n)

    def conditions(self) -> Said:
        """On how many datasets it is better in all conditions, and how many conditions are inconclusive."""
        if len(self.verdicts) < 2:
            return _is("unmeasured")
        ahead = self.verdicts.map(lambda own: own == {"better"}).groupby("dataset").all()
        still = sum("inconclusive" in own and "worse" not in own for own in self.verdicts)
        return _is("several" if len(ahead) > 1 else "one", ahead.sum(), len(ahead), still)

    def faster(self) -> Said:
        """Up to which length its training step is longer than the main comparator's, and from which on it is shorter."""
        steps = self.ratios(STEP, track=self.condition["track"], **self.machine)
        turn, at, curve = self.turn(STEP)
        if curve is None:
            steps = pick(steps, source="dataset")
            found, here = set(steps.verdict), "_here" * (steps.seq_len.nunique() == 1)
            if found in ({"dearer"}, {"cheaper"}):
                return _is(("never" if "dearer" in found else "always") + here, steps.seq_len.max())
            return _is("unclear" if found else "unmeasured")
        if turn == "from":
            steps = pick(steps, verdict="dearer")
            steps = steps[steps.source.isin(("dataset", curve.curve)) & (steps.seq_len < at)]
            return _is("from", max(steps.seq_len, default=curve.x_min), at)
        if turn in ("never", "beyond"):
            return _is("never", curve.x_max)
        return _is(turn, at)

    def inference(self) -> Said:
        """From which length on its inference is shorter than the main comparator's, or up to which."""
        turn, at, curve = self.turn(INFERENCE)
        return _is("unmeasured" if curve is None else turn, at)

    def smaller(self) -> Said:
        """Whether training needs less memory of a GPU than the main comparator: in the paper's set-up, and matched."""
        if self.gpu == (None, None):
            return _is("unmeasured", machine_name=None)
        paper, matched = (row.verdict if row else None for row in self.gpu)
        variant = {"cheaper": "less", "dearer": "more"}.get(matched, "unclear")
        if paper not in (None, matched):
            variant = "paper_only" if (paper, matched) == ("cheaper", "dearer") else "unclear"
        return self.memory() | {"variant": variant}

    # --- sentences ------------------------------------------------------------------------------------------------------

    def quality(self) -> Said:
        """The difference to the main comparator in the default condition."""
        where = {key: self.condition[key] for key in ("dataset", "seq_len")}
        row = next(pick(self.comparisons, model_b=self.comparator, **where).itertuples(), None)
        if row is None:
            return _is("unmeasured")
        variants = {"better": "above", "worse": "below", "equivalent": "level"}
        return _is(variants.get(row.verdict, "open"), row.share)

    def others(self) -> Said:
        """Of the comparisons of the default track: how many significantly better, how many worse."""
        judged = self.comparisons[~self.comparisons.why.isin(UNJUDGED)]
        better, worse = (int((judged.verdict == verdict).sum()) for verdict in ("better", "worse"))
        if len(judged) < 2:
            return _is("one" if len(judged) else "unmeasured")
        return _is("several" if better or worse else "none", better, worse, len(judged))

    def step(self) -> Said:
        """The least and the largest ratio of training steps on the datasets themselves."""
        own = self.ratios(STEP, track=self.condition["track"], source="dataset", **self.machine)
        if own.empty:
            return _is("unmeasured")
        low, high = float(own.ratio.min()), float(own.ratio.max())
        variant = "slower" if low > 1 else "faster" if high < 1 else "mixed"
        evenly = "_evenly" * (round(low, 2) == round(high, 2) and variant != "mixed")
        return _is(variant + evenly, low, high, own.seq_len.max())

    def crossing(self) -> Said:
        """From which length on the training step is shorter than the main comparator's, and the ratio at the longest one."""
        turn, at, curve = self.turn(STEP)
        if curve is None:
            return _is("unmeasured")
        if turn == "from" and not curve.bracketed:
            for machine, kind in unique(self.tables.frames["crossovers"], "machine_name", "device_kind"):  # fmt: skip
                other, _, row = self.turn(STEP, machine_name=machine, device_kind=kind)
                if machine != self.machine["machine_name"] and other == turn and row.bracketed:
                    return _is("two", at, row.low, row.high, machine_b=machine)
        return _is(turn, at, curve.x_max, curve.ratio_max)

    def memory(self) -> Said:
        """The ratio of GPU memory in the paper's set-up, and matched in the default condition."""
        known = [row for row in self.gpu if row is not None]
        if not known:
            return _is("unmeasured")
        variant = "both" if len(known) == 2 else "paper" if self.gpu[0] else "matched"
        ratios = (row.ratio if row else None for row in self.gpu)
        return _is(variant, *ratios, machine_name=known[0].machine_name, device_kind="cuda")

    def caution(self) -> Said:
        """What weighs most against the answer in the default condition."""
        here = pick(self.tables.frames["warnings"], **self.condition)
        here = here[here.seen_items.isna() | (here.seen_items == SEEN_KEPT)]
        values = deciding(pick(self.tables.frames["published_values"], **self.condition))
        values = values.sort_values("share").drop_duplicates("model").set_index("model")
        if values.share.min() < NEAR:
            low, focal = values.iloc[0], self.tables.focal_model
            said = {"comparator": low.name, "basis": low.basis}
            if low.name == focal or focal not in values.index:
                return _is("below_published", low.share, **said)
            own = values.loc[focal]
            return _is("both_below_published", low.share, own.share, **said, basis_b=own.basis)
        for code in VARIANTS["caution"][2:-1]:
            if models := self.tables.ordered(pick(here, code=code).model):
                return _is(code, comparator=models[0])
        return _is("none")
