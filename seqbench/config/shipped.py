"""What the project's configuration files say about records that are published already, whatever configuration made them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.jobs import TrainingJob
from ..core.yaml_files import read_mapping
from . import grid, load
from .model_files import MODELS, available_models, is_trainable, model_config_fields

CONFIG = Path(__file__).resolve().parents[2] / "config"


def report() -> dict[str, Any]:
    """What the project's configuration says to the report, with the ablation, the ladder and tuned settings."""
    return {
        **grid.report(load.load()),
        "ladder": grid.ladder(_declared("ladder")),
        "ablation": _declared("ablation").get("report", {}).get("ablation", []),
        "selected_settings": _declared("tuned").get("selected_settings", {}),
    }


def chosen() -> Iterator[TrainingJob]:
    """The trainings of config.yaml and of every tuned track, as far as the configuration knows its datasets and models."""
    tuned = _declared("tuned")
    try:
        config = load.load()
        merged = load.merged(config, tuned)
    except UserError:  # it says so where it matters: publishing goes on
        return
    yield from grid.grid(config, MODELS).trainings
    for track, by_dataset in tuned.get("selected_settings", {}).items():
        for dataset, length, by_model in ((d, n, by) for d, own in by_dataset.items() for n, by in own.items()):  # fmt: skip
            models = [
                model
                for model in merged["run"]["models"]
                if model in by_model or not is_trainable(MODELS / f"{model}.py")
            ]
            if block := config["datasets"].get(dataset):
                run = {**merged["run"], "datasets": [dataset], "tracks": [track], "models": models}
                here = {dataset: {**block, "seq_lens": [int(length.removeprefix("L"))]}}
                asked = {**merged, "run": run, "datasets": here, "measure": {}}
                yield from grid.grid(asked, MODELS).trainings


def defaults() -> dict[str, dict[str, Any]]:
    """Every model's hyper-parameters where a job says nothing."""
    return {
        model: {
            name: value for name, (_, value) in model_config_fields(MODELS / f"{model}.py").items()
        }
        for model in available_models(MODELS)
    }


def _declared(name: str) -> dict[str, Any]:
    """A configuration file of the project as written; empty if there is none."""
    file = CONFIG / f"{name}.yaml"
    return read_mapping(file) if file.exists() else {}
