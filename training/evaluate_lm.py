"""Evaluation of a language model on masked tokens of held-out sequences, and of simple baselines."""

from typing import Any

import numpy as np
import torch

from regzoo.sequence.codes import UNKNOWN, reverse_complement
from regzoo.tokenizers import Tokenizer

ORDER = 5  # of the Markov chain
FRACTION = 0.15  # of tokens that are masked
SEED = 20
WINDOWS = 400  # at most, of each length


def evaluate_language_model(
    network: Any, tokenizer: Tokenizer, train: dict[int, np.ndarray], held_out: dict[int, np.ndarray]
) -> dict[str, Any]:
    """Masked-token accuracy and perplexity per base of the model, and of baselines on the same tokens.

    Every chosen token is masked. Of tokens that do not overlap, 15% are chosen at random; the perplexity per base is
    exp(sum of -log p / sum of bases). Of overlapping k-mers, all k that contain a chosen base are masked; p is the
    probability of the base in the middle one, summed over the k-mers with this base at that position.

    The baselines are estimated on both strands of the training windows: an order-5 Markov chain that reads from the
    left, and base frequencies by position in windows of one length.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode.
    tokenizer : regzoo.tokenizers.Tokenizer
    train, held_out : dict of int to numpy.ndarray, uint8, shape (N, length)

    Returns
    -------
    dict
        length of windows, or 'all' -> tokens, bases, accuracy, perplexity per base of model, Markov chain, positions.
    """
    markov = _markov(train)
    totals, result = [], {}
    for length, windows in held_out.items():
        rng = np.random.default_rng([SEED, length])
        codes = windows[rng.permutation(len(windows))[:WINDOWS]]
        codes = codes[(codes < UNKNOWN).all(axis=1)]
        if len(codes) < 20:
            continue
        frequency = _by_position(train.get(length), length, train)
        overlapping = getattr(tokenizer, "k", 1) > 1 and tokenizer.encode(codes[:1]).starts[0, 2] == 1
        score = _masked_bases if overlapping else _masked_tokens
        sums = score(network, tokenizer, codes, rng)
        sums |= _baselines(codes, sums.pop("places"), markov, frequency)
        totals.append(sums)
        result[str(length)] = _summary(sums)
    result["all"] = _summary({key: sum(part[key] for part in totals) for key in totals[0]})
    return result


def _summary(sums):
    per_base = {name: round(float(np.exp(sums[name] / sums["bases"])), 4) for name in ("model", "markov", "position")}
    return {
        "tokens": int(sums["tokens"]),
        "bases": int(sums["bases"]),
        "accuracy": round(sums["right"] / sums["tokens"], 4),
        "accuracy of always the commonest": round(sums["commonest"] / sums["tokens"], 4),
        "perplexity per base": {
            "model": per_base["model"],
            "order-5 Markov": per_base["markov"],
            "base frequencies by position": per_base["position"],
        },
    }


@torch.inference_mode()
def _log_probabilities(network, ids, mask, where, batch=64):
    """Log p over the vocabulary at the positions `where`, float32."""
    parts = []
    for rows in torch.arange(len(ids)).split(batch):
        hidden = network.encode(ids[rows], mask[rows])[where[rows]]
        parts.append(network.logits(hidden).float().log_softmax(-1))
    return torch.cat(parts).numpy()


def _masked_tokens(network, tokenizer, codes, rng):
    tokens = tokenizer.encode(codes)
    chosen = (rng.random(tokens.ids.shape) < FRACTION) & (tokens.ends > tokens.starts)
    ids = torch.from_numpy(np.where(chosen, tokenizer.mask, tokens.ids))
    log_p = _log_probabilities(network, ids, torch.from_numpy(tokens.mask), torch.from_numpy(chosen))
    truth = tokens.ids[chosen]
    places = np.zeros(codes.shape, dtype=bool)
    for row, at in zip(*np.nonzero(chosen)):
        places[row, tokens.starts[row, at] : tokens.ends[row, at]] = True
    return {
        "tokens": len(truth),
        "bases": int(places.sum()),
        "right": int((log_p.argmax(1) == truth).sum()),
        "commonest": int(np.bincount(truth).max()),
        "model": -float(log_p[np.arange(len(truth)), truth].sum(dtype=float)),
        "places": places,
    }


def _masked_bases(network, tokenizer, codes, rng):
    k, tokens = tokenizer.k, tokenizer.encode(codes)
    inner = codes.shape[1] - k + 1
    # Bases with all their k-mers in the window, so far apart that their spans do not touch.
    chosen = np.zeros(codes.shape, dtype=bool)
    for row in range(len(codes)):
        start = int(rng.integers(k - 1, 2 * k))
        chosen[row, start : inner : round(1 / FRACTION) * 2] = True
    ids = tokens.ids.copy()
    rows, bases = np.nonzero(chosen)
    for shift in range(k):
        ids[rows, 1 + bases - shift] = tokenizer.mask
    middle = (k - 1) // 2  # the base's offset in the k-mer that is read
    where = np.zeros(ids.shape, dtype=bool)
    where[rows, 1 + bases - middle] = True
    log_p = _log_probabilities(network, torch.from_numpy(ids), torch.from_numpy(tokens.mask), torch.from_numpy(where))
    letters = np.array([("ACGT".index(w[middle]) if w[0] != "[" else 4) for w in tokenizer.vocabulary])
    p = np.stack([np.exp(log_p[:, letters == base]).sum(axis=1) for base in range(4)], axis=1)
    p /= p.sum(axis=1, keepdims=True)
    truth = codes[chosen]
    return {
        "tokens": len(truth),
        "bases": len(truth),
        "right": int((p.argmax(1) == truth).sum()),
        "commonest": int(np.bincount(truth).max()),
        "model": -float(np.log(p[np.arange(len(truth)), truth]).sum()),
        "places": chosen,
    }


def _markov(train):
    """Log p of a base given the ORDER bases before it, shape (4 ** ORDER, 4), with one pseudocount."""
    counts = np.ones(4 ** (ORDER + 1))
    for windows in train.values():
        for codes in (windows, reverse_complement(windows)):
            if codes.shape[1] > ORDER:
                context, known = _contexts(codes, ORDER + 1)
                counts += np.bincount(context[known], minlength=len(counts))
    counts = counts.reshape(-1, 4)
    return np.log(counts / counts.sum(axis=1, keepdims=True))


def _contexts(codes, size):
    """Index of the `size` bases that start at each position, and whether all of them are known."""
    width = codes.shape[1] - size + 1
    value, known = np.zeros((len(codes), width), dtype=np.int64), np.ones((len(codes), width), dtype=bool)
    for i in range(size):
        part = codes[:, i : i + width]
        value, known = value * 4 + np.minimum(part, 3), known & (part < UNKNOWN)
    return value, known


def _by_position(windows, length, train):
    """Log frequency of bases by position, shape (length, 4), in windows of this length, or in all if these are few."""
    if windows is not None and len(windows) >= 1000:
        both = np.concatenate([windows, reverse_complement(windows)])
        counts = np.stack([(both == base).sum(axis=0) for base in range(4)], axis=1) + 1.0
    else:
        total = np.sum([np.bincount(rows.ravel(), minlength=5)[:4] for rows in train.values()], axis=0)
        counts = np.tile(total + total[::-1], (length, 1)).astype(float)
    return np.log(counts / counts.sum(axis=1, keepdims=True))


def _baselines(codes, places, markov, frequency):
    context, _ = _contexts(codes, ORDER + 1)
    log_p = np.full(codes.shape, np.log(0.25))
    log_p[:, ORDER:] = markov.reshape(-1)[context]  # the first ORDER bases of a window have no context
    by_position = frequency[np.arange(codes.shape[1]), codes]
    return {"markov": -float(log_p[places].sum()), "position": -float(by_position[places].sum())}
