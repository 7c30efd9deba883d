"""Effects of sequence changes on a model's predictions."""

from regzoo.effects.score_vcf import score_vcf
from regzoo.effects.scores import score
from regzoo.options import SCORES

__all__ = ["SCORES", "score", "score_vcf"]
