"""What can be asked of variant scoring, without anything heavy to import: the command's help reads it."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from regzoo.errors import InputError

#: Scores of an allele and a target, with what they are.
SCORES = {
    "diff": "alternate - reference",
    "logit": "difference of log odds",
    "log2fc": "log2(alternate / reference)",
    "ref": "the reference's prediction",
    "alt": "the alternate's prediction",
    "logit_ref": "log odds of the reference",
    "logit_alt": "log odds of the alternate",
    "deepsea_effect": "|logit| x |diff| (Zhou & Troyanskaya 2015)",
    "l2": "Euclidean distance of the two profiles (profile models)",
    "js": "Jensen-Shannon divergence of the two profiles, in bits (profile models)",
}
SUMMARIES = {
    "absmax": "the value of largest magnitude, with its sign, and its target",
    "mean": "average",
    "l2": "root of the sum of squares",
}
STRANDS = {
    "model": "as the model's own definition says",
    "forward": "as given",
    "reverse": "the other strand, as of a gene on '-' for a model of RNA",
    "mean": "average of the scores of both strands",
    "max": "the strand whose score is larger in magnitude",
}
#: Where `predict` centres its windows.
CENTRES = {
    "middle": "the middle of the interval",
    "summit": "the summit in the tenth column of narrowPeak, or the middle where it is -1",
}
PRECISIONS = {
    "float32": "exact",
    "bf16": "products in bfloat16, faster where the processor has it",
}
ANCHORS = {
    "veff": "variant at index L // 2 - 1 of a window of L bases, as in kipoi-veff 0.3.1",
    "veff2": "variant at (L - 1) // 2, as in kipoi-veff2: one base further right where L is odd",
}
REF_MISMATCHES = {
    "report": "a variant whose REF differs from the FASTA is not scored",
    "replace": "its REF takes the place of the FASTA's bases, as in kipoi-veff 0.3.1",
}
VCF_KEYS = {
    "packed": "one INFO key for all targets of a score, separated by |",
    "each": "one INFO key (a number) for each target",
}
#: Where the threshold of each target is taken from.
THRESHOLDS = {
    "validation": "the threshold of the largest MCC on the model's validation data, for each target",
}
#: How random variants of a background are drawn.
SPECTRA = {
    "human": "trinucleotide contexts and alternates as often as in 1000 Genomes variants of chromosome 20",
    "uniform": "every position and every alternate alike",
}
#: What happens to variants whose REF is not the genome's base.
ORIENTATIONS = {
    "report": "keep them as they are; the column `orientation` says what is wrong",
    "fix": "exchange swapped alleles and complement flipped ones, and say so in `orientation`",
}
#: Ways to attribute a prediction to bases.
ATTRIBUTIONS = {
    "integrated_gradients": "mean gradient on the way from shuffled sequences; complete for any network",
    "deeplift": "DeepLIFT from shuffled sequences; for CNNs of layers with a rule",
    "gradient": "gradient x input",
    "taylor": "first-order approximation of mutagenesis: one backward pass",
    "saturation": "exact mutagenesis: minus the mean effect of the three substitutions, also for language models",
}
#: Where motifs are taken from.
MOTIF_METHODS = {
    "contributions": "spans of large contribution, aligned and clustered",
    "modisco": "TF-MoDISco on contributions; needs modisco-lite",
    "filters": "subsequences that activate a filter of the first convolution",
    "attention": "regions of high attention, enriched against negatives (DNABERT)",
}
#: Suites of `benchmark`.
SUITES = {
    "alleles": "variants with both alleles: accessibility (dsQTL), allelic imbalance, reporter assay of eQTLs",
    "satmut": "saturation mutagenesis of 22 regulatory elements",
    "mpra": "activity of sequences in reporter assays",
    "probe": "random forest on frozen embeddings of a language model",
    "geneb": "logistic regression on frozen embeddings, with all or few training rows (GENEB)",
    "deepsea": "agreement with an official model, DeepSEA by default, on given variants",
    "utr3": "3'UTRs: sites of RNA-binding proteins, variants, reporter assays, half-lives",
}
#: Scores of masked language models.
ZERO_SHOT = {
    "p_ref": "probability of the reference base, hidden",
    "llr": "log p(alternate) - log p(reference), both hidden",
    "vis_mean": "influence: mean over the bases around of the largest change of a base's log2 odds",
    "vis_max": "influence: the largest such change",
}
#: Vectors of an embedding.
PER = {
    "mean": "mean over a sequence's tokens, special ones included",
    "cls": "its first token's",
    "max": "largest over tokens",
    "token": "one for each token",
    "base": "one for each base, the mean of the tokens that cover it",
}


def check_choice(what: str, name: str, known: Iterable[str]) -> None:
    """Raise an InputError that lists the known names if `name` is not one of them."""
    if name not in known:
        raise InputError(f"no {what} {name!r}; there are {', '.join(known)}")


def check_at_least(least: int, **values: int) -> None:
    """Raise an InputError that names the first of some options that is smaller than `least`."""
    for name, value in values.items():
        if value < least:
            raise InputError(f"{name}: expected {least} or more, got {value}")


def close_names(name: str, known: Iterable[str], shown: int = 8) -> str:
    """End of a message about an unknown name: the known names, or of many the closest ones."""
    known = list(known)
    close = difflib.get_close_matches(str(name), known, 3, cutoff=0.5)
    if close and len(known) > shown:
        return f"; did you mean {' or '.join(map(repr, close))}?"
    return f"; it has {', '.join(known[:shown])}{', …' if len(known) > shown else ''}"


def distinct(values: Iterable) -> tuple:
    """Values in order, each once."""
    return tuple(dict.fromkeys(values))


@dataclass(frozen=True)
class Scoring:
    """What is computed for each allele.

    Attributes
    ----------
    scores : sequence of str
        Keys of `SCORES`, or import paths of functions (`regzoo.effects.scores.imported_score`). When empty, each
        model's default: diff, and logit where it predicts probabilities. What is given twice, here and below, is
        computed once.
    targets : sequence of str
        Names of the targets; all when empty. With several models, those of each that has some of them.
    summaries : sequence of str
        Keys of `SUMMARIES`; they take the place of the targets.
    strands : str
        'model': as the model's YAML says (`use_rc`, or the mean inside the model); 'forward': as given; 'mean', 'max':
        scores of both strands are averaged, or the one of larger magnitude is taken.
    offsets : sequence of int
        Bases by which windows are moved; scores are averaged over them.
    grid : int
        Windows start at multiples of it, so that the variants of a dense VCF share most of their evaluation; 1 centres
        every variant exactly.
    batch_size : int
        Windows in one full pass.
    precision : str
        'float32', or 'bf16' for products in bfloat16.
    incremental : bool
        Evaluate alternates by what they change, which is exact up to rounding; False evaluates every window in full.
    strict : bool
        Do not score variants whose window reaches over a contig's end; otherwise N stands for what is outside.
    normalise : bool
        Left-align and trim indels against the FASTA before they are scored.
    strands_from : str
        BED file of genes, or 'INFO:KEY': the strand that each variant is scored on, in the place of `strands`.
    ref_mismatch : str
        A key of `REF_MISMATCHES`.
    anchor : str
        A key of `ANCHORS`.

    Raises
    ------
    InputError
        If a value is none of the known ones.
    """

    scores: Sequence[str] = ()
    targets: Sequence[str] = ()
    summaries: Sequence[str] = ()
    strands: str = "model"
    offsets: Sequence[int] = (0,)
    grid: int = 1
    batch_size: int = 64
    precision: str = "float32"
    incremental: bool = True
    strict: bool = False
    normalise: bool = False
    strands_from: str = ""
    ref_mismatch: str = "report"
    anchor: str = "veff"

    def __post_init__(self):
        for field in ("scores", "targets", "summaries", "offsets"):
            if isinstance(getattr(self, field), str):
                raise InputError(f"{field}: expected a list, got the string {getattr(self, field)!r}")
            object.__setattr__(self, field, distinct(getattr(self, field)))
        check_at_least(1, grid=self.grid, batch_size=self.batch_size)
        for what, given, known in (
            ("score", [name for name in self.scores if "." not in name], SCORES),
            ("summary", self.summaries, SUMMARIES),
            ("choice of strands", (self.strands,), STRANDS),
            ("precision", (self.precision,), PRECISIONS),
            ("treatment of REF mismatches", (self.ref_mismatch,), REF_MISMATCHES),
            ("anchor", (self.anchor,), ANCHORS),
        ):
            for name in given:
                check_choice(what, name, known)
        if self.strands_from and self.strands != "model":
            raise InputError(f"give either strands {self.strands!r} or where each variant's strand is taken from")
        if not self.offsets:
            raise InputError("no offset given; 0 centres windows on the variants")
