"""The focal model against the others: read from its side, costs as multiples of theirs."""

import numpy as np
import pytest
from builders import REPORT, THREE, curves_of, grid, measurement, plan, times, training, write_grid
from frames import pair, tables_of
from frames import verdicts as tables

from seqbench.analysis import collect
from seqbench.report import versus

pytestmark = pytest.mark.slow


def test_a_share_is_read_from_the_focal_models_side():
    rows = pair("matched", "mamba4rec", "sasrec", ("better", "better"))
    rows += pair("matched", "gru4rec", "mamba4rec", ("better", "better"))
    found = versus.against(tables(rows)).set_index(["comparator", "seen_items"])
    ends = ["share", "share_low", "share_high"]
    assert found.loc[("sasrec", "kept"), ends].tolist() == pytest.approx([0.2, 0.1, 0.4])
    assert found.loc[("gru4rec", "kept"), ends].tolist() == pytest.approx([-0.2, -0.4, -0.1])
    assert found.loc[("gru4rec", "kept"), "verdict"] == "worse"


def test_verdicts_that_do_not_hold_together_become_inconclusive():
    """Holm: .001 of three holds, then .03 of two does not, nor what comes after; a family is a track and treatment of seen items."""
    comparators = ("sasrec", "gru4rec", "bert4rec")
    rows = [row for comparator in comparators for row in pair("matched", "mamba4rec", comparator, ("better", "worse"))]  # fmt: skip
    rows += pair("tuned", "mamba4rec", "sasrec", ("better", "equivalent"))
    found = versus.settled(versus.against(tables(rows)))
    p = {
        ("kept", "sasrec"): 0.04,
        ("kept", "gru4rec"): 0.001,
        ("kept", "bert4rec"): 0.03,
    }
    alone = [p.get(key, 0.01) for key in zip(found.seen_items, found.comparator, strict=True)]
    tuned = found.track == "tuned"
    held = versus.corrected(found.assign(p_margin=np.where(tuned, 0.04, alone)))
    verdicts = dict(zip(zip(held.track, held.seen_items, held.comparator, strict=True), held.verdict, strict=True))  # fmt: skip
    assert {key[1:]: v for key, v in verdicts.items() if key[0] == "matched"} == {
        **{("excluded", comparator): "worse" for comparator in comparators},
        ("kept", "gru4rec"): "better", ("kept", "bert4rec"): "inconclusive", ("kept", "sasrec"): "inconclusive",
    }  # fmt: skip
    assert verdicts["tuned", "kept", "sasrec"] == "better"
    assert verdicts["tuned", "excluded", "sasrec"] == "equivalent"


def test_a_ratio_is_of_one_job(tmp_path):
    """Models are compared where they were measured in turn: another length or batch is another job."""
    jobs = [measurement(models=THREE), *curves_of()]
    wanted = grid([training(model=m) for m in THREE], jobs)
    write_grid(tmp_path, wanted)
    found = versus.ratios(collect.build(collect.load(wanted, tmp_path), {}, REPORT))
    assert set(found.comparator) == {"sasrec", "gru4rec"} and set(found.model) == {"mamba4rec"}
    assert set(found.curve.dropna()) == {"length-at-constant-batch"}
    for job in (job for job in jobs if job["curve"] in (None, "length-at-constant-batch")):
        rows = found[found.job == job["records"][0].rpartition("/")[0]]
        for k, comparator in ((1, "sasrec"), (2, "gru4rec")):
            for phase, what, name in (
                ("train", "step_s", "train/step_s"),
                ("train", "memory", "train/peak_rss_bytes"),
                ("inference", "batch_s", "inference/batch_s"),
            ):
                (ratio,) = rows[(rows.comparator == comparator) & (rows.phase == phase) & (rows.what == what)].ratio  # fmt: skip
                own, other = (np.median(times(job, n)[name]) for n in (0, k))
                assert ratio == pytest.approx(own / other)


def test_costs_of_other_hyper_parameters_than_were_trained_are_not_those_of_the_place(tmp_path):
    """As after tuning chose a smaller model; one that was not trained there, and full-length batches, stay."""
    of_data, *curves = measurement(models=(*THREE, "bert4rec")), *curves_of()
    of_data["models"][1]["hyperparameters"]["d_model"] = 128  # of sasrec
    wanted = grid([training(model=m) for m in THREE], [of_data, *curves])
    write_grid(tmp_path, wanted)
    found = versus.costs(collect.build(collect.load(wanted, tmp_path), {}, REPORT))
    assert set(found[found.dataset == "toy"].model) == {"mamba4rec", "gru4rec", "bert4rec"}
    assert set(found[found.curve.notna()].model) == set(THREE)


def test_the_comparison_itself_comes_first():
    rows = [row for track in ("mine", "tuned", "matched") for row in pair(track, "mamba4rec", "sasrec", ("better",) * 2)]  # fmt: skip
    assert versus.judged(tables(rows)) == ["matched", "tuned", "mine"]


def test_a_measurement_that_outlived_its_trainings_enters_no_ratio(tmp_path):
    """A condition measured with two batches, of which only the first was trained: there GRU4Rec failed."""
    wanted = plan()
    second = measurement(models=THREE)
    second |= {"targets_per_step": 4096, "records": [p.replace("T2048", "T4096") for p in second["records"]]}  # fmt: skip
    wanted["measurements"].append(second)
    tables = tables_of(tmp_path, wanted)
    frame = tables.frames["efficiency"]
    of_data = frame.dataset == "toy"
    frame.loc[of_data, "median"] = 10.0
    other = frame.path.str.contains("T4096")
    frame.loc[of_data & other & (frame.model == "mamba4rec"), "median"] = 5.0
    frame.loc[of_data & frame.path.str.endswith("T2048/gru4rec"), "median"] = np.nan  # failed there
    rows = versus.table(tables, "matched").rows
    ratios = [cell.value for row in rows for cell in row[3:6]]
    assert [r for r in ratios if r is not None] and {r for r in ratios if r is not None} == {1.0}
