"""The configuration: checked against its schema and against the model files before anything runs.

Neither torch nor pandas is imported, so that a dry run stays cheap. Every problem is one line that names the key,
the value and what is allowed.
"""

from __future__ import annotations

import ast
import copy
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import best_match

from ..core.errors import UserError
from ..core.jobs import FULL_LENGTH, TUNE_TRACK, bad_schedule
from ..core.yaml_files import read, read_mapping
from .grid import base_training, of_length, rungs, studies
from .messages import LARGEST, explain, instead, renamed, show
from .model_files import available_models, is_trainable, model_config_fields
from .search_space import bad_space, bad_values, unknown_everywhere, without_removed

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = ROOT / "config" / "config.yaml"
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
MODELS = ROOT / "models"
TEMPLATES = "__use_yte__"  # the key with which Snakemake evaluates expressions of a file
SOURCES = ROOT / "seqbench" / "config" / "sources.py"


def _is_integer(_: Any, value: Any) -> bool:
    """No bool, and no whole float either: 50.0 would name a folder L50.0 that no rule makes."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_number(checker: Any, value: Any) -> bool:
    return _is_integer(checker, value) or (isinstance(value, float) and abs(value) <= LARGEST)


Validator = validators.extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    ),
)


class BadConfig(UserError):
    """A key or value that is not allowed; ``problem`` names the key and says what to do, ``where`` the file that brings it."""

    def __init__(self, problem: str, where: str = "config"):
        super().__init__(f"{where}: {problem}")
        self.problem = problem


def validate(
    config: Mapping[str, Any], schema_path: Path = SCHEMA, models_dir: Path = MODELS
) -> dict[str, Any]:
    """Copy of the configuration with defaults filled in.

    Blocks that are handed on as written (dataset, track, hyper-parameters) are not filled: their defaults belong to
    the code that reads them, and a filled value would win over a block of lower precedence.

    Raises:
        BadConfig: a key or value that is not allowed, in one line.
    """
    for problem in renamed(config):
        raise BadConfig(problem)
    schema = _schema(schema_path)
    error = best_match(Validator(schema).iter_errors(config))
    if error is not None:
        raise BadConfig(explain(error))
    filled = without_removed(_with_defaults(copy.deepcopy(dict(config)), schema))
    _expand_paths(filled)
    for problem in _problems(filled, models_dir):
        raise BadConfig(problem)
    return filled


def load(files: Iterable[Path] = ()) -> dict[str, Any]:
    """The configuration of the project with files merged over it from left to right, as Snakemake does; validated.

    Raises:
        UserError: a file that is not there, or a key or value that is not allowed.
    """
    files = tuple(files)
    config: dict[str, Any] = {}
    for file in (DEFAULT, *files):
        config = merged(config, read_mapping(file))
    return checked(config, files)


def checked(config: Mapping[str, Any], files: Iterable[Path]) -> dict[str, Any]:
    """As `validate`, of what these files over that of the project, and perhaps ``--config``, make up.

    Raises:
        BadConfig: what is not allowed, with the first file from which on it stands there.
    """
    try:
        return validate(config)
    except BadConfig as error:
        below: dict[str, Any] = {}
        where = None
        for file in (DEFAULT, *files):
            below = merged(below, read_mapping(file))
            where = (where or str(file)) if _problem(below) == error.problem else None
        raise BadConfig(error.problem, where or "--config") from None


def _problem(config: Mapping[str, Any]) -> str | None:
    try:
        validate(config)
    except BadConfig as error:
        return error.problem
    return None


def check_given(files: Iterable[Path], command: Sequence[str]) -> None:
    """Refuse what Snakemake, which reads the files itself, takes without a word.

    files: every configuration file of a run. command: the words that Snakemake was called with.

    Raises:
        UserError: a key twice, a value that is read as another one than it looks like, or an option given twice.
    """
    for file in files:
        if TEMPLATES in read_mapping(file):
            raise UserError(
                f"{file}: {TEMPLATES} makes Snakemake run code in it; write the values out"
            )
    for option in ("--configfile", "--config"):
        names = (option, f"{option}s") if option == "--configfile" else (option, "-C")
        if sum(word.partition("=")[0] in names for word in command) > 1:
            raise UserError(
                f"{option} stands twice in the command, and Snakemake reads the last only; name all after one {option}"
            )


def check_files(files: Iterable[Path]) -> None:
    """End the program with one line, if one of the files is none that can be read."""
    try:
        for file in files:
            if not read_mapping(file):
                raise UserError(
                    f"{file}: holds no keys, and Snakemake takes none such; take it out"
                )
    except UserError as error:
        sys.exit(f"error: {error}")


def merged(below: Any, above: Any) -> Any:
    """One configuration over another: mappings key by key, anything else as a whole."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}


def definition(block: Mapping[str, Any]) -> str:
    """Canonical JSON of what preparing a dataset depends on, its file apart.

    It is the block without what only training reads, and without the path of the file, whose content counts.
    """
    training_only = ("seq_lens", "hyperparameters", "training")
    kept = {key: value for key, value in block.items() if key not in training_only}
    if local := kept.get("local"):
        kept["local"] = {key: value for key, value in local.items() if key != "path"}
    return canonical(kept)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal configurations give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


@lru_cache
def _schema(path: Path) -> dict[str, Any]:
    return read(path)


def _with_defaults(block: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    for key, sub in schema.get("properties", {}).items():
        if "default" in sub:
            block.setdefault(key, copy.deepcopy(sub["default"]))
        if isinstance(block.get(key), dict):
            block[key] = _with_defaults(block[key], sub)
    return block


def _expand_paths(config: dict[str, Any]) -> None:
    """`~` in the places of data becomes the home folder, as a shell would have it.

    Raises:
        UserError: no such home folder, a variable that no shell expands here, or a zero byte.
    """
    places = [("data_dir", config, "data_dir")]
    for name, block in config["datasets"].items():
        if local := block.get("local"):
            places.append((f"datasets.{name}.local.path", local, "path"))
    for key, block, name in places:
        text = block[name]
        try:
            path = str(Path(text).expanduser()) if text.startswith("~") else text
        except RuntimeError:
            raise BadConfig(f"{key} = {show(text)}: has no such home folder; write it out") from None  # fmt: skip
        variable = re.search(r"\$(\w+|\{\w+\})", path)
        if variable and not Path(path).exists():
            raise BadConfig(
                f"{key} = {show(text)}: {variable[0]} is not expanded here; write the folder out, or ~ for the home folder"
            )
        if "\0" in path or any("\ud800" <= c <= "\udfff" for c in path):
            raise BadConfig(f"{key} = {show(text)}: is no path; take the zero byte or half a character out")  # fmt: skip
        block[name] = path


# --- meaning: names that must exist, hyper-parameters that a model must have --------------------------------------


def _problems(config: Mapping[str, Any], models_dir: Path) -> Iterator[str]:
    yield from _unknown_names(config, models_dir)
    yield from _bad_datasets(config["datasets"], [*_public_sources(), "file", "synthetic"])
    yield from _bad_hyperparameters(config, models_dir)
    yield from _bad_schedules(config, models_dir)


def _unknown_names(config: Mapping[str, Any], models_dir: Path) -> Iterator[str]:
    models = available_models(models_dir)
    trained = [m for m in models if is_trainable(models_dir / f"{m}.py")]
    known = {"datasets": list(config["datasets"]), "tracks": list(config["tracks"])}
    for key, allowed in (*known.items(), ("models", models)):
        yield from _not_in(f"run.{key}", config["run"][key], allowed)
    for i, more in enumerate(config["run"]["more_seeds"]):
        for key, where in (("dataset", "datasets"), ("track", "tracks")):
            yield from _not_in(f"run.more_seeds[{i}].{key}", [more[key]], known[where])
    yield from _not_in("measure.models", config["measure"]["models"], trained)
    if isinstance(asked := config["measure"]["on_datasets"], list):
        yield from _not_in("measure.on_datasets", asked, known["datasets"])
    for model in config["models"]:
        if model not in models:
            yield f"models.{model}: no file models/{model}.py; {instead(model, models)}"
    for model, blocks in config["models"].items():
        yield from _not_in(f"models.{model}", blocks, known["tracks"])
    yield from _bad_ladder(config)
    if TUNE_TRACK in config["tracks"]:
        yield f"tracks.{TUNE_TRACK}: this name is taken by the trials of a search; choose another"
    for track, block in config["tracks"].items():
        yield from _not_in(f"tracks.{track}.datasets", block.get("datasets", {}), known["datasets"])
    yield from _not_in("selected_settings", config["selected_settings"], known["tracks"])
    yield from _not_chosen(config, trained)
    yield from _not_in("report.focal_model", [config["report"]["focal_model"]], models)
    yield from _not_in("report.ablation", config["report"]["ablation"], known["tracks"])
    tune = config["tune"]
    yield from _not_in("tune.datasets", tune["datasets"], known["datasets"])
    yield from _not_in("tune.by_dataset", tune["by_dataset"], known["datasets"])
    for key in ("models", "spaces"):
        yield from _not_in(f"tune.{key}", tune[key], trained)
    if tune["datasets"]:
        yield from _not_in("tune.track", [tune["track"]], known["tracks"])
    for track, by_dataset in config["selected_settings"].items():
        yield from _not_in(f"selected_settings.{track}", by_dataset, known["datasets"])
        for dataset, by_length in by_dataset.items():
            for length, by_model in by_length.items():
                key = f"selected_settings.{track}.{dataset}.{length}"
                yield from _not_in(key, by_model, trained)


def _bad_ladder(config: Mapping[str, Any]) -> Iterator[str]:
    """A rung's rate decays over its budget, and its name is no other track's."""
    if not config.get("ladder"):
        return
    track = config["ladder"]["track"]
    yield from _not_in("ladder.track", [track], list(config["tracks"]))
    for name in rungs(config):
        if name in config["tracks"]:
            yield f"tracks.{name}: this name is taken by a rung of ladder.track = {track!r}; choose another"
    for dataset in config["run"]["datasets"] if track in config["tracks"] else ():
        if dataset in config["datasets"] and not base_training(config, dataset, track).decays:
            yield f"ladder.track = {track!r}: its learning rate does not decay (dataset {dataset}); set schedule: linear in tracks.{track}.training"


def _not_chosen(config: Mapping[str, Any], trained: Sequence[str]) -> Iterator[str]:
    """A track with settings of its own has them for every model and length that it runs, or it would mix tuned with untuned."""
    models = dict.fromkeys((*config["run"]["models"], *config["measure"]["models"]))
    for track in config["run"]["tracks"]:
        chosen = config["selected_settings"].get(track)
        for dataset in config["run"]["datasets"] if chosen else []:
            for length in map(of_length, config["datasets"].get(dataset, {}).get("seq_lens", ())):
                for model in models:
                    if model in trained and model not in chosen.get(dataset, {}).get(length, {}):
                        yield (
                            f"selected_settings.{track}.{dataset}.{length}.{model} is missing: tune it (tune.datasets, tune.by_dataset.{dataset}.seq_lens,"
                            f" `snakemake tune`, `make accept-tuning`) or take it out of run and measure, or the length out of datasets.{dataset}.seq_lens"
                        )


def _not_in(key: str, names: Iterable[str], allowed: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name not in allowed:
            yield f"{key} = {name!r}: unknown; {instead(name, allowed)}"


@lru_cache
def _public_sources() -> tuple[str, ...]:
    """Names of the built-in sources, by the syntax tree: nothing of data preparation is imported."""
    for node in ast.parse(SOURCES.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "SOURCES":
            return tuple(ast.literal_eval(key) for key in node.value.keys)
    raise UserError(f"{SOURCES}: has no SOURCES")


def _bad_datasets(datasets: Mapping[str, Any], sources: Sequence[str]) -> Iterator[str]:
    for name, block in datasets.items():
        key, source = f"datasets.{name}", block["source"]
        yield from _not_in(f"{key}.source", [source], sources)
        if name == FULL_LENGTH:
            yield f"{key}: this name is taken by the synthetic batches of measure.scaling"
        if source == "synthetic":
            yield from _bad_synthetic(key, block)
        elif "synthetic" in block:
            yield f"{key}.synthetic: only for source synthetic, not {source}"
        elif source == "file" and "local" not in block:
            yield f"{key}.local is missing; source file needs local.path, your file"
        elif source != "file" and "sha256" not in block.get("local", {"sha256": None}):
            yield f"{key}.local.sha256 is missing; what stands in for a publisher's file is pinned; `sha256sum FILE` prints it"


def _bad_synthetic(key: str, block: Mapping[str, Any]) -> Iterator[str]:
    if "local" in block:
        yield f"{key}.local: source synthetic reads no file"
    for name, only in (("k_core", 1), ("order", "file"), ("split", "leave-one-out")):
        if block.get(name, only) != only:
            yield f"{key}.{name} = {block[name]!r}: source synthetic takes only {only!r}"


def _bad_hyperparameters(config: Mapping[str, Any], models_dir: Path) -> Iterator[str]:
    fields = {m: model_config_fields(models_dir / f"{m}.py") for m in available_models(models_dir)}
    for model, blocks in config["models"].items():
        for track, values in blocks.items():
            own = {name: value for name, value in values.items() if name != "training"}
            yield from bad_values(
                f"models.{model}.{track}", own, model, fields[model], ["training"]
            )
    for track, dataset, length, model, values in _chosen(config):
        key = f"selected_settings.{track}.{dataset}.{length}.{model}.hyperparameters"
        yield from bad_values(key, values, model, fields[model])
    trained = {m: own for m, own in fields.items() if is_trainable(models_dir / f"{m}.py")}
    yield from bad_space(config, trained)
    for kind in ("tracks", "datasets"):
        for name, block in config[kind].items():
            key, values = f"{kind}.{name}.hyperparameters", block.get("hyperparameters", {})
            yield from unknown_everywhere(key, values, trained)
            for model in (*config["run"]["models"], *config["measure"]["models"]):
                own = {k: v for k, v in values.items() if k in trained.get(model, {})}
                yield from bad_values(key, own, model, fields[model])


def _bad_schedules(config: Mapping[str, Any], models_dir: Path) -> Iterator[str]:
    """A warm-up must end before the budget does, of a training, where its blocks meet, and of a trial; no stride skips items."""
    run = config["run"]
    for track, dataset in product(run["tracks"], run["datasets"]):
        training = base_training(config, dataset, track)
        if problem := bad_schedule(training):
            yield f"tracks.{track}.training.{problem} (dataset {dataset})"
        shortest = min(config["datasets"][dataset]["seq_lens"])
        if (training.window_stride or 0) > shortest:
            yield f"tracks.{track}.training.window_stride = {training.window_stride}: must be at most {shortest}, the history length (dataset {dataset})"
    for study in studies(config, models_dir):
        if problem := bad_schedule(study.training):
            yield f"tune.training.{problem} (dataset {study.dataset})"


def _chosen(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, Mapping[str, Any]]]:
    for track, by_dataset in config["selected_settings"].items():
        for dataset, by_length in by_dataset.items():
            for length, by_model in by_length.items():
                for model, chosen in by_model.items():
                    yield track, dataset, length, model, chosen.get("hyperparameters", {})
