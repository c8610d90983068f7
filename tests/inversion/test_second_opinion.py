"""What a second network says, in the words of the first."""

import torch
from torch import nn

import fluoroscope as fs
from fluoroscope.inversion.portraits.second_opinion import opinions


def test_a_second_network_without_names_is_told_in_the_names_of_the_first() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    module[1].weight.data.zero_()
    module[1].bias.data = torch.tensor([0.0, 9.0, 0.0])
    second = fs.Classifier(module, input_size=(2, 2))
    said = opinions(second, torch.rand(2, 3, 2, 2), torch.tensor([0, 1]), ["car", "deer", "ship"])
    assert [one.winner for one in said] == ["deer", "deer"]
    assert [one.agrees for one in said] == [False, True]
