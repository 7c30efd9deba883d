"""The authors' real checkpoints, where there is a network: transformers' own classes, and what a trained model must know."""

import numpy as np
import pytest
import torch

from regzoo.nets import load_pretrained
from regzoo.nets.hub import fetch_folder
from regzoo.sequence import encode

#: The first bases of the human beta-actin coding sequence (NM_001101), which no model should find surprising.
ACTIN = (
    "ATGGATGATGATATCGCCGCGCTCGTCGTCGACAACGGCTCCGGCATGTGCAAGGCCGGCTTCGCGGGCGACGATGCCCCCCGGGCCGTCTTCCCCTCCATCGTGGGGCGCCCC"
    "AGGCACCAGGGCGTGATGGTGGGCATGGGTCAGAAGGATTCCTATGTGGGCGACGAGGCCCAGAGCAAGAGAGGCATCCT"
)


def fetched(name):
    try:
        return fetch_folder(name)
    except Exception as error:  # any failure of the network
        pytest.skip(f"cannot download {name}: {error}")


@pytest.mark.official
@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("InstaDeepAI/nucleotide-transformer-500m-human-ref", "EsmForMaskedLM"),
        ("zhihan1996/DNA_bert_6", "BertForMaskedLM"),
    ],
)
def test_transformers_own_classes(name, own):
    import transformers

    folder = fetched(name)
    theirs = getattr(transformers, own).from_pretrained(folder).eval()
    ours = load_pretrained(folder)
    tokens = ours.tokenizer.encode([encode(ACTIN), encode(ACTIN[:90])])
    ids, mask = torch.from_numpy(tokens.ids), torch.from_numpy(tokens.mask)
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask.long()).logits
        got = ours.net(ids, mask)
    assert (got - expected)[mask].abs().max() <= 1e-4 * expected[mask].abs().max()


@pytest.mark.official
@pytest.mark.parametrize(
    "name", ["zhihan1996/DNABERT-2-117M", "InstaDeepAI/nucleotide-transformer-v2-50m-multi-species"]
)
def test_trained_models_know_a_coding_sequence(name):
    """Masked tokens of actin are told far better than by chance, which no wrongly loaded model does."""
    lm = load_pretrained(fetched(name))
    tokens = lm.tokenizer.encode(encode(ACTIN)[None])
    inner = np.flatnonzero(tokens.ends[0] > tokens.starts[0])
    ids = np.repeat(tokens.ids, len(inner), axis=0)
    ids[np.arange(len(inner)), inner] = lm.tokenizer.mask
    with torch.inference_mode():
        log_p = lm.net(torch.from_numpy(ids)).log_softmax(-1).numpy()
    truth = log_p[np.arange(len(inner)), inner, tokens.ids[0, inner]]
    assert truth.mean() > np.log(1 / len(lm.tokenizer)) + 2
