"""DNABERT, DNABERT-2 and the Nucleotide Transformer, loaded from the authors' checkpoints without the authors' code.

The architecture is read from a checkpoint's config.json, not inferred from its name. Layouts and sizes are those of the
authors' configuration files and code (github.com/jerryji1993/DNABERT, zhihan1996/DNABERT-2-117M,
InstaDeepAI/nucleotide-transformer-*).
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from safetensors.torch import save_file

from regzoo.errors import ModelError
from regzoo.nets.caduceus import Caduceus
from regzoo.nets.checkpoint import load_pickled, read_weights, without_initialisation
from regzoo.nets.transformer import MaskedLM, TransformerConfig
from regzoo.output.files import finished_file
from regzoo.sections import problems, validated
from regzoo.tokenizers import BPE, OverlappingKmers, SixMers, Tokenizer


@dataclass
class LanguageModel:
    """A pretrained language model with its tokenizer.

    Attributes
    ----------
    kind : str
        'dnabert', 'dnabert2', 'nucleotide_transformer', or 'zoo' for a model trained in this project.
    net : MaskedLM or regzoo.nets.caduceus.Caduceus
        In evaluation mode.
    tokenizer : regzoo.tokenizers.Tokenizer
    source : dict
        Content of the checkpoint's config.json.
    """

    kind: str
    net: MaskedLM | Caduceus
    tokenizer: Tokenizer
    source: dict


class _Config(BaseModel):
    """Keys of a config.json that are used. A null value means the default."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    model_type: str = "bert"
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    layer_norm_eps: float = 1e-12
    type_vocab_size: int = 2
    max_position_embeddings: int | None = None
    position_embedding_type: str = "absolute"
    pad_token_id: int = 1
    mask_token_id: int = 2
    token_dropout: bool = False
    tie_word_embeddings: bool = True
    add_bias_fnn: bool = True
    alibi_starting_size: int | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _null(cls, value, info):
        return cls.model_fields[info.field_name].get_default() if value is None else value


#: Authors' names -> own names. `{p}` is weight or bias; tensors of the names in `{a,b,c}` are stacked.
_BERT_LAYER = {
    "attention.self.{query,key,value}.{p}": "qkv.{p}",
    "attention.output.dense.{p}": "attention_out.{p}",
    "attention.output.LayerNorm.{p}": "attention_norm.{p}",
    "intermediate.dense.{p}": "up.{p}",
    "output.dense.{p}": "down.{p}",
    "output.LayerNorm.{p}": "norm.{p}",
}
_DNABERT2_LAYER = {
    "attention.self.Wqkv.{p}": "qkv.{p}",
    "attention.output.dense.{p}": "attention_out.{p}",
    "attention.output.LayerNorm.{p}": "attention_norm.{p}",
    "mlp.gated_layers.{p}": "up.{p}",
    "mlp.wo.{p}": "down.{p}",
    "mlp.layernorm.{p}": "norm.{p}",
}
_ESM_LAYER = {
    "attention.self.{query,key,value}.{p}": "qkv.{p}",
    "attention.output.dense.{p}": "attention_out.{p}",
    "attention.LayerNorm.{p}": "attention_norm.{p}",
    "intermediate.dense.{p}": "up.{p}",
    "output.dense.{p}": "down.{p}",
    "LayerNorm.{p}": "norm.{p}",
}
_BERT_ENDS = {
    "bert.embeddings.word_embeddings.weight": "encoder.words.weight",
    "bert.embeddings.token_type_embeddings.weight": "encoder.types.weight",
    "bert.embeddings.LayerNorm.{p}": "encoder.norm.{p}",
    "cls.predictions.transform.dense.{p}": "dense.{p}",
    "cls.predictions.transform.LayerNorm.{p}": "norm.{p}",
    "cls.predictions.decoder.{p}": "decoder.{p}",
}
_LAYOUTS = {
    "dnabert": (
        "bert.encoder.layer",
        _BERT_LAYER,
        _BERT_ENDS | {"bert.embeddings.position_embeddings.weight": "encoder.places.weight"},
    ),
    "dnabert2": ("bert.encoder.layer", _DNABERT2_LAYER, _BERT_ENDS),
    "nucleotide_transformer": (
        "esm.encoder.layer",
        _ESM_LAYER,
        {
            "esm.embeddings.word_embeddings.weight": "encoder.words.weight",
            "esm.embeddings.position_embeddings.weight": "encoder.places.weight",
            "esm.encoder.emb_layer_norm_after.{p}": "encoder.norm.{p}",
            "lm_head.dense.{p}": "dense.{p}",
            "lm_head.layer_norm.{p}": "norm.{p}",
            "lm_head.decoder.weight": "decoder.weight",
            "lm_head.bias": "decoder.bias",
        },
    ),
}
#: Tensors that are ignored: heads of other tasks, buffers, and copies of tied tensors.
_EXTRA = re.compile(
    r"bert\.pooler\.|esm\.pooler\.|esm\.contact_head\.|cls\.predictions\.bias$|cls\.seq_relationship\.|.*inv_freq$|"
    r".*position_ids$|esm\.embeddings\.position_embeddings\.weight$|lm_head\.decoder\.bias$|classifier\."
)
#: Prefixes of the head's tensors, which a checkpoint of the encoder alone does not have.
_HEAD = ("dense.", "norm.", "decoder.")


def kind_of(config: dict[str, Any]) -> str:
    """Kind of model that a checkpoint's config.json describes.

    Returns
    -------
    str
        'dnabert', 'dnabert2' or 'nucleotide_transformer'.

    Raises
    ------
    ModelError
        If it is none of these.
    """
    size = config.get("vocab_size")
    if config.get("alibi_starting_size") is not None:
        return "dnabert2"
    if config.get("model_type") == "esm" and size in (4105, 4107):
        return "nucleotide_transformer"
    if config.get("model_type", "bert") == "bert" and size in [4**k + 5 for k in (3, 4, 5, 6)]:
        return "dnabert"
    raise ModelError(
        f"config.json: expected DNABERT, DNABERT-2 or the Nucleotide Transformer; "
        f"found model_type {config.get('model_type')!r} with vocab_size {size}"
    )


def make_config(config: dict[str, Any]) -> TransformerConfig:
    """`TransformerConfig` of a checkpoint's config.json.

    Raises
    ------
    ModelError
        If a key is missing or has an invalid value, or the model is not supported.
    """
    kind = kind_of(config)
    given = validated(_Config, config, "config.json", ModelError)
    options: dict[str, Any] = {
        "vocabulary": given.vocab_size,
        "hidden": given.hidden_size,
        "layers": given.num_hidden_layers,
        "heads": given.num_attention_heads,
        "feed_forward": given.intermediate_size,
        "epsilon": given.layer_norm_eps,
    }
    if kind == "dnabert2":
        options |= {"token_types": given.type_vocab_size, "pad": 3, "mask": 4}
    elif kind == "dnabert":
        length = given.max_position_embeddings or 512
        options |= {"positions": "learned", "max_positions": length, "limit": length}
        options |= {"gate": "none", "token_types": given.type_vocab_size, "pad": 0, "mask": 4}
    else:
        options |= _nucleotide_transformer_options(given)
    try:
        return TransformerConfig(**options)
    except ValidationError as error:
        raise ModelError(f"config.json: {problems(error)}") from error


def _nucleotide_transformer_options(given):
    """Fields of `TransformerConfig` that depend on the version of the Nucleotide Transformer."""
    rotary, length = given.position_embedding_type == "rotary", given.max_position_embeddings or 1002
    swiglu = not given.add_bias_fnn  # a key of version 2
    return {
        "norm": "pre",
        "positions": "rotary" if rotary else "learned",
        "max_positions": 0 if rotary else length,
        "first_position": 0 if rotary else given.pad_token_id + 1,
        "gate": "silu" if swiglu else "none",
        "output_bias": not swiglu,
        "pad": given.pad_token_id,
        "mask": given.mask_token_id,
        "token_dropout": given.token_dropout,
        "tied": given.tie_word_embeddings,
        "limit": length - 2,
    }


def _name_pairs(kind, config):
    """Authors' names and own name of each tensor."""
    prefix, layer, ends = _LAYOUTS[kind]
    table = [
        (f"{prefix}.{i}.{theirs}", f"encoder.layers.{i}.{ours}")
        for i in range(config.layers)
        for theirs, ours in layer.items()
    ] + list(ends.items())
    for theirs, ours in table:
        for part in ("weight", "bias") if "{p}" in ours else ("",):
            name = theirs.replace("{p}", part)
            stacked = re.search(r"\{(\w+(?:,\w+)+)\}", name)
            names = [name.replace(stacked[0], one) for one in stacked[1].split(",")] if stacked else [name]
            yield names, ours.replace("{p}", part)


def from_authors(kind: str, net: MaskedLM, state: dict[str, torch.Tensor]) -> bool:
    """Load a checkpoint's tensors into a network. Parameters and errors are those of `matched`.

    Returns
    -------
    bool
        Whether the checkpoint has a head. Otherwise the network's own is kept.
    """
    loaded, head = matched(kind, net, state)
    net.load_state_dict(loaded, strict=False)
    return head


def matched(kind: str, net: MaskedLM, state: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], bool]:
    """Tensors of a checkpoint under the network's own names.

    Parameters
    ----------
    kind : str
        See `kind_of`.
    net : MaskedLM
        Gives the expected names and shapes; may be on the meta device.
    state : dict of str to torch.Tensor
        The whole model, or the encoder alone. The encoder's names may lack their prefix ('bert.' or 'esm.').

    Returns
    -------
    loaded : dict of str to torch.Tensor
    head : bool
        Whether the checkpoint has a head.

    Raises
    ------
    ModelError
        If tensors are missing or unexpected, or have another shape. The message names them.
    """
    state, own = _current_names(kind, state), net.state_dict()
    loaded: dict[str, torch.Tensor] = {}
    missing, used, head = [], set(), True
    for names, ours in _name_pairs(kind, net.config):
        if ours == "decoder.bias" and names[0] not in state and "cls.predictions.bias" in state:
            names = ["cls.predictions.bias"]
        absent = [name for name in names if name not in state]
        if ours not in own or (absent and ours == "decoder.weight" and net.config.tied):
            continue
        if not absent:
            loaded[ours] = _stacked(names, state, own[ours])
            used.update(names)
        elif ours.startswith(_HEAD):
            head = False
        else:
            missing += absent
    extra = sorted(name for name in state.keys() - used if not _EXTRA.match(name))
    reasons = [
        f"{what} {', '.join(names[:4])}{' …' if len(names) > 4 else ''} ({len(names)})"
        for what, names in (("missing", missing), ("unexpected", extra))
        if names
    ]
    if reasons:
        raise ModelError(f"these weights do not fit the configuration of this {kind}: {'; '.join(reasons)}")
    return loaded, head


def _current_names(kind, state):
    """A checkpoint under the names of current ones: with the prefix, and with weight and bias for gamma and beta."""
    first = _LAYOUTS[kind][0].split(".")[0] + "."
    if not any(name.startswith(first) for name in state):
        state = {
            name if name.startswith(("cls.", "lm_head.")) else first + name: value for name, value in state.items()
        }
    return {re.sub(r"gamma$", "weight", re.sub(r"beta$", "bias", name)): value for name, value in state.items()}


def _stacked(names, state, expected):
    """The named tensors, stacked, with the type and shape of the expected tensor."""
    try:
        value = torch.cat([state[name] for name in names]).to(expected.dtype)
    except RuntimeError as error:
        raise ModelError(f"tensors {', '.join(names)} cannot be stacked: {error}") from error
    if value.shape != expected.shape:
        raise ModelError(
            f"{names[0]} has shape {tuple(value.shape)}, but the configuration asks for {tuple(expected.shape)}"
        )
    return value


def to_authors(kind: str, net: MaskedLM | Caduceus) -> dict[str, torch.Tensor]:
    """Tensors of a network under the authors' names."""
    own, result = net.state_dict(), {}
    for names, ours in _name_pairs(kind, net.config):
        if ours in own:
            for name, value in zip(names, own[ours].chunk(len(names))):
                result[name] = value.clone()
    return result


def _tokenizer(kind, config, folder):
    """Tokenizer of a checkpoint folder; a ModelError if its files do not match the configuration."""
    if kind == "dnabert2":
        bpe = BPE(folder / "tokenizer.json")
        if len(bpe) > config.vocabulary:
            raise ModelError(
                f"{folder / 'tokenizer.json'}: {len(bpe)} tokens, but config.json has vocab_size {config.vocabulary}"
            )
        return bpe
    tokenizer: Tokenizer
    if kind == "dnabert":
        tokenizer = OverlappingKmers(next(k for k in (3, 4, 5, 6) if 4**k + 5 == config.vocabulary))
    else:
        tokenizer = SixMers(2 if config.vocabulary == 4107 else 1)
    path = folder / "vocab.txt"
    if path.is_file():
        _check_vocabulary(path, tokenizer.vocabulary, kind)
    return tokenizer


def _check_vocabulary(path, vocabulary, kind):
    """Raise a ModelError if a vocab.txt does not start with the tokens of a kind of model."""
    try:
        found = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    # Some files of the Nucleotide Transformer end with tokens that its network does not have.
    for i, token in enumerate(vocabulary):
        if found[i : i + 1] != [token]:
            seen = repr(found[i]) if i < len(found) else "the file ends"
            raise ModelError(f"{path}, line {i + 1}: {seen}, expected {token!r} for a {kind}")


def load_pretrained(name: str | Path, revision: str = "main", legacy_mask: bool = False) -> LanguageModel:
    """Load a pretrained language model from a folder or the Hugging Face hub.

    Parameters
    ----------
    name : str or pathlib.Path
        Folder with config.json and weights as published by the authors, or name of a repository on the hub.
    revision : str
        Commit or branch on the hub. A branch is resolved to its current commit when it is first downloaded.
    legacy_mask : bool
        Do not mask padding in attention. Set it for a DNABERT fine-tuned with the authors' code of June 2021 or later.

    Returns
    -------
    LanguageModel

    Raises
    ------
    ModelError
        If a file is missing, corrupt or of another architecture, or the hub cannot be reached. In the last case the
        message lists the files to download and the folder to put them in.
    """
    if str(name) and Path(name).is_dir():
        folder = Path(name)
    else:
        from regzoo.nets.hub import fetch_folder  # slow import (0.4 s), needed here only

        folder = fetch_folder(str(name), revision)
    source = _read_config(folder / "config.json")
    try:
        kind = kind_of(source)
        if legacy_mask and kind != "dnabert":
            raise ModelError(f"legacy_mask is for DNABERT; this is a {kind}")
        config = make_config(source)
        tokenizer = _tokenizer(kind, config, folder)
        net = _load_network(kind, config, folder)
    except ModelError as error:
        raise error if str(folder) in str(error) else ModelError(f"{folder}: {error}") from error
    net.encoder.legacy_mask = legacy_mask
    return LanguageModel(kind, net, tokenizer, source)


def _read_config(path):
    """Content of a config.json."""
    try:
        source = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: missing or not JSON ({error})") from error
    if not isinstance(source, dict):
        raise ModelError(f"{path}: expected a JSON object, not {type(source).__name__}")
    return source


def _load_network(kind, config, folder):
    """Network in evaluation mode, with the weights of a checkpoint folder."""
    weights = folder / "model.safetensors"
    state = read_weights(weights) if weights.is_file() else load_pickled(folder / "pytorch_model.bin")
    # Compare shapes with the file's before allocating memory.
    with torch.device("meta"), without_initialisation():
        loaded, head = matched(kind, MaskedLM(config), state)
    with without_initialisation():
        net = MaskedLM(config).eval()
    net.load_state_dict(loaded, strict=False)
    if not head:
        net.start_head()
    return net


def save_pretrained(model: LanguageModel, folder: str | Path) -> None:
    """Write a folder that the authors' code can load: config.json, model.safetensors and the tokenizer.

    Parameters
    ----------
    model : LanguageModel
    folder : str or pathlib.Path
        Created if missing.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous() for name, value in to_authors(model.kind, model.net).items()}
    with finished_file(folder / "model.safetensors") as temporary:
        save_file(state, temporary, metadata={"format": "pt"})
    with finished_file(folder / "config.json") as temporary:
        temporary.write_text(json.dumps(model.source, indent=2) + "\n")
    if isinstance(model.tokenizer, BPE):
        with finished_file(folder / "tokenizer.json") as temporary:
            temporary.write_text(model.tokenizer.model.to_str())
    else:
        with finished_file(folder / "vocab.txt") as temporary:
            temporary.write_text("\n".join(model.tokenizer.vocabulary) + "\n")
