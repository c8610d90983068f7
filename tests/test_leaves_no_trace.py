"""Every public function leaves the network as it was. A new one without a line here fails."""

import copy
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import fluoroscope as fs
from fluoroscope.attacks import registry
from fluoroscope.attribution import names as attribution_names
from fluoroscope.evaluation.plan import Plan, Stage
from fluoroscope.inversion.portraits.objectives.units import channel, feature_match
from fluoroscope.inversion.portraits.priors.statistics import (
    batch_norm_statistics,
    layer_statistics,
)
from fluoroscope.inversion.portraits.priors.vital import sorted_values
from fluoroscope.inversion.portraits.recipe import Weighted
from fluoroscope.models.invertible.backwards import latents_of, pictures_of
from fluoroscope.models.invertible.network import InvertibleNetwork, Shape

TWO = torch.linspace(0, 1, 72).view(2, 1, 6, 6)  # drawn numbers would move the random state
ONE = TWO[:1]
GUIDES = torch.linspace(-3, 3, 360).view(10, 1, 6, 6).sin().abs()  # predicted as several classes


def call_with_colour(model: fs.Classifier) -> None:
    with pytest.raises(fs.FluoroscopeError):
        model(TWO.repeat(1, 3, 1, 1))


def other_network() -> fs.Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3))
    return fs.Classifier(layers, channels=1, input_size=6)


def labelled(model: fs.Classifier) -> tuple[torch.Tensor, torch.Tensor]:
    """The network's own answers on GUIDES but for one, and two classes among them."""
    labels = model(GUIDES).argmax(1).detach()
    labels[0] = (labels[0] + 1) % model.num_classes
    return labels, labels[1:3]


def masks(root: Path) -> Path:
    (root / "masks" / "bright").mkdir(parents=True)
    for number, one in enumerate(GUIDES):
        Image.fromarray(one[0].numpy() > 0.5).save(root / "masks" / "bright" / f"{number}.png")
    return root / "masks"


def labelled_and_led(model: fs.Classifier, out: Path) -> tuple[fs.ImageSet, fs.ImageSet]:
    """Pictures that the network classifies correctly, and some of them led to all other classes."""
    images = torch.rand(60, 1, 6, 6, generator=torch.Generator().manual_seed(3))
    data = fs.load_images(images, labels=model(images).argmax(1))
    attack = fs.attack("ensemble-optimisation", step_size=0.2, weight=0.0)
    return data, fs.neurons.adversarial_set(
        model, data.take(20, first=True), out=out / "set", attack=attack
    )


def kept_and_drawn(found: fs.Portraits, model: fs.Classifier, out: Path) -> None:
    found.save(out)
    with pytest.raises(fs.FluoroscopeError):  # the network itself
        found.judged_by(model)
    found.draw(out, transparent=True)


def never_trained(model: fs.Classifier, out: Path) -> None:
    data = fs.load_images(TWO, labels=[0, 5], channels=1)
    with pytest.raises(fs.FluoroscopeError):
        fs.training.TrainingRun(model, data, out=out)


def short_plan() -> Plan:
    names = ("fgsm", "pgd")
    return Plan("short", tuple(Stage(each, fs.attack(each, eps=0.1)) for each in names))


ATTACKS: dict[str, dict[str, Any]] = {
    "fgsm": {},
    "rfgsm": {},
    "bim": {"steps": 2},
    "pgd": {"steps": 2},
    "apgd": {"steps": 2},
    "apgd-t": {"steps": 2},
    "cr": {"targets": 1, "steps": 2},
    "feature-adversary": {"steps": 2, "layer": "body.2", "guides": GUIDES},
    "deepfool": {"steps": 2},
    "l-bfgs": {"steps": 3, "searches": 2},
    "cw": {"steps": 2, "searches": 2},
    "cw-linf": {"steps": 2, "largest_c": 1e-4},
    "cw-l0": {"steps": 2, "largest_c": 0.01, "eps": 3},
    "ead": {"steps": 2, "searches": 2},
    "ddn": {"steps": 2},
    "latent": {"steps": 2},
    "fab": {"steps": 2},
    "fab-t": {"steps": 2},
    "one-pixel": {"eps": 1, "population": 4, "generations": 1},
    "sparse-rs": {"eps": 2, "queries": 3},
    "ghost-fgsm": {"steps": 2},
    "fmn": {"steps": 2},
    "jsma": {"eps": 2},
    "sparsefool": {"eps": 2, "steps": 2},
    "mi-fgsm": {"steps": 2},
    "ni-fgsm": {"steps": 2},
    "vmi-fgsm": {"steps": 2, "neighbours": 2},
    "di-fgsm": {"steps": 2},
    "ti-fgsm": {"steps": 2},
    "si-fgsm": {"steps": 2},
    "admix": {"steps": 2, "pool": TWO, "mixtures": 1},
    "square": {"queries": 3},
    "nes": {"samples": 2, "queries": 6},
    "spsa": {"samples": 2, "queries": 6},
    "simba": {"queries": 3},
    "zoo": {"searches": 2, "steps": 2, "coordinates": 2},
    "boundary": {"queries": 3},
    "hopskipjump": {"queries": 3},
    "geoda": {"queries": 3},
    "rotation-translation": {"eps": None, "angles": 2, "moves": 2},
    "stadv": {"eps": None, "steps": 2},
    "ensemble-optimisation": {"eps": None, "steps": 2},
    "universal": {"epochs": 2},
    "patch": {"eps": None, "epochs": 2, "places": 2},
}
ATTRIBUTIONS: dict[str, dict[str, Any]] = {
    "gradient": {},
    "gradient-x-input": {},
    "guided-backprop": {},
    "deconvolution": {},
    "smoothgrad": {"samples": 2},
    "smoothgrad-squared": {"samples": 2},
    "vargrad": {"samples": 2},
    "occlusion": {"window": 3},
    "feature-ablation": {"parts": 3, "baseline": "mean"},
    "rise": {"samples": 3, "grid": 2},
    "integrated-gradients": {"points": 2, "baseline": "blur"},
    "expected-gradients": {"samples": 3, "baseline": TWO},
    "grad-cam": {},
    "grad-cam++": {},
    "hires-cam": {},
    "layer-cam": {},
    "eigen-cam": {},
    "score-cam": {"channels": 2},
    "deeplift": {},
    "lrp": {"composite": "epsilon-gamma-box"},
}
CALLS: dict[str, Callable[[fs.Classifier, Path], object]] = {
    "attribute": lambda m, _: [
        fs.attribute(m, TWO, [0, 1], method=name, **options)
        for name, options in ATTRIBUTIONS.items()
    ],
    "audit": lambda m, out: fs.audit(
        m, GUIDES, methods=[*ATTRIBUTIONS][:3], out=out / "audit"
    ).save(out),
    "attack": lambda m, out: [
        fs.attack(name, **({"eps": 0.1} | options))(m, TWO, [0, 1], keep="best").save(out)
        for name, options in ATTACKS.items()
        if name != "latent"
    ],
    "corruption_accuracy": lambda m, _: fs.corruption_accuracy(m, TWO, torch.tensor([0, 1])),
    "check_gradient": lambda m, _: fs.check_gradient(m, ONE, 0, pixels=5),
    "class_map": lambda m, out: fs.class_map(
        m, GUIDES, m(GUIDES).argmax(1), pictures=1, targets=1
    ).save(out),
    "describe_model": lambda m, _: fs.describe_model(m),
    "evaluate": lambda m, out: fs.evaluate(
        m, TWO, torch.tensor([0, 1]), threat="linf:0.1", plan=short_plan(), out=out
    ),
    "fgsm": lambda m, _: fs.fgsm(m, TWO, [0, 1], 0.1),
    "finite_difference_gradient": lambda m, _: fs.finite_difference_gradient(
        m, ONE, 0, pixels=torch.tensor([3])
    ),
    "input_gradient": lambda m, _: fs.input_gradient(m, TWO, [0, 1]),
    "invert": lambda m, out: fs.invert(
        m, steps=2, batch_size=8, features=8, cosine=1, noisy_kl=1, checkpoint=out / "kept"
    ).save(out),
    "is_random": lambda m, _: fs.is_random(m, TWO),
    "load_model": lambda m, _: [fs.load_model(m), fs.load_model(m.module, channels=1)],
    "morph": lambda m, out: fs.morph(m, "noise", to=1, steps=2).save(out),
    "morph_stream": lambda m, _: next(iter(fs.morph_stream(m, "noise", to=1))),
    "prepare": lambda m, _: fs.prepare(m)(TWO),
    "planted_examples": lambda m, _: fs.planted_examples(
        m, TWO, m(TWO).argmax(1), threat="linf:0.1", plan=short_plan(), pictures=2
    ),
    "portrait": lambda m, out: kept_and_drawn(
        fs.portrait(m, [0, 2], method="pixels", steps=2, against=True, frames=2), m, out
    ),
    "predict": lambda m, _: fs.predict(m, TWO),
    "transfer_matrix": lambda m, _: fs.transfer_matrix(
        [m, m], TWO, fs.attack("mi-fgsm", eps=0.1, steps=2), torch.tensor([0, 1])
    ),
    "xray": lambda m, out: fs.xray(
        m, GUIDES, m(GUIDES).argmax(1), threat="linf:0.1", sections=["clean", "gradients", "next"]
    ).save(out / "report.html"),
}
INVERSION: dict[str, Callable[[fs.Classifier], object]] = {
    "assess": lambda m: fs.inversion.assess(
        m, GUIDES, [0, 1] * 5, second=other_network(), layer="0",
        real=(GUIDES.flip(3), [0, 1] * 5), train=(GUIDES.flip(2), [0, 1] * 5),
        again=lambda twin: GUIDES + 0 * twin(GUIDES).sum(), seeds=[GUIDES],
    ),
    "counterfeits": lambda m: fs.inversion.counterfeits(
        m, GUIDES, *labelled(m), second=other_network()
    ),
    "fit_perturbation": lambda m: fs.inversion.fit_perturbation(
        m, GUIDES, [0, 1] * 5, threat="linf:0.1", steps=2, width=4,
    )(m, TWO, [0, 1], targeted=True),
    "unrestricted": lambda m: fs.inversion.unrestricted(
        m, fs.invert(m, steps=1, batch_size=4, features=4), other_network(), n=1, real=GUIDES
    ),
    "fit_prior": lambda m: fs.inversion.fit_prior(GUIDES, m, layers="stages"),
    "judges": lambda m: fs.inversion.Judges(m, real=GUIDES, second=other_network()).certify(
        TWO, torch.tensor([0, 1])
    ),
    "preflight": lambda m: fs.inversion.preflight(m, GUIDES),
    "goals and priors": lambda m: fs.portrait(
        m, None, goal=feature_match(m, "body.2", ONE) + channel("body.2", 1), method="pixels",
        steps=2, priors=[
            Weighted(prior) for prior in (
                batch_norm_statistics(m), layer_statistics(m, GUIDES), sorted_values(m, GUIDES)
            )
        ],
    ),
    "detection": lambda m: fs.inversion.detection(m, (TWO, [0, 1]), {"elsewhere": TWO.flip(2)}),
}  # fmt: skip
NEURONS: dict[str, Callable[[fs.Classifier, Path], object]] = {
    "unit_relevance": lambda m, _: [
        fs.neurons.unit_relevance(m, TWO, None, "body.1", way=way)
        for way in ("lrp", "activation-x-gradient")
    ],
    "relevance": lambda m, _: fs.neurons.relevance(m, TWO, 1, "body.1"),
    "relevance_map": lambda m, _: fs.neurons.relevance_map(m, TWO, None, "body.1", 2),
    "top_pictures": lambda m, out: [
        fs.neurons.top_pictures((m, GUIDES, "body.1"), units, 2, by, out=out)
        for units, by in ((None, "activation"), (1, "relevance"))
    ],
    "read": lambda m, out: [
        fs.neurons.read(m, (TWO, [0, 1]), out=out, batch_size=1),
        fs.neurons.Activations.open(out, m, fs.load_images(TWO)),
        fs.neurons.read(m, TWO, "body.1", reduction="max").save(out / "again"),
    ],
    "read_layers": lambda m, _: fs.neurons.read_layers(m, TWO, ["body.0", "body.2"]),
    "find_units": lambda m, _: fs.neurons.find_units(m, "head"),
    "list_units": lambda m, _: fs.neurons.list_units(m),
    "usual_layer": lambda m, _: fs.neurons.usual_layer(m),
    "unit_statistics": lambda m, _: fs.neurons.unit_statistics(
        fs.neurons.read(m, GUIDES, "body.1")
    ),
    "dissect": lambda m, out: fs.neurons.dissect(
        m, fs.load_images(GUIDES, labels=[0, 1] * 5, channels=1), masks(out), "body.1"
    ),
    "name_units": lambda m, _: fs.neurons.name_units(
        fs.neurons.read(m, GUIDES, "body.1"), m(GUIDES).detach().softmax(1).numpy(), "abc", draws=3
    ),
    "receptive_field": lambda m, _: fs.neurons.receptive_field(m, "body.1", 2, images=TWO),
    "trace": lambda m, _: fs.neurons.trace(m, ONE, layer="body.1", put="mean", pictures=TWO),
    "detect": lambda m, out: fs.neurons.detect(
        m, *labelled_and_led(m, out), "body.1", neighbours=1, steps=2
    ),
    "adversarial_set": lambda m, out: fs.neurons.adversarial_set(
        [m, other_network()],
        (TWO, [0, 1]),
        out=out,
        targets=2,
        attack=fs.attack("ensemble-optimisation", steps=2),
    ),
    "class_similarity": lambda m, _: fs.neurons.class_similarity("weights", model=m),
    "with_noise": lambda m, _: fs.neurons.with_noise(m, fs.load_images(TWO, channels=1))[1],
    "consistency": lambda m, _: fs.neurons.consistency(
        fs.neurons.read(m, (TWO, [0, 1]), "body"),
        fs.neurons.read(
            m,
            fs.load_images(
                TWO, labels=[0, 1], channels=1, columns={"target": [1, 0], "source": [0, 1]}
            ),
            "body",
        ),
        model=m,
        draws=2,
    ),
    "turned": lambda m, _: fs.neurons.turned(m, ONE, ONE.flip(2), layer="body.1"),
    "along": lambda m, _: fs.neurons.along(m, TWO, layer="body.1"),
}
DEPTH: dict[str, Callable[[nn.Module, fs.depth.Scenes], object]] = {
    "depth_errors": fs.depth.depth_errors,
    "depth_selectivity": fs.depth.depth_selectivity,
    "ablate": fs.depth.ablate,
    "diagnose": fs.depth.diagnose,
    "sheet": lambda network, scenes: fs.depth.sheet(
        network, scenes, fs.depth.depth_selectivity(network, scenes)
    ),
}
TRAINING: dict[str, Callable[[fs.Classifier, Path], object]] = {
    "accuracy": lambda m, _: fs.training.accuracy(m.module, TWO, torch.tensor([0, 1])),
    "before the first step": lambda m, out: fs.training.TrainingRun(
        m,
        fs.load_images(TWO.repeat(4, 1, 1, 1), labels=[0, 1] * 4, channels=1),
        out=out,
        adversarial="pgd",
        eps=0.1,
    ),
    "refused": lambda m, out: never_trained(m, out),
}
METHODS: dict[str, Callable[[fs.Classifier], object]] = {
    "__call__": lambda m: m(TWO),
    "to": lambda m: m.to(dtype=torch.float64)(ONE.double()),
    "num_classes": lambda m: m.num_classes,
    "labels": lambda m: m.labels,
    "fingerprint": lambda m: m.fingerprint(),
    "failing": call_with_colour,
}
WITHOUT_A_NETWORK = {
    "compare_reports", "compare_runs", "list_models", "load_images", "open_image", "read_run",
    "runs_table", "show", "showing",
}  # fmt: skip


class Network(nn.Module):
    """In training mode in places, with everything that a careless call would change."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)
        )
        self.head = nn.Linear(4 * 36, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).flatten(1))


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    network = Network()
    network(torch.rand(8, 1, 6, 6)).sum().backward()
    network.body[0].weight.requires_grad_(False)
    network.body[3].eval()
    network.head.register_forward_hook(lambda *_: None)
    network.register_full_backward_hook(lambda *_: None)
    return network


def snapshot(module: nn.Module) -> dict[str, object]:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "modes": [part.training for part in module.modules()],
        "trainable": [weight.requires_grad for weight in module.parameters()],
        "identities": [id(weight) for weight in module.parameters()],
        "versions": [weight._version for weight in module.parameters()],
        "gradients": [None if w.grad is None else w.grad.clone() for w in module.parameters()],
        "state": copy.deepcopy(module.state_dict()),
        "hooks": [[list(getattr(part, name)) for name in hooks] for part in module.modules()],
        "attributes": [sorted(vars(part)) for part in module.modules()],
        "random": torch.get_rng_state(),
        "threads": torch.get_num_threads(),
        "grad mode": torch.is_grad_enabled(),
    }


def assert_same(before: object, after: object) -> None:
    if isinstance(before, torch.Tensor):
        assert torch.equal(before, after)
    elif isinstance(before, dict):
        assert before.keys() == after.keys()
        for key in before:
            assert_same(before[key], after[key])
    elif isinstance(before, list):
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            assert_same(one, other)
    else:
        assert before == after


@pytest.mark.parametrize("name", CALLS)
def test_public_functions(name: str, module: nn.Module, tmp_path: Path) -> None:
    model = fs.Classifier(module, channels=1, input_size=6)
    before = snapshot(module)
    CALLS[name](model, tmp_path)
    assert_same(before, snapshot(module))


@pytest.mark.parametrize("name", INVERSION)
def test_what_pictures_of_classes_are_worth(name: str, module: nn.Module) -> None:
    model = fs.Classifier(module, channels=1, input_size=6)
    before = snapshot(module)
    INVERSION[name](model)
    assert_same(before, snapshot(module))


@pytest.mark.parametrize("name", NEURONS)
def test_what_looks_at_units(name: str, module: nn.Module, tmp_path: Path) -> None:
    model = fs.Classifier(module, channels=1, input_size=6)
    before = snapshot(module)
    NEURONS[name](model, tmp_path)
    assert_same(before, snapshot(module))


@pytest.mark.parametrize("name", TRAINING)
def test_what_trains_but_has_not_begun(name: str, module: nn.Module, tmp_path: Path) -> None:
    model = fs.Classifier(module, channels=1, input_size=6)
    before = snapshot(module)
    TRAINING[name](model, tmp_path)
    assert_same(before, snapshot(module))


@pytest.mark.parametrize("name", DEPTH)
def test_what_looks_at_depth(name: str) -> None:
    network, scenes = fs.depth.build_network(4, 2), fs.depth.render_scenes(2, size=(8, 8))
    network(scenes.images / 255).sum().backward()
    network.head.bias.requires_grad_(False)
    network.middle.eval()
    network.middle.register_forward_hook(lambda *_: None)
    before = snapshot(network)
    DEPTH[name](network, scenes)
    assert_same(before, snapshot(network))


@pytest.mark.parametrize("name", METHODS)
def test_methods_of_the_classifier(name: str, module: nn.Module) -> None:
    model = fs.Classifier(module, channels=1, input_size=6)
    before = snapshot(module)
    METHODS[name](model)
    assert_same(before, snapshot(module))


INVERTIBLE: dict[str, Callable[[fs.Classifier], object]] = {
    "latent attack": lambda m: fs.attack("latent", **ATTACKS["latent"])(m, TWO, [0, 1]),
    "read_latent": lambda m: fs.invertible.read_latent(m, TWO[0], TWO[1]),
    "latents and pictures": lambda m: pictures_of(m, latents_of(m, TWO)),
}


@pytest.mark.parametrize("name", INVERTIBLE)
def test_what_needs_an_inverse(name: str) -> None:
    torch.manual_seed(0)
    module = InvertibleNetwork(Shape(1, 6, 6, 3, scales=1, blocks=2, hidden=4)).train()
    module(TWO).sum().backward()
    module.head.weight.requires_grad_(False)
    module.scales[0][1].eval()
    before = snapshot(module)
    INVERTIBLE[name](fs.Classifier(module))
    assert_same(before, snapshot(module))


def test_every_public_function_is_covered() -> None:
    public = {name for name in fs.__all__ if inspect.isfunction(getattr(fs, name))}
    assert public == CALLS.keys() | WITHOUT_A_NETWORK


def test_every_attack_is_covered() -> None:
    assert ATTACKS.keys() == registry.ATTACKS.keys()


def test_public_names_are_the_declared_ones() -> None:
    assert set(fs.__all__) == set(fs._ROOMS) | set(fs._HOMES)


def test_every_attribution_method_is_covered() -> None:
    assert ATTRIBUTIONS.keys() == attribution_names.METHODS.keys()
