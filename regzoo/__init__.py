"""Models that read regulatory DNA: predict sequences, score variants, mutate loci, embed, compare.

>>> import regzoo
>>> model = regzoo.load_model("MotifResNet/tf-human")
>>> predictions = model.predict(["ACGTA" * 20 + "C"])  # shape (1, 5)

Everything below is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING

from regzoo.errors import InputError, ModelError, OutputError, RegzooError

if TYPE_CHECKING:
    from regzoo.attention_maps import attention
    from regzoo.effects.allele_report import alleles
    from regzoo.effects.background import Background, background
    from regzoo.effects.enrichment import enrich
    from regzoo.effects.mutate import saturation_mutagenesis
    from regzoo.effects.pipeline import score_variants, zero_shot
    from regzoo.embedding import embed
    from regzoo.evaluate.compare import compare
    from regzoo.evaluate.overlap import overlap
    from regzoo.evaluate.transfer import transfer
    from regzoo.explanation import explain
    from regzoo.model import Model
    from regzoo.motif_finding.find import motifs
    from regzoo.motif_finding.marginal import marginalise
    from regzoo.prediction import predict
    from regzoo.reports.build import report
    from regzoo.scanning.run import scan
    from regzoo.sequence import Genome
    from regzoo.service.run import serve
    from regzoo.suites.run import benchmark
    from regzoo.zoo import fetch, list_models, load_model

__version__ = "0.2.0"

_HOMES = {
    "Background": "regzoo.effects.background",
    "Genome": "regzoo.sequence.genome",
    "Model": "regzoo.model",
    "alleles": "regzoo.effects.allele_report",
    "attention": "regzoo.attention_maps",
    "background": "regzoo.effects.background",
    "benchmark": "regzoo.suites.run",
    "compare": "regzoo.evaluate.compare",
    "embed": "regzoo.embedding",
    "enrich": "regzoo.effects.enrichment",
    "explain": "regzoo.explanation",
    "fetch": "regzoo.zoo",
    "list_models": "regzoo.zoo",
    "load_model": "regzoo.zoo",
    "marginalise": "regzoo.motif_finding.marginal",
    "motifs": "regzoo.motif_finding.find",
    "overlap": "regzoo.evaluate.overlap",
    "predict": "regzoo.prediction",
    "report": "regzoo.reports.build",
    "saturation_mutagenesis": "regzoo.effects.mutate",
    "scan": "regzoo.scanning.run",
    "score_variants": "regzoo.effects.pipeline",
    "serve": "regzoo.service.run",
    "transfer": "regzoo.evaluate.transfer",
    "zero_shot": "regzoo.effects.pipeline",
}

__all__ = [
    "Background",
    "Genome",
    "InputError",
    "Model",
    "ModelError",
    "OutputError",
    "RegzooError",
    "alleles",
    "attention",
    "background",
    "benchmark",
    "compare",
    "embed",
    "enrich",
    "explain",
    "fetch",
    "list_models",
    "load_model",
    "marginalise",
    "motifs",
    "overlap",
    "predict",
    "report",
    "saturation_mutagenesis",
    "scan",
    "score_variants",
    "serve",
    "transfer",
    "zero_shot",
]


def __getattr__(name):
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in ("evaluate", "nets", "kipoi"):  # Kipoi resolves `regzoo.kipoi.ZooModel` by attributes
        return importlib.import_module(f"regzoo.{name}")
    raise AttributeError(f"module 'regzoo' has no attribute {name!r}")


def __dir__():
    return list(__all__)
