"""The verdict in 8 bits: beside the one in floating point, or in its place."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import small

import fluoroscope as fs
from fluoroscope.evaluation.plan import Plan, Stage
from fluoroscope.report import study as studies
from fluoroscope.report.study import Study

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize("eps", [0.02, 1.6 / 255])
def test_who_was_fooled_is_attacked_again_in_8_bits(
    eps: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    apgd = fs.attack("apgd", eps=eps, norm="linf", steps=5)
    monkeypatch.setattr(studies, "VERDICT", Plan("short", (Stage("apgd", apgd),)))
    model, images, labels = small(5)
    found = Study(model, _set(images, labels), fs.Linf(eps))
    eight, verdict = found.eight_bits, found.verdict
    assert eight is not None
    assert eight.whole
    # Slowly, and by itself: the attack on the grid, on every picture that was fooled without it.
    closest = found.closest
    fooled = closest.indices[closest.distances <= eps + 1e-6]
    pictures = (images[fooled] * 255).round() / 255
    result = apgd(model, pictures, labels[fooled], grid=8, numbers=fooled)
    levels = result.images * 255
    assert (levels - levels.round()).abs().max() < 1e-3
    again = fs.predict(model, result.images).winners != labels[fooled]
    inside = (result.images - pictures).abs().flatten(1).amax(1) <= eps + 1e-6
    assert eight.fooled == len(fooled) > 0
    assert eight.again == int((again & inside).sum())
    assert eight.robust == round(verdict.robust_accuracy * 24) + eight.fooled - eight.again


def test_a_bound_below_a_level_fools_nobody_in_8_bits() -> None:
    model, images, labels = small(5)
    report = fs.xray(model, images, labels, threat="linf:0.0019", sections=["verdict", "curve"])
    found = report.describe()["sections"]["verdict"]
    right = int((fs.predict(model, images).winners == labels).sum())
    assert found["robust_accuracy"] < right / 24
    assert found["eight_bits"]["robust_accuracy"] == right / 24
    assert "robust accuracy in 8 bits" in report.html
    assert "less than half a level of 8 bits (0.5/255)" in report.html


def test_changes_below_half_a_level_are_marked_and_others_are_not() -> None:
    model, images, labels = small(5)
    report = fs.xray(model, images, labels, threat="linf:0.02", sections=["pictures", "curve"])
    shown = report.describe()["sections"]["pictures"]["shown"]
    cards = report.html[report.html.index('id="pictures"') :]
    fine = sum(one["distance"] < 0.5 / 255 for one in shown)
    assert 0 < fine < len(shown)
    assert cards.count("/255†</span>") == fine
    assert cards.count("† Less than half a level of 8 bits") == 1


def test_a_report_in_8_bits_is_about_such_pictures_alone(tmp_path: Path) -> None:
    model, images, labels = small(3)
    images = (images + 0.3 / 255).clamp(0, 1)
    options: dict[str, Any] = {"threat": "linf:0.02", "run": tmp_path}
    sections = ["verdict", "clean", "pictures", "map"]
    report = fs.xray(model, images, labels, grid=8, sections=sections, **options)
    assert not report.missing
    found = report.describe()["sections"]
    assert found["verdict"]["eight_bits"] is None
    assert found["verdict"]["record"]["identity"]["grid"] == 8
    assert found["map"]["record"]["grid"] == 8
    saved = (images * 255).round() / 255
    right = int((fs.predict(model, saved).winners == labels).sum())
    assert round(found["clean"]["accuracy"] * 24) == right
    for one in found["pictures"]["shown"]:
        assert one["distance"] * 255 == pytest.approx(round(one["distance"] * 255), abs=1e-3)
    # What is kept of the one is not taken for the other.
    free = fs.xray(model, images, labels, sections=["verdict"], **options).describe()["sections"]
    assert "grid" not in free["verdict"]["record"]["identity"]
    assert free["verdict"]["eight_bits"] is not None
    again = fs.xray(model, images, labels, grid=8, sections=["pictures"], **options)
    assert again.describe()["sections"]["pictures"] == found["pictures"]
    with pytest.raises(fs.FluoroscopeError, match="grid is 7"):
        fs.xray(model, images, labels, grid=7)


def test_what_there_was_no_time_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "EIGHT_SHARE", 0.0)
    monkeypatch.setattr(studies, "PART", 4)
    report = fs.xray(*small(5), threat="linf:0.02", sections=["verdict"], budget="100s")
    found = report.describe()["sections"]["verdict"]["eight_bits"]
    assert found["searched"] == 4 < found["fooled"]
    assert found["robust_accuracy"] is None
    assert "robust accuracy in 8 bits" not in report.html
    assert "4 were attacked again in 8 bits before the time was up" in report.html


def _set(images: torch.Tensor, labels: torch.Tensor) -> fs.ImageSet:
    return fs.load_images(images, labels=labels)
