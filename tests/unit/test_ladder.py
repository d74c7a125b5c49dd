"""The ladder: rungs of one track, what they cost, who is ahead at equal cost, and the cheapest that is good enough."""

from dataclasses import replace

import numpy as np
import pytest
from builders import (
    REPORT,
    SEEDS,
    grid,
    measurement,
    samples,
    training,
    write_dataset,
    write_grid,
    write_training,
)

from seqbench.analysis import collect, ladder
from seqbench.config import load
from seqbench.config.grid import grid as grid_of
from seqbench.core import store
from seqbench.core.display import TABLES
from seqbench.core.jobs import Training, within
from seqbench.core.metrics import per_user

MODELS = ("mamba4rec", "sasrec")
BUDGETS = (1000, 2000, 4000)
TRACKS = {f"matched-{n}": "matched" for n in BUDGETS}


def rungs(seeds=SEEDS):
    return [
        training(model=m, seed=s, track=f"matched-{n}", max_steps=n) for n in BUDGETS for m in MODELS for s in seeds
    ]  # fmt: skip


def arrays(entry):
    """Ranks that rise with the budget."""
    found, lost = samples(entry["model"], entry["seed"]), 6 - 2 * BUDGETS.index(entry["training"]["max_steps"])  # fmt: skip
    return found | {"valid/rank": found["valid/rank"] + np.int32(lost)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """All tables of two models' ladders and of their track, which is measured."""
    results = tmp_path_factory.mktemp("ladder")
    matched = [training(model=m, seed=s) for m in MODELS for s in SEEDS]
    wanted = grid([*matched, *rungs()], [measurement(models=MODELS)])
    write_grid(results, wanted)
    for entry in rungs():
        write_training(results, entry, arrays=arrays(entry))
    entries = store.load(wanted, results)
    facts = {"toy": store.read_dataset(results, "toy")}
    return collect.build(entries, facts, REPORT | {"ladder": TRACKS})


def test_a_rung_has_its_final_validation_with_an_interval_and_the_cost_of_its_track(made):
    own = made.frames["ladder"]
    assert len(own) == len(MODELS) * len(BUDGETS) * 2  # treatments of seen items
    row = own[(own.model == "sasrec") & (own.max_steps == 2000) & (own.seen_items == "kept")].iloc[0]  # fmt: skip
    entries = [e for e in rungs() if e["model"] == "sasrec" and e["training"]["max_steps"] == 2000]
    means = [per_user(arrays(e)["valid/rank"], "ndcg@10").mean() for e in entries]
    assert row.value == pytest.approx(np.mean(means)) and row.value_low < row.value < row.value_high
    step = made.frames["costs"].set_index("model").step_s["sasrec"]
    assert row.seconds == pytest.approx(2000 * step) and (row.track, row.n_seeds) == ("matched", 3)


@pytest.mark.parametrize("name", ["ladder", "equal_cost", "time_to_quality"])
def test_the_tables_have_the_documented_columns(made, name):
    assert len(made.frames[name]) and list(made.frames[name]) == TABLES[name]


def test_rungs_stand_in_no_other_table_of_quality(made):
    for name in ("summary", "comparisons", "leaderboard", "budgets", "curves", "effectiveness"):
        assert set(made.frames[name].track) == {"matched"}, name
    assert set(TRACKS) < set(made.frames["experiments"].track)


def test_models_are_held_against_each_other_at_equal_cost(made):
    own = made.frames["equal_cost"]
    assert len(own) == 3 * 2 and set(own.comparator) == {"sasrec"}
    kept = made.frames["ladder"][lambda f: f.seen_items == "kept"]
    spans = kept.groupby("model").seconds.agg(["min", "max"])
    ends = spans["min"].max(), spans["max"].min()
    assert own.seconds.unique() == pytest.approx(np.geomspace(*ends, 3))
    for row in own[own.seen_items == "kept"].itertuples():
        for model, value in (("mamba4rec", row.focal_value), ("sasrec", row.comparator_value)):
            climb = kept[kept.model == model].sort_values("seconds")
            known = np.interp(np.log(row.seconds), np.log(climb.seconds), climb.value)
            assert value == pytest.approx(known)
        assert row.share == pytest.approx(
            (row.focal_value - row.comparator_value) / max(row.focal_value, row.comparator_value)
        )
        assert row.share_low < row.share < row.share_high
    assert set(own.n_seeds) == {3}


def test_between_two_rungs_the_interval_narrows_as_independent_trainings_do(made):
    climb = [(float(r.about["max_steps"]), r) for r in made.rungs if r.about["model"] == "sasrec"]
    at = [ladder._at(climb, x).quality for x in (1000.0, np.sqrt(2) * 1000, 2000.0)]
    ends = [climb[0][1].quality.model, climb[1][1].quality.model]
    assert at[0].model.mean == pytest.approx(ends[0].mean)
    assert at[2].model.mean == pytest.approx(ends[1].mean)
    assert at[1].model.mean == pytest.approx((ends[0].mean + ends[1].mean) / 2)
    assert at[1].model.seed_variance == pytest.approx((ends[0].seed_variance + ends[1].seed_variance) / 4)  # fmt: skip


def test_time_to_quality_is_the_cheapest_rung_at_one_goal_for_all(made):
    kept = made.frames["ladder"][lambda f: f.seen_items == "kept"]
    found = made.frames["time_to_quality"].set_index("model")
    goal = 0.95 * kept.value.max()
    assert found.goal.tolist() == pytest.approx([goal] * 2)
    for model in MODELS:
        able = kept[(kept.model == model) & (kept.value >= goal)].sort_values("max_steps")
        known = able.iloc[0][["max_steps", "seconds"]].tolist() if len(able) else [np.nan] * 2
        assert found.loc[model, ["max_steps", "seconds"]].tolist() == pytest.approx(known, nan_ok=True)  # fmt: skip


def test_few_seeds_decide_nothing_and_without_costs_there_is_no_equal_cost(tmp_path):
    wanted = grid(rungs(seeds=(0,)), [])
    write_grid(tmp_path, wanted)
    write_dataset(tmp_path)
    facts = {"toy": store.read_dataset(tmp_path, "toy")}
    entries = store.load(wanted, tmp_path)
    found = collect.build(entries, facts, REPORT | {"ladder": TRACKS})
    assert found.frames["ladder"].seconds.isna().all() and len(found.frames["ladder"]) == 12
    assert found.frames["equal_cost"].empty
    own = [ladder._at([(1.0, r), (2.0, r)], 1.5) for r in found.rungs[:2]]
    rows = list(ladder._differences(*own, 0.01))
    assert {(row["verdict"], row["why"]) for row in rows} == {("inconclusive", "few_seeds")}


def test_a_seed_that_did_not_learn_leaves_equal_cost_without_a_verdict(tmp_path, made):
    """Only where one of its two rungs is one of the two about the cost."""
    assert all(rung.steady for rung in made.rungs) and "seeds_apart" not in set(made.frames["equal_cost"].why)  # fmt: skip
    write_grid(tmp_path, grid(rungs(), []))
    for entry in rungs():
        found = arrays(entry)
        if (entry["model"], entry["seed"], entry["training"]["max_steps"]) == (
            "sasrec",
            SEEDS[0],
            4000,
        ):
            found["valid/rank"][:] = 1000
        write_training(tmp_path, entry, arrays=found)
    facts = {"toy": store.read_dataset(tmp_path, "toy")}
    entries = store.load(grid(rungs(), []), tmp_path)
    climbs = {m: [(float(r.about["max_steps"]), r) for r in collect.build(entries, facts, REPORT | {"ladder": TRACKS}).rungs if r.about["model"] == m] for m in MODELS}  # fmt: skip
    for seconds, apart in ((1500.0, False), (2000.0, False), (3000.0, True)):
        own = [ladder._at(climbs[model], seconds) for model in MODELS]
        rows = list(ladder._differences(*own, 0.01))
        assert {row["why"] == "seeds_apart" for row in rows} == {apart}
        assert not apart or {row["verdict"] for row in rows} == {"inconclusive"}


def test_two_models_that_learnt_nothing_have_no_share(made, recwarn):
    none = replace(made.rungs[0].quality.model, mean=np.zeros(2))
    rung = replace(made.rungs[0], quality=replace(made.rungs[0].quality, model=none))
    assert all(np.isnan(row["share"]) for row in ladder._differences(rung, rung, 0.01))
    assert not recwarn.list


# --- configuration --------------------------------------------------------------------------------------------------------


def config(**changes):
    block = {"training": {"schedule": "linear", "warmup_steps": 500, "max_steps": 8000, "eval_every": 480}}  # fmt: skip
    return {
        "datasets": {"toy": {"source": "synthetic", "k_core": 1, "seq_lens": [20], "training": {"max_steps": 99999}}},
        "tracks": {"matched": block, "other": {}}, "ladder": {"track": "matched", "rungs": [1000, 4000]},
        "run": {"datasets": ["toy"], "tracks": ["matched", "other"], "models": ["sasrec"], "seeds": [7]},
        "measure": {"models": ["sasrec"]}, **changes,
    }  # fmt: skip


def test_rungs_run_in_the_place_of_their_track_and_the_track_is_measured():
    made = grid_of(load.validate(config()), load.MODELS)
    assert [(j.track, j.training.max_steps, j.training.warmup_steps) for j in made.trainings] == [
        ("matched-1000", 1000, 250), ("matched-4000", 4000, 500), ("other", 99999, 0),
    ]  # fmt: skip
    assert [m.track for m in made.measurements] == ["matched", "other"]


def test_the_shipped_ladder_is_made_from_one_block():
    shipped = load.load([load.ROOT / "config" / "ladder.yaml"])
    made = grid_of(shipped, load.MODELS).trainings
    assert len({job.track for job in made}) == 5 and len(made) == 5 * 3 * 4 * 3
    assert all(job.training.decays for job in made)
    assert not {job.seed for job in made} & {*load.load()["run"]["seeds"]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ladder": {"track": "nope", "rungs": [10, 20]}}, "ladder.track = 'nope': unknown"),
        ({"ladder": {"track": "other", "rungs": [10, 20]}}, "ladder.track = 'other': its learning rate does not decay"),
        ({"tracks": {**config()["tracks"], "matched-1000": {}}}, "tracks.matched-1000: this name is taken by a rung"),
    ],
)  # fmt: skip
def test_a_ladder_that_cannot_be_climbed_ends_in_one_line(changes, said):
    with pytest.raises(load.UserError, match=said):
        load.validate(config(**changes))


def test_another_budget_keeps_everything_but_what_belongs_to_it():
    base = Training(schedule="linear", warmup_steps=500, max_steps=8000, learning_rate=0.003)
    assert within(base, 8000) == base
    short = within(base, 400)
    assert (short.max_steps, short.warmup_steps, short.eval_every) == (400, 100, 400)
    assert short.learning_rate == base.learning_rate and short.decays
