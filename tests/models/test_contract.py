"""What every file in models/ promises; a new file is tested without a new test."""

import ast
import typing
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny import CAUSAL, MAX_LEN, N_ITEMS, NAMES, TRAINED, batch_of, build, having, histories

import models
from models._scan import BACKENDS

every = pytest.mark.parametrize("name", NAMES)
trained = pytest.mark.parametrize("name", TRAINED)
causal = pytest.mark.parametrize("name", CAUSAL)


@every
def test_config_fields_are_literals_with_a_comment(name):
    source = Path(models.__file__).with_name(f"{name}.py").read_text()
    lines = source.splitlines()
    (config,) = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == "Config"
    ]
    fields = [node for node in config.body if isinstance(node, ast.AnnAssign)]
    for field in fields:
        value = ast.literal_eval(field.value)
        if isinstance(field.annotation, ast.Subscript):  # Literal
            assert value in ast.literal_eval(field.annotation.slice)
        else:
            assert type(value).__name__ == field.annotation.id
        assert "  # " in lines[field.lineno - 1], f"{field.target.id} lacks its comment"
    if name in TRAINED:
        assert {"d_model", "dropout"} <= {field.target.id for field in fields}


@every
@pytest.mark.parametrize("length", [1, 2, 5, MAX_LEN])
def test_shapes(name, length):
    model = build(name).eval()
    items = histories(4, length)
    scores = model.scores(items)
    assert scores.shape == (4, N_ITEMS + 1)
    assert torch.isfinite(scores[:, 1:]).all()
    if name in TRAINED:
        assert model.hidden(items).shape == (4, length, 16)
        assert model.query(items).shape == (4, 16)
        assert model.item_table().shape == (N_ITEMS + 1, 16)
    if name in TRAINED and length >= 2:
        assert model.loss(batch_of(items[:1])).shape == ()


@causal
@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("changed", [1, 4, MAX_LEN - 1])
def test_a_causal_model_never_looks_ahead(name, n_layers, changed):
    model = build(name, **having(name, n_layers=n_layers)).eval()
    items = histories(1, MAX_LEN)
    other = items.clone()
    other[0, changed] = items[0, changed] % N_ITEMS + 1
    before, after = model.hidden(items)[0], model.hidden(other)[0]
    torch.testing.assert_close(before[:changed], after[:changed], rtol=0, atol=1e-6)
    assert (before[changed] - after[changed]).abs().max() > 1e-3


@pytest.mark.parametrize("name", sorted(set(TRAINED) - set(CAUSAL)))
def test_a_model_declared_not_causal_does_look_ahead(name):
    model = build(name).eval()
    items = histories(1, MAX_LEN)
    other = items.clone()
    other[0, -1] = items[0, -1] % N_ITEMS + 1
    assert (model.hidden(items)[0, 0] - model.hidden(other)[0, 0]).abs().max() > 1e-5


@every
def test_more_padding_changes_no_score(name):
    model = build(name, max_len=40).eval()
    items = histories(6, MAX_LEN)
    torch.testing.assert_close(
        model.scores(F.pad(items, (0, 28))), model.scores(items), rtol=1e-5, atol=1e-5
    )


@every
def test_users_of_a_batch_do_not_see_each_other(name):
    model = build(name).eval()
    items = histories(6, MAX_LEN)
    alone = torch.cat([model.scores(row[row != 0][None]) for row in items])
    torch.testing.assert_close(model.scores(items), alone, rtol=1e-5, atol=1e-5)


@causal
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_query_is_hidden_at_the_last_real_item(name, n_layers):
    model = build(name, **having(name, n_layers=n_layers)).eval()
    items = histories(6, MAX_LEN)
    last = (items != 0).sum(1) - 1
    expected = model.hidden(items)[torch.arange(6), last]
    torch.testing.assert_close(model.query(items), expected, rtol=1e-5, atol=1e-5)


@causal
def test_loss_is_the_cross_entropy_of_the_targets(name):
    model = build(name).eval()
    windows = histories(6, MAX_LEN + 1)
    batch = batch_of(windows)
    batch.target_mask[0, :3] = False  # not everything real must be a target
    logits = model.hidden(windows[:, :-1]) @ model.item_table()[1:].T
    mask = batch.target_mask
    expected = F.cross_entropy(logits[mask], windows[:, 1:][mask] - 1)
    torch.testing.assert_close(model.loss(batch), expected, rtol=1e-5, atol=1e-6)


@trained
def test_every_parameter_has_a_finite_gradient(name):
    model = build(name, **having(name, n_layers=2), dropout=0.2).train()
    model.loss(batch_of(histories(8, MAX_LEN + 1))).backward()
    for parameter, value in model.named_parameters():
        assert value.grad is not None, parameter
        assert torch.isfinite(value.grad).all(), parameter
        assert value.grad.abs().sum() > 0, parameter
    embedding = getattr(model, "item_embedding", None)
    if embedding is not None:
        assert (embedding.weight[0] == 0).all() and (embedding.weight.grad[0] == 0).all()


@trained
def test_dropout_works_in_training_only(name):
    model = build(name, dropout=0.5)
    items = histories(4, MAX_LEN)
    model.train()
    assert not torch.equal(model.scores(items), model.scores(items))
    model.eval()
    assert torch.equal(model.scores(items), model.scores(items))


@trained
def test_the_same_seed_gives_the_same_loss_and_gradients(name):
    results = []
    for _ in range(2):
        model = build(name, dropout=0.2)
        loss = model.loss(batch_of(histories(8, MAX_LEN + 1)))
        results.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@every
def test_long_histories(name):
    length = 8192
    model = build(name, max_len=length).eval()
    with torch.no_grad():
        scores = model.scores(histories(1, length))
    assert torch.isfinite(scores).all()


@every
def test_unknown_hyperparameters_are_refused(name):
    with pytest.raises(models.ModelError, match="'layers'"):
        models.build(name, {"layers": 2}, N_ITEMS, MAX_LEN)


@every
def test_a_hyperparameter_that_is_a_text_is_one_of_few_words(name):
    """So that a wrong one is refused when jobs are planned, by the file alone."""
    kinds = typing.get_type_hints(models.load(name).Config)
    assert str not in kinds.values()
    for field, kind in kinds.items():
        if typing.get_origin(kind) is typing.Literal:
            with pytest.raises(models.ModelError, match=f"{field} 'x' is unknown; allowed: {typing.get_args(kind)[0]}, "):  # fmt: skip
                models.build(name, {field: "x"}, N_ITEMS, MAX_LEN)


def test_the_words_of_the_scan_are_its_backends():
    scan = typing.get_type_hints(models.load("mamba4rec").Config)["scan"]
    assert set(typing.get_args(scan)) == {"auto", *BACKENDS}


@trained
@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_impossible_dropout_is_refused(name, dropout):
    with pytest.raises(models.ModelError, match=rf"{name}.*dropout {dropout} is not in"):
        models.build(name, {"dropout": dropout}, N_ITEMS, MAX_LEN)


def test_unknown_models_are_refused():
    with pytest.raises(models.ModelError, match="'sasrek' is unknown; available: bert4rec"):
        models.load("sasrek")
    assert not any(name.startswith("_") for name in models.available())


def test_heads_must_divide_the_width():
    with pytest.raises(models.ModelError, match="d_model 16 is not divisible by n_heads 3"):
        build("sasrec", n_heads=3)
