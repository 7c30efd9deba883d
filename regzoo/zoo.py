"""The catalogue: which models there are, and loading one."""

import difflib
import math
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from regzoo.description import Arguments, inside, read_description
from regzoo.errors import InputError, ModelError, RegzooError
from regzoo.nets import build, load_pretrained
from regzoo.nets.checkpoint import load_weights, official_weights, read_weights, without_initialisation
from regzoo.nets.sequence_model import LanguageModelNet, make_tokenizer
from regzoo.options import PRECISIONS, check_choice
from regzoo.sections import read_yaml, validated
from regzoo.sequence.codes import one_hot

#: Bytes of the largest network that a model.yaml may describe.
LARGEST = 5_000_000_000


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

        Raises
        ------
        InputError
            If `codes` has another shape or type, or the batch size or the precision is none.
        """
        check_choice("precision", precision, PRECISIONS)
        if batch_size < 1:
            raise InputError(f"{self.name}: a batch has at least 1 window, not {batch_size}")
        codes = np.asarray(codes)
        if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != self.input_length:
            raise InputError(
                f"{self.name} reads base codes, uint8 of shape (N, {self.input_length}), not {codes.dtype} of shape "
                f"{codes.shape}; `regzoo.sequence.encode_many` makes them of strings, `from_one_hot` of one-hot windows"
            )
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
    """The index: model name -> its entry in zoo_index.yaml.

    Raises
    ------
    ModelError
        If there is no index, or it is not a mapping of models.
    """
    path = zoo_folder() / "zoo_index.yaml"
    content = read_yaml(path, ModelError)
    models = content.get("models") if isinstance(content, dict) else None
    if not isinstance(models, dict) or not all(isinstance(entry, dict) for entry in models.values()):
        raise ModelError(f"{path}: expected `models`, an entry of keys and values for each name")
    return models


def model_folder(name):
    """Folder of a model, by name or by the path of a model directory.

    Parameters
    ----------
    name : str or pathlib.Path

    Raises
    ------
    ModelError
        If there is no such model; the nearest name is suggested.
    """
    path, name = Path(name), str(name)
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

    Raises
    ------
    ModelError
        If the file is missing, empty or not UTF-8, or a line has no name, a control character, or a name that cannot be made
        distinct.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")  # not splitlines(), which splits at more
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    names = [line.removesuffix("\r") for line in lines]
    if names[-1] == "":
        names.pop()
    for i, name in enumerate(names):
        if not name.strip() or any(character < " " for character in name):
            raise ModelError(f"{path}, line {i + 1}: expected the name of a target, found {name!r}")
    if not names:
        raise ModelError(f"{path}: empty; expected a target's name on each line")
    counts = Counter(names)
    distinct = [name if counts[name] == 1 else f"{name}#{i}" for i, name in enumerate(names)]
    if len(set(distinct)) < len(distinct):
        again = Counter(distinct).most_common(1)[0][0]
        raise ModelError(f"{path}: the name {again!r} is also what a repeated name is called; rename one of them")
    return distinct


def load_module(folder, name, **args):
    """Build a model's module from the `args` of its model.yaml and load its weights.

    Nothing large is allocated, and nothing downloaded, before the arguments, the target names and the network's sizes have
    been checked.

    Parameters
    ----------
    folder : str or pathlib.Path
        The model directory, against which file names are resolved.
    name : str
        For messages.
    **args
        Fields of `regzoo.description.Arguments`: `architecture` and `arguments` of `regzoo.nets.build`; `targets`, a file of
        names; `weights` and `sha256` of a safetensors file, or `official`, address and md5 of a checkpoint; `activation`;
        `reverse_complement`, to average over both strands.

    Returns
    -------
    ZooModule, in evaluation mode

    Raises
    ------
    ModelError
        If a value is unknown, missing or impossible, a file lies outside the folder, or the weights are missing or not the
        expected ones.
    """
    folder = Path(folder)
    where = folder / "model.yaml"
    args = validated(Arguments, args, where, ModelError, "args.")
    targets = read_targets(inside(folder, args.targets, "args.targets"))
    weights = None if args.weights is None else inside(folder, args.weights, "args.weights")
    arguments, shared, scale = dict(args.arguments), {}, args.arguments.get("adapter_scale")
    try:
        if "backbone" in arguments:
            if "adapter_scale" in arguments:
                _check_scale(arguments.pop("adapter_scale"))
            try:
                arguments, shared = with_backbone(arguments)
            except RegzooError as error:
                raise ModelError(f"backbone: {error}") from error
        elif isinstance(arguments.get("tokenizer"), dict):
            arguments["tokenizer"] = _tokenizer(arguments["tokenizer"], folder)
        _check_outline(args.architecture, arguments, len(targets), args.targets)
    except RegzooError as error:
        raise ModelError(f"{where}: args.arguments: {error}") from error
    with without_initialisation():
        net = build(args.architecture, **arguments)
    if args.official:
        load_weights(net, *official_weights(net, args.official, name))
    else:
        load_weights(net, weights, args.sha256, shared, scale)
    module = ZooModule(net, args.activation, args.reverse_complement).eval()
    if not isinstance(net, LanguageModelNet):  # whose sizes have been compared, and which may be slow
        try:
            _check_output(module, arguments["input_length"], len(targets))
        except ModelError as error:
            raise ModelError(f"{where}: args.arguments: {error}") from error
    return module


def _check_scale(scale):
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not math.isfinite(scale):
        raise ModelError(f"adapter_scale: expected a number, found {scale!r}")


def _check_outline(architecture, arguments, count, targets):
    """Build the network without memory for its weights, and see that it is not too large and gives `count` outputs."""
    needed = {"input_length"} if architecture == "language_model" else {"input_length", "n_targets"}
    if not needed <= arguments.keys():
        raise ModelError(f"expected {' and '.join(sorted(needed))}")
    with torch.device("meta"), without_initialisation():
        net = build(architecture, **arguments)
    size = sum(p.numel() * p.element_size() for p in net.parameters())
    if size > LARGEST:
        raise ModelError(
            f"these sizes make a network of {size / 1e9:,.0f} GB; at most {LARGEST / 1e9:.0f} GB are loaded"
        )
    outputs = arguments.get("n_targets")
    if outputs is None:
        outputs = net.lm.hidden
    if outputs != count:
        raise ModelError(f"the network has {outputs} outputs (n_targets), but {targets} names {count} targets")


@torch.inference_mode()
def _check_output(module, length, count):
    """Run a window of N through a network, and see that it gives finite outputs of the shape that is expected."""
    try:
        output = module(torch.zeros(1, 4, length))
    except (RuntimeError, ValueError, TypeError, ArithmeticError) as error:
        raise ModelError(f"this network cannot read a window of {length} bases: {error}") from error
    if output.shape[:2] != (1, count) or not output.isfinite().all():
        seen = tuple(output.shape) if output.isfinite().all() else "NaN or infinite values"
        raise ModelError(
            f"this network gives {seen} for a window of {length} bases, not finite outputs of shape (1, {count})"
        )


def _tokenizer(options, folder):
    """The tokenizer of a model directory, whose file lies in it."""
    if "path" in options:
        if not isinstance(options["path"], str):
            raise ModelError(f"tokenizer.path: expected a file name, found {options['path']!r}")
        options = options | {"path": str(inside(folder, options["path"], "args.arguments.tokenizer.path"))}
    if "kind" not in options or not all(isinstance(key, str) for key in options):
        raise ModelError("tokenizer: expected `kind` and the arguments of this kind")
    return make_tokenizer(**options)


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
        If there is no such model, or it is not a language model.
    """
    name = arguments["backbone"]
    if not isinstance(name, str):
        raise ModelError(f"expected the name of a language model, found {name!r}")
    rest = {key: value for key, value in arguments.items() if key != "backbone"}
    if not (name in catalogue() or name.startswith("LM/") or (Path(name) / "model.yaml").is_file()):
        found = load_pretrained(name)
        state = {f"lm.{key}": value for key, value in found.net.state_dict().items()}
        return rest | {"tokenizer": found.tokenizer, "network": found.net}, state
    folder = model_folder(name)
    args = read_description(folder).args
    own = args.arguments
    if not isinstance(own.get("tokenizer"), dict) or not isinstance(own.get("network"), dict) or args.weights is None:
        raise ModelError(f"{name} is not a language model with a tokenizer, a network and weights of its own")
    rest |= {"tokenizer": _tokenizer(own["tokenizer"], folder), "network": own["network"]}
    state = read_weights(inside(folder, args.weights, "args.weights"), args.sha256)
    return rest, {key: value for key, value in state.items() if key.startswith("lm.")}


def load_model(name, device=None):
    """Load a model of the zoo, without Kipoi.

    Parameters
    ----------
    name : str or pathlib.Path
        GROUP/MODEL, or the path of a model directory.
    device : str, optional
        A torch device; a GPU is used when there is one, without it.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If there is no such model, its model.yaml is malformed, or its weights are missing or wrong.
    """
    folder = model_folder(name)
    description = read_description(folder)
    args = description.args
    module = load_module(folder, str(name), **args.model_dump(exclude_unset=True))
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Model(
        name=str(name),
        module=module.to(device),
        input_length=args.arguments["input_length"],
        targets=read_targets(folder / args.targets),
        merge_strands=description.postprocessing.variant_effects.use_rc,
        stranded=description.use_strand,
    )
