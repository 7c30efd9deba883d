"""Convolution by Fourier transforms against torch's direct convolution in float64."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from regzoo.nets import fourier
from regzoo.nets.fourier import FourierConvolution, bilinear_algorithm


@pytest.mark.parametrize(
    ("length", "channels", "out", "kernel", "dilation", "padding"),
    [
        (50, 64, 64, 5, 1, 2),
        (50, 64, 64, 5, 4, 8),
        (25, 64, 48, 5, 2, 4),
        (25, 40, 64, 11, 1, 5),
        (120, 64, 64, 8, 1, 0),
        (61, 64, 64, 8, 1, 3),
        (64, 64, 64, 6, 3, 0),
    ],
)
def test_outputs_equal_direct_convolution(length, channels, out, kernel, dilation, padding, monkeypatch):
    monkeypatch.setattr(fourier, "WORTHWHILE", 10)  # use transforms even where they are slower
    generator = torch.Generator().manual_seed(length + kernel)
    weight = torch.randn(out, channels, kernel, generator=generator) / (channels * kernel) ** 0.5
    bias = torch.randn(out, generator=generator)
    x = torch.randn(20, length, channels, generator=generator)
    exact = F.conv1d(
        x.transpose(1, 2).double(), weight.double(), bias.double(), padding=padding, dilation=dilation
    ).transpose(1, 2)
    convolution = FourierConvolution(weight, bias, padding, dilation)
    size = exact.shape[1]
    for low, high in ((0, size), (0, size // 2), (size // 3, size), (size // 4, 3 * size // 4)):
        assert convolution.worthwhile(20, low, high, length)
        begin, end = convolution.inputs_of(low, high, length)
        got = convolution(x[:, begin:end], low, high, length)
        assert (got - exact[:, low:high]).abs().max() < 1e-5


def test_bilinear_algorithm_computes_correlation():
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=9), rng.normal(size=4)
    a, b, spectrum = bilinear_algorithm(inputs=9, outputs=6, shift=0, taps=4, period=9)
    assert np.allclose(a @ ((b @ x) * (spectrum @ g)), np.correlate(x, g, "valid"))
    assert len(b) == 13  # 1 + 3 for each of 4 complex frequencies


@pytest.mark.parametrize(("windows", "dilation", "cached"), [(1, 1, 1 << 21), (1, 3, 1 << 21), (3, 2, 1)])
def test_many_equal_blocks_are_transformed_together(windows, dilation, cached, monkeypatch):
    """Also in parts, where they do not fit in the cache, and from inputs in either order."""
    monkeypatch.setattr(fourier, "CACHED", cached)
    generator = torch.Generator().manual_seed(windows)
    weight, bias = torch.randn(64, 64, 6, generator=generator) / 20, torch.randn(64, generator=generator)
    x = torch.randn(windows, 2000, 64, generator=generator)
    exact = F.conv1d(x.transpose(1, 2).double(), weight.double(), bias.double(), padding=5, dilation=dilation)
    convolution = FourierConvolution(weight, bias, 5, dilation)
    size = exact.shape[2]
    assert any(blocks.count >= fourier.ALIKE for blocks in convolution._plan(0, size, 2000)[1])
    for given in (x, x.transpose(0, 1).contiguous().transpose(0, 1)):
        got = convolution(given, 0, size, 2000)
        assert (got - exact.transpose(1, 2)).abs().max() < 1e-5
        assert got.transpose(0, 1).is_contiguous()


def test_few_windows_or_short_kernels_are_evaluated_directly():
    wide = FourierConvolution(torch.randn(64, 64, 5), None, 2)
    assert wide.worthwhile(32, 0, 50, 50) and not wide.worthwhile(1, 0, 50, 50)
    assert not FourierConvolution(torch.randn(64, 64, 3), None, 1).worthwhile(32, 0, 50, 50)
