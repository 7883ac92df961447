"""The template notebook: fresh, in order, and at work on data of a reader's own."""

import re

import execute
import notebooks
import numpy as np
import pytest
import torch
from PIL import Image
from torch.distributions import Bernoulli, MultivariateNormal, Normal

from vaelite.book import own_data, own_figures
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
    parts = torch.cat([found[part] for part in ("training", "stopping", "held_out")])
    assert parts.sort().values.equal(torch.arange(300))
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
    assert found["mean"].shape == (12, 4 if model == "vae" else 5)
    if model == "cpvae":  # each part has its share of both populations
        for name in ("training", "stopping", "held_out"):
            assert found["labels"][found[name]].float().mean() == 0.5


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
    stopping = x[:50], labels[:50]
    curve = chosen.fit(60, stopping, batch_size=32, progress=False)
    assert curve.steps[-1] == 60 and np.isfinite(curve.training).all()
    torch.manual_seed(0)  # the weights kept are those of the best look
    again = float(chosen.log_likelihood(*stopping, 10).mean())
    assert again == pytest.approx(curve.stopping.max(), abs=1e-3)
    given = labels if name in own_data.WITH_LABELS else None
    mean, log_var = chosen.encode(x, given)
    latents = 6 if name == "cpvae" else 5
    assert mean.shape == log_var.shape == (300, latents)
    assert active_latents(mean, log_var).shape == (latents,)
    rebuilt = chosen.reconstruct(x[:10], None if given is None else given[:10])
    assert rebuilt.shape == (10, 64) and bool(((rebuilt >= 0) & (rebuilt <= 1)).all())
    scores = chosen.log_likelihood(x[:20], None if given is None else given[:20], 5)
    assert scores.shape == (20,) and bool(scores.isfinite().all())
    label = 0 if given is not None else None
    first, _ = own_figures.traversals(chosen, mean, [1, 3], label)
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


def test_where_the_task_is_told_the_baseline_knows_its_mean():
    torch.manual_seed(1)
    labels = torch.arange(200) % 2
    x = torch.randn(200, 3) + torch.tensor([[-4.0], [4.0]])[labels]
    chosen = own_data.choose("cvae", x, labels, latent_dim=2, hidden=4)
    means = torch.stack([x[labels == k].mean(0) for k in (0, 1)])
    spread = (x - means[labels]).square().mean(0).sqrt()
    expected = Normal(means[1], spread).log_prob(x[1::2]).sum(1)
    torch.testing.assert_close(chosen.baseline(x[1::2], labels[1::2]), expected)


def test_probabilistic_pca_is_the_normal_that_it_says(digits):
    generator = torch.Generator().manual_seed(3)
    codes, noise = (torch.randn(900, d, generator=generator) for d in (2, 6))
    x = 2 * codes @ torch.randn(2, 6, generator=generator) + 0.3 * noise
    chosen = own_data.choose("vae", x[:600], latent_dim=4)
    rank, density = chosen.probabilistic_pca((x[600:800], None), x[800:])
    values, vectors = torch.linalg.eigh(torch.cov(x[:600].T))  # Tipping and Bishop's solution
    left = values[: 6 - rank].mean()
    top = vectors[:, 6 - rank :]
    covariance = top @ torch.diag(values[6 - rank :] - left) @ top.T + left * torch.eye(6)
    expected = MultivariateNormal(x[:600].mean(0), covariance).log_prob(x[800:])
    assert rank in (2, 3)
    torch.testing.assert_close(density.float(), expected, rtol=1e-3, atol=1e-3)
    assert own_data.choose("vae", digits[0]).probabilistic_pca((digits[0], None), digits[0]) is None
    residual = (x[800:] - chosen.rebuilt_by_pca(rank, x[800:])) @ top
    torch.testing.assert_close(residual, torch.zeros_like(residual), atol=1e-4, rtol=0)


def test_noise_is_not_learned_by_heart(monkeypatch, tmp_path, capsys):
    np.save(tmp_path / "noise.npy", np.random.default_rng(4).normal(size=(60, 5)))
    found = run(monkeypatch, tmp_path, PATH="noise.npy", LATENTS=3, STEPS=1500)
    curve = found["curve"]
    assert curve.best < 1500 and curve.stopping[-1] < curve.stopping.max() - 0.3
    assert "no better than each value by itself" in capsys.readouterr().out


def test_a_run_is_resumed_with_its_best_weights(tmp_path, digits):
    x = digits[0]
    stopping = x[200:], None

    def fresh():
        return own_data.choose("vae", x[:200], latent_dim=3, hidden=8)

    whole = fresh()
    curve = whole.fit(200, stopping, progress=False)
    file = tmp_path / "run.pt"
    first, looks = fresh(), []
    look = own_data._Looks.look

    def until_the_tenth(self, step, *rest):
        looks.append(step)
        if len(looks) == 10:
            raise KeyboardInterrupt
        look(self, step, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_data._Looks, "look", until_the_tenth)
        with pytest.raises(KeyboardInterrupt):
            first.fit(200, stopping, progress=False, checkpoint=file, resume=True)
    second = fresh()
    resumed = second.fit(200, stopping, progress=False, checkpoint=file, resume=True)
    assert resumed.steps.tolist() == curve.steps.tolist()
    np.testing.assert_allclose(resumed.stopping, curve.stopping, atol=1e-4)
    pairs = zip(whole.model.parameters(), second.model.parameters(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)


def test_what_a_missing_cell_costs_is_said():
    x = torch.randn(10, 4)
    x[:5, 0] = float("nan")
    said = str(own_data.choose("factvae", x, latent_dim=2, groups=(2, 2)))
    assert "12% of the cells are missing, and with them 25% of the parts" in said
    assert "12% of the cells are known and not used" in said


def test_holes_and_walks_are_drawn_with_their_names():
    x = torch.tensor([[0.5, float("nan")], [-0.5, 1.0]])
    axes = own_figures.rows_of([x], (2,), ["data"], ["speed", "heat"]).axes[0]
    picture = axes.images[0].get_array()
    assert tuple(picture[0, 1]) == own_figures.HOLE != tuple(picture[1, 1])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["speed", "heat"]
    axes = own_figures.rows_of([torch.rand(7, 12)] * 2, (3, 4), ["latent 4", "latent 0"]).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["latent 4", "latent 0"]


def test_few_labels_among_many_are_found_when_the_mixture_is_seeded():
    torch.manual_seed(0)
    x = torch.rand(12_000, 6)
    labels = torch.full((12_000,), -1)
    labels[[3, 11_000]] = torch.tensor([0, 1])
    chosen = own_data.choose("mixture", x, labels, latent_dim=2, hidden=4)
    assert chosen.fit(60, (x[:100], labels[:100]), progress=False).steps[-1] == 60


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "cpvae needs labels: the population of each datum"),
        ([0, 1, -1, 1] * 5, r"the population of each datum; 5 of 20 have none \(-1, or an empty"),
        ([0] * 20, "cpvae needs two populations or more; every label is 0"),
        ([1, 2] * 10, "population 0 has 0 data; labels count from 0, and each needs 5 or more"),
        ([0] * 17 + [1] * 3, "population 1 has 3 data"),
    ],
)
def test_populations_are_checked_before_training(labels, message):
    labels = None if labels is None else torch.tensor(labels)
    with pytest.raises(ValueError, match=message):
        own_data.split("cpvae", torch.rand(20, 2), labels)


def test_too_few_data():
    with pytest.raises(ValueError, match="there are 9 data; it takes ten"):
        own_data.split("vae", torch.rand(9, 2))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gan", {}, "name is 'gan'; it must be one of vae, "),
        ("cpvae", {}, "cpvae needs labels: the population"),
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
