"""Weights on disk: safetensors with a sha256, and the official Kipoi checkpoints converted to them once."""

import hashlib
import http.client
import shutil
import urllib.request
from pathlib import Path

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch.nn import init
from torch.overrides import TorchFunctionMode

from regzoo.errors import ModelError
from regzoo.output.files import finished_file
from regzoo.sections import Section
from regzoo.sequence.files import cache_folder


class Official(Section):
    """`official` of a model.yaml: a checkpoint that is downloaded, known by its md5.

    `swap_cg`: its first convolution reads channels A, G, C, T.
    """

    address: str = Field(pattern="^https://")
    md5: str = Field(pattern="^[0-9a-f]{32}$")
    swap_cg: bool = False


class without_initialisation(TorchFunctionMode):
    """Context in which modules get no random weights, for those whose weights are loaded next."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in _RANDOM:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


_RANDOM = (torch.Tensor.uniform_, torch.Tensor.normal_, init.uniform_, init.normal_, init.kaiming_uniform_)


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

    Returns
    -------
    dict of str to torch.Tensor

    Raises
    ------
    ModelError
        If the file is missing, corrupt, holds more than tensors, or values that are not finite.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a corrupt pickle can raise anything
        first = (str(error).splitlines() or [""])[0]
        raise ModelError(f"{path}: not a checkpoint of plain tensors ({type(error).__name__}: {first})") from error
    if not isinstance(state, dict) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) and v.layout == torch.strided for k, v in state.items()
    ):
        raise ModelError(f"{path}: not a checkpoint of plain tensors (expected a dict of names and dense tensors)")
    return _finite(state, path)


def read_weights(path, sha256=None):
    """Tensors of a safetensors file; half-precision ones become float32, in which they are exact.

    Parameters
    ----------
    path : str or pathlib.Path
    sha256 : str, optional
        What the file must be.

    Returns
    -------
    dict of str to torch.Tensor

    Raises
    ------
    ModelError
        If the file is missing, corrupt, not what `sha256` says, or holds values that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such weights file")
    if sha256 and (found := file_digest(path)) != sha256:
        raise ModelError(f"{path}: wrong checksum, sha256 is {found} but {sha256} is expected; get the file again")
    try:
        state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
    except Exception as error:  # besides SafetensorError, what the types and sizes of a damaged header raise
        raise ModelError(f"{path}: not a safetensors file: {error}") from error
    return _finite(state, path)


def _finite(state, path):
    for name, value in state.items():
        # The sum is not finite if any value is not; only then is each looked at.
        if value.is_floating_point() and not value.sum().isfinite() and not value.isfinite().all():
            raise ModelError(f"{path}: tensor {name!r} holds NaN or infinite values; get the file again")
    return state


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
        lines = [line.strip()[:300] for line in str(error).splitlines()]
        told = " ".join(lines[1:4]) + (f" … and {len(lines) - 4} more" if len(lines) > 4 else "") or lines[0]
        raise ModelError(f"{path}: these weights do not fit the architecture: {told}") from error


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
    """Official weights as safetensors, downloaded and converted at the first call.

    Both files are kept in the cache under names made of the md5 alone: the checkpoint as .pth, and its conversion as
    .safetensors with its sha256 beside it. A conversion that is not what its sha256 says is made again.

    Parameters
    ----------
    module : torch.nn.Module
        Native architecture, used for the conversion.
    official : Official
    model_name : str
        Named in messages.

    Returns
    -------
    path : pathlib.Path
    sha256 : str
        Of the file.

    Raises
    ------
    ModelError
        If the file cannot be downloaded (the message says where to put it by hand), has a wrong checksum, or does not fit
        the architecture.
    """
    folder = cache_folder("official")
    # The conversion depends on the order of channels, too.
    converted = folder / f"{official.md5}{'-swapped' if official.swap_cg else ''}.safetensors"
    stamp = converted.with_suffix(".sha256")
    if converted.is_file() and stamp.is_file() and stamp.read_text(errors="replace") == file_digest(converted):
        return converted, stamp.read_text()
    checkpoint = folder / f"{official.md5}.pth"
    if not checkpoint.exists():
        _download(official, checkpoint, model_name)
    elif (found := file_digest(checkpoint, "md5")) != official.md5:
        raise ModelError(f"{checkpoint}: wrong checksum, md5 is {found} but {official.md5} is expected; delete it")
    try:
        convert_official(module, load_pickled(checkpoint), official.swap_cg)
    except ModelError as error:
        raise ModelError(f"{model_name}: {checkpoint}: {error}") from error
    with finished_file(converted) as temporary:
        save_file({k: v.contiguous() for k, v in module.state_dict().items()}, temporary)
        digest = file_digest(temporary)
    with finished_file(stamp) as temporary:
        temporary.write_text(digest)
    return converted, digest


def _https_only():
    """An opener without the handlers of http, ftp, file and data addresses, to which a redirection may lead as well."""
    opener = urllib.request.OpenerDirector()
    proxies = {scheme: proxy for scheme, proxy in urllib.request.getproxies().items() if scheme == "https"}
    opener.add_handler(urllib.request.ProxyHandler(proxies))
    for handler in (urllib.request.UnknownHandler, urllib.request.HTTPSHandler, urllib.request.HTTPDefaultErrorHandler,
                    urllib.request.HTTPRedirectHandler, urllib.request.HTTPErrorProcessor):  # fmt: skip
        opener.add_handler(handler())
    return opener


def _download(official, path, model_name):
    """Write a checkpoint to `path`, under that name only once its md5 is right."""
    by_hand = f"Get {official.address} on a connected machine and put it at {path}"
    with finished_file(path) as temporary:
        try:
            with _https_only().open(official.address, timeout=60) as source, open(temporary, "wb") as out:
                shutil.copyfileobj(source, out)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ModelError(f"{model_name}: cannot download its official weights ({error}). {by_hand}") from error
        if (found := file_digest(temporary, "md5")) != official.md5:
            raise ModelError(
                f"{model_name}: {official.address} gave a file with md5 {found}, but {official.md5} is expected; nothing is "
                f"kept. {by_hand}"
            )
