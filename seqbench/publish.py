"""Publish: the small records of a grid are copied to `results/reference/<machine>/` and tables are made from the copies.

Weights stay behind. Records of several sittings accumulate; one is replaced only by a record of the same experiment.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from . import (
    anchors,
    answers,
    claims,
    collect,
    costs,
    curves,
    protocol_views,
    spent,
    tuning_views,
    views,
    waterfall,
)
from . import record as records
from .collect import Tables
from .errors import UserError
from .experiment import CURVES, filled
from .findings import flags, places
from .summary import SUMMARY
from .tables import Table, markdown, without
from .tidy import Entry, command

EFFICIENCY = (
    *("dataset", "model", "track", "device", "backend", "precision", "threads", "seq_len"),
    *("batch_size", "phase", "metric", "median", "iqr", "n"),
)
CONFIG = Path(__file__).resolve().parent.parent / "config"
DIGITS = "%.6g"  # more than any of these numbers supports
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
COMMAND = "python -m seqbench publish --grid results/grid.json --results results"


def publish(grid_path: Path, results: Path) -> Path:
    """Copy the grid's records and facts of datasets, remake the tables there, and return the machine's folder.

    Raises:
        UserError: the grid's records come from several machines, or one would replace another experiment.
    """
    results = Path(results)
    grid = json.loads(Path(grid_path).read_text(encoding="utf-8"))
    entries = collect.load(grid, results)
    folder = results / "reference" / machine_of(entries)
    for entry in entries:
        check_replacement(entry, folder / entry.path)
    for name in grid["datasets"]:
        check_dataset(collect.read_dataset(results, name), folder, name)
    for entry in entries:
        copy_record(results / entry.path, folder / entry.path)
    for name in grid["datasets"]:
        _copy(results / "data" / name, folder / "data" / name, ("dataset.json",))
    tables(folder)
    return folder


def tables(folder: Path) -> None:
    """Make the CSV tables and `README.md` of a machine's folder from the records in it.

    Raises:
        UserError: the records differ in what must be equal, or a file is damaged.
    """
    folder = Path(folder)
    trials = pd.DataFrame(tuning_views.trials(folder), columns=tuning_views.COLUMNS)
    if len(trials):
        trials.to_csv(folder / "tuning.csv", index=False, float_format=DIGITS, lineterminator="\n")
    entries = _entries(folder)
    if len(trials) and not entries:  # tuned here, and nothing else yet
        return
    machine_of(entries)
    content = _content(folder, entries)
    for name, source, columns in (
        ("effectiveness", "summary", SUMMARY),
        ("efficiency", "efficiency", EFFICIENCY),
        ("scaling", "scaling", None),
        ("crossovers", "crossovers", None),
        ("protocols", "protocols", None),
        ("agreement", "agreement", None),
        ("contrasts", "contrasts", None),
    ):
        frame = content.frames[source]
        if columns is None and frame.empty:  # no curve was measured
            (folder / f"{name}.csv").unlink(missing_ok=True)
            continue
        frame = frame if columns is None else frame.reindex(columns=list(columns))
        frame.to_csv(folder / f"{name}.csv", index=False, float_format=DIGITS, lineterminator="\n")
    (folder / "README.md").write_text(_readme(folder.name, content, entries), encoding="utf-8")


def update_readme(readme: Path, reference: Path) -> None:
    """Rewrite the part of a README between the two result markers from the folders of all machines, GPUs first.

    Raises:
        UserError: the README has no markers.
    """
    text = readme.read_text(encoding="utf-8")
    if not re.search(f"{BEGIN}.*{END}", text, flags=re.DOTALL):
        raise UserError(f"{readme}: needs the lines {BEGIN} and {END} around its result tables")
    machines = [
        (folder, entries)
        for folder in sorted(reference.glob("*/"))
        if (entries := _entries(folder))
    ]
    machines.sort(key=lambda m: m[1][0].record["environment"]["device_kind"] == "cpu")
    parts = [_machine_part(*machine) for machine in machines]
    body = "\n".join(parts) or "No results are published yet.\n"
    before, _, rest = text.partition(BEGIN)
    records.write_atomically(
        readme, f"{before}{BEGIN}\n\n{body}\n{END}{rest.partition(END)[2]}".encode()
    )


# --- copies -------------------------------------------------------------------------------------------------------------


def machine_of(entries: list[Entry]) -> str:
    """Name of the one machine that made all records."""
    if not entries:
        raise UserError("nothing to publish: the grid has no records")
    first = entries[0].record["environment"]
    for entry in entries[1:]:
        other = entry.record["environment"]
        if any(first[key] != other[key] for key in ("machine", "machine_name")):
            raise UserError(
                f"{entries[0].path} and {entry.path} come from two machines ({first['machine_name']} and"
                f" {other['machine_name']}): publish them from grids of their own"
            )
    return first["machine_name"]


def check_replacement(entry: Entry, target: Path) -> None:
    """Refuse to put a record in the place of a published one of another experiment."""
    if not (target / "record.json").exists():
        return
    old = filled(records.read_record(target)["experiment"])
    for key in sorted(set(old) | set(entry.experiment)):
        if old.get(key) != entry.experiment.get(key):
            raise UserError(
                f"{target}: published with {key} = {old.get(key)}, now {entry.experiment.get(key)};"
                " delete the published record to replace it by another experiment"
            )


def check_dataset(facts: dict[str, Any], folder: Path, name: str) -> None:
    """Refuse records that were made from other data than those published under the same name."""
    published = folder / "data" / name / "dataset.json"
    if published.exists() and collect.read_dataset(folder, name)["hash"] != facts["hash"]:
        raise UserError(
            f"{published}: records published here were made from other data (hashes differ);"
            " delete them to publish on the new data"
        )


def copy_record(source: Path, target: Path) -> None:
    """Copy a record, samples first; weights stay behind."""
    _copy(source, target, ("samples.npz", "record.json"))


def _copy(source: Path, target: Path, names: tuple[str, ...]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        records.write_atomically(target / name, (source / name).read_bytes())


def _entries(folder: Path) -> list[Entry]:
    """All records of a published folder, by path, lengths in the order of numbers."""
    found = (path.parent for path in (folder / "runs").rglob("record.json"))
    paths = sorted(found, key=lambda path: _natural(str(path)))
    return [collect.read_entry(folder, str(path.relative_to(folder))) for path in paths]


def _natural(text: str) -> list[str | int]:
    """Sorting key that reads digits as numbers: L200 comes before L1600."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def _content(folder: Path, entries: list[Entry]) -> Tables:
    names = sorted(path.parent.name for path in (folder / "data").glob("*/dataset.json"))
    datasets = {name: collect.read_dataset(folder, name) for name in names}
    content = collect.build(entries, datasets, collect.MARGIN)
    content.settings["waterfall"] = _declared("waterfall").get("report", {}).get("waterfall", [])
    content.settings["settings"] = _declared("tuned").get("settings", {})
    return content


def _declared(name: str) -> dict[str, Any]:
    """A configuration file of the project as written; empty if there is none."""
    file = CONFIG / f"{name}.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}


# --- text ---------------------------------------------------------------------------------------------------------------


def _quality_tables(content: Tables) -> list[Table]:
    main = protocol_views.without_variants(content)
    keys = places(main.frames["summary"], "track", "dataset")
    return [views.effectiveness(main, *key) for key in keys]


def _protocol_tables(content: Tables) -> list[Table]:
    keys = protocol_views.keys(content)
    found = [t(content, *key) for key in keys for t in (protocol_views.values, protocol_views.ties)]
    return [table for table in found if table.rows]


def _cost_tables(content: Tables, short: bool) -> list[Table]:
    """Cost on the datasets, and how it grows; in full also what it is made of and every point of the curves."""
    content = waterfall.without_steps(content)
    keys = places(content.frames["efficiency"], "track", "machine_name", "device_kind")
    found = []
    for key in keys:
        kinds = ("efficiency", "energy") if short else costs.KINDS
        found += [costs.efficiency(content, *key, None, what) for what in kinds]
        for which in (curves.LENGTHS, curves.SIZES)[: 1 if short else 2]:
            found += [curves.growth(content, *key, which), curves.crossings(content, *key, which)]
        found += [] if short else [costs.efficiency(content, *key, curve) for curve in CURVES]
    return [table for table in found if table.rows]


def _warnings(content: Tables) -> str:
    """The same warnings that stand above the results in the report."""
    return "".join(f"- **{flag.title}.** {flag.text}\n" for flag in flags(content))


def _main(content: Tables) -> Tables:
    """The datasets themselves: variants and steps of the waterfall have tables of their own."""
    return protocol_views.without_variants(waterfall.without_steps(content))


def _readme(machine: str, content: Tables, entries: list[Entry]) -> str:
    main = _main(content)
    shown = [views.machines(content), views.datasets(content), views.failed(content)]
    shown += [claims.table(main), anchors.table(main)]
    shown += [
        *_quality_tables(content),
        *(spent.table(content, track) for track in spent.tracks(content)),
        *tuning_views.tables(content.settings["settings"]),
        *_protocol_tables(content),
        *waterfall.tables(content),
        *_cost_tables(content, short=False),
    ]
    body = "\n".join(f"## {markdown(table)}" for table in shown if table.rows)
    commands = "\n".join(dict.fromkeys(command(entry) for entry in entries))
    return (
        f"# Results on {machine}\n\n"
        f"Generated from the records in `runs/` by `snakemake publish` (`{COMMAND}`); do not edit. `effectiveness.csv`, `efficiency.csv`, `scaling.csv`,"
        " `crossovers.csv`, `protocols.csv`, `agreement.csv` and `contrasts.csv` hold the same numbers. A record is described in `results/README.md`.\n\n"
        f"{_warnings(content)}\n## Findings\n\n{answers.as_markdown(answers.answers(main))}\n{body}\n## Commands\n\nEach record again, from the root of the checkout:\n\n```sh\n{commands}\n```\n"
    )


def _machine_part(folder: Path, entries: list[Entry]) -> str:
    """What the project's README shows of one machine: warnings, findings, quality and cost in short."""
    content = _content(folder, entries)
    device = content.settings["environments"][0]
    where = f"{device['device']}, {device['cpu']}" if device["device"] != "cpu" else device["cpu"]
    main = _main(content)
    trained = spent.tracks(main)
    shown = [claims.table(main)] if device["device"] != "cpu" else []  # most of them are about GPUs
    shown += [costs.versus(main, track) for track in trained]
    for key in places(main.frames["efficiency"], "track", "machine_name", "device_kind"):
        if key[0] not in trained:  # its cost stands beside no quality
            shown += [costs.efficiency(main, *key, None, what) for what in ("efficiency", "energy")]
    shown += [without(table, "MRR") for table in _quality_tables(main)]
    body = "\n".join(markdown(table) for table in shown if table.rows)
    link = f"results/reference/{folder.name}"
    rest = (
        "Everything else (published values, claims one by one, what was spent, tuning, protocols, waterfall, every cost, how"
        f" cost grows, the command of each record): [{link}]({link}/README.md)."
    )
    return f"### {folder.name} ({where})\n\n{_warnings(content)}\n{answers.as_markdown(answers.answers(main))}\n{body}\n{rest}\n"
