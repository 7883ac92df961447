"""Figures: geometry that can be checked without looking."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from vaelite.book import figures


def test_ellipse_is_the_contour_of_its_gaussian():
    covariance = np.array([[2.0, 0.7], [0.7, 0.5]])
    mean = np.array([1.0, -2.0])
    _, axes = plt.subplots()
    ellipse = figures.covariance_ellipse(axes, mean, covariance, deviations=1.5)
    outline = ellipse.get_patch_transform().transform(ellipse.get_path().vertices[:-1])
    on_curve = outline[::3]  # the other vertices of a Bezier circle are control points
    offset = on_curve - mean
    distance = np.sqrt(np.einsum("ni,ij,nj->n", offset, np.linalg.inv(covariance), offset))
    np.testing.assert_allclose(distance, 1.5, rtol=1e-3)
    plt.close("all")


def test_ellipse_of_a_singular_covariance_is_a_segment():
    _, axes = plt.subplots()
    ellipse = figures.covariance_ellipse(axes, np.zeros(2), np.ones((2, 2)))
    assert min(ellipse.width, ellipse.height) == pytest.approx(0, abs=1e-6)
    plt.close("all")


def test_image_grid_puts_every_image_in_its_place():
    images = np.arange(5 * 2 * 3).reshape(5, 2, 3) + 1
    grid = figures.image_grid(images, columns=2, gap=1)
    assert grid.shape == (3 * 3 - 1, 2 * 4 - 1)
    for index, image in enumerate(images):
        top, left = 3 * (index // 2), 4 * (index % 2)
        np.testing.assert_array_equal(grid[top : top + 2, left : left + 3], image)
    assert grid.sum() == images.sum()  # gaps and the sixth place stay empty


def test_image_grid_keeps_colours():
    images = np.random.default_rng(0).random((4, 2, 3, 3))
    assert figures.image_grid(images, columns=4, gap=0).shape == (2, 12, 3)


@pytest.mark.parametrize("shape", [(3,), (3, 4), (1, 2, 3, 4, 5), (0, 2, 3)])
def test_image_grid_wants_images(shape):
    with pytest.raises(ValueError, match="images must be"):
        figures.image_grid(np.zeros(shape), columns=2)


def test_image_grid_wants_columns():
    with pytest.raises(ValueError, match="columns must be positive"):
        figures.image_grid(np.zeros((1, 2, 2)), columns=0)


@pytest.mark.parametrize("covariance", [np.eye(3), np.full((2, 2), np.nan)])
def test_an_ellipse_wants_a_covariance(covariance):
    figure, axes = figures.subplots()
    with pytest.raises(ValueError, match=r"covariance must be \(2, 2\) and finite"):
        figures.covariance_ellipse(axes, np.zeros(2), covariance)
    plt.close(figure)


def test_a_figure_without_alternative_text_is_refused():
    figure, _ = figures.subplots()
    with pytest.raises(ValueError, match="alt is empty"):
        figures.show(figure, alt="  ")
    plt.close(figure)


def test_palette_is_distinct_in_lightness_or_hue():
    assert len(set(figures.COLOURS)) == len(figures.COLOURS)
