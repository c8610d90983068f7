"""How unsure an answer is: a score by which strange pictures may be told from familiar ones."""

from torch import Tensor

from fluoroscope.errors import InvalidParameterError


def uncertainty(probabilities: Tensor) -> Tensor:
    """``UE`` of each row ``(N, K)`` of probabilities: 0 of a certain answer, 1 of an even one.

    ``1 - sum((p_i - 1/K)^2) / sum((d_ik - 1/K)^2)`` with ``d`` the one-hot of a class, whose sum is
    ``(K - 1) / K``; ``K`` counts all outputs, that for none of the classes too (Suhail and Sethi
    2025, 2505.23448).

    Raises:
        InvalidParameterError: no rows of two or more probabilities that add up to 1.
    """
    rows = probabilities.double()
    if rows.dim() != 2 or rows.shape[1] < 2:
        raise InvalidParameterError(
            f"probabilities are of shape {tuple(rows.shape)}; expected (N, K) with K of 2 or more"
        )
    if len(rows) and not bool(((rows.sum(1) - 1).abs() < 1e-3).all() and (rows >= 0).all()):
        raise InvalidParameterError(
            "probabilities do not add up to 1 in each row; expected softmax(1) of the logits"
        )
    even = 1 / rows.shape[1]
    return 1 - (rows - even).square().sum(1) / (1 - even)
