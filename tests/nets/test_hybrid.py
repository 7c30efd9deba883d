"""Attention layers of the hybrid against torch's transformer layer, and dependence on position and length."""

import torch
from torch import nn

from regzoo.nets import build
from regzoo.nets.hybrid import _Attention


def test_attention_without_positions_equals_torch_pre_norm_layer(monkeypatch):
    torch.manual_seed(0)
    ours = _Attention(16, 4, 0.0).eval()
    theirs = nn.TransformerEncoderLayer(16, 4, 32, 0.0, nn.functional.gelu, batch_first=True, norm_first=True).eval()
    theirs.load_state_dict(
        {
            "self_attn.in_proj_weight": ours.qkv.weight,
            "self_attn.in_proj_bias": ours.qkv.bias,
            "self_attn.out_proj.weight": ours.out.weight,
            "self_attn.out_proj.bias": ours.out.bias,
            "norm1.weight": ours.norm.weight,
            "norm1.bias": ours.norm.bias,
            "norm2.weight": ours.feed_forward[0].weight,
            "norm2.bias": ours.feed_forward[0].bias,
            "linear1.weight": ours.feed_forward[1].weight,
            "linear1.bias": ours.feed_forward[1].bias,
            "linear2.weight": ours.feed_forward[4].weight,
            "linear2.bias": ours.feed_forward[4].bias,
        }
    )
    x = torch.randn(3, 11, 16)
    monkeypatch.setattr("regzoo.nets.hybrid.rotate", lambda side, *turn: side)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_output_depends_on_order_of_positions():
    torch.manual_seed(1)
    layer, x = _Attention(16, 2, 0.0).eval(), torch.randn(1, 6, 16)
    order = torch.tensor([1, 0, 2, 3, 4, 5])
    with torch.no_grad():
        assert (layer(x)[:, order] - layer(x[:, order])).abs().max() > 1e-3


def test_any_length_and_training_mode():
    net = build("hybrid", input_length=101, n_targets=3, motifs=16, width=16)
    assert net(torch.zeros(2, 4, 101)).shape == (2, 3) and net.eval()(torch.zeros(2, 4, 37)).shape == (2, 3)
