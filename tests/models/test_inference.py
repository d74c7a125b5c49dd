"""What runs where nothing is trained equals the slower paths that training takes."""

import numpy as np
import pytest
import torch

import models
from models import _kernels
from models._batch import gather_positions, lengths_of
from models._kernels import twins
from models._resting import weights_rest
from models._scan import MixerParams, mamba_mixer, mamba_mixer_last

N_ITEMS, MAX_LEN = 300, 70
TRAINED = [n for n in models.available() if getattr(models.load(n), "trainable", True)]
PLACED = [(name, {"norm_first": first} if first else {}) for name in TRAINED for first in (False, True) if not first or hasattr(models.load(name).Config, "norm_first")]  # fmt: skip


def histories(rows=9, length=MAX_LEN, seed=0):
    """Rows of 1 to ``length`` items, padded on the right; the first is full, the second has one item."""
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(1, N_ITEMS + 1, (rows, length), generator=generator)
    lengths = torch.randint(1, length + 1, (rows, 1), generator=generator)
    lengths[0], lengths[1] = length, 1
    return items.masked_fill(torch.arange(length) >= lengths, 0)


def built(name, **options):
    """A model whose every weight, biases and norms too, is random."""
    torch.manual_seed(0)
    model = models.build(name, options, N_ITEMS, MAX_LEN).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape) * 0.1)
    return model


@pytest.mark.parametrize("length", [1, 20, MAX_LEN])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("name", "options"), PLACED)
def test_the_query_of_compiled_inference_is_that_of_pytorch_at_every_position(
    name, options, layers, length
):
    model = built(name, n_layers=layers, **options)
    items = histories(length=length)
    with _kernels.using("torch"):
        model.every_position = True
        expected = model.query(items)
        model.every_position = False
    with torch.inference_mode():
        torch.testing.assert_close(model.query(items), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "options"), PLACED)
def test_the_hidden_states_of_compiled_inference_are_those_of_training(name, options):
    model, items = built(name, n_layers=2, **options), histories()
    expected = model.hidden(items)
    assert expected.requires_grad
    with torch.no_grad():
        found = model.hidden(items)
    real = items != 0
    torch.testing.assert_close(found[real], expected[real], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", TRAINED)
def test_weights_that_rest_are_read_once_and_others_always(name):
    model, items = built(name, n_layers=2), histories(rows=40)
    with torch.inference_mode():
        before = model.query(items)
        with models.weights_rest():
            assert torch.equal(model.query(items), before) and torch.equal(
                model.query(items), before
            )
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(0.5)
    with torch.inference_mode():
        plain = model.query(items)
        with models.weights_rest():
            assert torch.equal(model.query(items), plain)
    assert not torch.equal(plain, before)


@pytest.mark.parametrize("name", TRAINED)
def test_ranks_of_compiled_inference_are_those_of_pytorch(name):
    """Scores differ by rounding; no two items of a user are that near here."""
    model, items = built(name, n_layers=2), histories(rows=200)
    targets = torch.arange(len(items)) % N_ITEMS + 1
    with torch.inference_mode(), models.weights_rest():
        found, _ = models.count_above(model.scores(items), targets, items)
        with _kernels.using("torch"):
            scores = model.scores(items)
            expected, _ = models.count_above(scores, targets, items)
    assert torch.equal(found, expected)
    assert len(expected[:, 0].unique()) > 20, "ranks differ, so they can be wrong"


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("n_items", [N_ITEMS, 100_000])
def test_the_last_state_of_a_gru_is_pytorchs(bias, n_items):
    torch.manual_seed(0)
    model = models.build("gru4rec", {"n_layers": 2, "bias": bias}, n_items, MAX_LEN).eval()
    items = histories(rows=600)  # more than share a step
    at = lengths_of(items)[:, None] - 1
    expected = gather_positions(model.gru(model.item_embedding(items))[0], at).squeeze(1)
    with torch.inference_mode():
        torch.testing.assert_close(model.query(items), model.out(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("states", "channels", "rank"), [(5, 24, 3), (8, 32, 4)])
@pytest.mark.parametrize("pace", [1e-3, 0.3, 30.0])
def test_a_mamba_layer_of_inference_is_the_reference_at_every_pace(pace, states, channels, rank):
    """Slow steps forget nothing, fast ones nearly everything; states forget at about the same pace."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape, scale=0.3):
        return scale * torch.randn(shape, generator=generator)

    width = 16
    bias = torch.full((channels,), pace).expm1().log() + draw(channels, scale=0.1)
    params = MixerParams(
        in_proj=draw(2 * channels, width), conv_weight=draw(channels, 1, 4),
        conv_bias=draw(channels), x_proj=draw(rank + 2 * states, channels),
        dt_proj=draw(channels, rank), dt_bias=bias, A_log=draw(channels, states, scale=0.05),
        D=draw(channels), out_proj=draw(width, channels),
    )  # fmt: skip
    x, lengths = draw(5, MAX_LEN, width, scale=1.0), torch.tensor([MAX_LEN, 1, 16, 17, 40])
    exact = MixerParams(*(p.double() for p in params))
    expected = mamba_mixer(x.double(), exact, "reference").float()
    near = {"rtol": 1e-4, "atol": 1e-6 * float(expected.abs().max())}
    with torch.inference_mode():
        found = mamba_mixer(x, params, "numba")
        last = mamba_mixer_last(x, params, lengths)
    torch.testing.assert_close(found, expected, **near)
    at_last = expected[torch.arange(5), lengths - 1]
    torch.testing.assert_close(last, at_last, **near)


@pytest.mark.parametrize("state", [slice(None), 1])
@pytest.mark.parametrize("weight", ["A_log", "D", "dt_proj.weight"])
def test_a_weight_that_is_not_a_number_reaches_every_score(weight, state):
    """Every one of a matrix, or those of one state or input alone, which others share a look at what is forgotten with."""
    model = built("mamba4rec")
    with torch.no_grad():
        model.blocks[0].mamba.get_parameter(weight)[..., state].fill_(torch.nan)
    with torch.inference_mode():
        assert model.scores(histories()).isnan().all()


def test_scores_of_a_query_that_lies_apart_are_those_of_its_copy():
    """A model's own ``query`` may be a slice of its hidden states."""
    model, hidden = built("sasrec"), torch.randn(3, 5, 64)
    table = model.item_table().detach()
    with torch.inference_mode(), weights_rest():
        found = _kernels.scores(hidden[:, -1], table, model)
    assert torch.allclose(found, hidden[:, -1] @ table.T, atol=1e-4)


def tied_scores(rows, n_items, seed=0):
    """Scores of which many are equal, targets that were seen before or not, and histories with repetitions."""
    random = np.random.default_rng(seed)
    scores = torch.from_numpy(random.integers(0, 400, (rows, n_items + 1)).astype(np.float32))
    seen = random.integers(1, n_items + 1, (rows, 300))
    seen[np.arange(300) >= random.integers(1, 301, (rows, 1))] = 0
    targets = random.integers(1, n_items + 1, rows)
    targets[::3] = seen[::3, 0]
    scores[:, 0] = 1e9  # the padding row would come first
    return scores, torch.from_numpy(targets), torch.from_numpy(seen)


def sorted_counts(scores, target, seen):
    """As ``count_above``, for one row, item by item."""
    rivals = set(seen.tolist()) - {0, int(target)}
    items = range(1, len(scores))
    above = {i for i in items if scores[i] >= scores[target]}
    equal = {i for i in items if scores[i] == scores[target]} - {int(target)}
    return [len(above), len(equal), len(above & rivals), len(equal & rivals)]


def test_counts_of_real_size_are_equal_to_those_of_pytorch_and_of_sets():
    scores, targets, seen = tied_scores(64, 3416)
    found, wrong = _kernels.count_above(scores, targets, seen)
    expected, _ = twins.count_above(scores, targets, seen)
    assert torch.equal(found, expected) and not wrong
    for row in range(0, 64, 9):
        expected = sorted_counts(scores[row].numpy(), targets[row], seen[row])
        assert found[row].tolist() == expected
    assert (found[:, 1] > 0).all() and (found[:, 2] > 0).any(), "ties and seen rivals are there"


@pytest.mark.parametrize("count_above", [_kernels.count_above, twins.count_above])
def test_nan_is_told_wherever_it_stands_but_in_the_padding_column(count_above):
    scores, targets, seen = tied_scores(3, 50)
    scores[:, 0] = torch.nan
    assert not count_above(scores, targets, seen)[1]
    for item in (1, 49, int(targets[1])):
        broken = scores.clone()
        broken[1, item] = torch.nan
        assert count_above(broken, targets, seen)[1]
