"""Reports that several test files look at, and searches short enough for tests."""

from typing import Any

import pytest

import fluoroscope as fs
from fluoroscope.evaluation.check import Check
from fluoroscope.evaluation.plan import Plan, Stage
from fluoroscope.report import audited, meant, portrayed, study, traced


@pytest.fixture(scope="session")
def page() -> fs.Report:
    """A whole report of a built-in network, as a user gets it."""
    images = fs.load_images("digits", channels=1).take(24)
    model = fs.prepare(fs.load_model("digits-cnn"))
    return fs.xray(model, images, command="fluoroscope xray")


@pytest.fixture(scope="session")
def quick() -> Any:
    """Reports with short searches, and trust checks of every outcome that cost nothing."""

    def checks(*_: Any, **options: Any) -> tuple[Check, ...]:
        found = tuple(
            Check(f"looked {status}", status, f"it went <i>{status}</i>")
            for status in ("pass", "warn", "fail")
        )
        for check in found:
            options["on_check"](check)
        return found

    with pytest.MonkeyPatch.context() as patch:
        apgd = fs.attack("apgd", eps=0.02, norm="linf", steps=5)
        patch.setattr(study, "VERDICT", Plan("short", (Stage("apgd", apgd),)))
        patch.setattr(study, "trust_checks", checks)
        patch.setattr(study, "MAP_PICTURES", 1)
        patch.setattr(study, "MAP_LARGE", 3)
        patch.setattr(portrayed, "STEPS", 2)
        patch.setattr(portrayed, "CLASSES", 3)
        patch.setattr(audited, "methods", lambda: ["gradient", "gradient-x-input"])
        patch.setattr(traced, "EACH", 1)
        led = fs.attack("ensemble-optimisation", weight=0.0, steps=4, step_size=0.2)
        patch.setattr(meant, "BEYOND", led)
        patch.setattr(meant, "FEWEST", 2)
        yield
