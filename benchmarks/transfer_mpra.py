"""Transfer between cell types: each cell type's predictions of a reporter assay against the others' measurements.

    REGZOO_DATA=… python -m benchmarks.transfer_mpra [--model MotifResNet/utr3-mpra] [--output transfer.png]

The rows are the recipe's held-out test part. A model that learns every cell type at once need not be better on its own.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from regzoo.evaluate.transfer import transfer
from regzoo.sequence import decode
from training.data import load_examples
from training.recipe import load_recipe

RECIPE = Path(__file__).parents[1] / "training" / "recipes" / "utr3-mpra" / "motif_resnet.yaml"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="MotifResNet/utr3-mpra")
    parser.add_argument("--output", action="append", default=[])
    arguments = parser.parse_args()
    data = load_recipe(RECIPE).data
    test = load_examples(data)[0]["test"]
    with tempfile.TemporaryDirectory() as folder:
        sets = []
        for index, cell in enumerate(data.targets):
            known = ~np.isnan(test.labels[:, index])
            rows = [f"{decode(c)},{v}" for c, v in zip(test.codes[known], test.labels[known, index])]
            path = Path(folder) / f"{cell}.csv"
            path.write_text("sequence,value\n" + "\n".join(rows) + "\n")
            sets.append(f"{cell}={path}")
        print(transfer([arguments.model], sets, output=arguments.output).matrix.to_markdown(floatfmt=".2f"))


if __name__ == "__main__":
    main()
