"""The same network with random weights: what a map shows of it, it does not owe to training.

Adebayo et al. 2018, "Sanity Checks for Saliency Maps" (1810.03292): a map that looks the same after
the weights are drawn anew shows the picture or the architecture and not what was learnt. They
compare maps by Spearman's rank correlation, of absolute values.
"""

import torch
from torch import Tensor, nn

from fluoroscope.engine.first_look import Look
from fluoroscope.engine.predict import check_batch_size
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.process import random_state_lock

_NORMS = (nn.modules.batchnorm._BatchNorm,)


def with_random_weights(
    model: Classifier | nn.Module, images: Tensor, *, seed: int = 0, batch_size: int = 64
) -> Classifier:
    """A copy of a network with its weights drawn anew; the given one stays as it is.

    Layers draw their weights as they did when they were made; the values of those that cannot are
    shuffled. Batch norms then take their statistics from ``images`` ``(N, C, H, W)``, as the first
    step of training would: without that a deep network's signal dies on its way.
    """
    model = as_classifier(model)
    twin = model.plain.to()  # a copy, of which nothing is known yet
    twin.name = f"{model.name} with random weights"
    twin.look = Look()  # that nothing was learnt is what it is for
    with random_state_lock, torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for part in twin.module.modules():
            redraw = getattr(part, "reset_parameters", None)
            if callable(redraw):
                redraw()
            else:
                for weight in part.parameters(recurse=False):
                    mixed = torch.randperm(weight.numel(), device="cpu").to(weight.device)
                    weight.copy_(weight.flatten()[mixed].view_as(weight))
    _take_statistics(twin, images, check_batch_size(batch_size))
    return twin


def _take_statistics(model: Classifier, images: Tensor, batch_size: int) -> None:
    norms = [part for part in model.module.modules() if isinstance(part, _NORMS)]
    norms = [part for part in norms if part.track_running_stats]
    if not norms:
        return
    seen = images.to(model.device, model.dtype)
    for part in norms:
        part.momentum = None  # the mean over all batches
        part.train()
    with torch.no_grad():
        for batch in seen.split(batch_size):
            # Past the door of the classifier, which would hold every part in evaluation mode.
            inputs = model.preprocessing.normalize(model.preprocessing.resample(batch))
            model.module(inputs.to(model.precision))
    for part in norms:
        part.eval()


def rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's correlation of the absolute values of maps ``(N, C, H, W)``, as ``(N,)`` float64.

    The channels are added up first, as a map shows them; 0 where a map is the same everywhere.
    """
    from scipy.stats import rankdata

    ranks = [
        torch.from_numpy(rankdata(maps.double().abs().sum(1).flatten(1).cpu().numpy(), axis=1))
        for maps in (one, other)
    ]
    first, second = (rank - rank.mean(1, keepdim=True) for rank in ranks)
    scale = first.norm(dim=1) * second.norm(dim=1)
    found: Tensor = (first * second).sum(1) / scale.where(scale > 0, 1.0)
    return found
