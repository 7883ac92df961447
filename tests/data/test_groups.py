import pytest
import torch

from vaelite.data.groups import Groups

GROUPS = Groups({"odd": [5, 1, 3], "zero": [0], "even": (2, 4)})


def test_names_and_channels():
    assert list(GROUPS) == ["odd", "zero", "even"]
    assert GROUPS.sizes == (3, 1, 2) and len(GROUPS) == 3
    assert GROUPS["odd"].tolist() == [5, 1, 3]
    assert repr(GROUPS) == "Groups(odd: 3, zero: 1, even: 2)"


def test_splitting_and_joining_are_inverse():
    x = 10 * torch.arange(2 * 4).view(2, 4, 1) + torch.arange(6)
    odd, zero, even = GROUPS.split(x)
    assert odd[1, 3].tolist() == [75, 71, 73]
    assert zero[1, 3].tolist() == [70] and even[1, 3].tolist() == [72, 74]
    assert torch.equal(GROUPS.join([odd, zero, even]), x)


def test_a_mask_of_groups_covers_their_channels():
    observed = torch.tensor([[True, False, False], [False, True, False]])
    covered = GROUPS.mask(observed)
    assert covered.tolist() == [
        [False, True, False, True, False, True],
        [True, False, False, False, False, False],
    ]


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ({}, "at least one group; got none"),
        ({"a": [0, 1], "b": []}, "group 'b' has no channel"),
        ({"a": [0, 1], "b": [1]}, r"each of 3 channels, from 0 on, exactly once; got \[0, 1, 1\]"),
        ({"a": [0, 1], "b": [3]}, r"exactly once; got \[0, 1, 3\]"),
        ({"a": [-1, 0]}, r"exactly once; got \[-1, 0\]"),
    ],
)
def test_groups_that_are_no_partition(channels, message):
    with pytest.raises(ValueError, match=message):
        Groups(channels)


def test_data_of_other_sizes():
    with pytest.raises(ValueError, match="x has 5 columns; the groups have 6"):
        GROUPS.split(torch.zeros(7, 5))
    with pytest.raises(ValueError, match=r"parts have \(1, 3, 2\) columns; .* \(3, 1, 2\)"):
        GROUPS.join([torch.zeros(7, n) for n in (1, 3, 2)])
    with pytest.raises(ValueError, match="observed has 2 columns; there are 3 groups"):
        GROUPS.mask(torch.ones(7, 2))
