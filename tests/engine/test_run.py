"""What a search run to its end keeps, counts and says."""

import platform
import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine import memory
from fluoroscope.engine.predict import logits_of
from fluoroscope.engine.stream import Step

SHAPE = (1, 6, 6)


class Small(nn.Module):
    """Convolutions, so that a batch's shape and neighbours could change the rounding."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()
        )
        self.head = nn.Linear(128, 4)

    def forward(self, x: Tensor) -> Tensor:
        return 5 * self.head(self.body(x).flatten(1))


MODEL = fs.Classifier(Small(), channels=1, input_size=6)
PICTURES = torch.rand(24, *SHAPE, generator=torch.Generator().manual_seed(1))
CLASSES = MODEL(PICTURES).argmax(1)


def pgd(eps: float = 0.1, steps: int = 8, norm: str = "linf") -> Any:
    return fs.attack("pgd", eps=eps, norm=norm, steps=steps)


def same(one: fs.AttackResult, other: fs.AttackResult, rows: Any = slice(None)) -> None:
    for field in fields(one):
        value = getattr(one, field.name)
        if isinstance(value, Tensor):
            assert torch.equal(value[rows], getattr(other, field.name)), field.name


@settings(max_examples=20)
@given(
    name=st.sampled_from(["pgd", "bim", "fgsm", "apgd", "apgd-t", "square"]),
    norm=st.sampled_from(["linf", "l2"]),
    eps=st.floats(0.001, 0.5),
    keep=st.sampled_from(["first", "best", "nearest", "last"]),
    grid=st.sampled_from([None, 8]),
    targeted=st.booleans(),
)
def test_in_the_ball_in_the_box_and_unfooled_ones_untouched(
    name: str, norm: str, eps: float, keep: Any, grid: int | None, targeted: bool
) -> None:
    long = {"queries": 6} if name == "square" else {} if name == "fgsm" else {"steps": 4}
    attack = fs.attack(name, eps=eps, norm=norm, **long)
    pictures = (PICTURES[:6] * 255).round() / 255
    classes = (CLASSES[:6] + 1) % 4 if targeted else CLASSES[:6]
    result = attack(MODEL, pictures, classes, targeted=targeted, keep=keep, grid=grid)
    threat = fs.Linf(eps) if norm == "linf" else fs.L2(eps)
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    assert threat.allows(result.images, pictures).all()
    read = MODEL(result.images).argmax(1)
    assert torch.equal(read == classes, result.success if targeted else ~result.success)
    if keep in ("first", "nearest"):
        assert torch.equal(result.images[~result.success], pictures[~result.success])
    if grid:
        saved = (result.images * 255).round().to(torch.uint8)
        assert torch.equal(saved.float() / 255, result.images)
    same(result, attack(MODEL, pictures, classes, targeted=targeted, keep=keep, grid=grid))


@pytest.mark.parametrize("keep", ["first", "best"])
@pytest.mark.parametrize("name", ["pgd", "apgd", "square"])
def test_exact_results_do_not_know_their_neighbours_slot_or_order(name: str, keep: Any) -> None:
    parameters: dict[str, Any] = {"queries": 12} if name == "square" else {"steps": 10}
    attack = fs.attack(name, eps=0.05, **parameters)
    how: dict[str, Any] = {"batch_size": 8, "exact": True, "keep": keep, "seed": 3}
    together = attack(MODEL, PICTURES, CLASSES, **how)
    for first, count in ((0, 3), (5, 8), (9, 15)):
        rows = slice(first, first + count)
        part = attack(MODEL, PICTURES[rows], CLASSES[rows], numbers=torch.arange(24)[rows], **how)
        same(together, part, rows)


@pytest.mark.parametrize(("batch_size", "shape"), [(1, 1), (5, 16), (16, 16), (17, 32)])
def test_exact_batches_are_of_whole_blocks(batch_size: int, shape: int) -> None:
    """Processors round the rows of a block's rest otherwise, and which those are is the slot's."""
    sizes = set()

    class Watched(Small):
        def forward(self, x: Tensor) -> Tensor:
            sizes.add(len(x))
            return super().forward(x)

    model = fs.Classifier(Watched(), channels=1, input_size=6)
    fs.predict(model, PICTURES[:7])  # the first look is behind it
    sizes.clear()
    pgd(0.05)(model, PICTURES[:7], CLASSES[:7], batch_size=batch_size, exact=True)
    assert sizes == {shape}


def test_at_another_batch_size_the_same_up_to_rounding() -> None:
    attack = pgd(0.05)
    results = [attack(MODEL, PICTURES, CLASSES, batch_size=size) for size in (1, 5, 24)]
    assert 0 < results[0].success.sum() < 24
    for other in results[1:]:
        assert torch.equal(results[0].success, other.success)
        torch.testing.assert_close(results[0].images, other.images, atol=1e-4, rtol=0)
        assert torch.equal(results[0].forwards, other.forwards)


def test_chance_is_neither_the_global_generators_nor_the_neighbours() -> None:
    attack = pgd(0.05)
    torch.manual_seed(1)
    one = attack(MODEL, PICTURES, CLASSES)
    torch.manual_seed(2)
    same(one, attack(MODEL, PICTURES, CLASSES))
    other = attack(MODEL, PICTURES, CLASSES, seed=1)
    assert not torch.equal(one.images, other.images)


def test_restarts_find_more_and_begin_elsewhere() -> None:
    starts: list[Tensor] = []

    def note(step: Step) -> None:
        starts.extend(step.images[step.numbers == 0])

    attack = fs.attack("pgd", eps=0.02, steps=1, step_size=0)
    attack(MODEL, PICTURES[:1], CLASSES[:1], restarts=4, keep="last", on_step=note)
    assert len(torch.stack(starts).unique(dim=0)) == len(starts) == 4


def test_a_budget_or_a_cancellation_leaves_what_was_found() -> None:
    whole = pgd(0.05)(MODEL, PICTURES, CLASSES)
    assert whole.finished.all()
    cut = pgd(0.05)(MODEL, PICTURES, CLASSES, budget=fs.Budget(forwards=2))
    assert (cut.forwards <= 3).all()  # the clean look is not the search's
    assert torch.equal(cut.finished, cut.success)
    assert not cut.finished.all()

    calls = []

    def cancelled() -> bool:
        calls.append(1)
        return len(calls) == 2

    left = pgd(0.05)(MODEL, PICTURES, CLASSES, batch_size=4, cancelled=cancelled)
    assert len(calls) == 2
    assert not left.finished[8:].any()
    assert torch.equal(left.images[8:], PICTURES[8:])
    assert left.forwards[8:].tolist() == [1] * 16
    none = pgd(0.05)(MODEL, PICTURES, CLASSES, budget=fs.Budget(seconds=1e-9))
    assert not none.finished.any()


class Greedy(Small):
    """Has memory for a few images only."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(x)


def test_when_memory_runs_out_the_batch_is_halved_and_nothing_is_lost() -> None:
    module = Greedy()
    model = fs.Classifier(module, channels=1, input_size=6, labels=list("abcd"))
    with pytest.warns(fs.FluoroscopeWarning, match="memory ran out with 24 images"):
        found = pgd(0.05)(model, PICTURES, CLASSES)
    plain = pgd(0.05)(MODEL, PICTURES, CLASSES)
    assert torch.equal(found.success, plain.success)
    assert torch.equal(found.forwards, plain.forwards)
    torch.testing.assert_close(found.images, plain.images, atol=1e-4, rtol=0)


class Full(Small):
    """Has memory for no image at all."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(x)


def test_where_memory_does_not_do_for_one_image_nothing_is_tried_for_ever() -> None:
    model = fs.Classifier(Full(), channels=1, input_size=6, labels=list("abcd"))
    with pytest.raises(Exception, match="memory") as told:
        logits_of(model, PICTURES[:1], 64)
    assert memory.out_of_memory(told.value)


def test_freed_memory_can_be_kept_where_the_c_library_is_glibc() -> None:
    """In a process of its own: it cannot be undone."""
    code = "from fluoroscope.engine.memory import keep_freed_memory as k; print(k())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(platform.libc_ver()[0] == "glibc")


def test_other_failures_are_not_mistaken_for_memory() -> None:
    with pytest.raises(RuntimeError) as problem:
        torch.empty(10**15)
    assert memory.out_of_memory(problem.value)
    assert not memory.out_of_memory(RuntimeError("shapes do not match"))


def test_gradients_that_are_zero_everywhere_are_said() -> None:
    class Rounded(Small):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward((4 * x).round() / 4)

    model = fs.Classifier(Rounded(), channels=1, input_size=6)
    classes = model(PICTURES).argmax(1)
    with pytest.warns(fs.FluoroscopeWarning, match=r"gradient of zero .* 24 of 24 .* square"):
        result = pgd(0.05)(model, PICTURES, classes)
    assert any("gradient of zero" in note for note in result.notes)
    assert not any("zero" in note for note in pgd(0.05)(MODEL, PICTURES, CLASSES).notes)


def test_a_network_that_is_random_is_said_to_be() -> None:
    class Noisy(Small):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + 0.1 * torch.randn_like(x))

    model = fs.Classifier(Noisy(), channels=1, input_size=6)
    state = torch.get_rng_state()
    with pytest.warns(fs.FluoroscopeWarning, match=r"differently each time.*EOT"):
        result = pgd(0.05)(model, PICTURES[:2], CLASSES[:2])
    assert any("EOT" in note for note in result.notes)
    torch.set_rng_state(state)
    steady = pgd(0.05)(fs.EOT(model, samples=3), PICTURES[:2], CLASSES[:2])
    assert not any("EOT" in note for note in steady.notes)
    assert (steady.forwards % 3 == 0).all()
    assert (steady.forwards >= torch.where(steady.at_start, 3, 6)).all()


def test_the_plain_network_has_the_last_word() -> None:
    """A prepared network that is wrong about everything."""

    class Wrong(fs.Classifier):
        @property
        def plain(self) -> fs.Classifier:
            return MODEL

        def __call__(self, images: Tensor) -> Tensor:
            return -super().__call__(images)

    wrong = Wrong(MODEL.module, channels=1, input_size=6)
    for keep in ("first", "nearest", "best", "last"):
        result = pgd(0.3, 3)(wrong, PICTURES, CLASSES, keep=keep)
        assert torch.equal(MODEL(result.images).argmax(1) != CLASSES, result.success)
        torch.testing.assert_close(result.logits, MODEL(result.images))


@pytest.mark.parametrize("waiting", [0, 500, 2**24])
def test_the_nearest_is_kept_that_the_plain_network_confirms(
    waiting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prepared network that sees successes too early; many are read by the plain one at once."""
    looks: list[int] = []

    class Lenient(fs.Classifier):
        @property
        def plain(self) -> fs.Classifier:
            return MODEL

        def __call__(self, images: Tensor) -> Tensor:
            logits = super().__call__(images)
            return logits.scatter_add(
                1, logits.argmax(1)[:, None], torch.full_like(logits[:, :1], -0.4)
            )

    monkeypatch.setattr("fluoroscope.engine.run._MOST_WAITING", waiting)
    lenient = Lenient(MODEL.module, channels=1, input_size=6)
    asked: list[list[Tensor]] = [[] for _ in PICTURES]

    def note(step: Step) -> None:
        looks.append(int(step.reached.sum()))
        for row in step.reached.nonzero().squeeze(1).tolist():
            asked[int(step.indices[row])].append(step.images[row])

    result = pgd(0.3, 12)(lenient, PICTURES, CLASSES, keep="nearest", on_step=note, batch_size=9)
    assert sum(looks) > result.success.sum() > 5
    for row, images in enumerate(asked):
        path = torch.stack(images) if images else PICTURES[:0]
        away = (path - PICTURES[row]).flatten(1).abs().amax(1)
        away = away[MODEL(path).argmax(1) != CLASSES[row]]
        assert bool(result.success[row]) == bool(len(away))
        if len(away):
            assert result.distance[row] == away.min()


def test_a_prepared_network_gives_the_plain_ones_verdict() -> None:
    fast = fs.prepare(MODEL, precision="bf16")
    for keep in ("first", "nearest", "best", "last"):
        found = pgd(0.05)(fast, PICTURES, CLASSES, keep=keep)
        plain = pgd(0.05)(MODEL, PICTURES, CLASSES, keep=keep)
        assert (found.success == plain.success).float().mean() > 0.9
        assert torch.equal(MODEL(found.images).argmax(1) != CLASSES, found.success)


def test_already_misread_images_are_told_apart() -> None:
    wrong = CLASSES.clone()
    wrong[:3] = (wrong[:3] + 1) % 4
    result = pgd(0.0001)(MODEL, PICTURES, wrong)
    assert result.at_start.tolist() == [True] * 3 + [False] * 21
    assert result.success[:3].all()
    assert result.distance[:3].tolist() == [0, 0, 0]
    assert result.forwards[:3].tolist() == [1, 1, 1]
    assert result.notes[0].startswith("3 of 24 pictures were misclassified before")
    towards = pgd(0.0001)(MODEL, PICTURES, CLASSES, targeted=True)
    assert towards.at_start.all()
    assert "as the wanted class" in towards.notes[0]


def test_eps_of_zero_gives_the_clean_images_and_says_so() -> None:
    with pytest.warns(fs.FluoroscopeWarning, match="eps is 0"):
        result = pgd(0)(MODEL, PICTURES, CLASSES)
    assert torch.equal(result.images, PICTURES)
    assert not result.success.any()
    assert result.finished.all()
    assert result.forwards.tolist() == [1] * 24


def test_one_target_for_each_sample() -> None:
    wanted = torch.arange(24) % 4
    result = pgd(0.5, 30)(MODEL, PICTURES, wanted, targeted=True)
    assert result.success.sum() > result.at_start.sum() + 6
    assert torch.equal(MODEL(result.images).argmax(1)[result.success], wanted[result.success])


class Valley(nn.Module):
    """Class 1 only where the brightness is near a half."""

    def forward(self, x: Tensor) -> Tensor:
        away = (x.flatten(1).mean(1) - 0.5).square()
        return torch.stack([away, torch.full_like(away, 0.01)], dim=1)


@pytest.mark.parametrize("keep", ["first", "best", "nearest"])
def test_an_earlier_success_is_not_lost(keep: Any) -> None:
    """A step too long: from 0.2 to 0.45, where it succeeds, and on to 0.7."""
    model = fs.Classifier(Valley(), channels=1)
    image = torch.full((1, *SHAPE), 0.2)
    attack = fs.attack("bim", eps=0.6, steps=2, step_size=0.25)
    assert not attack(model, image, 0, keep="last").success
    result = attack(model, image, 0, keep=keep)
    assert result.success
    torch.testing.assert_close(result.images, torch.full((1, *SHAPE), 0.45))


class Torn(nn.Module):
    """At brightness 0.45 just misclassified; at 0.7 classified correctly, but with less confidence
    than there.
    """

    def forward(self, x: Tensor) -> Tensor:
        bright = x.flatten(1).mean(1, keepdim=True)
        away = torch.tensor([[0.0, 0.1, -9.0]])
        near = torch.tensor([[1.0, 0.9, 0.95]])
        start = torch.tensor([[5.0, 0.0, 0.0]])
        logits = torch.where(bright < 0.3, start, torch.where(bright < 0.6, away, near))
        return logits - bright * torch.tensor([[0.01, 0.0, 0.0]])


def test_the_best_point_is_a_success_if_there_was_one() -> None:
    model = fs.Classifier(Torn(), channels=1)
    image = torch.full((1, *SHAPE), 0.2)
    seen: list[float] = []

    def note(step: Step) -> None:
        assert step.answer.objective is not None
        seen.append(step.answer.objective.item())

    attack = fs.attack("bim", eps=0.6, steps=2, step_size=0.25)
    result = attack(model, image, 0, keep="best", on_step=note)
    assert seen[2] > seen[1] > seen[0]
    assert result.success
    torch.testing.assert_close(result.images, torch.full((1, *SHAPE), 0.45))


def test_results_hold_no_graph_and_work_without_gradients_enabled() -> None:
    with torch.no_grad():
        one = pgd(0.05)(MODEL, PICTURES, CLASSES)
    with torch.inference_mode():
        two = pgd(0.05)(MODEL, PICTURES, CLASSES)
    assert not one.images.requires_grad
    same(one, two)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"restarts": 0}, "restarts is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"grid": 7}, "grid is 7"),
        ({"keep": "some"}, "keep is 'some'"),
        ({"classes": 4}, "class 4"),
        ({"classes": [0, 1]}, r"2 classes for 24"),
        ({"images": PICTURES[:0]}, "no pixels"),
    ],
)
def test_unusable_input_is_refused_kindly(change: dict[str, Any], message: str) -> None:
    how = {"images": PICTURES, "classes": CLASSES} | change
    with pytest.raises(fs.FluoroscopeError, match=message):
        pgd()(MODEL, how.pop("images"), how.pop("classes"), **how)
