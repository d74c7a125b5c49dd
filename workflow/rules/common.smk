# What the rules share: the grid, the identity of the code of each stage, the parameters of each job. No torch in here.
import json
import os
import shlex
from glob import glob
from pathlib import Path

from seqbench.config import grid, order, sources
from seqbench.core import display, jobs, processes, provenance
from seqbench.core.checksums import sha256_of
from seqbench.config.load import canonical, definition
from seqbench.config.model_files import available_models, is_trainable


def literal(text):
    """A text in which Snakemake sees no wildcards."""
    return text.replace("{", "{{").replace("}", "}}")


ROOT = Path(workflow.basedir)
GRID = grid.grid(config, ROOT / "models")
JOBS = {f"results/{job.path}": job for job in (*GRID.trainings, *GRID.measurements)}
PRIORITIES = {f"results/{path}": value for path, value in order.priorities(GRID).items()}
STUDIES = {f"results/{s.path}": s for s in grid.studies(config, ROOT / "models")}
RECORDS = [Path("results", job.path) for job in GRID.trainings]
RECORDS += [Path("results", path) for job in GRID.measurements for path in job.record_paths()]
MEASURED = config["measure"]["models"]


def gpus():
    """GPUs of a training: what the profile says of other machines; else whether this one has a device file that nobody hides."""
    said = workflow.resource_settings.overwrite_resources.get("train", {}).get("gpu")
    said = getattr(said, "value", said)
    if said is not None:
        return int(said)
    hidden = os.getenv("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() in ("", "-1")
    return int(any(Path(os.devnull).parent.glob("nvidia[0-9]*")) and not hidden)


GPU = gpus()
CONDA_ENV = f"{literal(str(ROOT))}/envs/conda.yaml"

TABLES = [f"results/tables/{name}.{kind}" for name in display.TABLES for kind in ("parquet", "csv")]
TABLES += [f"results/tables/{name}.json" for name in ("datasets", "settings")]

# Where files of a user's own lie.
DATA_FILES = {
    name: block["local"]["path"]
    for name, block in config["datasets"].items()
    if block.get("local", {}).get("path")
}
# Rules call `python -m seqbench` of this checkout from any working directory, with the interpreter that runs
# Snakemake unless conda activates another one. Places of raw data are variables and no parameters, which would rerun
# everything that once ran with other places: their content is a parameter.
os.environ.update(
    PATH=os.pathsep.join([os.path.dirname(sys.executable), os.getenv("PATH", "")]),
    SEQBENCH_CHECKOUT=str(ROOT),  # for envs/conda.post-deploy.sh, of which conda runs a copy
    SEQBENCH_DATA_FILES=json.dumps(DATA_FILES),
    SEQBENCH_ALLOW_CPU=str(int(config["allow_cpu"])),
)
# A job ends with the process that asked for it, however that ended.
os.environ[processes.ASKED_BY] = processes.identity(os.getpid())
shell.prefix(
    "set -euo pipefail; export PYTHONUNBUFFERED=1"
    f" PYTHONPATH={literal(shlex.quote(str(ROOT)))}${{{{PYTHONPATH:+:$PYTHONPATH}}}}"
    f" DATA_DIR={literal(shlex.quote(config['data_dir']))}; "
)


def one_of(names):
    """A pattern of these names; of none, one that nothing matches."""
    return "|".join(names) or "(?!)"


AVAILABLE = available_models(ROOT / "models")
TRAINED = one_of(m for m in AVAILABLE if is_trainable(ROOT / f"models/{m}.py"))
BASELINES = one_of(m for m in AVAILABLE if not is_trainable(ROOT / f"models/{m}.py"))


wildcard_constraints:
    dataset="[^/]+",
    track="[^/]+",
    model="[^/]+",
    seq_len=r"\d+",
    seed=r"\d+",
    size=r"([a-z-]+-)?L\d+-T\d+(-V\d+)?",


# What a job's numbers depend on in the code is a parameter: a docstring or a moved file changes none of them.
def training_code(wildcards):
    return provenance.representative(provenance.training(wildcards.model))


def tuning_code(wildcards):
    return [training_code(wildcards), provenance.representative(provenance.searching())]


def measuring_code(wildcards):
    return provenance.representative(provenance.measuring(*MEASURED))


def rendering_code(*files):
    return provenance.rendering(*files)


def text_of(*files):
    """SHA-256 of files that are no code, whatever their folder."""
    return [sha256_of(file) for file in sorted(files)]


def dataset_definition(wildcards):
    return definition(config["datasets"][wildcards.dataset])


def public_source(wildcards):
    return sources.decisive(config["datasets"][wildcards.dataset])


def raw_content(wildcards):
    block = config["datasets"][wildcards.dataset]
    prepared = Path(f"results/data/{wildcards.dataset}")
    return sources.raw_content(block, Path(config["data_dir"]), prepared)


def measured_dataset(wildcards):
    full_length = wildcards.dataset == jobs.FULL_LENGTH
    return [] if full_length else [f"results/data/{wildcards.dataset}/dataset.json"]


def measured_dataset_option(wildcards):
    return [f"--dataset=results/data/{w}" for w in [wildcards.dataset] if w != jobs.FULL_LENGTH]


def training_json(wildcards):
    return job_json(training_folder(wildcards))


def measurement_json(wildcards):
    return job_json(measurement_folder(wildcards))


def training_priority(wildcards):
    return PRIORITIES.get(training_folder(wildcards), 0)


def measurement_priority(wildcards):
    return PRIORITIES.get(measurement_folder(wildcards), 0)


def training_folder(wildcards):
    return "results/runs/{dataset}/{track}/{model}/L{seq_len}-s{seed}".format(**wildcards)


def measurement_folder(wildcards):
    return "results/runs/{dataset}/{track}/measure/{size}".format(**wildcards)


def job_json(folder):
    if folder not in JOBS:
        raise WorkflowError(f"{folder} is not a job of this configuration")
    return JOBS[folder].to_json()


def study_json(wildcards):
    return study_of(wildcards).to_json()


def first_trial(wildcards):
    """What becomes of a study's settings is told by its first training: a field that nothing reads changes neither."""
    study = study_of(wildcards)
    return study.training_job(study.start()).to_json()


def study_of(wildcards):
    folder = "results/tune/{dataset}/{model}/L{seq_len}".format(**wildcards)
    if folder not in STUDIES:
        raise WorkflowError(f"{folder} is not a study of this configuration (tune.datasets)")
    return STUDIES[folder]


def config_json(wildcards):
    """The configuration without what no job depends on."""
    about_here = ("data_dir", "allow_cpu", "deadline_s")
    return canonical({key: value for key, value in config.items() if key not in about_here})


def records():
    """Every record that the grid names; each is written last and holds the checksum of what lies beside it."""
    return [str(folder / "record.json") for folder in RECORDS]


def prepared():
    return expand("results/data/{dataset}/dataset.json", dataset=GRID.datasets())
