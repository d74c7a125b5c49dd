"""What more updates do: from records of two tracks whose answer is known, and nothing of tracks that differ in more."""

from dataclasses import replace

import numpy as np
import pytest
from builders import SEEDS, THREE, grid, plan, samples, training, write_training
from test_answers import about, gained, tables_of

from seqbench.reporting import answers, budgets, objectives

QUESTION = "What do more updates do"
STEPS = 5000


def more(results, seeds, models=THREE, gain=2, **settings):
    """Track `matched` with three seeds, and `longer` with five times its updates, whose ranks are better by `gain`."""
    longer = {"max_steps": STEPS, **settings}
    wanted = grid(
        [training(model=m, seed=s) for m in models for s in SEEDS]
        + [training(model=m, seed=s, track="longer", **longer) for m in models for s in seeds]
        + [training(model="popularity", track=t) for t in ("matched", "longer")]
    )

    def change():
        for entry in wanted["trainings"]:
            if entry["track"] == "longer" and entry["model"] in models:
                arrays = samples(entry["model"], entry["seed"])
                for name in [n for n in arrays if n.endswith("rank")]:
                    arrays[name] = np.maximum(arrays[name] - np.int32(gain), 1)
                ended = entry["model"] == "gru4rec"
                values = {"steps": STEPS if ended else 3200, "best_step": 2400, "still_improving": ended}  # fmt: skip
                write_training(results, entry, arrays=arrays, values=values)

    return tables_of(results, wanted, change)


@pytest.fixture(scope="module")
def equal(tmp_path_factory):
    """Three seeds on both sides."""
    return more(tmp_path_factory.mktemp("equal"), SEEDS)


def test_what_more_updates_add_is_paired_over_users(equal):
    frame = equal.frames["contrasts"]
    rows = frame[frame.contrast == "budget"]
    assert set(rows.model) == set(THREE)  # Popularity has no updates
    assert set(zip(rows.track_from, rows.track, strict=True)) == {("matched", "longer")}
    row = rows[(rows.model == "sasrec") & (rows.metric == "ndcg@10") & (rows.masking == "unmasked")].iloc[0]  # fmt: skip
    added = gained("sasrec", 2)
    assert row.difference == pytest.approx(added)
    assert row.ci_low < added < row.ci_high


def test_a_seed_that_went_on_is_held_against_itself(tmp_path):
    """Seed 0 alone went on and gained nothing; what the other seeds have, or another machine made, is no part of that."""
    tables = more(tmp_path, (0,), gain=0)
    frame = tables.frames["contrasts"]
    rows = frame[frame.contrast == "budget"]
    assert len(rows) == len(THREE) * 2 * 3  # models, maskings, metrics
    assert (rows[["difference", "ci_low", "ci_high"]] == 0).all(axis=None)
    assert (rows.n_seeds == 1).all()
    frame = tables.frames["experiments"]
    moved = (frame.track == "matched") & (frame.seed != 0)
    elsewhere = frame.assign(machine_name=frame.machine_name.mask(moved, "another"))
    tables = replace(tables, frames={**tables.frames, "experiments": elsewhere})
    assert "other machine" not in about(tables, QUESTION)[0]


def test_other_seeds_say_nothing_of_more_updates(tmp_path):
    tables = more(tmp_path, (7,))
    assert not (tables.frames["contrasts"].contrast == "budget").any()


def test_the_answer_says_what_changed_where_it_ended_and_what_is_between_the_models(equal):
    ranked, masked, ends, between = about(equal, QUESTION)
    assert ranked.startswith(
        "toy, L = 50, seen items ranked, the same seeds: up to 5,000 updates (track longer) instead of 1,000 (track matched) change NDCG@10 by +"
    )
    assert "] (Mamba4Rec), +" in ranked
    assert masked.startswith("toy, L = 50, seen items masked, the same seeds: ")
    assert ends == (
        "toy, L = 50, track longer: updates at which trainings ended: Mamba4Rec after 3,200 (chosen 2,400), SASRec after 3,200 (chosen"
        " 2,400), GRU4Rec after 5,000 (chosen 2,400, 3 of 3 by its budget)."
    )
    start = "toy, L = 50, track longer (3 seeds), NDCG@10 of Mamba4Rec minus that of another model: seen items ranked, SASRec +"
    assert between.startswith(start)
    assert "GRU4Rec +" in between


def test_the_difference_between_models_is_read_from_the_subject_s_side(tmp_path):
    """BERT4Rec's name comes first in the table of comparisons."""
    tables = more(tmp_path, SEEDS, models=("bert4rec", "mamba4rec"))
    frame = tables.frames["comparisons"]
    row = frame[(frame.track == "longer") & (frame.model_a == "bert4rec") & (frame.model_b == "mamba4rec")
                & (frame.metric == "ndcg@10") & (frame.masking == "unmasked")].iloc[0]  # fmt: skip
    assert row.difference < 0
    *_, between = about(tables, QUESTION)
    text = f"BERT4Rec +{-row.difference:.3f} [+{-row.ci_high:.3f}, +{-row.ci_low:.3f}]"
    assert text in between


def test_trainings_of_another_machine_are_named(equal):
    assert "other machine" not in about(equal, QUESTION)[0]
    frame = equal.frames["experiments"]
    moved = (frame.model == "sasrec") & (frame.track == "longer")
    elsewhere = frame.assign(machine_name=frame.machine_name.mask(moved, "another"))
    tables = replace(equal, frames={**equal.frames, "experiments": elsewhere})
    ranked = about(tables, QUESTION)[0]
    assert ranked.count("other machine") == 1
    assert "(SASRec, other machine)" in ranked


def test_few_seeds_are_named_and_not_judged(tmp_path):
    tables = more(tmp_path, (0,))
    ranked, _, _, between = about(tables, QUESTION)
    assert ranked.count("1 seed)") == 3
    assert "track longer (1 seed, not judged), NDCG@10 of" in between
    (line,) = budgets.brief(tables)
    assert line.startswith(
        "With up to 5,000 updates instead of 1,000 (toy, L = 50, track longer, 1 seed, not judged): NDCG@10 Mamba4Rec 0."
    )


def test_a_mean_stands_with_the_masked_one_behind_it(equal):
    frame = equal.frames["summary"]
    own = frame[(frame.track == "longer") & (frame.model == "gru4rec") & (frame.metric == "ndcg@10")
                & (frame.ties == "conservative")].set_index("masking")["mean"]  # fmt: skip
    (line,) = budgets.brief(equal)
    assert f"GRU4Rec {own['unmasked']:.3f} ({own['seen-masked']:.3f}); updates at which" in line
    assert line.endswith("GRU4Rec after 5,000 (chosen 2,400, 3 of 3 by its budget).")
    assert "3 seeds): " in line


@pytest.mark.parametrize("settings", [{"learning_rate": 0.01}, {"max_steps": 1000}])
def test_tracks_that_differ_in_more_or_not_at_all_are_not_held_against_each_other(
    tmp_path, settings
):
    tables = more(tmp_path, (0,), models=("sasrec",), **settings)
    assert not (tables.frames["contrasts"].contrast == "budget").any()
    assert not [a for a in answers.answers(tables) if a.question.startswith(QUESTION)]


def test_another_objective_stands_beside_the_judged_one(tmp_path):
    """Of the models that both trained; a track that differs in its budget alone is no other objective."""
    own = {"objective": "prefix", "batch_targets": 64}
    others = [training(model=m, track="recbole", **own) for m in ("sasrec", "gru4rec")]
    longer = training(model="sasrec", track="longer")
    tables = tables_of(tmp_path, grid([*plan()["trainings"], *others, longer]))
    (line,) = objectives.brief(tables)
    mean = {
        (row.model, row.track, row.masking): row.mean
        for row in tables.frames["summary"].itertuples()
        if (row.metric, row.ties) == ("ndcg@10", "conservative")
    }
    said = {
        track: ", ".join(
            f"{name} {mean[key, track, 'unmasked']:.3f} ({mean[key, track, 'seen-masked']:.3f})"
            for name, key in (("SASRec", "sasrec"), ("GRU4Rec", "gru4rec"))
        )
        for track in ("recbole", "matched")
    }
    assert line.startswith("With the objective prefix (toy, L = 50, track recbole, 1 seed, ")
    assert f" updates of 64 targets, not judged): NDCG@10 {said['recbole']}; with that of track matched (3 seeds, " in line  # fmt: skip
    assert line.endswith(f" targets): {said['matched']}.")
