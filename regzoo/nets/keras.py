"""Weights of Keras 2 sequential models, read from HDF5 without Keras."""

from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import nn

from regzoo.errors import ModelError

#: Layer type -> its name in Keras, and its tensors: name in torch -> name in Keras.
_LAYERS: dict[type[nn.Module], tuple[str, dict[str, str]]] = {
    nn.Conv1d: ("conv1d", {"weight": "kernel", "bias": "bias"}),
    nn.BatchNorm1d: (
        "batch_normalization",
        {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"},
    ),
    nn.Linear: ("dense", {"weight": "kernel", "bias": "bias"}),
}
_WITH_WEIGHTS = tuple(name for name, _ in _LAYERS.values())


def read_keras(path: str | Path, module: nn.Module) -> dict[str, torch.Tensor]:
    """Tensors of a Keras 2 sequential model, under the names and in the layout of a torch module.

    Layers are matched by type and order: the module's second Conv1d is `conv1d_2` of the file. The file is not trusted.
    Names, shapes, types and storage of all tensors are checked before a value is read.

    Parameters
    ----------
    path : str or pathlib.Path
        HDF5 file as written by Keras's `save_weights`.
    module : torch.nn.Module
        A sequence of layers. Those with weights are Conv1d, BatchNorm1d and Linear.

    Returns
    -------
    dict of str to torch.Tensor, float32

    Raises
    ------
    ModelError
        If the file is missing or is not HDF5, or its tensors do not fit the module.
    """
    wanted = _keras_names(module)
    try:
        with h5py.File(path, "r") as file:
            datasets = {name: _dataset(file, key, shape) for name, (key, shape) in wanted.items()}
            used = {key.partition("/")[0] for key, _ in wanted.values()}
            if other := [group for group in file if group not in used and group.startswith(_WITH_WEIGHTS)]:
                raise ModelError(f"the layer {other[0]!r} has no place in the architecture")
            values = {name: dataset[()].T.astype(np.float32) for name, dataset in datasets.items()}
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except Exception as error:  # a corrupt file can raise anything
        raise ModelError(f"{path}: not an HDF5 file of Keras weights ({type(error).__name__}: {error})") from error
    channels = 1
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv1d):
            channels = layer.out_channels
        elif isinstance(layer, nn.Linear):  # Keras flattens (positions, channels), torch (channels, positions)
            key = f"{name}.weight"
            values[key] = values[key].reshape(len(values[key]), -1, channels).swapaxes(1, 2).reshape(values[key].shape)
            channels = 1
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in values.items()}


def _keras_names(module):
    """Name of each tensor in the module -> its name and shape in Keras. Keras has all axes in reverse order."""
    names: dict[str, tuple[str, tuple[int, ...]]] = {}
    count: Counter[str] = Counter()
    for name, layer in module.named_modules():
        if type(layer) not in _LAYERS:
            continue
        kind, tensors = _LAYERS[type(layer)]
        count[kind] += 1
        group = f"{kind}_{count[kind]}"
        for own, theirs in tensors.items():
            shape = tuple(getattr(layer, own).shape[::-1])
            names[f"{name}.{own}"] = (f"{group}/{group}/{theirs}:0", shape)
    return names


def _dataset(file, key, shape):
    """A dataset of floats of this shape, stored plainly: no link, filter or reference to other files."""
    part = file
    for name in key.split("/"):
        if not isinstance(part, h5py.Group) or not isinstance(part.get(name, getlink=True), h5py.HardLink):
            raise ModelError(f"there is no tensor {key}, which the architecture needs")
        part = part[name]
    if not isinstance(part, h5py.Dataset):
        raise ModelError(f"{key} is not a tensor")
    if part.shape != shape or part.dtype.kind != "f":
        raise ModelError(f"{key} is {part.dtype} of shape {part.shape}, expected floats of shape {shape}")
    layout = part.id.get_create_plist().get_layout()
    if layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT) or part.external:
        raise ModelError(f"{key} is chunked, virtual or in another file; expected it stored plainly, as Keras does")
    return part
