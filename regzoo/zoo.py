"""The catalogue: which models there are, and loading one."""

import difflib
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import nn

from regzoo.errors import ModelError
from regzoo.nets import build, load_pretrained
from regzoo.nets.checkpoint import load_weights, official_weights, read_weights, without_initialisation
from regzoo.sequence.codes import one_hot


class ZooModule(nn.Module):
    """An architecture with its output activation, and the mean over both strands where the model has it.

    Attributes
    ----------
    net : torch.nn.Module
        Gives logits.
    """

    def __init__(self, net, activation="sigmoid", reverse_complement=False):
        super().__init__()
        self.net = net
        self.activation = {"sigmoid": nn.Sigmoid(), "softplus": nn.Softplus(), "identity": nn.Identity(),
                           "softmax": nn.Softmax(dim=1)}[activation]  # fmt: skip
        self.reverse_complement = reverse_complement

    def forward(self, x):
        """Predictions, shape (N, targets) or (N, targets, bins), of one-hot windows, shape (N, 4, L), channels A, C, G, T."""
        forward = self.activation(self.net(x))
        if not self.reverse_complement:
            return forward
        # With channels A, C, G, T, turning both axes round is the reverse complement.
        other = self.activation(self.net(x.flip(1, 2)))
        return (forward + (other.flip(2) if other.ndim == 3 else other)) / 2


@dataclass
class Model:
    """A loaded model of the zoo.

    Attributes
    ----------
    name : str
        GROUP/MODEL.
    module : ZooModule
        In evaluation mode.
    input_length : int
        Window length in bases.
    targets : list of str
        One distinct name per output; a repeated name carries its index, as in 'name#12'.
    merge_strands : bool
        Whether variant scores are computed on both strands and averaged (kipoi-veff's `use_rc`).
    stranded : bool
        Whether intervals on '-' are turned round unless it is said otherwise: of RNA and promoters.
    """

    name: str
    module: ZooModule
    input_length: int
    targets: list = field(repr=False)
    merge_strands: bool = False
    stranded: bool = False

    @property
    def device(self):
        """Where the weights are."""
        return next(self.module.parameters()).device

    def gives(self, kind):
        """Whether outputs are 'probabilities' (of each target by itself), 'rates' (positive) or 'values' (anything else)."""
        return {nn.Sigmoid: "probabilities", nn.Softplus: "rates"}.get(type(self.module.activation), "values") == kind

    @torch.inference_mode()
    def predict(self, codes, batch_size=64, precision="float32"):
        """Predictions of windows.

        Parameters
        ----------
        codes : numpy.ndarray, uint8, shape (N, input_length)
            Base codes.
        batch_size : int
            Windows in one pass.
        precision : str
            'float32', or 'bf16' for products in bfloat16.

        Returns
        -------
        numpy.ndarray, float32, shape (N, targets), or (N, targets, bins) of a profile model
        """
        result = np.empty((len(codes), *self.output_shape), dtype=np.float32)
        for start in range(0, len(codes), batch_size):
            rows = slice(start, start + batch_size)
            batch = torch.from_numpy(one_hot(codes[rows])).to(self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16"):
                result[rows] = self.module(batch).float().cpu().numpy()
        return result

    @property
    def output_shape(self):
        """(targets,), or (targets, bins) of a profile model."""
        bins = getattr(self.module.net, "bins", None)
        return (len(self.targets),) if bins is None else (len(self.targets), bins)


def zoo_folder():
    """The checkout that holds models/ and zoo_index.yaml: REGZOO_HOME, or the one this library is in.

    Raises
    ------
    ModelError
        If there is none.
    """
    folder = Path(os.environ.get("REGZOO_HOME", Path(__file__).resolve().parents[1]))
    if not (folder / "zoo_index.yaml").is_file():
        raise ModelError(f"{folder}: no zoo_index.yaml there; set REGZOO_HOME to the zoo's checkout")
    return folder


def catalogue():
    """The index: model name -> its entry in zoo_index.yaml."""
    return yaml.safe_load((zoo_folder() / "zoo_index.yaml").read_text())["models"]


def model_folder(name):
    """Folder of a model, by name or by the path of a model directory.

    Raises
    ------
    ModelError
        If there is no such model; the nearest name is suggested.
    """
    path = Path(name)
    if (path / "model.yaml").is_file():
        return path
    models = catalogue()
    if name not in models:
        close = difflib.get_close_matches(name, models, 1, cutoff=0.4)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ModelError(f"no model {name!r} in the zoo{hint} ('regzoo ls' lists them)")
    if models[name]["status"] == "recipe":
        raise ModelError(
            f"{name} is a recipe whose weights the zoo does not have: python -m training fit {models[name]['recipe']}, then export"
        )
    return zoo_folder() / "models" / name


def read_targets(path):
    """Target names of a file, one a line, made distinct: a repeated name gets '#' and its index.

    Returns
    -------
    list of str
    """
    names = Path(path).read_text().splitlines()
    return [name if names.count(name) == 1 else f"{name}#{i}" for i, name in enumerate(names)]


def load_module(folder, name, architecture, arguments, targets, weights=None, sha256=None, official=None,
                activation="sigmoid", reverse_complement=False):  # fmt: skip
    """Build a model's module from the `args` of its model.yaml and load its weights.

    Parameters
    ----------
    folder : pathlib.Path
        The model directory, against which file names are resolved.
    name : str
        For messages.
    architecture, arguments
        Of `regzoo.nets.build`.
    targets : str
        File of target names.
    weights, sha256 : str, optional
        Safetensors file and its digest.
    official : dict, optional
        Instead of weights: address and md5 of an official checkpoint (see `official_weights`).
    activation : str
        'sigmoid', 'softplus', 'identity', or 'softmax' over targets.
    reverse_complement : bool
        Average over both strands.

    Returns
    -------
    ZooModule, in evaluation mode

    Raises
    ------
    ModelError
        If the weights are missing or not the expected ones.
    """
    shared, scale = {}, arguments.get("adapter_scale")
    if "backbone" in arguments:
        arguments, shared = with_backbone({k: v for k, v in arguments.items() if k != "adapter_scale"})
    elif "tokenizer" in arguments:
        arguments = arguments | {"tokenizer": _located(arguments["tokenizer"], folder)}
    with without_initialisation():
        net = build(architecture, **arguments)
    if official:
        load_weights(net, official_weights(net, official, name))
    else:
        load_weights(net, folder / weights, sha256, shared, scale)
    return ZooModule(net, activation, reverse_complement).eval()


def _located(tokenizer, folder):
    """Arguments of a tokenizer, the file it may have in a model directory."""
    return tokenizer | ({"path": str(folder / tokenizer["path"])} if "path" in tokenizer else {})


def with_backbone(arguments):
    """Arguments with the tokenizer and network of the language model that a model stands on, and that one's weights.

    Parameters
    ----------
    arguments : dict
        With 'backbone', the language model: LM/NAME of the zoo, a model directory, a folder in its authors' layout, or
        OWNER/NAME on the hub.

    Returns
    -------
    arguments : dict
        Of `regzoo.nets.build`, in the backbone's place 'tokenizer' and 'network'.
    state : dict of str to torch.Tensor

    Raises
    ------
    ModelError
        If there is no such model.
    """
    name = arguments["backbone"]
    rest = {key: value for key, value in arguments.items() if key != "backbone"}
    if not (name in catalogue() or name.startswith("LM/") or (Path(name) / "model.yaml").is_file()):
        found = load_pretrained(name)
        state = {f"lm.{key}": value for key, value in found.net.state_dict().items()}
        return rest | {"tokenizer": found.tokenizer, "network": found.net}, state
    folder = model_folder(name)
    args = yaml.safe_load((folder / "model.yaml").read_text())["args"]
    own = args["arguments"]
    rest |= {"tokenizer": _located(own["tokenizer"], folder), "network": own["network"]}
    state = read_weights(folder / args["weights"], args["sha256"])
    return rest, {key: value for key, value in state.items() if key.startswith("lm.")}


def load_model(name, device=None):
    """Load a model of the zoo, without Kipoi.

    Parameters
    ----------
    name : str
        GROUP/MODEL, or the path of a model directory.
    device : str, optional
        A torch device; a GPU is used when there is one, without it.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If there is no such model or its weights are missing or wrong.
    """
    folder = model_folder(name)
    content = yaml.safe_load((folder / "model.yaml").read_text())
    args = content["args"]
    module = load_module(folder, name, **args)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    veff = content.get("postprocessing", {}).get("variant_effects", {})
    return Model(
        name=name,
        module=module.to(device),
        input_length=args["arguments"]["input_length"],
        targets=read_targets(folder / args["targets"]),
        merge_strands=veff.get("use_rc", False),
        stranded=content.get("default_dataloader", {}).get("default_args", {}).get("use_strand", False),
    )
