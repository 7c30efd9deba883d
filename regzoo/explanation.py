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
from regzoo.effects.scores import score as compute_score
from regzoo.errors import InputError, ModelError, OutputError
from regzoo.explanation_files import OUTPUTS, bases_of, check_outputs, write_explanations
from regzoo.explanation_windows import Window, explained_windows
from regzoo.model import Model
from regzoo.nets.deeplift import layers_without_rule, multipliers
from regzoo.nets.frozen import frozen, without_first
from regzoo.nets.sequence_model import LanguageModelNet
from regzoo.options import ATTRIBUTIONS, check_at_least, check_choice, distinct
from regzoo.output.files import refuse_overwrite
from regzoo.output.tables import check_suffix
from regzoo.pictures import picture
from regzoo.sequence.codes import UNKNOWN, one_hot, reverse_complement
from regzoo.sequence.genome import as_genome
from regzoo.sequence.shuffle import shuffled_dinucleotides
from regzoo.strands import reverse_complement_one_hot
from regzoo.zoo import load_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

_GRADIENT_BATCH = 64  # windows in one backward pass
LONGEST_CHECKED = 4096  # bases of a window that is checked by exact mutagenesis
PATHS = ("integrated_gradients", "deeplift")  # methods that start from references


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
    saturation_correlation : numpy.ndarray, float32, shape (targets,), or None
        For 'taylor': Pearson correlation of the contributions of a window with those of exact mutagenesis, the median
        over the windows that were checked; the same array in all results of one call. None if none was checked.
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
    saturation_correlation: np.ndarray | None = None

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
    checked: int = 10,
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
    checked : int
        For 'taylor': up to this many windows, drawn at random, are also explained by exact mutagenesis, and the
        correlation is reported; see `Explanation.saturation_correlation`. 0 for none; windows longer than 4,096 bases
        are not checked.
    use_strand : bool, optional
        Explain the reverse strand of intervals on '-'; positions and bases are then still given on the forward strand.
        By default only for models of RNA and promoters.
    seed : int
        Of the shuffled references, and of the windows that are checked.
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
    check_at_least(0, seed=seed, checked=checked)
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
    if method == "taylor":
        explainer.correlation = _against_saturation(explainer, windows, checked, seed)
    found = _results(explainer, windows, progress)
    if outputs:
        write_explanations(outputs, found, explainer.names, opened)
        return len(windows)
    results = list(found)
    return results[0] if isinstance(inputs, str) and len(results) == 1 else results


def _against_saturation(explainer, windows, count, seed):
    """Median correlation of each target's contributions with exact mutagenesis, over some windows; None without."""
    windows = [one for one in windows if not one.difference]
    count = min(count, len(windows))
    if not count or explainer.model.input_length > LONGEST_CHECKED:
        return None
    some = [windows[i] for i in np.random.default_rng(seed).choice(len(windows), count, replace=False)]
    exact = _Explainer(explainer.model, explainer.columns, "saturation", 1, 1, seed)
    found = np.full((count, len(explainer.columns)), np.nan, dtype=np.float32)
    for row, window in enumerate(some):
        ([one], [other]), known = (each([window]) for each in (explainer, exact)), window.codes < UNKNOWN
        for column in range(found.shape[1]):
            a, b = one.contributions[known, column], other.contributions[known, column]
            if len(a) > 1 and np.ptp(a) and np.ptp(b):
                found[row, column] = np.corrcoef(a, b)[0, 1]
    medians = np.array([np.median(v[~np.isnan(v)]) if not np.isnan(v).all() else np.nan for v in found.T], np.float32)
    parts = [f"{name} {value:.3f}" for name, value in zip(explainer.names[:8], medians)]
    logger.warning(
        "correlation with exact mutagenesis (median of %d %s): %s%s",
        count,
        "window" if count == 1 else "windows",
        ", ".join(parts),
        ", …" if len(medians) > 8 else "",
    )
    return medians


def _results(explainer, windows, progress):
    """The explanation of each window, and of each substitution the difference of its alleles."""
    earlier: list[Explanation] = []
    with tqdm(total=len(windows), desc="explaining", unit=" windows", disable=not progress) as bar:
        for start in range(0, len(windows), explainer.at_once):
            some = windows[start : start + explainer.at_once]
            explained = iter(explainer([window for window in some if not window.difference]))
            for window in some:
                earlier.append(_difference(window.name, *earlier[-2:]) if window.difference else next(explained))
                yield earlier[-1]
            earlier = earlier[-2:]
            bar.update(len(some))


def _difference(name, ref, alt):
    return replace(
        alt,
        name=name,
        contributions=alt.contributions - ref.contributions,
        hypothetical=alt.hypothetical - ref.hypothetical,
        prediction=alt.prediction - ref.prediction,
        baseline=alt.baseline - ref.baseline,
    )


class _Explainer:
    """Explains windows of one model by one method, `at_once` at a time."""

    def __init__(self, model: Model, columns: list[int], method: str, references: int, steps: int, seed: int):
        if isinstance(model.module.net, LanguageModelNet) and method != "saturation":
            raise ModelError(
                f"{model.name}: a language model reads tokens, which have no gradient; use method 'saturation'"
            )
        if method == "deeplift":
            _check_rules(model)
        self.model, self.columns, self.method = model, columns, method
        self.names = [model.targets[i] for i in columns]
        self.correlation: np.ndarray | None = None
        self.references, self.rng = references, np.random.default_rng(seed)
        self._shuffles: tuple[np.ndarray, np.ndarray] | None = None
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        self.nodes, self.weights = (torch.tensor(one, dtype=torch.float32) for one in ((nodes + 1) / 2, weights / 2))
        if method == "saturation":
            self.evaluator, self.net = Evaluator(model, incremental=True), model.module.net
        else:
            self.net = frozen(model.module.net)
        if method == "integrated_gradients":
            self.first, self.rest = without_first(self.net, model.input_length)
        rows = {"integrated_gradients": references * steps, "deeplift": references, "saturation": _GRADIENT_BATCH}
        strands = 2 if model.module.reverse_complement else 1
        self.at_once = max(1, _GRADIENT_BATCH // (strands * rows.get(method, 1)))

    def __call__(self, windows: Sequence[Window]) -> list[Explanation]:
        if not windows:
            return []
        read = np.stack([reverse_complement(one.codes) if one.minus else one.codes for one in windows])
        found = zip(windows, *self._explained(windows, read))
        return [self._explanation(*one) for one in found]

    def _explanation(self, window, hypothetical, prediction, baseline):
        codes = window.codes
        if window.minus:
            hypothetical = hypothetical[::-1, ::-1]
        known = codes < UNKNOWN
        contributions = np.zeros((len(codes), len(self.columns)), dtype=np.float32)
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
            self.correlation,
        )

    def _explained(self, windows, codes):
        """Hypothetical contributions, (N, L, 4, targets), of base codes as they are read; predictions; baselines."""
        prediction = self._outputs(codes)
        if self.method in PATHS:
            shuffled = np.stack([self._shuffled(window) for window in windows])
            baseline = self._outputs(shuffled.reshape(-1, codes.shape[1])).reshape(*shuffled.shape[:2], -1).mean(axis=1)
            return self._from_references(codes, shuffled), prediction, baseline
        baseline = np.full_like(prediction, np.nan)
        if self.method == "saturation":
            return np.stack([self._saturation(one) for one in codes]), prediction, baseline
        gradient = _numpy(self._gradients(self._tensor(codes))).transpose(1, 3, 2, 0)
        if self.method == "taylor":
            gradient = _against_others(gradient)
        return gradient, prediction, baseline

    def _shuffled(self, window):
        """Shuffles of the window's origin, the same for windows of one origin that follow each other."""
        origin = window.codes if window.origin is None else window.origin
        origin = reverse_complement(origin) if window.minus else origin
        if self._shuffles is None or not np.array_equal(self._shuffles[0], origin):
            drawn = shuffled_dinucleotides(np.repeat(origin[None], self.references, axis=0), self.rng)
            self._shuffles = origin, drawn
        return self._shuffles[1]

    def _saturation(self, codes):
        """Effect of each base against the mean of the other three, from exact mutagenesis."""
        kind = "logit" if self.model.outputs == "probabilities" else "diff"
        effects = np.zeros((len(codes), 4, len(self.columns)), dtype=np.float32)
        places, bases = np.nonzero((codes[:, None] != np.arange(4)) & (codes[:, None] < UNKNOWN))
        if len(places):
            changed = np.repeat(codes[None], len(places), axis=0)
            changed[np.arange(len(places)), places] = bases
            ref, alt = self.evaluator.predict(codes[None], np.zeros_like(places), changed)
            ref, alt = ref[:, self.columns], alt[:, self.columns]
            effects[places, bases] = compute_score(kind, np.broadcast_to(ref, alt.shape), alt)
        return _against_others(effects)

    def _tensor(self, codes):
        return torch.from_numpy(one_hot(codes)).float().to(self.model.device)

    @torch.inference_mode()
    def _outputs(self, codes):
        """Outputs before the activation, (N, targets); the mean over both strands and over bins."""
        parts = []
        for some in np.array_split(codes, range(_GRADIENT_BATCH, len(codes), _GRADIENT_BATCH)):
            given = self._both(self._tensor(some))
            found = self.net(given)
            found = found.mean(dim=2) if found.ndim == 3 else found
            parts.append(found.reshape(-1, len(some), found.shape[1]).mean(dim=0)[:, self.columns].float())
        return _numpy(torch.cat(parts))

    def _both(self, x):
        """Windows, and after them their reverse complements where the output is the mean over strands."""
        return torch.cat([x, reverse_complement_one_hot(x)]) if self.model.module.reverse_complement else x

    def _merged(self, x):
        """Mean of what belongs to both strands, (targets, N, 4, L); the inverse of `_both`."""
        if not self.model.module.reverse_complement:
            return x
        forward, reverse = x.chunk(2, dim=1)
        return (forward + reverse.flip(2, 3)) / 2

    def _each(self, net, x):
        """Gradient of each target, (targets, N, …), of a network at its inputs, (N, …)."""
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            found = net(x)
            sums = (found.mean(dim=2) if found.ndim == 3 else found).sum(dim=0)
            last = self.columns[-1]
            return torch.stack([torch.autograd.grad(sums[i], x, retain_graph=i != last)[0] for i in self.columns])

    def _gradients(self, x):
        return self._merged(self._each(self.net, self._both(x)))

    def _from_references(self, codes, shuffled):
        """Mean over references of the multipliers, with each reference's own contribution subtracted."""
        x = self._tensor(codes.repeat(shuffled.shape[1], axis=0))
        x0 = self._tensor(shuffled.reshape(-1, codes.shape[1]))
        if self.method == "deeplift":
            try:
                found = multipliers(self.net, self._both(x), self._both(x0), self.columns).permute(3, 0, 1, 2)
            except ModelError as error:
                raise ModelError(f"{self.model.name}: {error}; use 'integrated_gradients'") from error
        else:
            found = self._path_means(self._both(x), self._both(x0))
        found = self._merged(found)
        found = found - (found * x0).sum(dim=2, keepdim=True)
        return _numpy(found.unflatten(1, shuffled.shape[:2]).mean(dim=2)).transpose(1, 3, 2, 0)

    def _path_means(self, x, x0):
        """Mean gradient on the line from x0 to x, (targets, N, 4, L).

        The first convolution is linear: it is evaluated at both ends of the line only, and goes once into the gradient.
        """
        with torch.no_grad():
            end, start = self.first(x), self.first(x0)
        nodes, weights = self.nodes.to(x.device), self.weights.to(x.device)
        total = end.new_zeros(len(self.columns), *end.shape)
        wide = (-1, *[1] * (end.ndim - 1))
        rows, steps = torch.cartesian_prod(torch.arange(len(x)), torch.arange(len(nodes))).to(x.device).unbind(1)
        for row, step in zip(rows.split(_GRADIENT_BATCH), steps.split(_GRADIENT_BATCH)):
            path = torch.lerp(start[row], end[row], nodes[step].view(wide))
            total.index_add_(1, row, self._each(self.rest, path) * weights[step].view(wide))
        given = torch.zeros_like(x, requires_grad=True)
        with torch.enable_grad():
            found = self.first(given)
        return torch.stack([torch.autograd.grad(found, given, one, retain_graph=True)[0] for one in total])


def _numpy(tensor):
    return tensor.float().cpu().numpy()


def _against_others(effects):
    """Each base's value minus the mean of the other three, shape (…, 4, targets)."""
    return effects - (effects.sum(axis=-2, keepdims=True) - effects) / 3


def _check_rules(model: Model) -> None:
    """Raise an error that names the layers of a network for which DeepLIFT has no rule."""
    without = layers_without_rule(model.module.net)
    if without:
        raise ModelError(
            f"{model.name}: DeepLIFT has no rule for {', '.join(without)}; use 'integrated_gradients', which is "
            "complete for any network"
        )
