"""Controls, intervals, and when a metric says nothing here."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import fluoroscope as fs
from fluoroscope.attribution.metrics import (
    METRICS,
    Setting,
    bootstrap,
    controls,
    informative,
    metric,
)
from fluoroscope.attribution.metrics.intervals import interval_of


def test_edges_by_the_filters_of_sobel_and_feldman() -> None:
    images = torch.rand(2, 3, 9, 7)
    from scipy.ndimage import sobel

    grey = images.double().mean(1).numpy()
    wanted = [
        np.hypot(sobel(row, 0, mode="nearest"), sobel(row, 1, mode="nearest")) / 8 for row in grey
    ]
    assert controls(images)["edges"][:, 0].numpy() == pytest.approx(np.stack(wanted), abs=1e-6)
    assert float(controls(torch.full((1, 3, 5, 5), 0.4))["edges"].max()) < 1e-6


def test_the_centre_is_in_the_middle_and_a_quarter_wide() -> None:
    blob = controls(torch.zeros(2, 1, 41, 21))["centre"]
    assert blob.shape == (2, 1, 41, 21)
    assert blob[0, 0, 20, 10] == 1
    assert torch.allclose(blob, blob.flip(2).flip(3))
    assert float(blob[0, 0, 20, 0]) == pytest.approx(math.exp(-0.5 * (10 / (21 / 4)) ** 2))
    assert float(blob[0, 0, 0, 10]) == pytest.approx(math.exp(-0.5 * (20 / (41 / 4)) ** 2))


def test_the_picture_itself_is_its_distance_from_its_mean() -> None:
    images = torch.rand(2, 3, 4, 5)
    means = images.mean((2, 3), keepdim=True)
    assert torch.allclose(controls(images)["picture"], (images - means).abs().sum(1, keepdim=True))


def test_random_maps_belong_to_the_picture_and_the_seed() -> None:
    images = torch.rand(3, 3, 6, 6)
    state = torch.get_rng_state()
    all_of_them = controls(images, seed=1)["random"]
    assert torch.equal(torch.get_rng_state(), state)
    alone = controls(images[2:], seed=1, numbers=torch.tensor([2]))["random"]
    assert torch.equal(alone[0], all_of_them[2])
    assert not torch.equal(all_of_them[0], all_of_them[1])
    assert not torch.equal(all_of_them, controls(images, seed=2)["random"])


def test_bootstrap_against_scipy_and_without_the_global_generator() -> None:
    scores = torch.randn(40, generator=torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    low, high = bootstrap(scores, resamples=9999)
    assert torch.equal(torch.get_rng_state(), state)
    other = stats.bootstrap(
        (scores.numpy(),), np.mean, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert (low, high) == pytest.approx((other.low, other.high), abs=0.02)
    assert bootstrap(scores) == bootstrap(scores)
    assert bootstrap(scores) != bootstrap(scores, seed=1)
    narrow = bootstrap(scores, confidence=0.5)
    assert low < narrow[0] < narrow[1] < high
    assert bootstrap(torch.full((9,), 0.25)) == (0.25, 0.25)
    assert bootstrap(scores[:1]) == (-math.inf, math.inf)


def test_about_as_many_intervals_hold_the_mean_as_they_say() -> None:
    random = torch.Generator().manual_seed(1)
    held = 0
    for trial in range(200):
        low, high = bootstrap(torch.rand(40, generator=random), resamples=300, seed=trial)
        held += low <= 0.5 <= high
    assert 0.88 <= held / 200 <= 0.99


def test_pairs_of_a_statistic_stay_together() -> None:
    one = torch.randn(30, generator=torch.Generator().manual_seed(2)).double()
    other = one + 0.1
    low, high = interval_of(lambda drawn: (other[drawn] - one[drawn]).mean(1), 30)
    assert (low, high) == pytest.approx((0.1, 0.1))


@pytest.mark.parametrize("name", ["insertion", "deletion"])
def test_a_metric_in_which_a_control_wins_is_uninformative(name: str) -> None:
    higher = METRICS[name].higher_is_better
    noise = 0.05 * torch.randn(50, generator=torch.Generator().manual_seed(3)).double()
    good, middle, bad = (noise + (level if higher else -level) for level in (0.9, 0.5, 0.2))
    beaten = informative(METRICS[name], {"a": bad, "b": middle}, {"edges": good, "random": bad})
    assert not beaten.informative
    assert (beaten.method, beaten.control) == ("b", "edges")
    assert beaten.lead == pytest.approx(-0.4)
    assert beaten.interval == pytest.approx((-0.4, -0.4))
    assert "uninformative here" in str(beaten)
    assert "no better than the control edges" in str(beaten)
    told = informative(METRICS[name], {"a": bad, "b": good}, {"edges": middle, "random": bad})
    assert told.informative
    assert told.means == pytest.approx((float(good.mean()), float(middle.mean())))
    assert "b (" in str(told)
    assert "better than the best control, edges" in str(told)
    same = informative(METRICS[name], {"a": good}, {"edges": good})
    assert not same.informative


def test_a_lead_that_these_pictures_leave_open_is_none() -> None:
    random = torch.Generator().manual_seed(4)
    method, control = torch.rand(12, generator=random), torch.rand(12, generator=random)
    method = method - method.mean() + control.mean() + 0.02
    found = informative(metric("srg"), {"gradient": method}, {"edges": control})
    assert found.lead > 0
    assert found.interval[0] < 0 < found.interval[1]
    assert not found.informative
    assert "by no more than these pictures leave open" in str(found)


def test_the_best_is_chosen_anew_in_each_resample() -> None:
    # Of many that are alike the best leads by luck; chosen once, it would seem to lead surely.
    random = torch.Generator().manual_seed(5)
    methods = {str(i): torch.rand(20, generator=random) for i in range(3)}
    rivals = {str(i): torch.rand(20, generator=random) for i in range(3)}
    found = informative(metric("srg"), methods, rivals)
    known, nothing = (torch.stack(list(group.values())).double() for group in (methods, rivals))
    anew = interval_of(
        lambda drawn: known[:, drawn].mean(2).amax(0) - nothing[:, drawn].mean(2).amax(0), 20
    )
    assert found.interval == pytest.approx(anew, abs=1e-9)
    best, rival = methods[found.method].double(), rivals[found.control].double()
    once = interval_of(lambda drawn: (best[drawn] - rival[drawn]).mean(1), 20)
    assert found.interval != pytest.approx(once, abs=1e-3)


def test_where_the_network_reads_the_middle_the_centre_is_as_good_as_the_gradient() -> None:
    """A planted network whose evidence is the middle: deletion cannot tell its gradient from a
    blob."""

    class Middle(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weights = controls(x)["centre"] ** 4
            bright = (x.mean(1, keepdim=True) * weights).flatten(1).sum(1) / weights[0].sum()
            return torch.stack([torch.zeros_like(bright), 30 * (bright - 0.3)], 1)

    network = fs.Classifier(Middle(), channels=3, input_size=12)
    images = torch.rand(20, 3, 12, 12)
    scores = metric("deletion").prepare(Setting.of(network, images, 1), steps=12)
    maps = fs.attribute(network, images, 1, method="gradient").maps
    nothing = {name: scores(each) for name, each in controls(images).items()}
    found = informative(metric("deletion"), {"gradient": scores(maps)}, nothing)
    assert found.control == "centre"
    assert not found.informative
