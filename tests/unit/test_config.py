"""The configuration: each mistake is one line that names the key, the value and what is allowed."""

import copy
import re

import pytest
import yaml

from seqbench.config import load
from seqbench.config import messages as messages
from seqbench.config.grid import grid, studies
from seqbench.core.errors import UserError
from seqbench.core.jobs import CURVES, Training

TRAINED = '''
from dataclasses import dataclass

@dataclass(frozen=True)
class Config:
    """Hyper-parameters."""

    d_model: int = 64  # width
    dropout: float = 0.2  # probability
    scan: str = "auto"  # backend
    norm: Literal["layer", "batch"] = "layer"  # behind each block
    tie: bool = True  # share the item table
    heads: int | None = None  # attention heads
    sizes: tuple[int, ...] = (1, 2)  # checked by the model itself
'''
FITTED = '''
trainable = False

class Config:
    """Nothing to set."""

    order: int = 1  # of the chain
'''
VALID = {
    "datasets": {"tiny": {"source": "synthetic", "seq_lens": [4, 8]}},
    "models": {"net": {"fair": {"d_model": 32}}},
    "tracks": {"fair": {"hyperparameters": {"dropout": 0}, "training": {"max_steps": 5}}},
    "run": {"datasets": ["tiny"], "tracks": ["fair"], "models": ["net", "chain"], "seeds": [0, 1]},
    "measure": {
        "models": ["net"],
        "scaling": {
            "length_at_constant_tokens": {"seq_lens": [16]},
            "length_at_constant_batch": {"seq_lens": [16]},
        },
    },
    "report": {"focal_model": "net"},
}


@pytest.fixture
def models_dir(tmp_path):
    (tmp_path / "net.py").write_text(TRAINED)
    (tmp_path / "chain.py").write_text(FITTED)
    (tmp_path / "_helpers.py").write_text("")
    return tmp_path


def changed(path, value):
    """A valid configuration with one value replaced; ``path`` is dotted, ``value`` None removes the key."""
    result = copy.deepcopy(VALID)
    *parents, last = path.split(".")
    block = result
    for key in parents:
        block = block.setdefault(key, {})
    if value is None:
        del block[last]
    else:
        block[last] = value
    return result


def message(config, models_dir):
    with pytest.raises(UserError) as caught:
        load.validate(config, models_dir=models_dir)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("config: ")
    return text.removeprefix("config: ")


def test_defaults_are_filled_in_and_the_input_stays_as_it_was(models_dir):
    given = copy.deepcopy(VALID)
    filled = load.validate(given, models_dir=models_dir)
    assert given == VALID
    assert filled["data_dir"] == "data"
    assert filled["report"] == {"margin": 0.01, "ablation": [], "focal_model": "net"}
    assert filled["measure"] == {
        "models": ["net"],
        "n_items": 3416,
        "scaling": {
            "length_at_constant_tokens": {"tokens": 8192, "seq_lens": [16]},
            "length_at_constant_batch": {"sequences": 8, "seq_lens": [16]},
            "batch_size": {"seq_len": 200, "sequences": []},
            "catalogue_size": {"seq_len": 50, "sequences": 16, "n_items": []},
        },
        "eval_batch": 256,
        "rounds": 3,
        "steps": 10,
        "warmup": 3,
        "budget_s": 12,
        "curve_budget_s": None,
        "energy_window_s": 6,
        "on_datasets": True,
    }


def test_blocks_with_a_precedence_are_not_filled(models_dir):
    """A default filled into the dataset's training block would win over the track's value."""
    given = changed("datasets.tiny.training", {"eval_every": 3})
    filled = load.validate(given, models_dir=models_dir)
    assert filled["datasets"] == given["datasets"]
    assert filled["tracks"] == given["tracks"]
    assert {
        (e.training.max_steps, e.training.eval_every) for e in grid(filled, models_dir).trainings
    } == {(5, 3)}


def test_seeds_that_are_asked_for_twice_are_trained_once(models_dir):
    seq_len = VALID["datasets"]["tiny"]["seq_lens"][0]
    more = {"dataset": "tiny", "track": "fair", "seq_len": seq_len, "seeds": [9]}
    config = load.validate(changed("run.more_seeds", [more, more]), models_dir=models_dir)
    paths = [job.path for job in grid(config, models_dir).trainings]
    assert len(paths) == len(set(paths)) and any(path.endswith("-s9") for path in paths)


def test_a_tracks_own_block_for_a_dataset_wins_there_and_nowhere_else(models_dir):
    config = copy.deepcopy(VALID)
    config["datasets"]["tiny"]["training"] = {"max_steps": 7, "eval_every": 3}
    config["datasets"]["other"] = {"source": "synthetic", "seq_lens": [4]}
    own = {"tiny": {"training": {"max_steps": 9}}}
    config["tracks"]["own"] = {"training": {"max_steps": 5}, "datasets": own}
    config["run"] |= {"datasets": ["tiny", "other"], "tracks": ["fair", "own"]}
    jobs = grid(load.validate(config, models_dir=models_dir), models_dir).trainings
    found = {(e.dataset, e.track): (e.training.max_steps, e.training.eval_every) for e in jobs}
    default = Training().eval_every
    assert found == {
        ("tiny", "fair"): (7, 3),
        ("tiny", "own"): (9, 3),
        ("other", "fair"): (5, default),
        ("other", "own"): (5, default),
    }


INF, NAN = float("inf"), float("nan")
MISTAKES = [
    ("run.seeed", [1], "run.seeed = [1]: unknown key; did you mean 'seeds'? allowed: datasets, tracks, models, seeds"),
    ("run.seeds", [-1], "run.seeds[0] = -1: must be at least 0"),
    ("run.seeds", [], "run.seeds = []: must not be empty"),
    ("run.seeds", [1, 1], "run.seeds = [1, 1]: has an entry twice"),
    ("run.seeds", 3, "run.seeds = 3: must be a list"),
    ("run.seeds", ["7"], "run.seeds[0] = '7': must be an integer; a number nested in --config arrives as text"),
    ("tracks.fair.training.learning_rate", "1e-3", "tracks.fair.training.learning_rate = '1e-3': must be a number; YAML reads 1e-3 as text: write 1.0e-3"),
    ("tracks.fair.training.learning_rate", "2E5", "tracks.fair.training.learning_rate = '2E5': must be a number; YAML reads 2E5 as text: write 2.0e+5"),
    ("tracks.fair.training.learning_rate", "1.5e3", "tracks.fair.training.learning_rate = '1.5e3': must be a number; YAML reads 1.5e3 as text: write 1.5e+3"),
    ("tracks.fair.training.select_on", "ndcg@20", "tracks.fair.training.select_on = 'ndcg@20': "),
    ("run.seeds", [1.5], "run.seeds[0] = 1.5: must be an integer"),
    ("run.seeds", [0.0], "run.seeds[0] = 0.0: must be an integer"),
    ("datasets.tiny.seq_lens", [50.0], "datasets.tiny.seq_lens[0] = 50.0: must be an integer"),
    ("measure.scaling.length_at_constant_tokens.tokens", 64.0, "measure.scaling.length_at_constant_tokens.tokens = 64.0: must be an integer"),
    ("tune.seed", 12.0, "tune.seed = 12.0: must be an integer"),
    ("tracks.fair.training.schedule", "cosine", "tracks.fair.training.schedule = 'cosine': allowed: constant, linear"),
    ("tracks.fair.training.warmup_steps", -1, "tracks.fair.training.warmup_steps = -1: must be at least 0"),
    ("tracks.fair.training.warmup_steps", 5, "tracks.fair.training.warmup_steps = 5: must be below max_steps = 5; lower it (dataset tiny)"),
    ("tracks.fair.training.clip_norm", 0, "tracks.fair.training.clip_norm = 0: must be greater than 0"),
    ("tracks.fair.training.max_steps", 5.0, "tracks.fair.training.max_steps = 5.0: must be an integer"),
    ("tracks.fair.training.learning_rate", INF, "tracks.fair.training.learning_rate = inf: must be a finite number"),
    ("tracks.fair.training.weight_decay", NAN, "tracks.fair.training.weight_decay = nan: must be a finite number"),
    ("measure.budget_s", INF, "measure.budget_s = inf: must be a finite number or null"),
    ("tracks.fair.hyperparameters.dropout", NAN, "tracks.fair.hyperparameters.dropout = nan: must be a finite number"),
    ("tune.space", {"dropout": {"choices": [0.1, INF]}}, "tune.space.dropout.choices[1] = inf: must be a finite number"),
    ("tune.space", {"dropout": {"low": NAN, "high": 1}}, "tune.space.dropout.low = nan: must be a finite number"),
    ("tune.space", {"dropout": {"choices": [0.1], "low": 0.1, "high": 0.2}}, "tune.space.dropout: has both choices and a range (low, high): files merge key by key, yours over config.yaml's; take one away with null"),
    ("tune.space", {"dropout": {"choices": [0.1], "log": True}}, "tune.space.dropout: has both choices and a range (log)"),
    ("tune.space", {"dropout": {"low": 0.1}}, "tune.space.dropout.high is missing; tune.space.dropout needs choices, or low and high"),
    ("tune.space", {"dropout": {"choices": None, "log": True}}, "tune.space.dropout.low is missing"),
    ("tune.spaces", {"net": {"dropout": {}}}, "tune.spaces.net.dropout.low is missing"),
    ("datasets.tiny.holdout", 0.6, "datasets.tiny.holdout = 0.6: must be at most 0.4"),
    ("models.net.fair.d_model", 0, "models.net.fair.d_model = 0: must be at least 1"),
    ("models.net.fair.dropout", 1.5, "models.net.fair.dropout = 1.5: must be at most 1"),
    ("tune.space", {"dropout": {"low": -0.1, "high": 0.5}}, "tune.space.dropout.low = -0.1: must be at least 0"),
    ("tune.space", {"dropout": {"choices": [0.1, 5]}}, "tune.space.dropout.choices[1] = 5: must be at most 1"),
    ("run.seeds", [10**16], "run.seeds[0] = 10000000000000000: must be "),
    ("measure.budget_s", 1e300, "measure.budget_s = 1e+300: must be a number or null of at most 15 digits"),
    ("tracks.fair.training.max_steps", 10**400, "tracks.fair.training.max_steps = 1000"),
    ("tracks.fair.hyperparameters.n_layers", 0, "tracks.fair.hyperparameters.n_layers = 0: must be at least 1"),
    ("tune.space", {"d_model": {"choices": [32, 0]}}, "tune.space.d_model.choices[1] = 0: must be at least 1"),
    ("tune.space", {"d_model": {"low": 0, "high": 9}}, "tune.space.d_model.low = 0: must be at least 1"),
    ("run.seeds", None, "run.seeds is missing; run needs datasets, tracks, models, seeds"),
    ("run.models", ["nett"], "run.models = 'nett': unknown; did you mean 'net'? allowed: chain, net"),
    ("run.models", ["_helpers"], "run.models = '_helpers': unknown; allowed: chain, net"),
    ("run.datasets", ["tiyn"], "run.datasets = 'tiyn': unknown; did you mean 'tiny'? allowed: tiny"),
    ("run.more_seeds", [{"dataset": "tiyn", "track": "fair", "seq_len": 4, "seeds": [9]}], "run.more_seeds[0].dataset = 'tiyn': unknown; did you mean 'tiny'?"),
    ("tracks.tune", {}, "tracks.tune: this name is taken by the trials of a search"),
    ("run.tracks", ["unfair"], "run.tracks = 'unfair': unknown; did you mean 'fair'? allowed: fair"),
    ("measure.models", ["chain"], "measure.models = 'chain': unknown; allowed: net"),
    ("tracks.fair.datasets", {"tiyn": {"training": {}}}, "tracks.fair.datasets = 'tiyn': unknown; did you mean 'tiny'?"),
    ("tracks.fair.datasets", {"tiny": {"hyperparameters": {}}}, "tracks.fair.datasets.tiny.hyperparameters = {}: unknown key; allowed: training"),
    ("measure.rounds", "3", "measure.rounds = '3': must be an integer; a number nested in --config"),
    ("measure.scaling.length_at_constant_batch.seq_lens", [1], "measure.scaling.length_at_constant_batch.seq_lens[0] = 1: must be at least 2"),
    ("measure.on_datasets", "yes", "measure.on_datasets = 'yes': must be a boolean or a list"),
    ("measure.on_datasets", ["tiyn"], "measure.on_datasets = 'tiyn': unknown; did you mean 'tiny'? allowed: tiny"),
    ("report.margin", -0.1, "report.margin = -0.1: must be at least 0"),
    ("datasets.tiny.seq_lens", [1], "datasets.tiny.seq_lens[0] = 1: must be at least 2"),
    ("datasets.tiny.source", "ml1m", "datasets.tiny.source = 'ml1m': unknown; did you mean 'ml-1m'? allowed: ml-1m, ml-100k"),
    ("datasets.tiny.source", None, "datasets.tiny.source is missing; datasets.tiny needs source, seq_lens"),
    ("datasets.tiny.source", "file", "datasets.tiny.local is missing; source file needs local.path"),
    ("datasets.tiny.local", {"path": "x"}, "datasets.tiny.local: source synthetic reads no file"),
    ("datasets.Tiny", {"source": "ml-1m", "seq_lens": [5]}, "datasets.Tiny: a name becomes a folder and must match"),
    ("datasets.full-length", {"source": "ml-1m", "seq_lens": [5]}, "datasets.full-length: this name is taken"),
    ("datasets.a", {"source": "ml-1m", "seq_lens": [5], "synthetic": {}}, "datasets.a.synthetic: only for source"),
    ("datasets.a", {"source": "ml-1m", "seq_lens": [5], "local": {"path": "x"}}, "datasets.a.local.sha256 is missing; what stands in for a publisher's file is pinned; `sha256sum FILE` prints it"),
    ("datasets", {"tiny\n": {"source": "synthetic", "seq_lens": [4]}}, "datasets.tiny\\n: a name becomes a folder and must match ^[a-z0-9]"),
    ("datasets", {"a" * 101: {"source": "synthetic", "seq_lens": [4]}}, f"datasets.{'a' * 101}: a name becomes a folder"),
    ("datasets.tiny.order", "seed:1\n", "datasets.tiny.order = 'seed:1\\n': must match ^(file"),
    ("datasets.a", {"source": "file", "seq_lens": [5], "local": {"path": "x", "sha256": "0" * 64 + "\n"}}, "datasets.a.local.sha256 = '000"),
    ("datasets.a", {"source": "file", "seq_lens": [5], "local": {"path": "~nobody-at-all/x"}}, "datasets.a.local.path = '~nobody-at-all/x': has no such home folder"),
    ("datasets.a", {"source": "file", "seq_lens": [5], "local": {"path": "${HOME}/x"}}, "datasets.a.local.path = '${HOME}/x': ${HOME} is not expanded here; write the folder out"),
    ("datasets.a", {"source": "file", "seq_lens": [5], "local": {"path": "a\0b"}}, "datasets.a.local.path = 'a\\x00b': is no path"),
    ("data_dir", "$HOME/data", "data_dir = '$HOME/data': $HOME is not expanded here"),
    ("datasets.a", {"source": "ml-1m", "seq_lens": [5], "ids": {"missing": "skip"}}, "datasets.a.ids.missing = 'skip': allowed: refuse, drop, keep"),
    ("datasets.a", {"source": "ml-1m", "seq_lens": [5], "ids": {"form": "integer"}}, "datasets.a.ids.form = 'integer': allowed: text, number"),
    ("run.seeds", [2**32], "run.seeds[0] = 4294967296: must be at most 4294967295"),
    ("datasets.tiny.k_core", 5, "datasets.tiny.k_core = 5: source synthetic takes only 1"),
    ("datasets.tiny.order", "seed:1", "datasets.tiny.order = 'seed:1': source synthetic takes only 'file'"),
    ("datasets.tiny.order", "seed", "datasets.tiny.order = 'seed': must match ^(file|"),
    ("datasets", 3, "datasets = 3: must be a mapping"),
    ("tracks.fair.training.max_step", 9, "tracks.fair.training.max_step = 9: unknown key; did you mean 'max_steps'?"),
    ("tracks.fair.training.learning_rate", 0, "tracks.fair.training.learning_rate = 0: must be greater than 0"),
    (
        "tracks.fair.hyperparameters.dropuot",
        0.1,
        "tracks.fair.hyperparameters.dropuot = 0.1: no model has such a hyper-parameter; did you mean 'dropout'?",
    ),
    (
        "datasets.tiny.hyperparameters",
        {"dropout": "high"},
        "datasets.tiny.hyperparameters.dropout = 'high': net takes float",
    ),
    ("models.net.fair.d_model", 1.5, "models.net.fair.d_model = 1.5: net takes int"),
    ("models.net.fair.d_model", True, "models.net.fair.d_model = True: net takes int"),
    ("models.net.fair.d_model", "64", "models.net.fair.d_model = '64': net takes int; a number nested in --config"),
    ("models.net.fair.tie", 1, "models.net.fair.tie = 1: net takes bool"),
    ("models.net.fair.norm", "bacth", "models.net.fair.norm = 'bacth': net takes one of few words; did you mean 'batch'? allowed: layer, batch"),
    ("tracks.fair.hyperparameters", {"norm": 3}, "tracks.fair.hyperparameters.norm = 3: net takes one of few words; allowed: layer, batch"),
    ("datasets.tiny.hyperparameters", {"norm": True}, "datasets.tiny.hyperparameters.norm = True: net takes one of few words"),
    ("tune", {"spaces": {"net": {"norm": {"choices": ["layer", "bach"]}}}}, "tune.spaces.net.norm = 'bach': net takes one of few words; did you mean 'batch'?"),
    ("models.net.fiar", {}, "models.net = 'fiar': unknown; did you mean 'fair'? allowed: fair"),
    ("report.focal_model", "nte", "report.focal_model = 'nte': unknown; did you mean 'net'? allowed: chain, net"),
    ("models.nte", {}, "models.nte: no file models/nte.py; did you mean 'net'? allowed: chain, net"),
    ("models.chain.fair", {"d_model": 3}, "models.chain.fair.d_model = 3: chain has no such hyper-parameter"),
    ("seeds", [1], "seeds = [1]: unknown key; allowed: data_dir, datasets, models, tracks, selected_settings, tune, ladder, run, measure, regression, report, allow_cpu"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "expected"), MISTAKES)
def test_a_mistake_is_named_in_one_line(models_dir, key, value, expected):
    assert message(changed(key, value), models_dir).startswith(expected)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("models.net.fair.dropout", 0),  # a whole number is a float too
        ("models.net.fair.heads", None),
        ("models.net.fair.heads", 2),
        ("models.net.fair.norm", "batch"),
        ("models.net.fair.sizes", "anything"),  # an annotation only the model can check
        ("datasets.tiny.seq_lens", [2]),
        ("measure.scaling.length_at_constant_tokens.seq_lens", []),
        ("measure.models", []),
    ],
)
def test_what_is_allowed_passes(models_dir, key, value):
    config = changed(key, 0 if value is None else value)
    if value is None:
        config["models"]["net"]["fair"]["heads"] = None
    load.validate(config, models_dir=models_dir)


def test_a_hyperparameter_of_a_model_that_is_not_run_does_not_bind_the_others(models_dir):
    config = changed("run.models", ["chain"])
    config["measure"] = {"models": []}
    config["tracks"]["fair"]["hyperparameters"] = {"heads": "whatever"}  # of net
    load.validate(config, models_dir=models_dir)


def test_a_warm_up_meets_the_budget_that_holds_on_the_dataset_and_in_the_search(models_dir):
    config = copy.deepcopy(VALID)
    config["tracks"]["fair"]["training"] = {
        "schedule": "linear",
        "warmup_steps": 50,
        "max_steps": 99,
    }
    load.validate(config, models_dir=models_dir)
    search = {"datasets": ["tiny"], "track": "fair", "space": {"dropout": {"choices": [0.1]}}}
    config["tune"] = {**search, "training": {"max_steps": 50}}
    expected = (
        "tune.training.warmup_steps = 50: must be below max_steps = 50; lower it (dataset tiny)"
    )
    assert message(config, models_dir) == expected
    config["tune"]["training"]["warmup_steps"] = 5
    load.validate(config, models_dir=models_dir)
    config["datasets"]["tiny"]["training"] = {"max_steps": 40}
    expected = "tracks.fair.training.warmup_steps = 50: must be below max_steps = 40; lower it (dataset tiny)"
    assert message(config, models_dir) == expected


def test_a_definition_holds_what_preparing_depends_on_and_nothing_else():
    block = {
        "source": "ml-1m",
        "seq_lens": [5],
        "k_core": 3,
        "training": {},
        "hyperparameters": {"dropout": 0.5},
    }
    assert load.definition(block) == '{"k_core":3,"source":"ml-1m"}'


@pytest.mark.parametrize(
    ("asked", "measured"), [(True, {"tiny", "more"}), (["more"], {"more"}), ([], set()), (False, set())]
)  # fmt: skip
def test_cost_is_measured_on_the_named_datasets(models_dir, asked, measured):
    config = changed("datasets.more", {"source": "synthetic", "seq_lens": [4]})
    config["run"]["datasets"] = ["tiny", "more"]
    config["measure"]["on_datasets"] = asked
    jobs = grid(load.validate(config, models_dir=models_dir), models_dir).measurements
    assert {job.dataset for job in jobs} == measured | {"full-length"}


def test_what_is_measured_is_what_is_trained(models_dir):
    """Precision and kernels of a measurement are those of its track and dataset, never of another track."""
    config = copy.deepcopy(VALID)
    config["tracks"]["half"] = {"training": {"precision": "bf16", "kernels": "torch"}}
    config["run"]["tracks"] = ["half", "fair"]  # the one that says something comes first
    config["datasets"]["exact"] = {
        "source": "synthetic", "seq_lens": [4], "training": {"precision": "fp32"},
    }  # fmt: skip
    config["run"]["datasets"] = ["tiny", "exact"]
    jobs = grid(load.validate(config, models_dir=models_dir), models_dir)
    asked = {
        (e.dataset, e.track): (e.training.precision, e.training.kernels) for e in jobs.trainings
    }
    measured = {(m.dataset, m.track): (m.precision, m.kernels) for m in jobs.measurements}
    assert {key: measured[key] for key in asked} == asked
    assert asked["exact", "half"] == ("fp32", "torch") and asked["tiny", "fair"] == ("fp32", "auto")
    assert measured["full-length", "half"] == ("bf16", "torch")
    assert measured["full-length", "fair"] == ("fp32", "auto")


def test_full_length_batches_form_four_curves(models_dir):
    """What stays constant along each: tokens, sequences, the length, the batch; inference as training."""
    config = changed("measure", {
        "models": ["net"], "on_datasets": False, "n_items": 30,
        "scaling": {
            "length_at_constant_tokens": {"tokens": 40, "seq_lens": [10, 40]},
            "length_at_constant_batch": {"sequences": 3, "seq_lens": [10, 40]},
            "batch_size": {"seq_len": 20, "sequences": [1, 2]},
            "catalogue_size": {"seq_len": 5, "sequences": 7, "n_items": [8, 9]},
        },
    })  # fmt: skip
    jobs = grid(load.validate(config, models_dir=models_dir), models_dir).measurements
    assert [(j.curve, j.seq_len, j.targets_per_step, j.eval_batch, j.n_items) for j in jobs] == [
        ("length-at-constant-tokens", 10, 40, 4, 30), ("length-at-constant-tokens", 40, 40, 1, 30), ("length-at-constant-batch", 10, 30, 3, 30), ("length-at-constant-batch", 40, 120, 3, 30),
        ("batch-size", 20, 20, 1, 30), ("batch-size", 20, 40, 2, 30),
        ("catalogue-size", 5, 35, 7, 8), ("catalogue-size", 5, 35, 7, 9),
    ]  # fmt: skip
    assert len({j.path for j in jobs}) == 8 and set(CURVES) == {j.curve for j in jobs}


def test_curves_may_have_a_budget_of_their_own(models_dir):
    scaling = {"length_at_constant_batch": {"seq_lens": [10]}}
    measure = {"models": ["net"], "scaling": scaling, "curve_budget_s": 4}
    config = changed("measure", measure)
    jobs = grid(load.validate(config, models_dir=models_dir), models_dir).measurements
    assert {(job.curve, job.budget_s) for job in jobs} == {
        ("length-at-constant-batch", 4),
        (None, 12),
    }


def test_a_curve_that_is_switched_off_has_no_jobs(models_dir):
    block = {"length_at_constant_batch": {"seq_lens": [10]}}
    config = changed("measure", {"models": ["net"], "on_datasets": False, "scaling": block})
    jobs = grid(load.validate(config, models_dir=models_dir), models_dir).measurements
    assert [job.curve for job in jobs] == ["length-at-constant-batch"]


@pytest.mark.parametrize("old", messages.RENAMED)
def test_an_old_key_names_the_new_one(old, models_dir):
    key = old.replace("*.training", "tracks.fair.training").replace("*", "tiny")
    found = message(changed(key, 1), models_dir)
    assert found == f"{key}: renamed to {messages.RENAMED[old]}"


@pytest.mark.parametrize("new", messages.RENAMED.values())
def test_the_name_that_an_old_key_is_told_is_one_of_the_schema(new):
    """Every dotted or underscored word of it before the first bracket."""
    text = load.SCHEMA.read_text()
    for name in re.findall(r"[a-z_]*[._][a-z_.]*", new.partition(" (")[0]):
        assert all(f"{part}:" in text for part in name.split("."))


def test_null_takes_away_what_a_file_below_says_of_a_search(models_dir):
    """Files merge key by key, so a rule could otherwise never change from choices to a range."""
    below = {"d_model": {"choices": [32, 64]}, "dropout": {"low": 0.1, "high": 0.5, "step": 0.1}}
    above = {
        "d_model": {"choices": None, "low": 16, "high": 64},
        "dropout": {"choices": [0.1, None], "low": None, "high": None, "step": None},
    }
    config = changed("tune", {"space": load.merged(below, above), "spaces": {"net": {"tie": None}}})
    filled = load.validate(config, models_dir=models_dir)
    assert filled["tune"]["space"] == {
        "d_model": {"low": 16, "high": 64},
        "dropout": {"choices": [0.1, None]},
    }
    assert filled["tune"]["spaces"] == {"net": {}}


def test_a_file_that_is_no_yaml_is_one_line(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("run: [1, 2\nseeds: 3")
    with pytest.raises(UserError, match=r"mine\.yaml, line 2: is no YAML: ") as error:
        load.load([file])
    assert "\n" not in str(error.value)


def test_two_configurations_merge_as_snakemake_merges_them():
    base, over = {"a": {"b": 1, "c": [1, 2]}, "d": 1}, {"a": {"c": [3]}, "e": 2}
    assert load.merged(base, over) == {"a": {"b": 1, "c": [3]}, "d": 1, "e": 2}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 1}


SMALL = '''
class Config:
    """What the contract of a trained model asks for."""

    d_model: int = 64  # width
    dropout: float = 0.2  # probability
'''


def test_a_model_is_timed_with_the_clipping_of_its_own_training(models_dir):
    (models_dir / "other.py").write_text(TRAINED)
    config = changed("models", {"net": {"fair": {"training": {"clip_norm": 2.0}}}})
    config["tracks"] = {"fair": {"training": {"clip_norm": 1.0}}}
    config["measure"] = {**config["measure"], "models": ["net", "other"], "on_datasets": True}
    jobs = grid(load.validate(config, models_dir=models_dir), models_dir).measurements
    norms = {(bool(j.curve), m, j.for_model(m)["clip_norm"]) for j in jobs for m, _ in j.models}
    assert norms == {(c, *own) for c in (True, False) for own in (("net", 2.0), ("other", 1.0))}


def test_the_projects_configuration_takes_a_model_of_width_and_dropout(tmp_path):
    """What a track or a search sets applies to the models that have it."""
    for file in load.MODELS.glob("[!_]*.py"):
        (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / "small.py").write_text(SMALL)
    own = yaml.safe_load((load.ROOT / "config" / "config.yaml").read_text())
    own["run"]["models"].append("small")
    own["measure"]["models"].append("small")
    config = load.validate(own, models_dir=tmp_path)
    jobs = grid(config, tmp_path)
    trained = {e.model: dict(e.hyperparameters) for e in jobs.trainings if e.dataset == "ml-1m"}
    assert trained["small"] == {"d_model": 64, "dropout": 0.2}
    assert trained["sasrec"] == {"d_model": 64, "dropout": 0.2, "n_layers": 2}
    measured = {model: dict(values) for m in jobs.measurements for model, values in m.models}
    assert set(measured["small"]) == {"d_model"} and set(measured["gru4rec"]) == {"d_model", "n_layers"}  # fmt: skip
    searched = {s.model: {name for name, _ in s.space} for s in studies(config, tmp_path)}
    assert searched["small"] == {"d_model", "dropout", "learning_rate", "clip_norm"}
    assert searched["sasrec"] == {*searched["small"], "n_layers", "attn_dropout", "norm_first"}


def test_the_home_folder_is_meant_by_its_sign(models_dir, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    own = {"source": "file", "seq_lens": [5], "local": {"path": "~/my clicks.csv"}}
    config = {**changed("datasets.own", own), "data_dir": "~/data"}
    filled = load.validate(config, models_dir=models_dir)
    assert filled["data_dir"] == "/home/me/data"
    assert filled["datasets"]["own"]["local"]["path"] == "/home/me/my clicks.csv"
    assert load.validate(filled, models_dir=models_dir) == filled


def test_a_folder_may_be_named_like_a_variable(models_dir, tmp_path):
    (tmp_path / "$HOME").mkdir()
    config = {**VALID, "data_dir": str(tmp_path / "$HOME")}
    assert load.validate(config, models_dir=models_dir)["data_dir"] == config["data_dir"]
