"""Deterministic cost of a step or a batch, the same on every run: FLOPs, bytes moved and saved, operators called.

Two passes. The first counts FLOPs: of PyTorch's matrix products by its own formulas, of attention, GRU, convolution and
scan by ours (models/_cost.py), which then do not run. FLOPs belong to the mathematics, so they are equal on every device
and for every kernel; elementwise arithmetic is not among them. The second runs the kernels in use and looks at what they
are given: bytes and calls belong to the implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

import models

# Of a table that they look up in, these read as much as they return.
LOOKUPS = {"aten.embedding", "aten.index", "aten.gather", "aten.index_select"}
ADAM = "aten._fused_adam_"
# These reserve memory and touch none of it.
UNTOUCHED = {"aten.empty", "aten.empty_like", "aten.new_empty", "aten.empty_strided"}


@dataclass
class Counts:
    """Cost of one step or batch. flops; product_flops: those of products that PyTorch runs, in the declared precision;
    exponentials, scan_bytes: of selective scans, as in models/_cost.py; moved_bytes: operands read and results written by every operator, each once;
    saved_bytes: what the forward pass keeps for the backward pass, weights apart (0 at inference); operators: calls of
    PyTorch's operators, views apart, and of our kernels."""

    flops: int
    product_flops: int
    exponentials: int
    scan_bytes: int
    moved_bytes: int
    saved_bytes: int
    operators: int


def count(run: Callable[[], object], parameters: Iterator[Tensor] = ()) -> dict[str, int]:
    """Counts of ``run()``, which is called twice; the storages of ``parameters`` are no activations."""
    with models.counting_flops() as tally, _Flops() as counter:
        run()
    weights = {_storage(p) for p in parameters}
    saved: dict[int, int] = {}
    keep = torch.autograd.graph.saved_tensors_hooks(_keep(saved, weights), lambda t: t)
    with keep, _Operators() as operators, models.observing_kernels(operators.launched):
        run()
    return asdict(
        Counts(
            flops=tally.flops + counter.flops,
            product_flops=counter.flops,
            exponentials=tally.exponentials,
            scan_bytes=tally.scan_bytes,
            moved_bytes=operators.moved_bytes,
            saved_bytes=sum(saved.values()),
            operators=operators.calls,
        )
    )


class _Watching(TorchDispatchMode):
    """Shows every operator that PyTorch runs to ``seen``, composite ones as their parts."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if _packet(func) not in flop_registry:  # in inference mode composite operators arrive whole
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        self.seen(func, args, kwargs, out)
        return out

    def seen(self, func, args: tuple, kwargs: dict, out: object) -> None:
        """One operator with its operands and results."""
        raise NotImplementedError


class _Flops(_Watching):
    """Adds up the FLOPs of matrix products by PyTorch's formulas, in-place and out= variants included."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def seen(self, func, args: tuple, kwargs: dict, out: object) -> None:
        """Count it if it is a product."""
        formula = flop_registry.get(_packet(func))
        if formula is not None:
            plain = {key: value for key, value in kwargs.items() if key != "out"}
            self.flops += formula(*args, **plain, out_val=out)


class _Operators(_Watching):
    """Counts calls and the bytes of their tensors; of kernels that PyTorch does not see through ``launched``."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.moved_bytes = 0

    def seen(self, func, args: tuple, kwargs: dict, out: object) -> None:
        """Count it unless it touches no memory."""
        name = str(func._overloadpacket)
        if not func.is_view and name not in UNTOUCHED:
            self.calls += 1
            self.moved_bytes += _touched(name, args, kwargs, out)

    def launched(self, _: str, tensors: tuple) -> None:
        """One launch of a kernel, which reads or writes each tensor once."""
        self.calls += 1
        self.moved_bytes += sum(_bytes(t) for t in tensors if isinstance(t, Tensor))


def _packet(func):
    """The operator without its variant: aten.addmm for aten.addmm_."""
    packet = func._overloadpacket
    namespace, _, name = str(packet).partition(".")
    if namespace == "aten" and name.endswith("_") and hasattr(torch.ops.aten, name[:-1]):
        return getattr(torch.ops.aten, name[:-1])
    return packet


def _touched(name: str, args: tuple, kwargs: dict, out: object) -> int:
    results = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
    operands = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    written = sum(_bytes(t) for t in results)
    if name in LOOKUPS:
        return 2 * written + sum(_bytes(t) for t in operands if t is not operands[0])
    # In place and with out= the result is one of the operands: both read and written, but for out=.
    only_written = [t for t in tree_leaves(kwargs.get("out")) if isinstance(t, Tensor)]
    read = [t for t in operands if not any(t is o for o in only_written)]
    if (
        name == ADAM
    ):  # in place on lists, and returns nothing: it writes all it is given but the gradients
        gradients = {id(t) for t in args[1]}
        written = sum(_bytes(t) for t in operands if id(t) not in gradients)
    return written + sum(_bytes(t) for t in read)


def _bytes(tensor: Tensor) -> int:
    """Bytes of its elements; of an expanded one, those that exist."""
    return min(tensor.numel() * tensor.itemsize, tensor.untyped_storage().nbytes())


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _keep(saved: dict[int, int], weights: set[int]) -> Callable[[Tensor], Tensor]:
    """Note every storage that autograd keeps, once: it lives until the backward pass, so no address comes twice."""

    def pack(tensor: Tensor) -> Tensor:
        place = _storage(tensor)
        if place not in weights:
            saved[place] = tensor.untyped_storage().nbytes()
        return tensor

    return pack
