r"""Heads: shaded pictures of made-up heads, drawn by a formula.

A stand-in for image sets that cannot be had freely or need no real people: 3D Faces (identity,
azimuth, elevation, light), the design of Cars3D (identity, azimuth, elevation), and the attributes
of CelebA that CPVAE swaps (glasses, a smile, and a shape by which two populations differ).

The surface is implicit.  A point :math:`p` of the head's own space, x to its left, y up and z out
of its face, is first scaled by three semi-axes, the first of which grows with y, so that the jaw
is narrower than the skull: :math:`q = (p_x / (a_x (1 + t p_y)),\, p_y / a_y,\, p_z / a_z)`.  Then

.. math::
    F(p) = |q| - 1 - \sum_j h_j \, e^{-\frac12 |(q / |q| - c_j) / s_j|^2},

where each bump j, of height :math:`h_j`, centre :math:`c_j` and width :math:`s_j`, is a nose, an
eye, a chin.  Ears and a neck join it.  An identity is a point in the space of these numbers.
Parallel rays look for :math:`F = 0`, and what they meet is shaded by Lambert's law: its brightness
grows with :math:`\max(0, n \cdot l)`, for the normal n and the direction l of the light.  No head
casts a shadow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vaelite._validation import check_choice, check_count, check_seed
from vaelite.data.dataset import Dataset

FACTORS = ("identity", "azimuth", "elevation", "light")
ATTRIBUTES = ("glasses", "smile", "shape")
COUNTS = {"faces": (50, 21, 11, 11), "cars3d": (183, 24, 4), "attributes": (1000, 7, 5, 5, 2, 3, 2)}
LIGHT_HEIGHT = 25.0  # degrees that the light stands above the camera
AMBIENT = 0.1

_SAMPLES = 2  # rays a pixel, along each side
_EXTENT = 1.3  # half the width of the picture; a head is about 2 high
_LIFT = -0.08  # height of the picture's centre
_BLEND = 0.03  # over what distance the parts melt into each other
_STEP = 4e-3  # of the differences that give the normals


def load(
    design: str = "faces",
    size: int = 64,
    counts: Sequence[int] | None = None,
    device: torch.device | str | None = None,
    count: int | None = None,
    lights: int = 1,
    seed: int = 0,
) -> Dataset:
    """Draw a regular grid of heads, or heads at random.

    Args:
        design: ``"faces"``: 50 identities x 21 azimuths (-90 to 90 degrees) x 11 elevations (-30 to
            30) x 11 lights (-75 to 75), as in 3D Faces, 127,050 images.  ``"cars3d"``: 183
            identities x 24 azimuths (all around) x 4 elevations (0 to 30), as in Cars3D, 17,568
            images; but they show heads in grey, no cars in colour.  ``"attributes"``: heads at
            random, each factor uniformly and independently of the others: 1,000 identities, 7
            azimuths (-30 to 30 degrees), 5 elevations (-20 to 20), 5 lights (-60 to 60), glasses
            (0, 1), smiles (0, 1/2, 1) and shape (0, 1), as :func:`render` draws them.
        size: pixels a side.
        counts: how many values of each factor, at equal distances in the same ranges; a single
            value is the middle one.  By default as above.  Identity k is the same head in every
            grid.  Not for ``"attributes"``.
        device: where the images are drawn, and stay.
        count: how many images of ``"attributes"``, by default 1,000.
        lights: of ``"attributes"``: so many images in a row show the same head in the same pose, in
            lights drawn anew.  Four lights take hardly longer than one.
        seed: of ``"attributes"``.

    Returns:
        Grey images on black, to be shown with ``cmap="gray"``.  In a grid the last factor changes
        fastest, and the label is the identity.  With attributes, the label is the shape, which
        tells the two populations apart.

    Raises:
        ValueError: if there is no such design, an option belongs to another one, ``counts`` are not
            as many positive integers as the design has factors, or ``size``, ``count`` or
            ``lights`` is not positive.
    """
    check_choice("design", design, COUNTS)
    if design == "attributes":
        if counts is not None:
            raise ValueError("counts are for the grids; with attributes give count.")
        return _at_random(size, 1000 if count is None else count, lights, seed, device)
    if count is not None or lights != 1 or seed != 0:
        raise ValueError(f"count, lights and seed are for attributes; {design} takes counts.")
    counts = COUNTS[design] if counts is None else tuple(counts)
    if len(counts) != len(COUNTS[design]) or any(type(n) is not int or n < 1 for n in counts):
        raise ValueError(
            f"counts must be {len(COUNTS[design])} positive integers for {design}; got {counts!r}."
        )
    _check_size(size)
    factors = torch.cartesian_prod(*(torch.arange(n, device=device) for n in counts))
    azimuth, elevation, light = (angles.to(device) for angles in _angles(design, counts))
    # What the camera sees is found once for all lights.
    poses = factors[:: len(light), :3]
    x = torch.empty(len(poses), len(light), size, size, dtype=torch.uint8, device=device)
    for start in range(0, len(poses), _at_once(size, poses.device)):
        chunk = poses[start : start + _at_once(size, poses.device)]
        seen = _look(chunk[:, 0], azimuth[chunk[:, 1]], elevation[chunk[:, 2]], size)
        for index, angle in enumerate(light):
            x[start : start + len(chunk), index] = _shade(*seen, angle.expand(len(chunk)), size)
    return Dataset(
        name="heads",
        x=x.flatten(0, 1),
        labels=factors[:, 0],
        factors=factors,
        factor_names=FACTORS[: len(counts)],
        source="stand-in",
        citation=f"Drawn by a formula, in the design of {_MODELS[design]}",
    )


def _at_random(
    size: int, count: int, lights: int, seed: int, device: torch.device | str | None
) -> Dataset:
    count, lights = check_count("count", count), check_count("lights", lights)
    _check_size(size)
    check_seed(seed)
    # Row after row, so that the first images do not depend on how many there are.
    heads = -(-count // lights)
    drawn = np.random.default_rng(seed).random((heads, len(COUNTS["attributes"]) - 1 + lights))
    drawn, light = np.split(drawn, [-lights], axis=1)
    levels = np.array(COUNTS["attributes"])
    look = torch.from_numpy((drawn * np.delete(levels, 3)).astype(np.int64)).to(device)
    light = torch.from_numpy((light * levels[3]).astype(np.int64)).to(device)
    x = torch.empty(heads, lights, size, size, dtype=torch.uint8, device=device)
    azimuth, elevation, angles = (
        _spread(-end, end, n).to(x.device)
        for end, n in zip((30, 20, 60), COUNTS["attributes"][1:4], strict=True)
    )
    for rows in torch.arange(heads, device=x.device).split(_at_once(size, x.device)):
        chosen = look[rows]
        worn = _worn(chosen[:, 3], chosen[:, 4] / 2, chosen[:, 5])
        seen = _look(chosen[:, 0], azimuth[chosen[:, 1]], elevation[chosen[:, 2]], size, worn)
        for index in range(lights):
            x[rows, index] = _shade(*seen, angles[light[rows, index]], size)
    look = look[:, None].expand(-1, lights, -1)
    factors = torch.cat([look[..., :3], light[..., None], look[..., 3:]], -1).flatten(0, 1)
    return Dataset(
        name="heads",
        x=x.flatten(0, 1)[:count],
        labels=factors[:count, -1],
        factors=factors[:count],
        factor_names=FACTORS + ATTRIBUTES,
        source="stand-in",
        citation=f"Drawn by a formula, with attributes as in {_MODELS['attributes']}",
    )


_MODELS = {
    "attributes": (
        "CelebA: Z. Liu, P. Luo, X. Wang and X. Tang. Deep learning face attributes in the wild. "
        "ICCV 2015."
    ),
    "faces": (
        "3D Faces: P. Paysan, R. Knothe, B. Amberg, S. Romdhani and T. Vetter. "
        "A 3D face model for pose and illumination invariant face recognition. AVSS 2009."
    ),
    "cars3d": (
        "Cars3D: S. Reed, Y. Zhang, Y. Zhang and H. Lee. Deep visual analogy-making. NIPS 2015."
    ),
}


def render(
    identity: Tensor | Sequence[int],
    azimuth: Tensor | Sequence[float],
    elevation: Tensor | Sequence[float],
    light: Tensor | Sequence[float],
    size: int = 64,
    device: torch.device | str | None = None,
    *,
    glasses: Tensor | Sequence[int] | None = None,
    smile: Tensor | Sequence[float] | None = None,
    shape: Tensor | Sequence[int] | None = None,
) -> Tensor:
    """Draw heads.

    Args:
        identity: ``(B,)`` integers from 0; each is another head.
        azimuth: ``(B,)`` degrees by which the camera goes round to the right of the picture, so
            that the head looks to the left; 0 is a frontal view.
        elevation: ``(B,)`` degrees by which the camera rises.
        light: ``(B,)`` degrees by which the light goes to the right of the camera.
        size: pixels a side.
        device: where to draw; by default where ``identity`` is.
        glasses: ``(B,)`` 1 for glasses with dark rims, 0 for none; by default none.
        smile: ``(B,)`` from 0, none, to 1: the mouth grows wider, its corners rise and teeth show.
        shape: ``(B,)`` 0 for a broad jaw, heavy brows and short hair, 1 for a narrow jaw, high thin
            brows, full lips and long hair; by default what the identity has, between the two.

    Returns:
        ``(B, size, size)`` uint8, 0 around the head.

    Raises:
        TypeError: if ``identity`` or ``size`` are not integers.
        ValueError: if the angles and attributes do not have the shape of ``identity``, ``(B,)``, an
            identity is negative, an attribute has another value, or ``size`` is not positive.
    """
    identity = torch.as_tensor(identity, device=device)
    angles = [
        torch.as_tensor(angle, dtype=torch.float32, device=identity.device)
        for angle in (azimuth, elevation, light)
    ]
    shapes = [tuple(values.shape) for values in (identity, *angles)]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise ValueError(
            f"identity, azimuth, elevation and light must have one shape (B,); got {shapes}."
        )
    if identity.dtype not in (torch.uint8, torch.int16, torch.int32, torch.int64):
        raise TypeError(f"identity must hold integers; got {identity.dtype}.")
    if len(identity) and identity.min() < 0:
        raise ValueError(f"identity must not be negative; got {int(identity.min())}.")
    _check_size(size)
    worn = _attributes(identity, glasses=glasses, smile=smile, shape=shape)
    images = torch.empty(len(identity), size, size, dtype=torch.uint8, device=identity.device)
    for rows in torch.arange(len(identity)).split(_at_once(size, identity.device)):
        azimuth, elevation, light = (angle[rows] for angle in angles)
        chosen = _worn(*(None if values is None else values[rows] for values in worn))
        images[rows] = _shade(*_look(identity[rows], azimuth, elevation, size, chosen), light, size)
    return images


def _attributes(identity: Tensor, **values: Tensor | Sequence | None) -> list[Tensor | None]:
    """Check the attributes, one of ``ATTRIBUTES`` after the other; None stays None."""
    checked = []
    for name in ATTRIBUTES:
        value = values[name]
        if value is not None:
            value = torch.as_tensor(value, device=identity.device)
            if value.shape != identity.shape:
                raise ValueError(
                    f"{name} must have the shape of identity, {tuple(identity.shape)}; "
                    f"got {tuple(value.shape)}."
                )
            right = (value >= 0) & (value <= 1)
            if name != "smile":
                right &= (value == 0) | (value == 1)
            if not right.all():
                wanted = "lie between 0 and 1" if name == "smile" else "be 0 or 1"
                raise ValueError(f"{name} must {wanted}; got {value[~right][0].item()}.")
        checked.append(value)
    return checked


def _check_size(size: int) -> None:
    if type(size) is not int:
        raise TypeError(f"size must be an integer; got {size!r}.")
    if size < 1:
        raise ValueError(f"size must be positive; got {size}.")


def _at_once(size: int, device: torch.device) -> int:
    """Return how many heads to draw at once: on a CPU, what its cache holds."""
    rays = 2**15 if device.type == "cpu" else 2**23
    return max(1, rays // (_SAMPLES * size) ** 2)


def _angles(design: str, counts: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the azimuths, elevations and lights of a grid, in degrees."""
    if design == "faces":
        return _spread(-90, 90, counts[1]), _spread(-30, 30, counts[2]), _spread(-75, 75, counts[3])
    around = torch.arange(counts[1]) * (360 / counts[1])
    return around, _spread(0, 30, counts[2]), torch.zeros(1)


def _spread(low: float, high: float, count: int) -> Tensor:
    return torch.linspace(low, high, count) if count > 1 else torch.tensor([(low + high) / 2])


# What makes an identity: the range of each number.
_RANGES = {
    "width": (0.66, 0.82),
    "depth": (0.80, 0.94),
    "taper": (0.0, 0.16),
    "jaw": (0.0, 0.09),
    "chin": (0.0, 0.15),
    "cheeks": (-0.03, 0.06),
    "nose_length": (0.02, 0.15),
    "nose_width": (0.075, 0.14),
    "nose_height": (0.12, 0.30),
    "bridge": (0.02, 0.12),
    "eye_distance": (0.27, 0.37),
    "eye_level": (0.06, 0.18),
    "eye_size": (0.85, 1.25),
    "brow_height": (0.14, 0.20),
    "brow_ridge": (0.0, 0.05),
    "mouth_level": (-0.54, -0.45),
    "mouth_width": (0.14, 0.26),
    "lips": (0.01, 0.045),
    "ear_size": (0.75, 1.3),
    "ear_angle": (0.02, 0.10),
    "neck": (0.34, 0.48),
    "skin": (0.6, 0.95),
    "hair": (0.08, 0.6),
    "hairline": (0.42, 0.70),
    "hair_volume": (0.02, 0.13),
}


def _identities(identity: Tensor) -> dict[str, Tensor]:
    """Return each number of ``_RANGES`` for each head, ``(B, 1)``."""
    count = int(identity.max()) + 1
    # Rows are drawn one after the other: a head does not depend on how many there are.
    drawn = np.random.default_rng(2019).random((count, len(_RANGES)))
    low, high = np.array(list(_RANGES.values())).T
    values = torch.tensor(low + (high - low) * drawn, dtype=torch.float32)
    chosen = values.to(identity.device)[identity.long()]
    return dict(zip(_RANGES, chosen[:, :, None].unbind(1), strict=True))


def _worn(glasses: Tensor | None, smile: Tensor | None, shape: Tensor | None) -> dict[str, Tensor]:
    """Return the attributes that are given, ``(B, 1)`` each, none that no head has."""
    given = {"glasses": glasses, "smile": smile, "shape": shape}
    return {
        name: value.float()[:, None]
        for name, value in given.items()
        if value is not None and (name == "shape" or value.any())
    }


# How each number of an identity changes with the shape: by what is added for 0 and for 1.
_SHAPES = {
    "width": (0.03, -0.03),
    "taper": (-0.03, 0.05),
    "jaw": (0.06, -0.05),
    "chin": (0.05, -0.03),
    "cheeks": (-0.02, 0.03),
    "brow_ridge": (0.04, -0.02),
    "brow_height": (-0.02, 0.02),
    "nose_height": (0.03, -0.03),
    "eye_size": (-0.1, 0.2),
    "lips": (-0.005, 0.012),
    "neck": (0.05, -0.07),
    "hair_volume": (-0.01, 0.03),
    "hairline": (0.04, -0.04),
    "ear_size": (0.05, -0.25),
}


def _dressed(head: dict[str, Tensor], worn: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the numbers of heads that wear attributes."""
    if "shape" in worn:
        changed = {
            name: (head[name] + torch.where(worn["shape"] > 0, one, zero)).clamp(min=0.0)
            for name, (zero, one) in _SHAPES.items()
        }
        head = head | changed
    return head | worn


def _camera(azimuth: Tensor, elevation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the camera's right, up and backward directions in the head's space, (B, 3) each."""
    azimuth, elevation = azimuth.deg2rad(), elevation.deg2rad()
    sin_a, cos_a, sin_e, cos_e = azimuth.sin(), azimuth.cos(), elevation.sin(), elevation.cos()
    right = torch.stack([cos_a, torch.zeros_like(cos_a), -sin_a], 1)
    up = torch.stack([-sin_a * sin_e, cos_e, -cos_a * sin_e], 1)
    back = torch.stack([sin_a * cos_e, sin_e, cos_a * cos_e], 1)
    return right, up, back


def _look(
    identity: Tensor,
    azimuth: Tensor,
    elevation: Tensor,
    size: int,
    worn: dict[str, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Find what each ray meets.

    Returns:
        Normals along the camera's right, up and backward directions, ``(3, B, rays)``, and the
        part of the light that the surface reflects, ``(B, rays)``, 0 where a ray meets nothing.
    """
    rays = _SAMPLES * size
    if not len(identity):
        return torch.zeros(3, 0, rays**2, device=identity.device), torch.zeros(0, rays**2)
    head = _dressed(_identities(identity), worn or {})
    axes = [axis[:, :, None] for axis in _camera(azimuth, elevation)]  # (B, 3, 1) each

    # One ray a pixel finds about where the surface is; the others start a little before that.
    far = torch.full((len(identity), size**2), 1.4, device=identity.device)
    coarse = _march(head, axes, size, far, steps=14).view(-1, 1, size, size)
    near = torch.nn.functional.max_pool2d(coarse, 3, stride=1, padding=1) + 0.04
    start = near.repeat_interleave(_SAMPLES, 2).repeat_interleave(_SAMPLES, 3).flatten(1)
    depth = _march(head, axes, rays, start, steps=12)

    point = _points(axes, rays, depth)
    value = _surface(head, *point)
    moved = [[p + _STEP * axis[:, i] for i, p in enumerate(point)] for axis in axes]
    normal = torch.stack([_surface(head, *there) - value for there in moved])
    normal = normal / normal.norm(dim=0).clamp(min=1e-12)
    return normal, torch.where(value.abs() < 0.012, _reflected(head, *point), 0.0)


def _march(
    head: dict[str, Tensor], axes: Sequence[Tensor], rays: int, depth: Tensor, steps: int
) -> Tensor:
    """Follow rays x rays parallel rays to the surface, and back where a step went through it.

    A ray that passes close to an edge would slow down there; the least step takes it past.
    """
    for _ in range(steps):
        value = _surface(head, *_points(axes, rays, depth))
        depth = depth - torch.where(value > 0.01, (0.6 * value).clamp(min=0.07), 0.6 * value)
    return depth


def _points(axes: Sequence[Tensor], rays: int, depth: Tensor) -> list[Tensor]:
    """Return the points (x, y, z) of the rays at a depth, ``(B, rays * rays)`` each."""
    right, up, back = axes
    side = _EXTENT * ((torch.arange(rays, device=depth.device) + 0.5) * (2 / rays) - 1)
    u, v = side.repeat(rays), _LIFT - side.repeat_interleave(rays)
    return [u * right[:, i] + v * up[:, i] + depth * back[:, i] for i in range(3)]


def _surface(head: dict[str, Tensor], x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Return F, positive outside: a smooth minimum of the parts."""
    parts = torch.stack(_parts(head, x, y, z)[:3])
    return -_BLEND * torch.logsumexp(parts / -_BLEND, 0)


def _parts(head: dict[str, Tensor], x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    """Return F of the skull, the neck and the ears, and the direction q / |q|, without its sign."""
    x = x.abs()  # heads are symmetric
    a = x / (head["width"] * (1 + head["taper"] * y.clamp(-1.2, 1.2)))
    c = z / head["depth"]
    length = torch.sqrt(a * a + y * y + c * c).clamp(min=1e-6)
    a, b, c = a / length, y / length, c / length

    eye_x, eye_y, mouth = head["eye_distance"], head["eye_level"], head["mouth_level"]
    brow, tip = eye_y + head["brow_height"], eye_y - 0.22 - head["nose_length"]
    front = (
        head["nose_height"] * _bump(a, b, 0, tip, head["nose_width"], 0.075)
        + head["bridge"] * _bump(a, b, 0, (tip + eye_y) / 2, 0.06, 0.14)
        - 0.075 * _bump(a, b, eye_x, eye_y, 0.12, 0.085)
        + 0.06 * _bump(a, b, eye_x, eye_y, 0.08 * head["eye_size"], 0.055 * head["eye_size"])
        + head["brow_ridge"] * _bump(a, b, eye_x, brow, 0.15, 0.05)
        + head["cheeks"] * _bump(a, b, 0.45, -0.2, 0.16, 0.16)
        + head["lips"] * _bump(a, b, 0, mouth + 0.045, head["mouth_width"], 0.03)
        + head["lips"] * _bump(a, b, 0, mouth - 0.05, 0.85 * head["mouth_width"], 0.035)
        + head["chin"] * _bump(a, b, 0, -0.82, 0.22, 0.13)
    )
    if "smile" in head:
        front = front + 0.035 * head["smile"] * _bump(a, b, 0.36, mouth + 0.2, 0.14, 0.12)
    if "glasses" in head:
        front = front + 0.03 * head["glasses"] * _rims(head, a, b)
    jaw = head["jaw"] * _bump(a, b, 0.6, -0.72, 0.2, 0.2)
    shape = 1 + front * torch.sigmoid(14 * (c - 0.2)) + jaw
    if "shape" in head:
        shape = shape + 0.2 * _long_hair(head, b, c) * torch.sigmoid(8 * (0.2 - b))
    skull = (length - shape - head["hair_volume"] * _hair(head, b, c)) * head["width"]

    neck = torch.maximum(torch.sqrt(x * x + (z + 0.18) ** 2 + 1e-6) - head["neck"], y + 0.3)
    ear_x = x - head["width"] - head["ear_angle"] * (1 - 4 * (z + 0.08))
    ear = torch.sqrt((ear_x / 0.06) ** 2 + ((y - 0.02) / 0.2) ** 2 + ((z + 0.08) / 0.11) ** 2)
    return skull, neck, (ear - head["ear_size"]) * 0.06, a, b, c


def _bump(
    a: Tensor, b: Tensor, a0: Tensor | float, b0: Tensor | float, width: Tensor, height: Tensor
) -> Tensor:
    return torch.exp(-0.5 * (((a - a0) / width) ** 2 + ((b - b0) / height) ** 2))


def _hair(head: dict[str, Tensor], b: Tensor, c: Tensor) -> Tensor:
    """Return 1 where hair grows, 0 elsewhere: above a line that falls towards the back."""
    return torch.sigmoid(24 * (0.78 * b - 0.62 * c - 0.78 * head["hairline"] + 0.52))


def _long_hair(head: dict[str, Tensor], b: Tensor, c: Tensor) -> Tensor:
    """Return 1 where long hair falls beside the face, as far down as the chin."""
    return head["shape"] * torch.sigmoid(24 * (0.1 - c)) * torch.sigmoid(24 * (b + 0.9))


def _rims(head: dict[str, Tensor], a: Tensor, b: Tensor) -> Tensor:
    """Return 1 where the rims of glasses are, their bridge and their sides, 0 elsewhere."""
    across, up = (a - head["eye_distance"] - 0.02) / 0.26, (b - head["eye_level"] + 0.01) / 0.21
    ring = torch.sigmoid(40 * (0.17 - (torch.sqrt(across**2 + up**2 + 1e-6) - 0.9).abs()))
    level = torch.sigmoid(160 * (0.03 - (b - head["eye_level"] - 0.04).abs()))
    return torch.maximum(ring, level * ((up.abs() < 1) & (across.abs() > 0.9)))


def _reflected(head: dict[str, Tensor], x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Return the part of the light that a point of the surface reflects: skin, lips, eyes, hair."""
    skull, neck, ear, a, b, c = _parts(head, x, y, z)
    front = torch.sigmoid(30 * (c - 0.3))
    eye = head["eye_distance"], head["eye_level"]
    hair = head["hair"] * head["skin"]

    def spot(a0, b0, width, height):
        distance = torch.sqrt(((a - a0) / width) ** 2 + ((b - b0) / height) ** 2 + 1e-6)
        return torch.sigmoid(9 * (1 - distance)) * front

    mouth, mouth_width, height = head["mouth_level"], head["mouth_width"], 0.08
    lips = 0.55 * head["skin"]
    if "smile" in head:
        mouth_width = mouth_width * (1 + 0.5 * head["smile"])
        mouth = mouth + head["smile"] * (0.1 * (a / mouth_width) ** 2 - 0.03)
        height = height * (1 + 0.6 * head["smile"])
        lips = lips * (1 - 0.6 * head["smile"])
    colour = head["skin"].expand_as(a)
    paints = [
        (lips, spot(0, mouth, 1.15 * mouth_width, height)),
        (hair, spot(eye[0], eye[1] + head["brow_height"], 0.16, 0.035)),
        (torch.ones_like(hair), spot(*eye, 0.13 * head["eye_size"], 0.07 * head["eye_size"])),
        (
            0.05 * torch.ones_like(hair),
            spot(*eye, 0.06 * head["eye_size"], 0.06 * head["eye_size"]),
        ),
    ]
    if "smile" in head:
        teeth = spot(0, mouth, 0.85 * mouth_width, 0.075 * head["smile"].clamp(min=0.2))
        paints.insert(1, (torch.ones_like(hair), head["smile"] * teeth))
    if "glasses" in head:
        dark, seen = 0.03 * torch.ones_like(hair), head["glasses"] * torch.sigmoid(30 * (c + 0.1))
        paints.append((dark, _rims(head, a, b) * seen))
    hairy = _hair(head, b, c)
    if "shape" in head:
        hairy = torch.maximum(hairy, _long_hair(head, b, c - 0.16))  # also where it thins out
    paints.append((hair, hairy * (skull < torch.minimum(neck, ear))))
    for paint, where in paints:
        colour = torch.lerp(colour, paint.expand_as(a), where)
    return colour


def _shade(normal: Tensor, reflected: Tensor, light: Tensor, size: int) -> Tensor:
    """Light what was seen: ``(B, rays)`` and ``(B,)`` degrees to ``(B, size, size)`` uint8."""
    light, height = light.deg2rad()[:, None], math.radians(LIGHT_HEIGHT)
    right, up, back = normal
    cosine = math.cos(height) * (light.sin() * right + light.cos() * back) + math.sin(height) * up
    brightness = reflected * (AMBIENT + (1 - AMBIENT) * cosine.clamp(min=0))
    brightness = brightness.sqrt()  # as a screen expects it
    pixels = brightness.unflatten(1, (size, _SAMPLES, size, _SAMPLES)).mean((2, 4))
    return (pixels * 255).round().clamp(0, 255).to(torch.uint8)
