"""Tokenizers of DNA language models: from base codes to token ids and the bases that each token covers."""

from regzoo.tokenizers.bpe import BPE, HybridBPE, train_bpe
from regzoo.tokenizers.kmers import OverlappingKmers, SingleBases, SixMers
from regzoo.tokenizers.tokens import Tokenizer, Tokens, per_base

__all__ = [
    "BPE",
    "HybridBPE",
    "OverlappingKmers",
    "SingleBases",
    "SixMers",
    "Tokenizer",
    "Tokens",
    "per_base",
    "train_bpe",
]
