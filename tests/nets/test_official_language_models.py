"""The authors' checkpoints, downloaded: against the classes of transformers, and on a known coding sequence."""

import numpy as np
import pytest
import torch

from regzoo.nets import load_pretrained
from regzoo.nets.hub import fetch_folder
from regzoo.sequence import encode

#: Start of the human beta-actin coding sequence (NM_001101).
ACTIN = (
    "ATGGATGATGATATCGCCGCGCTCGTCGTCGACAACGGCTCCGGCATGTGCAAGGCCGGCTTCGCGGGCGACGATGCCCCCCGGGCCGTCTTCCCCTCCATCGTGGGGCGCCCC"
    "AGGCACCAGGGCGTGATGGTGGGCATGGGTCAGAAGGATTCCTATGTGGGCGACGAGGCCCAGAGCAAGAGAGGCATCCT"
)


def fetched(name):
    try:
        return fetch_folder(name)
    except Exception as error:  # any network failure
        pytest.skip(f"cannot download {name}: {error}")


@pytest.mark.official
@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("InstaDeepAI/nucleotide-transformer-500m-human-ref", "EsmForMaskedLM"),
        ("zhihan1996/DNA_bert_6", "BertForMaskedLM"),
    ],
)
def test_outputs_equal_transformers_classes(name, own):
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
def test_masked_tokens_of_coding_sequence_are_predicted(name):
    """Masked tokens of actin are predicted far better than by chance, which a wrongly loaded model cannot do."""
    lm = load_pretrained(fetched(name))
    tokens = lm.tokenizer.encode(encode(ACTIN)[None])
    inner = np.flatnonzero(tokens.ends[0] > tokens.starts[0])
    ids = np.repeat(tokens.ids, len(inner), axis=0)
    ids[np.arange(len(inner)), inner] = lm.tokenizer.mask
    with torch.inference_mode():
        log_p = lm.net(torch.from_numpy(ids)).log_softmax(-1).numpy()
    truth = log_p[np.arange(len(inner)), inner, tokens.ids[0, inner]]
    assert truth.mean() > np.log(1 / len(lm.tokenizer)) + 2
