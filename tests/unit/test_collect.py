"""Collect: records in, tables out; what cannot be averaged is refused by name."""

import json

import numpy as np
import pandas as pd
import pytest
from builders import (
    ENVIRONMENT,
    HASH,
    REPORT,
    SEEDS,
    THREE,
    grid,
    measurement,
    samples,
    training,
    write_dataset,
    write_grid,
    write_training,
)

from seqbench.analysis import collect
from seqbench.core import store, table_files
from seqbench.core.display import TABLES
from seqbench.core.errors import UserError
from seqbench.core.metrics import per_user, ranks_of
from seqbench.core.records import read_record


@pytest.fixture
def plan():
    trainings = [training(model=m, seed=s) for m in ("sasrec", "mamba4rec") for s in SEEDS]
    return grid(
        [training(model="popularity"), *trainings],
        [measurement(), measurement("full-length", seq_len=400, n_items=1000)],
    )


def collected(results, plan):
    collect.collect(write_grid(results, plan), results, results / "tables")
    return collect.read(results / "tables")


def pick(frame, **values):
    mask = np.logical_and.reduce([frame[key] == value for key, value in values.items()])
    return frame[mask]


def test_effectiveness_equals_the_mean_over_users_by_hand(tmp_path, plan):
    tables = collected(tmp_path, plan)
    row = pick(
        tables.frames["effectiveness"], model="sasrec", seed=1, split="test", seen_items="kept",
        ties="average", metric="ndcg@10",
    )  # fmt: skip
    arrays = samples("sasrec", 1)
    rank = arrays["test/rank"] - arrays["test/ties"] / 2
    assert row.value.item() == pytest.approx(np.mean((rank <= 10) / np.log2(rank + 1)))
    assert len(tables.frames["effectiveness"]) == 7 * 2 * 2 * 2 * 3


def test_summary_has_the_published_columns_and_the_spread_over_seeds(tmp_path, plan):
    summary = collected(tmp_path, plan).frames["summary"]
    assert ",".join(summary.columns) == (
        "dataset,model,track,split,seen_items,ties,seq_len,n_seeds,budget,data_hash,metric,mean,std,ci_low,ci_high"
    )
    row = pick(
        summary, model="mamba4rec", seen_items="excluded", ties="conservative", metric="hr@10"
    ).iloc[0]
    means = [
        per_user(ranks_of(samples("mamba4rec", s), "test", "excluded")[0], "hr@10").mean()
        for s in SEEDS
    ]
    assert row["mean"] == pytest.approx(np.mean(means))
    assert row["std"] == pytest.approx(np.std(means, ddof=1))
    assert row.ci_low < row["mean"] < row.ci_high
    assert (row.n_seeds, row.split, row.data_hash) == (3, "leave-one-out", HASH)
    assert row.budget == "1000 steps x 2048 targets"


def test_one_seed_has_no_spread_but_an_interval(tmp_path, plan):
    row = pick(collected(tmp_path, plan).frames["summary"], model="popularity").iloc[0]
    assert np.isnan(row["std"])
    assert row.ci_low < row["mean"] < row.ci_high
    assert np.isnan(row.budget)


def test_comparisons_pair_every_two_models_the_focal_one_first(tmp_path, plan):
    frame = collected(tmp_path, plan).frames["comparisons"]
    assert len(frame) == 3 * 2 * 3  # pairs x treatments of seen items x metrics
    assert list(dict.fromkeys(zip(frame.model_a, frame.model_b, strict=True))) == [
        ("mamba4rec", "sasrec"), ("mamba4rec", "popularity"), ("sasrec", "popularity"),
    ]  # fmt: skip
    row = pick(frame, model_b="sasrec", seen_items="kept", metric="ndcg@10").iloc[0]
    assert row.difference == pytest.approx(row.mean_a - row.mean_b)
    assert row.margin == pytest.approx(0.01 * max(row.mean_a, row.mean_b))
    assert row.share == pytest.approx(row.difference / max(row.mean_a, row.mean_b))
    assert row.trained_seeds == 3
    against_popularity = pick(frame, model_a="mamba4rec", model_b="popularity", seen_items="kept")
    assert set(against_popularity.verdict) == {"better"} and len(against_popularity) == 3
    assert (against_popularity.effect > 0).all() and (against_popularity.p_holm < 0.001).all()
    assert (frame.p_holm >= frame.p_value).all()


def test_efficiency_derives_epoch_and_rates_and_keeps_reasons(tmp_path, plan):
    tables = collected(tmp_path, plan)
    frame = pick(tables.frames["efficiency"], model="sasrec")
    real, full = pick(frame, dataset="toy"), pick(frame, dataset="full-length")
    step = np.load(tmp_path / "runs/toy/matched/measure/L50-T2048/sasrec/samples.npz")[
        "train/step_s"
    ]
    epoch = pick(real, metric="epoch_s").iloc[0]
    assert epoch["median"] == pytest.approx(np.median(step.mean(axis=1) * 120))
    assert (epoch.n, epoch.batch_size, bool(epoch.extrapolated)) == (3, 2048, True)
    row = pick(real, metric="step_s").iloc[0]
    assert (row["median"], row.iqr, row.n) == pytest.approx(
        (np.median(step), np.subtract(*np.quantile(step, [0.75, 0.25])), 30)
    )
    rate = pick(real, metric="targets_per_s").iloc[0]
    assert rate["median"] == pytest.approx(np.median(2000 / step))
    assert pick(real, metric="batch_s").batch_size.item() == 256
    no_epoch = pick(full, metric="epoch_s").iloc[0]
    assert np.isnan(no_epoch["median"])
    assert no_epoch.reason == "full-length synthetic batches have no epoch"
    assert set(pick(frame, metric="energy_j_per_step").reason) == {"no NVIDIA device"}
    assert "targets" not in set(frame.metric)


def test_a_failed_measurement_says_why_in_every_row(tmp_path, plan):
    path = write_grid(tmp_path, plan)
    from builders import write_measurement

    failed = {
        phase: {"status": "oom", "reason": "killed at 3 GB"} for phase in ("train", "inference")
    }
    write_measurement(
        tmp_path, plan["measurements"][0], status="oom", reason="killed at 3 GB", values={"failed": failed}
    )  # fmt: skip
    collect.collect(path, tmp_path, tmp_path / "tables")
    tables = collect.read(tmp_path / "tables")
    rows = pick(tables.frames["efficiency"], dataset="toy", metric="step_s")
    assert set(rows.reason) == {"oom: killed at 3 GB"}
    assert rows["median"].isna().all()
    assert pick(tables.frames["experiments"], status="oom").shape[0] == 4


def test_a_failed_training_is_listed_and_not_averaged(tmp_path, plan):
    path = write_grid(tmp_path, plan)
    write_training(
        tmp_path, plan["trainings"][1], status="diverged", reason="loss is nan at step 3"
    )
    collect.collect(path, tmp_path, tmp_path / "tables")
    frames = collect.read(tmp_path / "tables").frames
    assert set(pick(frames["summary"], model="sasrec").n_seeds) == {2}
    assert pick(frames["experiments"], status="diverged").reason.item() == "loss is nan at step 3"


def test_tables_are_read_as_they_were_made(tmp_path, plan):
    """Types too: what is text, a number or true and false decides what a page shows."""
    path, toy = write_grid(tmp_path, plan), "toy"
    grid = store.read_grid(path)
    made = collect.build(store.load(grid, tmp_path), {toy: store.read_dataset(tmp_path, toy)}, grid["report"])  # fmt: skip
    collect.write(made, tmp_path / "tables")
    read = collect.read(tmp_path / "tables").frames
    assert set(read) == set(made.frames) == set(TABLES)
    assert {n: set(f) - set(TABLES[n]) for n, f in made.frames.items()} == {name: set() for name in TABLES}  # fmt: skip
    for name, frame in made.frames.items():
        own, again = (f.astype(object).where(f.notna(), None) for f in (frame, read[name]))
        pd.testing.assert_frame_equal(own, again, check_column_type=len(own) > 0, obj=name)


def test_a_stray_record_is_not_read(tmp_path, plan):
    write_training(tmp_path, training(model="bert4rec"))
    frames = collected(tmp_path, plan).frames
    assert "bert4rec" not in set(frames["summary"].model)


def test_parquet_and_csv_hold_the_same(tmp_path, plan):
    tables = collected(tmp_path, plan)
    for name in ("effectiveness", "efficiency"):
        csv = pd.read_csv(tmp_path / "tables" / f"{name}.csv")
        parquet = tables.frames[name]
        pd.testing.assert_frame_equal(parquet.fillna(np.nan), csv.fillna(np.nan), check_dtype=False)


@pytest.mark.parametrize("name", ["2024", "007", "1e5", "nan", "null", "na"])
def test_a_name_stays_the_text_it_is(tmp_path, name):
    """Of a dataset, a track, a machine: the schema allows them, and pandas reads numbers and gaps from them."""
    wanted = grid(
        [training(name, m, name) for m in ("sasrec", "mamba4rec")], [measurement(name, track=name)]
    )
    path = write_grid(tmp_path, wanted, environment={"machine_name": name})
    collect.collect(path, tmp_path, tmp_path / "tables")
    frames = collect.read(tmp_path / "tables").frames
    for table in ("experiments", "effectiveness", "summary", "comparisons", "efficiency", "curves"):
        assert set(frames[table].dataset) == set(frames[table].track) == {name}, table
    assert set(frames["effectiveness"].machine_name) == {name}
    assert frames["summary"]["mean"].dtype == float


def test_tables_are_the_same_bytes_every_time(tmp_path, plan):
    path = write_grid(tmp_path, plan)
    for out in ("one", "two"):
        collect.collect(path, tmp_path, tmp_path / out)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_the_command_of_a_record_names_the_same_job(tmp_path, plan):
    from seqbench.core.jobs import MeasurementJob, TrainingJob

    experiments = collected(tmp_path, plan).frames["experiments"].set_index("path")
    text = experiments.command["runs/toy/matched/sasrec/L50-s1"].split("'")[1]
    assert TrainingJob.from_json(text).path == "runs/toy/matched/sasrec/L50-s1"
    text = experiments.command["runs/toy/matched/measure/L50-T2048/sasrec"].split("'")[1]
    assert (
        "runs/toy/matched/measure/L50-T2048/sasrec" in MeasurementJob.from_json(text).record_paths()
    )


# --- refusals -----------------------------------------------------------------------------------------------------------


def refused(results, plan, match, prepare=lambda: None):
    path = write_grid(results, plan)
    prepare()
    with pytest.raises(UserError, match=match) as caught:
        collect.collect(path, results, results / "tables")
    assert "\n" not in str(caught.value)
    assert not (results / "tables").exists()


def test_seeds_from_two_machines_are_never_averaged(tmp_path, plan):
    other = ENVIRONMENT | {"machine": "ffffffffffff"}
    refused(
        tmp_path, plan, "sasrec/L50-s0 and .*sasrec/L50-s2 differ in machine.*delete the folder",
        lambda: write_training(tmp_path, plan["trainings"][3], environment=other),
    )  # fmt: skip


def test_trainings_on_other_data_are_refused(tmp_path, plan):
    refused(
        tmp_path, plan, "mamba4rec/L50-s1: made from other data",
        lambda: write_training(tmp_path, plan["trainings"][5], data={"hash": "b" * 64}),
    )  # fmt: skip


def test_other_users_are_refused(tmp_path, plan):
    arrays = samples("sasrec", 0)
    arrays = {name: values[1:] for name, values in arrays.items()}
    refused(
        tmp_path, plan, "differ in evaluated users",
        lambda: write_training(tmp_path, plan["trainings"][1], arrays=arrays),
    )  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(
    "content", [None, b"", b"a,b\n1,2\n", b"\xff\xfe\x00", b"PAR1 and no more PAR1"]
)
def test_a_damaged_table_is_named_with_the_command(tmp_path, name, content):
    empty = collect.Tables(dict.fromkeys(TABLES, pd.DataFrame()), {}, REPORT | {"environments": []})
    collect.write(empty, tmp_path)
    collect.read(tmp_path)
    file = tmp_path / f"{name}.parquet"
    file.write_bytes(content) if content is not None else file.unlink()
    why = "not there: " if content is None else "is no table ("
    with pytest.raises(UserError) as error:
        collect.read(tmp_path)
    said = str(error.value)
    assert said.startswith(f"{file}: {why}") and "\n" not in said and store.AGAIN in said


def test_tables_of_another_version_are_named_with_what_they_lack(tmp_path, plan):
    tables = collected(tmp_path, plan)
    folder = tmp_path / "other"
    for name in TABLES:
        whole = tables.frames[name]
        if whole.empty:
            continue
        frames = tables.frames | {name: whole.drop(columns=whole.columns[-1])}
        collect.write(collect.Tables(frames, tables.datasets, tables.settings), folder)
        with pytest.raises(
            UserError, match=rf"{name}\.parquet: has no column `{whole.columns[-1]}`"
        ):
            collect.read(folder)
    collect.write(tables, folder)
    for key in table_files.SETTINGS:
        settings = {k: v for k, v in tables.settings.items() if k != key}
        collect.write(collect.Tables(tables.frames, tables.datasets, settings), folder)
        with pytest.raises(UserError, match=rf"settings\.json: has no `{key}`"):
            collect.read(folder)
    (folder / "settings.json").write_text("[]")
    with pytest.raises(UserError, match=r"settings\.json: no mapping"):
        collect.read(folder)


def test_a_missing_record_is_named_with_the_command(tmp_path, plan):
    path = tmp_path / "runs/toy/matched/sasrec/L50-s1/record.json"
    refused(tmp_path, plan, f"{path}.*make report", path.unlink)


def test_changed_samples_are_refused(tmp_path, plan):
    path = tmp_path / "runs/toy/matched/sasrec/L50-s1/samples.npz"
    refused(
        tmp_path, plan, f"{path}.*SHA-256",
        lambda: path.write_bytes(path.read_bytes()[:-1] + b"x"),
    )  # fmt: skip


def test_a_record_of_other_settings_is_refused(tmp_path, plan):
    plan["trainings"][2]["training"]["max_steps"] = 5
    path = write_grid(tmp_path, plan)
    plan["trainings"][2]["training"]["max_steps"] = 6
    path.write_text(json.dumps(plan))
    with pytest.raises(UserError, match=r"made with training\.max_steps = 5, asked for 6"):
        collect.collect(path, tmp_path, tmp_path / "tables")


def test_a_measurement_of_other_hyperparameters_is_refused(tmp_path, plan):
    path = write_grid(tmp_path, plan)
    plan["measurements"][0]["models"][1]["hyperparameters"] = {"d_model": 999}
    path.write_text(json.dumps(plan))
    with pytest.raises(UserError, match="made with models"):
        collect.collect(path, tmp_path, tmp_path / "tables")


def test_dataset_facts_of_other_data_are_refused(tmp_path, plan):
    refused(
        tmp_path, plan, "made from other data than data/toy",
        lambda: write_dataset(tmp_path, hash="c" * 64),
    )  # fmt: skip


@pytest.mark.parametrize("text", ["[1]", "{}"])
def test_a_file_without_a_datasets_facts_is_named(tmp_path, plan, text):
    file = tmp_path / "data" / "toy" / "dataset.json"
    refused(tmp_path, plan, "dataset.json: no facts of a dataset", lambda: file.write_text(text))


def test_records_read_back_valid(tmp_path, plan):
    write_grid(tmp_path, plan)
    assert read_record(tmp_path / plan["trainings"][0]["path"])["status"] == "ok"


def test_a_record_from_before_a_field_existed_has_its_default(tmp_path):
    plan = grid([training()], [measurement()])
    write_grid(tmp_path, plan)
    for entry in store.load(plan, tmp_path):
        known = entry.job.get("training", entry.job)
        written = entry.record["job"]
        assert "kernels" not in written.get("training", written), "else this test shows nothing"
        assert known["kernels"] == "auto"
    plan["measurements"][0]["kernels"] = "torch"
    with pytest.raises(UserError, match="made with kernels = auto, asked for torch"):
        store.load(plan, tmp_path)


def badged(tmp_path, monkeypatch, older):
    """Tables of three trained models and a baseline, of which some were made by older code."""
    wanted = grid(
        [training(model=m, seed=s) for m in THREE for s in SEEDS] + [training(model="popularity")]
    )
    path = write_grid(tmp_path, wanted)
    monkeypatch.setattr(store, "_code_now", lambda _, model: "new" if model in older else "c0de")
    collect.collect(path, tmp_path, tmp_path / "tables")
    return collect.read(tmp_path / "tables").frames


def test_older_code_has_a_badge_and_never_enters_a_comparison_with_the_present_one(
    tmp_path, monkeypatch
):
    frames = badged(tmp_path, monkeypatch, ["sasrec"])
    rows = frames["experiments"]
    assert set(rows[rows.badge == "older code"].model) == {"sasrec"} and len(rows) == 10
    assert set(frames["summary"].model) == {"mamba4rec", "gru4rec", "popularity"}
    assert not set(frames["comparisons"].model_a) & {"sasrec"}


def test_records_of_one_older_code_are_compared_among_themselves(tmp_path, monkeypatch):
    frames = badged(tmp_path, monkeypatch, THREE)
    assert set(frames["summary"].model) == {*THREE, "popularity"}
