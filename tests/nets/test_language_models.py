"""Language models against the authors' outputs and the classes of transformers; invariance to padding."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from regzoo.errors import ModelError
from regzoo.nets import load_pretrained, save_pretrained
from regzoo.nets.language_models import LanguageModel, from_authors, kind_of, make_config, to_authors
from regzoo.nets.transformer import MaskedLM, TransformerConfig, alibi_slopes
from regzoo.tokenizers import OverlappingKmers
from tests.conftest import ROOT, shared_data

GOLDEN = ROOT / "tests" / "golden"
FACTS = json.loads((GOLDEN / "reference_lm.json").read_text())
OUTPUTS = np.load(GOLDEN / "reference_lm.npz")

BERT = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "type_vocab_size": 2,
    "max_position_embeddings": 64,
    "vocab_size": 69,
    "layer_norm_eps": 1e-12,
}
ESM = {
    "model_type": "esm",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 66,
    "vocab_size": 4105,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 1,
    "mask_token_id": 2,
    "position_embedding_type": "absolute",
    "token_dropout": True,
    "emb_layer_norm_before": False,
    "tie_word_embeddings": False,
}


def golden_model(name):
    config = FACTS[name]["config"] | ({"model_type": "esm"} if name == "nt_v2" else {})
    net = MaskedLM(make_config(config)).eval()
    assert from_authors(kind_of(config), net, load_file(GOLDEN / FACTS[name]["weights"]))
    return net


def inputs(name):
    return (torch.from_numpy(OUTPUTS[f"{name}/{key}"]) for key in ("input_ids", "attention_mask"))


@pytest.mark.parametrize("grad", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("name", ["dnabert2", "nt_v2"])
def test_outputs_equal_authors_code(name, grad):
    net, (ids, mask) = golden_model(name), inputs(name)
    with torch.set_grad_enabled(grad):
        hidden = net.encoder(ids, mask)
        logits = net(ids, mask).detach()
    real = mask.bool()
    expected = torch.from_numpy(OUTPUTS[f"{name}/last_hidden_state"])
    assert (hidden - expected)[real].abs().max() <= 2e-5 < expected[real].abs().max()
    assert (hidden[~real] == 0).all()
    expected = torch.from_numpy(OUTPUTS[f"{name}/logits_first64"])
    assert (logits[..., :64] - expected)[real].abs().max() <= 2e-5


def test_sequences_longer_than_alibi_starting_size():
    net, (ids, mask) = golden_model("dnabert2_long"), inputs("dnabert2_long")
    with torch.inference_mode():
        hidden = net.encoder(ids, mask)
    assert np.abs(hidden[:, :8].numpy() - OUTPUTS["dnabert2_long/last_hidden_state_first8"]).max() <= 2e-5


def test_alibi_slopes_as_published():
    """Twelve heads: eight powers of 1/2, then every second slope of sixteen heads."""
    expected = [2.0**-i for i in range(1, 9)] + [2 ** (-(i + 0.5)) for i in range(4)]
    torch.testing.assert_close(alibi_slopes(12), torch.tensor(expected))


def random_state(module):
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(value.shape, generator=generator) * (0.3 if value.ndim > 1 else 0.1)
        if value.is_floating_point()
        else value
        for name, value in module.state_dict().items()
    }


def theirs_and_ours(config):
    """Class of transformers and own class with the same random weights."""
    import transformers

    makers = {
        "bert": (transformers.BertConfig, transformers.BertForMaskedLM),
        "esm": (transformers.EsmConfig, transformers.EsmForMaskedLM),
    }
    kind, model = makers[config["model_type"]]
    options = {k: v for k, v in config.items() if k != "model_type"}
    theirs = model(kind(**options, attn_implementation="eager")).eval()
    theirs.load_state_dict(random_state(theirs))
    theirs.tie_weights()
    ours = MaskedLM(make_config(config)).eval()
    assert from_authors(kind_of(config), ours, theirs.state_dict())
    return theirs, ours


def ragged(config, rows=4, length=40):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, config["vocab_size"], (rows, length), generator=generator)
    mask = torch.arange(length) < torch.tensor([length, 25, 9, 3])[:rows, None]
    ids[~mask] = config.get("pad_token_id", 0)
    return ids, mask


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("config", [BERT, ESM, ESM | {"token_dropout": False}], ids=["dnabert", "nt v1", "no dropout"])
def test_outputs_equal_transformers_classes(config, masked):
    theirs, ours = theirs_and_ours(config)
    ids, mask = ragged(config)
    if masked:
        ids[0, 5] = ids[1, 7] = make_config(config).mask
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask.long()).logits
    with torch.inference_mode():
        got = ours(ids, mask)
    assert (got - expected)[mask].abs().max() <= 2e-5 * max(1, expected[mask].abs().max())


def test_legacy_mask_of_dnabert():
    """The published code adds the 0/1 mask to the attention scores, which is a key bias of one at each real token."""
    theirs, ours = theirs_and_ours(BERT)
    ids, mask = ragged(BERT)
    own_mask = mask[:, None, None].float()
    with torch.no_grad():
        expected = theirs.bert(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        attention = transformers_bias(theirs, ids, own_mask)
        right = ours.encoder(ids, mask)
        ours.encoder.legacy_mask = True
        legacy, unpadded = ours.encoder(ids, mask), ours.encoder(ids, torch.ones_like(mask))
    assert (legacy - attention).abs().max() <= 2e-5
    assert (right - attention)[mask].abs().max() > 1e-2
    assert (unpadded - expected).abs().max() <= 2e-5  # softmax is invariant to a constant


def transformers_bias(theirs, ids, bias):
    """The BERT of transformers, layer by layer, with a bias added to the attention scores."""
    x = theirs.bert.embeddings(input_ids=ids)
    for layer in theirs.bert.encoder.layer:
        x = layer(x, attention_mask=bias)
        x = x[0] if isinstance(x, tuple) else x
    return x


CONFIGS = {
    "alibi": TransformerConfig(40, 24, 2, 6, 32, token_types=2),
    "rotary": TransformerConfig(40, 24, 2, 6, 32, norm="pre", positions="rotary", gate="silu", output_bias=False),
    "learned": TransformerConfig(40, 24, 2, 6, 32, gate="none", positions="learned", max_positions=64),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_invariance_to_padding(kind):
    """In float64 to 1e-10: sequences alone, padded right, padded left (with shifted positions), batched by length."""
    torch.manual_seed(0)
    net = MaskedLM(CONFIGS[kind]).double().eval()
    rows = [torch.randint(5, 40, (n,)) for n in (30, 17, 30, 4)]
    alone = [net(row[None])[0] for row in rows]
    padded, mask = torch.zeros(4, 30, dtype=torch.long), torch.zeros(4, 30, dtype=torch.bool)
    for i, row in enumerate(rows):
        padded[i, : len(row)], mask[i, : len(row)] = row, True
    together = net(padded, mask)
    for i, row in enumerate(rows):
        assert (together[i, : len(row)] - alone[i]).abs().max() <= 1e-10
    if kind != "learned":  # relative positions
        left, left_mask = torch.zeros(4, 33, dtype=torch.long), torch.zeros(4, 33, dtype=torch.bool)
        for i, row in enumerate(rows):
            left[i, -len(row) :], left_mask[i, -len(row) :] = row, True
        moved = net(left, left_mask)
        for i, row in enumerate(rows):
            assert (moved[i, -len(row) :] - alone[i]).abs().max() <= 1e-10


@pytest.mark.parametrize("kind", CONFIGS)
def test_gaps_in_mask_equal_additive_mask(kind):
    """Against attention over all positions with masked keys, written out here."""
    torch.manual_seed(0)
    net = MaskedLM(CONFIGS[kind]).double().eval()
    ids = torch.randint(5, 40, (3, 20))
    mask = torch.rand(3, 20) > 0.3
    mask[:, 0] = True
    got = net.encoder(ids, mask)
    expected = eager(net.encoder, ids, mask)
    assert (got - expected)[mask].abs().max() <= 1e-10


def eager(encoder, ids, mask):
    config = encoder.config
    length, size = ids.shape[1], config.hidden // config.heads
    x = encoder._embedded(ids, mask)
    x = encoder.norm(x) if config.norm == "post" else x
    place = torch.arange(length).double()
    bias = torch.zeros(1, 1, length, length).double()
    if config.positions == "alibi":
        bias = -alibi_slopes(config.heads).double()[:, None, None] * (place[:, None] - place).abs()
    for layer in encoder.layers:
        y = layer.attention_norm(x) if layer.pre else x
        q, k, v = layer.qkv(y).unflatten(2, (3, config.heads, size)).permute(2, 0, 3, 1, 4)
        if config.positions == "rotary":
            angle = place[:, None] / 10000 ** (torch.arange(0, size, 2).double() / size)
            turn = torch.polar(torch.ones_like(angle), angle)
            q, k = (
                torch.view_as_real(torch.complex(s[..., : size // 2], s[..., size // 2 :]) * turn).mT.flatten(-2)
                for s in (q, k)
            )
        scores = (q @ k.mT / size**0.5 + bias).masked_fill(~mask[:, None, None], -1e300)
        y = layer.attention_out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        if layer.pre:
            x = x + y
            x = x + layer._feed_forward(layer.norm(x))
        else:
            x = layer.attention_norm(x + y)
            x = layer.norm(x + layer._feed_forward(x))
    return encoder.norm(x) if config.norm == "pre" else x


#: Sizes of the published models and their parameter counts. DNABERT-2: masked-LM class. Nucleotide Transformer: version
#: 1 with its position table, version 2 according to its configurations (the paper rounds: 56M, 98M, 235M, 498M, 486M,
#: 2.5B).
PUBLISHED = {
    "DNABERT-2-117M": (
        {
            "alibi_starting_size": 512,
            "vocab_size": 4096,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "type_vocab_size": 2,
        },
        117.074176,
    ),
    "NT v2 50m": ((512, 12, 16, 2048), 55.9),
    "NT v2 100m": ((512, 22, 16, 2048), 97.9),
    "NT v2 250m": ((768, 24, 16, 3072), 235.1),
    "NT v2 500m": ((1024, 29, 16, 4096), 498.3),
    "NT v1 500m": ((1280, 24, 20, 5120), 485.7),
    "NT v1 2.5b": ((2560, 32, 20, 10240), 2547.8),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name):
    config, millions = PUBLISHED[name]
    if isinstance(config, tuple):
        hidden, layers, heads, feed_forward = config
        two = "v2" in name
        config = ESM | {
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": feed_forward,
            "vocab_size": 4107 if two else 4105,
            "position_embedding_type": "rotary" if two else "absolute",
            "max_position_embeddings": 2050 if two else 1002,
        }
        config |= {"add_bias_fnn": False} if two else {}
    with torch.device("meta"):
        net = MaskedLM(make_config(config))
    count = sum(p.numel() for p in net.parameters()) / 1e6
    if name == "DNABERT-2-117M":
        assert count == millions
    else:
        # The published counts include tensors that are not used: the position table and the contact head.
        assert count == pytest.approx(millions, rel=0.025)


def write_folder(folder, name="dnabert2"):
    folder.mkdir()
    config = FACTS[name]["config"] | {"architectures": ["BertForMaskedLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes((GOLDEN / FACTS[name]["weights"]).read_bytes())
    (folder / "tokenizer.json").write_bytes(shared_data("tokenizers", "dnabert2_tokenizer.json").read_bytes())
    return folder


def test_save_and_load_round_trip(tmp_path):
    first = load_pretrained(write_folder(tmp_path / "one"))
    save_pretrained(first, tmp_path / "two")
    second = load_pretrained(tmp_path / "two")
    original, again = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert original.keys() == again.keys() and all(torch.equal(original[k], again[k]) for k in original)
    assert second.source == first.source and second.tokenizer.vocabulary == first.tokenizer.vocabulary


@pytest.mark.parametrize("config", [BERT, ESM], ids=["dnabert", "nt v1"])
def test_transformers_loads_saved_folder(config):
    theirs, ours = theirs_and_ours(config)
    written = to_authors(kind_of(config), ours)
    missing = theirs.load_state_dict(written, strict=False)
    assert not missing.unexpected_keys
    assert all(
        name.startswith(("esm.contact_head", "lm_head.decoder.bias", "cls.predictions.bias"))
        for name in missing.missing_keys
    )


def test_legacy_mask_option_of_load_pretrained(tmp_path):
    _, ours = theirs_and_ours(BERT)
    save_pretrained(LanguageModel("dnabert", ours, OverlappingKmers(3), BERT), tmp_path / "d")
    assert load_pretrained(tmp_path / "d", legacy_mask=True).net.encoder.legacy_mask
    assert not load_pretrained(tmp_path / "d").net.encoder.legacy_mask
    with pytest.raises(ModelError, match="legacy_mask is for DNABERT; this is a dnabert2"):
        load_pretrained(write_folder(tmp_path / "two"), legacy_mask=True)


def test_encoder_without_head_and_pickled_weights_load(tmp_path):
    folder = write_folder(tmp_path / "m")
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    bare = {k.removeprefix("bert."): v for k, v in state.items() if k.startswith("bert.")}
    torch.save(bare | {"pooler.dense.weight": torch.zeros(48, 48)}, folder / "pytorch_model.bin")
    model = load_pretrained(folder)
    torch.testing.assert_close(model.net.encoder.words.weight.data, bare["embeddings.word_embeddings.weight"])


def test_bad_checkpoints_are_rejected(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "m")
    state = load_file(folder / "model.safetensors")
    name = "bert.encoder.layer.1.mlp.wo.weight"

    def refused(new, message):
        save_file(new, folder / "model.safetensors")
        with pytest.raises(ModelError, match=message) as error:
            load_pretrained(folder)
        assert str(folder) in str(error.value)

    refused({k: v for k, v in state.items() if k != name}, f"missing {name}")
    refused(state | {"bert.more": torch.zeros(1)}, "unexpected bert.more")
    refused(state | {name: torch.zeros(2, 2)}, r"has shape \(2, 2\), but the configuration asks for \(48, 96\)")
    (folder / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(ModelError, match="m"):
        load_pretrained(folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="not a checkpoint of plain tensors"):
        load_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "vocab_size": 10}))
    with pytest.raises(ModelError, match="expected DNABERT, DNABERT-2 or the Nucleotide Transformer"):
        load_pretrained(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("regzoo.nets.hub.HfApi.model_info", lambda *a, **k: (_ for _ in ()).throw(OSError()))
    with pytest.raises(ModelError, match="put them at"):
        load_pretrained("zhihan1996/DNABERT-2-117M")


@pytest.mark.parametrize("kind", CONFIGS)
def test_bfloat16_is_close_to_float32(kind):
    torch.manual_seed(0)
    net = MaskedLM(CONFIGS[kind]).eval()
    ids, mask = torch.randint(5, 40, (2, 50)), torch.arange(50) < torch.tensor([[50], [31]])
    with torch.no_grad():
        exact = net.encoder(ids, mask)
        with torch.autocast("cpu", torch.bfloat16):
            near = net.encoder(ids, mask)
            net.encoder.layers[0].qkv.weight.mul_(2)  # the cached bfloat16 weights must be updated
            moved = net.encoder(ids, mask)
    cosine = torch.cosine_similarity(exact.mean(1), near.mean(1))
    assert cosine.min() > 0.999 and 0 < (exact - near).abs().max() < 0.1
    assert not torch.equal(near, moved)


@pytest.mark.parametrize("config", [BERT, ESM], ids=["dnabert", "nt v1"])
def test_attention_equals_that_of_transformers(config):
    theirs, ours = theirs_and_ours(config)
    ids = ragged(config)[0][:1].repeat(2, 1)
    ids[1] = ids[1].flip(0)
    with torch.no_grad():
        expected = theirs(input_ids=ids, output_attentions=True).attentions
        got = list(ours.encoder.attentions(ids))
    assert len(got) == len(expected) == config["num_hidden_layers"]
    for one, other in zip(got, expected):
        assert (one - other).abs().max() <= 2e-6 and (one.sum(-1) - 1).abs().max() <= 1e-5


@pytest.mark.parametrize("name", ["dnabert2", "nt_v2"])
def test_attention_of_the_golden_models_equals_softmax_written_out(name):
    """From the weights by name, position by position: queries, keys, ALiBi or rotary positions, softmax."""
    net, (ids, mask) = golden_model(name), inputs(name)
    ids = ids[:1]
    assert mask[0].all()
    config, size = net.config, net.config.hidden // net.config.heads
    with torch.no_grad():
        found = list(net.encoder.attentions(ids))
        for number, layer in enumerate(net.encoder.layers):
            x = net.encoder(ids, layer=number)[0].double().numpy()
            if config.norm == "pre":
                norm = layer.attention_norm
                x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + norm.eps)
                x = x * norm.weight.numpy() + norm.bias.numpy()
            qkv = x @ layer.qkv.weight.double().numpy().T + layer.qkv.bias.double().numpy()
            for head in range(config.heads):
                q, k = (qkv[:, at + head * size :][:, :size] for at in (0, config.hidden))
                scores = np.empty((len(q), len(q)))
                for i in range(len(q)):
                    for j in range(len(q)):
                        if config.positions == "rotary":  # the angle of a pair depends on the distance alone
                            angle = (i - j) / 10000 ** (np.arange(0, size, 2) / size)
                            half = size // 2
                            a, b, c, d = q[i, :half], q[i, half:], k[j, :half], k[j, half:]
                            scores[i, j] = ((a * c + b * d) * np.cos(angle) + (a * d - b * c) * np.sin(angle)).sum()
                        else:
                            scores[i, j] = q[i] @ k[j]
                if config.positions == "alibi":
                    bias = -float(alibi_slopes(config.heads)[head]) * np.abs(
                        np.subtract.outer(*[np.arange(len(q))] * 2)
                    )
                else:
                    bias = 0
                scores = np.exp(scores / np.sqrt(size) + bias)
                expected = scores / scores.sum(1, keepdims=True)
                assert np.abs(found[number][0, head].numpy() - expected).max() <= 2e-6
