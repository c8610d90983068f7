"""What is asked of each network on each data set, and what came of it."""

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import fluoroscope as fs
from fluoroscope.attacks.parts import attack_parts
from fluoroscope.cli import main
from fluoroscope.evaluation.plan import Plan, Stage

Given = fs.ImageSet | tuple[Tensor, list[str]]
Said = tuple[float | None, list[str]]
"""The share of pictures classified correctly, where the call says it, and the notes of its
result.
"""

EPS, THREAT = 0.05, "linf:0.05"
PLAN = Plan("short", (Stage("fgsm", fs.attack("fgsm", eps=EPS)),))
PLAN_FILE = '[[stages]]\nname = "fgsm"\nattack = "fgsm"\n'


@dataclass(frozen=True)
class Outcome:
    """``right``, ``noted`` or ``refused``, the share classified correctly, and what was said."""

    kind: str
    accuracy: float | None
    words: str

    @classmethod
    def of(cls, call: Callable[[], Said]) -> "Outcome":
        """Whatever is neither a result nor an error of ours is raised."""
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            try:
                accuracy, notes = call()
            except fs.FluoroscopeError as error:
                return cls("refused", None, str(error))
        ours = [one for one in seen if issubclass(one.category, fs.FluoroscopeWarning)]
        said = notes or dict.fromkeys(str(one.message) for one in ours)
        return cls("noted" if said else "right", accuracy, " | ".join(said))


def _evaluate(model: fs.Classifier, *given: Any) -> Said:
    verdict = fs.evaluate(model, *given, threat=THREAT, plan=PLAN)
    return verdict.clean_accuracy, list(verdict.notes)


def _corruption(model: fs.Classifier, *given: Any) -> Said:
    found = fs.corruption_accuracy(model, *given, corruptions=["gaussian-noise"])
    return found.clean_accuracy, []


def _class_map(model: fs.Classifier, *given: Any) -> Said:
    fs.class_map(model, *given, pictures=1, targets=1)
    return None, []


def _transfer(model: fs.Classifier, images: Any, *labels: Any) -> Said:
    fs.transfer_matrix([model, model], images, fs.attack("fgsm", eps=EPS), *labels)
    return None, []


def _xray(model: fs.Classifier, *given: Any) -> Said:
    page = fs.xray(model, *given, threat=THREAT, sections=["clean"])
    assert not page.missing, page.missing
    return None, []


def _attack(model: fs.Classifier, *given: Any) -> Said:
    fgsm = fs.attack("fgsm", eps=EPS)
    found = fgsm(model, *given) if len(given) > 1 else next(attack_parts(model, fgsm, *given))
    return 1 - float(found.at_start.float().mean()), []


LIBRARY: dict[str, Callable[..., Said]] = {
    "evaluate": _evaluate,
    "corruption_accuracy": _corruption,
    "class_map": _class_map,
    "transfer_matrix": _transfer,
    "xray": _xray,
    "attack": _attack,
}


COMMANDS = ("predict", "evaluate")


def ask(call: str, model: fs.Classifier, given: Given) -> Outcome:
    """A call of the library on a set, or on a tensor and its labels."""
    arguments = given if isinstance(given, tuple) else (given,)
    return Outcome.of(lambda: LIBRARY[call](model, *arguments))


def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str | Path
) -> tuple[int, str]:
    """The exit code of a command, and all that it printed."""
    monkeypatch.setattr(sys, "argv", ["fluoroscope", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out + said.err


def words_of(name: str, model: str, data: Path, out: Path) -> list[str | Path]:
    """A command on a network and a data set."""
    network = ["-m", model, "--channels", "1", "--input-size", "8", "--labels", out / "names.txt"]
    if name == "predict":
        return ["predict", *network, "--data", data]
    more = ["--threat", THREAT, "--plan", out / "plan.toml", "--out", out, "--resume", "never"]
    return ["evaluate", *network, "-d", data, *more]
