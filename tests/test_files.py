import pytest

from vaelite.files import check_writable, replacing


def test_a_file_is_replaced_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "a.bin"
    with replacing(path) as file:
        file.write(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    with replacing(path) as file:
        file.write(b"two")
        assert path.read_bytes() == b"one"
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failed_write_changes_nothing(tmp_path, error):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(error), replacing(path) as file:
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_said_before_the_work(tmp_path):
    check_writable(tmp_path / "new" / "a.bin", "checkpoint")
    assert list((tmp_path / "new").iterdir()) == []
    file = tmp_path / "file"
    file.write_bytes(b"kept")
    check_writable(file, "checkpoint")
    assert file.read_bytes() == b"kept"
    for path, message in [
        (tmp_path, "checkpoint .* cannot be written: it is there, and no file"),
        ("", "checkpoint . cannot be written: it is there, and no file"),
        (file / "a.bin", "checkpoint .* cannot be written: .*(no folder|Not a directory)"),
        (file / "b" / "a.bin", "checkpoint .* cannot be written: .*(no folder|Not a directory)"),
    ]:
        with pytest.raises(OSError, match=message):
            check_writable(path, "checkpoint")
