"""Forward kinematics against positions worked out by hand."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from vaelite.data.skeleton import Bone, Skeleton

HALF = math.sqrt(0.5)


def test_a_chain_of_two_bones():
    arm = Skeleton(
        (
            Bone("upper", "root", (1.0, 0.0, 0.0), 3.0, ("rz",)),
            Bone("lower", "upper", (1.0, 0.0, 0.0), 2.0, ("rz",)),
        )
    )
    a, b = torch.tensor([0.0, 90.0, 30.0, -45.0]), torch.tensor([90.0, -90.0, 15.0, 45.0])
    at = arm.positions(torch.stack([b, a], -1), ["lower_rz", "upper_rz"])
    a, both = torch.deg2rad(a), torch.deg2rad(a + b)
    elbow = torch.stack([3 * a.cos(), 3 * a.sin(), 0 * a], -1)
    hand = elbow + torch.stack([2 * both.cos(), 2 * both.sin(), 0 * a], -1)
    assert at.shape == (4, 3, 3)
    torch.testing.assert_close(at, torch.stack([0 * elbow, elbow, hand], 1))


@pytest.mark.parametrize(
    ("axis", "before", "after"),
    [("rx", (0, 1, 0), (0, 0, 1)), ("ry", (0, 0, 1), (1, 0, 0)), ("rz", (1, 0, 0), (0, 1, 0))],
)
def test_a_quarter_turn_by_the_right_hand(axis, before, after):
    stick = Skeleton((Bone("stick", "root", before, 2.0, (axis,)),))
    end = stick.positions(torch.tensor([90.0]), [f"stick_{axis}"])[1]
    torch.testing.assert_close(end, 2 * torch.tensor(after, dtype=torch.float))
    turned = stick.positions(torch.tensor([90.0]), [f"root_{axis}"])[1]
    torch.testing.assert_close(turned, end)


def test_the_axis_named_first_turns_first():
    # y to z about x, and then z stays about z; the other way round y would go to -x.
    stick = Skeleton((Bone("stick", "root", (0, 1, 0), 1.0, ("rx", "rz")),))
    both = torch.tensor([90.0, 90.0])
    end = stick.positions(both, ["stick_rx", "stick_rz"])[1]
    torch.testing.assert_close(end, torch.tensor([0.0, 0.0, 1.0]))
    other = Skeleton((Bone("stick", "root", (0, 1, 0), 1.0, ("rz", "rx")),))
    end = other.positions(both, ["stick_rx", "stick_rz"])[1]
    torch.testing.assert_close(end, torch.tensor([-1.0, 0.0, 0.0]))


def test_a_bone_turns_about_axes_of_its_own():
    # Turned by 90 degrees about z, the bone's x axis is the world's y, which takes z to x.
    stick = Skeleton((Bone("stick", "root", (0, 0, 1), 1.0, ("rx",), (0.0, 0.0, 90.0)),))
    end = stick.positions(torch.tensor([90.0]), ["stick_rx"])[1]
    torch.testing.assert_close(end, torch.tensor([1.0, 0.0, 0.0]))
    rest = stick.positions(torch.tensor([0.0]), ["stick_rx"])[1]
    torch.testing.assert_close(rest, torch.tensor([0.0, 0.0, 1.0]))


def test_all_rotations_against_scipy():
    generator = torch.Generator().manual_seed(0)
    axis, angles = 360 * torch.rand(2, 3, dtype=torch.float64, generator=generator)
    root = 360 * torch.rand(3, dtype=torch.float64, generator=generator)
    direction = (HALF, 0.0, -HALF)
    for order in ("XYZ", "ZXY"):
        bone = Bone("bone", "root", direction, 1.7, ("rx", "ry", "rz"), tuple(axis.tolist()), order)
        channels = [f"{n}_r{a}" for n in ("root", "bone") for a in "xyz"]
        end = Skeleton((bone,)).positions(torch.cat([root, angles]), channels)[1]
        turns = {letter: value for letter, value in zip("XYZ", axis.tolist(), strict=True)}
        frame = Rotation.from_euler(order.lower(), [turns[x] for x in order], degrees=True)
        local = frame * Rotation.from_euler("xyz", angles, degrees=True) * frame.inv()
        turned = Rotation.from_euler("xyz", root, degrees=True) * local
        torch.testing.assert_close(end, torch.tensor(turned.apply(direction) * 1.7))


def test_the_root_moves_everything():
    stick = Skeleton((Bone("stick", "root", (0, 1, 0), 2.0),))
    moved = stick.positions(torch.tensor([[5.0, 7.0]]), ["root_ty", "root_tx"])
    assert moved.tolist() == [[[7.0, 5.0, 0.0], [7.0, 7.0, 0.0]]]


def test_bones_may_come_in_any_order():
    lower, upper = Bone("b", "a", (0, 1, 0), 2.0, ("rx",)), Bone("a", "root", (1, 0, 0), 3.0)
    skeleton = Skeleton((lower, upper))
    assert skeleton.joints == ("root", "b", "a") and skeleton.edges == ((2, 1), (0, 2))
    assert skeleton.channels == (*(f"root_{a}" for a in "tx ty tz rx ry rz".split()), "b_rx")
    at = skeleton.positions(torch.tensor([0.0]), ["b_rx"])
    assert at.tolist() == [[0, 0, 0], [3, 2, 0], [3, 0, 0]]


def test_positions_can_be_differentiated():
    bones = (Bone("a", "root", (1, 0, 0), 1.0, ("rz",)), Bone("b", "a", (0, 1, 0), 1.0, ("rx",)))
    angles = torch.tensor([[20.0, 50.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: Skeleton(bones).positions(x, ["a_rz", "b_rx"]), angles
    )


@pytest.mark.parametrize(
    ("bones", "message"),
    [
        ([Bone("a", "root", (1, 0, 0), 1), Bone("a", "root", (1, 0, 0), 1)], "2 bones named 'a'"),
        ([Bone("a", "b", (1, 0, 0), 1)], "a hangs on 'b', which is no bone"),
        ([Bone("a", "b", (1, 0, 0), 1), Bone("b", "a", (1, 0, 0), 1)], "a hangs in a circle"),
        ([Bone("a", "root", (1, 0, 0), 1, ("tx",))], "a cannot move by 'tx', only by rx, ry, rz"),
        ([Bone("a", "root", (1, 0, 0), 1, ("rx", "rx"))], "a names a degree of freedom twice"),
    ],
)
def test_bones_that_make_no_skeleton(bones, message):
    with pytest.raises(ValueError, match=message):
        Skeleton(tuple(bones))


def test_channels_that_do_not_fit():
    stick = Skeleton((Bone("stick", "root", (0, 1, 0), 2.0, ("rx",)),))
    with pytest.raises(ValueError, match="angles has 3 columns for 1 channels"):
        stick.positions(torch.zeros(5, 3), ["stick_rx"])
    with pytest.raises(ValueError, match="the skeleton has no channel 'stick_ry'"):
        stick.positions(torch.zeros(5, 2), ["stick_rx", "stick_ry"])
