"""What supervised training makes small: the loss of the labels that are there, with soft labels from teachers."""

import torch
from torch import nn
from torch.nn import functional as F

from training.networks import one_hot, predict


class Supervised(nn.Module):
    """Mean loss over known labels.

    Parameters
    ----------
    network : torch.nn.Module
    data : training.data.sources.Source
        Of its task 'binary': cross-entropy of each target's logit; 'multiclass': of the softmax over targets; 'regression':
        squared error in units of the target's spread.
    label_smoothing : float
        Of 'binary'.
    spread : torch.Tensor, shape (targets,), optional
        Standard deviations of a regression's targets.
    teachers : list of torch.nn.Module
        Their mean probabilities are soft labels of every row and target, of the `weight` given.
    weight : float
    """

    def __init__(self, network, data, label_smoothing=0.0, spread=None, teachers=(), weight=0.0):
        super().__init__()
        self.network, self.data, self.label_smoothing, self.weight = network, data, label_smoothing, weight
        self.register_buffer("spread", spread)
        self.teachers = list(teachers)  # a plain list: they are not trained

    def forward(self, codes, labels):
        """Scalar loss of base codes, uint8, (N, L), and labels, (N, targets), NaN where unknown."""
        logits = self.network(one_hot(codes)).float()
        known = ~torch.isnan(labels)
        if self.data.task == "multiclass":
            rows = known.all(dim=1)
            return F.cross_entropy(logits[rows], labels[rows])
        if self.data.task == "regression":
            losses = ((logits - torch.where(known, labels, logits.detach())) / self.spread).square()
        else:
            truth = torch.where(known, labels, 0.5) * (1 - 2 * self.label_smoothing) + self.label_smoothing
            losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        hard = (losses * known).sum() / known.sum().clamp(min=1)
        if not self.teachers:
            return hard
        soft = torch.stack([predict(teacher.to(codes.device), codes, self.data) for teacher in self.teachers]).mean(0)
        return (1 - self.weight) * hard + self.weight * F.binary_cross_entropy_with_logits(logits, soft)
