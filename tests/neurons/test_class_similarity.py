"""How alike classes are: by a tree, WordNet, weights and confusions, and what is refused."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import wn
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError, MissingExtraError
from fluoroscope.neurons.meaning.paths import path_lengths

LABELS = ("tabby, tabby cat", "Siamese_cat", "beagle", "car")
TREE = {"thing": {"animal": {"cat": ["tabby", "siamese-cat"], "dog": {"beagle": None}},
                  "vehicle": ["car"]}}  # fmt: skip
LINES = """# a comment
tabby: cat
siamese cat: cat
beagle: dog

cat: animal
dog: animal
animal: thing
vehicle: thing
car: vehicle
"""
PATHS = [[0, 2, 4, 5], [2, 0, 4, 5], [4, 4, 0, 5], [5, 5, 5, 0]]


def tree(folder: Path, text: str) -> fs.neurons.ClassSimilarity:
    file = folder / "tree"
    file.write_text(text, "utf-8")
    return fs.neurons.class_similarity(file, labels=LABELS, sigma=2.0)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(TREE),
        LINES,
        "child,parent\n" + LINES.replace(": ", ",").replace("# a comment", ""),
    ],
)
def test_a_tree_in_any_of_its_forms(tmp_path: Path, text: str) -> None:
    found = tree(tmp_path, text)
    expected = [[math.exp(-(path**2) / 4) for path in row] for row in PATHS]
    np.testing.assert_allclose(found.matrix, expected)
    assert found.kind == "tree"
    assert "σ = 2" in found.words
    assert "memory only" in found.certainty
    assert found.notes == ()


def test_several_ways_up_and_none() -> None:
    above = {"a": ["x", "y"], "b": ["y"], "x": ["top"], "y": ["z"], "z": ["top"], "top": [],
             "alone": []}  # fmt: skip
    found = path_lengths(above, ["a", "b", "x", "alone", "top"])
    inf = math.inf
    assert found.tolist() == [
        [0, 2, 1, inf, 2], [2, 0, 4, inf, 3], [1, 4, 0, inf, 1], [inf, inf, inf, 0, inf],
        [2, 3, 1, inf, 0],
    ]  # fmt: skip


def test_a_forest_is_noted(tmp_path: Path) -> None:
    found = tree(tmp_path, "tabby: cat\nsiamese cat: cat\nbeagle: dog\ncar: vehicle\n")
    assert found.matrix[0, 2] == found.matrix[0, 3] == found.matrix[2, 3] == 0
    assert "5 pairs of classes have nothing above them in common" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tabby: cat\nsiamese cat: cat\n", r"lacks 2 of 4 classes \(beagle, car\)"),
        (LINES + "thing: tabby\n", "lies above itself"),
        (LINES + "a: b: c\n: d\n", "line 12"),
        ("just words\n", "line 1"),
        ("", "nothing in it lies above anything"),
        ('{"a": 1.5}', "in the place of a class"),
        ('{"a": ', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("\0: b", "."),
        (LINES + "Tabby cat: dog\n", "may be Tabby cat, tabby"),
    ],
)
def test_a_tree_that_is_none_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidParameterError, match=words) as told:
        tree(tmp_path, text)
    assert "\n" not in str(told.value)
    assert str(tmp_path) in str(told.value) or words.startswith("may")


class Net(nn.Module):
    """Its last layer has rows of known cosines; what comes before gives them all alike."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 2, 1), last

    def forward(self, images: Tensor) -> Tensor:
        found = self.last(self.first(images))
        return found.flatten(2).mean(2) if found.dim() == 4 else found


@pytest.mark.parametrize("convolution", [False, True])
def test_the_cosine_of_weights(convolution: bool) -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]) + 5
    linear = nn.Linear(2, 3)
    last: nn.Module = nn.Conv2d(2, 3, 1)
    linear.weight.data, last.weight.data = rows, rows[:, :, None, None]  # type: ignore[assignment]
    if not convolution:
        last = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    model = fs.Classifier(Net(last), channels=1, input_size=4, labels=["a", "b", "c"])
    found = fs.neurons.class_similarity("weights", model=model)
    # What all rows have in common decides nothing, so that it does not count.
    rows -= rows.mean(0)
    slow = [[float(torch.cosine_similarity(a, b, dim=0)) for b in rows] for a in rows]
    np.testing.assert_allclose(found.matrix, slow, atol=1e-6)
    assert "last" in found.words
    assert "not of the source" in found.certainty


def test_a_network_without_weights_of_its_classes() -> None:
    class Odd(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :3]

    model = fs.Classifier(Odd(), channels=1, input_size=4)
    with pytest.raises(InvalidParameterError, match="come from no layer with weights"):
        fs.neurons.class_similarity("weights", model=model)


def test_the_confusions_of_a_network() -> None:
    model = fs.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), channels=1, input_size=2,
                          labels=["a", "b", "c"])  # fmt: skip
    read = fs.neurons.read(model, torch.rand(6, 1, 2, 2), "1")
    read.__dict__["labels"] = np.array([0, 0, 1, 1, -1, 1])
    read.__dict__["predicted"] = np.array([0, 1, 1, 1, 0, 0])
    found = fs.neurons.class_similarity("confusion", model=model, activations=read)
    a, b = (1.0, 1.0), (1.0, 2.0)  # predicted as a and b, of the class a and of b
    cosine = (a[0] * b[0] + a[1] * b[1]) / (math.hypot(*a) * math.hypot(*b))
    expected = [[1, cosine, 0], [cosine, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(found.matrix, expected)
    assert "5 real pictures" in found.words
    assert "3 of 3 classes have fewer than 10 pictures" in found.notes[0]
    with pytest.raises(InvalidParameterError, match="activations= of real pictures"):
        fs.neurons.class_similarity("confusion", model=model)


LEXICON = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE LexicalResource SYSTEM "http://globalwordnet.github.io/schemas/WN-LMF-1.0.dtd">
<LexicalResource xmlns:dc="https://globalwordnet.github.io/schemas/dc/">
<Lexicon id="omw-en" label="A few words" language="en" email="a@b.c" license="none" version="1.4">
{entries}{synsets}
</Lexicon></LexicalResource>
"""


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """WordNet's data in a folder of the test; nothing in it yet."""
    monkeypatch.setattr(wn.config, "data_directory", tmp_path / "wn")
    return tmp_path


def add_lexicon(folder: Path) -> None:
    above = {"02123045": "02120997", "02123597": "02120997", "02088364": "02083346",
             "02120997": "00015388", "02083346": "00015388", "02958343": "00001740",
             "00015388": "00001740", "00001740": None}  # fmt: skip
    names = {"02123045": ["tabby", "tabby cat"], "02123597": ["Siamese cat"],
             "02088364": ["beagle"], "02120997": ["cat"], "02083346": ["dog"],
             "02958343": ["car"], "00015388": ["animal"], "00001740": ["entity"]}  # fmt: skip
    entries = "".join(
        f'<LexicalEntry id="omw-en-{number}-{place}"><Lemma writtenForm="{name}" '
        f'partOfSpeech="n"/><Sense id="omw-en-{number}-{place}-s" synset="omw-en-{number}-n"/>'
        "</LexicalEntry>"
        for number, each in names.items() for place, name in enumerate(each)
    )  # fmt: skip
    synsets = "".join(
        f'<Synset id="omw-en-{number}-n" ili="" partOfSpeech="n">'
        + (f'<SynsetRelation relType="hypernym" target="omw-en-{upper}-n"/>' if upper else "")
        + "</Synset>"
        for number, upper in above.items()
    )
    file = folder / "lexicon.xml"
    file.write_text(LEXICON.format(entries=entries, synsets=synsets))
    wn.add(file, progress_handler=None)


@pytest.mark.parametrize("labels", [LABELS, ("n02123045", "n02123597", "n02088364", "n02958343")])
def test_wordnet_by_names_and_by_numbers(words: Path, labels: tuple[str, ...]) -> None:
    add_lexicon(words)
    found = fs.neurons.class_similarity("wordnet", labels=labels, sigma=2.0)
    paths = np.array([[0, 2, 4, 4], [2, 0, 4, 4], [4, 4, 0, 4], [4, 4, 4, 0]])
    np.testing.assert_allclose(found.matrix, np.exp(-(paths**2) / 4))
    assert "omw-en:1.4" in found.words
    with pytest.raises(InvalidParameterError, match=r"no noun for 1 of 2 classes \(gizmo\)"):
        fs.neurons.class_similarity("wordnet", labels=["beagle", "gizmo"])


def test_without_wordnet_the_others_are_named(words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidParameterError, match=r"no English lexicon .* weights, confusion"):
        fs.neurons.class_similarity("wordnet", labels=LABELS)
    monkeypatch.setitem(sys.modules, "wn", None)
    with pytest.raises(MissingExtraError, match=r"fluoroscope\[wordnet\].* weights, confusion"):
        fs.neurons.class_similarity("wordnet", labels=LABELS)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match="there is no file"):
        fs.neurons.class_similarity(tmp_path / "nothing", labels=LABELS)
    with pytest.raises(InvalidParameterError, match=r"did you mean 'weights'\?"):
        fs.neurons.class_similarity("weight", labels=LABELS)
    with pytest.raises(InvalidParameterError, match="neither model= nor labels="):
        fs.neurons.class_similarity("wordnet")
    with pytest.raises(InvalidParameterError, match="sigma is 0"):
        fs.neurons.class_similarity("wordnet", labels=LABELS, sigma=0)
    with pytest.raises(InvalidParameterError, match="symmetric"):
        fs.neurons.ClassSimilarity(np.ones((2, 3)), ("a", "b"), "own", "mine", "sure")
