"""What Snakemake plans: job counts, cheap dry runs, and refusals before anything runs."""

import pytest
from flow import DEMO, snakemake, write

pytestmark = pytest.mark.workflow


def test_a_thousand_jobs_are_planned_without_torch(checkout, tmp_path):
    """Poisoned packages first on the path: importing one ends the dry run with their message."""
    for name in ("torch", "pandas"):
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
        "train": 3 * (4 * 84 + 3),
        "measure": 3 + 2 * 8 + 5 + 4,
        "collect": 1,
        "render": 1,
    }


@pytest.mark.slow
def test_without_models_to_measure_nothing_is_measured(checkout, tmp_path):
    config = write(tmp_path / "c.yaml", {"measure": {"models": []}})
    result = snakemake(checkout, tmp_path / "run", "-n", "--configfile", DEMO, config)
    assert result.status == 0, result.text
    assert "measure" not in result.jobs and result.jobs["train"] == 29


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--config", "sedes=3"],
            "error: config: sedes = 3: unknown key; allowed: data_dir, datasets",
        ),
        (
            ["--config", "run={seeds: [1, 2]}"],
            "error: config: run.seeds[1] = '2': must be an integer; a number nested in --config arrives as text",
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
