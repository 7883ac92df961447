r"""Skeletons: bones that turn against each other, and where their joints are in space.

Forward kinematics.  A bone b of length :math:`\ell_b` points, at rest, along :math:`d_b`, and turns
by the matrix :math:`M_b` of its joint angles about axes of its own, which stand in space as
:math:`C_b` says.  So its rotation against the world and its end are

.. math::
    G_b = G_{\mathrm{parent}} C_b M_b C_b^\top, \qquad
    e_b = e_{\mathrm{parent}} + \ell_b \, G_b d_b,

from the root on, which has an angle and a position of its own (the convention of Acclaim's ``.asf``
files).  A bone that turns about several axes turns about the one named first first.  Positive
angles follow the right hand: about x they take y to z, about y z to x, about z x to y.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

POSITIONS = ("tx", "ty", "tz")
ANGLES = ("rx", "ry", "rz")


@dataclass(frozen=True)
class Bone:
    """A bone, from the end of its parent to its own end.

    Attributes:
        name: what it is called.
        parent: the bone that it hangs on, or ``root``.
        direction: where it points at rest, a unit vector in the world's axes.
        length: in the skeleton's unit.
        degrees_of_freedom: the axes that it turns about: some of ``rx``, ``ry``, ``rz``, in the
            order in which it turns.
        axis: the angles, in degrees, that turn the world's axes into its own.
        axis_order: the order in which they turn, as ``XYZ``.
    """

    name: str
    parent: str
    direction: tuple[float, float, float]
    length: float
    degrees_of_freedom: tuple[str, ...] = ()
    axis: tuple[float, float, float] = (0.0, 0.0, 0.0)
    axis_order: str = "XYZ"


@dataclass(frozen=True)
class Skeleton:
    """Bones on a root.

    Attributes:
        bones: in any order.
        root_degrees_of_freedom: the root's channels in their order.
        root_orientation: as a bone's ``axis``.
        root_axis_order: as a bone's ``axis_order``.

    Raises:
        ValueError: if two bones have one name, a parent is missing, bones hang on each other in a
            circle, or a degree of freedom is none or is named twice.
    """

    bones: tuple[Bone, ...]
    root_degrees_of_freedom: tuple[str, ...] = POSITIONS + ANGLES
    root_orientation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    root_axis_order: str = "XYZ"

    def __post_init__(self):
        """Check that it hangs together."""
        for name, times in Counter(self.joints).items():
            if times > 1:
                raise ValueError(f"there are {times} bones named {name!r}.")
        _check_freedom("root", self.root_degrees_of_freedom, POSITIONS + ANGLES)
        for bone in self.bones:
            _check_freedom(bone.name, bone.degrees_of_freedom, ANGLES)
            if bone.parent not in self.joints:
                raise ValueError(f"{bone.name} hangs on {bone.parent!r}, which is no bone.")
        self._parents_first()

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of the points that :meth:`positions` returns: the root and each bone's end."""
        return ("root", *(bone.name for bone in self.bones))

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of all degrees of freedom, as ``root_tx`` or ``ltibia_rx``, bone after bone."""
        freedom = {"root": self.root_degrees_of_freedom}
        freedom |= {bone.name: bone.degrees_of_freedom for bone in self.bones}
        return tuple(f"{name}_{axis}" for name, axes in freedom.items() for axis in axes)

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """For each bone, the numbers of the two joints that it connects, to draw it."""
        number = {name: n for n, name in enumerate(self.joints)}
        return tuple((number[bone.parent], number[bone.name]) for bone in self.bones)

    def positions(self, angles: Tensor, channels: Sequence[str]) -> Tensor:
        """Return the places of :attr:`joints`: ``(..., C)`` becomes ``(..., J, 3)``.

        Args:
            angles: angles in degrees; root positions in the unit of the lengths.
            channels: which channel each column is; the others are 0, so that without the root's
                position the root stays where it is.

        Raises:
            ValueError: if there are not as many columns as channels, or the skeleton has no such
                channel.
        """
        if angles.shape[-1] != len(channels):
            raise ValueError(f"angles has {angles.shape[-1]} columns for {len(channels)} channels.")
        unknown = set(channels) - set(self.channels)
        if unknown:
            raise ValueError(f"the skeleton has no channel {min(unknown)!r}.")
        column = dict(zip(channels, angles.unbind(-1), strict=True))
        nothing = angles.new_zeros(angles.shape[:-1])

        def turned(name: str, freedom: Sequence[str]) -> Tensor:
            """Return the rotation by a joint's angles."""
            matrix = torch.eye(3, dtype=angles.dtype, device=angles.device)
            for axis in freedom:
                if f"{name}_{axis}" in column and axis in ANGLES:
                    matrix = _rotation(axis[1], column[f"{name}_{axis}"]) @ matrix
            return matrix

        def frame(axis: Sequence[float], order: str) -> Tensor:
            """Return C, which turns the world's axes into a bone's."""
            matrix = torch.eye(3, dtype=angles.dtype, device=angles.device)
            for letter in order:
                matrix = (
                    _rotation(letter.lower(), angles.new_tensor(axis["XYZ".index(letter)])) @ matrix
                )
            return matrix

        at = {"root": torch.stack([column.get(f"root_{axis}", nothing) for axis in POSITIONS], -1)}
        own = frame(self.root_orientation, self.root_axis_order)
        rotation = {"root": own @ turned("root", self.root_degrees_of_freedom) @ own.T}
        for bone in self._parents_first():
            own = frame(bone.axis, bone.axis_order)
            local = own @ turned(bone.name, bone.degrees_of_freedom) @ own.T
            rotation[bone.name] = rotation[bone.parent] @ local
            along = bone.length * angles.new_tensor(bone.direction)
            at[bone.name] = at[bone.parent] + rotation[bone.name] @ along
        return torch.stack([at[name] for name in self.joints], -2)

    def _parents_first(self) -> list[Bone]:
        """Return the bones so that each comes after its parent."""
        waiting, placed, order = list(self.bones), {"root"}, []
        while waiting:
            ready = [bone for bone in waiting if bone.parent in placed]
            if not ready:
                raise ValueError(f"{waiting[0].name} hangs in a circle, not on the root.")
            order += ready
            placed |= {bone.name for bone in ready}
            waiting = [bone for bone in waiting if bone.name not in placed]
        return order


def _check_freedom(name: str, freedom: Sequence[str], known: Sequence[str]) -> None:
    for axis in freedom:
        if axis not in known:
            raise ValueError(f"{name} cannot move by {axis!r}, only by {', '.join(known)}.")
    if len(set(freedom)) != len(freedom):
        raise ValueError(f"{name} names a degree of freedom twice: {', '.join(freedom)}.")


def _rotation(axis: str, degrees: Tensor) -> Tensor:
    """Return rotations about a coordinate axis: ``(...)`` becomes ``(..., 3, 3)``."""
    angle = torch.deg2rad(degrees)
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    rows = {
        "x": (one, zero, zero, zero, cos, -sin, zero, sin, cos),
        "y": (cos, zero, sin, zero, one, zero, -sin, zero, cos),
        "z": (cos, -sin, zero, sin, cos, zero, zero, zero, one),
    }
    return torch.stack(rows[axis], -1).unflatten(-1, (3, 3))
