"""Linear networks and the smallest perturbation that fools them, in closed form and by solvers;
and small curved ones."""

import numpy as np
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.threats import Threat

THREATS: dict[str, type] = {"linf": fs.Linf, "l2": fs.L2, "l1": fs.L1}
DUAL = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}
NO_BOUND = float("inf")


def unbounded(norm: str) -> Threat:
    threat: Threat = THREATS[norm](NO_BOUND)
    return threat


def linear(seed: int, classes: int, values: int) -> tuple[fs.Classifier, Tensor]:
    """A linear network on ``(1, 1, values)`` images, and its weights ``(classes, values)``."""
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(values, classes)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(classes, values, generator=generator))
        layer.bias.copy_(-0.5 * layer.weight.sum(1))
    return fs.Classifier(nn.Sequential(nn.Flatten(), layer), channels=1), layer.weight.detach()


def grey(seed: int, count: int, values: int, spread: float = 0.01) -> Tensor:
    """Images so close to 0.5, where all logits are 0, that the box is far from every border."""
    generator = torch.Generator().manual_seed(seed + 1)
    return 0.5 + spread * torch.randn(count, 1, 1, values, generator=generator)


def free_optimum(model: fs.Classifier, weight: Tensor, images: Tensor, norm: str) -> Tensor:
    """Distance ``(N, classes)`` to the border of each class, as if there were no box."""
    logits = model(images).detach()
    own = logits.argmax(1)
    gaps = logits.gather(1, own[:, None]) - logits
    size = torch.linalg.vector_norm(weight[own][:, None] - weight, ord=DUAL[norm], dim=2)
    return (gaps / size).scatter(1, own[:, None], torch.inf)


def boxed_optimum(model: fs.Classifier, weight: Tensor, image: Tensor, norm: str) -> float:
    """Distance to the nearest border within the box, for one image ``(1, 1, values)``."""
    logits = model(image[None]).detach()[0]
    own = int(logits.argmax())
    found = [
        shortest_move(
            image.flatten().double().numpy(),
            (weight[k] - weight[own]).double().numpy(),
            float(logits[own] - logits[k]),
            norm,
        )
        for k in range(len(logits))
        if k != own
    ]
    return min(found)


def shortest_move(point: np.ndarray, slope: np.ndarray, gap: float, norm: str) -> float:
    """Norm of the smallest move that gains ``gap`` along ``slope`` in the box; or infinite."""
    count = len(point)
    room = np.where(slope > 0, 1 - point, point)
    if np.abs(slope) @ room < gap:
        return float("inf")
    eye, column = np.eye(count), np.ones((count, 1))
    if norm == "l2":
        best = minimize(
            lambda r: r @ r,
            room * gap / max(np.abs(slope) @ room, 1e-12) * np.sign(slope),
            jac=lambda r: 2 * r,
            bounds=list(zip(-point, 1 - point, strict=True)),
            constraints={"type": "eq", "fun": lambda r: slope @ r - gap, "jac": lambda r: slope},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        return float(np.linalg.norm(best.x))
    # Variables: the move, and a bound on all its absolute values (Linf) or on each of them (L1).
    bound = column if norm == "linf" else eye
    extra = bound.shape[1]
    best = linprog(
        np.r_[np.zeros(count), np.ones(extra)],
        A_ub=np.block([[eye, -bound], [-eye, -bound]]),
        b_ub=np.zeros(2 * count),
        A_eq=np.r_[slope, np.zeros(extra)][None],
        b_eq=[gap],
        bounds=[*zip(-point, 1 - point, strict=True), *[(0, None)] * extra],
    )
    return float(best.fun)


def curved(seed: int = 0, classes: int = 4, values: int = 12) -> fs.Classifier:
    generator = torch.Generator().manual_seed(seed)
    module = nn.Sequential(nn.Flatten(), nn.Linear(values, 16), nn.Tanh(), nn.Linear(16, classes))
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return fs.Classifier(module.double(), channels=3 if values == 12 else 1)


def pictures(count: int, seed: int = 0) -> Tensor:
    """With pixels at exactly 0 and 1 among them."""
    generator = torch.Generator().manual_seed(seed)
    return (1.4 * torch.rand(count, 3, 2, 2, generator=generator) - 0.2).clamp(0, 1).double()
