"""The grid: every training, measurement and study that a configuration asks for, in a fixed order.

Standard library only, so that a Snakemake dry run stays cheap: which models are trained is read from the syntax tree
of their files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ..core.jobs import (
    FULL_LENGTH,
    TARGETS,
    TRAINING_KEYS,
    MeasurementJob,
    Pairs,
    Study,
    Training,
    TrainingJob,
    build,
    space_of,
    within,
)
from .model_files import is_trainable, model_config_fields


@dataclass(frozen=True)
class Grid:
    """All jobs that a configuration asks for."""

    trainings: tuple[TrainingJob, ...]
    measurements: tuple[MeasurementJob, ...]

    def datasets(self) -> list[str]:
        """Names of the prepared datasets that the jobs read, in order of first use."""
        jobs = [*self.trainings, *self.measurements]
        return list(dict.fromkeys(j.dataset for j in jobs if j.dataset != FULL_LENGTH))

    def to_dict(self) -> dict[str, Any]:
        """The grid as plain data with the record folder of every job."""
        return {
            "trainings": [{**e.to_dict(), "path": e.path} for e in self.trainings],
            "measurements": [
                {**m.to_dict(), "records": m.record_paths()} for m in self.measurements
            ],
            "datasets": self.datasets(),
        }


def grid(config: Mapping[str, Any], models_dir: Path) -> Grid:
    """Jobs of a validated configuration (defaults filled in) in a fixed order."""
    return Grid(tuple(_trainings(config, models_dir)), tuple(_measurements(config, models_dir)))


def report(config: Mapping[str, Any]) -> dict[str, Any]:
    """What reports read of a configuration: its block `report`, and the datasets and models in its order."""
    models = (*config["run"]["models"], *config["measure"]["models"])
    orders = {"models": list(dict.fromkeys(models)), "datasets": list(config["run"]["datasets"])}
    return {**config["report"], **orders, "ladder": ladder(config)}


def ladder(config: Mapping[str, Any]) -> dict[str, str]:
    """By the name of every rung the track that it is one of."""
    return dict.fromkeys(rungs(config), (config.get("ladder") or {}).get("track"))


def rungs(config: Mapping[str, Any], track: str | None = None) -> dict[str, int]:
    """Updates by the name of every rung of the ladder, of one track only if it is named."""
    ladder = config.get("ladder") or {}
    base = ladder.get("track")
    updates = ladder.get("rungs", ()) if track in (None, base) else ()
    return {f"{base}-{n}": n for n in updates}


def _trainings(config: Mapping[str, Any], models_dir: Path) -> Iterator[TrainingJob]:
    run = config["run"]
    for dataset in run["datasets"]:
        for track in run["tracks"]:
            for seq_len in config["datasets"][dataset]["seq_lens"]:
                for name, model in product(rungs(config, track) or [track], run["models"]):
                    trainable = is_trainable(models_dir / f"{model}.py")
                    training = base_training(config, dataset, track, model, seq_len)
                    if updates := rungs(config, track).get(name):
                        training = within(training, updates)
                    hyper = hyperparameters(
                        config, models_dir, model, track, dataset if trainable else None, seq_len
                    )
                    # A model without training is deterministic: one seed says it all.
                    more = _more_seeds(run, track, dataset, seq_len) if trainable else ()
                    for seed in (*run["seeds"], *more) if trainable else run["seeds"][:1]:
                        yield TrainingJob(dataset, model, name, seq_len, seed, hyper, training)


def _more_seeds(run: Mapping[str, Any], *condition: Any) -> list[int]:
    """Seeds that one condition (track, dataset, length) is trained with besides those of all."""
    keys = ("track", "dataset", "seq_len")
    found = [m for m in run.get("more_seeds", []) if tuple(map(m.get, keys)) == condition]
    more = dict.fromkeys(seed for m in found for seed in m["seeds"])
    return [seed for seed in more if seed not in run["seeds"]]


def base_training(
    config: Mapping[str, Any], dataset: str, track: str, model: str | None = None, seq_len: int = 0
) -> Training:
    """How a track trains on a dataset, and one model there, if it is named, at a history length.

    track < dataset < the track's own block for that dataset < the model's own in that track < ``selected_settings``.
    """
    block = config["tracks"][track]
    keys = {
        **block.get("training", {}),
        **config["datasets"].get(dataset, {}).get("training", {}),
        **block.get("datasets", {}).get(dataset, {}).get("training", {}),
        **_own(config, track, model).get("training", {}),
        **_setting(config, track, dataset, seq_len, model).get("training", {}),
    }
    return build(Training, keys)


def _own(config: Mapping[str, Any], track: str, model: str | None) -> Mapping[str, Any]:
    """What a model has of its own in a track: hyper-parameters, and ``training``."""
    return (config["models"].get(model) or {}).get(track, {})


def of_length(seq_len: int) -> str:
    """How `selected_settings` names a history length, as folders do."""
    return f"L{seq_len}"


def _setting(
    config: Mapping[str, Any], track: str, dataset: str | None, seq_len: int, model: str | None
) -> Mapping[str, Any]:
    """What was chosen for one model in one condition, as by tuning."""
    by_dataset = config.get("selected_settings", {}).get(track, {})
    return by_dataset.get(dataset, {}).get(of_length(seq_len), {}).get(model, {})


def hyperparameters(
    config: Mapping[str, Any], models_dir: Path, model: str, track: str, dataset: str | None,
    seq_len: int = 0,
) -> Pairs:  # fmt: skip
    """Hyper-parameters of a model: track < dataset < model's own block for that track < ``selected_settings``.

    What a track or a dataset sets applies to the models that have it. ``dataset`` None (a baseline without training) leaves
    both out.
    """
    own = {k: v for k, v in _own(config, track, model).items() if k != "training"}
    if dataset is None:
        return tuple(sorted(own.items()))
    shared = config["tracks"][track].get("hyperparameters", {})
    local = config["datasets"].get(dataset, {}).get("hyperparameters", {})
    chosen = _setting(config, track, dataset, seq_len, model).get("hyperparameters", {})
    fields = model_config_fields(models_dir / f"{model}.py")
    common = {name: value for name, value in {**shared, **local}.items() if name in fields}
    return tuple(sorted({**common, **own, **chosen}.items()))


def _measurements(config: Mapping[str, Any], models_dir: Path) -> Iterator[MeasurementJob]:
    measure = config.get("measure") or {}
    names = measure.get("models") or []
    for track in config["run"]["tracks"] if names else []:
        if measure["on_datasets"]:
            yield from _on_datasets(config, models_dir, measure, track)
        if not config.get("selected_settings", {}).get(
            track
        ):  # what was chosen for a dataset says nothing beyond it
            yield from _on_full_length(config, models_dir, measure, track)


def _on_datasets(
    config: Mapping[str, Any], models_dir: Path, measure: Mapping[str, Any], track: str
) -> Iterator[MeasurementJob]:
    keys = _shared(measure, "eval_batch", "energy_window_s")
    asked = measure["on_datasets"]
    for dataset in config["run"]["datasets"]:
        if asked is not True and dataset not in asked:
            continue
        training = base_training(config, dataset, track)
        for seq_len in config["datasets"][dataset]["seq_lens"]:
            models = tuple(
                (m, hyperparameters(config, models_dir, m, track, dataset, seq_len))
                for m in measure["models"]
            )
            yield MeasurementJob(
                dataset, track, seq_len, models, training.targets_per_step, **_as_trained(training), **keys,
                clip_norms=_own_norms(config, dataset, track, seq_len),
            )  # fmt: skip


def _on_full_length(
    config: Mapping[str, Any], models_dir: Path, measure: Mapping[str, Any], track: str
) -> Iterator[MeasurementJob]:
    models = tuple(
        (m, hyperparameters(config, models_dir, m, track, FULL_LENGTH)) for m in measure["models"]
    )
    training = base_training(config, FULL_LENGTH, track)
    keys = _shared(measure)
    if measure.get("curve_budget_s"):
        keys["budget_s"] = measure["curve_budget_s"]
    for curve, seq_len, sequences, n_items in _points(measure):
        yield MeasurementJob(
            FULL_LENGTH, track, seq_len, models, sequences * seq_len, sequences,
            n_items=n_items, curve=curve, **_as_trained(training) | {"step_counts": TARGETS}, **keys,
            clip_norms=_own_norms(config, FULL_LENGTH, track, seq_len),
        )  # fmt: skip


def _points(measure: Mapping[str, Any]) -> Iterator[tuple[str, int, int, int]]:
    """Curve, length, sequences per batch (users at inference) and catalogue size of every point."""
    scaling, n_items = measure["scaling"], measure["n_items"]
    block = scaling["length_at_constant_tokens"]
    for seq_len in block["seq_lens"]:
        yield "length-at-constant-tokens", seq_len, max(1, block["tokens"] // seq_len), n_items
    block = scaling["length_at_constant_batch"]
    for seq_len in block["seq_lens"]:
        yield "length-at-constant-batch", seq_len, block["sequences"], n_items
    block = scaling["batch_size"]
    for sequences in block["sequences"]:
        yield "batch-size", block["seq_len"], sequences, n_items
    block = scaling["catalogue_size"]
    for size in block["n_items"]:
        yield "catalogue-size", block["seq_len"], block["sequences"], size


def _as_trained(training: Training) -> dict[str, Any]:
    keys = (
        *("precision", "kernels", "objective", "compute_all_positions", "bucket_by_length"),
        *("clip_norm", "step_counts"),
    )
    return {key: getattr(training, key) for key in keys}


def _own_norms(config: Mapping[str, Any], dataset: str, track: str, seq_len: int) -> Pairs:
    """``clip_norm`` of the models whose own differs from the track's."""
    models = config["measure"]["models"]
    shared = base_training(config, dataset, track).clip_norm
    norms = ((m, base_training(config, dataset, track, m, seq_len).clip_norm) for m in models)
    return tuple(sorted((model, norm) for model, norm in norms if norm != shared))


def _shared(measure: Mapping[str, Any], *more: str) -> dict[str, Any]:
    keys = ("rounds", "steps", "warmup", "budget_s", *more)
    return {key: measure[key] for key in keys if key in measure}


def studies(config: Mapping[str, Any], models_dir: Path) -> list[Study]:
    """Every study that a configuration asks for, in a fixed order: of a dataset at the lengths that it names, else its longest."""
    tune, track, found = config.get("tune") or {}, config.get("tune", {}).get("track"), []
    trained = [m for m in config["run"]["models"] if is_trainable(models_dir / f"{m}.py")]
    for dataset in tune.get("datasets") or []:
        search = {**tune, **tune.get("by_dataset", {}).get(dataset, {})}
        lengths = search.get("seq_lens") or [max(config["datasets"][dataset]["seq_lens"])]
        for seq_len, model in product(lengths, tune.get("models") or trained):
            training = dataclasses.replace(
                base_training(config, dataset, track, model, seq_len), **search.get("training", {})
            )
            file = models_dir / f"{model}.py"
            known = {*model_config_fields(file), *TRAINING_KEYS}
            shared = {name: rule for name, rule in tune["space"].items() if name in known}
            space = {**shared, **tune.get("spaces", {}).get(model, {})}
            found.append(Study(
                dataset, model, seq_len, tuple((r["settings"], r["share"]) for r in search["rungs"]), space_of(space), search["seed"],
                _explicit(file, space, hyperparameters(config, models_dir, model, track, dataset, seq_len)), training,
                tuple(search["rerun_seeds"]) if len(search["rungs"]) > 1 else (),
            ))  # fmt: skip
    return found


def _explicit(file: Path, space: Mapping[str, Any], given: Pairs) -> Pairs:
    """Hyper-parameters with the model's own defaults for what is searched, so that the first trial is the untuned model."""
    defaults = {
        name: default for name, (_, default) in model_config_fields(file).items() if name in space
    }
    return tuple(sorted({**defaults, **dict(given)}.items()))
