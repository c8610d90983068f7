"""Names of units: the five scores against scikit-learn, both sanity tests, and a tiny CLIP."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, jaccard_score

import fluoroscope as fs
from fluoroscope.neurons.answers.image_text import label_presence
from fluoroscope.neurons.answers.label_scores import SCORES
from fluoroscope.neurons.answers.naming import drawn_weights, is_on, label_set, name_units

RNG = np.random.default_rng(0)


def of_sklearn(name: str) -> Callable[[np.ndarray, np.ndarray, np.ndarray], float]:
    def cosine(a: np.ndarray, c: np.ndarray, w: np.ndarray) -> float:
        return float(sum(w * a * c) / np.sqrt(sum(w * a * a) * sum(w * c * c)))

    def pearson(a: np.ndarray, c: np.ndarray, w: np.ndarray) -> float:
        return float(np.corrcoef(np.repeat(a, w.astype(int)), np.repeat(c, w.astype(int)))[0, 1])

    return {
        "pearson": pearson,
        "cosine": cosine,
        "auprc": lambda a, c, w: average_precision_score(c, a, sample_weight=w),
        "f1": lambda a, c, w: f1_score(c, a, sample_weight=w),
        "iou": lambda a, c, w: jaccard_score(c, a, sample_weight=w),
    }[name]


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_those_of_scikit_learn_with_any_weights(name: str) -> None:
    function, on_off, yes_no = SCORES[name]
    activation = RNG.normal(size=80).round(1)  # with ties
    presence = RNG.random((80, 6))
    if on_off:
        activation = is_on(activation, 0.2)
    if yes_no:
        presence = (presence > 0.6).astype(float)
    for weights in (np.ones(80), drawn_weights(80, 1, 3)[0]):
        found = function(activation, presence, weights)
        wanted = [of_sklearn(name)(activation, presence[:, label], weights) for label in range(6)]
        np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize("name", SCORES)
def test_scores_fall_where_labels_are_missing_and_where_some_are_extra(name: str) -> None:
    """The two tests of 2506.05774, on a unit that answers to its concept alone."""
    function, _, _ = SCORES[name]
    concept = (np.arange(1000) < 50).astype(float)
    missing, extra = concept.copy(), concept.copy()
    missing[:25] = 0
    extra[500:550] = 1
    whole, less, more = function(concept, np.stack([concept, missing, extra], 1), np.ones(1000))
    assert whole == pytest.approx(1)
    assert less < 0.9
    assert more < 0.9

    def recall(on: np.ndarray, present: np.ndarray) -> float:
        return float((on * present).sum() / present.sum())

    assert recall(concept, missing) == 1  # which is why it is none of the five


def planted(pictures: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Units of which the first three answer to a label each, the fourth to a mixture of two that
    are nearly alike, and the last to nothing.
    """
    presence = (RNG.random((pictures, 6)) < 0.3).astype(float)
    presence[:, 4] = presence[:, 3]
    presence[:2, 4] = 1 - presence[:2, 3]
    presence[:2, 3] = 0
    activations = presence[:, :5] + 0.2 * RNG.random((pictures, 5))
    activations[:, 3] = presence[:, 3] + presence[:, 4] + 0.5 * RNG.random(pictures)
    activations[:, 4] = RNG.random(pictures)
    return activations.astype(np.float32), presence * 0.9 + 0.05


@pytest.mark.parametrize("name", SCORES)
def test_planted_units_get_their_names(name: str) -> None:
    activations, presence = planted()
    labels = ["ant", "bee", "cat", "dog", "hound", "eel"]
    found = name_units(activations, presence, labels, score=name, draws=60, on=0.3)
    assert [one.label for one in found.found[:3]] == ["ant", "bee", "cat"]
    for one in found.found[:3]:
        assert one.told
        assert one.labels == {one.label: 1.0}
        assert one.score > one.shuffled
    assert not found.found[4].told
    assert "1 unit without a name" in found.notes[0]
    assert found.rows()[4][1] == "–"


def test_labels_that_cannot_be_told_apart_are_both_in_the_set() -> None:
    activations, presence = planted()
    labels = ["ant", "bee", "cat", "dog", "hound", "eel"]
    found = name_units(activations, presence, labels, [3], draws=200)
    assert set(found.found[0].labels) == {"dog", "hound"}
    assert sum(found.found[0].labels.values()) == pytest.approx(1)
    again = name_units(activations, presence, labels, [3], draws=200)
    assert again.found == found.found
    other = name_units(activations, presence, labels, [3], draws=200, seed=1)
    assert other.found != found.found


def test_a_set_holds_the_winners_of_so_many_draws() -> None:
    winners = [0] * 90 + [2] * 6 + [1] * 4
    assert label_set(winners, "abc", 0.9) == {"a": 0.9}
    assert label_set(winners, "abc", 0.95) == {"a": 0.9, "c": 0.06}
    assert label_set(winners, "abc", 0.99) == {"a": 0.9, "c": 0.06, "b": 0.04}


def test_draws_are_with_replacement() -> None:
    drawn = drawn_weights(50, 300, 0)
    assert drawn.sum(1).tolist() == [50] * 300
    assert (drawn == 0).mean() == pytest.approx(np.exp(-1), abs=0.02)


def test_refusals() -> None:
    activations, presence = planted(20)
    labels = list("abcdef")
    for given, said in [
        ({"score": "recall"}, "score is 'recall'"),
        ({"units": [5]}, "unit is 5"),
        ({"draws": 0}, "draws is 0"),
        ({"coverage": 1.0}, "coverage is 1.0"),
    ]:
        with pytest.raises(fs.FluoroscopeError, match=said):
            name_units(activations, presence, labels, **given)
    with pytest.raises(fs.FluoroscopeError, match="presence has shape"):
        name_units(activations, presence, labels[:3])
    with pytest.raises(fs.FluoroscopeError, match="not from 0 to 1"):
        name_units(activations, presence + 1, labels)
    with pytest.raises(fs.FluoroscopeError, match="not finite"):
        name_units(activations * np.nan, presence, labels)


def test_a_network_of_images_and_texts_says_how_present_labels_are(tiny_clip: Path) -> None:
    import transformers

    images = fs.load_images(torch.rand(5, 3, 20, 16), labels=[0, 1, 0, 1, 0])
    labels = ["ant", "bee", "cat"]
    told: list[float] = []
    found = label_presence(tiny_clip, images, labels, batch_size=2, on_share=told.append)
    assert found.shape == (5, 3)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    assert told == [0.4, 0.8, 1.0]
    model = transformers.CLIPModel.from_pretrained(tiny_clip)
    processor = transformers.CLIPProcessor.from_pretrained(tiny_clip)
    from fluoroscope.pictures.write import to_pil

    with torch.no_grad():
        given = processor(
            text=[f"a photo of a {label}" for label in labels],
            images=to_pil(images[3].image), return_tensors="pt", padding=True,
        )  # fmt: skip
        wanted = model(**given).logits_per_image.softmax(1)
    np.testing.assert_allclose(found[3], wanted[0].numpy(), rtol=1e-4)
    grey = fs.load_images(torch.rand(2, 1, 9, 9), labels=[0, 1], channels=1)
    assert label_presence(tiny_clip, grey, labels).shape == (2, 3)


def test_what_is_no_such_network_is_refused(tiny_clip: Path, tmp_path: Path) -> None:
    import transformers

    images = fs.load_images(torch.rand(2, 3, 16, 16), labels=[0, 1])
    with pytest.raises(fs.FluoroscopeError, match="is no folder"):
        label_presence(tmp_path / "nowhere", images, ["a", "b"])
    with pytest.raises(fs.FluoroscopeError, match=r"lacks model\.safetensors"):
        label_presence(tmp_path, images, ["a", "b"])
    with pytest.raises(fs.FluoroscopeError, match="not in the hub's cache"):
        label_presence("hf/nobody/nothing", images, ["a", "b"])
    with pytest.raises(fs.FluoroscopeError, match="labels are 1"):
        label_presence(tiny_clip, images, ["a"])
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        patch_size=8, image_size=16,
    )  # fmt: skip
    transformers.ViTModel(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    with pytest.raises(fs.FluoroscopeError, match="image-text"):
        label_presence(tmp_path, images, ["a", "b"])


def test_of_units_that_mean_nothing_five_in_a_hundred_are_named_and_that_is_said() -> None:
    random = np.random.default_rng(0)
    activations = random.standard_normal((60, 300))
    presence = (random.random((60, 8)) < 0.3).astype(float)
    found = name_units(activations, presence, list("abcdefgh"), draws=39)
    named = sum(one.told for one in found.found)
    assert 4 <= named <= 30  # 15 expected, and four deviations
    [*_, note] = found.notes
    assert "level of 5\u202f%: of 300 units that mean nothing 15 would be named by chance" in note
    assert note.endswith(f"of these {named} are")
    assert found.describe()["named_by_chance"] == pytest.approx(15)
    few = name_units(activations[:, :2], presence, list("abcdefgh"), draws=4)
    assert few.level == pytest.approx(0.2)
