"""The chunked scan against the recurrence, and reverse-complement equivariance."""

import pytest
import torch

from regzoo.nets.caduceus import CACHED, Caduceus, scan
from regzoo.sequence import reverse_complement
from regzoo.tokenizers import SingleBases


@pytest.mark.parametrize(("length", "chunk"), [(1, 4), (7, 4), (64, 16), (50, 64)])
def test_chunked_scan_equals_recurrence(length, chunk):
    torch.manual_seed(length)
    x, decay = torch.randn(2, length, 3, 5).double(), -torch.rand(2, length, 3).double()
    b, c = torch.randn(2, 2, length, 4).double()
    state, expected = torch.zeros(2, 3, 4, 5).double(), []
    for t in range(length):
        state = state * decay[:, t].exp()[..., None, None] + b[:, t, None, :, None] * x[:, t, :, None]
        expected.append(torch.einsum("ns,nhsd->nhd", c[:, t], state))
    torch.testing.assert_close(scan(x, decay, b, c, chunk), torch.stack(expected, 1), atol=1e-10, rtol=0)


def test_reverse_complement_equivariance():
    torch.manual_seed(0)
    net = Caduceus(16, 3, 2, 8).double().eval()
    codes = torch.randint(0, 5, (3, 90)).to(torch.uint8).numpy()
    ids, turned = (torch.from_numpy(SingleBases().encode(c).ids) for c in (codes, reverse_complement(codes)))
    expected = net(ids).flip(1)[..., net.complement]
    torch.testing.assert_close(net(turned), expected, atol=1e-10, rtol=0)
    forward, backward = net.encode(ids).chunk(2, -1)
    torch.testing.assert_close(net.encode(turned), torch.cat([backward, forward], -1).flip(1), atol=1e-10, rtol=0)


def test_bidirectional_context():
    net = Caduceus(16, 2, 2, 8)
    x = net.words(torch.randint(7, 11, (1, 60))).detach().requires_grad_()
    y = x
    for block in net.layers:
        y = block(y)
    y[0, 30].sum().backward()
    assert (x.grad[0].abs().sum(1) > 0).all()


def test_mask_is_rejected():
    with pytest.raises(ValueError, match="takes no padding"):
        Caduceus(8, 1, 2, 4)(torch.full((1, 4), 7), torch.tensor([[True, True, False, False]]))


def test_batch_splitting_on_cpu_does_not_change_vectors():
    torch.manual_seed(1)
    net, ids = Caduceus(16, 2, 2, 8).double(), torch.randint(7, 11, (12, 101))
    whole = net.encode(ids)  # a batch is not split if gradients are enabled
    with torch.no_grad():
        torch.testing.assert_close(net.encode(ids), whole, atol=1e-12, rtol=0)
    assert len(ids) * ids.shape[1] > CACHED
