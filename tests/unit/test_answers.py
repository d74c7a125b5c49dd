"""The page of findings: each sentence from records whose answer is known, and no claim beyond its seeds."""

import numpy as np
import pytest
from builders import (
    SEEDS,
    THREE,
    grid,
    measurement,
    plan,
    samples,
    training,
    write_grid,
    write_training,
)

from seqbench.analysis import collect
from seqbench.core.metrics import per_user
from seqbench.report import answers, spent, versus

pytestmark = pytest.mark.slow


def tables_of(results, wanted, change=lambda: None):
    path = write_grid(results, wanted)
    change()
    collect.collect(path, results, results / "tables")
    return collect.read(results / "tables")


def about(tables, beginning):
    (found,) = [a.sentences for a in answers.answers(tables) if a.question.startswith(beginning)]
    return found


# --- quality ------------------------------------------------------------------------------------------------------------


def test_a_comparator_that_is_worse_stands_with_difference_and_interval(tmp_path):
    tables = tables_of(tmp_path, plan())
    sentences = about(tables, "Is Mamba4Rec better")
    own, other = (
        np.mean([per_user(samples(m, s)["test/rank"], "ndcg@10").mean() for s in SEEDS])
        for m in ("mamba4rec", "sasrec")
    )
    first = next(s for s in sentences if "against SASRec" in s and "ranked" in s)
    assert f"better on toy, L = 50 (+{own - other:.3f} [+" in first
    assert len(sentences) == 4  # two trained comparators, two maskings; Popularity is no comparator
    assert not any("Popularity" in s for s in sentences)


def test_a_better_comparator_is_told_as_such_and_with_the_sign_turned(tmp_path):
    wanted = grid([training(model=m, seed=s) for m in ("mamba4rec", "sasrec") for s in SEEDS])

    def swap():
        for entry in wanted["trainings"]:
            other = {"mamba4rec": "sasrec", "sasrec": "mamba4rec"}[entry["model"]]
            write_training(tmp_path, entry, arrays=samples(other, entry["seed"]))

    first = about(tables_of(tmp_path, wanted, swap), "Is Mamba4Rec better")[0]
    assert "worse on toy, L = 50 (−" in first
    assert "better on" not in first


def test_a_lead_over_the_only_other_model_is_called_that(tmp_path):
    wanted = grid([training(model=m, seed=s) for m in ("mamba4rec", "sasrec") for s in SEEDS])
    (best,) = about(tables_of(tmp_path, wanted), "Which model ranks best")
    assert best.count("its lead over the only other model here exceeds the margin") == 2


def test_two_seeds_judge_nothing(tmp_path):
    wanted = grid([training(model=m, seed=s) for m in ("mamba4rec", "sasrec") for s in (0, 1)])
    tables = tables_of(tmp_path, wanted)
    (sentence,) = about(tables, "Is Mamba4Rec better")
    assert sentence == "Track matched: nothing is judged, because it was run with fewer than three seeds."  # fmt: skip
    (best,) = about(tables, "Which model ranks best")
    assert best.count("a lead that is not established over any other model") == 2


def test_a_pair_with_too_few_seeds_is_named_beside_those_that_are_judged(tmp_path):
    wanted = grid(
        [training(model=m, seed=s) for m in ("mamba4rec", "sasrec") for s in SEEDS]
        + [training(model="gru4rec", seed=0)]
    )
    sentences = about(tables_of(tmp_path, wanted), "Is Mamba4Rec better")
    (gru, *_) = [s for s in sentences if "against GRU4Rec" in s]
    assert "not judged, with fewer than three seeds, on toy, L = 50 (+" in gru


def test_the_leader_stands_with_its_interval(tmp_path):
    (sentence,) = about(tables_of(tmp_path, plan()), "Which model ranks best")
    value = np.mean(
        [per_user(samples("mamba4rec", s)["test/rank"], "ndcg@10").mean() for s in SEEDS]
    )
    assert f"Mamba4Rec has the highest NDCG@10, {value:.3f} [" in sentence
    assert "its lead over every other model exceeds the margin" in sentence


def lengths(results, shift):
    """Two lengths; the ranks of the longer one are better by `shift`."""
    wanted = grid(
        [training(model=m, seed=s, seq_len=n) for n in (50, 200) for m in THREE for s in SEEDS]
    )

    def change():
        for entry in wanted["trainings"]:
            if entry["seq_len"] == 200:
                arrays = samples(entry["model"], entry["seed"])
                for name in [n for n in arrays if n.endswith("rank")]:
                    arrays[name] = np.maximum(arrays[name] - np.int32(shift), 1)
                write_training(results, entry, arrays=arrays)

    return tables_of(results, wanted, change)


def gained(model, shift):
    """What ranks that are better by `shift` add to a model's NDCG@10 with seen items kept, mean over seeds."""
    ranks = [samples(model, s)["test/rank"] for s in SEEDS]
    return np.mean([
        per_user(np.maximum(r - shift, 1), "ndcg@10").mean() - per_user(r, "ndcg@10").mean() for r in ranks
    ])  # fmt: skip


def test_a_place_names_the_models_that_were_not_trained_there(tmp_path):
    wanted = grid([
        training(model=m, seq_len=length, seed=s)
        for m, length in (("mamba4rec", 50), ("sasrec", 50), ("sasrec", 200)) for s in SEEDS
    ])  # fmt: skip
    both, one = sorted(about(tables_of(tmp_path, wanted), "Which model ranks best"))
    assert both.startswith("toy, L = 200, track matched (without Mamba4Rec): ")
    assert one.startswith("toy, L = 50, track matched: ")


def test_what_a_longer_history_adds_is_paired_over_users(tmp_path):
    tables = lengths(tmp_path, 2)
    sentences = about(tables, "What does a longer history")
    assert len(sentences) == 2  # one per masking
    assert sentences[0].startswith(
        "toy, track matched, seen items kept: against histories of 50, those of 200 change NDCG@10 by +"
    )
    frame = tables.frames["contrasts"]
    row = frame[(frame.contrast == "length") & (frame.model == "sasrec") & (frame.metric == "ndcg@10")
                & (frame.seen_items == "kept")].iloc[0]  # fmt: skip
    added = gained("sasrec", 2)
    assert row.difference == pytest.approx(added)
    assert row.ci_low < added < row.ci_high
    unpaired = tables.frames["summary"]
    unpaired = unpaired[(unpaired.model == "sasrec") & (unpaired.metric == "ndcg@10")
                        & (unpaired.seen_items == "kept") & (unpaired.ties == "conservative")]  # fmt: skip
    assert row.ci_high - row.ci_low < (unpaired.ci_high - unpaired.ci_low).min()


def test_every_longer_history_is_held_against_the_shortest(tmp_path):
    wanted = grid([
        training(model=m, seq_len=length, seed=s) for m in THREE for length in (50, 100, 200) for s in SEEDS
    ])  # fmt: skip
    ranked, _ = about(tables_of(tmp_path, wanted), "What does a longer history")
    middle, end = ranked.split("; ")
    assert "against histories of 50, those of 100 change NDCG@10 by " in middle
    assert end.startswith("those of 200 change NDCG@10 by ")
    assert all(name in part for part in (middle, end) for name in ("Mamba4Rec", "SASRec", "GRU4Rec"))  # fmt: skip


def test_equal_lengths_have_a_contrast_around_zero(tmp_path):
    frame = lengths(tmp_path, 0).frames["contrasts"]
    rows = frame[frame.contrast == "length"]
    assert len(rows) == len(THREE) * 2 * 3  # models, maskings, metrics
    assert (rows.difference == 0).all()
    assert (rows.ci_low <= 0).all()
    assert (rows.ci_high >= 0).all()


def test_what_masking_adds_is_paired_over_users_and_trainings(tmp_path):
    tables = tables_of(tmp_path, plan())
    frame = tables.frames["contrasts"]
    row = frame[(frame.contrast == "seen_items") & (frame.model == "mamba4rec") & (frame.metric == "ndcg@10")].iloc[0]  # fmt: skip
    added = np.mean([
        per_user(samples("mamba4rec", s)["test/excluded/rank"], "ndcg@10").mean()
        - per_user(samples("mamba4rec", s)["test/rank"], "ndcg@10").mean()
        for s in SEEDS
    ])  # fmt: skip
    assert row.difference == pytest.approx(added)
    (sentence,) = about(tables, "What does masking")
    assert f"masking adds +{added:.3f} [+" in sentence
    assert (
        "from 20 to 20 % (Mamba4Rec)" in sentence
    )  # the builders' curves: masked is 1.2 times ranked


# --- cost, and what was spent -------------------------------------------------------------------------------------------


def test_cost_is_a_ratio_of_medians_on_the_datasets(tmp_path):
    tables = tables_of(tmp_path, plan())
    frame = tables.frames["efficiency"]
    own = frame[(frame.metric == "epoch_s") & (frame.dataset == "toy")].set_index("model")["median"]
    sentence = about(tables, "What does Mamba4Rec cost")[0]
    ratio = own["mamba4rec"] / own["sasrec"]
    assert sentence.startswith(
        "On test-machine, track matched, the training epoch of Mamba4Rec over that of another model: "
    )
    assert f"{ratio:.2f}"[:3] in sentence
    assert ": SASRec 0." in sentence


def test_a_measurement_that_outlived_its_trainings_enters_no_ratio(tmp_path):
    """A place measured with two batches, of which only the first was trained: there GRU4Rec failed."""
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
    said = about(tables, "What does Mamba4Rec cost")[0]
    assert "SASRec 1.00 (toy, L = 50)" in said and "GRU4Rec" not in said
    rows = versus.table(tables, "matched").rows
    ratios = [cell.value for row in rows for cell in row[3:6]]
    assert [r for r in ratios if r is not None] and {r for r in ratios if r is not None} == {1.0}


def test_what_was_spent_counts_trainings_and_those_the_budget_ended(tmp_path):
    wanted = plan()

    def change():
        entry = next(t for t in wanted["trainings"] if t["model"] == "sasrec")
        write_training(tmp_path, entry, values={"stopped": "max_steps", "still_improving": True})

    tables = tables_of(tmp_path, wanted, change)
    (sentence,) = about(tables, "What was spent")
    assert sentence.startswith(f"Track matched: {9 * 62 / 60:.1f} min of one process")
    assert f"SASRec {3 * 62 / 60:.1f} min (3 trainings)" in sentence
    assert "1 of 9 trainings were ended by the budget of steps" in sentence
    rows = {row[0].text: row for row in spent.table(tables, "matched").rows if len(row) > 1}
    assert set(rows) == {"Mamba4Rec", "SASRec", "GRU4Rec"}
    assert rows["SASRec"][5].text == "1 of 3"


# --- the page -----------------------------------------------------------------------------------------------------------


def test_nothing_measured_is_no_question(tmp_path):
    wanted = grid([training(model="sasrec", seed=0)])
    questions = [a.question for a in answers.answers(tables_of(tmp_path, wanted))]
    assert not any(
        q.startswith(("What does Mamba4Rec cost", "What does a longer")) for q in questions
    )


def test_as_markdown_every_question_has_its_list(tmp_path):
    found = answers.answers(tables_of(tmp_path, plan()))
    text = answers.as_markdown(found)
    assert text.count("**") == 2 * len(found)
    assert text.count("\n- ") == sum(len(answer.sentences) for answer in found)
    assert "nan" not in text
