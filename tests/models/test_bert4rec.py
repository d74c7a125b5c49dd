"""What is special about BERT4Rec: what it hides, and the mask token that asks for the next item."""

import torch
import torch.nn.functional as F
from tiny import N_ITEMS, batch_of, build, histories


def mask_of(windows, seed=0, **hyperparameters):
    return build("bert4rec", max_len=50, **hyperparameters)._draw_mask(batch_of(windows, seed))


def test_every_window_has_a_masked_target_and_only_targets_are_masked():
    windows = histories(200, 9)
    windows = windows[(windows != 0).sum(1) >= 2]
    for mask_prob in (0.0, 0.2, 1.0):
        mask = mask_of(windows, mask_prob=mask_prob)
        assert mask.any(1).all()
        assert not (mask & (windows[:, 1:] == 0)).any()


def test_targets_that_are_none_are_never_masked():
    batch = batch_of(histories(50, 9))
    batch.target_mask[:, :4] = False
    batch.target_mask[0] = False
    mask = build("bert4rec")._draw_mask(batch)
    assert not mask[:, :4].any() and not mask[0].any()


def test_the_share_of_masked_targets():
    windows = torch.ones(400, 51, dtype=torch.long)
    share = mask_of(windows, mask_prob=0.2, last_only=0.0).float().mean()
    assert abs(share - 0.2) < 0.01
    alone = mask_of(windows, mask_prob=0.2, last_only=0.25).sum(1) == 1
    assert 0.2 < alone.float().mean() < 0.3


def test_last_only_masks_the_last_real_item():
    windows = histories(40, 9)
    windows = windows[(windows != 0).sum(1) >= 2]
    mask = mask_of(windows, last_only=1.0)
    last = (windows != 0).sum(1) - 2  # target t is item t + 1
    assert torch.equal(mask.int().argmax(1), last) and (mask.sum(1) == 1).all()


def test_the_generator_of_the_batch_decides():
    windows = histories(40, 9)
    assert torch.equal(mask_of(windows, seed=1), mask_of(windows, seed=1))
    assert not torch.equal(mask_of(windows, seed=1), mask_of(windows, seed=2))


def test_the_loss_is_the_cross_entropy_at_the_masked_positions():
    model = build("bert4rec").eval()
    windows = histories(10, 13)
    mask = model._draw_mask(batch_of(windows))
    hidden = model.hidden(
        torch.cat([windows[:, :1], windows[:, 1:].masked_fill(mask, N_ITEMS + 1)], 1)
    )
    logits = hidden[:, 1:][mask] @ model.item_table()[1:].T
    expected = F.cross_entropy(logits, windows[:, 1:][mask] - 1)
    batch = batch_of(windows)
    torch.testing.assert_close(model.loss(batch), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(batch.windows, histories(10, 13)), "the batch is not changed"


def test_the_query_is_the_mask_token_behind_the_history():
    model = build("bert4rec").eval()
    items = histories(6, 12)
    lengths = (items != 0).sum(1)
    for row, length, query in zip(items, lengths, model.query(items), strict=True):
        asked = torch.cat([row[:length], torch.tensor([N_ITEMS + 1])])
        torch.testing.assert_close(model.hidden(asked[None])[0, -1], query, rtol=1e-5, atol=1e-5)
