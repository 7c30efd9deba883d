"""One-dimensional convolution by discrete Fourier transforms over short blocks, for inference on a CPU.

A convolution over positions is a product of spectra. For a block of positions, the real discrete Fourier transform and
its inverse are two small matrices, applied to all channels of all windows at once. Between them, the channels are
multiplied by one matrix per frequency; each complex matrix product is computed as three real ones (Gauss). A block of m
outputs with a kernel of width k takes about 1.5 (m + k) channel products, where direct evaluation takes m k. The
rounding error for outputs of order one is about 2e-6; direct evaluation in float32 has 1e-6.

Memory is ordered by position first. A transform is then one large product for all windows, which runs at the speed of
the products between channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import ceil

import numpy as np
import torch

#: Cost of a multiplication in the transforms, relative to one in the products between them: their matrices are smaller.
#: Values of 1 to 2.5 gave equally fast plans for the layers of MotifResNet, Basset and DeepSEA.
TRANSFORM_COST = 1.5
#: Minimum number of blocks over all windows. With fewer, the products of one frequency are too small to run at full
#: speed.
FEWEST_ROWS = 12
#: Block lengths tried in addition to even divisions of a window.
SIZES = (8, 12, 16, 20, 24, 28, 32)
#: Largest block length.
LONGEST = 128
#: Largest number of cached plans. Joined windows have many different lengths.
PLANS = 64
#: Values transformed at once: 8 MB, which fit in the last-level cache.
CACHED = 1 << 21
#: Number of blocks with equal transforms from which on they are transformed together. Their inputs are copied for this.
ALIKE = 8
#: Largest cost, relative to direct evaluation, at which transforms are used. Kernels of 3, at 0.77, were slower.
WORTHWHILE = 0.65


@cache
def bilinear_algorithm(
    inputs: int, outputs: int, shift: int, taps: int, period: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices A, B, G such that y = A ((B x) * (G g)) for y[i] = sum_j x[i + shift + j] g[j], with x zero-padded.

    Parameters
    ----------
    inputs, outputs : int
        Lengths of x and y.
    shift : int
        Index in x read by the first tap of the first output. Negative if it lies before x.
    taps : int
        Length of g.
    period : int
        Length of the transform, at least that of `_shortest_period`.

    Returns
    -------
    A : numpy.ndarray, float64, shape (outputs, products)
    B : numpy.ndarray, float64, shape (products, inputs)
    G : numpy.ndarray, float64, shape (products, taps)
    """
    x, y, g = np.arange(inputs), np.arange(outputs) + shift, np.arange(taps)
    rows_a, rows_b, rows_g = [], [], []
    for frequency in range(period // 2 + 1):
        angle = 2 * np.pi * frequency / period
        real, imaginary = np.cos(angle * x), -np.sin(angle * x)
        tap_real, tap_imaginary = np.cos(angle * g), np.sin(angle * g)
        if frequency == 0 or 2 * frequency == period:  # real spectra
            rows_b.append(real)
            rows_g.append(tap_real)
            rows_a.append(np.cos(angle * y) / period)
            continue
        # (a + ib)(c + id): with p = (a + b) c, q = a (d - c), r = b (c + d), the real part is p - r, the imaginary part
        # p + q.
        rows_b += [real + imaginary, real, imaginary]
        rows_g += [tap_real, tap_imaginary - tap_real, tap_real + tap_imaginary]
        cosine, sine = 2 * np.cos(angle * y) / period, 2 * np.sin(angle * y) / period
        rows_a += [cosine - sine, -sine, -cosine]
    return np.array(rows_a).T, np.array(rows_b), np.array(rows_g)


def _shortest_period(inputs, outputs, shift, taps):
    """Shortest period without wrap-around: no tap reads an input across the end."""
    return max(inputs - shift, outputs + shift + taps - 1, taps)


@dataclass(frozen=True)
class _Blocks:
    """Blocks of outputs with equal transforms: positions of the inputs and outputs, and the transforms between them.

    Positions are a slice for one block, and an int64 tensor of shape (positions, count) for several.
    """

    inputs: slice | torch.Tensor
    outputs: slice | torch.Tensor
    transform: torch.Tensor
    inverse: torch.Tensor

    @property
    def count(self) -> int:
        return 1 if isinstance(self.inputs, slice) else self.inputs.shape[1]

    def split(self, most: int) -> "list[_Blocks]":
        """These blocks, at most `most` together."""
        if isinstance(self.inputs, slice) or isinstance(self.outputs, slice):
            return [self]
        parts = zip(self.inputs.split(most, 1), self.outputs.split(most, 1))
        return [_Blocks(x, y, self.transform, self.inverse) for x, y in parts]

    def read(self, x: torch.Tensor) -> torch.Tensor:
        """Inputs of the blocks, shape (positions of a block, count x columns), of an array (positions, columns)."""
        if isinstance(self.inputs, slice):
            return x[self.inputs]
        return x.index_select(0, self.inputs.flatten()).view(len(self.inputs), -1)

    def write(self, products: torch.Tensor, result: torch.Tensor) -> None:
        """Inverse transform of products into an array of shape (positions, columns)."""
        if isinstance(self.outputs, slice):
            torch.mm(self.inverse, products, out=result[self.outputs])
        else:
            y = torch.mm(self.inverse, products)
            result.index_copy_(0, self.outputs.flatten(), y.view(-1, result.shape[1]))


def _parts(blocks: list[_Blocks], most: int) -> Iterator[list[_Blocks]]:
    """Blocks to evaluate together, at most `most`."""
    part: list[_Blocks] = []
    for one in (piece for several in blocks for piece in several.split(most)):
        if part and sum(b.count for b in part) + one.count > most:
            yield part
            part = []
        part.append(one)
    yield part


class FourierConvolution:
    """A convolution of stride 1 over arrays of shape (windows, positions, channels).

    Parameters
    ----------
    weight : torch.Tensor, float32, shape (out, in, taps)
    bias : torch.Tensor, float32, shape (out,), or None
    left : int
        Padding before the first position. Output i reads inputs from i - left on.
    dilation : int
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, left: int, dilation: int = 1):
        self.weight, self.bias, self.left, self.dilation = weight, bias, left, dilation
        self.reach = (weight.shape[2] - 1) * dilation
        self._plans: dict[tuple[int, int, int], tuple[int, list[_Blocks]] | None] = {}
        self._spectra: dict[int, torch.Tensor] = {}
        self._matrices: dict[tuple[int, int, int, int], list[torch.Tensor]] = {}

    def inputs_of(self, low: int, high: int, length: int) -> tuple[int, int]:
        """Range of the inputs in [0, length) that outputs [low, high) read."""
        return max(low - self.left, 0), min(high - self.left + self.reach, length)

    def worthwhile(self, rows: int, low: int, high: int, length: int) -> bool:
        """Whether outputs [low, high) of `rows` windows are cheaper to evaluate by transforms than directly."""
        if self.left > self.reach:  # some outputs read padding only
            return False
        plan = self._plan(low, high, length)
        return plan is not None and rows * sum(blocks.count for blocks in plan[1]) >= FEWEST_ROWS

    @torch.inference_mode()
    def __call__(self, x: torch.Tensor, low: int, high: int, length: int) -> torch.Tensor:
        """Outputs [low, high), shape (windows, high - low, out), in memory ordered by position first.

        Parameters
        ----------
        x : torch.Tensor, float32, shape (windows, positions, in)
            The inputs in `inputs_of(low, high, length)`. They are copied unless ordered in the same way.
        low, high : int
        length : int
            Length of the whole input, which is zero-padded.

        Raises
        ------
        ValueError
            If direct evaluation is cheaper; see `worthwhile`.
        """
        plan = self._plan(low, high, length)
        if plan is None:
            raise ValueError("these outputs are cheaper to evaluate directly")
        period, blocks = plan
        weights = self._spectrum(period)
        rows = x.transpose(0, 1).contiguous().flatten(1)
        result = x.new_empty(high - low, len(x), weights.shape[2])
        # As many blocks at a time as fit in the cache, but enough to make up for reading the weights again.
        fitting = max(CACHED, weights.numel()) // (weights[:, 0].numel() + weights[:, :, 0].numel())
        windows = max(1, fitting // sum(b.count for b in blocks))
        columns = (rows.split(windows * x.shape[2], 1), result.flatten(1).split(windows * weights.shape[2], 1))
        for source, target in zip(*columns):
            for part in _parts(blocks, max(1, fitting // min(windows, len(x)))):
                self._evaluate(source, target, part, weights)
        result = result.transpose(0, 1)
        return result if self.bias is None else result.add_(self.bias)

    @staticmethod
    def _evaluate(x, result, blocks, weights):
        ends = np.cumsum([0, *(b.count * x.shape[1] for b in blocks)]).tolist()
        spectra = x.new_empty(len(weights), ends[-1])
        for one, low, high in zip(blocks, ends, ends[1:]):
            torch.mm(one.transform, one.read(x), out=spectra[:, low:high])
        products = torch.bmm(spectra.unflatten(1, (-1, weights.shape[1])), weights)
        widths = [one.count * result.shape[1] for one in blocks]
        for one, of_blocks in zip(blocks, products.flatten(1).split(widths, 1)):
            one.write(of_blocks, result)

    def _plan(self, low, high, length):
        """Period and blocks, or None if direct evaluation is cheaper.

        A dilated kernel reads positions of one phase (modulo the dilation). Each phase is treated as a sequence of its
        own, with a kernel that is not dilated.
        """
        key = low, high, length
        if key in self._plans:
            return self._plans[key]
        out, channels, taps = self.weight.shape
        longest = ceil((high - low) / self.dilation)
        sizes = {ceil(longest / count) for count in range(1, 9)} | set(SIZES)

        def cost(size):
            period = self._period(size, longest, length, taps)
            products = (3 * period - 1) // 2
            inputs = min(size + taps - 1, length)
            of_block = products * (channels * out + TRANSFORM_COST * (inputs * channels + size * out))
            return ceil(longest / size) * of_block / (longest * taps * channels * out)

        best = min((size for size in sizes if size <= min(longest, LONGEST)), key=cost, default=None)
        if len(self._plans) >= PLANS:
            self._plans.clear()
        self._plans[key] = None
        if best is not None and cost(best) < WORTHWHILE:
            self._plans[key] = self._blocks(low, high, length, best)
        return self._plans[key]

    def _period(self, size, longest, length, taps):
        if size < longest or longest > length // self.dilation:
            return size + taps - 1
        padding = self.left // self.dilation
        # A whole window needs less, because its padding is zero.
        return max(longest + max(padding, taps - 1 - padding), taps)

    def _blocks(self, low, high, length, size):
        taps, ranges = self.weight.shape[2], []
        first, stop = self.inputs_of(low, high, length)
        for phase in range(min(self.dilation, high - low)):
            outputs = range(low + phase, high, self.dilation)
            for part in (outputs[i : i + size] for i in range(0, len(outputs), size)):
                begin = part[0] - self.left
                begin += max(0, ceil((first - begin) / self.dilation)) * self.dilation
                inputs = range(begin, min(part[-1] - self.left + self.reach + 1, stop), self.dilation)
                ranges.append((inputs, part, (part[0] - self.left - begin) // self.dilation))
        period = max(_shortest_period(len(x), len(y), shift, taps) for x, y, shift in ranges)
        alike: dict[tuple[int, int, int], list[tuple[range, range]]] = {}
        for x, y, shift in ranges:
            x, y = (range(r.start - at, r.stop - at, r.step) for r, at in ((x, first), (y, low)))
            alike.setdefault((len(x), len(y), shift), []).append((x, y))
        return period, [
            b for key, places in alike.items() for b in self._alike(places, *self._transforms(*key, period))
        ]

    @staticmethod
    def _alike(places, transform, inverse):
        """Blocks of equal transforms, together if they are many."""
        if len(places) < ALIKE:
            slices = ((slice(r[0], r[-1] + 1, r.step) for r in both) for both in places)
            return [_Blocks(x, y, transform, inverse) for x, y in slices]
        inputs, outputs = (torch.tensor([list(r) for r in side]).T.contiguous() for side in zip(*places))
        return [_Blocks(inputs, outputs, transform, inverse)]

    def _transforms(self, inputs, outputs, shift, period):
        key = inputs, outputs, shift, period
        if key not in self._matrices:
            a, b, _ = bilinear_algorithm(inputs, outputs, shift, self.weight.shape[2], period)
            self._matrices[key] = [torch.from_numpy(m).float().contiguous() for m in (b, a)]
        return self._matrices[key]

    def _spectrum(self, period):
        """Transformed weights, shape (products, in, out)."""
        if period not in self._spectra:
            matrix = torch.from_numpy(bilinear_algorithm(1, 1, 0, self.weight.shape[2], period)[2])
            spectrum = torch.einsum("pk,oik->pio", matrix, self.weight.double())
            self._spectra[period] = spectrum.float().contiguous()
        return self._spectra[period]
