import itertools
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fluoroscope as fs

ROOT = Path(__file__).parents[1]
PEERS = ("torchattacks", "foolbox", "art", "secmlt")


@pytest.fixture(autouse=True)
def _at_root(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(ROOT)
    state = np.random.get_state()
    with torch.random.fork_rng():
        yield
    np.random.set_state(state)


def rows(lines: list[str]) -> list[list[str]]:
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    return cells[2:]


def test_ratios_are_taken_turn_by_turn() -> None:
    from benchmarks.timing import interleaved

    now = itertools.chain([0, 2, 10, 11], [20, 21, 30, 34], [50, 51, 60, 63])
    runs: list[str] = []
    ways = {name: (lambda name=name: runs.append(name)) for name in ("slow", "floor")}
    timing = interleaved(ways, 3, clock=lambda: float(next(now)), threads=1)
    assert runs == ["slow", "floor", "slow", "floor", "floor", "slow", "slow", "floor"]
    assert timing.seconds == {"slow": [2, 4, 1], "floor": [1, 1, 3]}
    assert timing.ratio("slow", "floor") == 2  # of 2, 4 and 1/3
    assert timing.median("slow") == 2


def test_threads_are_given_back() -> None:
    from benchmarks.timing import cpu_and_wall

    before = torch.get_num_threads()
    seen: list[int] = []
    cpu_and_wall({"one": lambda: seen.append(torch.get_num_threads())}, (1, 2), warm=False)
    assert seen == [1, 2, 2]
    assert torch.get_num_threads() == before


def test_success_is_within_the_bound_and_the_box() -> None:
    from benchmarks.peers import Contest

    class Mean(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            mean = images.mean((1, 2, 3))
            return torch.stack([0.5 - mean, mean - 0.5], 1)

    images = torch.full((4, 1, 2, 2), 0.45)
    contest = Contest(fs.Classifier(Mean(), channels=1), images, torch.zeros(4).long(), 4)
    found = images + torch.tensor([0.1, 0.02, 0.2, 0.1]).view(4, 1, 1, 1)
    found[3, 0, 0, 0] = 1.01
    assert contest.fooled(found, 0.1).tolist() == [True, False, False, False]
    assert contest.fooled(found.clamp(0, 1)).tolist() == [True, False, True, True]


@pytest.mark.parametrize("name", ["pgd_digits", "verdict_cnn", "minimum_norm"])
def test_each_way_is_in_the_table(name: str) -> None:
    for peer in PEERS:
        pytest.importorskip(peer)
    from benchmarks import peers
    from benchmarks.page import Scale, Skipped

    try:
        section = getattr(peers, name)(Scale(repeats=1, steps=5, limit=3))
    except Skipped as why:
        pytest.skip(str(why))
    found = rows(section.lines)
    expected = {"torchattacks", "foolbox", "ART"}
    if name == "minimum_norm":
        assert {row[1] for row in found} == expected | {"ours"}
        assert len(found) == 8
    else:
        assert {row[0] for row in found} >= expected | {"secml-torch"}
        measured = [row for row in found if "floor" not in row[0]]
        assert all(row[-1].endswith("of 3") for row in measured)


def test_a_section_is_asked_for_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import __main__ as command
    from benchmarks.page import PAGE, Scale, Section, Skipped

    def measured(scale: Scale) -> Section:
        section = Section(PAGE, "one", "One")
        section.text(f"{scale.times(3, 4)}")
        return section

    def skipped(scale: Scale) -> Section:
        raise Skipped("nothing there")

    monkeypatch.setattr(command, "SECTIONS", {"one": measured, "two": skipped})
    page = tmp_path / "page.md"
    for arguments in (["one"], ["--repeats", "2"]):
        monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments, "--page", str(page)])
        command.main()
    text = page.read_text("utf-8")
    assert text.count("## One") == 1
    assert "(2, 2)" in text
    assert "(3, 4)" not in text
    assert "skipped the section two: nothing there" in capsys.readouterr().out


def test_a_verdict_is_kept_until_what_it_is_of_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from benchmarks import verdicts
    from benchmarks.verdict_beds import Bed
    from fluoroscope.engine.threats import Threat
    from fluoroscope.evaluation.plan import Plan, Stage, made

    model = fs.load_model("digits-linear")
    data = fs.load_images("digits", channels=1).take(20)
    bed = Bed("Digits", lambda: (model, data), ("linf:0.02",), 20)
    steps, looks = 3, []

    def plan(threat: Threat) -> Plan:
        return Plan("short", (Stage("pgd", made("pgd", threat, steps=steps)),))

    def verdict(**more: Any) -> verdicts.Found:
        before = verdicts._made
        monkeypatch.setattr(verdicts, "_made", lambda *a: looks.append(1) or before(*a))
        found = verdicts.verdict("some:digits", bed, "linf:0.02", 0, "short", **more)
        monkeypatch.setattr(verdicts, "_made", before)
        assert found is not None
        return found

    monkeypatch.setattr(verdicts, "KEPT", tmp_path)
    monkeypatch.setitem(verdicts.WAYS, "short", plan)
    first = verdict()
    assert 0 < first.surviving < first.count == 20
    assert first.forwards > first.backwards > 0
    by_hand = fs.evaluate(model, data, threat="linf:0.02", plan=plan(fs.Linf(0.02)), at_chance=True)
    assert round(by_hand.robust_accuracy * 20) == first.surviving
    assert (verdict(), len(looks)) == (first, 1)
    verdict(anew=True)
    assert len(looks) == 2
    steps = 8
    assert verdicts.verdict("some:digits", bed, "linf:0.02", 0, "short", make=False) is None
    assert (verdict().forwards > first.forwards, len(looks)) == (True, 3)
    assert (verdict(limit=10).count, len(looks)) == (10, 4)
    assert (verdict().count, len(looks)) == (20, 4)
    # What was broken off is not taken for a verdict.
    monkeypatch.setattr(fs, "evaluate", lambda *_, **__: 1 / 0)
    steps = 9
    with pytest.raises(ZeroDivisionError):
        verdict()
    assert verdicts.kept("some:digits", "linf:0.02", 20, "short", 0) is None


def test_plans_are_held_against_standard_picture_by_picture() -> None:
    from benchmarks.evaluation import _cells
    from benchmarks.verdicts import Found

    standard, fast = (
        Found(10, (1, 2, 3), 8.0, 9.0, 300, 100), Found(10, (0, 1, 2, 5), 2.0, 3.0, 30, 10)
    )  # fmt: skip
    cells = ["60.0 % (6 of 10)", "30", "10", "0.100", "2", "0.250", "3", "0.0", "2", "1"]
    assert _cells(fast, standard) == cells
    # Seconds of a crowded machine are held against none.
    assert _cells(replace(fast, load=(9.0, 1.0)), standard)[5] == ""
    assert _cells(Found(10, (), 0.1, 0.1, 10, 0, "none"), standard)[0].startswith("refuses")
