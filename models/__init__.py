"""The compared models: one public file each, found by name, and the contract that they share.

Letters in every file: B windows, L positions, D model width, N state size, T targets of a batch,
V = n_items + 1 rows (row 0 is the padding and never ranked).

A model file defines ``Config`` (frozen dataclass; every field has a literal default and a trailing
comment; one that takes few words is annotated with them, ``Literal["fused", "naive"]``; that of a trained model has
``d_model``, the width D, and ``dropout``) and
``Model(config, n_items, max_len)``. Module-level literals, all optional:

    trainable = False   fitted by counting: ``fit`` instead of ``loss``
    causal = False      hidden states may depend on later items
    label, color, marker            in tables and figures (a marker of matplotlib)
    predicts_all_targets = False    a step predicts only a part of its targets; ``predictions`` says how many

Windows are padded with 0 on the right, so a causal model never reads padding and needs no key mask;
positions count from the start of the window. L may be anything from 1 to ``max_len``.
"""

from models import _cost, _kernels, _resting
from models._batch import Batch
from models._counting import CountingModel
from models._errors import ModelError
from models._loading import available, build, load
from models._sequence import SequenceModel

__all__ = ["Batch", "CountingModel", "ModelError", "SequenceModel", "available", "build", "load"]

resolve_kernels = _kernels.resolve  # what runs on a device, and why
use_kernels = _kernels.use  # which implementation runs between the matrix products
half_products = _kernels.products.half_products  # precision of the products with weights
compile_seconds = _kernels.compile_seconds  # that numba took in this process
multiplications = _kernels.multiplications  # and of products
exponentials = _kernels.exponentials  # what a CPU's rate of exponentials is measured with
count_above = _kernels.count_above  # where a target stands among all items
weights_rest = _resting.weights_rest  # between two changes of weights
counting_flops = _cost.counting  # formulas in place of what PyTorch cannot count
observing_kernels = _cost.observing  # launches that PyTorch does not see
