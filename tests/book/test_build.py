"""The book builds without a warning, whole, small, and without a link to anyone's server."""

import re

import api
import bibliography
import check
import ledger
import notebooks
import pytest
from notebooks import ROOT

# Tags that make a browser fetch something by itself.
FETCHING = re.compile(
    r"<(?:script|img|iframe|source|video|audio|object|embed)\b[^>]*?\b(?:src|data)=[\"'](?:https?:)?//[^\"']+"
    r"|<link\b[^>]*?href=[\"'](?:https?:)?//[^\"']+",
    re.IGNORECASE,
)


def test_builds_without_warnings(build_report):
    status, text = build_report
    assert status == 0, text


def test_every_page_is_there_and_small_enough(html):
    assert check.page_problems(html) == []


@pytest.mark.parametrize("page", check.contents())
def test_page_fetches_nothing_from_elsewhere(html, page):
    text = (html / f"{page}.html").read_text(encoding="utf-8")
    assert FETCHING.findall(text) == []
    assert "unpkg.com" not in text and "cdn." not in text


def test_style_sheets_fetch_nothing_from_elsewhere(html):
    for path in (html / "_static").rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", text), path


def test_fetching_pattern_finds_what_it_must():
    assert FETCHING.search('<script async src="https://cdn.example/x.js">')
    assert FETCHING.search('<link rel="stylesheet" href="//fonts.example/a.css">')
    assert not FETCHING.search('<a href="https://example.org">a link to follow</a>')


def test_pictures_have_alternative_texts(html):
    for page in check.contents():
        text = (html / f"{page}.html").read_text(encoding="utf-8")
        article = text[text.index("<article") : text.index("</article>")]
        for tag in re.findall(r"<img\b[^>]*>", article):
            assert re.search(r'\balt="[^"]{10,}"', tag), f"{page}: {tag[:120]}"


def test_ledger_shows_every_claim(html):
    text = (html / "book/claims.html").read_text(encoding="utf-8")
    for source in notebooks.chapters():
        for record in notebooks.claims_of(notebooks.read_executed(source)):
            assert record["id"] in text
            assert record["verdict"] in text


def test_chapters_show_what_they_cost(html):
    for source in notebooks.chapters():
        line = ledger.measured(notebooks.read_executed(source))
        text = (html / "chapters" / f"{source.stem}.html").read_text(encoding="utf-8")
        assert line in text


def test_a_record_page_names_every_experiment(html):
    from vaelite import experiments

    pages = (html / "book" / "records").glob("*.html")
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    for name in experiments.names():
        assert f"reproduce {name} --profile standard" in re.sub(r"<[^>]*>", "", text)


def test_generated_pages_are_up_to_date():
    assert bibliography.PAGE.read_text(encoding="utf-8") == bibliography.page(), "run `make pages`"
    for name, text in api.pages().items():
        path = api.API / f"{name}.md"
        assert path.exists() and path.read_text(encoding="utf-8") == text, "run `make pages`"


def test_every_module_has_an_api_page():
    assert api.uncovered() == set()


def test_citations_lead_to_entries():
    for path in [*notebooks.chapters(), *(ROOT / "book").glob("*.md")]:
        cited = set(re.findall(r"bibliography\.md#(\w+)", path.read_text(encoding="utf-8")))
        assert cited <= bibliography.keys(), f"{path.name}: {cited - bibliography.keys()}"
