"""Against RecBole 1.2.1 on the same file: splits, samples, scores, losses and metrics. Run by `make parity`."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sides import LENGTH

import models
from models._kernels import using
from seqbench.core import metrics
from seqbench.training.batches import prefix_windows
from seqbench.training.ranking import rank_target

NAMES = {"SASRec": "sasrec", "BERT4Rec": "bert4rec", "GRU4Rec": "gru4rec"}
AS_RECBOLE = {
    "SASRec": {"attention": "naive", "gelu": "unfused", "n_layers": 2},
    "BERT4Rec": {"attention": "naive", "gelu": "unfused", "masking": "recbole", "item_bias": True, "n_layers": 2},
    "GRU4Rec": {"n_layers": 1, "d_hidden": 128},
}  # fmt: skip
FUSED = {"attention": "fused", "gelu": "fused"}
ATOL = 1e-5


# --- data ---------------------------------------------------------------------------------------------------------


def ours_of(both, order, split):
    """user id -> (history, target) as raw item ids, of one held-out target each."""
    data = both.ours[order]
    items, ids = np.asarray(data.items), np.array([None, *data.info["item_ids"]])
    found = {}
    for user, place in zip(data.split.users[split], data.split.target_index[split], strict=True):
        start = max(data.split.offsets[user], place - LENGTH)
        found[data.info["user_ids"][user]] = (list(ids[items[start:place]]), ids[items[place]])
    return found


def theirs_of(both, split):
    """The same from RecBole's samples, which hold one per user outside training."""
    ids, users = np.array(both.facts["items"]), both.facts["users"]
    part = {k: both.theirs[f"{split}/{k}"] for k in ("user", "history", "length", "target")}
    return {
        users[u]: (list(ids[h[:n]]), ids[t])
        for u, h, n, t in zip(
            part["user"], part["history"], part["length"], part["target"], strict=True
        )
    }


@pytest.mark.parametrize("split", ["valid", "test"])
def test_leave_one_out_is_the_same_item_for_item(both, split):
    assert ours_of(both, "float32", split) == theirs_of(both, split)


def test_the_real_clock_holds_out_other_items(both):
    """What float32 does: RecBole's split is not the chronological one."""
    theirs, ours = theirs_of(both, "test"), ours_of(both, "file", "test")
    other = sum(theirs[user][1] != ours[user][1] for user in theirs)
    print(f"\n{other} of {len(theirs)} users have another test item under the real clock")
    assert other > 0


def test_training_samples_are_the_same(both):
    data = both.ours["float32"]
    windows = prefix_windows(data.split, LENGTH)
    items, ids = np.asarray(data.items), np.array(["", *data.info["item_ids"]])
    ours = [(*ids[items[s : s + n]],) for s, n in zip(windows.start, windows.length, strict=True)]
    names, theirs = np.array(both.facts["items"]), []
    for history, length, target in zip(
        *(both.theirs[f"train/{k}"] for k in ("history", "length", "target")), strict=True
    ):
        theirs.append((*names[history[:length]], names[target]))
    assert sorted(ours) == sorted(theirs)


# --- models -------------------------------------------------------------------------------------------------------


def with_their_weights(both, name, **other):
    """Our model in evaluation mode with RecBole's weights, its items renumbered as ours."""
    prefix = f"{name}/weights/"
    weights = {
        k.removeprefix(prefix): torch.from_numpy(v)
        for k, v in both.theirs.items()
        if k.startswith(prefix)
    }
    n_items = len(both.facts["items"]) - 1
    options = {"d_model": 64, "dropout": 0.0, **AS_RECBOLE[name], **other}
    model = models.build(NAMES[name], options, n_items, LENGTH).eval()
    model.load_state_dict(translated(weights, name))
    return model


def translated(w, name):
    """RecBole's names of weights -> ours."""
    if name == "GRU4Rec":
        names = {"item_embedding.weight": "item_embedding.weight"}
        names |= {k: k.replace("gru_layers", "gru").replace("dense", "out") for k in w}
        return {names[k]: v for k, v in w.items()}
    found = {k: w[k] for k in ("item_embedding.weight", "position_embedding.weight")}
    found |= {f"norm.{k}": w[f"LayerNorm.{k}"] for k in ("weight", "bias")}
    for layer in range(2):
        theirs, ours = f"trm_encoder.layer.{layer}", f"blocks.{layer}"
        for kind in ("weight", "bias"):
            attention = f"{theirs}.multi_head_attention"
            key, value = (w[f"{attention}.{part}.{kind}"] for part in ("key", "value"))
            found[f"{ours}.attention.key_value.{kind}"] = torch.cat([key, value])
            for a, b in {
                f"{attention}.query": "attention.query", f"{attention}.dense": "attention.out",
                f"{attention}.LayerNorm": "norm", f"{theirs}.feed_forward.dense_1": "ffn.inner",
                f"{theirs}.feed_forward.dense_2": "ffn.outer", f"{theirs}.feed_forward.LayerNorm": "ffn.norm",
            }.items():  # fmt: skip
                found[f"{ours}.{b}.{kind}"] = w[f"{a}.{kind}"]
    if name == "BERT4Rec":
        for kind in ("weight", "bias"):
            found[f"head.{kind}"], found[f"head_norm.{kind}"] = (
                w[f"output_ffn.{kind}"],
                w[f"output_ln.{kind}"],
            )
        found["item_bias"] = w["output_bias"]
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kernels", ["auto", "eager"])
@pytest.mark.parametrize("style", ["naive", "fused"])
def test_the_same_weights_give_the_same_scores(both, name, kernels, style):
    other = FUSED if style == "fused" and name != "GRU4Rec" else {}
    model = with_their_weights(both, name, **other)
    model.every_position = style == "naive"
    theirs = torch.from_numpy(both.theirs[f"{name}/scores"])[:, 1:]
    with using(kernels), torch.inference_mode():
        scores = model.scores(torch.from_numpy(both.theirs[f"{name}/history"]))[:, 1:]
    print(
        f"\n{name}: scores of spread {theirs.std():.3f}, largest difference {(scores - theirs).abs().max():.1e}"
    )
    assert theirs.std() > 0.1, "weights that say nothing would prove nothing"
    torch.testing.assert_close(scores, theirs, rtol=1e-5, atol=ATOL)


def test_a_difference_would_show(both):
    """The comparison has teeth: BERT4Rec without RecBole's dropped item scores otherwise."""
    model = with_their_weights(both, "BERT4Rec")
    model.recbole = False
    history = torch.from_numpy(both.theirs["BERT4Rec/history"])[
        :, : LENGTH - 1
    ]  # room for the mask token
    short = (torch.from_numpy(both.theirs["BERT4Rec/history"]) != 0).sum(1) < LENGTH
    theirs = torch.from_numpy(both.theirs["BERT4Rec/scores"])[:, 1:]
    scores = model.scores(history)[:, 1:]
    assert short.any() and (scores - theirs)[short].abs().max() > 1e-2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kernels", ["auto", "eager"])
def test_the_same_batches_give_the_same_losses(both, name, kernels):
    """RecBole's softmax has a class for the padding, ours has none: its loss is ours plus what that class takes."""
    model = with_their_weights(both, name)
    numbers = [
        k.split("/")[1] for k in both.theirs if k.startswith(f"{name}/batch") and k.endswith("loss")
    ]
    assert len(numbers) == 6
    kinds, differences = set(), []
    for number in numbers:
        batch = {
            k: both.theirs.get(f"{name}/{number}/{k}")
            for k in ("history", "target", "masked", "loss")
        }
        with using(kernels), torch.inference_mode():
            if name == "BERT4Rec":
                ours, padding, kind = loss_of_masks(model, batch)
                kinds.add(kind)
            else:
                ours, padding = loss_of_prefixes(model, batch)
        theirs = torch.from_numpy(batch["loss"])
        differences.append(float(theirs - ours))
        torch.testing.assert_close(ours + padding, theirs, rtol=1e-5, atol=ATOL)
    print(
        f"\n{name}: loss {float(theirs):.3f}, of it the class of the padding {max(differences):.1e} at most"
    )
    assert name != "BERT4Rec" or kinds == {"last", "any"}, "six batches show both maskings"


def as_batch(history, target):
    """RecBole's right-padded histories and their targets as a batch of ours."""
    history = torch.from_numpy(history).long()
    lengths = (history != 0).sum(1)
    windows = F.pad(history, (0, 1)).scatter(
        1, lengths[:, None], torch.from_numpy(target).long()[:, None]
    )
    mask = torch.arange(history.shape[1]) == lengths[:, None] - 1
    return models.Batch(windows, lengths + 1, mask, torch.Generator(), len(history))


def loss_of_prefixes(model, batch):
    ours = as_batch(batch["history"], batch["target"])
    logits = model.hidden(ours.windows[:, :-1])[ours.target_mask] @ model.item_embedding.weight.T
    return model.loss(ours), padding_class(logits)


def loss_of_masks(model, batch):
    history = torch.from_numpy(batch["history"])
    masked = torch.from_numpy(batch["masked"]) == model.mask_token
    at = masked & (torch.arange(history.shape[1]) > 0)
    at &= masked.flip(1).cumsum(1).flip(1) <= model.most_masks
    hidden = model.hidden(history.masked_fill(masked, model.mask_token))[at]
    logits = hidden @ model.item_embedding.weight[:-1].T + model.item_bias
    last = (masked.sum(1) == 1).all() and masked[
        torch.arange(len(masked)), (history != 0).sum(1) - 1
    ].all()
    return model._loss_of(history, masked), padding_class(logits), "last" if last else "any"


def padding_class(logits):
    """Mean of log(sum over all classes / sum over the items)."""
    return (logits.logsumexp(1) - logits[:, 1:].logsumexp(1)).mean()


# --- metrics ------------------------------------------------------------------------------------------------------


def test_the_same_scores_give_the_same_metrics(both):
    scores = torch.from_numpy(both.theirs["metrics/scores"])
    target = torch.from_numpy(both.theirs["metrics/target"])
    rank, ties = rank_target(scores, target, torch.zeros(len(scores), 1, dtype=torch.long))["kept"]
    assert not ties.any() and 0.3 < both.facts["metrics"]["hit@10"] < 0.8
    for theirs, ours in {"hit@10": "hr@10", "ndcg@10": "ndcg@10", "mrr@10": "mrr@10"}.items():
        assert metrics.per_user(rank.numpy(), ours).mean() == pytest.approx(
            both.facts["metrics"][theirs], abs=1e-9
        )
