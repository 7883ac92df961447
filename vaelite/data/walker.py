r"""Walker: a kinematic skeleton that walks, made by a formula, in joint angles.

A stand-in for the CMU walks (:mod:`vaelite.data.mocap`): neighbouring frames are alike, the limbs
move together, and each trial is a walk of its own manner.  A gait has a phase :math:`\varphi_t`
that advances by :math:`2 \pi / T` a frame, not quite evenly; at phase 0 the right heel strikes, at
:math:`\pi` the left one.  Angle c of a limb is

.. math::
    a_{ct} = b_c + s_c \, (1 + 0.15 u_{gt}) f_c(\varphi_t + \lambda_g) + w_{gt} v_c + \sigma
    \epsilon_{ct},

with a curve :math:`f_c` that roughly follows what an adult's joint does (Winter, 1991), and the
trial's own posture :math:`b_c`, size :math:`s_c` and lead :math:`\lambda_g` of the limb g.  Two
slow, independent noises of variance 1 are the limb's own: :math:`u_{gt}` makes its swing larger or
smaller, and :math:`w_{gt}` bends it along :math:`v_c`.  So the phase is what all limbs share, and u
and w are what one limb alone can tell.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from numbers import Real

import numpy as np
import torch

from vaelite._validation import check_count, check_seed
from vaelite.data.motion import Motion, check_trials, collect
from vaelite.data.skeleton import ANGLES, Bone, Skeleton

TRIALS = tuple(range(1, 13))
LIMBS = {
    "core": ("root", "lowerback", "head"),
    "right arm": ("rhumerus", "rradius", "rhand"),
    "left arm": ("lhumerus", "lradius", "lhand"),
    "right leg": ("rfemur", "rtibia", "rfoot", "rtoes"),
    "left leg": ("lfemur", "ltibia", "lfoot", "ltoes"),
}

_MEMORY = 0.98  # of the slow noises, from one frame to the next
_PHASE_NOISE = 0.15  # of the advance of the phase, relative


def load(
    trials: Sequence[int] = TRIALS,
    scale_by: Sequence[int] | None = None,
    frames: int = 300,
    noise: float = 0.5,
    seed: int = 0,
) -> Motion:
    """Make some walks, one after the other, with five limbs as groups.

    Trial k is the same walk whichever others are asked for.  Neighbouring frames are alike: hold
    out whole trials.

    Args:
        trials: which walks, by their numbers from 1 on.
        scale_by: the trials, those of the training, whose least and greatest angle of each channel
            become 0 and 1; None leaves degrees.
        frames: of each trial; about 120 are two steps.  The first ones do not depend on it.
        noise: standard deviation in degrees, independent in each channel and frame.
        seed: of all walks.

    Returns:
        ``(frames in all, 30)`` float32; the label is the trial; the factor is the phase of the
        gait, in percent from one strike of the right heel to the next.

    Raises:
        ValueError: if ``trials`` or ``scale_by`` are not different positive integers, ``frames`` is
            not a positive integer, ``noise`` is negative or not finite, or ``seed`` is not an
            integer from 0.
    """
    trials = check_trials("trials", trials)
    scale_by = None if scale_by is None else check_trials("scale_by", scale_by)
    frames = check_count("frames", frames)
    if not isinstance(noise, Real) or not 0 <= noise < math.inf:
        raise ValueError(f"noise must be a number from 0, and finite; got {noise!r}.")
    check_seed(seed)
    walks = {trial: _walk(trial, frames, noise, seed) for trial in {*trials, *(scale_by or ())}}
    phase = np.concatenate([walks[trial][1] for trial in trials])
    percent = (phase / (2 * math.pi) % 1 * 100).astype(np.int64)
    return collect(
        {trial: walks[trial][0] for trial in trials},
        None if scale_by is None else [walks[trial][0] for trial in scale_by],
        channels=_channels(),
        limbs=LIMBS,
        name="walker",
        source="stand-in",
        citation=(
            "Made by a formula, after D. A. Winter. The Biomechanics and Motor Control of Human "
            "Gait, 1991."
        ),
        factors=torch.from_numpy(percent)[:, None],
        factor_names=("phase",),
    )


@functools.lru_cache(maxsize=1)
def skeleton() -> Skeleton:
    """Return the skeleton: lengths in metres, x to its left, y up and z ahead, arms hanging.

    A positive ``rx`` tilts the trunk and the head ahead, and takes legs, arms and hands back.
    """
    bones = [
        Bone("lowerback", "root", (0.0, 1.0, 0.0), 0.25, ANGLES),
        Bone("upperback", "lowerback", (0.0, 1.0, 0.0), 0.25),
        Bone("head", "upperback", (0.0, 1.0, 0.0), 0.28, ("rx", "ry")),
    ]
    for side, out in (("r", -1.0), ("l", 1.0)):
        bones += [
            Bone(f"{side}shoulder", "upperback", (out, 0.0, 0.0), 0.19),
            Bone(f"{side}humerus", f"{side}shoulder", (0.0, -1.0, 0.0), 0.30, ANGLES),
            Bone(f"{side}radius", f"{side}humerus", (0.0, -1.0, 0.0), 0.26, ("rx",)),
            Bone(f"{side}hand", f"{side}radius", (0.0, -1.0, 0.0), 0.16, ("rx",)),
            Bone(f"{side}hip", "root", (out, 0.0, 0.0), 0.10),
            Bone(f"{side}femur", f"{side}hip", (0.0, -1.0, 0.0), 0.43, ANGLES),
            Bone(f"{side}tibia", f"{side}femur", (0.0, -1.0, 0.0), 0.42, ("rx",)),
            Bone(f"{side}foot", f"{side}tibia", (0.0, 0.0, 1.0), 0.16, ("rx",)),
            Bone(f"{side}toes", f"{side}foot", (0.0, 0.0, 1.0), 0.07, ("rx",)),
        ]
    return Skeleton(tuple(bones), root_degrees_of_freedom=ANGLES)


def _bump(phase: np.ndarray, middle: float, sharpness: float) -> np.ndarray:
    """Return a bump of height 1 at ``middle``, a fraction of the cycle."""
    return np.exp(sharpness * (np.cos(phase - 2 * math.pi * middle) - 1))


# Of each channel: its rest in degrees; its swing as a function of the phase since the heel of its
# own side struck, in the core the right one; and by how much the limb's slow bend moves it.  For a
# left limb, angles about y and z change their sign.
_LEG = {
    "femur_rx": (-8.0, lambda p: -20 * np.cos(p) - 3 * np.cos(2 * p - 0.6), 2.0),
    "femur_ry": (-4.0, lambda p: 4 * np.cos(p + 0.5), 1.5),
    "femur_rz": (2.0, lambda p: 4 * np.sin(p), 1.5),
    "tibia_rx": (4.0, lambda p: 14 * _bump(p, 0.14, 5) + 56 * _bump(p, 0.73, 5), 2.0),
    "foot_rx": (0.0, lambda p: -10 * _bump(p, 0.42, 4) + 20 * _bump(p, 0.63, 12), 2.0),
    "toes_rx": (0.0, lambda p: -28 * _bump(p, 0.58, 8), 1.0),
}
_ARM = {
    "humerus_rx": (4.0, lambda p: 18 * np.cos(p), 3.0),
    "humerus_ry": (6.0, lambda p: 5 * np.cos(p - 0.4), 2.0),
    "humerus_rz": (-8.0, lambda p: 2 * np.sin(p), 2.0),
    "radius_rx": (-25.0, lambda p: 10 * np.cos(p - 0.3), 5.0),
    "hand_rx": (-8.0, lambda p: 3 * np.cos(p - 0.8), 4.0),
}
_CORE = {
    "root_rx": (3.0, lambda p: 1.5 * np.cos(2 * p + 0.5), 0.5),
    "root_ry": (0.0, lambda p: 5 * np.cos(p), 0.0),
    "root_rz": (0.0, lambda p: -4 * np.sin(p), 0.0),
    "lowerback_rx": (3.0, lambda p: -1.5 * np.cos(2 * p), 1.5),
    "lowerback_ry": (0.0, lambda p: -9 * np.cos(p), 1.0),
    "lowerback_rz": (0.0, lambda p: 4 * np.sin(p), 1.0),
    "head_rx": (-2.0, lambda p: 1.5 * np.cos(2 * p + 1.0), 3.0),
    "head_ry": (0.0, lambda p: 4 * np.cos(p), 6.0),
}


def _channels() -> list[str]:
    sides = [(_ARM, "r"), (_ARM, "l"), (_LEG, "r"), (_LEG, "l")]
    return [*_CORE, *(side + name for limb, side in sides for name in limb)]


def _walk(trial: int, frames: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return angles ``(frames, 30)`` in degrees and the phase ``(frames,)``."""
    from scipy.signal import lfilter

    manner, steps, slow, fast = (np.random.default_rng([seed, trial, s]) for s in range(4))
    period = manner.uniform(105, 145)
    advance = 2 * math.pi / period * (1 + _PHASE_NOISE * steps.standard_normal(frames))
    phase = manner.uniform(0, 2 * math.pi) + np.cumsum(advance)
    stride = manner.uniform(0.8, 1.2)
    # Rows of random numbers, so that the first frames do not depend on how many there are.
    drift = slow.standard_normal((frames, len(LIMBS), 2))
    drift[1:] *= math.sqrt(1 - _MEMORY**2)  # of variance 1 from the first frame on
    drift = lfilter([1], [1, -_MEMORY], drift, axis=0)
    columns = []
    for number, (limb, curves) in enumerate(
        zip(LIMBS, (_CORE, _ARM, _ARM, _LEG, _LEG), strict=True)
    ):
        arm, left = "arm" in limb, "left" in limb
        lead = manner.normal(0, 0.15) + (math.pi if left else 0)
        size = stride * (manner.uniform(0.5, 1.5) if arm else manner.uniform(0.9, 1.1))
        swing = size * (1 + 0.15 * drift[:, number, 0])
        for name, (rest, curve, bend) in curves.items():
            mirrored = -1 if left and not name.endswith("rx") else 1
            posture = rest + manner.normal(0, 2)
            angle = posture + swing * curve(phase + lead) + bend * drift[:, number, 1]
            columns.append(mirrored * angle)
    angles = np.stack(columns, 1)
    return angles + noise * fast.standard_normal(angles.shape), phase
