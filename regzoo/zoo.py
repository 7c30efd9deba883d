"""The catalogue: which models there are, and loading one."""

import difflib
import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from regzoo.description import Arguments, inside, read_description
from regzoo.errors import InputError, ModelError, RegzooError
from regzoo.home import zoo_folder
from regzoo.model import Model, ZooModule, check_output, resolve_device
from regzoo.nets import build, load_pretrained
from regzoo.nets.checkpoint import (
    load_weights,
    official_weights,
    read_weights,
    store_official,
    without_initialisation,
)
from regzoo.nets.language_models import LanguageModel
from regzoo.nets.sequence_model import LanguageModelNet, make_tokenizer
from regzoo.sections import read_yaml, validated

if TYPE_CHECKING:
    import pandas as pd

#: Bytes of the largest network that a model.yaml may describe.
LARGEST = 5_000_000_000


def catalogue() -> dict[str, dict[str, Any]]:
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


def model_folder(name: str | Path) -> Path:
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
            f"{name} is a recipe whose weights the zoo does not have: python -m training fit {models[name]['recipe']}, "
            "then export"
        )
    return zoo_folder() / "models" / name


def read_targets(path: str | Path) -> list[str]:
    """Target names of a file, one a line, made distinct: a repeated name gets '#' and its index.

    Returns
    -------
    list of str

    Raises
    ------
    ModelError
        If the file is missing, empty or not UTF-8, or a line has no name, a control character, or a name that cannot be
        made distinct.
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


def _network_arguments(arguments, folder):
    """Arguments of `regzoo.nets.build`, and the weights of a backbone."""
    shared: dict[str, torch.Tensor] = {}
    if "backbone" in arguments:
        if "adapter_scale" in arguments:
            _check_scale(arguments.pop("adapter_scale"))
        try:
            arguments, shared = with_backbone(arguments)
        except RegzooError as error:
            raise ModelError(f"backbone: {error}") from error
    elif isinstance(arguments.get("tokenizer"), dict):
        arguments["tokenizer"] = _tokenizer(arguments["tokenizer"], folder)
    return arguments, shared


def load_module(folder: str | Path, name: str, **args: Any) -> ZooModule:
    """Build a model's module from the `args` of its model.yaml and load its weights.

    Nothing large is allocated, and nothing downloaded, before the arguments, the target names and the network's sizes
    have been checked.

    Parameters
    ----------
    folder : str or pathlib.Path
        The model directory, against which file names are resolved.
    name : str
        For messages.
    **args
        Fields of `regzoo.description.Arguments`: `architecture` and `arguments` of `regzoo.nets.build`; `targets`, a
        file of names; `weights` and `sha256` of a safetensors file, or `official`, address and md5 of a checkpoint;
        `activation`; `reverse_complement`, to average over both strands.

    Returns
    -------
    ZooModule, in evaluation mode

    Raises
    ------
    ModelError
        If a value is unknown, missing or impossible, a file lies outside the folder, or the weights are missing or not
        the expected ones.
    """
    folder = Path(folder)
    where = folder / "model.yaml"
    given = validated(Arguments, args, where, ModelError, "args.")
    targets = read_targets(inside(folder, given.targets, "args.targets"))
    weights = None if given.weights is None else inside(folder, given.weights, "args.weights")
    scale = given.arguments.get("adapter_scale")
    try:
        arguments, shared = _network_arguments(dict(given.arguments), folder)
        _check_outline(given.architecture, arguments, len(targets), given.targets)
    except RegzooError as error:
        raise ModelError(f"{where}: args.arguments: {error}") from error
    with without_initialisation():
        net = build(given.architecture, **arguments)
    if given.official:
        load_weights(net, *official_weights(net, given.official, name))
    elif weights is not None:
        load_weights(net, weights, given.sha256, shared, scale)
    module = ZooModule(net, given.activation, given.reverse_complement).eval()
    if not isinstance(net, LanguageModelNet):  # whose sizes have been compared, and which may be slow
        try:
            check_output(module, arguments["input_length"], len(targets))
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
        outputs = int(net.lm.hidden)  # type: ignore[union-attr, arg-type]
    if outputs != count:
        raise ModelError(f"the network has {outputs} outputs (n_targets), but {targets} names {count} targets")


def _tokenizer(options, folder):
    """The tokenizer of a model directory, whose file lies in it."""
    if "path" in options:
        if not isinstance(options["path"], str):
            raise ModelError(f"tokenizer.path: expected a file name, found {options['path']!r}")
        options = options | {"path": str(inside(folder, options["path"], "args.arguments.tokenizer.path"))}
    if "kind" not in options or not all(isinstance(key, str) for key in options):
        raise ModelError("tokenizer: expected `kind` and the arguments of this kind")
    return make_tokenizer(**options)


def with_backbone(arguments: dict[str, Any]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
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


def load_model(model: Any, device: str = "auto") -> Model:
    """Load a model.

    Parameters
    ----------
    model : str, pathlib.Path, Model, or a Kipoi model
        GROUP/MODEL of the zoo; the path of a model directory; a loaded model, returned as it is; or a PyTorch model of
        `kipoi.get_model`, from any source, with one input that is a one-hot window.
    device : str
        'auto' (a GPU where there is one), 'cpu', 'cuda' or 'cuda:N'.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If there is no such model, its model.yaml is malformed, or its weights are missing or wrong.
    InputError
        If there is no such device.

    Examples
    --------
    >>> import regzoo
    >>> model = regzoo.load_model("MotifResNet/tf-human")
    >>> model.predict(["ACGTA" * 20 + "C"]).shape
    (1, 5)
    """
    if isinstance(model, Model):
        return model
    if not isinstance(model, (str, Path)):
        return _of_kipoi(model, device)
    on = resolve_device(device)
    folder = model_folder(model)
    description = read_description(folder)
    args = description.args
    module = load_module(folder, str(model), **args.model_dump(exclude_unset=True))
    return Model(
        name=str(model),
        module=module.to(on),
        input_length=args.arguments["input_length"],
        targets=read_targets(folder / args.targets),
        merge_strands=description.postprocessing.variant_effects.use_rc,
        stranded=description.use_strand,
    )


def fetch(model: str | Path, from_file: str | Path | None = None) -> None:
    """Download the weights of an official model, verify them, and convert them to safetensors.

    The first use of a model does this, too. Both files are kept in REGZOO_CACHE (default ~/.cache/regzoo).

    Parameters
    ----------
    model : str or pathlib.Path
        GROUP/MODEL, or the path of a model directory.
    from_file : str or pathlib.Path, optional
        The authors' file, if it was downloaded by other means. It must have the MD5 that model.yaml states.

    Raises
    ------
    ModelError
        If there is no such model, it is not an official one, the weights cannot be downloaded, the file cannot be read,
        or the MD5 is wrong.

    Examples
    --------
    >>> regzoo.fetch("MPRA-DragoNN/ConvModel", from_file="pretrained.hdf5")  # doctest: +SKIP
    """
    official = read_description(model_folder(model)).args.official
    if official is None:
        raise ModelError(f"{model}: its weights are not downloaded; `regzoo ls --status official` lists those that are")
    if from_file is not None:
        store_official(official, from_file, str(model))
    load_model(model, device="cpu")


def load_language_model(model: Any, device: str = "auto") -> LanguageModel:
    """Load a language model and its tokenizer.

    Parameters
    ----------
    model : str, pathlib.Path or LanguageModel
        GROUP/MODEL of the zoo, a model directory, a folder in its authors' layout (config.json and weights), or
        OWNER/NAME on the Hugging Face hub. A loaded one is returned as it is.
    device : str
        'auto' (a GPU where there is one), 'cpu', 'cuda' or 'cuda:N'.

    Returns
    -------
    regzoo.nets.language_models.LanguageModel

    Raises
    ------
    ModelError
        If there is none of that name, or it is not a language model.
    """
    if isinstance(model, LanguageModel):
        return model
    on = resolve_device(device)
    loaded = None
    if isinstance(model, Model):
        name, loaded = model.name, model
    elif isinstance(model, (str, Path)):
        name = str(model)
        if name in catalogue() or name.startswith("LM/") or (Path(name) / "model.yaml").is_file():
            loaded = load_model(name, device)  # raises with the nearest name
    else:
        raise ModelError(f"expected the name or path of a language model, got {type(model).__name__}")
    if loaded is None:
        found = load_pretrained(name)
        found.net.to(on)
        return found
    net = loaded.module.net
    if not isinstance(net, LanguageModelNet):
        raise ModelError(f"{name}: not a language model; `regzoo ls` lists those under LM/")
    return LanguageModel("zoo", net.lm, net.tokenizer, {})


def load_models(models: Any, device: str = "auto") -> list[Model]:
    """Load one or several models, each once.

    Parameters
    ----------
    models : a model, or a list of them
        As `load_model` takes them.
    device : str
        As of `load_model`.

    Returns
    -------
    list of Model

    Raises
    ------
    InputError
        If there is none, or two different models have one name, so that their columns could not be told apart.
    ModelError
        As of `load_model`.
    """
    given = list(models) if isinstance(models, (list, tuple)) else [models]
    if not given:
        raise InputError("no model is given")
    found: dict[str, Model] = {}
    for one in given:
        if isinstance(one, (str, Path)) and str(one) in found:
            continue
        loaded = load_model(one, device)
        if found.setdefault(loaded.name, loaded) is not loaded:
            raise InputError(f"two models are named {loaded.name!r}; their columns could not be told apart")
    return list(found.values())


def _of_kipoi(model, device):
    """A Model of what `kipoi.get_model` returned. Kipoi is not imported here: the object says what is needed."""
    module, schema = getattr(model, "model", None), getattr(model, "schema", None)
    if not isinstance(module, nn.Module) or schema is None:
        raise ModelError(
            f"expected the name or path of a model, a regzoo.Model, or a PyTorch model of kipoi.get_model; got "
            f"{type(model).__name__}"
        )
    name = getattr(model, "name", None) or "kipoi"
    shape = getattr(schema.inputs, "shape", None)
    adapted = _Reshaped(module, shape, name)
    labels, outputs = getattr(schema.targets, "column_labels", None), getattr(schema.targets, "shape", None)
    if not outputs:
        raise ModelError(f"{name}: models with several named outputs are not supported")
    labels = list(labels or ())
    targets = labels if len(labels) == outputs[0] else outputs[0]
    if isinstance(module, ZooModule):  # the zoo's own, through Kipoi
        return Model(name, module.to(resolve_device(device)), adapted.length, labels)
    return Model.from_module(adapted, adapted.length, targets, "identity", name=name, device=device)


class _Reshaped(nn.Module):
    """A network with its input in the layout of a Kipoi schema: four channels and a length in any order, and ones."""

    def __init__(self, module, shape, name):
        super().__init__()
        long = [size for size in shape or () if size != 1]
        if len(long) != 2 or 4 not in long or long == [4, 4]:
            raise ModelError(f"{name}: expected one input that is a one-hot window of 4 channels, found shape {shape}")
        self.net, self.shape, self.channels_last = module, tuple(shape), long[1] == 4
        self.length = long[0] if self.channels_last else long[1]

    def forward(self, x):
        x = x.transpose(1, 2) if self.channels_last else x
        output = self.net(x.reshape(len(x), *self.shape))
        return output.reshape(len(x), -1) if output.ndim == 1 else output


def list_models(status: str | None = None, data: str | None = None, target: str | None = None) -> "pd.DataFrame":
    """The models of the zoo.

    Parameters
    ----------
    status : str, optional
        'trained' (weights ship with the zoo), 'official' (the authors' weights are downloaded at first use) or 'recipe'
        (to be trained).
    data : str, optional
        Part of the name of a data set, such as 'tf-human'; case is ignored.
    target : str, optional
        Part of a target's name, such as 'CTCF'; case is ignored. Models that have one are kept.

    Returns
    -------
    pandas.DataFrame
        Indexed by model name; columns status, data, input_length, targets, parameters, title.

    Raises
    ------
    ModelError
        If there is no such status, or the zoo has no index.
    """
    import pandas as pd

    models = catalogue()
    known = sorted({str(entry.get("status")) for entry in models.values()})
    if status is not None and status not in known:
        raise ModelError(f"no status {status!r}; there are {', '.join(known)}")
    fields = ("status", "data", "input_length", "targets", "parameters", "title")
    rows = {
        name: [entry.get(field) for field in fields]
        for name, entry in models.items()
        if status in (None, entry.get("status"))
        and (data is None or data.lower() in f"{entry.get('data')} {name.partition('/')[2]}".lower())
        and (target is None or any(target.lower() in known_target.lower() for known_target in _targets_of(name)))
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(fields))
    table.index.name = "model"
    return table


def _targets_of(name):
    path = zoo_folder() / "models" / name / "targets.txt"
    return read_targets(path) if path.is_file() else []
