"""GRU4Rec in the variant of RecBole, after Tan et al. 2016 (arXiv 1606.08117), as next-item model.

Dropout on the item embedding, a GRU, a dense layer back to the width of the embedding, which is tied
with the output; Xavier initialisation of embedding and GRU, as in RecBole. This is *not* Hidasi's
GRU4Rec (arXiv 1511.06939): no session-parallel batches, no sampled ranking loss, Adam instead of
Adagrad. Difference from RecBole by default: a loss at every position instead of one window per prefix
(objective ``prefix``). The state
starts at 0 in every window. Letters as in models/__init__.py; H hidden units.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from models import SequenceModel, _kernels
from models._batch import gather_positions, lengths_of
from models._layers import Linear

label = "GRU4Rec"
color = "#CC79A7"
marker = "D"


@dataclass(frozen=True)
class Config:
    """Hyper-parameters of GRU4Rec."""

    d_model: int = 64  # width of the embeddings
    n_layers: int = 1  # GRU layers
    d_hidden: int = 128  # units per GRU layer
    dropout: float = 0.2  # on the embedding
    bias: bool = False  # biases in the GRU


class Model(SequenceModel):
    """GRU4Rec for histories of up to max_len items; the length leaves no trace in the weights."""

    cpu_positions = 51200  # many windows take a step together; nothing else passes between layers

    def __init__(self, config: Config, n_items: int, max_len: int):
        super().__init__()
        c = config
        self.item_embedding = nn.Embedding(n_items + 1, c.d_model, padding_idx=0)
        self.dropout = c.dropout
        self.gru = nn.GRU(c.d_model, c.d_hidden, c.n_layers, bias=c.bias, batch_first=True)
        self.out = Linear(c.d_hidden, c.d_model)
        nn.init.xavier_normal_(self.item_embedding.weight)
        nn.init.zeros_(self.item_embedding.weight[:1])
        for name, weight in self.gru.named_parameters():
            if name.startswith("weight"):
                nn.init.xavier_uniform_(weight)

    def hidden(self, items: Tensor) -> Tensor:
        """(B, L) -> (B, L, D)."""
        return self.out(self._states(items))

    def query(self, items: Tensor) -> Tensor:
        """(B, L) -> (B, D) at the last real item.

        The dense layer works there only and no other state is kept, unless ``every_position``.
        """
        if self.every_position:
            return super().query(items)
        lengths = lengths_of(items)
        whole = self.gru.hidden_size % _kernels.WHOLE == 0
        if whole and not self.training and _kernels.infers(self.item_embedding.weight):
            from models._kernels import last_state

            table = self.item_embedding.weight
            return self.out(last_state.gru(self.gru, items, table, lengths))
        return self.out(gather_positions(self._states(items), lengths[:, None] - 1).squeeze(1))

    def item_table(self) -> Tensor:
        """(V, D), shared with the input."""
        return self.item_embedding.weight

    def _states(self, items: Tensor) -> Tensor:
        """(B, L) -> (B, L, H)."""
        x = _kernels.dropout(self.item_embedding(items), self.dropout, self.training)
        return _kernels.gru(self.gru, x)
