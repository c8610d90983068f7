"""A random share of every class."""

import torch

from fluoroscope.training.job.shares import share_of_each


def test_every_class_gives_its_share_whatever_the_order() -> None:
    many = [1, 2, 300, 47, 650]
    labels = torch.arange(5).repeat_interleave(torch.tensor(many))
    mixed = labels[torch.randperm(1000, generator=torch.Generator().manual_seed(1))]
    for given in (labels, labels.flip(0), mixed):
        found = share_of_each(given, 100, 3)
        assert len(found.unique()) == len(found) == 100
        taken = given[found].bincount(minlength=5).tolist()
        # As many as its share is, to one more or less.
        assert all(abs(each - of / 10) <= 1 for each, of in zip(taken, many, strict=True))
        assert taken[0] == 0  # the only picture of its class is left to learn from
        # In random order: the first are of several classes too.
        assert len(given[found[:20]].unique()) > 2
        assert torch.equal(found, share_of_each(given, 100, 3))
        assert not torch.equal(found, share_of_each(given, 100, 4))


def test_the_last_of_a_class_stays() -> None:
    labels = torch.tensor([0, 0, 1, 1, 1, 2])
    assert labels[share_of_each(labels, 100, 0)].bincount(minlength=3).tolist() == [1, 2, 0]
    assert len(share_of_each(torch.arange(10), 1, 0)) == 0
    assert len(share_of_each(torch.zeros(0, dtype=torch.long), 0, 0)) == 0
