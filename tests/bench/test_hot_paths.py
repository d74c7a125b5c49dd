"""Speed of the hot paths on this machine: ``make bench``. In ``make test`` each runs once, untimed.

For finding out what a change costs; published times come from ``measure`` alone. ``make regression`` runs these under two
revisions and compares the JSON (``tools/gate/benches.py``), so what is timed here is guarded there.
"""

import numpy as np
import pytest
import torch

import models
from models._scan import BACKENDS, resolve, selective_scan
from models._scan.check import scan_inputs
from seqbench.analysis import resampling
from seqbench.core.metrics import per_user
from seqbench.data.filtering import k_core
from seqbench.data.split import leave_one_out
from seqbench.training.batches import Gatherer, epoch_batches, full_length_batch, training_windows
from seqbench.training.loop import training_step
from seqbench.training.ranking import rank_target

N_ITEMS, ROWS, LENGTH, BATCHES = 1000, 16, 50, 16
CPU = torch.device("cpu")
TRAINED = [n for n in models.available() if getattr(models.load(n), "trainable", True)]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", TRAINED)
def test_training_step(benchmark, name):
    model = models.build(name, {}, N_ITEMS, LENGTH)
    optimizer = torch.optim.Adam(model.parameters())
    batch = full_length_batch(N_ITEMS, ROWS, LENGTH, torch.Generator().manual_seed(0), CPU)
    assert torch.isfinite(benchmark(training_step, model, optimizer, batch))


@pytest.mark.parametrize("name", models.available())
def test_scoring(benchmark, name):
    model = models.build(name, {}, N_ITEMS, LENGTH)
    items = torch.randint(1, N_ITEMS + 1, (256, LENGTH), generator=torch.Generator().manual_seed(0))
    if name not in TRAINED:
        model.fit(items.flatten(), torch.arange(0, items.numel() + 1, LENGTH))
    with torch.inference_mode():
        assert benchmark(model.eval().scores, items).shape == (256, N_ITEMS + 1)


@pytest.mark.parametrize(("rows", "length"), [(64, 50), (16, 200), (8, 2048)])
@pytest.mark.parametrize("backend", ["mamba_ssm", "triton", "numba"])
def test_scan_forward_and_backward(benchmark, backend, rows, length):
    """On an NVIDIA device the table that is printed compares triton with mamba_ssm."""
    try:
        resolve(backend, BACKENDS[backend])
    except models.ModelError as error:
        pytest.skip(str(error))
    inputs = [t.float().to(BACKENDS[backend]) for t in scan_inputs(rows, length, 128, 32)]
    assert torch.isfinite(benchmark(scan_step, [t.requires_grad_() for t in inputs], backend)).all()


def scan_step(inputs, backend):
    out = selective_scan(*inputs, backend=backend)
    gradients = torch.autograd.grad(out, inputs, out.detach())
    if out.is_cuda:
        torch.cuda.synchronize()
    return gradients[0]


def test_ranking(benchmark):
    """Many batches, as a pass over the users has: what one of them takes depends on which pages its scores lie in."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand((BATCHES, 64, N_ITEMS + 1), generator=generator)
    target = torch.randint(1, N_ITEMS + 1, (BATCHES, 64), generator=generator)
    history = torch.randint(1, N_ITEMS + 1, (BATCHES, 64, LENGTH), generator=generator)

    def run():
        return [
            rank_target(s.clone(), t, h) for s, t, h in zip(scores, target, history, strict=True)
        ]

    assert benchmark(run)[0]["kept"][0].shape == (64,)


def test_cutting_windows(benchmark):
    offsets = np.arange(0, 10_000_001, 100)
    assert benchmark(training_windows, leave_one_out(offsets), 200).targets > 9_000_000


def test_gathering_batches(benchmark):
    """Fifty batches of windows of mixed lengths, as an epoch draws them."""
    random = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(random.integers(5, 300, 4000))])
    items = random.integers(1, N_ITEMS + 1, offsets[-1]).astype(np.int32)
    windows = training_windows(leave_one_out(offsets), 200)
    gatherer = Gatherer(items, windows, CPU)

    def gather():
        rows = epoch_batches(windows, 2048, np.random.default_rng(0), True)[:50]
        return sum(batch.n_targets for batch in gatherer.batches(rows, torch.Generator()))

    assert benchmark(gather) > 90_000


def test_metrics_of_every_user(benchmark):
    ranks = np.random.default_rng(0).integers(1, 3000, 200_000)
    values = benchmark(lambda: [per_user(ranks, m) for m in ("hr@10", "ndcg@10", "mrr@10")])
    assert all(0 < value.mean() < 1 for value in values)


def test_bootstrap_over_users(benchmark):
    """Two hundred resamples of twelve quantities of 6,040 users: a tenth of what a table needs."""
    users = np.random.default_rng(0).random((6040, 12))

    def resampled():
        resampling.user_draws.cache_clear()
        return resampling.resampled_user_means(users, 0, 200)[0]

    assert benchmark(resampled).shape == (200, 12)


def test_k_core(benchmark):
    random = np.random.default_rng(0)
    users, items = random.integers(0, 30_000, 200_000), random.zipf(1.3, 200_000) % 20_000
    assert 0 < len(benchmark(k_core, users, items, 5)) < 200_000
