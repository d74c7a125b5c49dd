"""RecBole's half of the parity tests: runs in RecBole's own environment and knows nothing of this project.

    python recbole_side.py FOLDER NAME LENGTH   # reads FOLDER/NAME/NAME.inter, writes FOLDER/recbole.npz and .json

Written: the splits, item for item; and for SASRec, BERT4Rec and GRU4Rec, a few optimiser steps and some noise after their start,
the weights, scores of test histories and losses of training batches, with all dropout off. Then its metrics on a matrix of
random scores. Numbers of users and items are RecBole's; `items` and `users` give the ids in the file.
"""

import json
import os
import random
import sys
from pathlib import Path

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.evaluator import Collector, Evaluator
from recbole.utils import get_model, init_seed

MODELS = ("SASRec", "BERT4Rec", "GRU4Rec")
STEPS, BATCH, SHOWN, NOISE = 30, 256, 64, 0.2
DROPOUTS = ("hidden_dropout_prob", "attn_dropout_prob", "dropout_prob")


def config_of(model, name, length):
    values = {
        "data_path": ".", "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "user_inter_num_interval": "[5,inf)", "item_inter_num_interval": "[5,inf)",
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "MAX_ITEM_LIST_LENGTH": length, "train_neg_sample_args": None, "loss_type": "CE",
        "metrics": ["Hit", "NDCG", "MRR"], "topk": [10], "valid_metric": "NDCG@10", "metric_decimal_place": 12,
        "train_batch_size": BATCH, "eval_batch_size": 4096, "learning_rate": 0.01, "use_gpu": False,
        "show_progress": False, "state": "ERROR",
    }  # fmt: skip
    return Config(model=model, dataset=name, config_dict={**values, **dict.fromkeys(DROPOUTS, 0.0)})


def samples_of(dataset):
    """History (n, length), its length and the target of every sample."""
    feat = dataset.inter_feat
    return {
        "user": feat["user_id"].numpy(),
        "history": feat["item_id_list"].numpy().astype(np.int32),
        "length": feat["item_length"].numpy().astype(np.int32),
        "target": feat["item_id"].numpy().astype(np.int32),
    }


def trained(config, data):
    init_seed(0, True)
    model = get_model(config["model"])(config, data.dataset)
    optimizer = torch.optim.Adam(model.parameters(), lr=config["learning_rate"])
    for step, batch in enumerate(data):
        optimizer.zero_grad()
        model.calculate_loss(batch).backward()
        optimizer.step()
        if step + 1 == STEPS:
            break
    with torch.no_grad():  # so short a training leaves scores that hardly depend on the history
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=NOISE)
    return model


@torch.no_grad()
def shown(model, name, train, test):
    """Weights, scores and losses of one model."""
    model.eval()
    found = {f"{name}/weights/{k}": v.numpy() for k, v in model.state_dict().items()}
    feat = test.dataset.inter_feat
    rows = torch.randperm(len(feat), generator=torch.Generator().manual_seed(0))[:SHOWN]
    asked = feat[rows]
    found[f"{name}/history"] = asked["item_id_list"].numpy()
    found[f"{name}/scores"] = model.full_sort_predict(asked).numpy()
    random.seed(0)
    for number, batch in enumerate(train):
        key = f"{name}/batch{number}"
        found[f"{key}/history"], found[f"{key}/target"] = (
            batch["item_id_list"].numpy(),
            batch["item_id"].numpy(),
        )
        if "MASK_INDEX" in batch:
            found[f"{key}/masked"] = batch["Mask_item_id_list"].numpy()
        found[f"{key}/loss"] = model.calculate_loss(batch).numpy()
        if number == 5:  # BERT4Rec draws per batch which masking it takes: six see both
            break
    return found


def metrics(config, train, n_users, n_items):
    """Random scores, targets and RecBole's metrics on them."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand((n_users, n_items), generator=generator)
    target = torch.randint(1, n_items, (n_users,), generator=generator)
    # Ranks of up to about 20.
    scores[torch.arange(n_users), target] = 1 - 20 / n_items * torch.rand(
        n_users, generator=generator
    )
    scores[:, 0] = -torch.inf
    collector, users = Collector(config), torch.arange(n_users)
    collector.data_collect(train)
    collector.eval_batch_collect(scores.clone(), None, users, target)
    result = Evaluator(config).evaluate(collector.get_data_struct())
    return {"metrics/scores": scores.numpy(), "metrics/target": target.numpy()}, dict(result)


def main(folder, name, length):
    os.chdir(folder)
    torch.set_num_threads(1)
    arrays, facts = {}, {}
    for model in MODELS:
        config = config_of(model, name, length)
        init_seed(0, True)
        dataset = create_dataset(config)
        train, valid, test = data_preparation(config, dataset)
        if not facts:
            for part, data in (("train", train), ("valid", valid), ("test", test)):
                arrays |= {f"{part}/{k}": v for k, v in samples_of(data.dataset).items()}
            facts["items"] = [str(i) for i in dataset.field2id_token["item_id"]]
            facts["users"] = [str(u) for u in dataset.field2id_token["user_id"]]
            found, facts["metrics"] = metrics(config, train, 500, len(facts["items"]))
            arrays |= found
        arrays |= shown(trained(config, train), model, train, test)
    np.savez(Path("recbole.npz"), **arrays)
    Path("recbole.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
