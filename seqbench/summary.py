"""Summaries over seeds: means with intervals, and differences between models with a verdict.

Records are read group by group (dataset, track, length), so memory does not grow with the grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, groupby, product
from typing import Any

import numpy as np

from . import significance, stats
from .errors import UserError
from .tables import known
from .tidy import MASKINGS, QUALITIES, Entry, effectiveness_rows, qualities

SUMMARY = (
    *("dataset", "model", "track", "split", "masking", "ties", "seq_len", "n_seeds", "budget"),
    *("data_hash", "metric", "mean", "std", "ci_low", "ci_high"),
)
SEEDS_FOR_A_CLAIM = 3
COMPARED = QUALITIES  # metrics on which models are compared
RETRY = "re-run one of them (delete its folder and run the workflow, or `python -m seqbench retry`)"


def enough_seeds(trained_seeds: float | None) -> bool:
    """Whether a difference rests on enough seeds to be called established (models without training need none)."""
    return not known(trained_seeds) or trained_seeds >= SEEDS_FOR_A_CLAIM


@dataclass(frozen=True)
class Group:
    """Summary of one model: resampled means (R, K), where column k is the quantity names[k]."""

    entries: list[Entry]
    names: list[tuple[str, str, str]]  # (masking, ties, metric)
    means: stats.SeedMeans
    resamples: stats.Resampled
    masking: stats.Resampled  # of what masking adds, one column per metric of COMPARED

    @property
    def model(self) -> str:
        """Its name."""
        return self.entries[0].experiment["model"]


def summarise(
    entries: list[Entry], margin: float, one_machine: bool = True
) -> dict[str, list[dict[str, Any]]]:
    """Return rows of `effectiveness` (tidy), `summary`, `comparisons` and `contrasts` of the trainings that succeeded.

    margin: smallest difference that counts, as a share of the better model's mean. one_machine: whether a model's seeds
    must come from the same machine, as in every grid; pool.py says when they need not.

    Raises:
        UserError: records that would be averaged or compared differ in data, machine or settings.
    """
    trainings = sorted((e for e in entries if e.training and e.ok), key=_place)
    check_same_data(trainings)
    tidy, summary, comparisons, contrasts = [], [], [], []
    for _, lengths in groupby(trainings, lambda entry: _place(entry)[:2]):
        by_length: list[list[Group]] = []
        for _, members in groupby(lengths, _place):
            groups = _groups(list(members), tidy, one_machine)
            summary += [row for group in groups for row in _summary_rows(group)]
            pairs = combinations(groups, 2)
            comparisons += _adjusted(
                [row for a, b in pairs for row in _comparison_rows(a, b, margin)]
            )
            contrasts += [row for group in groups for row in _masking_rows(group)]
            by_length.append(groups)
        contrasts += _length_rows(by_length)
    return {
        "effectiveness": tidy,
        "summary": summary,
        "comparisons": comparisons,
        "contrasts": contrasts,
    }


def check_same_data(entries: list[Entry]) -> None:
    """Refuse trainings on one dataset whose data differ: their users cannot be paired."""
    first: dict[str, Entry] = {}
    for entry in entries:
        other = first.setdefault(entry.experiment["dataset"], entry)
        _same(other, entry, "data", *(e.record["data"]["hash"] for e in (other, entry)))


def _groups(members: list[Entry], tidy: list[dict[str, Any]], one_machine: bool) -> list[Group]:
    users, found, by_model = None, [], {}
    for entry in members:
        by_model.setdefault(entry.experiment["model"], []).append(entry)
    for seeds in by_model.values():
        tables, added = [], []
        for entry in seeds:
            _check_seeds(seeds[0], entry, one_machine)
            samples = entry.samples()
            users = samples["users"] if users is None else users
            if not np.array_equal(users, samples["users"]):
                raise UserError(_differ(members[0], entry, "evaluated users"))
            tidy += effectiveness_rows(entry, samples)
            table = qualities(samples, "test")
            tables.append(np.column_stack(list(table.values())))
            added.append(_added_by_masking(table))
        found.append((seeds, list(table), stats.seed_means(tables), stats.seed_means(added)))
    resampled = stats.resample([means for _, _, means, _ in found])
    masking = stats.resample([added for _, _, _, added in found])
    return [
        Group(seeds, names, means, draws, gaps)
        for (seeds, names, means, _), draws, gaps in zip(found, resampled, masking, strict=True)
    ]


def _added_by_masking(table: dict[tuple[str, str, str], np.ndarray]) -> np.ndarray:
    """What every user's value gains when seen items are masked (U, metrics of COMPARED), by one training."""
    ranked, masked = (
        np.column_stack([table[masking, "conservative", metric] for metric in COMPARED])
        for masking in ("unmasked", "seen-masked")
    )
    return masked - ranked


def _place(entry: Entry) -> tuple[str, str, int]:
    return tuple(entry.experiment[key] for key in ("dataset", "track", "seq_len"))


def _check_seeds(first: Entry, entry: Entry, one_machine: bool) -> None:
    if one_machine:
        machines = (e.record["environment"]["machine"] for e in (first, entry))
        _same(first, entry, "machine", *machines)
    settings = [{k: v for k, v in e.experiment.items() if k != "seed"} for e in (first, entry)]
    _same(first, entry, "settings", *settings)


def _same(first: Entry, second: Entry, what: str, a: object, b: object) -> None:
    if a != b:
        raise UserError(_differ(first, second, what))


def _differ(first: Entry, second: Entry, what: str) -> str:
    return f"{first.path} and {second.path} differ in {what} and cannot stand in one table: {RETRY}"


def budget(entry: Entry) -> str | None:
    """How much training was allowed, in one phrase; None for a model that is not trained."""
    if not entry.values.get("steps"):
        return None
    training = entry.experiment["training"]
    return f"{training['max_steps']} steps x {training['batch_targets']} targets"


def _summary_rows(group: Group) -> Iterator[dict[str, Any]]:
    entry, means = group.entries[0], group.means
    low, high = (np.clip(end, 0, 1) for end in stats.interval(group.resamples.means))
    about = {key: entry.experiment[key] for key in ("dataset", "model", "track", "seq_len")}
    about |= {
        "split": entry.record["data"].get("split", "leave-one-out"),
        "n_seeds": means.n_seeds,
        "budget": budget(entry),
    }
    about |= {"data_hash": entry.record["data"]["hash"]}
    for k, (masking, ties, metric) in enumerate(group.names):
        numbers = {"mean": means.mean[k], "std": means.std[k], "ci_low": low[k], "ci_high": high[k]}
        row = {**about, "masking": masking, "ties": ties, "metric": metric, **numbers}
        yield {column: row[column] for column in SUMMARY}


def _comparison_rows(a: Group, b: Group, margin: float) -> Iterator[dict[str, Any]]:
    about = {key: a.entries[0].experiment[key] for key in ("dataset", "track", "seq_len")}
    about |= {"model_a": a.entries[0].experiment["model"]}
    about |= {"model_b": b.entries[0].experiment["model"]}
    p_values, effects = significance.paired_t(a.means.users, b.means.users)
    for masking, metric in product(MASKINGS, COMPARED):
        k = a.names.index((masking, "conservative", metric))
        mean_a, mean_b = a.means.mean[k], b.means.mean[k]
        low, high = significance.difference_interval(a.resamples, b.resamples, k)
        least = margin * max(mean_a, mean_b)
        yield {
            **about, "masking": masking, "metric": metric,
            "mean_a": mean_a, "mean_b": mean_b, "difference": mean_a - mean_b,
            "ci_low": low[0], "ci_high": high[0], "margin": least,
            "verdict": stats.verdict(low[0], high[0], least),
            "trained_seeds": _trained_seeds(a, b), "p_value": p_values[k], "effect": effects[k],
        }  # fmt: skip


# --- one model against itself -------------------------------------------------------------------------------------------


def _masking_rows(group: Group) -> Iterator[dict[str, Any]]:
    """Seen items masked against seen items ranked: the same trainings on the same users."""
    low, high = stats.interval(group.masking.means)
    for k, metric in enumerate(COMPARED):
        seq_len = group.entries[0].experiment["seq_len"]
        numbers = (group.masking.model.mean[k], low[k], high[k])
        seeds = group.means.n_seeds
        yield _contrast("masking", group, "both", metric, seq_len, seq_len, numbers, seeds)


def _length_rows(by_length: list[list[Group]]) -> Iterator[dict[str, Any]]:
    """Every model at every longer history against every shorter one, on the same users.

    Every place is resampled from the same seed, so equally many users are drawn alike: the resamples are paired.
    """
    for shorter, longer in combinations(by_length, 2):
        for short in shorter:
            for long in longer:
                alike = len(short.means.users) == len(long.means.users)
                if short.model == long.model and alike and _same_budget(short, long):
                    yield from _rows_of_two_lengths(short, long)


def _same_budget(short: Group, long: Group) -> bool:
    return budget(short.entries[0]) == budget(long.entries[0])


def _rows_of_two_lengths(short: Group, long: Group) -> Iterator[dict[str, Any]]:
    lengths = [group.entries[0].experiment["seq_len"] for group in (short, long)]
    for masking, metric in product(MASKINGS, COMPARED):
        k = short.names.index((masking, "conservative", metric))
        low, high = significance.difference_interval(long.resamples, short.resamples, k)
        numbers = (long.means.mean[k] - short.means.mean[k], low[0], high[0])
        seeds = min(short.means.n_seeds, long.means.n_seeds)
        yield _contrast("length", long, masking, metric, *lengths, numbers, seeds)


def _contrast(
    what: str, group: Group, masking: str, metric: str, shorter: int, longer: int, numbers: tuple,
    n_seeds: int,
) -> dict[str, Any]:  # fmt: skip
    experiment = group.entries[0].experiment
    return {
        **{key: experiment[key] for key in ("dataset", "track", "model")},
        "contrast": what, "masking": masking, "metric": metric, "seq_len_from": shorter, "seq_len_to": longer,
        **dict(zip(("difference", "ci_low", "ci_high"), numbers, strict=True)), "n_seeds": n_seeds,
    }  # fmt: skip


def _adjusted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add p-values adjusted (Holm) over all pairs of models in one place, masking and metric."""
    families: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault((row["masking"], row["metric"]), []).append(row)
    for family in families.values():
        adjusted = significance.holm(np.array([row["p_value"] for row in family]))
        for row, p in zip(family, adjusted, strict=True):
            row["p_holm"] = float(p)
    return rows


def _trained_seeds(a: Group, b: Group) -> int | None:
    """The smaller number of seeds of the two, counting models whose training has a seed at all."""
    counts = [group.means.n_seeds for group in (a, b) if group.entries[0].values.get("steps")]
    return min(counts, default=None)
