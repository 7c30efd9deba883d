"""Language models as models of sequence: one-hot windows in; tokens, packed batches and pooling inside."""

from regzoo.errors import ModelError
from regzoo.nets.caduceus import Caduceus
from regzoo.nets.transformer import MaskedLM, TransformerConfig
from regzoo.tokenizers import BPE, HybridBPE, OverlappingKmers, SingleBases, SixMers

TOKENIZERS = {"kmers": OverlappingKmers, "six_mers": SixMers, "single": SingleBases, "bpe": BPE, "hybrid": HybridBPE}
#: Tokens in one batch; larger ones were not faster on two cores.
TOKENS = 8192


def make_tokenizer(kind, **options):
    """A tokenizer by its name, a key of `TOKENIZERS`, and the arguments of its class."""
    if kind not in TOKENIZERS:
        raise ModelError(f"unknown tokenizer {kind!r}; there are {', '.join(TOKENIZERS)}")
    return TOKENIZERS[kind](**options)


def make_language_model(tokenizer, kind, dropout=0.1, **sizes):
    """A language model over a tokenizer's vocabulary, with fresh weights.

    Parameters
    ----------
    tokenizer : regzoo.tokenizers.Tokenizer
    kind : str
        'transformer' or 'caduceus'.
    dropout : float
        Of a transformer.
    **sizes
        Fields of `TransformerConfig`, or arguments of `Caduceus`.

    Returns
    -------
    MaskedLM or Caduceus
    """
    try:
        if kind == "caduceus":
            return Caduceus(vocabulary=len(tokenizer), **sizes)
        if kind == "transformer":
            config = TransformerConfig(len(tokenizer), **sizes, pad=tokenizer.pad, mask=tokenizer.mask)
            return MaskedLM(config, dropout)
    except TypeError as error:
        raise ModelError(f"language model {kind!r}: {error}") from error
    raise ModelError(f"unknown language model {kind!r}; there are transformer, caduceus")
