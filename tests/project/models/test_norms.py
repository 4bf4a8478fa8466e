"""Group and layer norm against means and variances taken by hand."""

import pytest
import torch

from project.models.norms import group_norm


@pytest.mark.parametrize("num_groups", [1, 2, 6])
def test_each_group_of_channels_of_each_image_gets_mean_0_and_variance_1(num_groups: int) -> None:
    x = 3 + 2 * torch.randn(5, 6, 4, 4, dtype=torch.float64)
    out = group_norm(6, num_groups=num_groups, eps=1e-3).double()(x)
    for image, normalized in zip(x, out, strict=True):
        for group, got in zip(image.chunk(num_groups), normalized.chunk(num_groups), strict=True):
            variance = group.var(unbiased=False)
            torch.testing.assert_close(got, (group - group.mean()) / torch.sqrt(variance + 1e-3))


@pytest.mark.parametrize("num_groups", [4, 0, -2])
def test_groups_that_do_not_divide_the_channels_are_refused_in_one_line(num_groups: int) -> None:
    with pytest.raises(ValueError, match=f"got {num_groups} groups for 6 channels$"):
        group_norm(6, num_groups=num_groups)
