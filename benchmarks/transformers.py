"""DNABERT-2-117M's configuration on real sequences: packed evaluation against the authors'
way and against plain padding.

    python benchmarks/transformers.py --fasta GENOME.fa [--sequences 256] [--batch 8] [--threads 2]

Random weights (the arithmetic does not depend on them), sequences of 200 to 1,000 bases of the FASTA, BPE tokens of a
tokenizer trained on it (about as many as DNABERT-2's own gives), or of --tokenizer. The contenders, which must agree:

    authors      padded batches in the file's order; linear layers without padding; eager attention over padded rows
    padded       the same batches; everything padded, scaled_dot_product_attention
    this         batches by token count; packed; in float32 and in bfloat16

Tokens a second are real ones; the machine's rate is that of one large product in float32. Medians of --rounds in turn.
"""

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from regzoo.nets.language_models import make_config
from regzoo.nets.sequence_model import encode_codes, pool
from regzoo.nets.transformer import MaskedLM, alibi_slopes
from regzoo.sequence import Genome
from regzoo.tokenizers import BPE, train_bpe

CONFIG = {
    "alibi_starting_size": 512,
    "vocab_size": 4096,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "type_vocab_size": 2,
}


def real_sequences(path, count):
    """Base codes of pieces of 200 to 1,000 known bases of a FASTA's first contig."""
    codes, rng, pieces = Genome(path).codes(Genome(path).contigs[0]), np.random.default_rng(0), []
    while len(pieces) < count:
        length = int(rng.integers(200, 1001))
        start = int(rng.integers(0, len(codes) - length))
        if (codes[start : start + length] < 4).all():
            pieces.append(np.array(codes[start : start + length]))
    return pieces


def authors(encoder, ids, mask):
    """The authors' PyTorch path: layers as theirs, rows unpadded for linear layers and padded again for attention."""
    config, (rows, length) = encoder.config, ids.shape
    size = config.hidden // config.heads
    place = torch.arange(length)
    bias = -alibi_slopes(config.heads)[:, None, None] * (place[:, None] - place).abs()
    bias = bias[None] + (1 - mask[:, None, None].float()) * -10000.0
    index = mask.flatten().nonzero()[:, 0]
    x = encoder.norm(encoder.words(ids) + encoder.types.weight[0]).flatten(0, 1)[index]
    for layer in encoder.layers:
        qkv = F.linear(x, layer.qkv.weight, layer.qkv.bias)
        padded = qkv.new_zeros(rows * length, qkv.shape[1]).index_copy(0, index, qkv)
        q, k, v = padded.view(rows, length, 3, config.heads, size).permute(2, 0, 3, 1, 4)
        y = ((q @ k.mT / math.sqrt(size) + bias).softmax(-1) @ v).transpose(1, 2).reshape(rows * length, -1)[index]
        x = layer.attention_norm(x + F.linear(y, layer.attention_out.weight, layer.attention_out.bias))
        first, second = F.linear(x, layer.up.weight).chunk(2, -1)
        x = layer.norm(x + F.linear(F.gelu(first) * second, layer.down.weight, layer.down.bias))
    return x.new_zeros(rows * length, x.shape[1]).index_copy(0, index, x).view(rows, length, -1)


def padded(encoder, ids, mask):
    """Everything padded, with scaled_dot_product_attention and PyTorch's linear layers."""
    config, length = encoder.config, ids.shape[1]
    place = torch.arange(length)
    bias = -alibi_slopes(config.heads)[:, None, None] * (place[:, None] - place).abs()
    bias = bias[None] + (1 - mask[:, None, None].float()) * -10000.0
    x = encoder.norm(encoder.words(ids) + encoder.types.weight[0])
    for layer in encoder.layers:
        qkv = F.linear(x, layer.qkv.weight, layer.qkv.bias)
        q, k, v = qkv.unflatten(2, (3, config.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)
        x = layer.attention_norm(x + F.linear(y, layer.attention_out.weight, layer.attention_out.bias))
        first, second = F.linear(x, layer.up.weight).chunk(2, -1)
        x = layer.norm(x + F.linear(F.gelu(first) * second, layer.down.weight, layer.down.bias))
    return x


def in_file_order(forward, encoder, tokens, batch):
    """Mean-pooled vectors, (N, hidden), of padded batches."""
    parts = []
    for start in range(0, len(tokens.ids), batch):
        part = tokens.rows(np.arange(start, min(start + batch, len(tokens.ids))))
        ids, mask = torch.from_numpy(part.ids), torch.from_numpy(part.mask)
        parts.append(pool(forward(encoder, ids, mask), mask, "mean"))
    return torch.cat(parts)


def this(network, tokenizer, pieces, bf16=False):
    """Mean-pooled vectors by the library, tokenising included."""
    result = torch.empty(len(pieces), network.hidden)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for rows, tokens, hidden in encode_codes(network, tokenizer, pieces):
            result[rows] = pool(hidden.float(), torch.from_numpy(tokens.mask), "mean")
    return result


def seconds(function):
    start = time.perf_counter()
    value = function()
    return time.perf_counter() - start, value


def machine_rate():
    """Multiply-adds a second of a product of 2,048 x 3,072 x 3,072 in float32, the best of five, through oneDNN."""
    x, w = torch.randn(2048, 3072), torch.randn(3072, 3072)
    run = lambda: torch.ops.mkldnn._linear_pointwise(x, w, None, "none", [], "")  # noqa: E731
    return 2048 * 3072 * 3072 / min(seconds(run)[0] for _ in range(5))


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fasta", required=True)
    parser.add_argument("--tokenizer", help="a tokenizer.json; without it one is trained on the FASTA")
    parser.add_argument("--sequences", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    network = MaskedLM(make_config(CONFIG)).eval()
    pieces = real_sequences(args.fasta, args.sequences)
    with tempfile.TemporaryDirectory() as folder:
        path = args.tokenizer or Path(folder) / "tokenizer.json"
        tokenizer = BPE(path) if args.tokenizer else train_bpe(real_sequences(args.fasta, 2000), path, vocabulary=4096)
    tokenising, tokens = seconds(lambda: tokenizer.encode(pieces))
    contenders = {
        "authors' way, float32": lambda: in_file_order(authors, network.encoder, tokens, args.batch),
        "plain padding, float32": lambda: in_file_order(padded, network.encoder, tokens, args.batch),
        "this, float32": lambda: this(network, tokenizer, pieces),
        "this, bfloat16": lambda: this(network, tokenizer, pieces, bf16=True),
    }
    times, values = {name: [] for name in contenders}, {}
    for _ in range(args.rounds):
        for name, function in contenders.items():
            spent, values[name] = seconds(function)
            times[name].append(spent)
    medians, real = {name: statistics.median(spent) for name, spent in times.items()}, int(tokens.mask.sum())
    products = sum(p.numel() for p in network.encoder.layers.parameters() if p.ndim == 2) * real
    rate, base = machine_rate(), values["authors' way, float32"]
    first = medians["authors' way, float32"]
    print(
        f"{len(pieces)} sequences, {real:,} tokens, {100 * real / tokens.mask.size:.0f}% of the padded ones "
        "in one frame; "
        f"tokenising {tokenising:.3f} s\n"
    )
    print(
        "| | s | against authors' | tokens a second | fraction of the float32 rate | largest error of an "
        "embedding | "
        "least cosine |\n|---|---|---|---|---|---|---|"
    )
    for name, spent in medians.items():
        error = (values[name] - base).abs().max()
        cosine = torch.cosine_similarity(values[name].double(), base.double()).min()
        print(
            f"| {name} | {spent:.1f} | {first / spent:.2f}x | {real / spent:,.0f} | {products / spent / rate:.2f} | "
            f"{error:.0e} | "
            f"{cosine:.6f} |"
        )
    logits = [network.logits(network.encode(torch.from_numpy(tokens.rows(np.arange(2)).ids)))]
    with torch.autocast("cpu", torch.bfloat16):
        logits.append(network.logits(network.encode(torch.from_numpy(tokens.rows(np.arange(2)).ids))).float())
    print(
        f"\nbfloat16: largest error of a logit {(logits[1] - logits[0]).abs().max():.0e}, "
        f"largest logit {logits[0].abs().max():.1f}"
    )


if __name__ == "__main__":
    main()
