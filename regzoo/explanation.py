"""Attributions: how much each base of a window contributes to a prediction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from regzoo.effects.evaluator import Evaluator
from regzoo.effects.mutate import locus_effects
from regzoo.errors import InputError, ModelError, OutputError
from regzoo.explanation_files import OUTPUTS, bases_of, check_outputs, write_explanations
from regzoo.explanation_windows import Window, explained_windows
from regzoo.model import Model
from regzoo.nets.deeplift import layers_without_rule, multipliers
from regzoo.nets.sequence_model import LanguageModelNet
from regzoo.options import ATTRIBUTIONS, check_at_least, check_choice, distinct
from regzoo.output.files import refuse_overwrite
from regzoo.output.tables import check_suffix
from regzoo.pictures import picture
from regzoo.sequence import Genome
from regzoo.sequence.codes import UNKNOWN, one_hot, reverse_complement
from regzoo.sequence.genome import as_genome
from regzoo.sequence.shuffle import shuffled_dinucleotides
from regzoo.strands import reverse_complement_one_hot
from regzoo.zoo import load_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

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
        return pd.concat([pd.DataFrame(bases_of(self)), targets], axis=1)

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
    genome: Any = None,
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

    The window of the model's length around the centre of each interval or variant is explained, by its effect on the
    output before the activation (log odds, for models of probabilities), since a saturated probability has no gradient.

    Parameters
    ----------
    model : str, pathlib.Path or Model
    inputs : str, pathlib.Path, list of str or pandas.DataFrame
        Intervals, as of `regzoo.predict`. A VCF or BCF file, or variants CHROM:POS:REF:ALT: the windows of the
        reference and the alternate of each allele, and for substitutions also their difference. Without `genome`:
        sequences of the model's window length, as a list of strings or a FASTA file.
    genome : str, pathlib.Path or Genome, optional
        Needed for intervals and variants.
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
        One result for one locus given as a string, otherwise a list; with `output`, the number of results. Results of
        variants are named ID_ref, ID_alt and ID_difference, and have the positions of the reference window. ID is
        ID:REF:ALT for records with several alternates, and CHROM:POS:REF:ALT without an ID.

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
    loaded = load_model(model, device)
    columns = loaded.columns(targets)
    explainer = _Explainer(loaded, columns, method, references, steps, seed)
    opened = None if genome is None else as_genome(genome)
    windows = explained_windows(inputs, opened, loaded, use_strand)
    check_outputs(outputs, len(windows), len(columns))
    if opened is None and any(str(path).endswith(".bw") for path in outputs):
        raise OutputError("a .bw file needs a genome: give intervals and a genome, or another output")
    found = _results(explainer, tqdm(windows, desc="explaining", unit=" windows", disable=not progress))
    if outputs:
        write_explanations(outputs, found, explainer.names, opened)
        return len(windows)
    results = list(found)
    return results[0] if isinstance(inputs, str) and len(results) == 1 else results


def _results(explainer, windows):
    """The explanation of each window, and of each substitution the difference of its alleles."""
    earlier: list[Explanation] = []
    for window in windows:
        if window.difference:
            ref, alt = earlier
            result = replace(
                alt,
                name=window.name,
                contributions=alt.contributions - ref.contributions,
                hypothetical=alt.hypothetical - ref.hypothetical,
                prediction=alt.prediction - ref.prediction,
                baseline=alt.baseline - ref.baseline,
            )
        else:
            result = explainer(window)
            earlier = [*earlier, result][-2:]
        yield result


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
        self._shuffles: tuple[np.ndarray, np.ndarray] | None = None
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        self.nodes, self.weights = (nodes + 1) / 2, weights / 2
        self.evaluator = Evaluator(model, incremental=method == "saturation")
        if method == "deeplift":
            _check_rules(model)

    def __call__(self, window: Window) -> Explanation:
        length, codes = self.model.input_length, window.codes
        origin = codes if window.origin is None else window.origin
        read, origin = (reverse_complement(one) if window.minus else one for one in (codes, origin))
        hypothetical, prediction, baseline = self._explained(read, origin)
        if window.minus:
            hypothetical = hypothetical[::-1, ::-1]
        known = codes < UNKNOWN
        contributions = np.zeros((length, len(self.columns)), dtype=np.float32)
        contributions[known] = hypothetical[np.flatnonzero(known), codes[known]]
        hypothetical = np.where(known[:, None, None], hypothetical, 0).astype(np.float32)
        return Explanation(
            window.contig,
            window.start,
            window.name,
            codes,
            contributions,
            hypothetical,
            prediction,
            baseline,
            self.names,
            self.method,
            self.model.name,
        )

    def _explained(self, codes, origin):
        """Hypothetical contributions, (L, 4, targets), of base codes as they are read; prediction; baseline.

        References are shuffles of `origin`, the same for windows of one origin that follow each other.
        """
        nothing = np.full(len(self.columns), np.nan, dtype=np.float32)
        if self.method == "saturation":
            return self._saturation(codes), self._outputs(codes[None])[0], nothing
        if self.method in ("gradient", "taylor"):
            gradient = self._gradients(one_hot(codes[None]))[0]
            if self.method == "taylor":  # the base's effect against the mean of the other three
                gradient = gradient - (gradient.sum(axis=1, keepdims=True) - gradient) / 3
            return gradient, self._outputs(codes[None])[0], nothing
        if self._shuffles is None or not np.array_equal(self._shuffles[0], origin):
            drawn = shuffled_dinucleotides(np.repeat(origin[None], self.references, axis=0), self.rng)
            self._shuffles = origin, drawn
        shuffled = self._shuffles[1]
        path = self._deeplift if self.method == "deeplift" else self._integrated
        return path(codes, shuffled), self._outputs(codes[None])[0], self._outputs(shuffled).mean(axis=0)

    def _saturation(self, codes):
        """Effect of each base against the mean of the other three, from exact mutagenesis."""
        kind = "logit" if self.model.outputs == "probabilities" else "diff"
        window = Genome.from_sequences({"window": codes})
        effects = locus_effects(self.evaluator, window, "window", 0, len(codes), kind, self.columns, strands="forward")[
            :, :4
        ]
        effects = np.nan_to_num(effects)
        return effects - (effects.sum(axis=1, keepdims=True) - effects) / 3

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
