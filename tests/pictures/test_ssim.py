"""The structural similarity of pictures, against scikit-image."""

import pytest
import torch
from skimage.metrics import structural_similarity

from fluoroscope.pictures.ssim import ssim, ssim_matrix


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 20, 31)])
def test_each_to_each_as_scikit_image_has_it(shape: tuple[int, int, int]) -> None:
    images = torch.rand(3, *shape, dtype=torch.double)
    others = (images[:2] + 0.2 * torch.rand(2, *shape)).clamp(0, 1)
    found = ssim_matrix(images, others)
    for row, one in enumerate(images):
        for column, other in enumerate(others):
            wanted = structural_similarity(
                one.numpy(), other.numpy(), channel_axis=0, gaussian_weights=True, sigma=1.5,
                use_sample_covariance=False, data_range=1.0,
            )  # fmt: skip
            assert float(found[row, column]) == pytest.approx(wanted, abs=1e-9)
    torch.testing.assert_close(ssim(images[:2], others), found[:2].diagonal())


def test_a_picture_smaller_than_the_window_is_compared_all_the_same() -> None:
    small = torch.rand(2, 1, 8, 8)
    assert ssim_matrix(small, small).diagonal().tolist() == pytest.approx([1, 1])
