"""Flags and problems: each where it belongs and nowhere else."""

import json

import numpy as np
import pandas as pd
import pytest
from builders import (
    BASELINES,
    grid,
    measurement,
    plan,
    ranks,
    samples,
    training,
    write_grid,
    write_measurement,
    write_training,
)

from seqbench.analysis import collect
from seqbench.core.metrics import per_user
from seqbench.report import findings, flags, report


def tables_of(results, wanted=None, change=lambda: None):
    path = write_grid(results, wanted or plan())
    change()
    collect.collect(path, results, results / "tables")
    return collect.read(results / "tables")


def flags_of(results, wanted=None, change=lambda: None):
    return {flag.title: flag for flag in flags.flags(tables_of(results, wanted, change))}


# --- flags and problems -------------------------------------------------------------------------------------------------


def test_a_clean_grid_has_no_flags_and_no_problems(tmp_path):
    assert flags_of(tmp_path) == {}
    assert report.check(tmp_path / "tables") == []


def test_a_model_below_popularity_is_a_problem(tmp_path):
    arrays = samples("sasrec", 0)
    worst = {name: np.full_like(a, 290) for name, a in arrays.items() if name.endswith("rank")}
    wanted = plan()
    found = flags_of(
        tmp_path, wanted,
        lambda: [write_training(tmp_path, t, arrays=arrays | worst) for t in wanted["trainings"]
                 if t["model"] == "sasrec"],
    )  # fmt: skip
    below = "Trained models below the best one without training"
    assert list(found) == ["A trained model is below Popularity", below]
    assert found[below].text == (
        "By NDCG@10, of the conditions where both are: matched, seen items kept: SASRec 1 of 1; matched, seen items excluded: SASRec 1 of 1."
    )
    assert "budget: " in found["A trained model is below Popularity"].text
    problems = report.check(tmp_path / "tables")
    assert len(problems) == 2  # kept and excluded
    assert all(
        problem.startswith("SASRec is below Popularity on toy, L = 50") for problem in problems
    )


def test_a_place_without_a_baseline_counts_for_nothing(tmp_path):
    """Only of L = 50 is it known whether a model without training is better."""
    longer = [training(model="sasrec", seed=s, seq_len=100) for s in (0, 1, 2)]
    arrays = samples("sasrec", 0)
    worst = {name: np.full_like(a, 290) for name, a in arrays.items() if name.endswith("rank")}
    wanted = grid([*plan()["trainings"], *longer])
    found = flags_of(
        tmp_path, wanted,
        lambda: [write_training(tmp_path, t, arrays=arrays | worst) for t in wanted["trainings"]
                 if t["model"] == "sasrec"],
    )  # fmt: skip
    text = found["Trained models below the best one without training"].text
    assert "SASRec 1 of 1;" in text and "of 2" not in text


@pytest.mark.slow
@pytest.mark.parametrize(("share", "told"), [(0.45, True), (0.6, False)])
def test_a_seed_that_did_not_train_is_told(tmp_path, share, told):
    """Of two seeds of SASRec one finds the items of fewer users."""
    wanted = plan()
    second = next(t for t in wanted["trainings"] if (t["model"], t["seed"]) == ("sasrec", 1))
    arrays = samples("sasrec", 0)
    own = dict(arrays)
    for name in (n for n in arrays if n.startswith("test/") and n.endswith("rank")):
        ranks = arrays[name].copy()
        found = np.flatnonzero(ranks <= 10)
        ranks[found[int(share * len(found)) :]] = 290
        own[name] = ranks
    flagged = flags_of(tmp_path, wanted, lambda: [
        write_training(tmp_path, t, arrays=own if t is second else arrays)
        for t in wanted["trainings"] if t["model"] == "sasrec"
    ])  # fmt: skip
    assert ("Seeds far apart" in flagged) == told
    tables = collect.read(tmp_path / "tables")
    pairs = findings.pick(tables.frames["comparisons"], dataset="toy", metric="ndcg@10")
    with_it = (pairs.model_a == "sasrec") | (pairs.model_b == "sasrec")
    assert set(pairs.verdict[with_it]) == {"unsteady"} if told else "unsteady" not in set(pairs.verdict)  # fmt: skip
    assert "unsteady" not in set(pairs.verdict[~with_it])
    if told:
        assert "SASRec on toy, L = 50: 0." in flagged["Seeds far apart"].text


def test_a_model_whose_seeds_lie_far_apart_is_neither_led_nor_level(tmp_path):
    tables = tables_of(tmp_path)
    where = {"dataset": "toy", "track": "matched", "seq_len": 50, "seen_items": "kept"}
    rows, means = tables.frames["comparisons"], tables.frames["summary"]
    before = findings.lead(tables, *where.values())
    others = sorted(set(findings.pick(means, **where).model) - {before.model})
    for apart in (others[:1], [before.model]):
        one = rows.model_a.isin(apart) | rows.model_b.isin(apart)
        tables.frames["comparisons"] = rows.assign(verdict=rows.verdict.where(~one, "unsteady"))
        found = findings.lead(tables, *where.values())
        assert found.model == before.model
        if apart == [before.model]:  # nothing can be said of its lead
            assert not found.established and sorted(found.unproven) == others
        else:
            assert found.n_others == before.n_others - 1 and apart[0] not in found.unproven


def test_below_popularity_in_a_track_of_too_few_seeds_comes_later(tmp_path):
    few = [training(model=m, track="paper") for m in ("popularity", "sasrec")]
    arrays = samples("sasrec", 0)
    worst = {name: np.full_like(a, 290) for name, a in arrays.items() if name.endswith("rank")}
    wanted = grid([*plan()["trainings"], *few])
    found = list(flags_of(tmp_path, wanted, lambda: write_training(tmp_path, few[1], arrays=arrays | worst)))  # fmt: skip
    assert "A trained model is below Popularity" not in found
    assert found.index("Below Popularity in a track that is not judged") > found.index("Few seeds")


def test_a_baseline_below_popularity_is_no_problem(tmp_path):
    worst = {name: np.full_like(a, 290) for name, a in samples("markov", 0).items()}
    worst |= {"valid/seen_above": np.zeros(400, int), "test/seen_above": np.zeros(400, int)}
    entry = training(model="markov")
    wanted = grid([training(model="popularity"), entry])
    assert flags_of(tmp_path, wanted, lambda: write_training(tmp_path, entry, arrays=worst)) == {}
    assert report.check(tmp_path / "tables") == []
    assert "markov" in BASELINES


def test_a_failed_record_is_a_flag_and_a_problem(tmp_path):
    entry = plan()["trainings"][1]
    found = flags_of(
        tmp_path,
        change=lambda: write_training(tmp_path, entry, status="timeout", reason="after 9 s"),
    )
    assert "1 job ended as timeout" in found
    assert report.check(tmp_path / "tables") == [f"{entry['path']}: timeout: after 9 s"]


def test_nan_is_a_problem(tmp_path):
    path = write_grid(tmp_path, plan())
    collect.collect(path, tmp_path, tmp_path / "tables")
    tables = collect.read(tmp_path / "tables")
    tables.frames["efficiency"].loc[0, "median"] = np.nan
    tables.frames["effectiveness"].loc[0, "value"] = np.nan
    collect.write(tables, tmp_path / "tables")
    assert len(report.check(tmp_path / "tables")) == 2


def test_still_improving_and_few_seeds_and_stand_in_and_dirty_code(tmp_path):
    entry = training(model="sasrec")

    def change():
        write_training(tmp_path, entry, values={"still_improving": True}, identity={"dirty": True})
        file = tmp_path / "data/toy/dataset.json"
        facts = json.loads(file.read_text())
        facts["provenance"]["substitute_file"] = "ranks instead of times"
        file.write_text(json.dumps(facts))

    found = flags_of(tmp_path, grid([entry]), change)
    assert set(found) == {
        "Ended by the budget", "Few seeds", "Stand-ins for the publishers' files",
        "Uncommitted code",
    }  # fmt: skip
    assert found["Ended by the budget"].text.startswith("1 of 1 training on toy (matched) ")


@pytest.mark.slow
def test_ties_are_told_where_they_decide_and_where_nobody_can_see_them(tmp_path):
    tables = tables_of(tmp_path)
    facts = tables.datasets["toy"]
    few, many = ({"test_decided_by_tie": share} for share in (0.05, 0.43))
    for ties, said in ((few, None), (many, "43% (toy)."), (None, None)):
        tables.datasets["toy"] = facts | {"ties": ties}
        found = [flag.text for flag in flags.flags(tables) if flag.title == "Ties in time"]
        assert len(found) == (said is not None) and all(said in text for text in found)
    tables.datasets["toy"] = facts | {"ties": many}
    tables.datasets["blind"] = facts | {"ties": None, "source": "another"}
    (flag,) = [flag for flag in flags.flags(tables) if flag.title == "Ties in time"]
    assert "Not visible in the files of blind." in flag.text


def test_a_fallback_backend_is_named(tmp_path):
    scan = {
        "requested": "auto",
        "used": "reference",
        "fallback": True,
        "reason": "numba is not there",
    }
    wanted = grid(plan()["trainings"], [measurement(models=("mamba4rec",))])
    found = flags_of(
        tmp_path, wanted,
        lambda: write_measurement(tmp_path, wanted["measurements"][0], values={"backend": {"scan": scan}}),
    )  # fmt: skip
    assert "reference (numba is not there)" in found["Fallback kernels"].text
    rows = collect.read(tmp_path / "tables").frames["efficiency"]
    assert set(rows.backend) == {"reference"}


@pytest.mark.slow
def test_noisy_times_are_flagged(tmp_path):
    wanted = plan()
    path = write_grid(tmp_path, wanted)
    collect.collect(path, tmp_path, tmp_path / "tables")
    tables = collect.read(tmp_path / "tables")
    frame = tables.frames["efficiency"]
    frame.loc[frame.metric == "step_s", "iqr"] = 0.3 * frame["median"]
    assert [flag.title for flag in flags.flags(tables)] == ["Noisy times"]
    other = frame[frame.curve.isna()].assign(track="another")
    tables.frames["efficiency"] = pd.concat([other, frame[frame.curve.notna()], frame[frame.curve.isna()]])  # fmt: skip
    (flag,) = flags.flags(tables)
    places = [part.partition("(")[2] for part in flag.text.partition(": ")[2].split("), ")]
    assert places[:4] == ["matched, toy, L = 50"] * 3 + ["matched, full-length, L = 50"]


def test_builders_rank_models_in_order_of_skill():
    """Guards the fake records: the tests above rely on a clear winner and a clear loser."""
    scores = [
        per_user(ranks(m, 0), "ndcg@10").mean() for m in ("popularity", "sasrec", "mamba4rec")
    ]
    assert scores == sorted(scores)


@pytest.mark.slow
def test_comparisons_are_read_from_the_side_of_the_model_that_is_asked_about(tmp_path):
    rows = tables_of(tmp_path).frames["comparisons"]
    whole = ["dataset", "track", "seq_len", "seen_items", "metric"]
    first = rows[rows.model_a == "mamba4rec"].set_index(whole)
    last = rows[rows.model_b == "mamba4rec"].set_index(whole)
    assert len(first) and len(last)
    read = findings.facing(rows, "mamba4rec").set_index(whole)
    assert len(read) == len(first) + len(last) and set(read.model_a) == {"mamba4rec"}
    for _, row in last.iterrows():
        (mine,) = (r for _, r in read.loc[[row.name]].iterrows() if r.model_b == row.model_a)
        turned = (mine.mean_a, mine.mean_b, mine.difference, mine.ci_low, mine.ci_high, mine.effect)
        assert turned == (row.mean_b, row.mean_a, -row.difference, -row.ci_high, -row.ci_low, -row.effect)  # fmt: skip
        assert {mine.verdict, row.verdict} in ({"better", "worse"}, {row.verdict})
        assert (mine.verdict == "better") == (row.verdict == "worse")
    for _, row in first.iterrows():
        (mine,) = (r for _, r in read.loc[[row.name]].iterrows() if r.model_b == row.model_b)
        assert mine.difference == row.difference and mine.verdict == row.verdict
