"""The template notebook: fresh, in order, and at work on data of a reader's own."""

import re

import execute
import notebooks
import numpy as np
import pytest
import torch
from PIL import Image
from torch.distributions import Bernoulli, Normal

from vaelite.book import own_data
from vaelite.data import load
from vaelite.metrics import active_latents

SOURCE = notebooks.TEMPLATE
CODE = [cell for cell in notebooks.read_source(SOURCE).cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def digits():
    data = load("digits")
    return data.flat()[:300], data.labels[:300]


def chosen_for(name, digits):
    x, labels = digits
    groups = ()
    if name in own_data.WITH_LABELS:
        labels = (labels > 4).long()
    if name == "factvae":
        x, groups = x.clone(), (24, 40)
        x[::3, 5] = float("nan")
    if name == "mixture":
        labels = torch.where(torch.arange(300) < 250, -1, labels)
    return own_data.choose(name, x, labels, latent_dim=5, hidden=16, groups=groups), x, labels


def test_the_notebook_is_fresh_and_in_order():
    executed = notebooks.read_executed(SOURCE)
    assert notebooks.stale(SOURCE) == []
    assert notebooks.cells(notebooks.read_source(SOURCE)) == notebooks.cells(executed)
    assert CODE[0].source.strip() == execute.setup_code().strip()
    assert not [out for out in notebooks.outputs(executed) if out.output_type == "error"]
    stable = [c for c in CODE if "nbval-check-output" in c.metadata.get("tags", [])]
    assert len(stable) >= 4
    for cell in CODE[1:]:
        assert max(map(len, cell.source.splitlines())) <= 76


def test_the_list_of_models_is_whole():
    text = SOURCE.read_text(encoding="utf-8")
    table = "".join(line for line in text.splitlines() if line.startswith("| "))
    assert set(re.findall(r'"([a-z -]+)"', table)) == set(own_data.MODELS)


def run(monkeypatch, tmp_path, **settings):
    """Run the notebook's cells in this process, with other settings; return what they define."""
    monkeypatch.chdir(tmp_path)
    code = [cell.source for cell in CODE[1:]]
    (index,) = (i for i, text in enumerate(code) if text.startswith("PATH"))
    lines = [f"{name} = {value!r}" for name, value in settings.items()]
    code[index] += "\nSTEPS = 40\n" + "\n".join(lines)
    namespace = {}
    for text in code:
        exec(text, namespace)
    return namespace


def test_an_array_of_ones_own(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 2))
    np.save(tmp_path / "mine.npy", 50 + 7 * z @ rng.normal(size=(2, 9)))
    found = run(monkeypatch, tmp_path, PATH="mine.npy")
    training = found["x"][found["training"]]
    torch.testing.assert_close(training.mean(0), torch.zeros(9), atol=1e-4, rtol=0)
    torch.testing.assert_close(training.var(0, unbiased=False), torch.ones(9), atol=1e-3, rtol=0)
    assert len(found["held_out"]) == 60 and found["rebuilt"].shape == (8, 9)
    alone = Normal(training.mean(0), training.std(0, unbiased=False))
    expected = alone.log_prob(found["x"][found["held_out"]]).sum(1)
    torch.testing.assert_close(found["alone"], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("model", ["vae", "cpvae"])
def test_a_folder_of_images_of_ones_own(monkeypatch, tmp_path, model):
    rng = np.random.default_rng(1)
    for n in range(60):
        folder = tmp_path / "photos" / ("left" if n % 2 else "right")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.png")
    found = run(monkeypatch, tmp_path, PATH="photos", SIZE=8, MODEL=model, LATENTS=4)
    assert found["shape"] == (3, 8, 8) and found["x"].shape == (60, 192)
    assert 0 <= found["rebuilt"].min() and found["rebuilt"].max() <= 1
    assert found["mean"].shape == (12, 4 if model == "vae" else 6)


def test_images_that_are_no_intensities(monkeypatch, tmp_path):
    np.save(tmp_path / "heights.npy", np.random.default_rng(3).normal(900, 40, (50, 3, 4, 6)))
    found = run(monkeypatch, tmp_path, PATH="heights.npy", LATENTS=3)
    assert found["x"][found["training"]].std() == pytest.approx(1, abs=0.01)
    assert found["shape"] == (3, 4, 6) and found["rebuilt"].shape == (8, 72)


def test_a_table_of_ones_own_with_a_broken_sensor(monkeypatch, tmp_path):
    rng = np.random.default_rng(2)
    rows = ["a,b,c,d,kind"]
    for n in range(200):
        a, b = rng.normal(size=2)
        broken = "" if n % 3 == 0 else f"{3 * a + b:.4f}"
        rows.append(f"{a:.4f},{b:.4f},{broken},{a - b:.4f},{'x' if a > 0 else 'y'}")
    (tmp_path / "readings.csv").write_text("\n".join(rows))
    found = run(
        monkeypatch, tmp_path, PATH="readings.csv", LABEL="kind", MODEL="factvae", GROUPS=(2, 2)
    )
    assert found["x"].isnan().any() and found["rebuilt"].isfinite().all()
    assert found["alone"].isfinite().all() and found["scores"][100].isfinite().all()


@pytest.mark.parametrize("name", own_data.MODELS)
def test_every_model_trains_and_is_scored_in_one_way(name, digits):
    chosen, x, labels = chosen_for(name, digits)
    history = chosen.fit(60, batch_size=32, progress=False)
    assert history.steps[-1] == 60
    given = labels if name in own_data.WITH_LABELS else None
    mean, log_var = chosen.encode(x, given)
    latents = 7 if name == "cpvae" else 5
    assert mean.shape == log_var.shape == (300, latents)
    assert active_latents(mean, log_var).shape == (latents,)
    rebuilt = chosen.reconstruct(x[:10], None if given is None else given[:10])
    assert rebuilt.shape == (10, 64) and bool(((rebuilt >= 0) & (rebuilt <= 1)).all())
    scores = chosen.log_likelihood(x[:20], None if given is None else given[:20], 5)
    assert scores.shape == (20,) and bool(scores.isfinite().all())
    label = 0 if given is not None else None
    first, _ = own_data.traversals(chosen, mean, [1, 3], label)
    z = mean.mean(0).repeat(7, 1)
    z[:, 1] = torch.linspace(*np.quantile(mean[:, 1].numpy(), [0.05, 0.95]).tolist(), 7)
    torch.testing.assert_close(first, chosen.decode(z, label), atol=1e-4, rtol=1e-4)


def test_a_cpvae_is_encoded_and_decoded_as_its_own_population(digits):
    chosen, x, labels = chosen_for("cpvae", digits)
    mean, _ = chosen.encode(x, labels)
    shared, _, private, _ = chosen.model.encode(x)
    for n in (0, 7):
        k = int(labels[n])
        torch.testing.assert_close(mean[n], torch.cat([shared[n], private[k, n]]))
        image = chosen.model.reconstruct(x[n : n + 1], k)
        torch.testing.assert_close(chosen.reconstruct(x, labels)[n : n + 1], image)


def test_the_baseline_is_each_feature_by_itself(digits):
    x, _ = digits
    chosen = own_data.choose("vae", x)
    means = x.mean(0).clamp(1 / 600, 1 - 1 / 600)
    black_and_white = (x[:9] > 0.5).float()
    expected = Bernoulli(means).log_prob(black_and_white).sum(1)
    torch.testing.assert_close(chosen.baseline(black_and_white), expected)


def test_few_labels_among_many_are_found_when_the_mixture_is_seeded():
    torch.manual_seed(0)
    x = torch.rand(12_000, 6)
    labels = torch.full((12_000,), -1)
    labels[[3, 11_000]] = torch.tensor([0, 1])
    chosen = own_data.choose("mixture", x, labels, latent_dim=2, hidden=4)
    assert chosen.fit(60, progress=False).steps[-1] == 60


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gan", {}, "name is 'gan'; it must be one of vae, "),
        ("cpvae", {}, "cpvae needs labels: the population or task"),
        ("optimal prior", {}, "optimal prior needs labels"),
        ("factvae", {"groups": (3,)}, r"whose sum is the 4 columns; got \(3,\)"),
        ("vae", {"latent_dim": 0}, "latent_dim must be a positive integer; got 0"),
    ],
)
def test_a_choice_that_cannot_be(name, options, message):
    with pytest.raises(ValueError, match=message):
        own_data.choose(name, torch.rand(9, 4), **options)


def test_missing_values_and_shapes_that_do_not_fit():
    holes = torch.tensor([[0.1, float("nan")], [0.2, 0.3]])
    with pytest.raises(ValueError, match="missing values, which vae does not take; factvae does"):
        own_data.choose("vae", holes)
    with pytest.raises(ValueError, match=r"x must be \(N, D\), such as data.flat\(\)"):
        own_data.choose("vae", torch.rand(9, 4, 4))
