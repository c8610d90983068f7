"""The audit: mutants are caught, honest methods are not, parts go on where they stopped."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

import fluoroscope as fs
from fluoroscope.attribution.audit import audit as auditing
from fluoroscope.attribution.audit.bench import Bench
from fluoroscope.attribution.audit.course import Progress
from fluoroscope.attribution.audit.faithfulness import Score, rivals
from fluoroscope.attribution.audit.looks import Evidence, look
from fluoroscope.attribution.audit.result import Audited
from fluoroscope.attribution.audit.subjects import OfMethod
from fluoroscope.attribution.audit.verdict import Verdict, alike, judge, judge_all, same_maps
from fluoroscope.attribution.doubts import of_promise
from fluoroscope.attribution.names import METHODS
from fluoroscope.attribution.registry import make_method
from fluoroscope.attribution.rules.graph import Graph, walk
from fluoroscope.notices import collected
from tests.attribution.zoo import UNKNOWN, either, toy

Change = Callable[[Tensor], Tensor]
CHEAP = ("gradient", "gradient-x-input")
# A thing that changes between calls, as in a program that draws.
_draws = torch.Generator().manual_seed(5)


def quick(model: fs.Classifier, images: Tensor, **options: object) -> fs.Audit:
    """The looks that verdicts are made of, alone."""
    return fs.audit(model, images, randomisation=False, faithfulness=False, **options)  # type: ignore[arg-type]


def mutant(change: Change, method: str) -> Callable[[fs.Classifier, Tensor, Tensor], Tensor]:
    def explain(model: fs.Classifier, images: Tensor, classes: Tensor) -> Tensor:
        return change(fs.attribute(model, images, classes, method=method).maps)

    return explain


def noisy(maps: Tensor, draw: torch.Generator) -> Tensor:
    return maps + 0.01 * maps.std() * torch.randn(maps.shape, generator=draw)


MUTANTS: dict[str, Change] = {
    "rolled right": lambda maps: maps.roll(1, -1),
    "moved down": lambda maps: pad(maps, (0, 0, 1, 0))[..., :-1, :],
    "moved left": lambda maps: pad(maps, (0, 1, 0, 0))[..., 1:],
    "noise each time": lambda maps: noisy(maps, _draws),
    "the same noise": lambda maps: noisy(maps, torch.Generator().manual_seed(0)),
    "noise of its own": lambda maps: maps
    + 0.01 * maps.std() * torch.stack(
        [torch.randn(one.shape, generator=torch.Generator().manual_seed(int(1e6 * one.abs().sum())))
         for one in maps]
    ),
    "mean of the batch": lambda maps: 0.9 * maps + 0.1 * maps.mean(0, keepdim=True),
    "the first for all": lambda maps: maps[:1].expand_as(maps),
    "zeros": torch.zeros_like,
    "one NaN": lambda maps: maps.index_put((torch.tensor([1]),), torch.tensor(torch.nan)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("network", "method", "promise"),
    [
        ("gelu", "gradient-x-input", None),
        ("layer-norm-over-channels", "gradient", None),
        ("relu-module", "lrp", "conservation"),
    ],
)
def test_every_mutant_of_a_map_of_pixels_is_caught(
    network: str, method: str, promise: str | None
) -> None:
    case = toy(network)
    changes = {**MUTANTS, "honest": lambda maps: maps}
    methods = {name: (mutant(change, method), promise) for name, change in changes.items()}
    found = quick(case.model, case.images, methods=methods)
    said = {row.verdict.method: row.verdict.words for row in found.rows}
    assert said.pop("honest") == "valid"
    assert set(said.values()) == {"not valid here"}, said


def of_class(
    chosen: Callable[[Tensor], Tensor],
) -> Callable[[fs.Classifier, Tensor, Tensor], Tensor]:
    def explain(model: fs.Classifier, images: Tensor, classes: Tensor) -> Tensor:
        return fs.attribute(model, images, chosen(classes)).maps

    return explain


TURNED: dict[str, Change] = {
    "left to right": lambda maps: maps.flip(-1),
    "upside down": lambda maps: maps.flip(-2),
    "both": lambda maps: maps.flip(-2, -1),
    "turned": lambda maps: maps.rot90(1, (-2, -1)),
    "transposed": lambda maps: maps.mT,
}  # fmt: skip


@pytest.mark.parametrize(
    ("network", "method", "promise"),
    [
        ("gelu", "gradient", None),
        ("relu-module", "gradient-x-input", None),
        ("relu-module", "lrp", "conservation"),
    ],
)
def test_maps_that_are_turned_are_caught(network: str, method: str, promise: str | None) -> None:
    case = toy(network)
    methods = {name: (mutant(change, method), promise) for name, change in TURNED.items()}
    found = quick(case.model, case.images, methods=methods)
    assert {row.verdict.word for row in found.rows} == {"not valid here"}, found.rows


def test_maps_of_another_class_or_of_none_are_caught() -> None:
    case = toy("gelu")
    methods = {
        "honest": of_class(lambda classes: classes),
        "next": of_class(lambda classes: (classes + 1) % case.model.num_classes),
        "third": of_class(lambda classes: torch.full_like(classes, 3)),
        "absolute": lambda *given: of_class(lambda classes: classes)(*given).abs(),
    }
    images = case.images
    classes = torch.tensor([0, 1, 2, 0])[: len(images)]
    found = quick(case.model, images, methods=methods, classes=classes)
    assert [row.verdict.word for row in found.rows] == [
        "valid", "not valid here", "not valid here", "valid",
    ]  # fmt: skip
    assert "of another class" in found.verdict("next").reasons[-1]
    sums = quick(
        case.model, images, methods={"none": lambda model, images, classes: images.square()}
    ).verdict("none")
    assert any("same for another class" in each for each in sums.reasons)
    blind = quick(case.model, images, methods=["eigen-cam"]).of("eigen-cam")
    assert blind.evidence.shows is None


@pytest.mark.parametrize("rows", [slice(4), slice(4, None)])
def test_maps_of_one_half_are_right_in_part(rows: slice) -> None:
    case = toy("gelu")

    def half(maps: Tensor) -> Tensor:
        maps = maps.clone()
        maps[..., rows, :] = 0
        return maps

    found = quick(case.model, case.images, methods={"half": mutant(half, "gradient")})
    assert found.verdict("half").words == "partly"
    assert "half its map is zero" in found.verdict("half").reasons[0]


def test_maps_whose_order_is_worse_than_random_are_right_in_part() -> None:
    model = fs.load_model("digits-cnn")
    images = next(fs.load_images("digits", channels=1).take(12).batches(12)).images
    methods = {
        "plain": mutant(lambda maps: maps, "gradient-x-input"),
        "negated": mutant(torch.neg, "gradient-x-input"),
    }
    found = fs.audit(model, images, methods=methods, randomisation=False)
    assert found.verdict("plain").words == "valid"
    assert found.verdict("negated").words == "partly"
    assert "matter less than random ones" in found.verdict("negated").reasons[0]


class _Mixing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = toy("gelu").model.module

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y - y.mean(0, keepdim=True) / 2


def test_a_network_that_mixes_the_pictures_of_a_batch_leaves_no_method_valid() -> None:
    case = toy("gelu")
    model = fs.Classifier(_Mixing(), channels=3, input_size=8)
    methods = ["gradient", "integrated-gradients", "occlusion", "grad-cam", "eigen-cam"]
    with collected():
        found = quick(model, case.images, methods=methods)
    for row in found.rows:
        assert row.verdict.word in ("partly", "not valid here")
        assert any("mixes the pictures of a batch" in each for each in row.verdict.reasons)
    assert "mixes" in found.verdict("gradient").reasons[0]
    assert "more points" not in " ".join(found.verdict("integrated-gradients").reasons)


@pytest.mark.parametrize("wrong", [2.0, -1.0])
def test_a_gradient_is_held_against_finite_differences(wrong: float) -> None:
    """What is a gradient but for its size or its sign is caught by the derivative alone."""
    from fluoroscope.attribution.gradient import Gradient

    case = toy("hardswish")
    with mock.patch.object(Gradient, "made", lambda self, gradient, images: wrong * gradient):
        found = quick(case.model, case.images, methods=["gradient"]).of("gradient")
    assert found.verdict.word == "not valid here"
    assert "finite differences" in found.verdict.reasons[0]
    assert quick(case.model, case.images, methods=["gradient"]).verdict("gradient").passed


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: object, slope: Tensor) -> Tensor:
        return slope


class _Own(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _Straight.apply(x)


def pooling(activation: nn.Module) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), activation, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(100, 3)
    ).eval()


def flat_ground() -> Tensor:
    images = torch.zeros(4, 1, 10, 10)
    images[:, :, 4:7, 3:6] = torch.rand(4, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    return images


@pytest.mark.parametrize("scripted", [False, True])
@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_ties_on_flat_ground_are_no_fault_of_a_gradient(scripted: bool) -> None:
    """At a tie of a maximum there is no one derivative; a way back that is wrong is, beside it."""
    images = flat_ground()
    words = []
    for activation in (nn.ReLU(), _Own()):
        module = pooling(activation)
        if scripted:
            module = torch.jit.trace(module, images[:1])
        model = fs.Classifier(module, channels=1, input_size=10)
        with collected():  # nobody trained it
            found = quick(model, images, methods=["gradient"]).of("gradient")
        words.append(found.verdict.words)
        assert found.evidence.derivative is not None
        if activation.__class__ is nn.ReLU:
            assert found.evidence.kink is not None
            assert found.evidence.derivative < 1e-6
            assert "kinks" in found.verdict.reasons[-1]
        if scripted:  # which knows no way back but PyTorch's
            return
    assert words == ["valid", "not valid here"]


def test_a_derivative_that_cannot_be_looked_at_is_said() -> None:
    case = toy("gelu")
    with mock.patch.object(Bench, "exact", None):
        found = quick(case.model, case.images, methods=["gradient"]).verdict("gradient")
    assert any("not held against finite differences" in each for each in found.reasons)


@pytest.mark.parametrize(
    "name",
    [
        *("relu-module", "reused-relu", "in-place-addition", "squeeze-and-excitation"),
        *("overlapping-max-pool", "gelu-tanh", "softmax-head", "instance-norm", "rms-norm"),
        *("attention-module", "transformer-layer", "one-pixel-input", "recurrent"),
        "torchvision:squeezenet1_1",
    ],
)
def test_honest_gradients_raise_no_alarm(name: str) -> None:
    case = either(name)
    with collected():  # what the networks are like
        found = quick(case.model, case.images, methods=CHEAP)
    assert [row.verdict.words for row in found.rows] == ["valid", "valid"], found.rows


def test_two_names_for_one_map() -> None:
    """Where no activation has a rule, and where the network is linear."""
    linear = fs.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), channels=1, input_size=6)
    images = torch.linspace(0.1, 1, 108).view(3, 1, 6, 6)
    twice = {
        "gradient": mutant(lambda maps: maps, "gradient"),
        "again": mutant(lambda maps: 3 * maps, "gradient"),
        "times": mutant(lambda maps: maps, "gradient-x-input"),
    }
    found = quick(linear, images, methods=twice)
    assert found.verdict("again").words == "the same map as gradient"
    assert "On every picture its map is that of gradient." in found.verdict("again").reasons
    assert found.verdict("times").words == "valid"
    maps = torch.randn(3, 1, 6, 6)
    assert alike(maps, maps * 1e10)
    assert not alike(maps, maps + 0.01 * torch.randn(3, 1, 6, 6))
    assert not alike(maps, -maps)
    assert alike(maps, maps[:2])
    assert same_maps({"a": maps, "b": torch.zeros_like(maps), "c": maps}) == {"c": "a"}


def test_what_else_is_wrong_comes_before_whose_map_it_is() -> None:
    """Of a batch's own scale, and of a promise that is missed."""
    case = toy("gelu")

    def scaled(model: fs.Classifier, images: Tensor, classes: Tensor) -> Tensor:
        maps = fs.attribute(model, images, classes, method="gradient").maps
        return maps / maps.abs().max()

    whole = mutant(lambda maps: maps, "integrated-gradients")
    more = mutant(lambda maps: 1.1 * maps, "integrated-gradients")
    shifted = mutant(MUTANTS["rolled right"], "gradient-x-input")
    found = quick(
        case.model,
        case.images,
        methods={
            "more": (more, "completeness"),
            "whole": (whole, "completeness"),
            "gradient": "gradient",
            "scaled": scaled,
            "shifted": shifted,
            "twin": (shifted, "conservation"),
        },
    )
    assert found.valid == ("whole", "gradient")
    scaled_, more_ = found.verdict("scaled"), found.verdict("more")
    assert scaled_.words == more_.words == "not valid here"
    assert "depends on the pictures beside it" in scaled_.reasons[0]
    assert scaled_.remarks == ("On every picture its map is that of gradient.",)
    assert "10.0" in more_.reasons[0]
    assert more_.remarks == ("On every picture its map is that of whole.",)
    assert not found.verdict("twin").sound


def test_a_map_is_no_better_than_the_same_map_with_a_fault() -> None:
    maps = torch.randn(3, 1, 6, 6)
    faulty, sound = Evidence(3, frame=0.3), Evidence(3)
    for seen in ({"a": faulty, "b": sound}, {"b": sound, "a": faulty}):
        found = judge_all(seen, dict.fromkeys(seen, maps), None)
        assert not found["a"].sound
        assert not found["b"].sound
        assert "its map is that of a, which is not valid here" in found["b"].reasons[0]
        assert "lies in the frame" in found["b"].reasons[1]
    sizes = {"a": 2 * maps, "b": maps}  # the fault may be one of size
    assert judge_all({"a": faulty, "b": sound}, sizes, None)["b"].words == "valid"
    spoils = Evidence(3, traces=("hooks",))  # not the map's fault
    found = judge_all({"a": spoils, "b": sound}, {"a": maps, "b": maps}, None)
    assert [each.words for each in found.values()] == ["not valid here", "valid"]


def test_what_is_made_of_a_gradient_is_no_better_than_it() -> None:
    made = ["gradient-x-input", "smoothgrad", "integrated-gradients", "captum:saliency"]
    maps = {name: torch.randn(3, 1, 6, 6) for name in ("gradient", *made, "rise")}
    seen = {name: Evidence(3) for name in maps}
    assert {each.words for each in judge_all(seen, maps, None).values()} == {"valid"}
    found = judge_all({**seen, "gradient": Evidence(3, derivative=3.5)}, maps, None)
    assert [name for name, each in found.items() if each.sound] == ["rise"]
    assert "made of gradient, which is not valid here: it is 350" in found["smoothgrad"].reasons[0]


def test_one_bar_for_one_promise_whoever_made_the_map() -> None:
    pytest.importorskip("captum")
    case = toy("gelu")

    def mine(model: fs.Classifier, images: Tensor, classes: Tensor) -> Tensor:
        how = {"method": "integrated-gradients", "points": 6}
        return fs.attribute(model, images, classes, **how).maps  # type: ignore[arg-type]

    with collected():
        found = quick(
            case.model,
            case.images,
            methods={
                "integrated-gradients": "integrated-gradients",
                "expected-gradients": "expected-gradients",
                "captum:integrated-gradients": "captum:integrated-gradients",
                "mine": (mine, "completeness"),
            },
        )
    assert {row.evidence.tolerance for row in found.rows} == {0.01}
    peer = found.verdict("captum:integrated-gradients")
    assert peer.words == "the same map as integrated-gradients"
    assert "1.0\u202f% counts as none" in found.verdict("integrated-gradients").reasons[0]
    with collected():
        exact = quick(case.model, case.images, methods=["deeplift"]).of("deeplift").evidence
    assert exact.tolerance < 1e-3


def test_only_what_is_sound_is_called_the_best() -> None:
    case = toy("gelu")

    shifted = mutant(MUTANTS["rolled right"], "integrated-gradients")
    methods = {"gradient": "gradient", "shifted": shifted}
    found = fs.audit(case.model, case.images, methods=methods, randomisation=False)
    assert found.of("shifted").scores
    assert found.telling
    assert not any("shifted" in words for words in found.telling.values())
    alone = fs.audit(case.model, case.images, methods={"shifted": shifted}, randomisation=False)
    assert not alone.telling
    assert "none is held against the controls" in alone.notes[-1]


def test_where_no_metric_tells_nothing_is_ranked() -> None:
    case = toy("gelu")
    noise = {
        f"noise {n}": lambda model, images, classes, n=n: (images * 0 + n).cos() for n in (1, 2)
    }
    found = fs.audit(case.model, case.images, methods=noise, randomisation=False)
    assert not found.informative
    assert found.best == ()

    def scored(name: str, **means: float) -> Audited:
        scores = {key: Score(mean, mean, mean, 4) for key, mean in means.items()}
        return Audited(Verdict(name, "valid"), Evidence(), (), scores)

    rows = (scored("a", srg=0.1, deletion=0.3), scored("b", srg=0.2, deletion=0.4))
    assert replace(found, rows=rows).best == ()
    assert replace(found, rows=rows).valid == ("a", "b")
    assert replace(found, rows=rows, informative=("deletion", "srg")).best == ("b", "a")
    assert replace(found, rows=rows, informative=("deletion",)).best == ("a", "b")


def test_promises_are_held() -> None:
    """Complete by construction, off by a little, off by much, and relevance that is lost."""
    case = toy("relu-module")

    def adding_up(by: float, of: str) -> Callable[[fs.Classifier, Tensor, Tensor], Tensor]:
        def explain(model: fs.Classifier, images: Tensor, classes: Tensor) -> Tensor:
            rows = torch.arange(len(images))
            values = model(images)[rows, classes]
            if of == "completeness":
                values = values - model(torch.zeros_like(images))[rows, classes]
            maps = images - images.mean((1, 2, 3), keepdim=True)
            share = (by * values - maps.sum((1, 2, 3))) / maps[0].numel()
            return (maps + share.view(-1, 1, 1, 1)).detach()

        return explain

    said = {
        (of, by): quick(case.model, case.images, methods={"mine": (adding_up(by, of), of)})
        .of("mine")
        for of in ("completeness", "conservation")
        for by in (1.0, 1.02, 1.5, 0.3, -2.0)
    }  # fmt: skip

    def words(of: str, by: float) -> list[str]:
        return [each for each in said[of, by].verdict.reasons if "add up" in each]

    # Their maps lie in the frame, which is another matter.
    assert "to which they should add up" not in words("completeness", 1.0)[0]
    assert "2.0" in words("completeness", 1.02)[0]
    assert "50.0" in words("completeness", 1.5)[0]
    assert "30.0" in words("conservation", 0.3)[0]
    assert "-2" in words("conservation", -2.0)[0]

    def of(promise: str, error: float, share: float, tolerance: float = 1e-4) -> str:
        seen = Evidence(4, promise=promise, error=(error,), share=(share,), tolerance=tolerance)
        return judge("m", seen, None).words

    assert of("completeness", 5e-5, 1) == "valid"
    assert of("completeness", 0.02, 1) == "partly"
    assert of("completeness", 0.02, 1, tolerance=0.03) == "valid"
    assert of("completeness", 0.2, 1) == "not valid here"
    assert of("conservation", 0.4, 0.6) == "partly"
    assert of("conservation", 0.7, 0.3) == "not valid here"
    assert of("conservation", 0.008, 1.008) == "partly"
    assert of("conservation", 1e14, 1e14) == "not valid here"
    assert of("conservation", 1.5, -0.5) == "not valid here"


def test_a_promise_is_that_of_the_method_as_it_is_used() -> None:
    """And not of the audit's short cut, which a method that is given stands for here."""
    case = toy("relu6")
    hurried = make_method("integrated-gradients", points=4)
    usual = make_method("integrated-gradients")
    found = {
        own is None: look(OfMethod(hurried, 8, None, own), bench_of(case.model, case.images))[0]
        for own in (None, usual)
    }
    assert not found[True].own
    assert judge("m", found[True], None).word == "partly"
    seen = found[False]
    assert seen.own
    assert len(seen.error) == len(seen.share) == 1
    assert seen.error[0] <= seen.tolerance
    verdict = judge("m", seen, None)
    assert verdict.word == "valid"
    assert "with its own options" in verdict.reasons[0]


def bench_of(model: fs.Classifier, images: Tensor) -> Bench:
    rows = torch.arange(len(images))
    return Bench(model, images, model(images).argmax(1), rows, 0)


@pytest.mark.parametrize("absorbs", [True, False])
def test_relevance_that_is_lost_by_far_is_none(absorbs: bool) -> None:
    for share, word in ((0.6, "partly"), (0.002, "not valid here")):
        (told,) = of_promise("conservation", [1 - share], [share], 1e-3, absorbs=absorbs)
        assert told[0] == word


def test_behind_a_softmax_one_is_told_to_explain_the_logits() -> None:
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)]
    images = torch.rand(2, 3, 8, 8)
    for head, outputs in (((), "logits"), ((nn.Softmax(1),), "probabilities")):
        model = fs.Classifier(nn.Sequential(*parts, *head), outputs=outputs)
        seen = quick(model, images, methods=["lrp"]).of("lrp").evidence
        assert seen.behind == (outputs == "probabilities")
        wanting = replace(seen, error=(0.998,), share=(0.002,), absorbs=False)
        verdict = judge("lrp", wanting, None)
        assert verdict.word == "not valid here"
        assert ("explain the logits" in verdict.reasons[0]) == seen.behind


def test_an_error_does_not_read_like_what_counts_as_none() -> None:
    ((_, words),) = of_promise("completeness", [1.05e-4], [1.0], 1.03e-4)
    assert "by 0.000105;" in words
    assert "; 0.000103 would" in words
    ((_, words),) = of_promise("completeness", [0.0, 0.01001], [1.0, 1.0], 0.01)
    assert (
        "1.001\N{NARROW NO-BREAK SPACE}% at worst; 1.000\N{NARROW NO-BREAK SPACE}% would" in words
    )


@pytest.mark.parametrize(
    ("share", "word"), [((0.3, 0.9), "lost"), ((1.0, 1.008), "gained"), ((0.9, 1.1), "changed")]
)
def test_relevance_is_lost_only_where_it_is(share: tuple[float, float], word: str) -> None:
    error = tuple(abs(1 - one) for one in share)
    ((kind, words),) = of_promise("conservation", error, share, 1e-3)
    assert kind == "partly"
    assert words.startswith(f"Relevance is {word} on the way")


class Spectrum(nn.Module):
    """Sizes of frequencies, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(torch.fft.rfft2(x[:, 0]).abs().flatten(1))
        return found


def test_a_fourier_transform_is_linear_wherever_it_is_counted() -> None:
    model = fs.Classifier(Spectrum(), channels=1, input_size=6)
    images = torch.linspace(0.1, 1, 108).view(3, 1, 6, 6).sin().abs()
    with collected():
        maps = fs.attribute(model, images, [0, 1, 2], method="lrp")
        found = quick(model, images, methods=["lrp", "deeplift"])
    assert maps.record["coverage"]["linear"]["fft_rfft2"] == 1
    assert not maps.record["coverage"]["missed"]
    assert found.non_linear == {"abs": 1}
    assert found.verdict("lrp").passed
    assert "The one operation that is not linear has a rule." in found.verdict("lrp").reasons
    # The size of a complex number is no function of one real one.
    reasons = " ".join(found.verdict("deeplift").reasons)
    assert "1 operation of 1 that is not linear has no rule" in reasons


def test_a_recurrent_layer_is_one_operation_and_said_so() -> None:
    """In the graph it may be all of its steps."""
    graph = Graph()
    graph.non_linear.update({"sigmoid": 56, "tanh": 28, "product": 109})
    missed = {"handled": {}, "linear": {}, "missed": {"gru": 1}, "unseen": {}}
    words = judge("m", Evidence(4, promise="completeness", coverage=missed), graph).reasons[0]
    assert words.startswith("1 operation that is not linear has no rule")
    assert "gru 1 (a recurrent layer counts as one, whatever it is made of)" in words


def test_operations_without_a_rule_make_it_partly_and_none_with_one_not_valid() -> None:
    graph = Graph()
    graph.non_linear.update({"relu": 3, "silu": 1})
    none = {"handled": {}, "linear": {"add": 2}, "missed": {"silu": 4}, "unseen": {}}
    some = {"handled": {"relu": 3}, "linear": {}, "missed": {"silu": 1}, "unseen": {}}
    other = {"handled": {"relu": 3}, "linear": {}, "missed": {"max_pool2d": 1}, "unseen": {}}
    whole = {"handled": {"relu": 4}, "linear": {}, "missed": {}, "unseen": {}}
    unseen = {**whole, "unseen": {"_Cubed": 1}}
    said = [
        judge("m", Evidence(4, coverage=one), graph) for one in (none, some, other, whole, unseen)
    ]
    words = [each.words for each in said]
    assert words == ["not valid here", "partly", "valid", "valid", "partly"]
    assert "1 operation of 4 that is not linear has no rule" in said[1].reasons[0]
    assert "silu 1" in said[1].reasons[0]
    assert "_Cubed 1" in said[4].reasons[0]
    promising = judge("m", Evidence(4, promise="completeness", coverage=other), graph)
    assert promising.words == "partly"


@pytest.mark.parametrize("name", UNKNOWN)
def test_the_graph_names_what_no_rule_sees(name: str) -> None:
    case = toy(name)
    with case.model.held():
        graph = walk(case.model(case.images.clone().requires_grad_()))
    assert graph.complete
    if name == "custom-function":
        assert graph.unknown == {"_Cubed": 1}
        assert graph.non_linear == {"relu": 1}
        notes = quick(case.model, case.images, methods=["gradient"]).notes
        assert any("not covered: _Cubed" in note for note in notes)
    else:
        assert sum(graph.non_linear.values()) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("reused-relu", {"relu": 2}),
        ("in-place-addition", {"relu": 5}),
        ("view-in-place", {"relu": 1}),  # what is written into a view is hidden: the mode sees it
        ("squeeze-and-excitation", {"relu": 2, "sigmoid": 1, "product": 1}),
        ("batch-norm", {"relu": 1}),
        ("instance-norm", {"relu": 1, "instance_norm": 1}),
        ("split-gate", {"product": 1}),
        ("overlapping-max-pool", {"relu": 2, "max_pool2d": 1}),
        ("transformer-layer", {"layer_norm": 2, "gelu": 1, "scaled_dot_product_attention": 1}),
        ("upsampling", {"relu": 2}),
    ],
)
def test_the_graph_counts_what_is_not_linear(name: str, expected: dict[str, int]) -> None:
    case = toy(name)
    with case.model.held():
        assert walk(case.model(case.images.clone().requires_grad_())).non_linear == expected


def test_whoever_spoils_the_network_is_named_and_the_network_stays() -> None:
    case = toy("batch-norm")
    before = case.model.fingerprint()

    def spoils(model: fs.Classifier, images: Tensor, classes: Tensor) -> Tensor:
        with torch.no_grad():
            next(model.module.parameters()).mul_(1.5)
        model.module.register_forward_hook(lambda *_: None)
        model.module.extra = 1
        return images

    found = quick(case.model, case.images, methods={"spoils": spoils}).verdict("spoils")
    assert found.word == "not valid here"
    assert found.reasons[0].startswith("It changes the network")
    assert "weights or buffers, hooks, attributes" in found.reasons[0]
    assert case.model.fingerprint() == before
    fs.audit(case.model, case.images, methods={"spoils": spoils})  # is not asked for more maps
    assert case.model.fingerprint() == before
    assert not case.model.module._forward_hooks


def test_a_method_that_refuses_says_why_and_the_others_go_on() -> None:
    case = toy("gelu")

    def refuses(model: fs.Classifier, images: Tensor, classes: Tensor) -> Tensor:
        raise RuntimeError("no")

    honest = mutant(lambda maps: maps, "gradient")
    found = quick(case.model, case.images, methods={"refuses": refuses, "honest": honest})
    assert found.verdict("refuses").words == "not valid here"
    assert "raised RuntimeError: no" in found.verdict("refuses").reasons[0]
    assert found.verdict("honest").passed


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"methods": ["gradeint"]}, "did you mean gradient"),
        ({"methods": []}, "expected one or more"),
        ({"methods": ["gradient", "gradient"]}, "each once"),
        ({"methods": {"mine": 3}}, "names of methods"),
        ({"methods": {"mine": (print, "truth")}}, "promises 'truth'"),
        ({"numbers": torch.tensor([1])}, "one each"),
        ({"classes": 9}, "9"),
    ],
)
def test_mistakes_are_one_sentence(given: dict[str, object], words: str) -> None:
    case = toy("gelu")
    with pytest.raises(fs.FluoroscopeError, match=words):
        quick(case.model, case.images, **given)


def test_all_of_our_methods_by_default() -> None:
    with mock.patch.object(auditing, "look", return_value=(Evidence(3), None)):
        case = toy("gelu")
        assert quick(case.model, case.images).methods == tuple(METHODS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[fs.Audit, Path]:
    case = toy("gelu")
    out = tmp_path_factory.mktemp("audit")
    return fs.audit(case.model, case.images, methods=CHEAP, out=out), out


def test_a_second_audit_takes_what_is_there(whole: tuple[fs.Audit, Path]) -> None:
    case, (first, out) = toy("gelu"), whole
    with (
        mock.patch.object(auditing, "look", side_effect=AssertionError),
        mock.patch.object(auditing, "likeness", side_effect=AssertionError),
        mock.patch.object(auditing.Faithfulness, "scores", side_effect=AssertionError),
    ):
        again = fs.audit(case.model, case.images, methods=CHEAP, out=out)
    assert again.describe() == first.describe()
    assert first.complete


@pytest.mark.parametrize("what", ["network", "pictures", "seed", "harm"])
def test_parts_of_something_else_are_not_taken(
    what: str, whole: tuple[fs.Audit, Path], tmp_path: Path
) -> None:
    case, images, seed = toy("gelu"), toy("gelu").images, 0
    for file in whole[1].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    if what == "network":
        case = toy("gelu-tanh")
    elif what == "pictures":
        images = images.flip(-1)
    elif what == "seed":
        seed = 1
    else:
        file = tmp_path / "look-gradient.part"
        file.write_bytes(file.read_bytes()[:-3] + b"\1\2\3")
    with mock.patch.object(auditing, "look", wraps=auditing.look) as looked:
        quick(case.model, images, methods=CHEAP, seed=seed, out=tmp_path)
    assert looked.call_count == (1 if what == "harm" else 2)


class _Back(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor, slope: float) -> Tensor:
        ctx.slope = slope  # type: ignore[attr-defined]
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: object, *above: Tensor) -> tuple[Tensor, None]:
        return ctx.slope * above[0], None  # type: ignore[attr-defined]


class _Coded(nn.Module):
    """A network whose weights say nothing of what its code does."""

    def __init__(self, code: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.last, self.code = nn.Conv2d(1, 4, 3), nn.Linear(4, 3), code

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.code(self.conv(x)).mean((2, 3)))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (torch.relu, lambda x: _Back.apply(x, -3.0)),
        (lambda x: _Back.apply(x, 1.0), lambda x: _Back.apply(x, 1.02)),
        (torch.sin, torch.sigmoid),
    ],
    ids=["way back", "a little", "way there"],
)
def test_other_code_on_the_same_weights_is_another_network(
    before: Change, after: Change, tmp_path: Path
) -> None:
    one, other = fs.Classifier(_Coded(before)), fs.Classifier(_Coded(after))
    assert one.fingerprint() == other.fingerprint()
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    first = quick(one, images, methods=CHEAP, out=tmp_path)
    with mock.patch.object(auditing, "look", wraps=auditing.look) as looked:
        quick(one, images, methods=CHEAP, out=tmp_path, batch_size=1)
        assert not looked.called
        quick(other, images, methods=CHEAP, out=tmp_path)
        assert looked.call_count == 2
    assert fs.attribute(one, images[:1, :, 2:], audit=first).verdict
    with pytest.raises(fs.FluoroscopeError, match="other weights or code"):
        fs.attribute(other, images, audit=first)


def test_stopped_it_goes_on_to_the_same_end(whole: tuple[fs.Audit, Path], tmp_path: Path) -> None:
    case, calls = toy("gelu"), 0

    def soon() -> bool:
        nonlocal calls
        calls += 1
        return calls > 25

    options = {"methods": CHEAP, "out": tmp_path}
    stopped = fs.audit(case.model, case.images, cancelled=soon, **options)  # type: ignore[arg-type]
    assert not stopped.complete
    assert any("stopped" in note for note in stopped.notes)
    kept = len([*tmp_path.glob("*.part")])
    assert 0 < kept < len([*whole[1].glob("*.part")])
    shares: list[float] = []
    ended = fs.audit(
        case.model, case.images, on_progress=lambda now: shares.append(now.share), **options
    )  # type: ignore[arg-type]
    assert ended.describe() == whole[0].describe()
    assert shares == sorted(shares)
    assert 0 <= shares[0] < shares[-1] <= 1


def test_stopped_in_the_middle_it_says_nothing_of_metrics() -> None:
    case, at = toy("gelu"), ""

    def now(progress: Progress) -> None:
        nonlocal at
        at = progress.words

    found = fs.audit(
        case.model, case.images, methods=["gradient", "deeplift"], randomisation=False,
        on_progress=now, cancelled=lambda: at == "deeplift: scores",
    )  # fmt: skip
    assert not found.complete
    assert found.controls
    assert found.telling == {}
    assert found.informative == ()
    assert any("1 of 2 methods" in note for note in found.notes)


def test_on_a_constant_network_there_is_nothing_to_explain() -> None:
    case = toy("relu-module")
    module = copy.deepcopy(case.model.module)
    last = [part for part in module.modules() if isinstance(part, nn.Linear)][-1]
    nn.init.zeros_(last.weight)
    found = quick(fs.Classifier(module), case.images, methods=["gradient", "eigen-cam", "rise"])
    for row in found.rows:
        assert row.verdict.word == "not valid here"
        assert any("Nothing depends on the picture" in one for one in row.verdict.reasons)
        assert not any("pictures beside" in one for one in row.verdict.reasons)


def test_a_saturated_softmax_is_said() -> None:
    case = toy("relu-module")
    module = copy.deepcopy(case.model.module)
    last = [part for part in module.modules() if isinstance(part, nn.Linear)][-1]
    with torch.no_grad():
        last.weight *= 1e5
    for network, there in ((case.model.module, False), (module, True)):
        found = quick(fs.Classifier(network), case.images, methods=["gradient"])
        assert any("saturated" in note for note in found.notes) == there


def test_it_comes_back_from_disk(whole: tuple[fs.Audit, Path], tmp_path: Path) -> None:
    path = whole[0].save(tmp_path)
    for place in (path, tmp_path):
        again = fs.Audit.load(place)
        assert again.describe() == whole[0].describe()
        assert repr(again) == repr(whole[0])
    text = path.read_text()
    path.write_text(text.replace('"format": 2', '"format": 1', 1))
    with pytest.raises(fs.FluoroscopeError, match=r"has format 1 and .* knows 2; make the audit"):
        fs.Audit.load(path)
    path.write_text(text.replace('"valid"', '"splendid"', 1))
    with pytest.raises(fs.FluoroscopeError, match="cannot be read"):
        fs.Audit.load(path)
    with pytest.raises(fs.FluoroscopeError, match="cannot be read"):
        fs.Audit.load(tmp_path / "nothing")


def test_an_attribution_carries_the_verdict_of_its_network(whole: tuple[fs.Audit, Path]) -> None:
    case = toy("gelu")
    found = fs.attribute(case.model, case.images, audit=whole[0])
    assert found.verdict is not None
    assert found.verdict["verdict"] == "valid"
    other = toy("gelu-tanh")
    with pytest.raises(fs.FluoroscopeError, match="audit is of another network"):
        fs.attribute(other.model, other.images, audit=whole[0])


def test_scores_and_controls_stand_side_by_side(whole: tuple[fs.Audit, Path]) -> None:
    found = whole[0]
    assert found.controls.keys() == {"random", "edges", "centre", "picture"}
    for scores in [found.of(name).scores for name in CHEAP] + [*found.controls.values()]:
        assert scores.keys() == {"srg", "insertion", "deletion", "road"}
        srg, insertion, deletion = (scores[name].mean for name in ("srg", "insertion", "deletion"))
        assert srg == pytest.approx(insertion - deletion)
        assert all(one.low <= one.mean <= one.high for one in scores.values())
    assert found.telling.keys() == {"srg", "insertion", "deletion", "road"}


@pytest.mark.parametrize(
    ("name", "guided", "deeplift", "lrp"),
    [
        ("relu-module", "valid", "valid", "not valid here"),
        ("relu-function", "the same map as gradient", "not valid here", "not valid here"),
        ("squeeze-and-excitation", "partly", "not valid here", "not valid here"),
    ],
)
def test_captums_maps_are_audited_like_ours(
    name: str, guided: str, deeplift: str, lrp: str
) -> None:
    pytest.importorskip("captum")
    case = toy(name)
    peers = ("captum:guided-backprop", "captum:deep-lift", "captum:lrp")
    with collected():
        found = quick(case.model, case.images, methods=[*CHEAP, *peers])
    assert [found.verdict(peer).words for peer in peers] == [guided, deeplift, lrp]


def test_a_method_is_held_against_controls_of_the_same_pictures() -> None:
    scores = {"srg": torch.tensor([0.1, 0.3]), "deletion": torch.tensor([0.4, 0.5])}
    controls = {
        "edges": {"srg": torch.tensor([0.1, 0.1, 0.9, 0.9]), "deletion": torch.tensor([0.5] * 4)},
        "centre": {"srg": torch.tensor([0.3, 0.3, 0.0, 0.0]), "deletion": torch.tensor([0.3] * 4)},
    }
    assert rivals(scores, controls) == {"srg": "centre", "deletion": "centre"}
    assert rivals({"srg": torch.tensor([0.4, 0.3])}, controls) == {}
    assert rivals(scores, {}) == {}
