"""The switches that lead from the published implementations to ours: same weights, same scores; other masking, by the rule."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torch.utils.flop_counter
from tiny import MAX_LEN, N_ITEMS, TRAINED, batch_of, build, having, histories

import models
from models._errors import ModelError
from models._kernels import using
from models._layers import HIDDEN, explicit_mask
from seqbench.config import load
from seqbench.config.grid import base_training, hyperparameters
from seqbench.data.split import leave_one_out
from seqbench.training.batches import (
    Gatherer,
    epoch_batches,
    prefix_windows,
    training_windows,
    windows_for,
)

ATTENTION = ("sasrec", "bert4rec")
NAIVE = {"attention": "naive", "gelu": "unfused"}
attention = pytest.mark.parametrize("name", ATTENTION)


@attention
@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("kernels", ["auto", "torch"])
def test_naive_and_fused_attention_score_the_same(name, every, kernels):
    items = histories(40, MAX_LEN)
    with using(kernels):
        fused, naive = build(name).eval(), build(name, **NAIVE).eval()
        naive.load_state_dict(fused.state_dict())
        naive.every_position = every
        torch.testing.assert_close(naive.scores(items), fused.scores(items), rtol=0, atol=1e-5)


@attention
def test_naive_and_fused_attention_have_the_same_loss_and_gradients(name):
    fused, naive = build(name), build(name, **NAIVE)
    naive.load_state_dict(fused.state_dict())
    losses = []
    for model in (fused, naive):
        losses.append(model.loss(batch_of(histories(20, MAX_LEN + 1)[:-1])))
        losses[-1].backward()
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-5)
    for a, b in zip(fused.parameters(), naive.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_passing_every_position_through_every_layer_changes_nothing(name):
    model = build(name, **having(name, n_layers=2)).eval()
    items = histories(40, MAX_LEN)
    expected = model.scores(items)
    model.every_position = True
    torch.testing.assert_close(model.scores(items), expected, rtol=0, atol=1e-5)


SHORTER = [n for n in TRAINED if "query" in vars(models.load(n).Model)]  # skip what nothing reads


@pytest.mark.parametrize("name", SHORTER)
def test_every_position_costs_more_at_inference(name):
    model = build(name, **having(name, n_layers=2)).eval()
    flops = []
    for every in (False, True):
        model.every_position = every
        counter = torch.utils.flop_counter.FlopCounterMode(display=False)
        with using("torch"), torch.no_grad(), counter:
            model.scores(histories(4, MAX_LEN))
        flops.append(counter.get_total_flops())
    assert flops[0] < flops[1]


@attention
def test_dropout_on_probabilities_is_that_of_explicit_attention_and_changes_training_only(name):
    """Fused kernels have none: training is explicit then, and ranking stays fused."""
    plain, items = build(name).eval(), histories(8, MAX_LEN)
    losses = []
    for how in ({"attention": "naive"}, {}):
        model = build(name, attn_dropout=0.5, dropout=0.0, **how)
        model.load_state_dict(plain.state_dict())
        torch.manual_seed(3)
        losses.append(model.loss(batch_of(histories(20, MAX_LEN + 1)[:-1])))
        torch.testing.assert_close(model.eval().scores(items), plain.scores(items), rtol=0, atol=1e-5)  # fmt: skip
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-5)
    assert not torch.equal(losses[0], build(name, dropout=0.0).loss(batch_of(histories(20, MAX_LEN + 1)[:-1])))  # fmt: skip


def test_dropout_on_probabilities_is_random():
    for key, value in {"attention": "flash", "gelu": "tanh", "attn_dropout": 1.0}.items():
        with pytest.raises(ModelError, match=key):
            build("sasrec", **{key: value})
    model, items = build("sasrec", attention="naive", attn_dropout=0.5), histories(8, MAX_LEN)
    assert not torch.equal(model.hidden(items), model.hidden(items))
    model.eval()
    assert torch.equal(model.hidden(items), model.hidden(items))


def test_the_explicit_mask_hides_padding_and_what_comes_later():
    items = torch.tensor([[3, 4, 0]])
    shown = (explicit_mask(items, causal=True) == 0)[0, 0].tolist()
    assert shown == [[True, False, False], [True, True, False], [True, True, False]]
    both = explicit_mask(items, causal=False)
    assert both.tolist() == [[[[0.0, 0.0, HIDDEN]]]]


@pytest.mark.parametrize("name", [n for n in TRAINED if n != "bert4rec"])
def test_an_epoch_of_prefixes_and_of_windows_have_the_same_loss(name):
    """Histories that fit into one window: every target sees the same items either way."""
    lengths = [3, 5, 9, MAX_LEN + 3]
    offsets = torch.cat([torch.zeros(1), torch.tensor(lengths).cumsum(0)]).long().numpy()
    generator = torch.Generator().manual_seed(1)
    items = torch.randint(1, N_ITEMS + 1, (int(offsets[-1]),), generator=generator).int().numpy()
    model, split, losses = build(name).eval(), leave_one_out(offsets), []
    for cut in (training_windows, prefix_windows):
        windows = cut(split, MAX_LEN)
        gatherer = Gatherer(items, windows, torch.device("cpu"))
        batch = gatherer.batch(torch.arange(len(windows.start)).numpy(), torch.Generator())
        losses.append(model.loss(batch))
        assert batch.n_targets == windows.targets == sum(n - 3 for n in lengths)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_the_papers_protocol_is_one_function_however_its_batches_are_made(name):
    """An epoch of prefixes as RecBole computes it, and as paper.yaml does: loss and gradients but for dropout."""
    published, ours = load.load(), load.load([load.ROOT / "config" / "paper.yaml"])
    trained = [base_training(c, "ml-1m", "paper", name) for c in (published, ours)]
    fast = {"kernels": "auto", "compute_all_positions": False, "bucket_by_length": True}
    assert trained[1] == dataclasses.replace(trained[0], **fast) != trained[0]
    options = dict(hyperparameters(ours, load.MODELS, name, "paper", "ml-1m"))
    assert options == dict(hyperparameters(published, load.MODELS, name, "paper", "ml-1m"))
    options |= having(name, dropout=0.0, attn_dropout=0.0, d_model=16, last_only=1.0)  # no chance
    offsets = torch.tensor([0, 3, 8, 17, 17 + MAX_LEN + 4]).numpy()
    generator = torch.Generator().manual_seed(1)
    items = torch.randint(1, N_ITEMS + 1, (int(offsets[-1]),), generator=generator).int().numpy()
    model, found = build(name, **options), []
    windows = windows_for("prefix", leave_one_out(offsets), MAX_LEN, model)
    gatherer = Gatherer(items, windows, torch.device("cpu"))
    for training, per_step in zip(trained, (10**6, 5), strict=True):
        model.every_position = training.compute_all_positions
        epoch = epoch_batches(windows, per_step, np.random.default_rng(0), training.bucket_by_length, "targets")  # fmt: skip
        with using(training.kernels):
            # Of prefixes of one item RecBole's masks leave no loss.
            terms = [float(windows.predictions_of(batch).sum()) for batch in epoch]
            losses = [model.loss(batch) for batch in gatherer.batches(epoch, generator)]
            loss = sum(n * own for n, own in zip(terms, losses, strict=True)) / sum(terms)
        found.append((loss, *torch.autograd.grad(loss, list(model.parameters()))))
    assert len(epoch) > 3 and len({gatherer.batch(b, generator).windows.shape for b in epoch}) > 1
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


# --- BERT4Rec as RecBole has it -----------------------------------------------------------------------------------


def recbole(**hyperparameters):
    return build("bert4rec", masking="recbole", **hyperparameters).eval()


def test_the_query_drops_the_oldest_item_also_of_short_histories():
    model = recbole()
    items = histories(8, MAX_LEN)
    for row, query in zip(items, model.query(items), strict=True):
        real = row[row != 0]
        asked = torch.cat([real[1:], torch.tensor([N_ITEMS + 1])])
        torch.testing.assert_close(model.hidden(asked[None])[0, -1], query, rtol=1e-5, atol=1e-5)
    assert model.position_embedding.num_embeddings == MAX_LEN


def test_the_loss_falls_on_masked_items_of_the_history_but_position_0_and_the_first_of_too_many():
    model, batch = recbole(mask_prob=0.4, last_only=0.0), batch_of(histories(30, MAX_LEN + 1)[:-1])
    history = batch.windows.clone()
    for row, length in zip(history, batch.lengths, strict=True):
        row[length - 1] = 0  # the sample's own target
    history = history[:, :-1]
    mask = model._draw_mask_as_recbole(history, torch.Generator().manual_seed(0))
    assert not mask[history == 0].any()
    hidden = model.hidden(history.masked_fill(mask, N_ITEMS + 1))
    losses = []
    for row in range(len(history)):
        places = mask[row].nonzero().flatten()[-int(0.4 * MAX_LEN) :]
        for place in places[places > 0]:
            logits = hidden[row, place] @ model.item_table()[1:].T
            losses.append(F.cross_entropy(logits, history[row, place] - 1))
    assert any(mask.sum(1) > int(0.4 * MAX_LEN)) and any(mask[:, 0])
    for kernels in ("auto", "torch", "eager"):
        with using(kernels):
            batch.generator.manual_seed(0)
            expected = torch.stack(losses).mean()
            torch.testing.assert_close(model.loss(batch), expected, rtol=1e-5, atol=1e-5)


def test_with_last_only_the_last_item_of_each_history_is_masked():
    history = histories(20, MAX_LEN)
    mask = recbole(last_only=1.0)._draw_mask_as_recbole(history, torch.Generator())
    assert torch.equal(mask.int().argmax(1), (history != 0).sum(1) - 1) and (mask.sum(1) == 1).all()


def test_a_batch_without_any_counted_mask_has_loss_0():
    model, batch = recbole(mask_prob=0.0, last_only=0.0), batch_of(histories(5, MAX_LEN + 1)[:-1])
    for kernels in ("auto", "eager"):
        with using(kernels):
            loss = model.loss(batch)
        loss.backward()
        assert loss == 0


def test_a_bias_per_item_adds_to_the_scores():
    plain, biased = build("bert4rec").eval(), build("bert4rec", item_bias=True).eval()
    biased.load_state_dict(plain.state_dict() | {"item_bias": torch.arange(N_ITEMS + 1.0)})
    items = histories(6, MAX_LEN)
    difference = biased.scores(items) - plain.scores(items)
    torch.testing.assert_close(difference, torch.arange(N_ITEMS + 1.0).expand_as(difference))


def test_an_unknown_masking_is_refused():
    with pytest.raises(ModelError, match="masking 'random' is unknown; allowed: cloze, recbole"):
        models.build("bert4rec", {"masking": "random"}, N_ITEMS, MAX_LEN)
