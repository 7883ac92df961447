"""Profiles and the base seed come from the environment, and from nowhere else."""

import pytest

from vaelite import profile


def test_quick_is_the_default_even_on_a_build_server(monkeypatch):
    monkeypatch.delenv("VAELITE_PROFILE", raising=False)
    monkeypatch.setenv("CI", "true")
    assert profile.current() == "quick"
    assert profile.choose(1, 2, 3) == 1


@pytest.mark.parametrize(("name", "value"), [("quick", 1), ("standard", 2), ("full", 3)])
def test_choose(monkeypatch, name, value):
    monkeypatch.setenv("VAELITE_PROFILE", name)
    assert profile.choose(1, 2, 3) == value


def test_unknown_profile(monkeypatch):
    monkeypatch.setenv("VAELITE_PROFILE", "Full")
    with pytest.raises(ValueError, match="'Full'; it must be one of quick, standard, full"):
        profile.current()


def test_base_seed_moves_every_seed(monkeypatch):
    monkeypatch.delenv("VAELITE_SEED", raising=False)
    assert profile.seed(4) == 4
    monkeypatch.setenv("VAELITE_SEED", "100")
    assert profile.seed(4) == 104


@pytest.mark.parametrize("text", ["-1", "one", "1.5", ""])
def test_malformed_seed(monkeypatch, text):
    monkeypatch.setenv("VAELITE_SEED", text)
    with pytest.raises(ValueError, match="non-negative integer"):
        profile.seed()
