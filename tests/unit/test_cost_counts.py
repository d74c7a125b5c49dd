"""Deterministic cost, against numbers that can be worked out on paper."""

import pytest
import torch
from torch import nn

import models
from models._catalogue import catalogue_cross_entropy
from seqbench.core.jobs import Training
from seqbench.measuring.counting import count
from seqbench.training.batches import full_length_batch
from seqbench.training.loop import make_optimizer, training_step

B, L, D, ITEMS = 3, 20, 16, 30  # sequences, positions, width, items
TOKENS = B * L


def step_of(name, seed=0, kernels="auto", **hyperparameters):
    """Model, and a function that runs one training step on a fixed batch."""
    torch.manual_seed(seed)
    models.use_kernels(kernels)
    model = models.build(name, {"d_model": D, **hyperparameters}, ITEMS, L)
    generator = torch.Generator().manual_seed(seed)
    batch = full_length_batch(ITEMS, B, L, generator, torch.device("cpu"))
    optimizer, drawn = make_optimizer(model, Training(kernels=kernels)), generator.get_state()

    def step():
        generator.set_state(drawn)
        training_step(model, optimizer, batch, "fp32")

    step()
    return model, step


@pytest.fixture(autouse=True)
def default_kernels():
    yield
    models.use_kernels("auto")


def sasrec_flops(layers, inner):
    """Forward; two FLOPs per multiplication and addition, causal attention at half."""
    block = 2 * TOKENS * (4 * D * D + 2 * D * inner)
    attention = 4 * B * (L * (L + 1) // 2) * D
    return layers * (block + attention) + 2 * TOKENS * D * ITEMS


def mamba_forward_flops(states, rank=1, taps=4):
    channels = 2 * D
    products = D * 2 * channels + channels * (rank + 2 * states) + rank * channels + channels * D
    ffn = 2 * D * 4 * D
    return 2 * TOKENS * (products + ffn + channels * taps + D * ITEMS)


def test_a_training_step_of_sasrec_costs_three_times_its_forward_pass():
    _, step = step_of("sasrec", n_layers=2, n_heads=2, d_inner=32)
    assert count(step)["flops"] == 3 * sasrec_flops(2, 32)


def test_the_scan_costs_seven_flops_per_state_forwards_and_fifteen_backwards():
    states = 8
    _, step = step_of("mamba4rec", n_layers=1, d_state=states)
    scan = TOKENS * 2 * D * states
    found = count(step)
    assert found["flops"] == 3 * mamba_forward_flops(states) + (7 + 15) * scan
    assert found["exponentials"] == scan
    # Forwards u, delta, z, B and C read, y written; backwards read again with the gradient of y, and their gradients written.
    arrays, parameters = TOKENS * (3 * 2 * D + 2 * states), 2 * D * states + 2 * 2 * D
    assert found["scan_bytes"] == 4 * (3 * (arrays + parameters) + 2 * TOKENS * 2 * D)


def test_products_that_pytorch_runs_are_told_from_those_that_formulas_count():
    _, step = step_of("sasrec", n_layers=2, n_heads=2, d_inner=32)
    found = count(step)
    attention = 2 * 4 * B * (L * (L + 1) // 2) * D
    assert found["flops"] - found["product_flops"] == 3 * attention
    assert found["exponentials"] == found["scan_bytes"] == 0


def test_a_gru_costs_its_products():
    hidden = 24
    _, step = step_of("gru4rec", d_hidden=hidden)
    forward = 2 * TOKENS * (3 * hidden * (D + hidden) + hidden * D + D * ITEMS)
    assert count(step)["flops"] == 3 * forward


@pytest.mark.parametrize("name", ["sasrec", "mamba4rec", "bert4rec", "gru4rec"])
def test_flops_belong_to_the_mathematics_and_bytes_to_the_kernels(name):
    found = {}
    for kernels in ("numba", "torch", "eager"):
        _, step = step_of(name, kernels=kernels)
        found[kernels] = count(step)
    flops = {counts["flops"] for counts in found.values()}
    assert len(flops) == 1
    assert len({counts["moved_bytes"] for counts in found.values()}) == 3


@pytest.mark.parametrize("name", ["sasrec", "mamba4rec", "bert4rec", "gru4rec"])
def test_counts_are_the_same_every_time(name):
    first, again = (count(step_of(name)[1]) for _ in range(2))
    assert first == again
    assert [key for key, value in first.items() if value <= 0] == (
        [] if name == "mamba4rec" else ["exponentials", "scan_bytes"]
    )


def test_attention_over_twice_the_length_costs_twice_the_products_and_four_times_the_pairs():
    costs = {}
    for length in (32, 64):
        model = models.build("sasrec", {"d_model": D, "d_inner": 32}, ITEMS, 64).eval()
        items = torch.ones(2, length, dtype=torch.long)
        with torch.no_grad():
            costs[length] = count(lambda model=model, items=items: model.hidden(items))["flops"]
    pairs = {n: 2 * 4 * 2 * (n * (n + 1) // 2) * D for n in costs}  # two layers, two sequences
    assert costs[64] - pairs[64] == 2 * (costs[32] - pairs[32])


def test_saved_bytes_are_what_autograd_keeps_without_the_weights():
    x = torch.randn(5, 4)
    layer = nn.Linear(4, 3)

    def run():
        layer(x).exp().sum().backward()

    # Of the product its input (5 x 4), of exp its result (5 x 3); the weight is a parameter.
    assert count(run, layer.parameters())["saved_bytes"] == 4 * (5 * 4 + 5 * 3)
    assert count(run)["saved_bytes"] == 4 * (
        5 * 4 + 5 * 3
    )  # x needs no gradient, so no weight is kept


def test_moved_bytes_and_calls_of_a_few_operators():
    a, b = torch.randn(8, 4), torch.randn(4, 6)
    out = torch.empty(8, 6)
    table = torch.randn(1000, 4)
    floats = 4
    cases = {
        "product": (lambda: a @ b, floats * (32 + 24 + 48), 1),
        "product into a buffer": (lambda: torch.mm(a, b, out=out), floats * (32 + 24 + 48), 1),
        "in place": (lambda: a.mul_(2.0), floats * (32 + 32), 1),
        "a view": (lambda: a.t(), 0, 0),
        "reserved memory": (lambda: torch.empty(9), 0, 0),
        "a lookup reads the rows it returns": (lambda: table[torch.tensor([3, 5])], None, None),
    }
    for name, (run, moved, calls) in cases.items():
        found = count(run)
        if moved is not None:
            assert (found["moved_bytes"], found["operators"]) == (moved, calls), name
        else:
            assert found["moved_bytes"] < table.nbytes / 10, name


def test_a_compiled_kernel_is_a_call_that_touches_its_arguments():
    x = torch.randn(128, 64)

    def normalise():
        return models._kernels.gelu(x, 0.0, False)

    models.use_kernels("numba")
    found = count(normalise)
    assert found["operators"] == 1 and found["moved_bytes"] == 2 * x.nbytes


def test_counts_of_the_loss_do_not_depend_on_threads():
    hidden, table = (torch.randn(n, D, requires_grad=True) for n in (300, ITEMS + 1))
    targets, before, found = torch.ones(300, dtype=torch.long), torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            loss = lambda: catalogue_cross_entropy(hidden, table, targets).backward()  # noqa: E731
            found.append(count(loss))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


def test_the_optimiser_reads_four_tensors_per_weight_and_writes_three():
    """Adam in one pass: weights, gradients and both moments are read; all but the gradients are written."""
    weight = nn.Parameter(torch.randn(1000))
    optimizer = torch.optim.Adam([weight], fused=True)
    weight.grad = torch.randn(1000)
    optimizer.step()  # makes the moments
    moved = count(optimizer.step)["moved_bytes"]
    counters = 100  # bytes, at most: the step's number and what raises it
    assert 7 * weight.nbytes <= moved <= 7 * weight.nbytes + counters
