"""Two X-rays on one page: what is compared, what is not, and what strangers leave there."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fluoroscope as fs
from fluoroscope.errors import FluoroscopeError, ResultFormatError
from fluoroscope.evaluation.runs.table import runs_table
from fluoroscope.report import audited, portrayed, study
from fluoroscope.report.kept import open_xray
from fluoroscope.tensor_files import write_tensors

COUNT = 24


def xray(out: Path, model: str, **options: Any) -> Path:
    images = options.pop("images", fs.load_images("digits", channels=1).take(COUNT))
    usual = {
        "threat": "linf:0.03",
        "sections": ["clean", "curve", "gradients", "portraits"],
        "run": out,
    }
    fs.xray(fs.load_model(model), images, **(usual | options))
    return out


@pytest.fixture(scope="module", autouse=True)
def short_plan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Verdicts by one attack, and an audit of two methods: neither takes long."""
    plan = tmp_path_factory.mktemp("plan") / "short.toml"
    plan.write_text('[[stages]]\nattack = "pgd"\nparameters = {steps = 10}\n')
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(study, "VERDICT", str(plan))
        patched.setattr(portrayed, "STEPS", 2)
        patched.setattr(portrayed, "CLASSES", 3)
        patched.setattr(audited, "methods", lambda: ["gradient", "gradient-x-input"])
        yield


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("kept")
    return xray(folder / "before", "digits-linear"), xray(folder / "after", "digits-cnn")


def test_before_and_after(kept: tuple[Path, Path], tmp_path: Path) -> None:
    report = fs.compare_reports(*kept)
    assert report.missing == {}
    a, b = (open_xray(path) for path in kept)
    table = runs_table([a.run.path, b.run.path])
    against = table.rows[1].against
    assert against is not None
    assert f"{100 * against.robust.difference:.1f} points" in report.html.replace("\u202f", " ")
    said = report.describe()["sections"]
    assert said["verdict"]["a"]["robust_accuracy"] == a.verdict.robust_accuracy
    shared = fs.compare_runs(a.run.path, b.run.path)
    # Of those that both classify correctly.
    assert set(said["fooled"]["a"]) <= set(shared.fooled_in_first_only)
    assert set(said["fooled"]["b"]) <= set(shared.fooled_in_second_only)
    assert len(said["fooled"]["a"]) > 0
    robust = {one["class"]: one["robust"] for one in said["classes"]["classes"]}
    labels = np.concatenate([t[0]["label"].to_numpy() for t in a.run.parts])
    mean = sum(robust[str(n)][1] * (labels == n).sum() for n in range(10)) / COUNT
    assert mean == pytest.approx(b.verdict.robust_accuracy)
    for letter, model in (("a", "digits-linear"), ("b", "digits-cnn")):
        assert report.record[letter]["identity"]["model"] == model
        assert said["clean"][letter]["error"] > 0
    assert said["gradients"]["pictures"]
    assert len(said["portraits"]["classes"]) == 3
    sure = [next(iter(each.portraits.values()))[1] for each in (a, b)]
    first = said["portraits"]["classes"][0]
    alone = fs.portrait(fs.load_model("digits-cnn"), first, steps=2)
    assert sure[1] == pytest.approx(float(alone.probabilities[0]), abs=1e-4)
    assert report.draws
    path = report.save(tmp_path / "page.html")
    # It loads nothing.
    assert not re.findall(r'(?:src|href)="(?!data:|#)', path.read_text())


def test_what_cannot_be_compared_is_said(kept: tuple[Path, Path], tmp_path: Path) -> None:
    wider = xray(tmp_path / "wider", "digits-cnn", threat="linf:0.05", sections=["curve"])
    report = fs.compare_reports(kept[0], wider)
    assert "cannot be compared: another threat than" in report.summary
    assert "points" not in report.summary
    assert {"fooled", "gradients"} <= report.missing.keys()
    digits = fs.load_images("digits", channels=1)
    other = xray(tmp_path / "other", "digits-cnn", images=digits.select(range(100, 110)),
                 sections=["curve"])  # fmt: skip
    report = fs.compare_reports(kept[0], other)
    assert "cannot be compared: other pictures" in report.summary
    assert report.record["compared"] is False
    with pytest.raises(ResultFormatError, match="holds no evaluation of an X-ray"):
        fs.compare_reports(kept[0], tmp_path)
    xray(other, "digits-cnn", sections=["curve"])
    with pytest.raises(ResultFormatError, match="holds 2 evaluations"):
        fs.compare_reports(kept[0], other)
    run = next(kept[1].glob("*.run"))
    assert fs.compare_reports(kept[0], run).record["compared"]


def test_every_number_is_of_the_pictures_that_both_have(tmp_path: Path) -> None:
    digits, sections = fs.load_images("digits", channels=1), ["clean", "curve"]
    few = xray(tmp_path / "few", "digits-cnn", images=digits.take(30), sections=sections)
    many = xray(tmp_path / "many", "digits-cnn", images=digits.take(45), sections=sections,
                threat="linf:0.03", seed=1)  # fmt: skip
    report = fs.compare_reports(few, many)
    # Networks of one name are told apart by where they were kept.
    assert report.title == "few beside many"
    assert "Of 30 and 45 pictures 30 are in both" in report.html
    assert report.html.count("are in both") == 1
    assert "30 pictures of digits" in report.html
    rows = open_xray(many).run.parts
    index = np.concatenate([tables[0]["index"].to_numpy() for tables in rows])
    right = np.concatenate([~tables[0]["success"].to_numpy(False) for tables in rows])
    shared = right[index < 30]
    said = report.describe()["sections"]
    for letter in "ab":
        assert said["verdict"][letter]["count"] == 30
        assert said["verdict"][letter]["clean_accuracy"] == pytest.approx(shared.mean())
        assert said["curve"][letter]["count"] == 30
    alone = fs.compare_reports(few, few)
    assert "(A)" in alone.title
    assert said["clean"]["a"]["error"] == alone.describe()["sections"]["clean"]["a"]["error"]
    assert said["clean"]["b"]["error"] == pytest.approx(said["clean"]["a"]["error"])


def test_a_class_that_falls_is_named_first(tmp_path: Path) -> None:
    images, runs = fs.load_images("digits", channels=1).take(60), []
    for name in ("digits-cnn", "digits-linear"):
        runs.append(tmp_path / name)
        fs.evaluate(fs.load_model(name), images, threat="linf:0.03", plan=study.VERDICT,
                    out=runs[-1], at_chance=True)  # fmt: skip
    report = fs.compare_reports(*runs)
    worst, most = "", 0.0
    for one in report.describe()["sections"]["classes"]["classes"]:
        for before, after in (one["clean"], one["robust"]):
            if (before - after) * one["counts"][0] > 2.5 and before - after > most:
                worst, most = one["class"], before - after
    assert most >= 0.2
    assert f"Class {worst} loses most, from " in report.summary
    # Nobody falls the other way round.
    assert "loses most" not in fs.compare_reports(*reversed(runs)).summary


def test_files_that_do_not_fit_are_not_there(kept: tuple[Path, Path], tmp_path: Path) -> None:
    place = tmp_path / "x"
    shutil.copytree(kept[0], place)
    (gradients,) = place.glob("gradients-*.safetensors")
    (clean,) = place.glob("clean-*.safetensors")
    one = torch.zeros(1, 1, 2, 2)
    for tensors in (
        {"images": one, "trained": one[:, :, :1].clone(), "indices": torch.zeros(1).long(),
         "winners": torch.zeros(1).long()},
        {"images": one, "trained": one.clone(), "indices": torch.zeros(1).long(),
         "winners": torch.tensor([99])},
        {"images": one / 0, "trained": one.clone(), "indices": torch.zeros(1).long(),
         "winners": torch.zeros(1).long()},
        {"images": one[0]},
    ):  # fmt: skip
        write_tensors(gradients, tensors)
        assert open_xray(place).maps is None
    first, *others = sorted(place.glob("portraits-*.safetensors"))
    for file in others:
        file.unlink()
    right = {
        "images": torch.zeros(1, 1, 2, 2), "logits": torch.zeros(1, 10),
        "classes": torch.tensor([3]), "own": torch.tensor([True]),
    }  # fmt: skip
    write_tensors(first, right)
    assert [*open_xray(place).portraits] == [3]
    for wrong in (
        {"classes": torch.tensor([10])}, {"classes": torch.tensor([-1])},
        {"logits": torch.zeros(1, 9)}, {"images": torch.zeros(1, 2, 2)},
        {"images": torch.full((1, 1, 2, 2), torch.nan)}, {"own": torch.tensor([False])},
        {"classes": torch.tensor([3, 3])}, {"classes": torch.tensor([3.0])},
    ):  # fmt: skip
        write_tensors(first, right | wrong)
        assert open_xray(place).portraits == {}
    for size in (COUNT, 3):
        write_tensors(clean, {
            "confidence": torch.ones(size), "labels": torch.zeros(size).long(),
            "winners": torch.ones(size).long(),
        })  # fmt: skip
        assert open_xray(place).calibration is None
    assert open_xray(kept[0]).calibration is not None
    assert {
        name: name in fs.compare_reports(place, kept[1]).missing for name in ("clean", "gradients")
    } == {"clean": False, "gradients": True}


def test_names_of_strangers_are_text(kept: tuple[Path, Path], tmp_path: Path) -> None:
    place, bad = tmp_path / "x", "<script>alert(1)</script>"
    module = fs.load_model("digits-linear").module
    model = fs.Classifier(
        module, channels=1, input_size=28, name=bad, labels=[bad, *list("123456789")]
    )
    fs.evaluate(model, fs.load_images("digits", channels=1).take(COUNT), threat="linf:0.03",
                plan=study.VERDICT, out=place, at_chance=True)  # fmt: skip
    report = fs.compare_reports(place, kept[1], title=bad)
    assert "<script" not in report.html
    assert "&lt;script" in report.html


def test_errors_are_ours(tmp_path: Path) -> None:
    for given in (tmp_path / "nowhere", "~nobody/x", "\0"):
        with pytest.raises(FluoroscopeError):
            fs.compare_reports(given, given)
