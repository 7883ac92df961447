r"""Dolls: a doll's head before seven cameras, in sun or fog; a world that has all five structures.

A scene is a draw from a generative process in which every structure of the book is right about
something:

=================  =================================================================================
structure          in this world
=================  =================================================================================
subspaces          the pose: azimuth and elevation together, a direction and a distance from the
                   middle, whose square has the gamma density of a two-dimensional subspace
clusters           glasses or none, short hair or long: four clusters of scenes
populations        in *sun* the light goes round the head; in *fog* it stands still, and the fog is
                   thicker or thinner: a private factor each, all else is shared
unequal tasks      the large population is sun, the small one is fog
many views         seven cameras around the head, of which some fail
=================  =================================================================================

Every factor is known, and so is what a camera that failed would have shown.

The head is a ball, seen by parallel rays, so that a pixel at (u, v) meets it at
:math:`(u, v, \sqrt{1 - u^2 - v^2})`, which is also the ball's normal there.  Turned into the head's
own space, the point says what is painted on it: hair, eyes, a mouth, glasses.  Lambert's law shades
it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from vaelite._validation import check_count
from vaelite.data.dataset import Dataset
from vaelite.data.groups import Groups

CAMERAS = (-90.0, -60.0, -30.0, 0.0, 30.0, 60.0, 90.0)  # degrees around the head
POPULATIONS = ("sun", "fog")
FACTORS = ("azimuth", "elevation", "glasses", "hair", "light", "fog")

_POSE = (12.0, 9.0)  # degrees of azimuth and elevation at distance one
_FAR = 2.5  # the largest distance
_LIGHT = 60.0  # most degrees from the camera
_THICK = 0.7  # the thickest fog hides so much
_GREY = 0.6  # of fog


@dataclass(frozen=True, eq=False, repr=False)
class Dolls(Dataset):
    """Scenes: x is ``(N, 7, H, W)`` uint8, labels are the populations, 0 for sun and 1 for fog.

    Attributes:
        amounts: ``(N, 6)`` floats, the factors: degrees of azimuth, elevation and light, whether
            there are glasses and long hair (0 or 1), and the thickness of the fog; the light of
            the fog and the fog of the sun are 0.
        observed: ``(N, 7)`` bool, which cameras worked.
    """

    amounts: Tensor | None = None
    observed: Tensor | None = None

    @property
    def groups(self) -> Groups:
        """Which columns of :meth:`flat` belong to which camera."""
        size = self.x[0, 0].numel()
        return Groups(
            {f"{angle:+.0f}": range(g * size, (g + 1) * size) for g, angle in enumerate(CAMERAS)}
        )

    def seen(self, observed: Tensor | None = None) -> Tensor:
        """Return what the cameras show, ``(N, 7 P)``; a failed one shows -1 everywhere.

        Args:
            observed: ``(N, 7)`` bool, by default those that worked.
        """
        observed = self.observed if observed is None else observed
        return self.images().flatten(2).masked_fill(~observed.unsqueeze(-1), -1.0).flatten(1)


def load(
    counts: tuple[int, int] = (1800, 200), size: int = 12, failing: float = 0.3, seed: int = 0
) -> Dolls:
    """Draw scenes.

    Args:
        counts: how many in sun and in fog.
        size: pixels a side of each picture.
        failing: the chance of each camera to fail, below 1; where all do, the middle one works.
        seed: of everything.

    Returns:
        Scenes in sun, then scenes in fog.  ``factors`` are ``amounts`` in classes: angles and fog
        in five of equal width.

    Raises:
        ValueError: if ``counts`` are not two positive integers, ``size`` is not positive,
            ``failing`` does not lie from 0 to below 1, or ``seed`` is not an integer from 0.
    """
    if not isinstance(counts, (tuple, list)) or len(counts) != 2:
        raise ValueError(f"counts must be two, of sun and of fog; got {counts!r}.")
    sun, fog = (check_count("counts", count) for count in counts)
    check_count("size", size)
    if not isinstance(failing, Real) or not 0 <= failing < 1:
        raise ValueError(f"failing must be a number from 0 to below 1; got {failing!r}.")
    if type(seed) is not int or seed < 0:
        raise ValueError(f"seed must be an integer from 0; got {seed!r}.")
    population = torch.arange(sun + fog).ge(sun).long()
    amounts = _amounts(population, np.random.default_rng([seed, 0]))
    worked = np.random.default_rng([seed, 1]).random((len(population), len(CAMERAS))) >= failing
    observed = torch.from_numpy(worked)
    observed[~observed.any(1), len(CAMERAS) // 2] = True
    return Dolls(
        name="dolls",
        x=_pictures(amounts, size),
        labels=population,
        factors=_classes(amounts),
        factor_names=FACTORS,
        source="stand-in",
        citation="Drawn by a formula; a world of this book.",
        amounts=amounts,
        observed=observed,
    )


def _amounts(population: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw the factors, ``(N, 6)``."""
    count = len(population)
    # The squared distance of a two-dimensional subspace with p0 = p = 2 is a gamma variable.
    distance = np.sqrt(2 * rng.standard_gamma(1.0, count)).clip(max=_FAR)
    direction = rng.uniform(0, 2 * math.pi, count)
    attributes = rng.integers(2, size=(2, count))
    light, fog = rng.uniform(-_LIGHT, _LIGHT, count), rng.uniform(0, _THICK, count)
    in_fog = population.numpy() == 1
    columns = (
        _POSE[0] * distance * np.cos(direction),
        _POSE[1] * distance * np.sin(direction),
        *attributes,
        np.where(in_fog, 0.0, light),
        np.where(in_fog, fog, 0.0),
    )
    return torch.from_numpy(np.stack(columns, 1)).float()


def _classes(amounts: Tensor) -> Tensor:
    """Return the factors as integers."""
    reach = torch.tensor([_POSE[0] * _FAR, _POSE[1] * _FAR, 0, 0, _LIGHT, _THICK])
    low = torch.tensor([-1.0, -1.0, 0, 0, -1.0, 0]) * reach
    width = torch.where(reach > 0, (reach - low) / 5, 1.0)
    return ((amounts - low) / width).long().clamp(0, 4)


# What a camera sees.

_EYES = ((-0.36, 0.1, 0.93), (0.36, 0.1, 0.93))  # on the unit ball, nearly; z out of the face
_RAYS = 2  # a pixel, along each side
_EXTENT = 1.1  # half the width of a picture
_SKIN, _HAIR, _DARK = 0.85, 0.3, 0.08
_LIGHT_HEIGHT = 20.0  # degrees
_AMBIENT = 0.25


def _pictures(amounts: Tensor, size: int) -> Tensor:
    """Draw what all cameras show, ``(N, 7, size, size)``."""
    x = torch.empty(len(amounts), len(CAMERAS), size, size, dtype=torch.uint8)
    for rows in torch.arange(len(amounts)).split(64):
        azimuth, elevation, glasses, hair, light, fog = amounts[rows].view(-1, 1, 6).unbind(-1)
        camera = torch.tensor(CAMERAS)
        # The light stands still while the camera goes round.
        seen = _ball(azimuth + camera, elevation, light - camera, glasses, hair, size)
        fog = fog[..., None, None]
        x[rows] = (255 * ((1 - fog) * seen + fog * _GREY)).round().to(torch.uint8)
    return x


def _ball(
    azimuth: Tensor, elevation: Tensor, light: Tensor, glasses: Tensor, hair: Tensor, size: int
) -> Tensor:
    """Return brightness from 0 to 1, ``(B, 7, size, size)``, of angles in degrees ``(B, 7)``."""
    side = torch.linspace(-1, 1, 2 * size * _RAYS + 1)[1::2] * _EXTENT
    v, u = torch.meshgrid(-side, side, indexing="ij")
    depth = (1 - u.square() - v.square()).clamp(min=0).sqrt()
    azimuth, elevation, light = (
        angle.deg2rad()[..., None, None]
        for angle in torch.broadcast_tensors(azimuth, elevation, light)
    )
    # First up or down, then round: where the ray meets the ball, in the head's own space.
    y = v * elevation.cos() + depth * elevation.sin()
    forward = depth * elevation.cos() - v * elevation.sin()
    x = u * azimuth.cos() + forward * azimuth.sin()
    z = forward * azimuth.cos() - u * azimuth.sin()
    paint = _painted(x, y, z, glasses[..., None, None], hair[..., None, None])
    high = math.radians(_LIGHT_HEIGHT)
    towards = u * light.sin() * math.cos(high) + v * math.sin(high)
    towards = towards + depth * light.cos() * math.cos(high)
    shade = _AMBIENT + (1 - _AMBIENT) * towards.clamp(min=0)
    seen = torch.where(depth > 0, paint * shade, 0.0)
    return torch.nn.functional.avg_pool2d(seen, _RAYS)


def _painted(x: Tensor, y: Tensor, z: Tensor, glasses: Tensor, hair: Tensor) -> Tensor:
    """Return how bright the head is painted at points on it."""

    def inside(distance: Tensor, softness: float = 0.04) -> Tensor:
        return torch.sigmoid(-distance / softness)

    # Short hair covers top and back, long hair also the sides, down to the chin.
    line = torch.where(
        hair > 0, 0.6 - 1.6 * (0.75 - z).clamp(min=0), 0.6 - 0.7 * (0.3 - z).clamp(0)
    )
    paint = _SKIN + (_HAIR - _SKIN) * inside(line - y)
    for eye in _EYES:
        apart = sum((a - b) ** 2 for a, b in zip((x, y, z), eye, strict=True)).sqrt()
        paint = paint + (_DARK - paint) * inside(apart - 0.1)
        paint = paint + (_DARK - paint) * glasses * inside((apart - 0.27).abs() - 0.07)
    bow = inside((y - 0.15).abs() - 0.06) * inside(z - 0.85) * inside(-0.1 - z)
    paint = paint + (_DARK - paint) * glasses * bow
    mouth = inside((y + 0.45).abs() - 0.05) * inside(x.abs() - 0.28) * inside(-z)
    return paint + (_DARK - paint) * mouth
