"""The front page: its live model, and what it says is here."""

import re

import check
import contents
import front
import notebooks
import torch

from vaelite import data


def test_the_stored_networks_know_digits():
    test_set = data.load("digits", split="test").x
    torch.manual_seed(1)
    with torch.no_grad():
        loss, before = (
            model.loss(test_set)[0].item() for model in (front.trained(), front.untrained())
        )
    assert loss < 26 < before  # nats per digit, bound on -log p(x)
    # Codes of one class lie together: the nearest other digit is mostly of the same class.
    labels = data.load("digits", split="test").labels
    with torch.no_grad():
        codes = front.trained().encoder(test_set.flatten(1) / 255.0)[0]
    distance = torch.cdist(codes, codes).fill_diagonal_(torch.inf)
    assert (labels[distance.argmin(1)] == labels).float().mean() > 0.6


def test_the_live_model_is_small_and_whole():
    page = front.live_model()
    assert len(page) < 150_000
    assert page.count("<figure") == page.count("</figure>") == 1
    assert not re.search(r"src=[\"']https?:", page)


def test_twelve_chapters_are_here_or_planned():
    table = contents.table()
    rows = table.splitlines()[2:]
    assert [int(re.search(r"(\d+)\. ", row)[1]) for row in rows] == list(range(1, 13))
    planned = [row for row in rows if row.endswith("| planned |")]
    assert len(rows) - len(planned) == len(notebooks.chapters())
    assert all("chapters/" in row for row in rows if row not in planned)
    assert ("State" in table) == bool(planned)
    # Every assignment stands beside the chapters that it needs.
    names = sorted(path.stem for path in (check.ROOT / "chapters/assignments").glob("*.md"))
    assert list(contents.assignments()) == names
    assert contents.assignments()["07_open_experiment"] == [1, 2, 3, 4, 5, 6]
    for name, chapters in contents.assignments().items():
        for number in chapters:
            assert f"[{name[:2]}](teaching.md)" in rows[number - 1]


def test_every_chapter_names_its_assignments(tmp_path):
    for source in notebooks.chapters():
        copy = tmp_path / source.name
        copy.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
        contents.name_assignments(copy)
        assert copy.read_text(encoding="utf-8") == source.read_text(encoding="utf-8"), source.name
    copy = tmp_path / "06_new.md"
    for before in (
        "",
        "They rise in difficulty. [Assignment 99](x) has more.\n\n",
        "[Assignment 99](x) has more.\n\n",
    ):
        copy.write_text(f"## Exercises\n\n{before}**1.**\n", encoding="utf-8")
        contents.name_assignments(copy)
        assert copy.read_text(encoding="utf-8") == (
            "## Exercises\n\nThey rise in difficulty. [Assignments 02 and 07](../book/teaching.md) "
            "have more, with tests.\n\n**1.**\n"
        )
