"""Mamba4Rec against a plain transcription of its definition, and against the authors' numbers."""

import pytest
import torch
import torch.nn.functional as F
from tiny import batch_of, build, histories

import models
from models._scan import resolve, selective_scan


def test_the_official_number_of_parameters_on_ml_1m():
    model = models.build("mamba4rec", {}, n_items=3416, max_len=200)
    (block,) = model.blocks

    def size(module):
        return sum(p.numel() for p in module.parameters())

    assert size(model.item_embedding) == 3417 * 64
    assert size(block.mamba) == 38_784
    assert size(block.ffn) - size(block.ffn.norm) == 33_088
    assert size(model.norm) + size(block.norm) + size(block.ffn.norm) == 384
    assert size(model) == 290_944


def test_initialisation_is_that_of_the_official_code():
    torch.manual_seed(0)
    mamba = models.build("mamba4rec", {}, n_items=100, max_len=50).blocks[0].mamba
    for layer in (mamba.in_proj, mamba.x_proj, mamba.dt_proj, mamba.out_proj):
        assert 0.017 < layer.weight.std() < 0.023
    assert (mamba.dt_proj.bias == 0).all(), "every step starts near softplus(0)"
    torch.testing.assert_close(-mamba.A_log.exp()[5], -torch.arange(1.0, 33.0))
    assert (mamba.D == 1).all()
    assert mamba.conv1d.weight.abs().max() > 0.3, "PyTorch's own: uniform in +-1/2"
    assert mamba.dt_proj.in_features == 4 and mamba.conv1d.weight.shape == (128, 1, 4)


def plain_block(x, w, residual):
    """One block from its weights, in the words of the paper's figure and the authors' code."""
    xz = x @ w["mamba.in_proj.weight"].T
    u, z = xz.chunk(2, dim=-1)
    taps = w["mamba.conv1d.weight"].shape[2]
    u = F.pad(u.transpose(1, 2), (taps - 1, 0))
    u = F.conv1d(u, w["mamba.conv1d.weight"], w["mamba.conv1d.bias"], groups=u.shape[1])
    u = F.silu(u.transpose(1, 2))
    n_states = w["mamba.A_log"].shape[1]
    projected = u @ w["mamba.x_proj.weight"].T
    step, B, C = projected[..., : -2 * n_states], projected[..., -2 * n_states :], None
    B, C = B[..., :n_states], B[..., n_states:]
    delta, bias = step @ w["mamba.dt_proj.weight"].T, w["mamba.dt_proj.bias"]
    y = selective_scan(u, delta, -w["mamba.A_log"].exp(), B, C, w["mamba.D"], z, bias)
    y = y @ w["mamba.out_proj.weight"].T
    y = F.layer_norm(
        y + x if residual else y, y.shape[-1:], w["norm.weight"], w["norm.bias"], 1e-12
    )
    inner = F.gelu(y @ w["ffn.inner.weight"].T + w["ffn.inner.bias"])
    outer = inner @ w["ffn.outer.weight"].T + w["ffn.outer.bias"]
    return F.layer_norm(outer + y, y.shape[-1:], w["ffn.norm.weight"], w["ffn.norm.bias"], 1e-12)


@pytest.mark.parametrize("n_layers", [1, 2])
def test_hidden_is_the_definition(n_layers):
    model = build("mamba4rec", n_layers=n_layers).eval()
    items = histories(3, 12)
    x = F.layer_norm(model.item_embedding(items), (16,), eps=1e-12)
    for block in model.blocks:
        x = plain_block(x, dict(block.state_dict()), residual=n_layers > 1)
    torch.testing.assert_close(model.hidden(items), x, rtol=1e-4, atol=1e-5)


def test_the_backend_is_reported_and_used():
    report = build("mamba4rec").backend_report()["scan"]
    assert report == {"requested": "auto", "used": "numba", "fallback": False, "reason": None}
    items = histories(3, 12)
    slow = build("mamba4rec", scan="reference")
    assert slow.backend_report()["scan"]["used"] == "reference"
    fast = build("mamba4rec", scan="numba")
    torch.testing.assert_close(slow.hidden(items), fast.hidden(items), rtol=1e-4, atol=1e-5)


def test_an_unavailable_backend_is_refused_when_the_model_is_built():
    with pytest.raises(models.ModelError, match="allowed: auto, fused"):
        build("mamba4rec", scan="cuda")


def test_double_precision_runs_on_the_reference():
    model = build("mamba4rec", scan="reference").double()
    loss = model.loss(batch_of(histories(3, 12)))
    loss.backward()
    assert loss.dtype == torch.float64 and model.blocks[0].mamba.A_log.grad.dtype == torch.float64


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA device")
@pytest.mark.parametrize("scan", ["auto", "mamba_ssm", "triton", "reference"])
def test_the_loss_on_a_gpu_is_the_loss_on_a_cpu(scan):
    try:
        resolve(scan, "cuda")
    except models.ModelError as error:
        pytest.skip(str(error))
    windows = histories(8, 13)
    on_cpu = build("mamba4rec").loss(batch_of(windows))
    model = build("mamba4rec", scan=scan).cuda()
    batch = batch_of(windows)
    batch.windows, batch.target_mask = batch.windows.cuda(), batch.target_mask.cuda()
    torch.testing.assert_close(model.loss(batch).cpu(), on_cpu, rtol=1e-4, atol=1e-4)


def test_the_step_sizes_may_begin_as_mambas_own():
    """Between .001 and .1, where the authors' all begin at softplus(0); nothing else changes."""
    torch.manual_seed(0)
    model = models.build("mamba4rec", {"step_init": "mamba"}, 100, 20)
    mamba = model.blocks[0].mamba
    steps = torch.nn.functional.softplus(mamba.dt_proj.bias)
    assert 0.00099 < steps.min() < 0.01 < steps.max() < 0.101
    assert mamba.dt_proj.weight.abs().max() <= mamba.dt_proj.in_features**-0.5
    torch.manual_seed(0)
    authors = models.build("mamba4rec", {}, 100, 20)
    differ = {n for n, p in model.named_parameters() if not torch.equal(p, authors.get_parameter(n))}  # fmt: skip
    assert differ == {"blocks.0.mamba.dt_proj.weight", "blocks.0.mamba.dt_proj.bias"}
    with pytest.raises(models.ModelError, match="step_init 'x' is unknown"):
        models.build("mamba4rec", {"step_init": "x"}, 100, 20)
