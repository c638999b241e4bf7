"""The documentation as people see it: `make docs`, opened from disk in headless Chromium."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

SITE = Path(__file__).parents[2] / "build" / "site"
PAGES = [page for page in sorted(SITE.rglob("*.html")) if page.name != "404.html"]
TYPICAL = ("index.html", "prdp-and-ppod.html", "reference/run.html", "reference/objectives.html")

WINDOWS = (("light", 1300), ("dark", 1300), ("light", 390), ("dark", 390))


class Anchors(HTMLParser):
    """Addresses that a page names, and the sections that it has."""

    def __init__(self, page):
        super().__init__()
        self.links, self.sections = [], {""}
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [attributes[key] for key in ("href", "src") if attributes.get(key)]
        self.sections.add(attributes.get("id"))


def test_every_link_leads_to_a_file_and_a_section_of_the_site():
    assert len(PAGES) > 40, "the site is not built: make docs"
    pages = {page: Anchors(page) for page in PAGES}

    broken = [
        (page.name, link) for page, anchors in pages.items() for link in anchors.links if not leads(page, link, pages)
    ]

    assert broken == []


def leads(page, link, pages):
    address = urlsplit(link)
    if address.scheme:
        return address.scheme in ("https", "mailto", "data")
    target = (page.parent / unquote(address.path)).resolve() if address.path else page
    return unquote(address.fragment) in pages[target].sections if target in pages else target.is_file()


@pytest.mark.parametrize("name", TYPICAL)
def test_pages_fit_a_desktop_and_a_phone_in_both_colours(visit, name):
    for scheme, width in WINDOWS:
        page = visit(SITE / name, scheme=scheme, width=width, height=800)

        assert page.evaluate("document.documentElement.scrollWidth") <= width
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") is (scheme == "light")


def test_formulas_are_drawn_by_the_browser(visit):
    page = visit(SITE / "prdp-and-ppod.html")

    assert page.locator("math").count() > 20
    assert page.locator(".formula math").first.bounding_box()["height"] > 15
    assert "\\frac" not in page.locator("article").inner_text()


def test_search_works_on_a_page_that_was_opened_from_disk(visit):
    page = visit(SITE / "index.html", width=1300)

    page.get_by_label("Search").first.fill("clip_range")

    page.locator(".md-search-result__item").first.wait_for(timeout=5000)
    assert "clip_range" in page.locator(".md-search-result__list").inner_text()
