"""Weights on disk: safetensors files with a sha256, and conversion of the official Kipoi checkpoints to them."""

import hashlib
import http.client
import shutil
import urllib.request
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import init
from torch.overrides import TorchFunctionMode

from regzoo.errors import ModelError
from regzoo.nets.keras import read_keras
from regzoo.output.files import finished_file, write_errors
from regzoo.sections import Section
from regzoo.sequence.files import cache_folder

#: Bytes of the largest checkpoint that is downloaded.
LARGEST_FILE = 5_000_000_000


class Official(Section):
    """Section `official` of a model.yaml: a checkpoint to download.

    Attributes
    ----------
    address : str
        An https address.
    md5 : str
        Checksum of the file.
    swap_cg : bool
        Whether the first convolution of the checkpoint reads channels A, G, C, T.
    format : str
        'pytorch', a state_dict; or 'keras', the HDF5 file of a Keras 2 model.
    """

    address: str = Field(pattern="^https://")
    md5: str = Field(pattern="^[0-9a-f]{32}$")
    swap_cg: bool = False
    format: Literal["pytorch", "keras"] = "pytorch"

    @property
    def file(self) -> Path:
        """Where the checkpoint is in the cache. The folder is created if missing."""
        return cache_folder("official") / f"{self.md5}{'.hdf5' if self.format == 'keras' else '.pth'}"


class without_initialisation(TorchFunctionMode):
    """Context that skips the random initialisation of modules whose weights are loaded next."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in _RANDOM:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


_RANDOM = (torch.Tensor.uniform_, torch.Tensor.normal_, init.uniform_, init.normal_, init.kaiming_uniform_)


def file_digest(path: str | Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file."""
    digest = hashlib.new(algorithm)
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def state_digest(module: nn.Module) -> str:
    """Digest of the name, shape and sum of each tensor of a module. It is not cryptographic."""
    sums = [(name, tuple(value.shape), float(value.sum())) for name, value in module.state_dict().items()]
    return hashlib.sha256(repr(sums).encode()).hexdigest()


def load_pickled(path: str | Path) -> dict[str, torch.Tensor]:
    """Tensors of a .pth or .bin checkpoint. A file that holds code is rejected without running it.

    Parameters
    ----------
    path : str or pathlib.Path

    Returns
    -------
    dict of str to torch.Tensor

    Raises
    ------
    ModelError
        If the file is missing or corrupt, or holds anything but tensors of finite values.
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


def read_weights(path: str | Path, sha256: str | None = None) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file. Half-precision tensors are converted to float32.

    Parameters
    ----------
    path : str or pathlib.Path
    sha256 : str, optional
        Expected digest of the file.

    Returns
    -------
    dict of str to torch.Tensor

    Raises
    ------
    ModelError
        If the file is missing or corrupt, has another digest, or holds values that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such weights file")
    if sha256 and (found := file_digest(path)) != sha256:
        raise ModelError(f"{path}: wrong checksum: sha256 is {found}, expected {sha256}; get the file again")
    try:
        state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
    except Exception as error:  # SafetensorError, or whatever a damaged header causes
        raise ModelError(f"{path}: not a safetensors file: {error}") from error
    return _finite(state, path)


def _finite(state, path):
    for name, value in state.items():
        # The sum is not finite if any value is not, and is cheaper than checking each value.
        if value.is_floating_point() and not value.sum().isfinite() and not value.isfinite().all():
            raise ModelError(f"{path}: tensor {name!r} holds NaN or infinite values; get the file again")
    return state


def load_weights(
    module: nn.Module,
    path: str | Path,
    sha256: str | None = None,
    shared: dict[str, torch.Tensor] | None = None,
    adapter_scale: float | None = None,
) -> None:
    """Load a safetensors file into a module.

    Parameters
    ----------
    module : torch.nn.Module
    path, sha256
        See `read_weights`.
    shared : dict of str to torch.Tensor, optional
        Tensors of the shared backbone. A tensor of the same name in the file takes precedence.
    adapter_scale : float, optional
        Set if the file holds LoRA updates of the shared matrices. They are multiplied by this factor and added.

    Raises
    ------
    ModelError
        If the file is missing, has another digest, or does not fit the module.
    """
    state = read_weights(path, sha256)
    try:
        shared = shared or {}
        module.load_state_dict(shared | (state if adapter_scale is None else merged(shared, state, adapter_scale)))
    except (RuntimeError, KeyError) as error:
        lines = [line.strip()[:300] for line in str(error).splitlines()]
        reason = " ".join(lines[1:4]) + (f" … and {len(lines) - 4} more" if len(lines) > 4 else "") or lines[0]
        raise ModelError(f"{path}: these weights do not fit the architecture: {reason}") from error


def merged(shared: dict[str, torch.Tensor], state: dict[str, torch.Tensor], scale: float) -> dict[str, torch.Tensor]:
    """Merge LoRA updates into the matrices that they modify: weight + scale * lora_B @ lora_A.

    Parameters
    ----------
    shared : dict of str to torch.Tensor
        The matrices, NAME.weight of shape (out, in).
    state : dict of str to torch.Tensor
        The updates, NAME.lora_A of shape (rank, in) and NAME.lora_B of shape (out, rank). Other tensors are kept.
    scale : float
        alpha / rank (Hu et al. 2022, "LoRA").

    Returns
    -------
    dict of str to torch.Tensor

    Raises
    ------
    KeyError
        If an update lacks its matrix, lora_A or lora_B.
    """
    rest = {name: value for name, value in state.items() if not name.endswith((".lora_A", ".lora_B"))}
    names = {name.rpartition(".")[0] for name in state.keys() - rest.keys()}
    return rest | {
        f"{name}.weight": shared[f"{name}.weight"] + scale * state[f"{name}.lora_B"] @ state[f"{name}.lora_A"]
        for name in names
    }


def convert_official(module: nn.Module, state: dict[str, torch.Tensor], swap_cg: bool = False) -> None:
    """Load the tensors of an official Kipoi checkpoint into the architecture of this package.

    The official modules have the same layers in the same order, under other names and with two-dimensional
    convolutions. Tensors are therefore matched by order, and their shapes are compared.

    Parameters
    ----------
    module : torch.nn.Module
        Architecture of this package.
    state : dict of str to torch.Tensor
        The official state_dict.
    swap_cg : bool
        Reorder the first convolution from channels A, G, C, T to A, C, G, T.

    Raises
    ------
    ModelError
        If a tensor is missing or unexpected, or has another shape.
    """
    own = module.state_dict()
    if len(state) != len(own):
        raise ModelError(f"the checkpoint has {len(state)} tensors, the architecture {len(own)}")
    converted = {}
    for (name, wanted), (key, value) in zip(own.items(), state.items()):
        if wanted.ndim == 3 and value.ndim == 4:  # (out, in, 1, k) or (out, in, k, 1)
            value = value.squeeze(-2) if value.shape[-2] == 1 else value.squeeze(-1)
        if value.shape != wanted.shape:
            raise ModelError(f"{key} has shape {tuple(value.shape)}, but {name} has shape {tuple(wanted.shape)}")
        converted[name] = value
    if swap_cg:
        first = next(iter(own))
        converted[first] = converted[first][:, [0, 2, 1, 3]].contiguous()
    module.load_state_dict(converted)


def official_weights(module: nn.Module, official: Official, model_name: str) -> tuple[Path, str]:
    """Official weights as safetensors, downloaded and converted at the first call.

    Both files are cached under names derived from the md5: the checkpoint as .pth or .hdf5, its conversion as
    .safetensors with its sha256 in a file beside it. The conversion is repeated if it does not match that sha256.

    Parameters
    ----------
    module : torch.nn.Module
        Architecture of this package. The conversion changes its weights.
    official : Official
    model_name : str
        Name of the model, for error messages.

    Returns
    -------
    path : pathlib.Path
    sha256 : str
        Digest of the file.

    Raises
    ------
    ModelError
        If the file cannot be downloaded (the message says where to put it by hand), has a wrong checksum, or does not
        fit the architecture.
    """
    checkpoint = official.file
    # The conversion also depends on the order of channels.
    converted = checkpoint.with_name(f"{official.md5}{'-swapped' if official.swap_cg else ''}.safetensors")
    stamp = converted.with_suffix(".sha256")
    if converted.is_file() and stamp.is_file() and stamp.read_text(errors="replace") == file_digest(converted):
        return converted, stamp.read_text()
    if not checkpoint.exists():
        _download(official, model_name)
    elif (found := file_digest(checkpoint, "md5")) != official.md5:
        raise ModelError(f"{checkpoint}: wrong checksum: md5 is {found}, expected {official.md5}; delete it")
    try:
        if official.format == "keras":
            state = module.state_dict() | _finite(read_keras(checkpoint, module), checkpoint)
        else:
            state = load_pickled(checkpoint)
        convert_official(module, state, official.swap_cg)
    except ModelError as error:
        where = "" if str(checkpoint) in str(error) else f"{checkpoint}: "
        raise ModelError(f"{model_name}: {where}{error}") from error
    with finished_file(converted) as temporary:
        save_file({k: v.contiguous() for k, v in module.state_dict().items()}, temporary)
        digest = file_digest(temporary)
    with finished_file(stamp) as temporary:
        temporary.write_text(digest)
    return converted, digest


def _https_only():
    """URL opener for https alone, so that a redirection cannot lead to an http, ftp, file or data address."""
    opener = urllib.request.OpenerDirector()
    proxies = {scheme: proxy for scheme, proxy in urllib.request.getproxies().items() if scheme == "https"}
    opener.add_handler(urllib.request.ProxyHandler(proxies))
    for handler in (
        urllib.request.UnknownHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def store_official(official: Official, path: str | Path, model_name: str) -> None:
    """Copy a checkpoint that was downloaded by other means into the cache, once its md5 is verified.

    Parameters
    ----------
    official : Official
    path : str or pathlib.Path
    model_name : str
        Name of the model, for error messages.

    Raises
    ------
    ModelError
        If the file cannot be read or has a wrong checksum.
    """
    with finished_file(official.file) as temporary:
        try:
            with write_errors(official.file):
                shutil.copyfile(path, temporary)
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: cannot read this file ({getattr(error, 'strerror', None) or error})") from error
        if (found := file_digest(temporary, "md5")) != official.md5:
            raise ModelError(
                f"{path}: md5 is {found}, but the official weights of {model_name} have {official.md5}; "
                f"get them from {official.address}"
            )


def _download(official, model_name):
    """Download a checkpoint into the cache. It is moved to its place once its md5 is verified."""
    by_hand = (
        f"Get {official.address} on a connected machine and run `regzoo fetch {model_name} --from FILE`, "
        f"or put it at {official.file}"
    )
    with finished_file(official.file) as temporary:
        try:
            opener, full = _https_only(), write_errors(official.file)
            with full, opener.open(official.address, timeout=60) as source, open(temporary, "wb") as out:
                while block := source.read(1 << 20):
                    out.write(block)
                    if out.tell() > LARGEST_FILE:
                        raise ConnectionError(f"it is larger than {LARGEST_FILE:,} bytes")
                size, expected = out.tell(), source.headers.get("Content-Length")
            if expected is not None and size < int(expected):
                raise ConnectionError(f"the connection was cut after {size:,} of {int(expected):,} bytes")
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ModelError(f"{model_name}: cannot download its official weights ({error}). {by_hand}") from error
        if (found := file_digest(temporary, "md5")) != official.md5:
            raise ModelError(
                f"{model_name}: {official.address} has md5 {found}, expected {official.md5}; "
                f"the download was discarded. {by_hand}"
            )
