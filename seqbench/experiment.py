"""What is run: frozen descriptions of trainings and of measurements, as canonical JSON and back.

Standard library only, so that a Snakemake dry run stays cheap.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import UserError

DECIDES = "nothing"

Pairs = tuple[tuple[str, Any], ...]

FULL_LENGTH = (
    "full-length"  # name of the synthetic batches in which every sequence has L real items
)
# What a field meant before it existed. Canonical JSON leaves out a field with this value, and a record without the
# field is read as having it. So a new optional field reruns nothing, and a changed default reruns what it changes.
BEFORE: dict[str, dict[str, Any]] = {
    "Training": {
        "objective": "all-positions", "precision": "fp32", "batch_targets": 2048, "learning_rate": 0.001,
        "weight_decay": 0.0, "max_steps": 30000, "eval_every": 480, "patience_steps": 4800,
        "select_on": "ndcg@10", "select_masking": "unmasked", "bucket": True, "eval_batch": 256,
        "kernels": "auto", "positions": "needed", "rank_test": True, "curve_test": False,
    },
    "Experiment": {"hyperparameters": (), "training": None},
    "Measurement": {
        "batch_targets": 2048, "eval_batch": 256, "rounds": 3, "steps": 10, "warmup": 3, "precision": "fp32",
        "n_items": None, "kernels": "auto", "objective": "all-positions", "positions": "needed", "bucket": True,
        "curve": None, "budget_s": None, "energy_window_s": 0.0,
    },
}  # fmt: skip
# Curves of cost on full-length batches, by what stays constant while something grows.
CURVES = {
    "tokens": "sequence length at constant tokens per batch",
    "batch": "sequence length at constant sequences per batch",
    "sequences": "sequences per batch at constant length",
    "catalogue": "items in the catalogue at constant batch",
}


@dataclass(frozen=True)
class Training:
    """How a model is trained and selected. Budgets are counted in optimiser steps, never in epochs."""

    # all-positions: a loss at every position of a window (masked ones for BERT4Rec); prefix: every prefix of a history
    # is a sample with the loss at its last position, as in RecBole
    objective: str = "all-positions"
    precision: str = "fp32"  # fp32 | tf32 | bf16: arithmetic of training and scoring
    batch_targets: int = 2048  # real targets per optimiser step (= one batch of 2048 prefixes)
    learning_rate: float = 0.001  # Adam
    weight_decay: float = 0.0  # L2 term of Adam
    max_steps: int = 30000  # the budget: optimiser steps at most
    eval_every: int = 480  # steps between two validations
    patience_steps: int = 4800  # stop after this many steps without a better validation
    select_on: str = "ndcg@10"  # metric on the validation split that picks the best step
    select_masking: str = "unmasked"  # unmasked | seen-masked, for the selection
    bucket: bool = True  # windows of similar length share a batch (less padding)
    eval_batch: int = 256  # users per batch in evaluation
    kernels: str = (
        "auto"  # auto | numba | torch | inductor | plain: what runs between the matrix products
    )
    # needed | every: whether positions whose outputs nothing reads pass through the last layers too, as in RecBole
    positions: str = "needed"
    rank_test: bool = True  # rank the test split at the end; never while tuning
    curve_test: bool = False  # evaluate the test split at every validation too, for the curve only


@dataclass(frozen=True)
class Experiment:
    """One training: a model on a dataset at one history length, in one track, with one seed."""

    dataset: str
    model: str
    track: str
    seq_len: int
    seed: int
    hyperparameters: Pairs = ()  # what differs from the defaults of the model's Config
    training: Training = field(default_factory=Training)

    @property
    def path(self) -> str:
        """Folder of the record below the results folder."""
        return f"runs/{self.dataset}/{self.track}/{self.model}/L{self.seq_len}-s{self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """Every field, defaults included."""
        return {**dataclasses.asdict(self), "hyperparameters": dict(self.hyperparameters)}

    def to_json(self) -> str:
        """Canonical JSON without fields that say what was so before they existed."""
        return _canonical({**non_default(self), "training": non_default(self.training)})

    @classmethod
    def from_json(cls, text: str) -> Experiment:
        """Inverse of ``to_json``; also reads ``to_dict`` as JSON.

        Raises:
            UserError: not JSON, or a field that is missing or unknown.
        """
        values = _load(text)
        training = build(Training, values.pop("training", {}))
        return build(cls, {**values, "hyperparameters": _pairs(values), "training": training})


@dataclass(frozen=True)
class Measurement:
    """One measuring job: all models on one dataset (or full-length synthetic batches), interleaved."""

    dataset: str
    track: str
    seq_len: int
    models: tuple[tuple[str, Pairs], ...]  # (name, hyper-parameters that differ from the defaults)
    batch_targets: int = 2048  # real targets per training step
    eval_batch: int = 256  # users per inference batch
    rounds: int = 3  # fresh processes per model
    steps: int = 10  # timed steps per round
    warmup: int = 3  # steps per round that are not counted
    precision: str = "fp32"
    n_items: int | None = None  # catalogue size of full-length batches; None: the dataset's own
    kernels: str = "auto"  # as in Training, like the next three
    objective: str = "all-positions"
    positions: str = "needed"
    bucket: bool = True
    curve: str | None = None  # of full-length batches: what varies along it, one of CURVES
    budget_s: float | None = None  # seconds of steps per process, after which it takes no more
    energy_window_s: float = (
        0.0  # seconds of further steps for the energy counter (GPU only); 0: none
    )

    @property
    def path(self) -> str:
        """Folder below the results folder that holds one record folder per model."""
        size = f"L{self.seq_len}-T{self.batch_targets}"
        if self.curve:
            size = f"{self.curve}-{size}-V{self.n_items}"
        return f"runs/{self.dataset}/{self.track}/measure/{size}"

    def record_paths(self) -> list[str]:
        """Record folders, one per model."""
        return [f"{self.path}/{name}" for name, _ in self.models]

    def for_model(self, name: str) -> dict[str, Any]:
        """What the record of one model stores as its experiment."""
        return {
            **dataclasses.asdict(self),
            "model": name,
            "hyperparameters": dict(dict(self.models)[name]),
        }

    def to_dict(self) -> dict[str, Any]:
        """Every field, defaults included."""
        return {**dataclasses.asdict(self), "models": [[n, dict(p)] for n, p in self.models]}

    def to_json(self) -> str:
        """Canonical JSON without fields that say what was so before they existed."""
        return _canonical({**non_default(self), "models": [[n, dict(p)] for n, p in self.models]})

    @classmethod
    def from_json(cls, text: str) -> Measurement:
        """Inverse of ``to_json``.

        Raises:
            UserError: not JSON, or a field that is missing or unknown.
        """
        values = _load(text)
        models = tuple((n, tuple(sorted(p.items()))) for n, p in values.pop("models", []))
        return build(cls, {**values, "models": models})


def filled(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """A record's experiment with what the fields meant that did not exist when it was made."""
    training = experiment.get("training")
    cls, values = (Training, training) if training is not None else (Measurement, experiment)
    defaults = {
        f.name: before(cls, f)
        for f in dataclasses.fields(cls)
        if f.default is not dataclasses.MISSING and f.name not in values
    }
    if training is None:
        return {**experiment, **defaults}
    return {**experiment, "training": {**training, **defaults}}


def before(cls: type, f: dataclasses.Field) -> Any:
    """What a field of ``cls`` meant before it existed: its default as long as ``BEFORE`` says nothing else."""
    return BEFORE[cls.__name__].get(f.name, f.default)


# --- canonical JSON ---------------------------------------------------------------------------------------------


def _canonical(values: Mapping[str, Any]) -> str:
    return json.dumps(
        {k: v for k, v in values.items() if v != {}}, sort_keys=True, separators=(",", ":")
    )


def non_default(obj: Any) -> dict[str, Any]:
    """Fields of a job that do not say what was so before they existed."""
    values = {}
    for f in dataclasses.fields(obj):
        value = getattr(obj, f.name)
        if value != before(type(obj), f):
            values[f.name] = dict(value) if f.name == "hyperparameters" else value
    return values


def _load(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"experiment: not JSON ({error}); pass what `seqbench grid` printed"
        ) from None
    return {k: v for k, v in values.items() if k not in ("path", "records")}


def _pairs(values: Mapping[str, Any]) -> Pairs:
    return tuple(sorted(values.get("hyperparameters", {}).items()))


def build(cls: type, values: Mapping[str, Any]) -> Any:
    """Make a dataclass from a mapping.

    Raises:
        UserError: a key that is unknown or missing.
    """
    known = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UserError(
            f"{cls.__name__.lower()}: unknown key {unknown[0]!r}; allowed: {', '.join(known)}"
        )
    try:
        return cls(**values)
    except TypeError as error:
        raise UserError(f"{cls.__name__.lower()}: {error}") from None
