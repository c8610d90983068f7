"""What a verdict is required to say: what can be asked, and when it is shown."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fluoroscope as fs
from fluoroscope.engine.intervals import wilson
from fluoroscope.errors import InvalidParameterError, MissingExtraError
from fluoroscope.evaluation import junit
from fluoroscope.evaluation.check import Check, Outcome
from fluoroscope.evaluation.requirements import Requirements
from fluoroscope.evaluation.slices import Slice, Slicing


def part(value: str, right: int, robust: int, of: int) -> Slice:
    return Slice(value, of, right / of, wilson(right, of), robust / of, wilson(robust, of))


def verdict(**changed: Any) -> fs.Verdict:
    """Of 100 pictures 90 are classified correctly, and 60 under attack."""
    made = fs.Verdict(
        count=100, classes=3, clean_accuracy=0.9, clean_interval=wilson(90, 100),
        robust_accuracy=0.6, robust_interval=wilson(60, 100), forwards=0, backwards=0, seconds=0.0,
        components=(), complete=True,
        by_class=(part("cat", 3, 1, 4), part("dog", 87, 59, 96)),
        slices=(
            Slicing("camera", (part("A", 50, 20, 50), part("B", 40, 40, 50))),
            Slicing("site", (part("x", 49, 15, 50), part("y", 41, 45, 50))),
        ),
    )  # fmt: skip
    return replace(made, **changed)


def check(status: Any, name: str = "black box", pictures: int = 0) -> Check:
    return Check(name, status, "seen", {"pictures": pictures})


@pytest.mark.parametrize(("pictures", "doubt"), [((4, 1), "4 pictures"), ((32, 1), ""), ((), "")])
def test_checks_on_few_pictures_say_so(pictures: tuple[int, ...], doubt: str) -> None:
    made = tuple(check("pass", pictures=many) for many in pictures) or (check("pass"),)
    # The run's own is of as many pictures as there were, and no look at the network.
    made += (check("pass", "black box in the run", 100),)
    [found] = Requirements("trust").of(verdict(trust=made))
    assert found.status == "met"
    assert ("looked at" in found.words) == bool(doubt)
    assert doubt in found.words


@pytest.mark.parametrize(
    ("text", "status", "measured", "bound"),
    [
        ("robust>=0.6", "met", 0.6, 0.6),
        ("robust>=60%", "met", 0.6, 0.6),
        ("robust ≥ 60.01 %", "not met", 0.6, 0.6001),
        ("robust.low>=0.6", "not met", 0.6, 0.6),
        ("robust.low>=.5", "met", 0.6, 0.5),
        ("clean>=1", "not met", 0.9, 1.0),
        ("class>=0.75", "met", 0.75, 0.75),
        ("class>=0.76", "not met", 0.75, 0.76),
        ("robust-class>=0.26", "not met", 0.25, 0.26),
        ("slice>=80%", "met", 0.8, 0.8),
        ("slice>=81%", "not met", 0.8, 0.81),
        ("robust-slice>=0.3", "met", 0.3, 0.3),
        ("robust-slice>=0.31", "not met", 0.3, 0.31),
        ("pictures>=100", "met", 100, 100),
        ("pictures>=101", "not met", 100, 101),
    ],
)
def test_what_can_be_required(text: str, status: str, measured: float, bound: float) -> None:
    (found,) = fs.Requirements(text).of(verdict())
    assert (found.status, found.measured, found.bound) == (status, measured, bound)
    assert found.met == (status == "met")


def test_the_lowest_end_of_any_class_counts_not_that_of_the_lowest_class() -> None:
    # The lower share has more pictures, and so the higher lower end.
    found = verdict(by_class=(part("cat", 3, 3, 4), part("dog", 70, 70, 100)))
    share, low = fs.Requirements("class>=0 class.low>=0").of(found)
    assert (share.measured, low.interval) == (0.7, wilson(3, 4))
    assert "class dog: clean accuracy" in share.words
    assert "class cat: clean accuracy" in low.words


def test_text_is_read_as_people_write_it() -> None:
    one = fs.Requirements("robust>=0.6, clean >= 90 %;class.low≥0.8 trust\n")
    assert one.text == "robust>=0.6 clean>=90% class.low>=0.8 trust"
    assert one == fs.Requirements(one.text)
    assert (one.trust, one.slices) == (True, False)
    assert fs.Requirements("robust-slice>=0.1").slices


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "require= is ''; expected requirements such as"),
        (" , ", "require= is ' , '; expected requirements such as"),
        ("robust", "require= holds 'robust'; expected requirements such as"),
        ("robust>0.6", "require= holds 'robust>0.6'"),
        ("robust<=0.6", "require= holds 'robust<=0.6'"),
        ("robust=>0.6", "require= holds 'robust=>0.6'"),
        ("robust>=nan", "require= holds 'robust>=nan'"),
        ("robust>=-1", "require= holds 'robust>=-1'"),
        ("robust>=1e-2", "require= holds 'robust>=1e-2'"),
        ("robust.high>=0.6", "require= holds 'robust.high>=0.6'"),
        ("robust>=60", "'robust>=60', which is more than all; expected a share"),
        ("robust>=101%", "'robust>=101%', which is more than all"),
        ("robst>=0.6", "no number is called 'robst'; expected clean, robust"),
        ("trust>=1", "no number is called 'trust'"),
        ("pictures>=0.5", "expected a whole number of pictures"),
        ("pictures.low>=5", "expected a whole number of pictures"),
        ("pictures>=50%", "expected a whole number of pictures"),
        ("clean>=0.9 " + "x" * 500, "require= holds 'x{60}'; expected"),
    ],
)
def test_other_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        fs.Requirements(text)


def test_something_else_than_text_is_refused() -> None:
    with pytest.raises(InvalidParameterError, match=r"require= is 0\.6; expected"):
        fs.Requirements(0.6)  # type: ignore[arg-type]


def test_a_run_that_was_cut_short_shows_nothing_but_what_is_not_met() -> None:
    text = "robust>=0.5 clean>=0.5 class>=0.1 slice>=0.1 trust robust>=0.7"
    cut = verdict(complete=False, trust=(check("pass"),))
    found = fs.Requirements(text).of(cut)
    assert [one.status for one in found] == ["cannot be shown"] * 5 + ["not met"]
    assert all("the run was cut short" in one.words for one in found[:5])


def test_a_failed_check_speaks_against_robust_accuracies_alone() -> None:
    distrusted = verdict(trust=(check("pass", "outputs"), check("fail"), check("warn", "loss")))
    text = "clean>=0.5 robust>=0.5 robust-class>=0.1 robust-slice>=0.1 trust"
    clean, *robust, trust = fs.Requirements(text).of(distrusted)
    assert clean.met
    assert {one.status for one in robust} == {"cannot be shown"}
    assert "trust check black box failed" in robust[0].words
    assert (trust.status, trust.words) == ("not met", "the trust check black box failed")


def test_trust_asks_for_checks_that_were_made_to_the_end() -> None:
    (trust,) = fs.Requirements("trust").of(verdict())
    assert (trust.status, trust.words) == ("cannot be shown", "the trust checks were not made")
    idle = verdict(trust=(check("not applicable"),))
    assert not fs.Requirements("trust").of(idle)[0].met
    made = verdict(trust=(check("pass"), check("warn"), check("not applicable")))
    robust, trust = fs.Requirements("robust>=0.5 trust").of(made)
    assert robust.met
    assert trust.met
    assert trust.words == "none of 2 trust checks failed, 1 warned"
    stopped = verdict(trust=(check("pass"), check("not made")))
    robust, trust = fs.Requirements("robust>=0.5 trust").of(stopped)
    assert {robust.status, trust.status} == {"cannot be shown"}
    assert "1 trust check stopped before the end" in robust.words


def test_what_is_met_says_how_sure_it_is() -> None:
    (found,) = fs.Requirements("robust>=0.6").of(verdict())
    assert "the interval reaches below it; the trust checks were not made" in found.words
    (sure,) = fs.Requirements("clean>=0.5").of(verdict())
    assert "reaches below" not in sure.words
    assert "trust" not in sure.words


def test_of_nothing_nothing_is_shown() -> None:
    for one in fs.Requirements("robust>=0 class>=0 slice>=0").of(
        verdict(count=0, by_class=(), slices=())
    ):
        assert one.status == "cannot be shown"


def test_an_evaluation_holds_what_was_required_of_it(
    small: fs.Classifier, few: fs.ImageSet, tmp_path: Path
) -> None:
    import json

    options: dict[str, Any] = {"threat": "linf:0.02", "plan": "fast", "out": tmp_path / "run"}
    found = fs.evaluate(small, few, require="clean>=0.5 pictures>=61", **options)
    assert [one.status for one in found.requirements] == ["met", "not met"]
    written = json.loads((tmp_path / "run" / "verdict.json").read_text())
    assert [one["text"] for one in written["requirements"]] == ["clean>=0.5", "pictures>=61"]
    stopped = fs.evaluate(
        small, few, require="clean>=0", threat="linf:0.02", cancelled=lambda: True
    )
    assert [one.status for one in stopped.requirements] == ["cannot be shown"]


@pytest.mark.parametrize("require", ["clean>=2", "slice>=0.5"])
def test_mistakes_are_told_before_anything_is_looked_at(
    small: fs.Classifier, few: fs.ImageSet, tmp_path: Path, require: str
) -> None:
    with pytest.raises(InvalidParameterError, match="require="):
        fs.evaluate(small, few, require=require, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def cases(file: Path) -> dict[str, ET.Element]:
    root = ET.parse(file).getroot()
    return {case.get("name") or "": case for case in root.iter("testcase")}


def test_junit_has_a_case_for_each_requirement_and_check(tmp_path: Path) -> None:
    pytest.importorskip("junitparser")
    hostile = 'a "<script>&\x1b[31m\x00\ufffe]]>' + "y" * 9000
    outcomes = (
        Outcome("clean>=0.5", "met", "fine"),
        Outcome("robust>=0.5", "not met", hostile),
        Outcome("class>=0.5", "cannot be shown", "cut"),
    )
    checks = (
        check("pass", "one"), check("warn", "two"), check("fail", "three"),
        check("not applicable", "four"), check("not made", "five"),
    )  # fmt: skip
    file = junit.write_junit(tmp_path / "new" / "out.xml", hostile, outcomes, checks)
    found = cases(file)
    kinds = {name: [child.tag for child in case] for name, case in found.items()}
    assert kinds == {
        "clean>=0.5": ["system-out"], "robust>=0.5": ["failure"], "class>=0.5": ["error"],
        "one": ["system-out"], "two": ["system-out"], "three": ["failure"], "four": ["skipped"],
        "five": ["skipped"],
    }  # fmt: skip
    said = found["robust>=0.5"][0].get("message") or ""
    assert said.startswith('a "<script>& [31m')
    assert len(said) == 2000
    assert found["two"].findtext("system-out") == "warn: seen"
    suite = ET.parse(file).getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("8", "2", "1")
    assert suite.get("skipped") == "2"


def test_junit_without_its_library_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "junitparser", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fluoroscope\[ci\]'"):
        junit.write_junit(tmp_path / "out.xml", "title", ())
    assert list(tmp_path.iterdir()) == []
