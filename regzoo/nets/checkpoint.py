"""Weights on disk: safetensors with a sha256, and the official Kipoi checkpoints converted to them once."""

import hashlib
import pickle
import shutil
import urllib.error
import urllib.request
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode

from regzoo.errors import ModelError
from regzoo.sequence.files import cache_folder, finished_file


class without_initialisation(TorchFunctionMode):
    """Context in which modules get no random weights, for those whose weights are loaded next."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (torch.Tensor.uniform_, torch.Tensor.normal_):
            return args[0]
        return function(*args, **(kwargs or {}))


def file_digest(path, algorithm="sha256"):
    """Hexadecimal digest of a file."""
    digest = hashlib.new(algorithm)
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def state_digest(module):
    """Digest that tells one module's weights from another's, by every tensor's name, shape and sum; not cryptographic."""
    sums = [(name, tuple(value.shape), float(value.sum())) for name, value in module.state_dict().items()]
    return hashlib.sha256(repr(sums).encode()).hexdigest()


def load_pickled(path):
    """Tensors of a .pth or .bin checkpoint; code in it is refused, not run.

    Raises
    ------
    ModelError
        If the file is missing, corrupt, or holds more than tensors.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        raise ModelError(f"{path}: not a checkpoint of plain tensors ({error})") from error


def read_weights(path, sha256=None):
    """Tensors of a safetensors file; half-precision ones become float32, in which they are exact.

    Parameters
    ----------
    path : str or pathlib.Path
    sha256 : str, optional
        What the file must be.

    Raises
    ------
    ModelError
        If the file is missing, corrupt, or not what `sha256` says.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such weights file")
    if sha256 and (found := file_digest(path)) != sha256:
        raise ModelError(f"{path}: wrong checksum, sha256 is {found} but {sha256} is expected; get the file again")
    try:
        return {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
    except SafetensorError as error:
        raise ModelError(f"{path}: not a safetensors file: {error}") from error


def load_weights(module, path, sha256=None, shared=None, adapter_scale=None):
    """Load a safetensors file into a module.

    Parameters
    ----------
    module : torch.nn.Module
    path, sha256
        As of `read_weights`.
    shared : dict of str to torch.Tensor, optional
        Tensors that come from elsewhere, where the file does not have its own.
    adapter_scale : float, optional
        The file holds LoRA's low-rank changes of shared matrices, to be multiplied by this and added.

    Raises
    ------
    ModelError
        If the file is missing, is not what `sha256` says, or does not fit the module.
    """
    state = read_weights(path, sha256)
    try:
        shared = shared or {}
        module.load_state_dict(shared | (state if adapter_scale is None else merged(shared, state, adapter_scale)))
    except (RuntimeError, KeyError) as error:
        raise ModelError(f"{path}: these weights do not fit the architecture: {error}") from error


def merged(shared, state, scale):
    """A state in which LoRA's pairs NAME.lora_A (rank x in), NAME.lora_B (out x rank) are added to NAME.weight.

    Parameters
    ----------
    shared : dict of str to torch.Tensor
        That holds the matrices.
    state : dict of str to torch.Tensor
        With the pairs; its other tensors stay.
    scale : float
        alpha / rank (Hu et al. 2022, "LoRA").

    Returns
    -------
    dict of str to torch.Tensor

    Raises
    ------
    KeyError
        If a pair has no matrix or no partner.
    """
    rest = {name: value for name, value in state.items() if not name.endswith((".lora_A", ".lora_B"))}
    names = {name.rpartition(".")[0] for name in state.keys() - rest.keys()}
    return rest | {
        f"{name}.weight": shared[f"{name}.weight"] + scale * state[f"{name}.lora_B"] @ state[f"{name}.lora_A"]
        for name in names
    }


def convert_official(module, state, swap_cg=False):
    """Load an official Kipoi checkpoint's tensors into the native architecture.

    The official modules are the same layers in the same order with other names and two-dimensional convolutions, so
    tensors are matched by order, and each is checked by its shape.

    Parameters
    ----------
    module : torch.nn.Module
        Native architecture.
    state : dict of str to torch.Tensor
        The official state_dict.
    swap_cg : bool
        The first convolution reads channels A, G, C, T; re-order it to A, C, G, T.

    Raises
    ------
    ModelError
        If a tensor is missing, left over, or of another shape.
    """
    own = module.state_dict()
    if len(state) != len(own):
        raise ModelError(f"the checkpoint has {len(state)} tensors, the architecture {len(own)}")
    converted = {}
    for (name, wanted), (key, value) in zip(own.items(), state.items()):
        if wanted.ndim == 3 and value.ndim == 4:  # (out, in, 1, k) or (out, in, k, 1)
            value = value.squeeze(-2) if value.shape[-2] == 1 else value.squeeze(-1)
        if value.shape != wanted.shape:
            raise ModelError(f"{key} of shape {tuple(value.shape)} does not fit {name}, {tuple(wanted.shape)}")
        converted[name] = value
    if swap_cg:
        first = next(iter(own))
        converted[first] = converted[first][:, [0, 2, 1, 3]].contiguous()
    module.load_state_dict(converted)


def official_weights(module, official, model_name):
    """Path of an official model's weights as safetensors, downloaded and converted at the first call.

    Parameters
    ----------
    module : torch.nn.Module
        Native architecture, used for the conversion.
    official : dict
        'address', 'md5' and optionally 'swap_cg' of the model.yaml.
    model_name : str
        Named in messages.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ModelError
        If the file cannot be downloaded (the message says where to put it by hand) or has a wrong checksum.
    """
    folder = cache_folder("official")
    converted = folder / f"{official['md5']}.safetensors"
    if converted.exists():
        return converted
    checkpoint = folder / f"{official['md5']}.pth"
    if not checkpoint.exists():
        _download(official["address"], checkpoint, model_name)
    if (found := file_digest(checkpoint, "md5")) != official["md5"]:
        raise ModelError(f"{checkpoint}: wrong checksum, md5 is {found} but {official['md5']} is expected; delete it")
    convert_official(module, load_pickled(checkpoint), official.get("swap_cg", False))
    with finished_file(converted) as temporary:
        save_file({k: v.contiguous() for k, v in module.state_dict().items()}, temporary)
    return converted


def _download(address, path, model_name):
    try:
        with finished_file(path) as temporary, urllib.request.urlopen(address, timeout=60) as source:
            with open(temporary, "wb") as out:
                shutil.copyfileobj(source, out)
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        raise ModelError(
            f"{model_name}: cannot download its official weights ({error}). "
            f"Get {address} on a connected machine and put it at {path}"
        ) from error
