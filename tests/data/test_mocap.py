"""The parser of motion capture on files made by hand, the loader on a made-up subject."""

from itertools import pairwise

import numpy as np
import pytest
import requests
import torch

from vaelite import data
from vaelite.data import DataError, cache, mocap
from vaelite.data.motion import limb_groups
from vaelite.data.skeleton import Bone, Skeleton

ASF = """\
# a leg
:version 1.10
:units
  mass 1.0
  length 0.45
  angle deg
:documentation
  made by hand
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name hip
    direction 3 0 4
    length 2.5
    axis 0 0 0 XYZ
  end
  begin
    id 2
    name femur
    direction 0 -1 0
    length 7
    axis 0 0 20 ZYX
    dof rx rz
    limits (-160.0 20.0)
           (-70.0 70.0)
  end
:hierarchy
  begin
    root hip
    hip femur
  end
"""
AMC = """\
#!OML:ASF
:FULLY-SPECIFIED
:DEGREES
1
root 1 2 3 4 5 6
femur -7.5 1.5e-015
2
root 9 8 7 6 5 4
femur 0.25 1
"""
LEG = Skeleton(
    (
        Bone("hip", "root", (0.6, 0.0, 0.8), 2.5, (), (0.0, 0.0, 0.0), "XYZ"),
        Bone("femur", "hip", (0.0, -1.0, 0.0), 7.0, ("rx", "rz"), (0.0, 0.0, 20.0), "ZYX"),
    )
)


@pytest.fixture
def file(tmp_path):
    def file(text, name="a.txt"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return file


def test_a_skeleton(file):
    assert mocap.read_asf(file(ASF)) == LEG


def test_frames(file):
    frames, channels = mocap.read_amc(file(AMC))
    assert frames.dtype == np.float64
    assert frames.tolist() == [[1, 2, 3, 4, 5, 6, -7.5, 1.5e-15], [9, 8, 7, 6, 5, 4, 0.25, 1]]
    assert channels == (*(f"root_{n}" for n in range(6)), "femur_0", "femur_1")
    again, named = mocap.read_amc(file(AMC), LEG)
    assert np.array_equal(again, frames) and named == LEG.channels
    assert named[-2:] == ("femur_rx", "femur_rz")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-7.5", "abc", r"a.txt line 6: expected numbers; got 'abc 1.5e-015'"),
        ("-7.5", "nan", "line 6: expected numbers; got 'nan"),
        ("0.25 1", "0.25", "line 9: femur has 1 numbers instead of 2"),
        ("femur 0.25 1\n", "", "line 8: frame 2 ends before femur"),
        ("femur -7.5", "root -7.5", "line 6: root comes twice in frame 1"),
        ("femur 0.25 1", "femur 0.25 1\nfemur 3 4", "line 10: expected a frame's number; got 'f"),
        ("femur 0.25", "tibia 0.25", "line 9: expected femur; got 'tibia'"),
        ("\n2\n", "\n3\n", "line 7: expected frame 2; got '3'"),
        ("\n2\n", "\ntwo\n", "line 7: expected frame 2; got 'two'"),
        ("\n1\n", "\n", "line 4: expected a frame's number; got 'root 1 2"),
        ("DEGREES", "RADIANS", "line 3: angles must be in degrees; these are in radians"),
        (AMC[AMC.index("1\n") :], "", "a.txt holds no frame"),
        (AMC[AMC.index("root") :], "", "line 4: frame 1 is empty"),
    ],
)
def test_frames_that_are_wrong(file, old, new, message):
    assert old in AMC
    with pytest.raises(ValueError, match=message) as error:
        mocap.read_amc(file(AMC.replace(old, new, 1)))
    assert "\n" not in str(error.value)


def test_frames_of_another_skeleton(file):
    other = file(AMC.replace("femur", "tibia"))
    with pytest.raises(ValueError, match=r"line 6: tibia .* in the skeleton it does not exist"):
        mocap.read_amc(other, LEG)
    less = file(AMC.replace("femur -7.5", "femur"))
    with pytest.raises(ValueError, match="line 6: femur has 1 numbers; in the skeleton it has 2"):
        mocap.read_amc(less, LEG)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("angle deg", "angle rad", "a.txt line 6: angles must be in degrees; got 'rad'"),
        ("order TX TY", "order TX TX", "line 10: expected some of tx, ty, tz, rx, ry, rz, each"),
        ("axis XYZ", "axis XYY", "line 11: expected an order of the axes, as XYZ; got 'XYY'"),
        ("direction 3 0 4", "direction 3 0", "line 18: expected 3 numbers; got '3 0'"),
        ("direction 3 0 4", "direction 0 0 0", "line 18: the direction is zero"),
        ("length 2.5", "length long", "line 19: expected numbers; got 'long'"),
        ("length 2.5", "width 2.5", "line 19: a bone has no 'width'"),
        ("    length 2.5\n", "", "line 15: this bone has no length"),
        ("name femur", "name hip", "line 24: expected a new name; got 'hip'"),
        ("dof rx rz", "dof rx l", "line 28: expected some of rx, ry, rz, each once; got 'rx l'"),
        ("  end\n:hier", ":hier", "line 22: this bone has no end"),
        ("  begin\n    id 1\n", "    id 1\n", "line 15: expected begin; got 'id'"),
        ("hip femur", "hip tibia", "line 35: there is no bone 'tibia'"),
        ("hip femur", "root femur hip", "line 35: hip hangs on two bones"),
        ("    hip femur\n", "", "line 35: the file ends before femur hangs on anything"),
        ("root hip\n    hip femur", "hip femur\n    femur hip", "a.txt: hip hangs in a circle"),
        (ASF[ASF.index(":bonedata") :], "", "a.txt holds no bone"),
    ],
)
def test_skeletons_that_are_wrong(file, old, new, message):
    assert old in ASF
    with pytest.raises(ValueError, match=message) as error:
        mocap.read_asf(file(ASF.replace(old, new, 1)))
    assert "\n" not in str(error.value)


def made_up_asf():
    """A skeleton with the channels of the real one, its bones in a row."""
    bones = {}
    for limb, names in mocap.LIMBS.items():
        for name in names:
            bones[name] = mocap.FREEDOM[name if limb == "core" else name[1:]]
    del bones["root"]
    bodies = [
        f"begin\nname {name}\ndirection 0 1 0\nlength {n}\naxis 0 0 {n} XYZ\ndof "
        + " ".join(dof)
        + "\nend"
        for n, (name, dof) in enumerate(bones.items(), 1)
    ]
    bodies += [f"begin\nname {side}hipjoint\ndirection 1 0 0\nlength 1\nend" for side in "lr"]
    chain = ["root", *bones, "lhipjoint", "rhipjoint"]
    rows = [f"{a} {b}" for a, b in pairwise(chain)]
    head = ":root\norder TX TY TZ RX RY RZ\naxis XYZ\n:bonedata\n"
    return head + "\n".join(bodies) + "\n:hierarchy\nbegin\n" + "\n".join(rows) + "\nend\n"


@pytest.fixture
def subject(tmp_path, monkeypatch):
    """Lays the files of a made-up subject into an empty cache; gives the angles by trial."""
    monkeypatch.setenv("VAELITE_DATA", str(tmp_path))

    def no_network(*arguments, **options):
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "get", no_network)
    rng = np.random.default_rng(0)
    bones = [channel.rpartition("_")[0] for channel in mocap.CHANNELS]
    constant = [channel in mocap.CONSTANT for channel in mocap.CHANNELS]
    trials = {}
    (tmp_path / "07.asf").write_text(made_up_asf())
    for trial in mocap.TRIALS:
        angles = rng.normal(0, 20, (3 + trial % 4, len(bones)))
        angles[:, constant] = 7.125
        angles[:, mocap.CHANNELS.index("rtoes_rx")] = 3 + 0.01 * rng.random(len(angles))
        trials[trial] = angles
        lines = [":FULLY-SPECIFIED", ":DEGREES"]
        for number, frame in enumerate(angles, 1):
            lines.append(str(number))
            for bone in dict.fromkeys(bones):
                values = [repr(v) for v, b in zip(frame.tolist(), bones, strict=True) if b == bone]
                lines.append(f"{bone} {' '.join(values)}")
        (tmp_path / f"07_{trial:02d}.amc").write_text("\n".join(lines))
    digest = cache.arrays_digest({f"trial_{t:02d}": angles for t, angles in trials.items()})
    monkeypatch.setattr(mocap, "_DIGEST", digest)
    return trials


def test_degrees_and_trials(subject):
    dataset = data.load("mocap", trials=(3, 1), drop_root_position=False, drop_constant=False)
    expected = np.concatenate([subject[3], subject[1]])
    np.testing.assert_allclose(dataset.x, expected, rtol=1e-6)
    assert dataset.labels.tolist() == [3] * len(subject[3]) + [1] * len(subject[1])
    assert dataset.channels == mocap.CHANNELS and len(dataset.channels) == 62
    assert dataset.source == "real"
    assert len(data.load("mocap")) == sum(map(len, subject.values()))


def test_channels_are_dropped_by_name(subject):
    dataset = data.load("mocap")
    gone = [n for n in range(62) if n not in (0, 1, 2, 24, 25, 33, 36, 37, 45)]
    assert dataset.channels == tuple(mocap.CHANNELS[n] for n in gone)
    everything = np.concatenate(list(subject.values()))
    np.testing.assert_allclose(dataset.x, everything[:, gone], rtol=1e-6)
    assert dataset.x.std(0).min() > 0
    assert data.load("mocap", drop_root_position=False).x.shape[1] == 56
    assert data.load("mocap", drop_constant=False).x.shape[1] == 59


def test_limbs_share_out_the_channels():
    every = limb_groups(mocap.CHANNELS, mocap.LIMBS)
    assert list(every) == ["core", "right arm", "left arm", "right leg", "left leg"]
    assert every.sizes == (24, 12, 12, 7, 7)
    assert torch.cat(list(every.values())).sort().values.tolist() == list(range(62))
    for name, columns in every.items():
        bones = {mocap.CHANNELS[n].rpartition("_")[0] for n in columns}
        assert bones == set(mocap.LIMBS[name])


def test_the_training_fills_zero_to_one(subject):
    train = data.load("mocap", trials=(1, 2, 4), scale_by=(1, 2, 4))
    assert list(train.groups) == list(mocap.LIMBS) and train.groups.sizes == (21, 9, 9, 7, 7)
    narrow = train.channels.index("rtoes_rx")  # spans 0.01 degrees, is scaled by 0.1
    wide = [n for n in range(53) if n != narrow]
    assert train.x.min() == 0 and train.x.max() == 1
    assert (train.x.min(0).values == 0).all() and (train.x.max(0).values[wide] == 1).all()
    assert 0 < train.x[:, narrow].max() < 0.1
    test = data.load("mocap", trials=(7,), scale_by=(1, 2, 4))
    known = np.concatenate([subject[n] for n in (1, 2, 4)])
    column = mocap.CHANNELS.index("head_ry")
    low, high = known[:, column].min(), known[:, column].max()
    scaled = test.x[:, test.channels.index("head_ry")]
    np.testing.assert_allclose(scaled, (subject[7][:, column] - low) / (high - low), atol=1e-5)
    assert test.x.min() < 0 or test.x.max() > 1
    unscaled = data.load("mocap", trials=(7,)).x
    torch.testing.assert_close(test.degrees(), unscaled, atol=1e-4, rtol=1e-5)
    chosen = test.select(slice(1, 3))
    torch.testing.assert_close(chosen.degrees(), unscaled[1:3], atol=1e-4, rtol=1e-5)


def test_scaled_angles_give_the_positions_that_were_kept(subject):
    dataset = data.load("mocap", trials=(5, 6), scale_by=(1,))
    arrays = mocap.REAL.arrays()
    kept = np.concatenate([arrays["xyz_05"], arrays["xyz_06"]]).reshape(len(dataset), -1, 3)
    at = dataset.positions(mocap.skeleton())
    np.testing.assert_allclose(at, kept, atol=2e-3 * np.abs(kept).max())
    torch.testing.assert_close(dataset.positions(mocap.skeleton(), dataset.x[2]), at[2])


def test_the_cache_is_enough(subject, tmp_path):
    before = data.load("mocap").x
    for file in tmp_path.glob("07*"):
        file.unlink()
    assert torch.equal(data.load("mocap").x, before)
    with pytest.raises(DataError, match=r"07.asf of mocap cannot be had .*07/07.asf") as error:
        mocap.skeleton()
    assert "\n" not in str(error.value)


def test_files_that_are_missing_broken_or_others(subject, tmp_path):
    path = tmp_path / "07_09.amc"
    text = path.read_text()
    path.write_text(text.replace("head", "heart"))
    with pytest.raises(DataError, match=r"07_09\.amc line 10: heart has 3 numbers; in the"):
        data.load("mocap")
    path.write_text((tmp_path / "07_10.amc").read_text())
    with pytest.raises(DataError, match="not the data set that this version"):
        data.load("mocap")
    path.unlink()
    with pytest.raises(DataError, match=r"07_09.amc of mocap cannot be had \(ConnectionError\)"):
        data.load("mocap")
    assert not mocap.REAL.path.exists()


@pytest.mark.parametrize("option", ["trials", "scale_by"])
@pytest.mark.parametrize("value", [(), (0,), (13,), (1, 1), 1, "12", (1.0,), (True,)])
def test_bad_trials(option, value):
    message = f"{option} must be different integers from 1 to 12, at least one; got "
    with pytest.raises(ValueError, match=message):
        data.load("mocap", **{option: value})


def test_the_real_thing():
    if not mocap.REAL.path.exists():
        pytest.skip("CMU's walks are not in the cache")
    arrays = mocap.REAL.arrays()
    joints = mocap._joints()
    assert arrays["joint_names"].tolist() == joints["joint_names"].tolist()
    assert arrays["joint_dims"].tolist() == joints["joint_dims"].tolist()
    everything = np.concatenate([arrays[f"trial_{t:02d}"] for t in mocap.TRIALS])
    still = np.ptp(everything, axis=0) < 1e-9
    assert tuple(np.array(mocap.CHANNELS)[still]) == mocap.CONSTANT
    train = data.load("mocap", trials=tuple(range(1, 11)), scale_by=tuple(range(1, 11)))
    assert train.x.shape == (3791, 53)
    assert (train.x.min(0).values == 0).all() and (train.x.max(0).values == 1).all()


def test_the_real_files():
    if not (cache.folder() / mocap._ARCHIVE).exists() or not mocap.REAL.path.exists():
        pytest.skip("CMU's own files are not in the cache")
    arrays, skeleton = mocap.REAL.arrays(), mocap.skeleton()
    for trial in ("01", "02"):
        frames, channels = mocap._read_original(
            f"07_{trial}.amc", lambda text, name: mocap._parse_amc(text, name, skeleton)
        )
        assert channels == mocap.CHANNELS
        np.testing.assert_array_equal(frames, arrays[f"trial_{trial}"])
        dataset = data.load("mocap", trials=(int(trial),), scale_by=(3,))
        at = dataset.positions(skeleton).flatten(1)
        np.testing.assert_allclose(at, arrays[f"xyz_{trial}"], atol=1e-3)
