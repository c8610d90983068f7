"""What a reader of portraits should know of how they came about, a sentence each."""

from collections.abc import Sequence

from torch import Tensor

from fluoroscope.words import count


def notes_of_search(
    still: Tensor,
    steps: int,
    pulls: Tensor,
    ratios: Sequence[tuple[str, bool]],
    warm_up: int,
    *,
    finite: bool = True,
) -> list[str]:
    """Portraits that nothing moved, and priors that were weighed as nothing.

    Args:
        still: ``(N,)``, steps of each portrait in which the network gave it no gradient at all.
        steps: how many each had.
        pulls: ``(N, 1 + P)``, of the goal and the priors at the start.
        ratios: each prior's name, and whether it is weighed by ratio.
        warm_up: steps in which dead ReLUs were opened.
        finite: whether the network's gradient was finite wherever it was asked for; what is not
            counts as zero.
    """
    notes = []
    zero = "of exactly zero" if finite else "that is zero, NaN or infinite at every pixel"
    never = (still == steps).nonzero()[:, 0].tolist()
    if never:
        mend = (
            "replace the layer whose gradient is not finite"
            if not finite
            else "choose another goal or start, for ReLUs were opened already"
            if warm_up
            else "give warm_up=16, which opens dead ReLUs"
        )
        notes.append(
            f"{_portraits(never, len(still))} got a gradient {zero} from the network at "
            f"every step: what is shown is what it began as, and no portrait; {mend}"
        )
    mostly = ((still < steps) & (2 * still >= steps)).nonzero()[:, 0].tolist()
    if mostly:
        notes.append(
            f"{_portraits(mostly, len(still))} got a gradient {zero} from the network at "
            "half of the steps or more, and may be unfinished"
        )
    for at, (name, by_ratio) in enumerate(ratios):
        blind = (pulls[:, 1 + at] == 0).nonzero()[:, 0].tolist() if by_ratio else []
        if blind:
            notes.append(
                f"the prior {name!r} had no gradient at the start of "
                f"{_portraits(blind, len(still))}, so its ratio to the goal's could not be set and "
                "it was left out there; expected a weight that is a number, by ratio=False"
            )
    return notes


def _portraits(numbers: list[int], many: int) -> str:
    if len(numbers) == many:
        return "the portrait" if many == 1 else f"all {many:,} portraits"
    some = ", ".join(str(number) for number in numbers[:8])
    more = f" and {count(len(numbers) - 8, 'other')}" if len(numbers) > 8 else ""
    return f"{'portrait' if len(numbers) == 1 else 'portraits'} {some}{more} (from 0)"
