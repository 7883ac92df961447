"""Motion: frames of joint angles, with the limbs that the angles belong to, and their scaling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaelite.data.dataset import Dataset
from vaelite.data.groups import Groups
from vaelite.data.skeleton import Skeleton

NARROWEST = 0.1  # a channel that spans less than this many degrees is scaled as if it spanned this


@dataclass(frozen=True, eq=False, repr=False)
class Motion(Dataset):
    r"""A data set of joint angles: x is ``(frames, C)`` float32, the label is the trial.

    Where it is scaled, :math:`x = (a - \min) / \max(\max - \min, 0.1)` for an angle a in degrees,
    with the extremes that the channel has in the trials it was scaled by: there x fills [0, 1],
    elsewhere it may leave it.  This is what factVAE's authors do.

    Attributes:
        channels: what each column is, as ``rfemur_rx``.
        groups: the columns of each limb.
        low: the value in degrees, of each channel, that became 0.
        span: how many degrees became 1.
        rest: the angles in degrees of channels that were left out because they never change.
    """

    channels: tuple[str, ...] = ()
    groups: Groups | None = None
    low: tuple[float, ...] = ()
    span: tuple[float, ...] = ()
    rest: Mapping[str, float] | None = None

    def degrees(self, x: Tensor | None = None) -> Tensor:
        """Return ``x``, by default all frames, as angles in degrees: ``(..., C)``."""
        x = self.x if x is None else x
        return x * x.new_tensor(self.span) + x.new_tensor(self.low)

    def positions(self, skeleton: Skeleton, x: Tensor | None = None) -> Tensor:
        """Return the joints' places, of all frames or those of ``x``: ``(..., C) -> (..., J, 3)``.

        The root stays at the origin, unless its position is among the channels.
        """
        rest = self.rest or {}
        angles = self.degrees(x)
        still = angles.new_tensor(list(rest.values())).expand(*angles.shape[:-1], len(rest))
        return skeleton.positions(torch.cat([angles, still], -1), (*self.channels, *rest))


def collect(
    trials: Mapping[int, np.ndarray],
    scale_by: Iterable[np.ndarray] | None,
    channels: Sequence[str],
    limbs: Mapping[str, Sequence[str]],
    **fields: Any,
) -> Motion:
    """Make a data set of trials, each ``(frames, C)`` in degrees; ``fields`` are its own."""
    degrees = np.concatenate(list(trials.values()))
    low, span = np.zeros(len(channels)), np.ones(len(channels))
    if scale_by is not None:
        known = np.concatenate(list(scale_by))
        low = known.min(0)
        span = np.maximum(known.max(0) - low, NARROWEST)
    numbers = [np.full(len(frames), number) for number, frames in trials.items()]
    return Motion(
        x=torch.from_numpy(((degrees - low) / span).astype(np.float32)),
        labels=torch.from_numpy(np.concatenate(numbers)).long(),
        channels=tuple(channels),
        groups=limb_groups(channels, limbs),
        low=tuple(low.tolist()),
        span=tuple(span.tolist()),
        **fields,
    )


def limb_groups(channels: Sequence[str], limbs: Mapping[str, Sequence[str]]) -> Groups:
    """Return the columns of each limb: those of channels ``bone_axis`` whose bone it has.

    Raises:
        ValueError: if a bone belongs to no limb or to two, or a limb has no channel.
    """
    bones = [channel.rpartition("_")[0] for channel in channels]
    homeless = sorted(set(bones) - {bone for limb in limbs.values() for bone in limb})
    if homeless:
        raise ValueError(f"{', '.join(homeless)} belongs to none of the limbs {', '.join(limbs)}.")
    return Groups(
        {name: [n for n, bone in enumerate(bones) if bone in limb] for name, limb in limbs.items()}
    )


def check_trials(name: str, trials: Sequence[int], end: int | None = None) -> tuple[int, ...]:
    """Return trials; raise ValueError if they are not different integers from 1 to ``end``."""
    wanted = "different integers from 1" + ("" if end is None else f" to {end}")
    listed = isinstance(trials, Sequence | range) and not isinstance(trials, str)
    if (
        not listed
        or not trials
        or len(set(trials)) != len(trials)
        or any(type(n) is not int or n < 1 or (end is not None and n > end) for n in trials)
    ):
        raise ValueError(f"{name} must be {wanted}, at least one; got {trials!r}.")
    return tuple(trials)
