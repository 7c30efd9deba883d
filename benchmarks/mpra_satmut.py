"""A model's variant effects against measured ones: saturation mutagenesis of regulatory elements in reporter assays.

    python -m benchmarks.mpra_satmut --effects EFFECTS.tsv.gz --elements ELEMENTS.fa --model MotifResNet/tf-human
        [--score logit] [--target NAME] [--tags 10] [--output TABLE.tsv]

EFFECTS has the columns Pos, Ref, Alt, Barcodes, Coefficient (measured log2 effect), pValue and Element, as Kircher et
al. 2019 (Nature Communications 10:3583) give them; ELEMENTS has a record for each element, `>NAME CONTIG:START-END`,
1-based. Every substitution and one-base deletion is scored in one window that holds the element, or in overlapping ones
where it is longer than the model's; beyond the element's ends are N. The prediction is the mean score over targets, or
one target's.

For each element: Pearson and Spearman correlation over substitutions with at least `--tags` barcodes, and AUROC of the
prediction's magnitude for those with p < 1e-5, each with its 95% bootstrap interval over variants. Beside it the
baseline: the change in G+C.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from regzoo.effects.evaluator import Evaluator
from regzoo.effects.mutate import ALLELES, locus_effects
from regzoo.effects.scoring import check_score
from regzoo.errors import InputError
from regzoo.evaluate.metrics import CORRELATIONS, auroc, bootstrap
from regzoo.sequence import Genome
from regzoo.zoo import load_model
from training.data.sources.satmut import read_elements

SIGNIFICANT = 1e-5


def predictions(effects, fasta, model, kind, targets):
    """The model's effect of every measured variant, by the table's rows."""
    genome, evaluator, elements = Genome(fasta), Evaluator(model), read_elements(Path(fasta))
    columns, values = model.columns(targets), np.full(len(effects), np.nan)
    for name, rows in effects.groupby("Element").indices.items():
        if name not in elements:
            raise InputError(f"{fasta}: no element {name!r}, which the effects name")
        size = int(genome.lengths[genome.number(name)])
        found = locus_effects(evaluator, genome, name, 0, size, kind, columns)
        table = effects.iloc[rows]
        place = table.Pos.to_numpy() - elements[name][0]
        letters = np.array(list("ACGTN"))[genome.codes(name)[place]]
        wrong = np.flatnonzero(letters != table.Ref.to_numpy())
        if len(wrong):
            row = table.iloc[wrong[0]]
            raise InputError(f"{name}: REF {row.Ref} at {row.Pos} is {letters[wrong[0]]} in {fasta}")
        allele = [ALLELES.index(alt) for alt in table.Alt]
        values[rows] = found[place, allele].mean(axis=1)
    return values


def agreement(predicted, measured, significant):
    """Metric -> {'value', 'low', 'high'}; NaN where all variants are significant or none is."""
    found = bootstrap(measured, predicted, CORRELATIONS)
    if 0 < significant.sum() < len(significant):
        return found | bootstrap(significant, np.abs(predicted), {"auroc": auroc})
    return found | {"auroc": {"value": np.nan, "low": np.nan, "high": np.nan}}


def compare(effects, tags):
    """One row an element and a predictor, and the mean over elements."""
    chosen = effects[(effects.Alt != "-") & (effects.Barcodes >= tags)]
    rows = []
    for name, table in chosen.groupby("Element"):
        significant = (table.pValue < SIGNIFICANT).to_numpy()
        for predictor in ("model", "G+C"):
            row = {"element": name, "predictor": predictor, "variants": len(table), "significant": significant.sum()}
            found = agreement(table[predictor].to_numpy(), table.Coefficient.to_numpy(), significant)
            for metric, entry in found.items():
                row |= {metric: entry["value"], f"{metric}_low": entry["low"], f"{metric}_high": entry["high"]}
            rows.append(row)
    return pd.DataFrame(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--effects", required=True)
    parser.add_argument("--elements", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--score", default="logit")
    parser.add_argument("--target", action="append", help="of the model; repeat for more; default all")
    parser.add_argument("--tags", type=int, default=10, help="fewest barcodes of a variant")
    parser.add_argument("--output", help="table as TSV")
    args = parser.parse_args()
    model = load_model(args.model)
    check_score(model, args.score)
    effects = pd.read_csv(args.effects, sep="\t", dtype={"Chrom": str})
    effects["model"] = predictions(effects, args.elements, model, args.score, args.target)
    effects["G+C"] = effects.Alt.isin(["C", "G"]).astype(float) - effects.Ref.isin(["C", "G"])
    result = compare(effects, args.tags)
    if args.output:
        result.to_csv(args.output, sep="\t", index=False, float_format="%.4g")
    metrics = ("pearson", "spearman", "auroc")
    print(f"{args.model}, {args.score}, {', '.join(args.target or ['mean over targets'])}\n")
    print(
        "| element | variants | p < 1e-5 | predictor | " + " | ".join(metrics) + " |\n|" + "---|" * (4 + len(metrics))
    )
    for row in result.to_dict("records"):
        cells = (f"{row[m]:.2f} [{row[f'{m}_low']:.2f}, {row[f'{m}_high']:.2f}]" for m in metrics)
        fixed = (row["element"], row["variants"], row["significant"], row["predictor"])
        print("| " + " | ".join([*map(str, fixed), *cells]) + " |")
    for predictor, table in result.groupby("predictor", sort=False):
        means = " | ".join(f"{table[m].mean():.3f}" for m in metrics)
        print(
            f"| mean of {len(table)} elements | {table.variants.sum()} | {table.significant.sum()} | "
            f"{predictor} | {means} |"
        )


if __name__ == "__main__":
    main()
