"""The transfer matrix against a count by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import fluoroscope as fs
from fluoroscope.engine.intervals import wilson
from fluoroscope.evaluation.transfer import _matrix, short_names, transfer_figure


def network(seed: int, side: int = 6) -> fs.Classifier:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Flatten(), nn.Linear(side * side, 8), nn.ReLU(), nn.Linear(8, 3))
    return fs.Classifier(module, channels=1, input_size=side, labels="abc", name=f"net {seed}")


@pytest.fixture(scope="module")
def models() -> list[fs.Classifier]:
    return [network(seed) for seed in (0, 1, 2)]


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", ["pgd", "ddn"])
def test_a_slow_count(models: list[fs.Classifier], images: torch.Tensor, name: str) -> None:
    labels = fs.predict(models[0], images).winners
    attack = fs.attack(name, eps=0.2, steps=6)
    matrix = fs.transfer_matrix(models, images, attack, labels, at_chance=True)

    made = []  # on each network, one picture at a time
    for model in models:
        rows = []
        for number in range(len(images)):
            image, label = images[number : number + 1], labels[number : number + 1]
            if int(model(image).argmax()) == int(label):
                keep = "nearest" if name == "ddn" else "last"
                result = attack(model, image, label, keep=keep, numbers=torch.tensor([number]))
                image = result.images
            rows.append(image)
        made.append(torch.cat(rows))
    clean = [fs.predict(model, images).winners == labels for model in models]
    for i, row in enumerate(matrix.fooled):
        for j, cell in enumerate(row):
            both = clean[i] & clean[j]
            misclassified = fs.predict(models[j], made[i]).winners != labels
            assert (cell.count, cell.of) == (int((both & misclassified).sum()), int(both.sum()))
            assert cell.interval == wilson(cell.count, cell.of)
    for j, model in enumerate(models):
        reads = [fs.predict(model, pictures).winners == labels for pictures in made]
        others = clean[j]
        for i, read in enumerate(reads):
            others = others & read if i != j else others
        assert matrix.clean[j].count == int(clean[j].sum())
        assert matrix.under_others[j].count == int(others.sum())
        assert matrix.under_all[j].count == int((others & reads[j]).sum())
    assert matrix.complete
    assert matrix.count == 40
    assert matrix.models == ("net 0", "net 1", "net 2")
    assert matrix.clean[0].share == 1  # so the first row has trials
    assert matrix.backwards > 0
    assert matrix.describe()["record"]["input_size"] == (6, 6)


@settings(max_examples=40)
@given(st.integers(1, 12), st.integers(2, 4), st.integers(0, 2**30))
def test_what_always_holds(count: int, networks: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    clean = torch.rand(count, networks, generator=rng) < 0.7
    misclassified = torch.rand(count, networks, networks, generator=rng) < 0.5
    found = _matrix(
        clean,
        misclassified,
        total=count,
        models=("",) * networks,
        forwards=0,
        backwards=0,
        seconds=0.0,
    )
    for j in range(networks):
        assert found.under_all[j].count <= found.under_others[j].count <= found.clean[j].count
        assert found.fooled[j][j].of == found.clean[j].count
        for i in range(networks):
            cell = found.fooled[i][j]
            assert (
                cell.of == found.fooled[j][i].of <= min(found.clean[i].count, found.clean[j].count)
            )
            assert cell.count <= cell.of
            expected = sum(
                bool(clean[n, i] and clean[n, j] and misclassified[n, i, j]) for n in range(count)
            )
            assert cell.count == expected
        held = sum(
            bool(clean[n, j])
            and not any(bool(misclassified[n, i, j]) for i in range(networks) if i != j)
            for n in range(count)
        )
        assert found.under_others[j].count == held


def test_networks_of_other_sizes_see_the_same_pictures(images: torch.Tensor) -> None:
    small, large = network(0), network(1, side=9)
    pictures = torch.rand(20, 1, 9, 9, generator=torch.Generator().manual_seed(4))
    labels = fs.predict(large, pictures).winners
    attack = fs.attack("mi-fgsm", eps=0.2, steps=4)
    matrix = fs.transfer_matrix([small, large], pictures, attack, labels, at_chance=True)
    assert matrix.record["input_size"] == (9, 9)
    stretched = fs.Ensemble([small], input_size=9)
    right = fs.predict(stretched, pictures).winners == labels
    assert matrix.clean[0].count == int(right.sum())
    made = attack(large, pictures, labels, keep="last").images
    fooled = (fs.predict(stretched, made).winners != labels) & right
    assert matrix.fooled[1][0].count == int(fooled.sum())


def test_prepared_networks_search_and_plain_ones_read(
    models: list[fs.Classifier], images: torch.Tensor
) -> None:
    labels = fs.predict(models[0], images).winners
    attack = fs.attack("mi-fgsm", eps=0.1, steps=3)
    plain, fast = (
        fs.transfer_matrix(those, images, attack, labels, at_chance=True)
        for those in (models[:2], [fs.prepare(model) for model in models[:2]])
    )
    assert fast.fooled == plain.fooled
    assert fast.models == plain.models
    assert fast.forwards == plain.forwards
    assert fast.backwards == plain.backwards


def test_progress_ends_at_the_total_and_stopping_leaves_whole_parts(
    models: list[fs.Classifier], images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fluoroscope.evaluation import transfer

    monkeypatch.setattr(transfer, "part_size", lambda model: 16)
    labels = fs.predict(models[0], images).winners
    attack = fs.attack("mi-fgsm", eps=0.1, steps=3)
    seen: list[tuple[int, int, int]] = []
    whole = fs.transfer_matrix(
        models, images, attack, labels, at_chance=True, on_progress=lambda *at: seen.append(at)
    )
    assert seen[-1][:2] == (120, 120)
    assert [at[0] for at in seen] == sorted(at[0] for at in seen)

    steps: list[object] = []
    partial = fs.transfer_matrix(
        models, images, attack, labels, at_chance=True, cancelled=lambda: len(steps) > 30,
        on_progress=lambda *at: steps.append(at),
    )  # fmt: skip
    part = slice(0, partial.count)
    first = fs.transfer_matrix(models, images[part], attack, labels[part], at_chance=True)
    assert whole.complete
    assert not partial.complete
    assert partial.count in (16, 32)
    assert partial.fooled == first.fooled


def test_the_picture(models: list[fs.Classifier], images: torch.Tensor) -> None:
    labels = fs.predict(models[0], images).winners
    matrix = fs.transfer_matrix(models, images, fs.attack("fgsm", eps=0.1), labels, at_chance=True)
    figure = transfer_figure(matrix)
    numbers = [text.get_text() for axes in figure.axes for text in axes.texts]
    shares = [share for row in (*matrix.fooled, matrix.clean) for share in row]
    assert len(numbers) == 6 + sum(share.of > 0 for share in shares)
    assert "100" in numbers
    assert short_names(["a/b/one", "c/two"]) == ["one", "two"]
    assert short_names(["a/one", "b/one"]) == ["a/one", "b/one"]
    assert max(map(len, short_names(["x" * 80, "y"]))) == 24


def test_bad_input(models: list[fs.Classifier], images: torch.Tensor) -> None:
    attack = fs.attack("fgsm", eps=0.1)
    labels = torch.zeros(40, dtype=torch.long)
    with pytest.raises(fs.FluoroscopeError, match=r"given 1 network; expected two"):
        fs.transfer_matrix(models[:1], images, attack, labels)
    other = fs.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 4)), channels=1, input_size=6)
    with pytest.raises(fs.FluoroscopeError, match="has num_classes 3"):
        fs.transfer_matrix([models[0], other], images, attack, labels)
    with pytest.raises(fs.FluoroscopeError, match="has to be fitted first"):
        fs.transfer_matrix(models, images, fs.attack("universal", eps=0.1), labels)
    with pytest.raises(fs.FluoroscopeError, match="none for 40 images"):
        fs.transfer_matrix(models, images, attack)
    wrong = (fs.predict(models[0], images).winners + 1) % 3
    with pytest.raises(fs.FluoroscopeError, match="net 0 classifies 0 of 40 pictures"):
        fs.transfer_matrix(models, images, attack, wrong)
