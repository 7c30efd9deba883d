"""How far a model's variant effects agree with those of the official DeepSEA, on one VCF.

    python benchmarks/deepsea_concordance.py --vcf VARIANTS.vcf --fasta GENOME.fa --model GROUP/MODEL
        [--reference DeepSEA/variantEffects] [--score logit] [--top 100]

For every target name that both models have, and for the largest magnitude over each model's targets: Pearson and
Spearman correlation of the scores, and the share of the `--top` strongest variants of one that are among those of the
other. The reference's weights are downloaded on first use.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
from scipy.stats import pearsonr, spearmanr

from regzoo.effects.pipeline import score_variants
from regzoo.errors import RegzooError
from regzoo.zoo import load_model


def scores(vcf, fasta, model, kind):
    """Scores of one model, (scored alleles, targets), and which alleles of the VCF they are."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "scores.h5"
        score_variants(model, vcf, fasta, output=output, scores=(kind,))
        with h5py.File(output) as file:
            scored = np.array([status == b"scored" for status in file["variants/status"]])
            return file[f"scores/{kind}"][()], scored


def row(name, own, reference, top):
    """Correlations and overlap of two vectors, as a row of the table."""
    strongest = [set(np.argsort(-np.abs(values), kind="stable")[:top].tolist()) for values in (own, reference)]
    overlap = len(strongest[0] & strongest[1]) / min(top, len(own))
    return f"| {name} | {pearsonr(own, reference)[0]:.3f} | {spearmanr(own, reference)[0]:.3f} | {overlap:.2f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vcf", required=True)
    parser.add_argument("--fasta", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--reference", default="DeepSEA/variantEffects")
    parser.add_argument("--score", default="logit")
    parser.add_argument("--top", type=int, default=100)
    args = parser.parse_args()
    try:
        own, reference = load_model(args.model), load_model(args.reference)
        (one, first), (two, second) = (scores(args.vcf, args.fasta, m, args.score) for m in (own, reference))
    except RegzooError as error:
        sys.exit(f"error: {error}")
    both = first & second
    one, two = one[both], two[both]
    print(f"{both.sum()} variants, {args.score}, {own.name} against {reference.name}\n")
    print(f"| target | Pearson | Spearman | overlap of the {args.top} strongest |\n|---|---|---|---|")
    for name in own.targets:
        if name in reference.targets:
            print(row(name, one[:, own.targets.index(name)], two[:, reference.targets.index(name)], args.top))
    print(row("largest magnitude", np.abs(one).max(axis=1), np.abs(two).max(axis=1), args.top))


if __name__ == "__main__":
    main()
