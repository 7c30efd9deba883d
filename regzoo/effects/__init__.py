"""Effects of sequence changes on a model's predictions."""

from regzoo.effects.score_vcf import score_vcf
from regzoo.effects.scores import SCORES, score
from regzoo.effects.scoring import Scoring

__all__ = ["SCORES", "Scoring", "score", "score_vcf"]
