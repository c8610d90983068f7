"""``fluoroscope invert`` and its uses: generators, samples, counterfeits, adversarial samples."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import fluoroscope as fs

Call = Callable[..., object]
SMALL = ["--param", "features=4", "--batch-size", "20", "--param", "noise=8"]
# A tiny training, for tests of what is said and written.
BRIEF = ["invert", "-m", "digits-cnn", *SMALL, "--steps", "4"]


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator that learnt next to nothing."""
    out = tmp_path_factory.mktemp("generator")
    made = fs.invert(
        fs.load_model("digits-cnn"), features=4, batch_size=20, noise=8, steps=3,
        conditioning="vector",
    )  # fmt: skip
    made.save(out)
    return out


@contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    calls = count()
    yield lambda: next(calls) >= 1


def test_trains_tells_and_goes_on_where_it_was_stopped_to_the_same_bytes(
    fluoroscope: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fluoroscope(*BRIEF, "--out", str(tmp_path / "whole"), "--json", "-")
    assert whole.code == 0, whole.err
    record = json.loads(whole.out)
    assert record["steps"] == 4
    assert "of 1,000 new samples are predicted as asked" in whole.err
    assert "not what the classes look like" in whole.err
    place = tmp_path / "whole"
    assert f"fluoroscope invert assess {place} --model digits-cnn" in whole.err
    assert "checkpoint.safetensors" not in whole.err  # it is done with
    for term in ("kl", "cross entropy", "cosine", "orthogonality"):
        assert term in whole.err
    assert sorted(one.name for one in (tmp_path / "whole").iterdir()) == [
        "gallery.png", "generator.json", "generator.safetensors",
    ]  # fmt: skip
    with monkeypatch.context() as patched:
        command = import_module("fluoroscope.cli.invert")
        patched.setattr(command, "interruptible", _stopping)
        patched.setattr(command, "_FORMING", 0.0)
        stopped = fluoroscope(*BRIEF, "--out", str(tmp_path / "parts"))
    assert stopped.code == 130
    assert "the same command goes on from there" in stopped.out
    assert (tmp_path / "parts" / "forming.png").is_file()
    assert not (tmp_path / "parts" / "generator.json").exists()
    other = fluoroscope(*BRIEF[:-1], "5", "--out", str(tmp_path / "parts"))
    assert other.code == 2
    assert "left by another training (steps was 4, now 5)" in other.err
    other = fluoroscope(*BRIEF, "--weight", "kl=2", "--out", str(tmp_path / "parts"))
    assert "left by another training (kl was 1.0, now 2)" in other.err
    going = fluoroscope(*BRIEF, "--out", str(tmp_path / "parts"))
    assert going.code == 0
    assert "going on after step" in going.out
    assert not (tmp_path / "parts" / "forming.png").exists()
    kept = [tmp_path / part / "generator.safetensors" for part in ("whole", "parts")]
    first, second = (load_file(one) for one in kept)
    assert all(torch.equal(first[name], second[name]) for name in first)
    sheet = Image.open(tmp_path / "parts" / "gallery.png")
    assert sheet.width > 10 * 100
    assert sheet.height > 10 * 100
    # What is finished stands in nobody's way.
    other = fluoroscope(*BRIEF, "--seed", "5", "--out", str(tmp_path / "parts"))
    assert other.code == 0, other.err
    assert not (tmp_path / "parts" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--preset", "papr"], "--preset is 'papr'; did you mean 'paper'? expected one of ours"),
        (["--conditioning", "matrx"], "--conditioning is 'matrx'; did you mean 'matrix'?"),
        (["--weight", "kl=-1"], "--weight kl is -1; expected a weight of 0 or more"),
        (["--weight", "kl"], "--weight is 'kl'; expected NAME=VALUE"),
        (["--weight", "tv=1"], "--weight is tv=1; expected one of kl, cross_entropy"),
        (
            ["--weight", "kl=0", "--weight", "cross-entropy=0"],
            "are all 0; expected one above 0, or nothing asks for the classes",
        ),
        (["-c", "3", "-c", "3"], "the class 3 is given twice"),
        (["-c", "ten"], "ten"),
        (["--steps", "0"], "--steps is 0; expected a whole number, 1 or more"),
        (["--batch-size", "1"], "--batch-size is 1; expected 2 or more"),
        (["--at-once", "0"], "--at-once is 0; expected a whole number, 1 or more"),
        (["--size", "8x"], "--size is '8x'; expected a side such as 224"),
        (["--size", "70000"], "--size is 70,000 × 70,000; expected at most 16,777,216 pixels"),
        (["--temperature", "0.5"], "--temperature is 0.5, but conditioning 'matrix' has none"),
        (["--param", "layer=nope"], "--param layer is 'nope', which digits-cnn does not have;"),
        (["--param", "width=3"], "width is no setting of a generator; expected one of absolute"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    fluoroscope: Call, arguments: list[str], words: str, tmp_path: Path
) -> None:
    said = fluoroscope("invert", "-m", "digits-cnn", "--out", str(tmp_path), *arguments)
    assert said.code == 2
    assert words in said.err
    assert said.err.count("\n") == 1


NETS = """
import torch
from torch import nn

class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(16, 3))

    def forward(self, images):
        return images.flatten(1) @ self.weight

class Behind(Bare):
    def __init__(self):
        super().__init__()
        self.first, self.act = nn.Conv2d(1, 1, 1), nn.ReLU()

    def forward(self, images):
        return super().forward(self.act(self.first(images)))
"""


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("Behind", "no layer of weights that can be seen; expected --param layer=NAME, one of act, "
         "first"),
        ("Bare", "none of its layers can be seen from Python; expected --weight cosine=0, "
         "--weight orthogonality=0"),
    ],
)  # fmt: skip
def test_without_a_feature_layer_the_candidates_are_listed(
    fluoroscope: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str, words: str
) -> None:
    (tmp_path / "nets_to_invert.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    named = ["-m", f"python:nets_to_invert:{network}", "--channels", "1", "--input-size", "4"]
    said = fluoroscope("invert", *named, "--out", str(tmp_path / "out"))
    assert said.code == 2
    assert words in said.err


def test_names_are_listed_and_shown_without_a_network(fluoroscope: Call) -> None:
    listed = fluoroscope("invert", "list", "--json", "-")
    known = {one["name"]: one for one in json.loads(listed.out)}
    from fluoroscope.inversion.generator.conditioning import CONDITIONINGS
    from fluoroscope.inversion.generator.losses import TERMS
    from fluoroscope.inversion.generator.settings import PRESETS

    for kind, names in (("conditioning", CONDITIONINGS), ("preset", PRESETS), ("term", TERMS)):
        assert {name for name, one in known.items() if one["kind"] == kind} == set(names)
    shown = fluoroscope("invert", "show", "lab")
    assert "cross_entropy" in shown.out
    assert "10" in shown.out
    assert fluoroscope("invert", "show", "vektor").err == (
        "fluoroscope: 'vektor' is no name here; did you mean 'vector'? expected one of "
        + ", ".join(known) + "\n"
    )  # fmt: skip


def test_samples_are_exact_and_drawn_and_the_network_is_asked_if_it_is_named(
    fluoroscope: Call, generator: Path, tmp_path: Path
) -> None:
    options = ["-c", "3", "-c", "8", "-n", "4", "--out", str(tmp_path)]
    said = fluoroscope("invert", "sample", str(generator), *options, "--temperature", "0.1")
    assert said.code == 0, said.err
    held = load_file(tmp_path / "samples.safetensors")
    assert held["classes"].tolist() == [3] * 4 + [8] * 4
    wanted = fs.Inversion.load(generator).sample([3, 8], 4, temperature=0.1)
    assert torch.equal(held["images"], wanted.images)
    assert json.loads((tmp_path / "samples.json").read_text())["accuracy"] is None
    with_words = fluoroscope("invert", "sample", str(generator), *options, "-m", "digits-cnn")
    assert with_words.code == 0
    assert "8 pictures of 3, 8; " in with_words.out
    images = load_file(tmp_path / "samples.safetensors")["images"]
    right = fs.predict(fs.load_model("digits-cnn"), images).winners == held["classes"]
    record = json.loads((tmp_path / "samples.json").read_text())
    assert record["accuracy"] == pytest.approx(float(right.double().mean()))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sample", "NOWHERE"], "holds no generator: there is no file"),
        (["sample", "HERE", "-m", "digits-robust"], "holds a generator for another network"),
        (["sample", "HERE", "-n", "0"], "--number is 0; expected a whole number, 1 or more"),
        (["sample", "HERE", "-n", "1000000000"], "--number is 1,000,000,000, and 10 classes of so"),
        (["sample", "HERE", "-c", "3", "-c", "3"], "the class 3 is given twice"),
        (["sample", "HERE", "--temperature", "0"], "--temperature is 0.0; expected a number above"),
        (["attack", "-m", "digits-cnn"], "--data was not given; expected the pictures"),
        (["attack", "-m", "digits-cnn", "-d", "digits", "--threat", "l1:3"], "the norm l1"),
        (
            ["attack", "-m", "digits-cnn", "-d", "digits", "--second", "digits-robust"],
            "--second judges unrestricted samples",
        ),
        (["attack", "HERE", "-m", "digits-cnn", "--threat", "linf:0.1"], "of the bounded attack"),
        (["leak", "HERE", "-m", "digits-cnn", "-d", "digits"], "digits has no split 'test'"),
        (["counterfeit", "-m", "digits-cnn", "-n", "0"], "--number is 0; expected a whole"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    fluoroscope: Call, generator: Path, arguments: list[str], words: str, tmp_path: Path
) -> None:
    places = {"HERE": str(generator), "NOWHERE": str(tmp_path / "nowhere")}
    said = fluoroscope("invert", *(places.get(word, word) for word in arguments))
    assert said.code == 2
    assert words in said.err
    assert said.err.count("\n") == 1


def test_counterfeits_stand_beside_what_they_are_held_against(
    fluoroscope: Call, generator: Path, tmp_path: Path
) -> None:
    said = fluoroscope(
        "invert", "counterfeit", str(generator), "-m", "digits-cnn", "-c", "2", "-n", "2",
        "--limit", "120", "--out", str(tmp_path), "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    rows = {one["name"]: one for one in json.loads(said.out)["rows"]}
    assert list(rows) == [
        "real", "noise", "generator", "null space, noise", "null space, other class",
    ]  # fmt: skip
    assert rows["null space, noise"]["counterfeits"] == 1
    assert rows["real"]["counterfeits"] == 0
    assert "Sure of 2 of 2 pictures of noise, moved to a real answer" in said.err
    assert "adversarial" in said.err
    assert (tmp_path / "counterfeits.png").is_file()


def test_unrestricted_samples_are_judged_by_the_second_network(
    fluoroscope: Call, generator: Path, tmp_path: Path
) -> None:
    said = fluoroscope(
        "invert", "attack", str(generator), "-m", "digits-cnn", "-n", "2", "--limit", "60",
        "--out", str(tmp_path), "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    told = json.loads(said.out)
    rows = told["certificates"]
    hits = [one["survives"] and one["predicted"] == one["classes"] != one["second"] for one in rows]
    assert told["adversarial"] == pytest.approx(sum(hits) / len(rows))
    assert told["second"] == "digits-robust"
    assert "no more than an opinion" in said.err
    assert all(one["second_sure"] >= one["second_confidence"] for one in rows)


def test_a_bounded_generator_is_judged_on_pictures_that_it_did_not_learn_from(
    fluoroscope: Call, tmp_path: Path
) -> None:
    said = fluoroscope(
        "invert", "attack", "-m", "digits-linear", "-d", "digits", "--limit", "30", "--steps", "2",
        "--threat", "linf:0.5", "--8bit", "--width", "4", "--out", str(tmp_path), "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["learnt_from"] == 20
    held = load_file(tmp_path / "attack.safetensors")
    assert len(held["images"]) == 10
    assert float((held["images"] - held["originals"]).abs().max()) <= 0.5 + 1e-6
    assert told["success"] == pytest.approx(
        float(held["success"][~held["at_start"].bool()].double().mean())
    )
    assert "random changes of the same bound" in said.err
    assert "a search for each (PGD, 20 steps) leads" in said.err


def test_leaks_are_counted_beside_as_many_test_pictures(
    fluoroscope: Call, generator: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for digit in range(2):
            folder = tmp_path / "data" / split / str(digit)
            folder.mkdir(parents=True)
            for copy in range(3):
                noise = rng.integers(0, 255, (28, 28), np.uint8)
                Image.fromarray(noise).save(folder / f"{copy}.png")
    said = fluoroscope(
        "invert", "leak", str(generator), "-m", "digits-cnn", "-d", str(tmp_path / "data"),
        "-n", "5", "--json", "-",
    )  # fmt: skip
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["leaks"] is False
    assert told["pairs"] == 6
    assert [one["name"] for one in told["classes"]] == ["0", "1"]
    assert "left out, without training or test pictures: 2" in said.err


def test_a_sheet_draws_all_that_was_asked_for_or_says_how_many_of_how_many() -> None:
    from fluoroscope.inversion.generator.sample_files import even_rows, left_out, sample_sheet

    def height(classes: torch.Tensor) -> int:
        images = torch.zeros(len(classes), 1, 4, 4)
        return sample_sheet(images, classes, [str(k) for k in range(60)], title="t").height

    one, two = torch.zeros(10, dtype=torch.int64), torch.zeros(20, dtype=torch.int64)
    assert left_out(two) == ""
    row = height(two) - height(one)
    assert row > 100
    assert height(torch.zeros(25, dtype=torch.int64)) == height(two) + row
    many = torch.arange(10).repeat_interleave(100)
    assert left_out(many) == "40 of 100 pictures of each class are drawn"
    assert "40 of up to 100" in left_out(many[:-1])
    assert left_out(torch.arange(50)) == "40 of 50 classes are drawn"
    batch = torch.tensor([8, 0, 8, 3, 0, 3, 3])
    assert even_rows(batch).tolist() == [1, 4, 3, 5, 0, 2]


def test_of_codes_that_are_one_class_the_divergence_is_said_once() -> None:
    from fluoroscope.cli.invert import state

    row = {"loss": 2.78, "kl": 0.937, "cross_entropy": 0.937, "accuracy": 0.125}
    assert state(row, soft=False).endswith("as asked, kl 0.937, all terms 2.78")
    assert "cross entropy 0.937" in state(row, soft=True)
