"""Whether a metric says anything of methods here: the best of them against the best control."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fluoroscope.attribution.metrics.intervals import Interval, check_finite, interval_of
from fluoroscope.attribution.metrics.metric import Metric
from fluoroscope.errors import InvalidParameterError
from fluoroscope.words import number


@dataclass(frozen=True)
class Informative:
    """Whether a metric tells methods from what knows nothing of the network, on these pictures."""

    metric: str
    informative: bool
    """Whether the best method leads over the best control by more than these pictures leave
    open."""
    method: str
    """The best of them."""
    control: str
    """The best of them."""
    means: tuple[float, float]
    """Of that method and that control."""
    lead: float
    """By how much the method is better; below 0 where the control is."""
    interval: Interval
    """Of the lead, 95 %, by bootstrap over pictures, the best chosen anew in each resample."""

    def __str__(self) -> str:
        of_method, of_control = map(number, self.means)
        low, high = map(number, self.interval)
        span = f"lead {number(self.lead)}, 95 % interval {low} to {high}"
        if self.informative:
            return (
                f"{self.metric}: {self.method} ({of_method}) is better than the best control, "
                f"{self.control} ({of_control}); {span}"
            )
        if self.lead > 0:
            how = (
                f"is better than the control {self.control} ({of_control}) by no more than these "
                "pictures leave open"
            )
        else:
            how = f"is no better than the control {self.control} ({of_control})"
        return (
            f"{self.metric} is uninformative here: the best method, {self.method} ({of_method}), "
            f"{how}; {span}"
        )


def informative(
    metric: Metric,
    methods: Mapping[str, Tensor],
    controls: Mapping[str, Tensor],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Informative:
    """Hold the best method against the best control.

    Args:
        metric: by which they were scored.
        methods: the scores ``(N,)`` of each, of the same pictures in the same order.
        controls: those of maps that know nothing of the network.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        InvalidParameterError: nothing to compare, or scores that are not of the same pictures.
    """
    known, unknown = _table(metric, methods), _table(metric, controls)
    if known.shape[1] != unknown.shape[1]:
        raise InvalidParameterError(
            f"methods have scores of {known.shape[1]} pictures and controls of "
            f"{unknown.shape[1]}; expected the same pictures for all"
        )
    means, others = known.mean(1), unknown.mean(1)
    best, rival = int(means.argmax()), int(others.argmax())
    sign = 1 if metric.higher_is_better else -1

    def lead(drawn: Tensor) -> Tensor:
        # What each resample holds of each picture, so that a mean is a product.
        shares = torch.zeros(len(drawn), known.shape[1], dtype=known.dtype, device="cpu")
        shares.scatter_add_(1, drawn, torch.full_like(shares, 1 / drawn.shape[1]))
        return (shares @ known.T).amax(1) - (shares @ unknown.T).amax(1)

    span = interval_of(lead, known.shape[1], resamples=resamples, seed=seed)
    return Informative(
        metric=metric.name,
        informative=span[0] > 0,
        method=list(methods)[best],
        control=list(controls)[rival],
        means=(sign * float(means[best]), sign * float(others[rival])),
        lead=float(means[best] - others[rival]),
        interval=span,
    )


def _table(metric: Metric, scores: Mapping[str, Tensor]) -> Tensor:
    """Scores ``(M, N)``, higher for better."""
    rows = [torch.as_tensor(each, device="cpu").detach().double() for each in scores.values()]
    if not rows or any(row.dim() != 1 or row.shape != rows[0].shape for row in rows):
        shapes = ", ".join(
            f"{name} {tuple(row.shape)}" for name, row in zip(scores, rows, strict=True)
        )
        raise InvalidParameterError(
            f"scores have shapes {shapes or 'none'}; expected one or more of one shape (N,)"
        )
    check_finite(torch.stack(rows))
    return torch.stack(rows) if metric.higher_is_better else -torch.stack(rows)
