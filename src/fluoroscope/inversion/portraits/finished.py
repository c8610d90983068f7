"""What portraits are when they are finished, and what is said of them in words."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from fluoroscope.inversion.portraits.books import STATIONS
from fluoroscope.inversion.portraits.second_opinion import Opinion
from fluoroscope.sealed_files import plain
from fluoroscope.words import as_percent, count, listed, number, shortened


@dataclass(frozen=True, kw_only=True, repr=False)
class Finished:
    """``N`` portraits; all tensors are on the CPU."""

    images: Tensor
    """``(N, C, H, W)`` in ``[0, 1]``, exact floats."""
    targets: Tensor
    """``(N,)``, the class of each; -1 of one whose goal speaks of none."""
    towards: Tensor
    """``(N,)``, 1 of a portrait for its class, -1 of one against."""
    logits: Tensor
    """``(N, K)``, the network's answer to the finished picture."""
    transparency: Tensor
    """``(N, 1, H, W)``, the sum of the absolute gradients, the mean of the channels."""
    curve: Tensor
    """``(N, looks, 3 + P)``: step, goal, each prior, probability of the class (NaN of none)."""
    weights: Tensor
    """``(N, P)``, of the priors, as they were found or given."""
    stations: Tensor
    """``(N, 4, C, H, W)``, the picture at the first look that saw probability .5, .9, .99, .999."""
    reached: Tensor
    """``(N, 4)``, the step at which that was seen; -1 if it was not."""
    frames: Tensor
    """``(N, F, C, H, W)``, pictures on the way."""
    starts: Tensor
    """``(N, C, H, W)``, the pictures that were given to start from; ``(0, C, H, W)`` of none."""
    start_logits: Tensor
    """``(N, K)`` or ``(0, K)``, the network's answer to these."""
    forwards: Tensor
    """``(N,)``, images that went through the network for each."""
    backwards: Tensor
    """``(N,)``, gradients computed for each."""
    numbers: Tensor
    """``(N,)``, on which, with the seed, everything random of a portrait depends."""
    record: dict[str, Any]
    """Recipe, prior, seed, versions and the network's content hash, as plain values."""
    labels: tuple[str, ...]
    """The network's names of the classes."""
    notes: tuple[str, ...] = ()
    second: tuple[Opinion, ...] = ()
    """What a second network says of each, if one was asked; see :meth:`judged_by`."""

    @property
    def probabilities(self) -> Tensor:
        """``(N,)``, of each portrait's class, at the finished picture; NaN of one of no class."""
        own = self.logits.double().softmax(1).gather(1, self.targets[:, None].clamp(min=0))[:, 0]
        return own.where(self.targets >= 0, torch.nan)

    @property
    def winners(self) -> list[int]:
        """The most probable class of each."""
        return self.logits.argmax(1).tolist()

    def name(self, row: int) -> str:
        """What a portrait is of, in words: its class, or what it excites in place of one."""
        target = int(self.targets[row])
        return self.labels[target] if target >= 0 else self.goal

    @property
    def goal(self) -> str:
        """What is raised, in words."""
        method = self.record.get("method")
        return str(method.get("goal", "goal")) if isinstance(method, dict) else "goal"

    @property
    def made_with(self) -> str:
        """Which real pictures they were made with, in words; empty where none, or nobody said."""
        words = self.record.get("real_pictures")
        words = [str(each) for each in words] if isinstance(words, list) else []
        if self.record.get("needs_data") is True:
            return f"made with real pictures{': ' if words else ''}{listed(words)}"
        shipped = self.record.get("shipped")
        return f"begun from the shipped statistics of real pictures: {shipped}" if shipped else ""

    @property
    def in_parts(self) -> bool:
        """Whether the search looked at parts of pictures that are larger than the network's."""
        return self.record.get("seen_in_parts") is True

    @property
    def unreached(self) -> str:
        """A sentence where the network is not once led to a class; empty where it is."""
        own = self.targets.tolist()
        asked = [row for row, way in enumerate(self.towards.tolist()) if way > 0 and own[row] >= 0]
        if not asked or any(
            self.winners[row] == own[row] or int(self.reached[row, 0]) >= 0 for row in asked
        ):
            return ""
        method, usual = self.record.get("method"), self.record.get("usual_steps")
        steps = method.get("steps") if isinstance(method, dict) else None
        words = "The network predicts none of them as their class"
        if isinstance(steps, int) and isinstance(usual, int) and steps < usual:
            words += f", after {steps:,} of the preset's {count(usual, 'step')}: give more"
        return f"{words}."

    def said_of_start(self, row: int) -> str:
        """What the network says of the picture that a portrait was begun from."""
        sure, winner = self.start_logits[row].double().softmax(0).max(0)
        return f"{shortened(self.labels[int(winner)], 18)}, {as_percent(float(sure))}"

    def said(self, row: int) -> list[str]:
        """What the network, and the second one, say of a portrait, a line each."""
        sure = as_percent(float(self.probabilities[row]))
        if self.targets[row] < 0:
            lines = [f"goal {number(float(self.curve[row, -1, 1]))}"]
        elif self.winners[row] == int(self.targets[row]):
            lines = [sure]
        else:
            lines = [sure, f"predicted as {shortened(self.labels[self.winners[row]], 18)}"]
        if self.second:
            judged = self.second[row]
            lines.append(f"second: {shortened(judged.winner, 18)}, {as_percent(judged.sure)}")
        return lines

    def describe(self) -> dict[str, Any]:
        """What they are, as plain values, without the pictures themselves."""
        rows = []
        sure = self.probabilities.tolist()
        for row in range(len(self.images)):
            steps = self.reached[row].tolist()
            rows.append(
                {
                    "class": int(self.targets[row]),
                    "name": self.name(row),
                    "number": int(self.numbers[row]),
                    "against": bool(self.towards[row] < 0),
                    "probability": sure[row],
                    "winner": self.labels[self.winners[row]],
                    "goal": float(self.curve[row, -1, 1]),
                    "weights": self.weights[row].tolist(),
                    "reached": {
                        f"{station:g}": step if step >= 0 else None
                        for station, step in zip(STATIONS, steps, strict=True)
                    },
                    "forwards": int(self.forwards[row]),
                    "backwards": int(self.backwards[row]),
                    "second": asdict(self.second[row]) if self.second else None,
                    "curve": self.curve[row].tolist(),
                }
            )
        columns = ["step", "goal", *self.record.get("priors", []), "probability"]
        described: dict[str, Any] = plain(
            {**self.record, "notes": list(self.notes), "columns": columns, "portraits": rows}
        )
        return described

    @property
    def summary(self) -> str:
        """How many the network, and the second one, predict as their class."""
        forward = [
            row
            for row in range(len(self.images))
            if self.towards[row] > 0 and self.targets[row] >= 0
        ]
        if not forward:
            return count(len(self.images), "portrait")
        own = sum(self.winners[row] == int(self.targets[row]) for row in forward)
        middle = float(self.probabilities[forward].quantile(0.5))
        against = int((self.towards < 0).sum())
        words = (
            f"{count(len(forward), 'portrait')}, {own} predicted as their class (median "
            f"probability {as_percent(middle)})"
        )
        if self.second:
            agree = sum(self.second[row].agrees for row in forward)
            words += f", {agree} by the second network"
        if against:
            words += f"; beside them {against:,} against a class"
        return words
