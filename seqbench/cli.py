"""The command line: ``python -m seqbench <verb>``. Its verbs, their options, and what each calls."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from errno import ELOOP, ENAMETOOLONG, ENOTDIR
from pathlib import Path
from typing import Any, NoReturn

from .core import deadline
from .core.errors import Damaged, MachineError, UserError, is_of_machine, shown, words
from .core.ownership import owned
from .core.processes import end_with_who_asked
from .hardware.leases import EXCLUSIVE, SHARED, WHOLE, ask_for_gpu, holding

LONGEST_MESSAGE = 500  # characters, of one about the words of a command


class _Parser(argparse.ArgumentParser):
    """Options as they are said, or one line on what is wrong with them."""

    def parse_args(self, *args: Any, **kwargs: Any) -> argparse.Namespace:
        found = super().parse_args(*args, **kwargs)
        for name, value in vars(found).items():
            # `--out=--` leaves an empty list where one value is due.
            if isinstance(value, list) and name not in ("CONFIGFILES", "configfile"):
                self.error(f"argument {name}: expected one value")
        return found

    def error(self, message: str) -> NoReturn:
        text = shown(message)
        half = LONGEST_MESSAGE // 2
        super().error(text if len(text) <= LONGEST_MESSAGE else f"{text[:half]}...{text[-half:]}")


def text(given: str) -> str:
    """A name that can be written into a file."""
    try:
        given.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{given!r}: is no text in UTF-8") from None
    return given


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: not a positive number")
    return value


def count(text: str) -> int:
    """A whole number of at least 1 that a C library takes."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value < 2**31:
        raise argparse.ArgumentTypeError(f"{text}: not a positive whole number")
    return value


def share(text: str) -> int:
    """Per cent of a GPU; 0 for a job that asks for none."""
    value = int(text) if text.isdecimal() else -1
    if not 0 <= value <= WHOLE:
        raise argparse.ArgumentTypeError(f"{text}: not a whole number of per cent, at most {WHOLE}")
    return value


def place(text: str) -> Path:
    """A path; `~` is the home folder also where no shell says so, as in --out=~/x."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; 0 on success, 1 when a check found problems, 2 on bad input, 75 when the machine lacks something."""
    arguments = _parser().parse_args(argv)
    end_with_who_asked()
    with suppress(AttributeError, ValueError):  # a terminal that lacks a sign costs the sign
        sys.stdout.reconfigure(errors="backslashreplace")
    if arguments.verb in (_collect, _report, _page, _publish, _unpack, _accept, _results, _compare):
        # Their matrix products are thin: more threads of BLAS only wait for each other.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        status = arguments.verb(arguments) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        if arguments.verb not in (_results, _compare, _plan, _command, _doctor):
            raise
        # Who read it has seen enough; the interpreter's last flush must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Damaged as error:
        from .core.integrity import set_aside

        for file in error.files if arguments.verb in (_collect, _report) else ():
            set_aside(file)
        return _refused(error)
    except UserError as error:
        return _refused(error, error.status)
    except (OSError, UnicodeDecodeError) as error:
        if is_of_machine(error):
            return _refused(error, MachineError.status)
        wrong_path = getattr(error, "errno", None) in (ENOTDIR, ELOOP, ENAMETOOLONG)
        if arguments.verb is _train and not wrong_path:  # of a crash its supervisor makes a record
            raise
        return _refused(error)


def _refused(error: Exception, status: int = UserError.status) -> int:
    print(f"error: {words(error)}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="seqbench", description=__doc__, allow_abbrev=False)
    verbs = parser.add_subparsers(required=True, metavar="verb")

    def add(verb_name: str, verb: Callable, text: str, *options: str) -> None:
        sub = verbs.add_parser(verb_name, help=text, description=text, allow_abbrev=False)
        for option in options:
            name = option if option.isupper() else f"--{option.rstrip('?').removesuffix('-name')}"
            sub.add_argument(name, **_OPTIONS[option])
        sub.set_defaults(verb=verb)

    add("prepare", _prepare, "bring a dataset into the form on disk that everything reads",
        "name", "definition", "data-dir", "out")  # fmt: skip
    add("run", _run, "train one model in a supervised process and write its record",
        "job", "dataset", "out", "threads", "gpu", "gpu-share", "time-limit")  # fmt: skip
    add("train", _train, "train one model in this process (what `run` supervises)",
        "job", "dataset", "out", "threads")  # fmt: skip
    add("measure", _measure, "time and weigh all models of one job, interleaved",
        "job", "dataset?", "out", "threads", "gpu", "time-limit")  # fmt: skip
    add("grid", _grid, "list all jobs of a configuration", "config", "out")
    add("tune", _tune, "search one model's settings on one dataset, every trial a supervised training",
        "study", "dataset", "out", "threads", "gpu", "gpu-share", "time-limit")  # fmt: skip
    add("accept-tuning", _accept, "write the winners of all studies into config/tuned.yaml, publish the trials",
        "results", "tuned", "configfile", "readme")  # fmt: skip
    add("collect", _collect, "read the grid's records into tidy tables",
        "grid", "results", "out", "processes")  # fmt: skip
    add("report", _report, "render the tables into a report", "tables", "out", "processes")
    add(
        "page",
        _page,
        "render the page of all records in a folder; nothing is trained",
        "records",
        "out",
        "processes",
    )
    add("results", _results, "print the leaderboard of one view",
        "records?", "dataset-name", "length", "track", "seen", "machine")  # fmt: skip
    add("compare", _compare, "hold two folders of records against each other: quality with intervals, cost as ratios",
        "A", "B")  # fmt: skip
    add("plan", _plan, "what a configuration will take: jobs, hours and disk, from records of the nearest machine",
        "CONFIGFILES", "results?", "reference", "device", "cores")  # fmt: skip
    add(
        "config",
        _config,
        "check configuration files, as a run would: every key, value and name",
        "CONFIGFILES",
    )
    add("command", _command, "print the command that makes a record again", "RECORD")
    add("check", _check, "fail when the tables hold a result that cannot be right", "tables")
    add("publish", _publish, "copy the grid's records to results/reference and make its tables",
        "grid", "results", "readme")  # fmt: skip
    add("pack", _pack, "put all records of a results folder into one archive, to be unpacked elsewhere",
        "results", "out")  # fmt: skip
    add("unpack", _unpack, "check an archive of `pack` and merge its records into results/reference",
        "archive", "results", "readme")  # fmt: skip
    add("retry", _retry, "remove records of one status so that they are tried again",
        "status", "results")  # fmt: skip
    add(
        "doctor", _doctor, "what this machine can measure, which kernels run, what to do about gaps"
    )
    add("selfcheck", _selfcheck, "compare every scan kernel that is installed with the reference")
    return parser


_PATH = {"type": place, "required": True}
# A name with a question mark is the same option where it may be left out.
_OPTIONS: dict[str, dict] = {
    "name": {"type": text, "required": True, "help": "name of the dataset in the configuration"},
    "definition": {"required": True, "help": "its block in the configuration as JSON"},
    "data-dir": {**_PATH, "help": "folder with the publishers' files; downloads go there"},
    "out": {**_PATH, "help": "where the result goes"},
    "job": {"required": True, "help": "the training or measuring job as JSON, as results/grid.json has it"},
    "study": {"required": True, "help": "the study as JSON"},
    "tuned": {**_PATH, "help": "the configuration file to write"},
    "configfile": {"type": place, "nargs": "*", "default": [], "help": "files merged over config/config.yaml"},
    "dataset": {**_PATH, "help": "folder of the prepared dataset"},
    "dataset?": {"type": place, "help": "prepared dataset; none for full-length batches"},
    "threads": {"type": count, "default": 1, "help": "CPU threads of the worker (default 1)"},
    "processes": {"type": count, "default": min(8, os.cpu_count() or 1), "help": "processes side by side (default: the machine's cores, 8 at most)"},
    "gpu": {"type": int, "default": 0, "help": "GPUs that the job asks for: with 1, none is an error unless SEQBENCH_ALLOW_CPU=1 (default 0: what is there)"},
    "gpu-share": {"type": share, "default": 0, "help": "per cent of a GPU that each training holds, beside others (default 0: all of it)"},
    "time-limit": {"type": positive, "default": None, "help": "seconds until a training, a measuring job or a study is stopped"},
    "config": {"required": True, "help": "the validated configuration as JSON"},
    "grid": {**_PATH, "help": "results/grid.json"},
    "results": {**_PATH, "help": "the results folder"},
    "RECORD": {"type": place, "help": "folder of a record, as results/runs/<dataset>/<track>/<model>/L50-s0"},
    "records?": {"type": place, "default": Path("results"), "help": "folder of records or of tables (default: results)"},
    "dataset-name": {"help": "name of a dataset"},
    "length": {"help": "history length"},
    "track": {"help": "name of a track"},
    "seen": {"choices": ["kept", "excluded"], "help": "whether seen items stay in the ranking"},
    "machine": {"help": "name of the machine whose costs are shown"},
    "A": {"type": place, "help": "folder of records, as results/reference/<machine>"},
    "B": {"type": place, "help": "folder of records that is held against it"},
    "CONFIGFILES": {"type": place, "nargs": "*", "help": "files merged over config/config.yaml"},
    "results?": {"type": place, "default": Path("results"), "help": "the results folder: what it holds is not to do (default: results)"},
    "reference": {"type": place, "help": "folder of published records (default: results/reference)"},
    "device": {"choices": ["cpu", "cuda"], "help": "device that will compute (default: this machine's)"},
    "cores": {"type": count, "default": os.cpu_count(), "help": "cores of the machine that will compute (default: this machine's)"},
    "records": {**_PATH, "help": "folder of records: results/reference, or results"},
    "archive": {**_PATH, "help": "the .tar.gz that `pack` wrote"},
    "tables": {**_PATH, "help": "folder with the tables that `collect` wrote"},
    "readme": {"type": place, "help": "README whose result tables are rewritten from the reference"},
    "status": {"required": True, "choices": ["oom", "diverged", "timeout", "crashed"],
               "help": "which records to remove"},
}  # fmt: skip


def _prepare(a: argparse.Namespace) -> None:
    from .core.jobs import parse
    from .data import prepare
    from .data.store import sweep

    definition = parse(a.definition, "--definition")
    if file := json.loads(os.environ.get("SEQBENCH_DATA_FILES", "{}")).get(a.name):
        definition = {**definition, "local": {**definition.get("local", {}), "path": file}}
    with owned(_writable(a.out)), holding(SHARED):
        sweep(a.out)
        info = prepare(a.name, definition, a.data_dir, a.out)
    print(f"{a.name}: {info['n_users']:,} users, {info['n_items']:,} items, "
          f"{info['n_interactions']:,} interactions in {a.out}", file=sys.stderr)  # fmt: skip


def _run(a: argparse.Namespace) -> None:
    from .core.jobs import TrainingJob
    from .core.records import read_job
    from .training.supervisor import supervise

    job = read_job(TrainingJob, a.job)
    ask_for_gpu(a.gpu, a.gpu_share)
    supervise(job, a.dataset, _writable(a.out), a.threads, a.time_limit)


def _train(a: argparse.Namespace) -> None:
    from .core.jobs import TrainingJob
    from .core.records import read_job
    from .training.worker import run

    job = read_job(TrainingJob, a.job)
    with owned(_writable(a.out)), holding(SHARED):
        run(job, a.dataset, a.out, a.threads)


def _tune(a: argparse.Namespace) -> None:
    from .core.jobs import Study
    from .core.records import read_job
    from .training.search import tune

    study = read_job(Study, a.study)
    ask_for_gpu(a.gpu, a.gpu_share)
    with owned(_writable(a.out)):
        tune(study, a.dataset, a.out, a.threads, a.time_limit)


def _accept(a: argparse.Namespace) -> None:
    from .config.load import load
    from .core.store import publishing
    from .report.publish import check_readme, tables, together
    from .training.accept import accept

    check_readme(a.readme)
    with publishing(a.results / "reference"), holding(SHARED):
        said = accept(a.results, a.tuned, load(a.configfile), tables)
        for line in said or ["nothing has changed"]:
            print(line)
        together(a.results / "reference", a.readme)


def _measure(a: argparse.Namespace) -> None:
    from .core.jobs import FULL_LENGTH, MeasurementJob
    from .core.records import read_job
    from .measuring.session import Ask, measure

    job, limit_s = read_job(MeasurementJob, a.job), a.time_limit or float("inf")
    if a.dataset is None and job.dataset != FULL_LENGTH:
        raise UserError(
            f"--dataset is missing: the job is on {job.dataset}; name its folder, as results/data/{job.dataset}"
        )
    ask_for_gpu(a.gpu)
    out = _writable(a.out)
    with owned(out), holding(EXCLUSIVE):  # waiting for the machine is no part of the time
        deadline.check(job.path)
        # Of the job, not of each process: a scheduler that ends the job would end it without a record.
        left_s = deadline.left_s()
        ask = Ask(until=time.monotonic() + min(limit_s, left_s), cut_first=limit_s <= left_s)
        if not measure(job, a.dataset, out, a.threads, limit_s, ask):
            raise deadline.Over(f"{job.path} in its first round")


def _grid(a: argparse.Namespace) -> None:
    from .config.grid import grid, report, studies
    from .config.load import validate
    from .config.model_files import MODELS
    from .core.jobs import parse
    from .core.records import write_atomically

    config = validate(parse(a.config, "--config"))
    content = {**grid(config, MODELS).to_dict(), "report": report(config)}
    content["studies"] = [json.loads(s.to_json()) for s in studies(config, MODELS)]
    content["selected_settings"] = config.get("selected_settings", {})
    write_atomically(a.out, json.dumps(content, indent=1).encode() + b"\n")


def _one_thread_each() -> None:
    """Before NumPy is loaded: several processes compute side by side, so a product of matrices takes no more threads."""
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def _collect(a: argparse.Namespace) -> None:
    _one_thread_each()
    from .analysis.collect import collect

    with owned(_writable(a.out)), holding(SHARED):
        collect(a.grid, a.results, a.out, a.processes)


def _report(a: argparse.Namespace) -> None:
    from .analysis.collect import read
    from .report.page import render

    with owned(_writable(a.out)), holding(SHARED):
        print(f"report: {render(read(a.tables), a.out, a.processes)}", file=sys.stderr)


def _page(a: argparse.Namespace) -> None:
    _one_thread_each()
    from .report.publish import page

    with owned(_writable(a.out)):
        print(f"page: {page(a.records, a.out, a.processes)}", file=sys.stderr)


def _results(a: argparse.Namespace) -> None:
    from .report.publish import tables_of
    from .terminal.show import results

    chosen = {chip: getattr(a, chip) for chip in ("dataset", "length", "track", "seen", "machine")}
    print(results(tables_of(a.records), chosen))


def _compare(a: argparse.Namespace) -> None:
    from .config.load import load
    from .terminal.compare import compare
    from .terminal.show import comparison

    print(comparison(compare(a.A, a.B, load()["report"]["margin"]), (str(a.A), str(a.B))))


def _plan(a: argparse.Namespace) -> None:
    from .config import publications
    from .config.grid import grid
    from .config.load import load
    from .config.model_files import MODELS
    from .hardware.leases import device_kind
    from .terminal.plan import plan
    from .terminal.show import planned

    if a.reference and not any(a.reference.glob("*/runs/**/record.json")):
        raise UserError(
            f"--reference {a.reference}: holds no records of a machine; name a folder with <machine>/runs, as results/reference"
        )
    reference = a.reference or Path("results/reference")
    kind = a.device or device_kind()
    config = load(a.CONFIGFILES)
    publications.check(config)
    jobs = grid(config, MODELS)
    print(planned(plan(jobs, reference, a.results, kind, a.cores), kind))


def _config(a: argparse.Namespace) -> None:
    from .config.load import load

    load(a.CONFIGFILES)


def _command(a: argparse.Namespace) -> None:
    from .core.records import read_record
    from .core.store import Entry

    folder = Path(os.path.realpath(a.RECORD))  # of links that lead to each other too
    parts = folder.parts
    below = [i for i, part in enumerate(parts) if part in ("runs", "tune")]
    if not below or not (folder / "record.json").is_file():
        raise UserError(
            f"{a.RECORD}: holds no record; name a folder with record.json below results/runs"
        )
    root, path = Path(*parts[: below[-1]]), Path(*parts[below[-1] :])
    print(Entry(path.as_posix(), root, read_record(folder)).command)


def _check(a: argparse.Namespace) -> int:
    from .analysis.collect import read
    from .analysis.warnings import problems as found

    problems = found(read(a.tables))
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"check: {len(problems)} problem(s)", file=sys.stderr)
    return 1 if problems else 0


def _publish(a: argparse.Namespace) -> None:
    from .core.store import load, publishing, read_grid
    from .report.publish import check_readme, publish, together

    check_readme(a.readme)
    entries = load(read_grid(a.grid), a.results)
    with publishing(a.results / "reference"), holding(SHARED):
        for entry in entries:
            entry.samples()  # what is damaged is named where it lies, before anything is copied
        folder = publish(a.grid, a.results)
        print(f"published: {folder}", file=sys.stderr)
        together(folder.parent, a.readme)


def _pack(a: argparse.Namespace) -> None:
    from .training.archive import pack

    size = pack(a.results, a.out)
    print(f"packed: {a.out} ({size / 2**20:.1f} MiB)", file=sys.stderr)


def _unpack(a: argparse.Namespace) -> None:
    from .core.store import publishing
    from .report.publish import check_readme, tables, together
    from .training.archive import unpack

    check_readme(a.readme)
    with publishing(a.results / "reference"), holding(SHARED):
        folder = unpack(a.archive, a.results, tables)
        print(f"unpacked: {folder}", file=sys.stderr)
        together(folder.parent, a.readme)


def _retry(a: argparse.Namespace) -> int:
    from .core.records import discard, having

    if not any((a.results / part).is_dir() for part in ("runs", "tune")):
        raise UserError(
            f"--results {a.results}: has neither runs nor tune; name the folder of the results"
        )
    parts = [having(a.results / part, a.status) for part in ("runs", "tune")]
    folders = [folder for found, _ in parts for folder in found]
    unreadable = [why for _, reasons in parts for why in reasons]
    # Before the trials that it sums up: cut short in between, it would still look complete.
    for study in {folder.parent / "study.json" for folder in folders}:
        study.unlink(missing_ok=True)
    for folder in folders:
        discard(folder)
        print(f"removed {folder}", file=sys.stderr)
    for why in unreadable:
        print(why, file=sys.stderr)
    print(
        f"{len(folders)} record(s) with status {a.status}; run the workflow again", file=sys.stderr
    )
    return 1 if unreadable else 0


def _doctor(_: argparse.Namespace) -> int:
    from .hardware.doctor import doctor

    return doctor()


def _selfcheck(_: argparse.Namespace) -> int:
    from .hardware.doctor import selfcheck

    return selfcheck()


def _writable(out: Path) -> Path:
    """The folder, made before the work: what finds no place after hours of it is lost."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}; name a folder to write into") from None
    if not os.access(out, os.W_OK | os.X_OK):
        raise UserError(f"--out {out}: not writable; name a folder to write into")
    return out
