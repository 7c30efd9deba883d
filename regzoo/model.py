"""A loaded model: windows of DNA in, predictions out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from regzoo.activations import ACTIVATIONS
from regzoo.errors import InputError, ModelError
from regzoo.options import PRECISIONS, check_at_least, check_choice, close_names
from regzoo.sequence.codes import encode_windows, one_hot
from regzoo.strands import reverse_complement_one_hot, strand_mean

if TYPE_CHECKING:
    Windows = Sequence[str] | np.ndarray | torch.Tensor

_MANY = 16  # windows from which on the faster pass is worth making
_BASES = 8192  # of a batch in that pass


class ZooModule(nn.Module):
    """A network with its output activation and, where the model has it, the mean over both strands.

    Parameters
    ----------
    net : torch.nn.Module
        Returns logits.
    activation : str
        A key of `regzoo.activations.ACTIVATIONS`.
    reverse_complement : bool
        Average the predictions of each window and of its reverse complement.
    """

    def __init__(self, net: nn.Module, activation: str = "sigmoid", reverse_complement: bool = False):
        super().__init__()
        self.net = net
        self.activation = ACTIVATIONS[activation].make()
        self.activation_name = activation
        self.reverse_complement = reverse_complement

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Predictions, shape (N, targets) or (N, targets, bins), of one-hot windows, shape (N, 4, L)."""
        forward = self.activation(self.net(x))
        if not self.reverse_complement:
            return forward
        return strand_mean(forward, self.activation(self.net(reverse_complement_one_hot(x))))


@dataclass
class Model:
    """A model that predicts targets for windows of DNA of one length.

    Made by `regzoo.load_model`, or by `Model.from_module` of a network of your own.

    Attributes
    ----------
    name : str
        GROUP/MODEL, the path of a model directory, or the name given to `from_module`.
    module : ZooModule
        In evaluation mode.
    input_length : int
        Window length in bases.
    targets : list of str
        One distinct name for each output; a repeated name carries its index, as in 'name#12'.
    merge_strands : bool
        Whether variant scores are computed on both strands and averaged (`use_rc` of kipoi-veff).
    stranded : bool
        Whether the output is for the strand given, as for models of RNA and promoters. Intervals on '-' are then
        reverse-complemented by default.
    bins : int or None
        Bins of each target of a profile model; None where there is one value for each target.
    """

    name: str
    module: ZooModule = field(repr=False)
    input_length: int
    targets: list[str] = field(repr=False)
    merge_strands: bool = False
    stranded: bool = False
    bins: int | None = None
    _fold: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self):
        if self.bins is None:
            self.bins = getattr(self.module.net, "bins", None)

    def __getstate__(self):
        return self.__dict__ | {"_fold": None}  # made again where it is needed

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        input_length: int,
        targets: Sequence[str] | int,
        activation: str = "sigmoid",
        *,
        name: str = "custom",
        reverse_complement: bool = False,
        stranded: bool = False,
        device: str = "auto",
    ) -> "Model":
        """Wrap a PyTorch network, so that everything in regzoo works on it.

        Parameters
        ----------
        module : torch.nn.Module
            Takes one-hot windows, float32, shape (N, 4, input_length), channels A, C, G, T, all zeros for an unknown
            base. Returns shape (N, targets), or (N, targets, bins) for profiles. It is set to evaluation mode.
        input_length : int
            Window length in bases.
        targets : sequence of str, or int
            Names of the outputs, or their number (they are then named target0, target1, ...).
        activation : str
            Applied to what `module` returns: 'sigmoid', 'softplus', 'softmax', or 'identity' if the module
            returns predictions already.
        name : str
            Used in outputs and messages.
        reverse_complement : bool
            Average predictions over both strands.
        stranded : bool
            The output is for the strand given.
        device : str
            'auto', 'cpu', 'cuda' or 'cuda:N'.

        Returns
        -------
        Model

        Raises
        ------
        ModelError
            If an argument is not valid, or the network does not return finite outputs of the expected shape for a
            window of unknown bases.

        Examples
        --------
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv1d(4, 8, 5), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 96, 2))
        >>> model = Model.from_module(net, input_length=100, targets=["K562", "HepG2"])
        """
        if not isinstance(module, nn.Module):
            raise ModelError(f"{name}: expected a torch.nn.Module, got {type(module).__name__}")
        if activation not in ACTIVATIONS:
            raise ModelError(f"{name}: no activation {activation!r}; choose one of {', '.join(ACTIVATIONS)}")
        if isinstance(targets, str):
            raise ModelError(f"{name}: targets are a list of names or their number, not one string")
        names = [f"target{i}" for i in range(targets)] if isinstance(targets, int) else [str(t) for t in targets]
        if not names or len(set(names)) < len(names):
            raise ModelError(f"{name}: expected one or more distinct target names, got {names[:5]}")
        wrapped = ZooModule(module, activation, reverse_complement).eval().to(resolve_device(device))
        shape = check_output(wrapped, input_length, len(names))
        if not all(tensor.isfinite().all() for tensor in module.state_dict().values() if tensor.is_floating_point()):
            raise ModelError(f"{name}: the network has NaN or infinite weights")
        return cls(name, wrapped, input_length, names, stranded=stranded, bins=shape[1] if len(shape) == 2 else None)

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        return next((p.device for p in self.module.parameters()), torch.device("cpu"))

    @property
    def outputs(self) -> str:
        """What the outputs are: 'probabilities' (of each target by itself), 'rates' (positive) or 'values'."""
        return ACTIVATIONS[self.module.activation_name].outputs

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one window's predictions: (targets,), or (targets, bins) for profiles."""
        return (len(self.targets),) if self.bins is None else (len(self.targets), self.bins)

    def columns(self, targets: Sequence[str] | None = None) -> list[int]:
        """Indices of the named targets, in their order; all without names.

        Raises
        ------
        InputError
            If the model has no target of a name; the closest names are suggested.
        """
        if not targets:
            return list(range(len(self.targets)))
        index = {name: i for i, name in enumerate(self.targets)}
        for name in targets:
            if name not in index:
                raise InputError(f"model {self.name} has no target {name!r}{close_names(name, self.targets)}")
        return [index[name] for name in dict.fromkeys(targets)]

    @torch.inference_mode()
    def predict(self, sequences: "Windows", batch_size: int = 64, precision: str = "float32") -> np.ndarray:
        """Predict windows of the model's own length.

        Parameters
        ----------
        sequences : sequence of str, or array
            Strings of `input_length` letters; base codes, uint8, shape (N, input_length); or one-hot, shape
            (N, 4, input_length), channels A, C, G, T.
        batch_size : int
            Windows in one pass.
        precision : str
            'float32', or 'bf16' for matrix products in bfloat16.

        Returns
        -------
        numpy.ndarray, float32, shape (N, targets), or (N, targets, bins) for profiles

        Raises
        ------
        InputError
            If the windows are of another length, shape or type, or an option is not valid.
        """
        check_choice("precision", precision, PRECISIONS)
        check_at_least(1, batch_size=batch_size)
        codes = encode_windows(sequences, self.input_length, self.name)
        result = np.empty((len(codes), *self.output_shape), dtype=np.float32)
        device = self.device
        forward = self._folded() if precision == "float32" and len(codes) >= _MANY else None
        if forward is not None:  # so many bases that its activations stay in the cache
            batch_size = min(batch_size, max(8, _BASES // self.input_length))
        # One buffer for all batches: a new one each time costs as much as filling it.
        buffer = np.empty((min(batch_size, len(codes)), 4, self.input_length), dtype=np.float32)
        for start in range(0, len(codes), batch_size):
            rows = slice(start, start + batch_size)
            batch = torch.from_numpy(one_hot(codes[rows], buffer[: len(codes[rows])])).to(device)
            if forward is not None:
                result[rows] = forward(batch).numpy()
                continue
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                result[rows] = self.module(batch).float().cpu().numpy()
        return result

    def _folded(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """The module's forward pass as variant scoring computes it on a CPU; None where there is no such pass.

        Batch norms are folded into convolutions, and long convolutions go through a Fourier transform, so that it takes
        less time than the module's own; results differ by rounding. It is made once, and again when a weight has
        changed.
        """
        from regzoo.effects.incremental import Incremental, has_plan

        net = self.module.net
        if self.device.type != "cpu" or self.module.training or not has_plan(net):
            return None
        tensors = [*net.parameters(), *net.buffers()]
        if any(tensor.is_inference() or tensor.dtype == torch.float64 for tensor in tensors):
            return None
        state = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
        if self._fold is None or self._fold[0] != state:
            self._fold = state, Incremental(net)
        reference, activation = self._fold[1].reference, self.module.activation

        def forward(x: torch.Tensor) -> torch.Tensor:
            found = activation(reference(x.transpose(1, 2).contiguous())[0])
            if not self.module.reverse_complement:
                return found
            x = reverse_complement_one_hot(x)
            return strand_mean(found, activation(reference(x.transpose(1, 2).contiguous())[0]))

        return forward

    def score_variants(self, variants: Any, genome: Any, **options: Any) -> Any:
        """As `regzoo.score_variants` with this model."""
        import regzoo

        return regzoo.score_variants(self, variants, genome, **options)

    def saturation_mutagenesis(self, loci: Any, genome: Any, **options: Any) -> Any:
        """As `regzoo.saturation_mutagenesis` with this model."""
        import regzoo

        return regzoo.saturation_mutagenesis(self, loci, genome, **options)


def resolve_device(device: str | torch.device | None) -> torch.device:
    """The torch device of a name; 'auto' (or None) is a GPU where there is one, else the CPU.

    Raises
    ------
    InputError
        If torch does not know the device, or this machine does not have it.
    """
    if device in (None, "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"no device {device!r}; use auto, cpu, cuda or cuda:N") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {device!r}: torch sees {torch.cuda.device_count()} CUDA devices on this machine")
    try:
        torch.zeros(1, device=found).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:  # a kind that this torch is built without, or 'meta'
        raise InputError(
            f"device {device!r}: torch cannot compute on it here; use auto, cpu, cuda or cuda:N"
        ) from error
    return found


@torch.inference_mode()
def check_output(module: nn.Module, length: int, count: int) -> tuple[int, ...]:
    """Run one window of unknown bases through a network.

    Returns
    -------
    tuple of int
        Shape of one window's outputs: (count,), or (count, bins).

    Raises
    ------
    ModelError
        If the network cannot read it, or does not return `count` finite outputs for it.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    try:
        output = module(torch.zeros(1, 4, length, device=device))
    except (RuntimeError, ValueError, TypeError, ArithmeticError, IndexError) as error:
        raise ModelError(f"this network cannot read a window of {length} bases: {error}") from error
    if not isinstance(output, torch.Tensor):
        raise ModelError(f"this network returns {type(output).__name__}, not a tensor of shape (N, {count})")
    if output.shape[:2] != (1, count) or output.ndim > 3 or not output.isfinite().all():
        seen = tuple(output.shape) if output.isfinite().all() else "NaN or infinite values"
        raise ModelError(
            f"this network gives {seen} for a window of {length} bases, not finite outputs of shape (1, {count})"
        )
    return tuple(output.shape[1:])
