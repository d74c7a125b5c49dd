"""Accepting what tuning found: a track that can be run, trials as records, and a table of the search."""

import json
import shutil
from copy import deepcopy
from dataclasses import replace

import pytest
import yaml
from fake_tuning import TUNING, data, trainer

from seqbench.analysis import tuning
from seqbench.config import load
from seqbench.config.grid import grid, studies
from seqbench.config.model_files import MODELS
from seqbench.core import records, study_files
from seqbench.core.errors import UserError
from seqbench.report.publish import tables
from seqbench.training import accept
from seqbench.training.search import tune

TWO = [{"settings": 5, "share": 1}, {"settings": 2, "share": 1}]


def no_tables(folder):
    """Makes none: what they hold is tested elsewhere."""


@pytest.fixture
def accepted(tmp_path):
    """Studies of two models, accepted into a file."""
    for study in studies(load.validate(TUNING), MODELS):
        tune(study, tmp_path, tmp_path / study.path, 1, None, trainer_of_small_space())
    target = tmp_path / "tuned.yaml"
    return tmp_path, target, accept.accept(tmp_path, target, load.validate(TUNING), no_tables)


def trainer_of_small_space():
    inner = trainer([])

    def train(experiment, *rest):
        hyper = {"n_layers": 1, "dropout": 0.4, **dict(experiment.hyperparameters)}
        return inner(
            type(experiment).from_json(
                json.dumps({**experiment.to_dict(), "hyperparameters": hyper})
            ),
            *rest,
        )

    return train


def test_the_winners_become_a_track_that_can_be_run(accepted):
    _, target, said = accepted
    written = yaml.safe_load(target.read_text())
    assert written["run"] == {"datasets": ["toy"], "tracks": ["tuned"]}
    merged = load.validate(load.merged(TUNING, written))
    jobs = {e.model: e for e in grid(merged, MODELS).trainings if e.seq_len == 20}
    assert dict(jobs["sasrec"].hyperparameters) == {"d_model": 32, "n_layers": 1}
    assert {"d_model", "n_layers", "d_state"} == set(dict(jobs["mamba4rec"].hyperparameters))
    assert jobs["sasrec"].training.max_steps == 900, "the track trains as long as `matched`"
    assert len(said) == 4 and said[2].startswith(
        "tuned: toy L = 20 sasrec: n_layers 1 (was nothing); ndcg@10 0.0"
    )


def test_the_winner_with_seen_items_excluded_is_a_track_of_its_own(tmp_path):
    asked = load.validate(TUNING)
    for study in studies(asked, MODELS):
        train = trainer([], value=layers, excluded=lambda job: 1 - layers(job))
        tune(study, tmp_path, tmp_path / study.path, 1, None, train)
    target = tmp_path / "tuned.yaml"
    accept.accept(tmp_path, target, asked, no_tables)
    written = yaml.safe_load(target.read_text())
    chosen = {
        track: by["toy"]["L20"]["sasrec"] for track, by in written["selected_settings"].items()
    }
    assert {t: c["hyperparameters"]["n_layers"] for t, c in chosen.items()} == {"tuned": 1, "tuned-excluded": 2}  # fmt: skip
    written["run"]["tracks"] = ["tuned", "tuned-excluded"]
    both = load.validate(load.merged(TUNING, written))
    assert {job.track for job in grid(both, MODELS).trainings} == {"tuned", "tuned-excluded"}


def layers(experiment):
    return 0.1 - 0.02 * dict(experiment.hyperparameters)["n_layers"]


def test_accepting_again_changes_nothing_and_says_so(accepted):
    folder, target, _ = accepted
    before = target.read_bytes()
    assert accept.accept(folder, target, load.validate(TUNING), no_tables) == []
    assert target.read_bytes() == before


def test_tuning_is_accepted_before_anything_else_is_published(tmp_path):
    """With the tables that publishing really makes: there are trials and nothing else."""
    (study, *_) = studies(load.validate(TUNING), MODELS)
    tune(study, tmp_path, tmp_path / study.path, 1, None, trainer_of_small_space())
    target = tmp_path / "tuned.yaml"
    assert accept.accept(tmp_path, target, load.validate(TUNING), tables)
    tuning = yaml.safe_load(target.read_text())["selected_settings"]["tuned"]["toy"]["L20"][
        study.model
    ]["tuning"]
    assert tuning["machines"] == ["test-machine"]
    folder = tmp_path / "reference" / "test-machine"
    assert len((folder / "tuning.csv").read_text().splitlines()) == 1 + study.trainings


def test_the_trials_are_published_as_records(accepted):
    folder, _, _ = accepted
    reference = folder / "reference" / "test-machine"
    for study in studies(load.validate(TUNING), MODELS):
        assert (reference / study.path / "study.json").exists()
        for number in range(study.trainings):
            assert records.read_record(reference / study.trial_path(number))["status"] == "ok"


def test_a_shorter_study_leaves_nothing_of_the_longer_one(accepted):
    folder, target, _ = accepted
    shorter = load.validate(
        {**TUNING, "tune": {**TUNING["tune"], "rungs": [{"settings": 2, "share": 1}]}}
    )
    for study in studies(shorter, MODELS):
        tune(study, folder, folder / study.path, 1, None, trainer_of_small_space())
    accept.accept(folder, target, shorter, no_tables)
    (machine,) = (folder / "reference").iterdir()
    for study in studies(shorter, MODELS):
        published = {p.parent.name for p in (machine / study.path).rglob("record.json")}
        assert published == {"trial-000", "trial-001"}


def test_what_cannot_be_published_is_not_accepted_either(accepted):
    folder, target, _ = accepted

    def refuse(_):
        raise UserError("does not fit")

    def state():
        return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    target.write_text("")  # as somebody left it: all is written anew
    before = state()
    with pytest.raises(UserError, match="does not fit"):
        accept.accept(folder, target, load.validate(TUNING), refuse)
    assert state() == before


def test_the_pages_are_made_with_what_is_accepted(accepted):
    folder, target, _ = accepted
    target.unlink()
    seen = []
    accept.accept(folder, target, load.validate(TUNING), lambda _: seen.append(target.read_text()))
    assert seen == [target.read_text()]


def test_a_model_that_was_not_tuned_cannot_hide_in_the_tuned_track(accepted):
    _, target, _ = accepted
    written = yaml.safe_load(target.read_text())
    del written["selected_settings"]["tuned"]["toy"]["L20"]["sasrec"]
    with pytest.raises(
        UserError, match=r"selected_settings\.tuned\.toy\.L20\.sasrec is missing: tune it"
    ):
        load.validate(load.merged(TUNING, written))


def test_a_model_that_is_only_measured_needs_settings_too(accepted):
    _, target, _ = accepted
    written = yaml.safe_load(target.read_text())
    del written["selected_settings"]["tuned"]["toy"]["L20"]["sasrec"]
    mine = load.merged(TUNING, written)
    mine["run"] = {**mine["run"], "models": ["mamba4rec"]}
    mine["measure"] = {"models": ["mamba4rec", "sasrec"]}
    with pytest.raises(UserError, match=r"sasrec is missing: tune it .* out of run and measure"):
        load.validate(mine)


def test_what_the_trials_were_trained_with_beyond_the_track_is_accepted_too(tmp_path):
    own = {**TUNING, "models": {"sasrec": {"matched": {"d_inner": 128, "n_heads": 1}}}}
    for study in studies(load.validate(own), MODELS):
        tune(study, tmp_path, tmp_path / study.path, 1, None, trainer_of_small_space())
    target = tmp_path / "tuned.yaml"
    accept.accept(tmp_path, target, load.validate(own), no_tables)
    written = yaml.safe_load(target.read_text())
    merged = load.validate(load.merged(TUNING, written))
    (job,) = [e for e in grid(merged, MODELS).trainings if e.model == "sasrec" and e.seq_len == 20]
    trial = records.read_record(tmp_path / "tune/toy/sasrec/L20/trial-000")["job"]
    stand_in = {"dropout"}  # which the stand-in for training adds
    assert dict(job.hyperparameters).keys() == trial["hyperparameters"].keys() - stand_in
    assert dict(job.hyperparameters)["d_inner"] == 128


def test_every_length_has_a_study_and_settings_of_its_own(tmp_path):
    """The one's winner is not the other's; a length that was not tuned cannot hide behind them."""
    own = {**TUNING["tune"], "by_dataset": {"toy": {"seq_lens": [9, 20]}}}
    asked = load.validate({**TUNING, "tune": own})
    found = studies(asked, MODELS)
    assert [(s.seq_len, s.model) for s in found] == [(n, m) for n in (9, 20) for m in ("sasrec", "mamba4rec")]  # fmt: skip
    for study in found:
        value = layers if study.seq_len == 20 else lambda job: 1 - layers(job)
        tune(study, tmp_path, tmp_path / study.path, 1, None, trainer([], value=value))
    target = tmp_path / "tuned.yaml"
    said = accept.accept(tmp_path, target, asked, no_tables)
    assert [line.split(":")[1] for line in said if line.startswith("tuned:")] == [
        f" toy L = {n} {model}" for model in ("mamba4rec", "sasrec") for n in (20, 9)
    ]
    written = yaml.safe_load(target.read_text())
    assert written["datasets"] == {"toy": {"seq_lens": [9, 20]}}
    assert written["tune"]["by_dataset"]["toy"]["seq_lens"] == [9, 20]
    jobs = grid(load.validate(load.merged(TUNING, written)), MODELS).trainings
    blocks = {
        (j.model, j.seq_len): dict(j.hyperparameters)["n_layers"]
        for j in jobs
        if j.model != "popularity"
    }
    assert blocks == {(m, n): 1 if n == 20 else 2 for m in ("sasrec", "mamba4rec") for n in (9, 20)}
    rows = list(tuning.searches(written["selected_settings"]))
    assert {(r["track"], r["model"], r["seq_len"]) for r in rows} == {
        (t, m, n) for t in written["tracks"] for m in ("sasrec", "mamba4rec") for n in (9, 20)
    }
    accept.accept(tmp_path, target, load.validate(TUNING), no_tables)  # all studies that are there
    assert yaml.safe_load(target.read_text())["datasets"] == written["datasets"]
    shutil.rmtree(tmp_path / "tune/toy/sasrec/L9")
    shutil.rmtree(tmp_path / "tune/toy/mamba4rec/L9")
    accept.accept(tmp_path, target, asked, no_tables)
    left = yaml.safe_load(target.read_text())
    assert left["datasets"] == {"toy": {"seq_lens": [20]}}
    assert [*left["selected_settings"]["tuned"]["toy"]] == ["L20"]
    further = load.merged(written, {"datasets": {"toy": {"seq_lens": [9, 10]}}})
    with pytest.raises(UserError, match=r"selected_settings\.tuned\.toy\.L10\.sasrec is missing: tune it .* or the length out of datasets\.toy\.seq_lens"):  # fmt: skip
        load.validate(load.merged(TUNING, further))


def test_models_that_were_not_searched_alike_are_refused(tmp_path):
    for model, trials in (("sasrec", 5), ("mamba4rec", 6)):
        asked = {
            **TUNING,
            "tune": {
                **TUNING["tune"],
                "models": [model],
                "rungs": [{"settings": trials, "share": 1}],
            },
        }
        for study in studies(load.validate(asked), MODELS):
            tune(study, tmp_path, tmp_path / study.path, 1, None, trainer_of_small_space())
    target = tmp_path / "tuned.yaml"
    with pytest.raises(UserError, match=r"toy L20: .* not searched alike \(mamba4rec: 6 settings at 1 of 300 steps, seeds \[\]; sasrec: 5 "):  # fmt: skip
        accept.accept(tmp_path, target, load.validate(TUNING), no_tables)
    assert not target.exists() and not (tmp_path / "reference").exists()


def test_the_search_and_its_trials_are_rows(accepted):
    folder, target, _ = accepted
    found = searched(yaml.safe_load(target.read_text())["selected_settings"])
    assert set(found) == {"mamba4rec", "sasrec"}
    rows = list(study_files.trials(folder / "reference" / "test-machine"))
    assert {r["machine_name"] for r in rows} == {"test-machine"}
    assert [(r["model"], r["trial"]) for r in rows] == [
        (m, k) for m in ("mamba4rec", "sasrec") for k in range(5)
    ]
    best = max(r["value"] for r in rows if r["model"] == "sasrec")
    sasrec = found["sasrec"]
    assert (sasrec["track"], sasrec["dataset"], sasrec["machines"]) == ("tuned", "toy", "test-machine")  # fmt: skip
    assert sasrec["best"] == pytest.approx(best, abs=1e-6)
    assert (sasrec["n_seeds"], sasrec["mean"]) == (1, None)


def searched(settings):
    """Rows of `searches` by model, of the winners with seen items kept."""
    return {row["model"]: row for row in tuning.searches(settings) if row["track"] == "tuned"}


def test_a_study_of_two_machines_is_published_by_who_trained_what(tmp_path):
    """The search on one, the finals on the other."""
    asked = load.validate({**TUNING, "tune": {**TUNING["tune"], "rungs": TWO, "rerun_seeds": [9]}})

    here, elsewhere = trainer([], value=layers), trainer([], value=layers, machine="other")
    for study in studies(asked, MODELS):
        search, folder = (
            replace(study, rungs=study.rungs[:1], rerun_seeds=()),
            tmp_path / study.path,
        )
        tune(search, data(tmp_path), folder, 1, None, here)
        content = tune(study, data(tmp_path), folder, 1, None, elsewhere)
    for _ in range(2):  # accepting again changes nothing
        accept.accept(tmp_path, tmp_path / "tuned.yaml", asked, no_tables)
        folders = {n: tmp_path / "reference" / n for n in ("test-machine", "other")}
        rows = {n: list(study_files.trials(folder)) for n, folder in folders.items()}
        numbers = {n: [r["trial"] for r in rows[n] if r["model"] == "sasrec"] for n in rows}
        assert numbers == {"test-machine": [0, 1, 2, 3, 4], "other": [5, 6]}
        for name, folder in folders.items():
            assert len(list((folder / "tune").rglob("record.json"))) == len(rows[name])
    finals = [t for t in content["trials"] if "repeats" in t]
    assert [(r["repeats"], r["seed"]) for r in rows["other"] if r["model"] == study.model] == [
        (t["repeats"], 9) for t in finals
    ]
    written = (tmp_path / "tuned.yaml").read_text()
    assert "machines: [other, test-machine]" in written, "lists and facts on few lines"
    settings = yaml.safe_load(written)["selected_settings"]
    load.validate(
        {
            **TUNING,
            "tracks": {**TUNING["tracks"], "tuned": {}, "tuned-excluded": {}},
            "selected_settings": settings,
        }
    )
    for row in searched(settings).values():
        assert (row["machines"], row["n_seeds"]) == ("other test-machine", 2)
        assert row["chosen_trial"] == row["best_trial"], "the best of the search won"
        assert row["mean"] == pytest.approx(row["best"]), "the stand-in knows no seeds"


def test_a_study_that_is_made_again_elsewhere_leaves_nothing_of_the_earlier_one(tmp_path):
    """With the tables that publishing really makes."""
    asked = load.validate(TUNING)
    for machine in ("test-machine", "other"):
        shutil.rmtree(tmp_path / "tune", ignore_errors=True)
        for study in studies(asked, MODELS):
            train = trainer([], value=lambda _: 0.1, machine=machine)
            tune(study, data(tmp_path), tmp_path / study.path, 1, None, train)
        accept.accept(tmp_path, tmp_path / "tuned.yaml", asked, tables)
    assert [p.parent.name for p in tmp_path.rglob("tuning.csv")] == ["other"]
    there = {p.relative_to(tmp_path / "reference").parts[0] for p in (tmp_path / "reference").rglob("*.json")}  # fmt: skip
    assert there == {"other"}


def test_two_machines_of_one_name_are_refused_in_a_study_too(tmp_path):
    asked = load.validate(TUNING)
    (study, *_) = studies(asked, MODELS)
    train = trainer([], value=lambda _: 0.1)
    tune(study, data(tmp_path), tmp_path / study.path, 1, None, train)
    file = tmp_path / study.trial_path(2) / "record.json"
    content = json.loads(file.read_text())
    content["environment"]["machine"] = "f" * 12
    file.write_bytes(records.sealed(content))
    with pytest.raises(UserError, match="two machines named test-machine"):
        accept.accept(tmp_path, tmp_path / "tuned.yaml", asked, no_tables)
    assert not (tmp_path / "tuned.yaml").exists() and not (tmp_path / "reference").exists()


def test_a_search_tells_where_the_finals_chose_others(accepted):
    _, target, _ = accepted
    settings = yaml.safe_load(target.read_text())["selected_settings"]
    for chosen in settings["tuned"]["toy"]["L20"].values():
        chosen["tuning"] |= {"rerun_seeds": [9], "trial": 3, "finals": [
            {"trial": 1, "values": [0.05, 0.01]}, {"trial": 3, "values": [0.04, 0.02]},
        ]}  # fmt: skip
    rows = searched(settings)
    assert {(r["best_trial"], r["chosen_trial"], r["n_seeds"]) for r in rows.values()} == {(1, 3, 2)}  # fmt: skip
    assert {r["mean"] for r in rows.values()} == {0.03}
    settings["tuned"]["toy"]["L20"]["sasrec"]["tuning"]["finals"][1]["values"][1] = None
    assert searched(settings)["sasrec"]["mean"] is None, "one seed did not come to its end"


def test_models_whose_finals_differ_were_not_searched_alike(tmp_path):
    for model, rungs in (("sasrec", TWO[:1]), ("mamba4rec", TWO)):
        asked = {**TUNING, "tune": {**TUNING["tune"], "models": [model], "rungs": rungs}}
        for study in studies(load.validate(asked), MODELS):
            tune(study, tmp_path, tmp_path / study.path, 1, None, trainer_of_small_space())
    with pytest.raises(UserError, match=r"5 settings at 1, 2 settings at 1 of 300 steps, seeds \[1001\]; sasrec: 5 settings at 1 of 300 steps, seeds \[\]"):  # fmt: skip
        accept.accept(tmp_path, tmp_path / "tuned.yaml", load.validate(TUNING), no_tables)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "Expecting property name"),
        ("[]", "is no mapping"),
        ("{}", "has no `study`"),
        ('{"study": {}, "trials": [], "best": null, "last": []}', "--study: dataset, model, seq_len, rungs, space missing"),
    ],
)  # fmt: skip
def test_a_damaged_study_is_named(tmp_path, content, why):
    file = tmp_path / "tune/toy/sasrec/L20/study.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with pytest.raises(UserError) as error:
        accept.accept(tmp_path, tmp_path / "tuned.yaml", load.validate(TUNING), tables)
    said = str(error.value)
    assert said.startswith(f"{file}: no study as the search writes it ({why}") and "\n" not in said
    assert "delete it and run `snakemake --cores 2 tune`" in said


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("a: [1\nb: 2", "is no YAML: "),
        ("- 1", "must be a mapping"),
        ("selected_settings: 3", "selected_settings = 3: must be a mapping"),
        ("selected_settings: {tuned: 3}", "selected_settings.tuned = 3: must be a mapping"),
        ("models: []", "models = []: must be a mapping"),
    ],
)
def test_a_file_of_settings_that_is_none_is_named_and_kept(tmp_path, content, why):
    (study, *_) = studies(load.validate(TUNING), MODELS)
    tune(study, tmp_path, tmp_path / study.path, 1, None, trainer_of_small_space())
    target = tmp_path / "tuned.yaml"
    target.write_text(content)
    with pytest.raises(UserError) as error:
        accept.accept(tmp_path, target, load.validate(TUNING), tables)
    said = str(error.value)
    assert said.startswith(f"{target}") and why in said and "\n" not in said
    assert said.endswith("; move it away, and it is written anew from the studies")
    assert target.read_text() == content


def test_nothing_to_accept_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match="no study; run `snakemake --cores 2 tune` first"):
        accept.accept(tmp_path, tmp_path / "tuned.yaml", load.validate(TUNING), tables)


def test_full_length_batches_are_not_measured_for_settings_of_a_dataset(accepted):
    _, target, _ = accepted
    written = yaml.safe_load(target.read_text())
    measured = {
        "models": ["sasrec"],
        "scaling": {
            name: {"seq_lens": [10]}
            for name in ("length_at_constant_tokens", "length_at_constant_batch")
        },
    }
    merged = {**load.merged(TUNING, written), "measure": measured}
    for tracks, curves in ((["tuned"], 0), (["matched"], 2)):
        merged["run"] = {**TUNING["run"], "tracks": tracks}
        jobs = grid(load.validate(merged), MODELS).measurements
        assert sum(job.curve is not None for job in jobs) == curves


def test_lengths_of_a_dataset_that_were_searched_differently_are_refused(tmp_path):
    for length, settings in ((9, 2), (20, 3)):
        config = load.validate(deepcopy(TUNING))
        config["tune"]["rungs"] = [{"settings": settings, "share": 1}]
        for study in studies(config, MODELS):
            tune(replace(study, seq_len=length), tmp_path, tmp_path / replace(study, seq_len=length).path, 1, None, trainer_of_small_space())  # fmt: skip
    with pytest.raises(UserError, match=r"L9.*not the search of the other studies of toy|L20.*not the search of the other studies of toy"):  # fmt: skip
        accept.accept(tmp_path, tmp_path / "tuned.yaml", load.validate(TUNING), no_tables)
    assert not (tmp_path / "tuned.yaml").exists()


def test_settings_without_a_length_are_refused(accepted):
    folder, target, _ = accepted
    written = yaml.safe_load(target.read_text())
    tuned = written["selected_settings"]["tuned"]
    tuned["toy"] = tuned["toy"]["L20"]
    target.write_text(yaml.safe_dump(written))
    before = target.read_text()
    with pytest.raises(UserError, match=r"selected_settings\.tuned\.toy\.\w+: is no length such as L50; move it away"):  # fmt: skip
        accept.accept(folder, target, load.validate(TUNING), no_tables)
    assert target.read_text() == before
