"""The strip of blocks, and the picture, show what they are given on one fixed scale."""

import math
from typing import Any

import numpy as np
import pytest
from flows import flow

from gradflow.gradients.picture import draw_gradient_flow
from gradflow.gradients.strip import strip


@pytest.mark.parametrize(
    ("profile", "blocks"),
    [
        ([-16.0, -14.0, -12.0, -10.0, -8.0, -6.0, -4.0, -2.0], "▁▂▃▄▅▆▇█"),
        ([-16.1, -100.0, -14.01], "▁▁▁"),  # below the scale, and the top of its first step
        ([0.0, 5.0], "██"),
        ([-math.inf, math.nan, math.inf], "·!!"),
        ([], ""),
    ],
)
def test_a_block_is_two_decades_high(profile: list[float], blocks: str) -> None:
    assert strip(profile) == blocks


def test_a_deep_net_is_drawn_by_its_worst_layers() -> None:
    profile = [-4.0] * 1200
    profile[700] = -15.0
    drawn = strip(profile, width=60)
    assert len(drawn) == 60
    assert drawn.count("▁") == 1
    assert drawn[700 * 60 // 1200] == "▁"


def colours(flows: list[Any]) -> Any:
    figure = draw_gradient_flow(flows)
    figure.canvas.draw()
    (mesh,) = figure.axes[0].collections
    return np.ma.getdata(mesh.get_array()).reshape(4, len(flows)), mesh


def test_the_picture_has_a_row_for_each_layer_and_a_column_for_each_record() -> None:
    flows = [
        flow(0, gradient=[-10.0, -8.0, -6.0, -4.0]),
        flow(10, gradient=[-3.0, -2.0, -1.0, 0.0]),
    ]
    drawn, mesh = colours(flows)
    np.testing.assert_array_equal(drawn[:, 0], [-10, -8, -6, -4])
    np.testing.assert_array_equal(drawn[:, 1], [-3, -2, -1, 0])
    assert (mesh.norm.vmin, mesh.norm.vmax) == (-16, 0)


def test_zero_and_not_a_number_have_colours_of_their_own() -> None:
    _, mesh = colours([flow(0, gradient=[-math.inf, math.nan, -20.0, -4.0])])
    colours_of = mesh.to_rgba(mesh.get_array()).reshape(4, 4)
    zero, nan, tiny, usual = (tuple(np.round(c, 3)) for c in colours_of)
    assert len({zero, nan, tiny, usual}) == 4


def test_no_layers_give_no_empty_picture() -> None:
    with pytest.raises(ValueError, match="no record has layers"):
        draw_gradient_flow([])
