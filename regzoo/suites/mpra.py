"""Suite 'mpra': activity of sequences in massively parallel reporter assays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regzoo.model import Model
from regzoo.sequence import decode, encode
from regzoo.suites.data import DataFolder
from regzoo.suites.protocol import Measure, Task, halves
from regzoo.suites.windows import centred_windows, readout

BASELINE = "G+C"
#: (model, start of a data set's name) -> what the model has seen of it.
TRAINED = {
    ("MPRA-DragoNN/ConvModel", "sharpr-"): "trained on this assay; which regions were held out is not known here",
    ("MotifResNet/mpra", "lentimpra-WTC11"): "trained on most of these rows",
}


@dataclass
class SequenceTask(Task):
    """Sequences with a measured activity.

    Attributes
    ----------
    sequences : list of numpy.ndarray, uint8
        Base codes.
    """

    sequences: list[np.ndarray]

    def columns(self) -> dict[str, list[str]]:
        """The sequences as text."""
        return {"sequence": [decode(codes) for codes in self.sequences]}


def tasks(data: DataFolder, seed: int = 0) -> list[Task]:
    """Data sets of the suite.

    Parameters
    ----------
    data : DataFolder
    seed : int
        Seed of the halves.

    Returns
    -------
    list of SequenceTask

    Raises
    ------
    InputError
        If a file is missing or has another digest.
    """
    found = []
    for name, file in (("lentimpra-HepG2", "HepG2_test"), ("lentimpra-WTC11", "WTC11_val")):
        table = data.table(f"lentimpra/{file}.tsv.gz")
        pairs = table.seq_id.str.replace(r"(_Reversed:|_[FR])$", "", regex=True)  # both orientations in one half
        found.append(_task(name, table.seq_id, table.log2_activity, pairs, "random halves", seed, table.sequence))
    table = data.table("mpra_sharpr/regions_295bp_hg19.tsv.gz")
    for cell in ("HepG2", "K562"):
        measured = table.filter(regex=f"^{cell}_minP_rep").mean(axis=1)  # some regions have one replicate
        groups, text = table.chrom_hg19, "halves by chromosome"
        found.append(_task(f"sharpr-{cell}", table.region, measured, groups, text, seed, table.sequence))
    return found


def _task(name, ids, measured, groups, choice, seed, sequences):
    labels = measured.to_numpy(float)
    measures = [Measure("pearson", labels), Measure("spearman", labels)]
    return SequenceTask(
        name, ids.tolist(), measures, halves(groups, seed), choice, [encode(text) for text in sequences]
    )


def scores(model: Model, task: SequenceTask, batch_size: int = 64) -> np.ndarray:
    """Logits or predicted values of the centred sequences.

    Parameters
    ----------
    model : Model
    task : SequenceTask
    batch_size : int
        Windows per batch.

    Returns
    -------
    numpy.ndarray, float64, shape (N, targets)
    """
    return readout(model, centred_windows(task.sequences, model.input_length), batch_size)


def baseline(task: SequenceTask) -> np.ndarray:
    """Scores of a baseline, shape (N, 1): fraction of G and C."""
    return np.array([np.isin(codes, (1, 2)).mean() for codes in task.sequences])[:, None]
