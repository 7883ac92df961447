"""Ledger, records and paper versus ours: made from plan and stored results, and complete."""

import re
from dataclasses import replace
from types import SimpleNamespace

import comparisons
import ledger
import notebooks
import pytest
import records
from docutils import nodes
from docutils.utils import new_document

from vaelite import claims
from vaelite.experiments import comparison, load_results

FAMILIES = sorted({claim.plan.family for claim in claims.planned().values()})


@pytest.fixture(scope="module")
def page():
    return ledger.claims_ledger()


def test_every_claim_has_one_card_with_its_verdict_first(page):
    cards = re.findall(r'<article [^>]*id="([a-z]+-\d+)"[^>]*>\n<p class="([\w-]+)">([^<]+)<', page)
    assert sorted(id for id, *_ in cards) == sorted(
        id.replace(".", "-") for id in claims.registry()
    )
    assert {kind for _, kind, _ in cards} == {"ledger-verdict"}
    assert {verdict for *_, verdict in cards} <= set(claims.VERDICTS)


def test_a_planned_claim_s_card_has_its_evidence_s_profile_numbers_and_kind():
    rows = {row.claim.id: row for row in ledger.rows()}
    for id, claim in claims.planned().items():
        finding = comparison.evaluate(id)
        assert rows[id].verdict == finding.verdict
        assert rows[id].kind == ("planned" if claim.plan.planned else "exploratory")
        assert f"{claim.plan.profile} profile" in rows[id].scale
        if not finding.estimate.missing:
            assert finding.numbers() in rows[id].numbers


def test_every_claim_is_in_a_chapter_or_on_a_record_page():
    homeless = [problem for problem in ledger.unchecked() if "no chapter and on no" in problem]
    assert not homeless
    for claim in claims.planned().values():
        assert ledger.record_of(claim) is not None, claim.id


def test_tables_and_cards_have_no_blank_line_that_would_end_them(page):
    made = [page, comparisons.paper_versus_ours(), *map(records.record, FAMILIES)]
    for text in made:
        for block in re.findall(
            r"<(table|div class=\"ledger\").*?</(?:table|article)>", text, re.S
        ):
            assert "\n\n" not in block


@pytest.mark.parametrize("family", FAMILIES)
def test_a_record_lists_every_comparison_of_its_family_and_every_stored_result(family):
    text = records.record(family)
    for id in claims.planned(family):
        assert ledger.row_link(id) in text
    for name in records.experiments_of(family):
        assert f"reproduce {name} --profile standard" in text
        if (results := load_results(name, "standard")) is not None:
            assert f'<td data-label="Models">{len(results["trials"])}</td>' in text


def test_all_results_are_means_of_the_stored_trials():
    trials = [
        {"trial": {"method": m, "seed": s}, "result": {"mig": v, "train_seconds": 3.0, "by": [1]}}
        for m, values in (("a", (0.1, 0.3, 0.2)), ("b", (5.0,)))
        for s, v in enumerate(values)
    ]
    table = records.all_results({"trials": trials})
    low, high = comparison.Estimate(comparison.np.array([0.1, 0.3, 0.2])).interval
    assert f"0.200 [{low:.3f}, {high:.3f}]".replace("-", "−") in table
    assert ">5.00<" in table
    assert "seconds" not in table
    assert "by" not in re.findall(r"<th[^>]*>([^<]*)<", table)


def test_seeds_are_written_as_ranges():
    assert records.ranges([0, 1, 2, 7, 9, 10]) == "0 to 2, 7, 9 to 10"


def test_paper_versus_ours_has_every_figure_and_table_of_the_isa_vae_paper():
    names = " ".join(place["name"] for place in comparisons.read("isa_vae")["place"])
    for number in range(1, 17):
        spans = [
            range(int(first), int(last or first) + 1)
            for first, last in re.findall(r"Figures? (\d+)[a-c]?(?: to (\d+))?", names)
        ]
        assert any(number in span for span in spans), number
    assert {"Table 1", "Table 2", "Algorithm 1", "Appendix B"} <= {
        place["name"] for place in comparisons.read("isa_vae")["place"]
    }


def test_paper_versus_ours_has_every_figure_and_table_of_the_cpvae_paper():
    names = [place["name"] for place in comparisons.read("cpvae")["place"]]
    figures = re.findall(r"\d+", " ".join(name for name in names if name.startswith("Figure")))
    assert [int(number) for number in figures] == list(range(1, 8))
    assert {"Table 1", "Table 2", "Algorithm 1", "Appendix B"} <= set(names)


def test_the_mean_of_a_method_is_that_of_its_stored_runs():
    results = load_results("isa_landing", "standard")
    runs = comparison.values(results, {"method": "isa-vae without score", "beta": 1.0}, "active")
    shown = comparisons.mean("isa_landing", "isa-vae_without_score", "active", "2")
    assert shown.startswith(f"{runs.mean():.2f} [") and f"{len(runs)} seeds" in shown


@pytest.mark.parametrize("paper", comparisons.PAPERS)
def test_every_row_of_ours_is_computed(paper):
    for place in comparisons.read(paper)["place"]:
        for quantity, said, source in place["rows"]:
            assert quantity and said
            assert comparisons.ours(source), (place["name"], quantity)


def test_a_source_that_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="neither a claim nor one of"):
        comparisons.ours("isa.999")


def test_a_representative_is_the_stored_one():
    shown = comparisons.representative("isa-vae", "2")
    results = load_results("isa_sprites", "standard")
    pairs = [
        (entry["result"]["mig"], entry["result"]["reconstruction"])
        for entry in results["trials"]
        if (entry["trial"]["method"], entry["trial"].get("beta")) == ("isa-vae", 2.0)
    ]
    mig, reconstruction = re.match(r"([\d.]+), −([\d.]+)", shown).groups()
    assert any(f"{m:.2f}" == mig and f"{-r:.2f}" == reconstruction for m, r in pairs)


def test_a_box_in_a_chapter_links_to_its_row_and_boxes_elsewhere_do_not():
    box = '<div class="claim claim-holds" id="claim-isa-5"><strong>Claim</strong> text</div>'
    for docname, linked in (("chapters/06_isa_vae", True), ("book/index", False)):
        document = new_document("page")
        document += nodes.raw("", box, format="html")
        document += nodes.raw("", "<div>no claim</div>", format="html")
        ledger.link_boxes(SimpleNamespace(), document, docname)
        first, second = (raw.astext() for raw in document.findall(nodes.raw))
        assert ('href="../book/claims.html#isa-5"' in first) == linked
        assert second == "<div>no claim</div>"
        assert first.endswith("</div>")


def test_links_between_boxes_and_rows_find_their_targets(html):
    """After the chapters were executed and the book was built: both ways, every one."""
    ledger_page = (html / "book" / "claims.html").read_text(encoding="utf-8")
    rows = set(re.findall(r'<article [^>]*id="([a-z]+-\d+)"', ledger_page))
    for address, anchor in re.findall(
        r'href="\.\./chapters/([\w.]+)#(claim-[a-z]+-\d+)"', ledger_page
    ):
        chapter = (html / "chapters" / address).read_text(encoding="utf-8")
        assert f'id="{anchor}"' in chapter, f"{address} has no box {anchor}"
    for source in notebooks.chapters():
        chapter = (html / "chapters" / f"{source.stem}.html").read_text(encoding="utf-8")
        assert set(re.findall(r'claims\.html#([a-z]+-\d+)"', chapter)) <= rows


def test_filters_hide_and_show_cards(html, open_page):
    opened = open_page(html / "book" / "claims.html")
    total = opened.locator(".ledger-card").count()
    opened.select_option("select[name=kind]", "exploratory")
    opened.select_option("select[name=verdict]", "holds")
    shown = opened.locator(".ledger-card:visible")
    expected = [row for row in ledger.rows() if (row.kind, row.verdict) == ("exploratory", "holds")]
    assert shown.count() == len(expected) < total
    assert opened.locator(".ledger-filters output").inner_text() == (
        f"{len(expected)} of {total} claims"
    )
    assert opened.locator("h2:visible").count() < opened.locator("h2").count()


def test_without_a_script_every_card_is_there(html, page):
    assert 'class="ledger-filters" hidden' in page
    assert "ledger-card" in page and not re.search(r"<article [^>]*hidden", page)


def test_a_claim_planned_before_its_chapter_has_no_home_yet():
    row = next(row for row in ledger.rows() if row.chapter is not None)
    early = replace(row, chapter=None, claim=replace(row.claim, id="zz.1"))
    assert ledger._home(early, [row, early]) is None
    assert ledger._home(replace(early, claim=row.claim), [row, early]) == row.chapter
