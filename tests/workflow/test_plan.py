"""What Snakemake plans: job counts, cheap dry runs, and refusals before anything runs."""

import importlib.util
import json
import re

import pytest
from flow import DEMO, copy_checkout, snakemake, write

pytestmark = pytest.mark.workflow


def test_a_thousand_jobs_are_planned_without_torch(checkout, tmp_path):
    """Poisoned packages first on the path: importing one ends the dry run with their message."""
    plugin = importlib.util.find_spec("snakemake_executor_plugin_slurm")  # loads pandas itself
    for name in ("torch",) if plugin else ("torch", "pandas"):
        poison = tmp_path / "poison" / name / "__init__.py"
        poison.parent.mkdir(parents=True)
        poison.write_text(f"raise SystemExit('poison: {name} was imported')")
    config = write(
        tmp_path / "many.yaml", {"run": {"datasets": ["ml-1m"], "seeds": list(range(84))}}
    )
    result = snakemake(
        checkout, tmp_path / "run", "-n", "-q", "rules", "--configfile", config,
        variables={"PYTHONPATH": str(tmp_path / "poison")},
    )  # fmt: skip
    assert "poison" not in result.text
    assert result.status == 0, result.text
    assert result.jobs == {
        "all": 1,
        "prepare": 1,
        "grid": 1,
        "train": 3 * 4 * 84,
        "baseline": 3 * 3,
        "measure": 3 + 2 * 8 + 5 + 4,
        "collect": 1,
        "render": 1,
    }


@pytest.mark.slow
def test_without_models_to_measure_nothing_is_measured(checkout, tmp_path):
    config = write(tmp_path / "c.yaml", {"measure": {"models": []}})
    result = snakemake(checkout, tmp_path / "run", "-n", "--configfile", DEMO, config)
    assert result.status == 0, result.text
    assert "measure" not in result.jobs
    assert (result.jobs["train"], result.jobs["baseline"]) == (20, 9)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--config", "sedes=3"],
            "error: --config: sedes = 3: unknown key; allowed: data_dir, datasets",
        ),
        (
            ["--config", "run={seeds: [1, 2]}"],
            "error: --config: run.seeds[1] = '2': must be an integer; a number nested in --config arrives as text",
        ),
        (
            ["--config", "data_dir=a", "--config", "run=b"],
            "error: --config stands twice in the command, and Snakemake reads the last only",
        ),
    ],
)
def test_a_mistake_ends_in_one_line_without_a_traceback(checkout, tmp_path, arguments, expected):
    result = snakemake(checkout, tmp_path / "run", "-n", "--configfile", DEMO, *arguments)
    assert result.status != 0
    assert result.text.splitlines()[-1].startswith(expected)
    assert "Traceback" not in result.text and "Snakefile" not in result.text


@pytest.mark.slow
def test_a_record_that_the_configuration_does_not_ask_for_is_refused(checkout, tmp_path):
    target = "results/runs/demo/matched/sasrec/L9999-s0/record.json"
    result = snakemake(checkout, tmp_path / "run", "-n", "--configfile", DEMO, "--", target)
    assert result.status != 0
    assert (
        "results/runs/demo/matched/sasrec/L9999-s0 is not a job of this configuration"
        in result.text
    )


@pytest.mark.slow
def test_tuning_plans_one_study_per_model_and_needs_no_download(checkout, tmp_path):
    planned = snakemake(checkout, tmp_path / "work", "--dry-run", "tune", "--configfile", DEMO)
    assert planned.jobs == {"prepare": 1, "tune": 1, "tune_model": 4}, planned.text


@pytest.mark.slow
@pytest.mark.parametrize("by", ["working directory", "--directory"])
def test_only_the_checkout_s_own_results_are_told_in_its_readme(checkout, tmp_path, by):
    ask = ["--dry-run", "--printshellcmds", "publish", "--configfile", DEMO]
    assert "--results results --readme README.md" in snakemake(checkout, checkout, *ask).text
    elsewhere = tmp_path / "elsewhere"
    if by == "--directory":
        planned = snakemake(checkout, checkout, "--directory", elsewhere, *ask)
    else:
        planned = snakemake(checkout, elsewhere, *ask)
    assert "seqbench publish" in planned.text and "--readme" not in planned.text, planned.text


@pytest.mark.slow
def test_a_key_that_stands_twice_is_refused_with_both_lines(checkout, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("run:\n  seeds: [0]\nrun:\n  seeds: [1]\n")
    result = snakemake(checkout, tmp_path / "run", "-n", "--configfile", DEMO, file)
    assert result.status != 0 and result.text.splitlines()[-1] == (
        f"error: {file}: run stands in line 1 and in line 3, and one of them would be lost; keep one"
    )


NO_CONFIGURATION = {
    "missing.yaml": (None, "No such file or directory; name a configuration file"),
    "folder.yaml": ("folder", "Is a directory; name a configuration file"),
    "utf-16.yaml": ("run: {seeds: [1]}".encode("utf-16"), "is no UTF-8"),
    "broken.yaml": (b"run: {seeds: [1\n", ", line 2: is no YAML: while parsing a flow sequence"),
    "empty.yaml": (b"# nothing\n", "holds no keys, and Snakemake takes none such; take it out"),
    "key.yaml": (b"run: {seeed: [1]}", "run.seeed = [1]: unknown key; did you mean 'seeds'? allowed"),
}  # fmt: skip


@pytest.mark.slow
def test_a_file_that_snakemake_cannot_read_is_one_line_of_ours(checkout, tmp_path):
    """Snakemake itself reads them before the Snakefile; the project's profiles come first."""
    for name, (content, said) in NO_CONFIGURATION.items():
        file = tmp_path / name
        if content == "folder":
            file.mkdir()
        elif content:
            file.write_bytes(content)
        result = snakemake(checkout, tmp_path / "run", "-n", "--configfile", DEMO, file)
        assert result.status != 0 and "Traceback" not in result.text, result.text
        last = result.text.splitlines()[-1]
        assert last.startswith(f"error: {file}") and said in last


AWKWARD = '{dataset} {wildcards.dataset} {0} {{}} \'s "q" $(touch told) `touch told` $HOME ;\\ %'


@pytest.mark.slow
def test_names_and_texts_may_hold_what_snakemake_and_shells_read_as_their_own(tmp_path):
    """In the path of the checkout, of the data and of the configuration, and in free text; data are really prepared."""
    checkout = copy_checkout(tmp_path / 'check {out} \'s $HOME "ü"')
    work, data = tmp_path / "work {w} 's", tmp_path / "da {ta} 's $HOME\nb"
    data.mkdir()
    rows = "".join(f"{u},{i},{1_400_000_000 + u + i}\n" for u in range(6) for i in range(6))
    (data / f"cl {AWKWARD}\n.csv").write_text(f"{{user}},it'em,ti me\n{rows}")
    local = {
        "path": str(data / f"cl {AWKWARD}\n.csv"),
        "columns": {"user": "{user}", "item": "it'em", "time": "ti me"},
        "differs_from_original": AWKWARD,
    }
    config = {
        "data_dir": str(data),
        "datasets": {"awkward": {"source": "file", "k_core": 2, "seq_lens": [4], "local": local}},
        "run": {
            "datasets": ["awkward"],
            "tracks": ["matched"],
            "models": ["popularity"],
            "seeds": [0],
            "more_seeds": [],
        },
        "measure": {"models": []},
        "tune": {"datasets": []},
    }
    work.mkdir()
    file = write(work / "c {f} 's.yaml", config)
    prepared = "results/data/awkward/dataset.json"
    wanted = ("--", prepared, "results/grid.json")
    result = snakemake(checkout, work, "--cores", "1", "--configfile", file, *wanted)
    assert result.status == 0, result.text
    info = json.loads((work / prepared).read_text("utf-8"))
    assert info["n_interactions"] == 36 and info["provenance"]["substitute_file"] == AWKWARD
    assert not [path for path in tmp_path.rglob("told")]
    again = snakemake(checkout, work, "-n", "--configfile", file, *wanted)
    assert "Nothing to be done" in again.text, again.text


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["gpu_share=25", "runtime=10080"])
def test_a_resource_of_trainings_can_be_set_without_their_gpu(checkout, tmp_path, asked):
    ask = ["-n", "report", "--configfile", DEMO, "--set-resources", f"train:{asked}"]
    assert asked in snakemake(checkout, tmp_path / "run", *ask).text


@pytest.mark.slow
def test_the_profile_says_whether_jobs_take_a_gpu_and_baselines_never_do(checkout, tmp_path):
    """The machine on which the run is started need not have what the nodes have."""
    ask = [
        "-n",
        "--printshellcmds",
        "report",
        "--configfile",
        DEMO,
        "--set-resources",
        "train:gpu=1",
    ]
    planned = snakemake(checkout, tmp_path / "run", *ask).text
    asked = re.findall(r'"model":"(\w+)".* --gpu (\d) --gpu-share (\d+) ', planned)
    shares = {model: (gpu, share) for model, gpu, share in asked}
    assert {model for model, given in shares.items() if given == ("1", "100")} == {
        "mamba4rec", "sasrec", "bert4rec", "gru4rec",
    }  # fmt: skip
    assert {shares[model] for model in ("popularity", "markov", "itemknn")} == {("0", "0")}
