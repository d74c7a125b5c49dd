"""Accept tuning: the winners of the studies go into `config/tuned.yaml`, their trials into `results/reference/<machine>/`."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from ..config.grid import base_training, of_length
from ..config.messages import show
from ..core import records
from ..core.errors import UserError
from ..core.jobs import Study, Training, as_before, build
from ..core.store import Entry, copy_record, machine_of, staged
from ..core.yaml_files import Dumper, read_mapping
from . import search

LENGTH = re.compile(r"L[1-9][0-9]*")

TRACKS = {
    "kept": "tuned",
    "excluded": "tuned-excluded",
}  # by the seen items that the winner is best with
HEAD = """\
# Who leads where every model had an equal search? The track `tuned`: settings that were best on validation by the mean over seeds,
# with seen items kept; `tuned-excluded`: with seen items excluded, from the same trials. Written by `make accept-tuning`; do not edit. Merged over config.yaml:
#   snakemake --cores 8 report --configfile config/tuned.yaml
# `run: {tracks: [tuned, tuned-excluded]}` in a further file trains both. A training takes one to three times as long as one of
# `matched`: winners may be wider. `snakemake tune` with this file searches as `tune` says now;
# the studies behind these settings and their trials are records below results/reference/<machine>/tune.
"""


class _Facts(dict):
    """Where settings come from: written on few lines, though lists are among it."""


class _Dumper(Dumper):
    """Writes facts in flow style, and what two tracks share twice."""

    def ignore_aliases(self, data: Any) -> bool:
        """No anchors."""
        return True


_Dumper.add_representer(
    _Facts, lambda dumper, facts: dumper.represent_mapping("tag:yaml.org,2002:map", facts, True)
)


def accept(
    results: Path, target: Path, config: Mapping[str, Any], tables: Callable[[Path], None]
) -> list[str]:
    """Write the winners into ``target``, copy the trials, and return what changed, one line per model and dataset.

    config: the validated configuration, whose ``tune.track`` the tuned track starts from. tables: makes the tables of a
    machine's folder anew. Entries of ``target`` for which there is no study stay.

    Raises:
        UserError: no study, or one of which every trial failed, or trials that do not fit what is published; nothing changed.
    """
    files = sorted((Path(results) / "tune").glob(f"*/*/*/{search.SUMMARY}"))
    if not files:
        raise UserError(f"{Path(results) / 'tune'}: no study; run `snakemake --cores 2 tune` first")
    old = _written_before(target)
    by_track = {track: old.get("selected_settings", {}).get(track, {}) for track in TRACKS.values()}
    said, trials, searches = [], [], {}
    for file in files:
        content = _study(file)
        dataset, model, seq_len = (content["study"][key] for key in ("dataset", "model", "seq_len"))
        asked = _search(content["study"], config)
        known = searches.setdefault(dataset, _Facts(asked, seq_lens=[]))
        if known != {**asked, "seq_lens": known["seq_lens"]}:
            raise UserError(f"{file}: not the search of the other studies of {dataset}; search it again as `tune` says, or move it away")  # fmt: skip
        known["seq_lens"] = sorted({seq_len, *known["seq_lens"]})
        if None in content["best"].values():
            raise UserError(f"{file}: every trial failed; see their records beside it")
        machines = sorted(_by_machine(search.entries(Path(results), content)))
        for seen, track in TRACKS.items():
            found = search.settings(content, seen)
            found["tuning"]["machines"] = machines
            here = by_track[track].setdefault(dataset, {}).setdefault(of_length(seq_len), {})
            before, here[model] = here.get(model), found
            said += [_difference(f"{track}: {dataset} L = {seq_len} {model}", before, found)] if before != found else []  # fmt: skip
        trials.append((file, content))
    for own in by_track.values():
        for dataset, asked in searches.items():  # of a length without a study nothing stays either
            own[dataset] = {length: by_model for length, by_model in own[dataset].items() if length in map(of_length, asked["seq_lens"])}  # fmt: skip
        _check_budgets(own)
    chosen, start = by_track[TRACKS["kept"]], config["tracks"][config["tune"]["track"]]
    # What a model's trials were trained with beyond the track: hyper-parameters of its own in the track that was tuned.
    own = {
        model: {track: dict(blocks[config["tune"]["track"]]) for track in TRACKS.values()}
        for model, blocks in config["models"].items()
        if blocks.get(config["tune"]["track"])
    }
    own = {
        model: block
        for model, block in {**old.get("models", {}), **own}.items()
        if _is_chosen(model, chosen)
    }
    for found in (f for own in by_track.values() for *_, by_model in _conditions(own) for f in by_model.values()):  # fmt: skip
        if "tuning" in found:
            found["tuning"] = _Facts(found["tuning"])
    complete = _complete(chosen)
    new = {
        "datasets": {dataset: {"seq_lens": lengths} for dataset, lengths in complete.items()},
        **({"models": own} if own else {}),
        "tracks": {track: deepcopy(start) for track in by_track if by_track[track]},
        "selected_settings": {track: own for track, own in by_track.items() if own},
        "run": {"datasets": list(complete), "tracks": [TRACKS["kept"]]},
        "tune": {
            "datasets": list(complete),
            "by_dataset": {**old.get("tune", {}).get("by_dataset", {}), **searches},
        },
    }
    text = (
        HEAD
        + "\n"
        + yaml.dump(new, Dumper=_Dumper, sort_keys=True, width=120, default_flow_style=None)
    )
    with ExitStack() as stack:
        copies: dict[Path, Path] = {}
        for file, content in trials:
            reference = Path(results) / "reference"
            made = _by_machine(search.entries(Path(results), content))
            for machine in sorted({*made, *_published_by(reference, content)}):
                folder, entries = reference / machine, made.get(machine, [])
                if folder not in copies:
                    copies[folder] = stack.enter_context(staged(folder))
                _publish(Path(results), file, content, entries, copies[folder])
                done = f"{len(entries)} trials copied to" if entries else "an earlier study left"
                print(f"{file.parent}: {done} {folder}", file=sys.stderr)
        stack.enter_context(_written(target, text))  # the pages tell what it says
        for copy in copies.values():
            tables(copy)
    return said


def _written_before(target: Path) -> dict[str, Any]:
    """What the file holds already, ``selected_settings`` and ``models`` as mappings; nothing where there is none.

    Raises:
        UserError: it is no YAML, or not what an earlier call wrote.
    """
    todo = "move it away, and it is written anew from the studies"
    if not target.exists():
        return {}
    try:
        old = read_mapping(target)
    except UserError as error:
        raise UserError(f"{error}; {todo}") from None
    blocks = {key: old.get(key, {}) for key in ("selected_settings", "models", "tune")}
    if isinstance(blocks["selected_settings"], dict):
        blocks |= {f"selected_settings.{t}": blocks["selected_settings"].get(t, {}) for t in TRACKS.values()}  # fmt: skip
    for track in TRACKS.values():
        own = blocks.get(f"selected_settings.{track}")
        for dataset, by_length in own.items() if isinstance(own, dict) else ():
            place = f"selected_settings.{track}.{dataset}"
            blocks[place] = by_length
            for length in by_length if isinstance(by_length, dict) else ():
                if not LENGTH.fullmatch(str(length)):
                    raise UserError(f"{target}: {place}.{length}: is no length such as L50; {todo}")
    for key, block in blocks.items():
        if not isinstance(block, dict):
            raise UserError(f"{target}: {key} = {show(block)}: must be a mapping; {todo}")
    return old


@contextmanager
def _written(target: Path, text: str) -> Iterator[None]:
    """The file with a new text; the old one, or none, if what is done with it fails."""
    old = target.read_bytes() if target.exists() else None
    records.write_atomically(target, text.encode())
    try:
        yield
    except BaseException:
        if old is None:
            target.unlink()
        else:
            records.write_atomically(target, old)
        raise


def _study(file: Path) -> dict[str, Any]:
    """What a search left.

    Raises:
        UserError: the file is damaged.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise UserError("is no mapping")
        for key in ("study", "trials", "best", "last"):
            if key not in content:
                raise UserError(f"has no `{key}`")
        records.read_job(Study, json.dumps(content["study"]))
    except (ValueError, UserError) as error:  # no JSON, no UTF-8
        raise UserError(
            f"{file}: no study as the search writes it ({error}); delete it and run `snakemake --cores 2 tune`"
            " with the same --configfile again: trials that are there are taken"
        ) from None
    return content


def _conditions(chosen: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Dataset, length as it is named and settings by model of every condition of a track."""
    for dataset, by_length in chosen.items():
        for length, by_model in by_length.items():
            yield dataset, length, by_model


def _check_budgets(chosen: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a condition whose models were not searched alike.

    Raises:
        UserError: trials, steps or seeds differ.
    """
    for dataset, length, by_model in _conditions(chosen):
        budgets = {
            model: (
                tuple(map(tuple, found["tuning"]["rungs"])),
                found["tuning"]["max_steps"],
                tuple(found["tuning"]["rerun_seeds"]),
            )
            for model, found in by_model.items()
            if "tuning" in found
        }
        if len(set(budgets.values())) > 1:
            said = "; ".join(
                f"{m}: {', '.join(f'{n} settings at {share:g}' for n, share in rungs)} of {steps} steps, seeds {list(seeds)}"
                for m, (rungs, steps, seeds) in budgets.items()
            )
            raise UserError(
                f"{dataset} {length}: the models were not searched alike ({said}); tune all of them with one configuration"
            )


def _search(study: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """What a study was asked for, as ``tune.by_dataset`` says it."""
    track = config["tune"]["track"]
    base = base_training(config, study["dataset"], track, study["model"], study["seq_len"])
    training = asdict(build(Training, as_before(Training, study["training"])))
    return {
        "rungs": [{"settings": n, "share": share} for n, share in study["rungs"]],
        "seed": study["seed"],
        **({"rerun_seeds": study["rerun_seeds"]} if "rerun_seeds" in study else {}),
        "training": {k: v for k, v in training.items() if v != getattr(base, k)},
    }


def _is_chosen(model: str, chosen: Mapping[str, Mapping[str, Any]]) -> bool:
    return any(model in by_model for *_, by_model in _conditions(chosen))


def _complete(chosen: Mapping[str, Mapping[str, Any]]) -> dict[str, list[int]]:
    """By dataset the lengths for which every model that was tuned anywhere was tuned."""
    models = {model for *_, by_model in _conditions(chosen) for model in by_model}
    found: dict[str, list[int]] = {}
    for dataset, length, by_model in _conditions(dict(sorted(chosen.items()))):
        if set(by_model) == models:
            found.setdefault(dataset, []).append(int(length.removeprefix("L")))
    return {dataset: sorted(lengths) for dataset, lengths in found.items()}


def _difference(what: str, before: Mapping[str, Any] | None, found: Mapping[str, Any]) -> str:
    def words(block: Mapping[str, Any]) -> str:
        values = {**block["hyperparameters"], **block.get("training", {})}
        return ", ".join(f"{k} {v}" for k, v in sorted(values.items()))

    was = words(before) if before else "nothing"
    return f"{what}: {words(found)} (was {was}); {found['tuning']['metric']} {found['tuning']['best']:.4f}"


def _by_machine(entries: list[Entry]) -> dict[str, list[Entry]]:
    """Every record belongs to who made it: a study may go on elsewhere.

    Raises:
        UserError: two machines of one name.
    """
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(machine_of([entry]), []).append(entry)
    for made in found.values():
        machine_of(made)
    return found


def _published_by(reference: Path, content: Mapping[str, Any]) -> list[str]:
    """Machines that published a study of this dataset, model and length: of an earlier one nothing stays anywhere."""
    path = Study.from_json(json.dumps(content["study"])).path
    return [folder.name for folder in reference.glob("*/") if (folder / path).exists()]


def _publish(
    results: Path, file: Path, content: Mapping[str, Any], entries: list[Entry], folder: Path
) -> None:
    """Copy a study and those of its trials that a machine made to its folder, in the place of an earlier one's."""
    path = Study.from_json(json.dumps(content["study"])).path
    shutil.rmtree(folder / path, ignore_errors=True)
    for entry in entries:
        copy_record(results / entry.path, folder / entry.path)
    if entries:
        records.write_atomically(folder / path / search.SUMMARY, file.read_bytes())
