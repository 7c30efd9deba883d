"""Attributions: how much each base of a window contributes to a prediction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from regzoo.effects.evaluator import Evaluator
from regzoo.effects.mutate import locus_effects
from regzoo.errors import InputError, ModelError, OutputError
from regzoo.model import Model
from regzoo.nets.deeplift import layers_without_rule, multipliers
from regzoo.nets.sequence_model import LanguageModelNet
from regzoo.options import ATTRIBUTIONS, check_at_least, check_choice, distinct
from regzoo.output.files import finished_file, refuse_overwrite
from regzoo.output.hdf5 import NewHdf5
from regzoo.output.tables import TSV, Matrix, Schema, check_suffix, open_table
from regzoo.output.tracks import require_bigwig, write_bigwig
from regzoo.pictures import SUFFIXES, picture, require_packages
from regzoo.sequence import Genome, decode
from regzoo.sequence.codes import UNKNOWN, one_hot, reverse_complement
from regzoo.sequence.genome import as_genome
from regzoo.sequence.intervals import as_intervals, is_narrow_peak, locate_windows, refuse_problems
from regzoo.sequence.shuffle import shuffled_dinucleotides
from regzoo.strands import reverse_complement_one_hot
from regzoo.zoo import load_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

OUTPUTS = (".h5", ".npz", *TSV, ".parquet", ".bw", *SUFFIXES)
_GRADIENT_BATCH = 64  # windows in one backward pass


@dataclass
class Explanation:
    """Contribution of each base of one window to the prediction of each target.

    Attributes
    ----------
    contig, name : str
    start : int
        0-based start of the window; negative where it reaches over the contig's start.
    reference : numpy.ndarray, uint8, shape (L,)
        Base codes, on the forward strand.
    contributions : numpy.ndarray, float32, shape (L, targets)
        Of the bases that are there.
    hypothetical : numpy.ndarray, float32, shape (L, 4, targets)
        What each base A, C, G, T would contribute in its place.
    prediction, baseline : numpy.ndarray, float32, shape (targets,)
        The explained output of the window, and its mean over the references (NaN for methods without references).
    targets : list of str
    method : str
        A key of `regzoo.options.ATTRIBUTIONS`.
    model : str
    """

    contig: str
    start: int
    name: str
    reference: np.ndarray = field(repr=False)
    contributions: np.ndarray = field(repr=False)
    hypothetical: np.ndarray = field(repr=False)
    prediction: np.ndarray
    baseline: np.ndarray
    targets: list[str]
    method: str
    model: str

    @property
    def completeness(self) -> np.ndarray:
        """Sum of contributions minus (prediction - baseline), shape (targets,); near 0 for complete methods."""
        return self.contributions.sum(axis=0) - (self.prediction - self.baseline)

    def to_frame(self) -> pd.DataFrame:
        """One row for each base: chrom, pos (1-based), name, ref, and the contribution to each target."""
        targets = pd.DataFrame(self.contributions, columns=self.targets)
        return pd.concat([pd.DataFrame(_bases(self)), targets], axis=1)

    def plot(self, path: str | Path | None = None, targets: Sequence[str] = ()) -> Figure:
        """Draw the sequence as a logo whose letters are as high as their contributions, a row for each target.

        Parameters
        ----------
        path : str or pathlib.Path, optional
            .png, .svg or .pdf to write.
        targets : sequence of str
            All by default.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        OutputError
            If matplotlib or logomaker is not installed, or the suffix is not known.
        InputError
            If there is no such target.
        """
        from regzoo.effects.picture import draw_contributions

        unknown = [target for target in targets if target not in self.targets]
        if unknown:
            raise InputError(f"no target {unknown[0]!r}; there are {', '.join(self.targets[:8])}")
        shown = list(targets) or self.targets
        return picture(path, ("matplotlib", "logomaker"), lambda: draw_contributions(self, shown))


def explain(
    model: Any,
    inputs: Any,
    genome: Any,
    *,
    method: str = "integrated_gradients",
    targets: Sequence[str] = (),
    references: int = 10,
    steps: int = 32,
    use_strand: bool | None = None,
    seed: int = 0,
    device: str = "auto",
    output: str | Path | Sequence[str | Path] | None = None,
    progress: bool = False,
) -> Explanation | list[Explanation] | int:
    """Explain predictions base by base.

    The window of the model's length around the centre of each interval is explained. What is explained is the output
    before the activation (log odds, for models of probabilities), since a saturated probability has no gradient.

    Parameters
    ----------
    model : str, pathlib.Path or Model
    inputs : str, pathlib.Path, list of str or pandas.DataFrame
        Intervals, as of `regzoo.predict`.
    genome : str, pathlib.Path or Genome
    method : str
        A key of `regzoo.options.ATTRIBUTIONS`.
    targets : sequence of str
        All by default; each takes a backward pass of its own.
    references : int
        Dinucleotide-shuffled sequences that integrated gradients and DeepLIFT start from; the result is their mean.
    steps : int
        Points on each path of integrated gradients (Gauss-Legendre quadrature).
    use_strand : bool, optional
        Explain the reverse strand of intervals on '-'; positions and bases are then still given on the forward strand.
        By default only for models of RNA and promoters.
    seed : int
        Of the shuffled references.
    device : str
        'auto', 'cpu', 'cuda' or 'cuda:N', for a model given by name or path.
    output : str, pathlib.Path, or a list of them, optional
        Write files instead of returning data: .h5 (arrays of all intervals), .npz (TF-MoDISco's layout: `one_hot` and
        `hypothetical_contribs`, of one target), .tsv, .tsv.gz or .parquet (one row for each base), .bw (contribution of
        the reference base, of one target; the mean where windows overlap), or for one interval .png, .svg or .pdf.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    Explanation, list of Explanation, or int
        One result for one locus given as a string, otherwise a list; with `output`, the number of intervals.

    Raises
    ------
    regzoo.RegzooError
        If an input, an option or an output is not valid, or the method does not work on the network.

    Notes
    -----
    Integrated gradients: Sundararajan, Taly & Yan 2017. DeepLIFT with several references (DeepSHAP): Shrikumar,
    Greenside & Kundaje 2017, Lundberg & Lee 2017. Taylor approximation of mutagenesis: Sasse et al. 2024.
    """
    check_choice("method", method, ATTRIBUTIONS)
    check_at_least(1, references=references, steps=steps)
    check_at_least(0, seed=seed)
    outputs = [] if output is None else list(distinct(output if isinstance(output, (list, tuple)) else [output]))
    for path in outputs:
        check_suffix(path, OUTPUTS, stdout=False)
        refuse_overwrite(path, [given for given in (inputs, genome) if isinstance(given, (str, Path))])
    loaded, opened = load_model(model, device), as_genome(genome)
    columns = loaded.columns(targets)
    explainer = _Explainer(loaded, columns, method, references, steps, seed)
    places = _places(inputs, opened, loaded, use_strand)
    _check_outputs(outputs, places, len(columns))
    found = (
        explainer(opened, *place) for place in tqdm(places, desc="explaining", unit=" windows", disable=not progress)
    )
    if outputs:
        _write(outputs, found, explainer.names, opened)
        return len(places)
    results = list(found)
    return results[0] if isinstance(inputs, str) and len(results) == 1 else results


def _places(inputs, genome, model, use_strand):
    """(contig, start, name, whether the reverse strand is read) of each window."""
    intervals, source = as_intervals(inputs)
    centred = intervals.around_summits(source) if is_narrow_peak(source) else intervals
    numbers, starts, problems = locate_windows(centred, genome, model.input_length)
    refuse_problems(intervals, genome, source, problems)
    reverse = model.stranded if use_strand is None else use_strand
    minus = (intervals.strands == "-") & reverse
    contigs = [genome.contigs[number] for number in numbers]
    return list(zip(contigs, starts.tolist(), intervals.names.tolist(), minus.tolist()))


class _Explainer:
    """Explains windows of one model by one method."""

    def __init__(self, model: Model, columns: list[int], method: str, references: int, steps: int, seed: int):
        if isinstance(model.module.net, LanguageModelNet) and method != "saturation":
            raise ModelError(
                f"{model.name}: a language model reads tokens, which have no gradient; use method 'saturation'"
            )
        if model.bins is not None and method == "deeplift":
            raise ModelError(f"{model.name} predicts profiles; use another method than 'deeplift'")
        self.model, self.columns, self.method = model, columns, method
        self.names = [model.targets[i] for i in columns]
        self.references, self.rng = references, np.random.default_rng(seed)
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        self.nodes, self.weights = (nodes + 1) / 2, weights / 2
        self.evaluator = Evaluator(model, incremental=method == "saturation")
        if method == "deeplift":
            _check_rules(model)

    def __call__(self, genome: Genome, contig: str, start: int, name: str, minus: bool) -> Explanation:
        length = self.model.input_length
        codes = genome.windows(np.array([genome.number(contig)]), np.array([start]), length)[0]
        read = reverse_complement(codes) if minus else codes
        hypothetical, prediction, baseline = self._explained(read, genome, contig, start, minus)
        if minus:
            hypothetical = hypothetical[::-1, ::-1]
        known = codes < UNKNOWN
        contributions = np.zeros((length, len(self.columns)), dtype=np.float32)
        contributions[known] = hypothetical[np.flatnonzero(known), codes[known]]
        hypothetical = np.where(known[:, None, None], hypothetical, 0).astype(np.float32)
        return Explanation(
            contig,
            start,
            name,
            codes,
            contributions,
            hypothetical,
            prediction,
            baseline,
            self.names,
            self.method,
            self.model.name,
        )

    def _explained(self, codes, genome, contig, start, minus):
        """Hypothetical contributions, (L, 4, targets), on the strand that is read; prediction; baseline."""
        nothing = np.full(len(self.columns), np.nan, dtype=np.float32)
        if self.method == "saturation":
            hypothetical = self._saturation(genome, contig, start, minus)
            return hypothetical, self._outputs(codes[None])[0], nothing
        if self.method in ("gradient", "taylor"):
            gradient = self._gradients(one_hot(codes[None]))[0]
            if self.method == "taylor":  # the base's effect against the mean of the other three
                gradient = gradient - (gradient.sum(axis=1, keepdims=True) - gradient) / 3
            return gradient, self._outputs(codes[None])[0], nothing
        shuffled = shuffled_dinucleotides(np.repeat(codes[None], self.references, axis=0), self.rng)
        path = self._deeplift if self.method == "deeplift" else self._integrated
        return path(codes, shuffled), self._outputs(codes[None])[0], self._outputs(shuffled).mean(axis=0)

    def _saturation(self, genome, contig, start, minus):
        """Effect of each base against the mean of the other three, from exact mutagenesis."""
        size, length = int(genome.lengths[genome.number(contig)]), self.model.input_length
        low, high = max(start, 0), min(start + length, size)
        kind = "logit" if self.model.outputs == "probabilities" else "diff"
        strands = "reverse" if minus else "forward"
        effects = locus_effects(self.evaluator, genome, contig, low, high, kind, self.columns, strands=strands)[:, :4]
        effects = np.nan_to_num(effects)
        result = np.zeros((length, 4, len(self.columns)))
        result[low - start : high - start] = effects - (effects.sum(axis=1, keepdims=True) - effects) / 3
        return result[::-1, ::-1] if minus else result

    def _logits(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs before the activation, (N, targets); the mean over both strands and over bins."""
        module = self.model.module
        found = module.net(x)
        if module.reverse_complement:
            found = (found + module.net(reverse_complement_one_hot(x))) / 2
        return found.mean(dim=2) if found.ndim == 3 else found

    @torch.inference_mode()
    def _outputs(self, codes):
        x = torch.from_numpy(one_hot(codes)).to(self.model.device)
        return self._logits(x)[:, self.columns].float().cpu().numpy()

    def _gradients(self, x: np.ndarray) -> np.ndarray:
        """Gradient of each target, (N, L, 4, targets), at inputs, (N, 4, L)."""
        parts = []
        for start in range(0, len(x), _GRADIENT_BATCH):
            given = torch.from_numpy(np.ascontiguousarray(x[start : start + _GRADIENT_BATCH], dtype=np.float32))
            given = given.to(self.model.device).requires_grad_()
            with torch.enable_grad():
                sums = self._logits(given).sum(dim=0)
            gradients = [
                torch.autograd.grad(sums[i], given, retain_graph=i != self.columns[-1])[0] for i in self.columns
            ]
            parts.append(torch.stack(gradients, dim=-1).transpose(1, 2).cpu().numpy())
        return np.concatenate(parts)

    def _integrated(self, codes, shuffled):
        """Mean over references of the path's mean gradient, with the reference's own contribution subtracted."""
        x, total = one_hot(codes[None]), 0.0
        for reference in shuffled:
            x0 = one_hot(reference[None])
            path = x0 + self.nodes[:, None, None].astype(np.float32) * (x - x0)
            mean = np.einsum("s,slbt->lbt", self.weights, self._gradients(path))
            total = total + mean - np.einsum("bl,lbt->lt", x0[0], mean)[:, None]
        return total / len(shuffled)

    def _deeplift(self, codes, shuffled):
        """Mean over references of the multipliers, with the reference's own contribution subtracted."""
        x = torch.from_numpy(one_hot(np.repeat(codes[None], len(shuffled), axis=0))).to(self.model.device)
        x0 = torch.from_numpy(one_hot(shuffled)).to(self.model.device)
        parts = []
        for column in self.columns:
            found = multipliers(self.model.module.net, x, x0, column)
            if self.model.module.reverse_complement:  # the output is a mean, and so are the contributions to it
                other = multipliers(
                    self.model.module.net, reverse_complement_one_hot(x), reverse_complement_one_hot(x0), column
                )
                found = (found + reverse_complement_one_hot(other)) / 2
            parts.append((found - (found * x0).sum(dim=1, keepdim=True)).mean(dim=0).T.cpu().numpy())
        return np.stack(parts, axis=-1)


def _check_rules(model: Model) -> None:
    """Raise an error that names the layers of a network for which DeepLIFT has no rule."""
    without = layers_without_rule(model.module.net)
    if without:
        raise ModelError(
            f"{model.name}: DeepLIFT has no rule for {', '.join(without)}; use 'integrated_gradients', which is "
            "complete for any network"
        )


def _check_outputs(outputs, places, targets):
    for path in outputs:
        suffix = check_suffix(path, OUTPUTS, stdout=False)
        if suffix in SUFFIXES:
            require_packages(path, "matplotlib", "logomaker")
            if len(places) > 1:
                raise OutputError(f"{path}: a picture shows one window, but there are {len(places)}; use .h5 or .tsv")
        if suffix in (".npz", ".bw") and targets != 1:
            raise OutputError(f"{path}: holds one target, but there are {targets}; choose one")
        if suffix == ".bw":
            require_bigwig()


def _write(outputs, found: Iterable[Explanation], names: list[str], genome: Genome) -> None:
    """Write all explanations to all outputs."""
    with ExitStack() as stack:
        writers = [stack.enter_context(_open(path, names, genome)) for path in outputs]
        for result in found:
            for write in writers:
                write(result)


@contextmanager
def _open(path, names, genome):
    suffix = check_suffix(path, OUTPUTS, stdout=False)
    if suffix in (*TSV, ".parquet"):
        schema: Schema = {"chrom": str, "pos": int, "name": str, "ref": str, "contributions": Matrix(names)}
        with open_table(path, schema) as table:
            yield lambda result: table.write(_bases(result) | {"contributions": result.contributions})
        return
    with finished_file(path) as temporary:
        if suffix == ".h5":
            with NewHdf5(temporary) as file:
                file.create_dataset("targets", data=names)
                yield _hdf5_writer(file)
            return
        results: list[Explanation] = []
        yield results.append
        if suffix == ".npz":
            shape = (0, 4, 0)
            hot = np.stack([one_hot(r.reference) for r in results]) if results else np.zeros(shape)
            contribs = np.stack([r.hypothetical[:, :, 0].T for r in results]) if results else np.zeros(shape)
            with open(temporary, "wb") as handle:
                np.savez_compressed(handle, one_hot=hot, hypothetical_contribs=contribs)
        elif suffix == ".bw":
            sizes = dict(zip(genome.contigs, genome.lengths.tolist()))
            write_bigwig(temporary, _mean_contributions(results, genome), sizes, path)
        else:
            results[0].plot(temporary)


def _bases(result):
    """Columns that say which base each row of a table is of."""
    length = len(result.reference)
    return {
        "chrom": [result.contig] * length,
        "pos": np.arange(result.start, result.start + length) + 1,
        "name": [result.name] * length,
        "ref": list(decode(result.reference)),
    }


def _hdf5_writer(file) -> Callable[[Explanation], None]:
    count = 0

    def write(result: Explanation) -> None:
        nonlocal count
        group = file.create_group(f"windows/{count:06d}")
        count += 1
        group.attrs.update(
            contig=result.contig, start=result.start, name=result.name, method=result.method, model=result.model
        )
        group.create_dataset("reference", data=np.frombuffer(decode(result.reference).encode(), dtype="S1"))
        for name in ("contributions", "hypothetical", "prediction", "baseline", "completeness"):
            group.create_dataset(name, data=getattr(result, name))

    return write


def _mean_contributions(results, genome):
    """Blocks of a bigWig: the mean contribution of each base of each contig."""
    sums: dict[str, list[np.ndarray]] = {}
    for result in results:
        low = max(0, -result.start)
        high = min(len(result.reference), int(genome.lengths[genome.number(result.contig)]) - result.start)
        positions = np.arange(result.start + low, result.start + high)
        sums.setdefault(result.contig, []).append(np.stack([positions, result.contributions[low:high, 0]]))
    for contig in sorted(sums):
        positions, found = np.concatenate(sums[contig], axis=1)
        unique, rows = np.unique(positions.astype(np.int64), return_inverse=True)
        mean = np.bincount(rows, found) / np.bincount(rows)
        yield contig, unique, unique + 1, mean.astype(np.float32)
