"""The real thing, as small as it gets: generated data, one trained model, one baseline, a report."""

import json

import pytest
from flow import snakemake, write

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

TINY = {
    "datasets": {
        "tiny": {
            "source": "synthetic",
            "k_core": 1,
            "seq_lens": [8],
            "training": {"max_steps": 20, "warmup_steps": 10, "eval_every": 10, "patience_steps": 20, "targets_per_step": 256},
            "synthetic": {"n_users": 200, "n_items": 40, "mean_length": 12},
        }
    },
    "run": {"datasets": ["tiny"], "models": ["sasrec", "popularity"], "seeds": [0, 1]},
    "measure": {
        "models": ["sasrec"],
        "scaling": {
            "length_at_constant_tokens": {"tokens": 64, "seq_lens": [8]},
            "length_at_constant_batch": {"seq_lens": []},
            "batch_size": {"sequences": []},
            "catalogue_size": {"n_items": []},
        },
        "n_items": 40,
        "rounds": 2,
        "steps": 2,
        "warmup": 1,
        "on_datasets": False,
    },
}  # fmt: skip


def test_from_nothing_to_a_report(checkout, tmp_path):
    work, config = tmp_path / "work", write(tmp_path / "tiny.yaml", TINY)
    result = snakemake(checkout, work, "report", "--cores", "2", "--configfile", config)
    assert result.status == 0, result.text

    grid = json.loads((work / "results" / "grid.json").read_text())
    folders = [t["path"] for t in grid["trainings"]]
    folders += [path for m in grid["measurements"] for path in m["records"]]
    assert len(folders) == 4  # two seeds of SASRec, one of Popularity, one measurement
    for folder in folders:
        record = json.loads((work / "results" / folder / "record.json").read_text())
        assert record["status"] == "ok", record["reason"]
    assert (work / "report" / "index.html").stat().st_size > 1000
    assert list((work / "report" / "figures").glob("*.svg"))

    again = snakemake(checkout, work, "report", "--cores", "2", "--configfile", config)
    assert "Nothing to be done" in again.text

    page = snakemake(checkout, work, "report", "--report", "x.html", "--configfile", config)
    assert page.status == 0, page.text
    assert (work / "x.html").stat().st_size > 1_000_000
