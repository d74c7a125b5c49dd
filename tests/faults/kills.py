"""Kills at random moments of every stage, and what must hold behind each: a campaign, and what its test shares with it.

    python tests/faults/kills.py --kills 300 --seed 0 --out results/faults      # or: make faults FAULTS_KILLS=300

A round kills one stage a few times in a row, lets it end, and compares with a twin that nobody killed. A moment is one of the
clock, or the n-th change of a file (``stop_at``). Rounds that stand in ``--out`` are not run again.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from sound import differences, problems
from tiny_server import archive, serve

ROOT = Path(__file__).parents[2]
STAGES = ("download", "prepare", "train", "measure", "collect", "render", "publish", "tune")
TURNS = (*STAGES, "download", "prepare", "collect", "render")  # those that cost least come twice
VERBS = {"download": "prepare", "train": "run", "render": "report"}
TARGETS = {
    "publish": ("report", "publish"),
    "tune": ("tune",),
}  # of the whole workflow; else the page
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
LIMIT_S = 1200  # ends a hang; no outcome depends on it
GONE_S = 120  # within which everything ends with what was killed, on a busy machine too
WHOLE = 0.14  # share of the kills that meet the whole workflow
PARTS = (
    "Snakefile",
    "config",
    "envs",
    "models",
    "profiles",
    "seqbench",
    "workflow",
    "report/template",
)
SCALING = ("length_at_constant_batch", "batch_size", "catalogue_size")
CONFIG = {
    "datasets": {"tiny": {"source": "ml-100k", "k_core": 2, "seq_lens": [8]}},
    "tracks": {"matched": {"training": {"max_steps": 90, "warmup_steps": 10, "eval_every": 30, "targets_per_step": 256}}},
    "run": {"datasets": ["tiny"], "models": ["sasrec", "popularity"], "seeds": [0], "more_seeds": []},
    "measure": {
        "models": ["sasrec"], "on_datasets": False, "n_items": 40, "rounds": 1, "steps": 2, "warmup": 1,
        "scaling": {
            "length_at_constant_tokens": {"tokens": 64, "seq_lens": [8]},
            **{curve: {key: []} for curve, key in zip(SCALING, ("seq_lens", "sequences", "n_items"), strict=True)},
        },
    },
    "tune": {"datasets": ["tiny"], "models": ["sasrec"], "rungs": [{"settings": 2, "share": 1}], "rerun_seeds": [1001]},
    "report": {"focal_model": "sasrec"},
}  # fmt: skip
# A source that can be had here, and a state of training that is saved after every epoch.
CHANGED = {
    "seqbench/config/sources.py": (
        "\n\ndef raw_file",
        '\n\nSOURCES["ml-100k"] = Source((Origin({url!r}, "ml-100k.zip", "ml-100k", MIB, {sha256!r}),), {{}}, "unix", "t", "c")'
        "\n\n\ndef raw_file",
    ),
    "seqbench/training/loop.py": ("SAVE_EVERY_S = 30.0", "SAVE_EVERY_S = 0.0"),
}
README = "# x\n\n<!-- results:begin -->\n<!-- results:end -->\n"


class Place:
    """A checkout whose dataset is downloaded from here, and what runs in it, marked by a variable of its own."""

    def __init__(self, root, url, sha256):
        self.root, self.checkout, self.leases = root, root / "checkout", root / "leases"
        self.mark = f"{root}-{os.getpid()}"
        self.leases.mkdir()
        for part in PARTS:
            (self.checkout / part).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
            copy(ROOT / part, self.checkout / part)
        for name, (before, after) in CHANGED.items():
            file = self.checkout / name
            text = file.read_text()
            assert text.count(before) == 1, name
            file.write_text(text.replace(before, after.format(url=url, sha256=sha256)))
        self.config = root / "tiny.yaml"
        self.config.write_text(yaml.safe_dump(CONFIG))
        hook = root / "hook"
        hook.mkdir()
        shutil.copy2(Path(__file__).with_name("stop_at.py"), hook / "sitecustomize.py")

    def start(self, command, work, **variables):
        """A command as a shell starts it: at the head of a process group, no signal ignored."""
        paths = [str(self.checkout)] + [str(self.root / "hook")] * ("FAULTS_COUNT" in variables)
        env = {
            **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths), "FAULTS_MARK": self.mark,
            "SEQBENCH_LEASES": str(self.leases), "SEQBENCH_ALLOW_CPU": "1", **variables,
        }  # fmt: skip
        log = (work.parent / f"{work.name}.log").open("ab")
        with log:
            return subprocess.Popen(
                command, cwd=work, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=as_in_a_terminal,
            )  # fmt: skip

    def snakemake(self, *targets):
        """The command of the whole workflow."""
        command = [sys.executable, "-m", "snakemake", "-s", str(self.checkout / "Snakefile")]
        return [*command, *targets, "--cores", "2", "--configfile", str(self.config)]

    def run(self, command, work, **variables):
        """To its end; everything it said.

        Raises:
            Lost: it failed.
        """
        log = work.parent / f"{work.name}.log"
        before = log.stat().st_size if log.exists() else 0
        process = self.start(command, work, **variables)
        process.wait(LIMIT_S)
        said = log.read_bytes()[before:].decode(errors="replace")
        if process.returncode:
            raise Lost(f"ends with {process.returncode}: {' | '.join(said.splitlines()[-6:])}")
        return said

    def alive(self):
        """Processes that carry the mark, whatever group they are in."""
        found, mark = [], f"FAULTS_MARK={self.mark}\0".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes() + b"\0":
                    found.append((int(folder.name), (folder / "cmdline").read_bytes()[:300]))
            except OSError:  # it has ended
                pass
        return found


def as_in_a_terminal():
    for each in SIGNALS[1:]:
        signal.signal(each, signal.SIG_DFL)


class Lost(Exception):
    """What a kill must not do."""


@dataclass
class Stage:
    """One stage by its own command: what it writes is removed before a round."""

    name: str
    command: list
    outputs: list
    seconds: float = 0.0
    changes: int = 0


@dataclass
class Kill:
    """One kill: `hit` is False where the command had ended before."""

    number: int
    stage: str
    whole: bool
    signal: str
    group: bool
    moment: str
    hit: bool = False
    lost: str | None = None
    seconds: float = 0.0


def stages(place, twin):
    """The commands of all stages, from what the twin's workflow made of the configuration."""
    from seqbench.config.load import definition, load
    from seqbench.core.jobs import Study

    grid = json.loads((twin / "results/grid.json").read_text())
    seqbench = [sys.executable, "-m", "seqbench"]
    training = next(t for t in grid["trainings"] if t["model"] == "sasrec")
    job = json.dumps({key: value for key, value in training.items() if key != "path"})
    record = json.loads((twin / "results" / training["path"] / "record.json").read_text())
    assert json.loads(job).items() <= record["job"].items()
    trained, data = f"results/{training['path']}", "results/data/tiny"
    prepare = [*seqbench, "prepare", "--name", "tiny", "--data-dir", "data", "--out", data]
    prepare += ["--definition", definition(load([place.config])["datasets"]["tiny"])]
    study = Study.from_json(json.dumps(grid["studies"][0]))
    tune = ["tune", "--study", study.to_json(), "--dataset", data, "--out", f"results/{study.path}"]
    measured = Path("results", grid["measurements"][0]["records"][0]).parent
    tables = ["--grid", "results/grid.json", "--results", "results"]
    measure = [*seqbench, "measure", "--job", measurement(place), "--out", str(measured)]
    return [
        Stage("download", prepare, ["data", data]),
        Stage("prepare", prepare, [data]),
        Stage("train", [*seqbench, "run", "--job", job, "--dataset", data, "--out", trained], [trained]),
        Stage("measure", measure, [str(measured)]),
        Stage("collect", [*seqbench, "collect", *tables, "--out", "results/tables"], ["results/tables"]),
        Stage("render", [*seqbench, "report", "--tables", "results/tables", "--out", "report"], ["report"]),
        Stage("publish", [*seqbench, "publish", *tables, "--readme", "README.md"], ["results/reference", "docs"]),
        Stage("tune", [*seqbench, *tune], ["results/tune"]),
    ]  # fmt: skip


def measurement(place):
    from seqbench.config.grid import grid
    from seqbench.config.load import load

    return grid(load([place.config]), place.checkout / "models").measurements[0].to_json()


def moment(rng, stage):
    """Seconds after the start, or (number of a change, seconds behind it)."""
    if rng.random() < 0.5:
        return rng.uniform(0, stage.seconds)
    return rng.randint(1, max(1, stage.changes)), rng.choice([0.0, 10 ** rng.uniform(-5, -1.5)])


def ends_by(place, kill, process, send=True):
    """Send the signal, wait for the end of all that carries the mark.

    Raises:
        Lost: something lives on.
    """
    number = getattr(signal, kill.signal)
    if send and process.poll() is None:
        with suppress(ProcessLookupError):
            (os.killpg if kill.group else os.kill)(process.pid, number)
    try:
        process.wait(LIMIT_S)
        until = time.monotonic() + GONE_S
        while alive := place.alive():
            if time.monotonic() > until:
                raise Lost(f"orphans: {alive}")
            time.sleep(0.02)
    except subprocess.TimeoutExpired:
        raise Lost(f"never ends: {place.alive()}") from None
    finally:
        for pid, _ in place.alive():
            os.kill(pid, signal.SIGKILL)


def kill_command(place, stage, work, kill, at):
    """Start the command of a stage and kill it at a moment; True unless it had ended before."""
    variables = {}
    if isinstance(at, tuple):
        count = work.parent / "count"
        count.unlink(missing_ok=True)
        number = int(getattr(signal, kill.signal))
        stop = f"{at[0]} {at[1]} {number} {'group' if kill.group else 'command'}"
        variables = {"FAULTS_WORK": str(work), "FAULTS_COUNT": str(count), "FAULTS_STOP": stop}
    process = place.start(stage.command, work, **variables)
    if variables:
        ends_by(place, kill, process, send=False)
        return process.returncode != 0
    try:
        process.wait(at)
        return False
    except subprocess.TimeoutExpired:
        pass
    finally:
        ends_by(place, kill, process)
    return process.returncode != 0


def verbs(process):
    """By verb the processes of the project's command below one, with their ids."""
    found = {}
    try:
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error, OSError):
                words = child.cmdline()
                if words[1:3] == ["-m", "seqbench"]:
                    found.setdefault(words[3], child.pid)
    except psutil.Error:
        pass
    return found


def kill_workflow(place, wanted, work, kill, targets=("report",)):
    """Start the workflow and kill it in a stage; the verb that was met alive, None if there was none.

    wanted: by verb the seconds that its command has had by then; the first that runs is taken.
    """
    process = place.start(place.snakemake(*targets), work)
    met = None
    try:
        while process.poll() is None and met is None:
            met = next((verb for verb in verbs(process) if verb in wanted), None)
            time.sleep(0.05)
        if met:
            with suppress(subprocess.TimeoutExpired):
                process.wait(wanted[met])
        met = met if process.poll() is None else None
    finally:
        ends_by(place, kill, process)
    return met


def timed(place, work, *targets):
    """Run the workflow to its end; by verb the longest seconds of its command."""
    process = place.start(place.snakemake(*targets), work)
    seen = {}
    while process.poll() is None:
        now = time.monotonic()
        for verb, pid in verbs(process).items():
            seen.setdefault((verb, pid), [now, now])[1] = now
        time.sleep(0.1)
    if process.returncode:
        raise Lost((work.parent / f"{work.name}.log").read_text()[-3000:])
    took = {}
    for (verb, _), (first, last) in seen.items():
        took[verb] = max(took.get(verb, 0.0), last - first)
    return took


@contextmanager
def place():
    """A place with its server, in a folder that goes with it."""
    content = archive()
    with tempfile.TemporaryDirectory(prefix="kills-") as name, serve(content) as (url, sha256):
        here = Place(Path(name).resolve(), url, sha256)
        try:
            yield here
        finally:
            for pid, _ in here.alive():
                os.kill(pid, signal.SIGKILL)


def work_in(place, name):
    """An empty folder to work in, with a README to write results into."""
    work = place.root / name / "work"
    work.mkdir(parents=True)
    (work / "README.md").write_text(README)
    return work


def checked(place, work, twin):
    """What must hold after each kill.

    Raises:
        Lost: it does not.
    """
    if found := problems(work, twin, place.leases):
        raise Lost("; ".join(found[:5]))


def round_of_stage(place, stage, twin, kills, rng):
    """Kill one stage a few times in a row, then let it end."""
    work = work_in(place, f"round-{kills[0].number}")
    shutil.copytree(twin, work, dirs_exist_ok=True)
    for output in stage.outputs if rng.random() < 0.8 else ():  # else what is there is replaced
        shutil.rmtree(work / output)
    try:
        for kill in kills:
            at = moment(rng, stage)
            kill.moment = (
                f"change {at[0]} + {at[1]:.5f} s" if isinstance(at, tuple) else f"{at:.3f} s"
            )
            begun = time.monotonic()
            try:
                kill.hit = kill_command(place, stage, work, kill, at)
                checked(place, work, twin)
                kill.seconds = time.monotonic() - begun
                if kill is kills[-1]:
                    place.run(stage.command, work)
                    checked(place, work, twin)
                    if found := differences(work, twin):
                        raise Lost(f"differs: {'; '.join(found[:5])}")
            except Lost as error:
                kill.lost = str(error)
                return
    finally:
        keep = any(kill.lost for kill in kills)
        shutil.rmtree(work.parent) if not keep else shutil.copy2(
            work.parent / "work.log", work.parent / "lost.log"
        )


def round_of_workflow(place, stage, twin, kills, rng, seconds):
    """Kill the whole workflow a few times at a stage, then let it end."""
    work = work_in(place, f"round-{kills[0].number}")
    shutil.copytree(twin, work, dirs_exist_ok=True)
    targets = TARGETS.get(stage.name, ("report",))
    later = [] if stage.name in TARGETS else ["results/tables", "report"]
    for output in {*stage.outputs, *later}:  # nothing runs for a missing input of what is there
        shutil.rmtree(work / output)
    try:
        for kill in kills:
            verb = VERBS.get(stage.name, stage.name)
            delay_s = rng.uniform(0, seconds[verb])
            kill.moment = f"{delay_s:.3f} s into the stage"
            begun = time.monotonic()
            try:
                kill.hit = bool(kill_workflow(place, {verb: delay_s}, work, kill, targets))
                checked(place, work, twin)
                kill.seconds = time.monotonic() - begun
                if kill is kills[-1]:
                    place.run(place.snakemake(*targets), work)
                    checked(place, work, twin)
                    if found := differences(work, twin):
                        raise Lost(f"differs: {'; '.join(found[:5])}")
                    if stage.name != "publish" and "Nothing to be done" not in place.run(
                        place.snakemake(*targets), work
                    ):
                        raise Lost("what is done is done again")
            except Lost as error:
                kill.lost = str(error)
                return
    finally:
        if not any(kill.lost for kill in kills):
            shutil.rmtree(work.parent)


@dataclass
class Plan:
    """The rounds of a campaign: stages and signals in turn, so that each meets each."""

    kills: int
    seed: int
    stages: tuple
    rounds: list = field(default_factory=list)

    def __post_init__(self):
        rng, number, turn = random.Random(self.seed), 0, 0
        turns = [stage for stage in TURNS if stage in self.stages]
        while number < self.kills:
            stage, whole = turns[turn % len(turns)], rng.random() < WHOLE
            kills = []
            for _ in range(min(rng.randint(2, 6), self.kills - number)):
                sent = SIGNALS[(number + turn) % len(SIGNALS)]
                group = sent == signal.SIGINT or rng.random() < 0.5
                kills.append(Kill(number, stage, whole, sent.name, group, ""))
                number += 1
            self.rounds.append((stage, whole, kills, rng.randrange(2**32)))
            turn += 1


def table(kills):
    """Lines: by stage and signal the kills, how many were survived and lost, and the seconds they took."""
    head = f"{'stage':10} {'signal':8} {'kills':>5} {'survived':>8} {'lost':>5} {'seconds':>8}"
    counts = Counter((k["stage"], k["signal"]) for k in kills)
    lost = Counter((k["stage"], k["signal"]) for k in kills if k["lost"])
    seconds = Counter()
    for k in kills:
        seconds[k["stage"], k["signal"]] += k["seconds"]
    keys = [(s, n.name) for s in STAGES for n in SIGNALS if counts[s, n.name]]

    def line(name, sent, own):
        n, bad = sum(counts[k] for k in own), sum(lost[k] for k in own)
        return f"{name:10} {sent:8} {n:5} {n - bad:8} {bad:5} {sum(seconds[k] for k in own):8.0f}"

    whole = sum(k["whole"] for k in kills)
    return [
        head,
        *(line(*key, [key]) for key in keys),
        line("all", "", keys),
        f"of them of the whole workflow: {whole}",
    ]


def campaign(n, seed, out, chosen):
    """Run what of a campaign is not there yet; its kills, those that came too late left out."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"kills-{seed}.jsonl"
    done = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    begun = {k["number"]: k["stage"] for k in done}
    rounds = Plan(4 * n, seed, chosen).rounds
    if any(begun.get(kills[0].number, stage) != stage for stage, _, kills, _ in rounds):
        sys.exit(f"error: {file}: holds a campaign of other stages; name another folder with --out")
    hits = sum(k["hit"] for k in done)
    if hits >= n:
        return [k for k in done if k["hit"]]
    with place() as here:
        twin = work_in(here, "twin")
        seconds = timed(here, twin, "report", "publish", "tune")
        own = {stage.name: stage for stage in stages(here, twin) if stage.name in chosen}
        for stage in own.values():
            gauge(here, stage, twin)
            print(
                f"{stage.name}: {stage.seconds:.1f} s, {stage.changes} changes of files", flush=True
            )
        for name, whole, kills, seed_ in rounds:
            if kills[0].number in begun:
                continue
            if hits >= n:
                break
            rng = random.Random(seed_)
            if whole:
                round_of_workflow(here, own[name], twin, kills, rng, seconds)
            else:
                round_of_stage(here, own[name], twin, kills, rng)
            with file.open("a") as log:
                for kill in kills:
                    if kill.hit or kill.lost or kill is kills[0]:
                        log.write(json.dumps(vars(kill)) + "\n")
                        done.append(vars(kill))
            hits = sum(k["hit"] for k in done)
            for kill in kills:
                if kill.lost:
                    print(f"LOST {kill}", flush=True)
            print(f"{hits} of {n} kills, {sum(bool(k['lost']) for k in done)} lost", flush=True)
        if any(k["lost"] for k in done):
            shutil.copytree(
                here.root,
                out / "lost",
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("checkout"),
            )
    return [k for k in done if k["hit"] or k["lost"]]


def gauge(place, stage, twin):
    """How long a stage takes, and how many changes of files it makes, undisturbed."""
    work = work_in(place, f"gauge-{stage.name}")
    shutil.copytree(twin, work, dirs_exist_ok=True)
    for output in stage.outputs:
        shutil.rmtree(work / output, ignore_errors=True)
    count = work.parent / "count"
    begun = time.monotonic()
    place.run(stage.command, work, FAULTS_WORK=str(work), FAULTS_COUNT=str(count))
    stage.seconds, stage.changes = time.monotonic() - begun, count.stat().st_size
    for output in stage.outputs:  # the twin has what its command makes, with --readme too
        shutil.rmtree(twin / output, ignore_errors=True)
        shutil.copytree(work / output, twin / output)
    shutil.copy2(work / "README.md", twin / "README.md")
    shutil.rmtree(work.parent)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--out", type=Path, default=Path("results/faults"))
    a = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    kills = campaign(a.kills, a.seed, a.out.resolve(), a.stages)
    print("\n".join(table(kills)))
    return int(any(k["lost"] for k in kills))


if __name__ == "__main__":
    sys.exit(main())
