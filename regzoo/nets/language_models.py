"""DNABERT, DNABERT-2 and the Nucleotide Transformer from the authors' checkpoints, without their code.

Configurations are read from a checkpoint's config.json, never guessed from a name. Facts of layouts and sizes: the authors'
configuration files and code (github.com/jerryji1993/DNABERT, zhihan1996/DNABERT-2-117M, InstaDeepAI/nucleotide-transformer-*).
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

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
    """A pretrained model and what turns sequence into its tokens.

    Attributes
    ----------
    kind : str
        'dnabert', 'dnabert2', 'nucleotide_transformer', or 'zoo' for one of this project's.
    net : MaskedLM or regzoo.nets.caduceus.Caduceus
        In evaluation mode.
    tokenizer : regzoo.tokenizers.Tokenizer
    source : dict
        The checkpoint's config.json, which `save_pretrained` writes again.
    """

    kind: str
    net: MaskedLM | Caduceus
    tokenizer: Tokenizer
    source: dict


class _Config(BaseModel):
    """The keys of a config.json that are read; a null stands for the default."""

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


#: The authors' names -> ours, `{i}` for a layer's number; several of theirs are stacked. The head's come last.
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
    "dnabert": ("bert.encoder.layer", _BERT_LAYER,
                _BERT_ENDS | {"bert.embeddings.position_embeddings.weight": "encoder.places.weight"}),
    "dnabert2": ("bert.encoder.layer", _DNABERT2_LAYER, _BERT_ENDS),
    "nucleotide_transformer": ("esm.encoder.layer", _ESM_LAYER, {
        "esm.embeddings.word_embeddings.weight": "encoder.words.weight",
        "esm.embeddings.position_embeddings.weight": "encoder.places.weight",
        "esm.encoder.emb_layer_norm_after.{p}": "encoder.norm.{p}",
        "lm_head.dense.{p}": "dense.{p}",
        "lm_head.layer_norm.{p}": "norm.{p}",
        "lm_head.decoder.weight": "decoder.weight",
        "lm_head.bias": "decoder.bias",
    }),
}  # fmt: skip
#: What checkpoints hold besides: heads of other tasks, buffers, and copies of tied tensors.
_EXTRA = re.compile(
    r"bert\.pooler\.|esm\.pooler\.|esm\.contact_head\.|cls\.predictions\.bias$|cls\.seq_relationship\.|.*inv_freq$|"
    r".*position_ids$|esm\.embeddings\.position_embeddings\.weight$|lm_head\.decoder\.bias$"
)
#: The head, without which a checkpoint of the bare encoder is still a whole encoder.
_HEAD = ("dense.", "norm.", "decoder.")


def kind_of(config):
    """Which model a checkpoint's config.json describes.

    Raises
    ------
    ModelError
        If it is none that is known here.
    """
    size = config.get("vocab_size")
    if config.get("alibi_starting_size") is not None:
        return "dnabert2"
    if config.get("model_type") == "esm" and size in (4105, 4107):
        return "nucleotide_transformer"
    if config.get("model_type", "bert") == "bert" and size in (4**k + 5 for k in (3, 4, 5, 6)):
        return "dnabert"
    raise ModelError(
        f"config.json describes {config.get('model_type')!r} with a vocabulary of {size}: "
        "neither DNABERT, DNABERT-2 nor the Nucleotide Transformer"
    )


def make_config(config):
    """`TransformerConfig` of a checkpoint's config.json.

    Raises
    ------
    ModelError
        If a key is missing or impossible, or the model is none that is known here.
    """
    kind = kind_of(config)
    given = validated(_Config, config, "config.json", ModelError)
    sizes = {
        "vocabulary": given.vocab_size, "hidden": given.hidden_size, "layers": given.num_hidden_layers,
        "heads": given.num_attention_heads, "feed_forward": given.intermediate_size, "epsilon": given.layer_norm_eps,
    }  # fmt: skip
    try:
        if kind == "dnabert2":
            return TransformerConfig(**sizes, token_types=given.type_vocab_size, pad=3, mask=4)
        if kind == "dnabert":
            places = given.max_position_embeddings or 512
            return TransformerConfig(**sizes, gate="none", positions="learned", max_positions=places, limit=places, pad=0,
                                     mask=4, token_types=given.type_vocab_size)  # fmt: skip
        rotary, places = given.position_embedding_type == "rotary", given.max_position_embeddings or 1002
        swiglu = not given.add_bias_fnn  # a switch that only version 2 has
        return TransformerConfig(
            **sizes, norm="pre", positions="rotary" if rotary else "learned", max_positions=0 if rotary else places,
            first_position=0 if rotary else given.pad_token_id + 1, gate="silu" if swiglu else "none",
            output_bias=not swiglu, pad=given.pad_token_id, mask=given.mask_token_id, token_dropout=given.token_dropout,
            tied=given.tie_word_embeddings, limit=places - 2,
        )  # fmt: skip
    except ValidationError as error:
        raise ModelError(f"config.json: {problems(error)}") from error


def _pairs(kind, config):
    """(their names, our name) of every tensor."""
    prefix, layer, ends = _LAYOUTS[kind]
    table = [(f"{prefix}.{i}.{theirs}", f"encoder.layers.{i}.{ours}") for i in range(config.layers)
             for theirs, ours in layer.items()] + list(ends.items())  # fmt: skip
    for theirs, ours in table:
        for part in ("weight", "bias") if "{p}" in ours else ("",):
            name = theirs.replace("{p}", part)
            several = re.search(r"\{(\w+(?:,\w+)+)\}", name)
            names = [name.replace(several[0], one) for one in several[1].split(",")] if several else [name]
            yield names, ours.replace("{p}", part)


def from_authors(kind, net, state):
    """Load the authors' tensors into a network; arguments and errors as of `matched`.

    Returns
    -------
    bool
        Whether the head was there; otherwise it keeps its fresh weights.
    """
    loaded, head = matched(kind, net, state)
    net.load_state_dict(loaded, strict=False)
    return head


def matched(kind, net, state):
    """The authors' tensors under a network's own names.

    Parameters
    ----------
    kind : str
    net : MaskedLM
        Whose shapes count; it may be on the meta device.
    state : dict of str to torch.Tensor
        Of the whole model or of the bare encoder, whose names then lack their first part.

    Returns
    -------
    loaded : dict of str to torch.Tensor
    head : bool
        Whether the head was there.

    Raises
    ------
    ModelError
        If tensors are missing, left over, or of another shape; the message names them.
    """
    first = _LAYOUTS[kind][0].split(".")[0] + "."
    if not any(name.startswith(first) for name in state):
        state = {
            name if name.startswith(("cls.", "lm_head.")) else first + name: value for name, value in state.items()
        }
    # Old checkpoints call a layer norm's weight and bias gamma and beta.
    state = {re.sub(r"gamma$", "weight", re.sub(r"beta$", "bias", name)): value for name, value in state.items()}
    own, loaded, missing, used = net.state_dict(), {}, [], set()
    for names, ours in _pairs(kind, net.config):
        if ours not in own:
            continue
        lacking = [name for name in names if name not in state]
        if lacking and ours == "decoder.weight" and net.config.tied:
            continue
        if lacking and ours == "decoder.bias" and "cls.predictions.bias" in state:
            names, lacking = ["cls.predictions.bias"], []
        if lacking:
            missing += [(ours, lacking)]
            continue
        try:
            value = torch.cat([state[name] for name in names]).to(own[ours].dtype)
        except RuntimeError as error:
            raise ModelError(f"{names[0]} and those that belong to it have shapes that differ: {error}") from error
        if value.shape != own[ours].shape:
            raise ModelError(
                f"{names[0]} has shape {tuple(value.shape)}, but the configuration asks for {tuple(own[ours].shape)}"
            )
        used.update(names)
        loaded[ours] = value
    extra = sorted(
        name for name in state.keys() - used if not _EXTRA.match(name) and not name.startswith("classifier.")
    )
    head = not any(ours.startswith(_HEAD) for ours, _ in missing)
    missing = [name for ours, lacking in missing for name in lacking if not ours.startswith(_HEAD)]
    if missing or extra:
        told = [f"{what} {', '.join(names[:4])}{' …' if len(names) > 4 else ''} ({len(names)})"
                for what, names in (("missing", missing), ("unexpected", extra)) if names]  # fmt: skip
        raise ModelError(f"these weights are not of this {kind}: {'; '.join(told)}")
    return loaded, head


def to_authors(kind, net):
    """The network's tensors under the authors' names."""
    own, result = net.state_dict(), {}
    for names, ours in _pairs(kind, net.config):
        if ours in own:
            for name, value in zip(names, own[ours].chunk(len(names))):
                result[name] = value.clone()
    return result


def _tokenizer(kind, config, folder):
    """The tokenizer of a folder; a ModelError if it has a vocab.txt with another order, or more tokens than the network."""
    if kind == "dnabert2":
        tokenizer = BPE(folder / "tokenizer.json")
        if len(tokenizer) > config.vocabulary:
            raise ModelError(
                f"{folder / 'tokenizer.json'}: {len(tokenizer)} tokens, but config.json has a vocab_size of {config.vocabulary}"
            )
        return tokenizer
    if kind == "dnabert":
        tokenizer = OverlappingKmers(next(k for k in (3, 4, 5, 6) if 4**k + 5 == config.vocabulary))
    else:
        tokenizer = SixMers(2 if config.vocabulary == 4107 else 1)
    path = folder / "vocab.txt"
    if path.is_file():
        try:
            found = path.read_text(encoding="utf-8").split()
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: cannot be read as UTF-8 text ({error})") from error
        # Some files of the Nucleotide Transformer end with tokens that its network does not have.
        wrong = next((i for i, token in enumerate(tokenizer.vocabulary) if found[i : i + 1] != [token]), None)
        if wrong is not None:
            raise ModelError(
                f"{path}: line {wrong + 1} holds {' '.join(found[wrong : wrong + 1])!r}, but a {kind} has "
                f"{tokenizer.vocabulary[wrong]!r} there"
            )
    return tokenizer


def load_pretrained(name, revision="main", legacy_mask=False):
    """A pretrained language model from a folder or the Hugging Face hub.

    Parameters
    ----------
    name : str or pathlib.Path
        Folder with config.json and weights as the authors publish them, or the name of a repository on the hub.
    revision : str
        Commit or branch on the hub; a branch is resolved to its commit, which is then kept.
    legacy_mask : bool
        For a DNABERT that was fine-tuned with its authors' code of June 2021 or later, which does not mask padding.

    Returns
    -------
    LanguageModel

    Raises
    ------
    ModelError
        If a file is missing, corrupt or of another architecture, or the hub cannot be reached; the message then says what
        to download and where to put it.
    """
    if str(name) and Path(name).is_dir():
        folder = Path(name)
    else:
        from regzoo.nets.hub import fetch_folder  # takes 0.4 s to import, which nothing else needs

        folder = fetch_folder(str(name), revision)
    path = folder / "config.json"
    try:
        source = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: missing or not JSON ({error})") from error
    if not isinstance(source, dict):
        raise ModelError(f"{path}: expected a JSON object, not {type(source).__name__}")
    try:
        kind = kind_of(source)
        if legacy_mask and kind != "dnabert":
            raise ModelError(f"legacy_mask is for DNABERT's code; this is a {kind}")
        config = make_config(source)
        tokenizer = _tokenizer(kind, config, folder)
        weights = folder / "model.safetensors"
        state = read_weights(weights) if weights.is_file() else load_pickled(folder / "pytorch_model.bin")
        # Shapes are compared with the file's before any memory is taken.
        with torch.device("meta"), without_initialisation():
            loaded, head = matched(kind, MaskedLM(config), state)
        with without_initialisation():
            net = MaskedLM(config).eval()
        net.load_state_dict(loaded, strict=False)
        if not head:  # an encoder without its head, which then starts afresh
            net.start_head()
    except ModelError as error:
        raise error if str(folder) in str(error) else ModelError(f"{folder}: {error}") from error
    net.encoder.legacy_mask = legacy_mask
    return LanguageModel(kind, net, tokenizer, source)


def save_pretrained(model, folder):
    """Write a folder that the authors' code can load: config.json, model.safetensors and the tokenizer.

    Parameters
    ----------
    model : LanguageModel
    folder : str or pathlib.Path
        Made when missing.
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
