"""The loss of supervised training: of known labels, and of teachers' soft labels."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from training.data.sources import Source
from training.networks import one_hot, predict


class Supervised(nn.Module):
    """Mean loss over known labels.

    Parameters
    ----------
    network : torch.nn.Module
    data : training.data.sources.Source
        Its task chooses the loss. 'binary': cross-entropy of each target's logit; 'multiclass': cross-entropy of the
        softmax over targets; 'regression': squared error divided by the target's variance.
    label_smoothing : float
        For 'binary'.
    std : torch.Tensor, shape (targets,), optional
        Standard deviations of the targets, for 'regression'.
    teachers : sequence of torch.nn.Module
        Their mean probabilities are the soft labels of every row and target.
    weight : float
        Of the soft labels' loss; the hard labels' loss has 1 - weight.
    """

    def __init__(
        self,
        network: nn.Module,
        data: Source,
        label_smoothing: float = 0.0,
        std: torch.Tensor | None = None,
        teachers: Sequence[nn.Module] = (),
        weight: float = 0.0,
    ):
        super().__init__()
        self.network, self.data, self.label_smoothing, self.weight = network, data, label_smoothing, weight
        self.register_buffer("std", std)
        self.teachers = list(teachers)  # a plain list, so that they are not trained

    def forward(self, codes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Scalar loss, given base codes, uint8, (N, L), and labels, (N, targets), NaN where unknown."""
        logits = self.network(one_hot(codes)).float()
        known = ~torch.isnan(labels)
        if self.data.task == "multiclass":
            rows = known.all(dim=1)
            return F.cross_entropy(logits[rows], labels[rows])
        if self.data.task == "regression":
            losses = ((logits - torch.where(known, labels, logits.detach())) / self.std).square()
        else:
            truth = torch.where(known, labels, 0.5) * (1 - 2 * self.label_smoothing) + self.label_smoothing
            losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        hard = (losses * known).sum() / known.sum().clamp(min=1)
        if not self.teachers:
            return hard
        soft = torch.stack([predict(teacher.to(codes.device), codes, self.data) for teacher in self.teachers]).mean(0)
        return (1 - self.weight) * hard + self.weight * F.binary_cross_entropy_with_logits(logits, soft)
