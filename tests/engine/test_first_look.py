"""The first look: what goes wrong silently is found once; honest networks are left alone."""

import threading
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.first_look import PICTURES, Look, look_at, notes_of
from fluoroscope.engine.objectives import MARGIN, leads
from fluoroscope.engine.weights import untouched

Change = Callable[[Tensor], Tensor]


class Changed(nn.Module):
    """The trained network on digits with something done before or after; counts its pictures."""

    def __init__(self, before: Change = lambda x: x, after: Change = lambda z: z) -> None:
        super().__init__()
        self.inner = fs.load_model("digits-cnn").module
        self.before, self.after, self.seen = before, after, 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return self.after(self.inner(self.before(x)))


def classifier(module: nn.Module, **stated: object) -> fs.Classifier:
    return fs.Classifier(module, channels=1, input_size=28, **stated)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    batch = next(iter(fs.load_images("digits", channels=1).take(12).batches(12)))
    assert batch.labels is not None
    return batch.images, batch.labels


def gamma(x: Tensor) -> Tensor:
    return (x ** (1 / 2.2)) ** 2.2  # an infinite slope at black, and a zero one: NaN


FAULTS: dict[str, tuple[nn.Module, str]] = {
    "random": (Changed(lambda x: nn.functional.dropout(x, 0.3)), "differently each time"),
    "zero": (Changed(lambda x: (x * 4).round() / 4), "gradient of zero"),
    "gradient": (Changed(lambda x: x.detach()), "no gradient through"),
    "numpy": (Changed(lambda x: torch.from_numpy(x.numpy())), "no gradient through"),
    "finite": (Changed(gamma), "NaN or infinite"),
    "outputs": (Changed(after=lambda z: z.softmax(1)), r'outputs="probabilities"'),
    "batch": (Changed(lambda x: 0.3 * (x - x.mean()) / x.std() + 0.13), "batch with others"),
    "constant": (Changed(after=lambda z: 0 * z + torch.arange(10)), "same answer whatever"),
    "weights": (nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), "nothing was learnt"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_what_goes_wrong_silently_is_found(kind: str, digits: tuple[Tensor, Tensor]) -> None:
    module, words = FAULTS[kind]
    model = classifier(module, name="mine")
    with pytest.warns(fs.FluoroscopeWarning, match=words) as told:
        fs.predict(model, digits[0])
    assert len(told) == 1
    assert isinstance(model.look, Look)
    kind = "gradient" if kind == "numpy" else kind
    kinds = {finding.kind for finding in model.look.findings}
    assert kind in kinds
    assert kinds <= {kind, "zero"}  # what is constant has no slope either
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fs.predict(model, digits[0])  # once


@pytest.mark.parametrize("name", ["digits-cnn", "digits-linear", "digits-robust"])
@pytest.mark.parametrize("count", [1, 2, 12])
def test_no_word_on_an_honest_network(name: str, count: int, digits: tuple[Tensor, Tensor]) -> None:
    model = fs.load_model(name)
    for wrapped in (model, fs.prepare(model), fs.EOT(model, samples=2), fs.Ensemble([model])):
        with warnings.catch_warnings():
            warnings.simplefilter("error", fs.FluoroscopeWarning)
            fs.predict(wrapped, digits[0][:count])
    assert isinstance(model.look, Look)
    assert model.look.notes == ()


@pytest.mark.parametrize("count", [1, 3, 12])
def test_it_costs_sixteen_pictures_at_most_once_and_leaves_no_trace(
    count: int, digits: tuple[Tensor, Tensor]
) -> None:
    module = Changed()
    model, state = classifier(module.train()), torch.get_rng_state()
    look = look_at(model, digits[0][:count])
    forwards = module.seen
    assert look.pictures == min(count, PICTURES)
    assert forwards + max(2, look.pictures) == look.passes <= 16  # and the gradients
    assert torch.equal(torch.get_rng_state(), state)
    assert module.training
    assert not digits[0].requires_grad
    model.look, module.seen = look, 0
    fs.predict(model, digits[0])
    assert module.seen == len(digits[0])


def test_several_threads_look_once(digits: tuple[Tensor, Tensor]) -> None:
    module = Changed()
    model = classifier(module)
    alone = look_at(model, digits[0]).passes - PICTURES
    module.seen = 0
    threads = [threading.Thread(target=lambda: fs.predict(model, digits[0])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert module.seen == alone + 4 * len(digits[0])


def test_a_wrapper_is_not_blamed_for_what_it_is_there_for(digits: tuple[Tensor, Tensor]) -> None:
    random = classifier(FAULTS["random"][0])
    rounded = classifier(FAULTS["zero"][0])
    with warnings.catch_warnings():
        warnings.simplefilter("error", fs.FluoroscopeWarning)
        fs.predict(fs.EOT(random, samples=2), digits[0])
        fs.predict(fs.EOT(classifier(Changed()), 2, transform=lambda x: x + 1e-2), digits[0])
    assert notes_of(fs.EOT(random)) == ()
    assert "differently" in notes_of(random)[0]
    mended = fs.BPDA(classifier(Changed()), lambda x: (x * 4).round() / 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error", fs.FluoroscopeWarning)
        fs.input_gradient(mended, digits[0], digits[1])
    with pytest.warns(fs.FluoroscopeWarning, match="gradient of zero"):
        fs.predict(fs.prepare(rounded), digits[0])


def test_another_preprocessing_is_looked_at_anew(digits: tuple[Tensor, Tensor]) -> None:
    model = fs.load_model("digits-cnn")
    fs.predict(model, digits[0])
    with pytest.warns(fs.FluoroscopeWarning, match="mean of .* deviation"):
        fs.predict(model.restated(mean=(0.13,), std=(0.01,)), digits[0])
    with pytest.warns(fs.FluoroscopeWarning, match="255 twice"):
        fs.predict(model.restated(mean=(0.13,)), digits[0] / 255)
    levels = classifier(Changed(lambda x: x / 255), mean=(0.0,), std=(1 / 255,))
    fs.predict(levels, digits[0])
    assert notes_of(levels) == ()  # a network that wants 8-bit levels


def test_a_scale_that_nobody_states_is_told_of_with_a_doubt_alone(
    digits: tuple[Tensor, Tensor],
) -> None:
    quiet, doubtful = classifier(Changed()), classifier(FAULTS["random"][0])
    for model in (quiet, doubtful):
        fs.predict(model, digits[0])
        assert isinstance(model.look, Look)
        assert "no mean and std" in model.look.information[0]
    assert notes_of(quiet) == ()
    assert len(notes_of(doubtful)) == 2
    own = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(784, 10))
    for weight in own.parameters():
        nn.init.normal_(weight)
    assert look_at(classifier(own), digits[0]).information == ()  # normalises by itself


def layers() -> Iterator[tuple[str, nn.Module, bool]]:
    yield "plain", nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Linear(64, 32)), True
    filled = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16))
    nn.init.kaiming_normal_(filled[0].weight)
    yield "other numbers, but norms that never ran", filled, True
    trained = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Linear(64, 32))
    trained.train()[:2](torch.rand(4, 3, 8, 8))
    yield "norms that ran", trained, False
    yield "built in", fs.load_model("digits-robust").module, False


@pytest.mark.parametrize(("name", "module", "whole"), layers())
def test_weights_tell_whether_anything_was_loaded(
    name: str, module: nn.Module, whole: bool
) -> None:
    assert untouched(module)[1] is whole


def test_a_head_that_nothing_was_loaded_into_is_named() -> None:
    module = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 10))
    nn.init.normal_(module[0].weight)
    assert untouched(module) == (["1"], False)


def test_a_slope_that_is_no_number_is_taken_a_hair_inside(digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits
    plain, bent = fs.load_model("digits-cnn"), classifier(Changed(gamma))
    several = leads(3, -torch.ones(len(images)))
    honest = evaluate(plain, images, labels, MARGIN, gradient=True, several=several)
    with pytest.warns(fs.FluoroscopeWarning, match="hair"):
        mended = evaluate(bent, images, labels, MARGIN, gradient=True, several=several)
    for one, other in ((honest.gradient, mended.gradient), (honest.jacobian, mended.jacobian)):
        assert one is not None
        assert other is not None
        assert other.isfinite().all()
        assert nn.functional.cosine_similarity(one.flatten(1), other.flatten(1)).min() > 0.9
    assert mended.mended
    assert not honest.mended
    assert mended.lost is not None
    assert not mended.lost.any()
    result = fs.attack("deepfool")(bent, images, labels)
    assert result.success.all()
    assert any("NaN or infinite" in note for note in result.notes)
    assert (result.backwards % 2 == 0).all()  # each asked for twice
    assert result.backwards.any()
    morphed = fs.morph(bent, "digits:7", to=2)
    assert morphed.reached


def test_what_is_no_number_there_either_counts_as_zero(digits: tuple[Tensor, Tensor]) -> None:
    # The norm of nothing: no slope at all, wherever the picture is.
    nowhere = classifier(Changed(lambda x: x + (0 * x[:, :, :1, :1]).square().sqrt()))
    with pytest.warns(fs.FluoroscopeWarning, match="as 0"):
        answer = evaluate(nowhere, *digits, MARGIN, gradient=True)
    assert answer.gradient is not None
    assert answer.gradient.isfinite().all()
    assert answer.lost is not None
    assert answer.lost.tolist() == [1] * len(digits[0])


def test_found_late_it_is_noted_all_the_same(digits: tuple[Tensor, Tensor]) -> None:
    model = classifier(Changed(gamma))
    fs.predict(model, digits[0].clamp(min=0.1))  # nothing is black
    assert notes_of(model) == ()
    with pytest.warns(fs.FluoroscopeWarning, match="NaN or infinite"):
        fs.input_gradient(model, *digits)
    assert "NaN or infinite" in notes_of(model)[0]


def test_one_class_for_all_is_said_where_there_are_several(digits: tuple[Tensor, Tensor]) -> None:
    model = classifier(Changed(after=lambda z: z + 100 * torch.eye(10)[3]))
    with pytest.warns(fs.FluoroscopeWarning, match="classifies all pictures as 3"):
        fs.attack("fgsm", eps=0.01)(model, *digits)
    alike = digits[1] == digits[1][0]
    with warnings.catch_warnings():
        warnings.simplefilter("error", fs.FluoroscopeWarning)
        fs.attack("fgsm", eps=0.01)(model, digits[0][alike], digits[1][alike])
