"""What is tuned: one study per dataset and model, all from one declared space, with the same number of trials, steps and seeds.

Standard library only, so that a Snakemake dry run stays cheap. Optuna runs in tune.py.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import UserError
from .experiment import Experiment, Pairs, Training, build, non_default
from .grid import base_training, hyperparameters
from .modelfile import is_trainable, model_config_fields

TRAINING_KEYS = ("learning_rate", "weight_decay")  # what a space may name besides hyper-parameters
ALWAYS = frozenset({"seed", "hyperparameters"})  # in canonical JSON, whatever they are
TRACK = "tune"  # of the trials' records


@dataclass(frozen=True)
class Study:
    """The search for one model on one dataset: so many trainings, chosen on validation; the test split is never ranked."""

    dataset: str
    model: str
    seq_len: int
    trials: int
    space: tuple[tuple[str, Pairs], ...]  # name -> choices, or low, high, step or log
    seed: int = 0  # of the sampler and of every trial that it proposes
    hyperparameters: Pairs = ()  # of the first trial, and of all for what the space leaves out
    training: Training = dataclasses.field(
        default_factory=Training
    )  # budget and settings of a trial
    finalists: int = 0  # best settings that are trained again; 0: the best trial wins
    final_seeds: tuple[int, ...] = ()  # of each of them

    @property
    def path(self) -> str:
        """Folder of the study below the results folder; one folder per trial is in it."""
        return f"tune/{self.dataset}/{self.model}/L{self.seq_len}"

    def trial_path(self, number: int) -> str:
        """Folder of one trial's record below the results folder."""
        return f"{self.path}/trial-{number:03d}"

    def experiment(self, chosen: Mapping[str, Any], seed: int | None = None) -> Experiment:
        """The training of a trial: what was chosen over what all trials share. seed: of a final, else the study's."""
        training = {k: v for k, v in chosen.items() if k in TRAINING_KEYS}
        hyper = {k: v for k, v in chosen.items() if k not in TRAINING_KEYS}
        return Experiment(
            self.dataset, self.model, TRACK, self.seq_len, self.seed if seed is None else seed,
            tuple(sorted({**dict(self.hyperparameters), **hyper}.items())),
            dataclasses.replace(self.training, rank_test=False, curve_test=False, **training),
        )  # fmt: skip

    def start(self) -> dict[str, Any]:
        """The first trial: the settings before tuning; what of them lies outside the space is drawn."""
        settings = {**dataclasses.asdict(self.training), **dict(self.hyperparameters)}
        return {
            name: settings[name]
            for name, rule in self.space
            if name in settings and _holds(dict(rule), settings[name])
        }

    @property
    def trainings(self) -> int:
        """How many trainings the whole study has, finals included."""
        return self.trials + min(self.finalists, self.trials) * len(self.final_seeds)

    def to_json(self) -> str:
        """Canonical JSON without what was so before a field existed, and without the finals where there are none."""
        values = {
            f.name: value
            for f in dataclasses.fields(self)
            if (value := getattr(self, f.name)) != f.default or f.name in ALWAYS
        }
        values["hyperparameters"] = dict(self.hyperparameters)
        values["space"] = {name: dict(rule) for name, rule in self.space}
        values["training"] = non_default(self.training)
        if not self.finalists:
            values.pop("final_seeds", None)
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Study:
        """Inverse of ``to_json``.

        Raises:
            UserError: not JSON, or a field that is missing or unknown.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(f"study: not JSON ({error}); pass what the workflow prints") from None
        values["hyperparameters"] = tuple(sorted(values.get("hyperparameters", {}).items()))
        values["space"] = _space(values.get("space", {}))
        values["training"] = build(Training, values.get("training", {}))
        if isinstance(values.get("final_seeds"), list):
            values["final_seeds"] = tuple(values["final_seeds"])
        return build(cls, values)


def studies(config: Mapping[str, Any], models_dir: Path) -> list[Study]:
    """Every study that a configuration asks for, in a fixed order; the longest history of each dataset."""
    tune, track, found = config.get("tune") or {}, config.get("tune", {}).get("track"), []
    trained = [m for m in config["run"]["models"] if is_trainable(models_dir / f"{m}.py")]
    for dataset in tune.get("datasets") or []:
        seq_len = max(config["datasets"][dataset]["seq_lens"])
        search = {**tune, **tune.get("by_dataset", {}).get(dataset, {})}
        for model in tune.get("models") or trained:
            training = dataclasses.replace(
                base_training(config, dataset, track), **search.get("training", {})
            )
            space = {**tune["space"], **tune.get("spaces", {}).get(model, {})}
            found.append(Study(
                dataset, model, seq_len, search["trials"], _space(space), search["seed"],
                _explicit(models_dir / f"{model}.py", space, hyperparameters(config, model, track, dataset)), training,
                search["finalists"], tuple(search["final_seeds"]) if search["finalists"] else (),
            ))  # fmt: skip
    return found


def _explicit(file: Path, space: Mapping[str, Any], given: Pairs) -> Pairs:
    """Hyper-parameters with the model's own defaults for what is searched, so that the first trial is the untuned model."""
    defaults = {
        name: default for name, (_, default) in model_config_fields(file).items() if name in space
    }
    return tuple(sorted({**defaults, **dict(given)}.items()))


def _space(space: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[str, Pairs], ...]:
    pairs = {
        name: tuple(sorted((k, _frozen(v)) for k, v in rule.items()))
        for name, rule in space.items()
    }
    return tuple(sorted(pairs.items()))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _holds(rule: Mapping[str, Any], value: Any) -> bool:
    return value in rule["choices"] if "choices" in rule else rule["low"] <= value <= rule["high"]
