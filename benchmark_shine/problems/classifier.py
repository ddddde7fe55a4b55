"""Deep equilibrium classifiers: class scores of a network's fixed point."""
from torch.nn.functional import cross_entropy

from .equilibrium import EquilibriumNetwork


class EquilibriumClassifier(EquilibriumNetwork):
    """Base of the networks whose head gives class scores (B, n_classes).

    The loss is the mean cross-entropy.  Inputs are float pictures
    (B, C, H, W), targets class numbers (B,).  Parameters are those of
    `EquilibriumNetwork`.
    """

    def loss(self, network, z, y):
        return cross_entropy(network.head(z), y)

    def tally(self, network, z, y):
        logits = network.head(z)
        loss = cross_entropy(logits, y, reduction="sum")
        return loss, (logits.argmax(dim=1) == y).sum()
