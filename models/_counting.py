"""What every baseline shares that counts instead of training. Letters as in models/__init__.py."""

from __future__ import annotations

from torch import Tensor, nn


class CountingModel(nn.Module):
    """A baseline that is fitted in one pass over the training part; its buffers are its weights."""

    cpu_positions = 8192  # of a batch to score

    def fit(self, items: Tensor, offsets: Tensor) -> None:
        """Count: items (interactions,) user after user, user u owns items[offsets[u]:offsets[u+1]]."""
        raise NotImplementedError

    def scores(self, items: Tensor) -> Tensor:
        """Score every item as the next one: items (B, L) -> (B, V); column 0 means nothing."""
        raise NotImplementedError

    def backend_report(self) -> dict:
        """Counting models have no interchangeable kernels."""
        return {}
