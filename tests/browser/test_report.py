"""The report as its reader meets it."""

import html
import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe

HOSTILE = "<script>alert(1)</script>"


def gains(page):
    return [float(gain) for gain in page.locator(".pair:visible").evaluate_all("all => all.map(p => p.dataset.gain)")]


def cut(page):
    """Where the slider stands, as the picture shows it."""
    return page.locator(".over").evaluate("part => getComputedStyle(part).clipPath")


def serious(page):
    found = Axe().run(page).response["violations"]
    return [(v["id"], [node["target"] for node in v["nodes"]]) for v in found if v["impact"] in ("serious", "critical")]


def overflow(page):
    """Elements that stick out of the screen to the right; a reel scrolls."""
    return page.evaluate(
        """() => {
          const width = document.documentElement.clientWidth;
          return [document.documentElement.scrollWidth - width,
            ...[...document.querySelectorAll("main *")].filter((e) => e.checkVisibility()
              && !e.closest(".unseen, svg, .reel > *")
              && e.getBoundingClientRect().right > width + 1).map((e) => e.outerHTML.slice(0, 80))];
        }"""
    )


def test_the_verdict_is_the_first_thing_read(visit, report):
    page = visit(report)

    verdict = page.locator("h1").inner_text()

    assert "epoch 2" in verdict.lower()
    assert "pretrained" in verdict
    assert page.locator("h1").bounding_box()["y"] < 200
    assert report.stat().st_size < 2_000_000


def opened(page):
    """The page with every section open: on a phone, the long ones are closed."""
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    return page


def test_pictures_follow_the_verdict_typical_pairs_before_the_worst(visit, report):
    page = visit(report)

    headings = page.locator("h2:visible").all_inner_texts()

    assert headings[:3] == ["Typical pairs", "Worst regressions", "Rewards"]
    assert page.locator("#typical").bounding_box()["y"] < 400


def test_keys_move_along_a_reel_and_enlarge_its_pairs(visit, report):
    page = visit(report)
    prompts = page.locator(".reel").first.locator(".prompt").all_text_contents()
    page.locator(".compare").first.focus()

    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert page.locator("#closer .prompt").text_content() == prompts[1]
    assert page.locator("#where").inner_text() == f"2 of {len(prompts)}"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")

    assert page.evaluate("document.activeElement.closest('.still').querySelector('.prompt').textContent") == prompts[2]


def test_a_phone_shows_pictures_and_tables_and_closes_the_long_sections(visit, report):
    phone, screen = visit(report, width=390, height=844), visit(report, width=1280)

    assert phone.locator("details[open]").count() == 0
    assert screen.locator("details:not([open])").count() == 0
    assert phone.evaluate("document.documentElement.scrollHeight") < 6 * 844
    phone.get_by_text("Pairs from the same noise").click()
    assert phone.locator(".pair:visible").count() == 12


def test_rewards_are_drawn_against_the_kl(visit, report):
    page = visit(report)

    figure = page.get_by_role("img", name="Change of each reward over KL")

    assert figure.count() == 1
    assert page.locator(".overlays .keys").first.inner_text() == "reward, trained"


def test_arrow_keys_go_from_pair_to_pair_and_enter_enlarges(visit, report):
    page = visit(report)
    focused = "document.activeElement.closest('.pair')?.querySelector('.prompt').textContent"
    prompts = page.locator(".pair .prompt").all_text_contents()

    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(focused) == prompts[1]
    page.keyboard.press("ArrowDown")
    columns = page.locator(".grid").evaluate("grid => getComputedStyle(grid).gridTemplateColumns.split(' ').length")
    assert page.evaluate(focused) == prompts[1 + columns]
    page.keyboard.press("Enter")

    assert page.locator("#closer").is_visible()
    assert page.locator("#closer .prompt").text_content() == prompts[1 + columns]


def test_the_slider_moves_by_keyboard_and_by_mouse(visit, report):
    page = visit(report)
    page.locator(".pictures").first.click()

    assert cut(page) == "inset(0px 0px 0px 50%)"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert cut(page) == "inset(0px 0px 0px 60%)"
    assert page.locator("#slider").get_attribute("aria-valuetext") == "60 % before, 40 % after"
    page.keyboard.press("End")
    assert cut(page) == "inset(0px 0px 0px 100%)"
    box = page.locator(".stage").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    assert 20 <= int(page.locator("#slider").input_value()) <= 30


def test_up_and_down_go_through_the_enlarged_pairs_and_escape_leads_back(visit, report):
    page = visit(report)
    page.locator(".pictures").first.click()

    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert page.locator("#where").inner_text() == "2 of 44"
    page.keyboard.press("Escape")

    assert not page.locator("#closer").is_visible()
    assert (
        page.evaluate("[...document.querySelectorAll('.pair')].indexOf(document.activeElement.closest('.pair'))") == 1
    )


def test_the_enlarged_view_goes_on_where_the_gallery_shows_no_more(visit, report):
    page = visit(report)
    page.locator(".pictures:visible").last.click()

    page.keyboard.press("ArrowDown")
    assert page.locator("#where").inner_text() == "13 of 44"
    page.keyboard.press("Escape")

    assert page.locator(".pair:visible").count() == 44


def test_the_worst_come_first_or_the_largest_gains(visit, report):
    page = visit(report)

    worst = gains(page)
    page.get_by_label("Order").select_option("best")
    best = gains(page)

    assert worst == sorted(worst)
    assert best == sorted(best, reverse=True)
    assert min(worst) < max(best)


def test_a_filter_leaves_the_pairs_of_a_prompt(visit, report):
    page = visit(report)

    page.get_by_label("Filter by prompt").fill("two RED")

    assert {text.strip() for text in page.locator(".pair:visible .prompt").all_text_contents()} == {"two red circles"}
    assert page.locator("#found").inner_text() == "2 of 44"


def test_hostile_and_endless_prompts_are_shown_as_text(visit, report):
    page = visit(report)
    page.get_by_label("Filter by prompt").fill(HOSTILE)

    assert page.locator(".pair:visible .prompt").first.inner_text() == HOSTILE
    page.get_by_label("Filter by prompt").fill("a red circle and a blue square")
    page.locator(".pair:visible .pictures").first.click()
    shown = page.locator("#closer .prompt")
    assert len(shown.text_content()) == 10_000
    assert shown.is_visible()
    assert page.locator("#closer").evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 375])
def test_it_is_accessible_and_fits_in_both_schemes_on_screen_and_phone(visit, report, scheme, width):
    page = visit(report, scheme=scheme, width=width)
    assert overflow(page) == [0]
    assert serious(page) == []
    opened(page).get_by_role("button", name="Show all").click()

    assert overflow(page) == [0]
    assert serious(page) == []
    page.locator(".pair:visible .pictures").first.click()
    assert serious(page) == []
    assert page.locator("#closer").evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")


def test_the_schemes_differ(visit, report):
    colours = [
        visit(report, scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]

    assert colours == ["rgb(255, 255, 255)", "rgb(19, 20, 23)"]


@pytest.mark.parametrize("first_width", [1000, 10], ids=["laid out before", "laid out after the script"])
def test_it_works_inside_the_sandboxed_frame_of_kubeflow(visit, report, tmp_path, first_width):
    frame = html.escape(report.read_text(encoding="utf-8"), quote=True)
    wrapper = tmp_path / "frame.html"
    size = f'width="{first_width}" height="800"'
    wrapper.write_text(
        f'<!doctype html><meta charset="utf-8"><iframe sandbox="allow-scripts" {size} srcdoc="{frame}"></iframe>',
        encoding="utf-8",
    )
    page = visit(wrapper)
    inside = page.frame_locator("iframe")
    inside.locator("#filter").wait_for(state="attached")
    page.locator("iframe").evaluate("(frame) => { frame.width = 1000; }")

    inside.get_by_label("Filter by prompt").fill("two red")
    assert inside.locator(".pair:visible").count() == 2
    inside.locator(".pair:visible .pictures").first.click()
    inside.locator("#slider").press("ArrowLeft")
    assert inside.locator("#slider").input_value() == "45"


def test_printed_it_shows_every_pair_without_the_controls(visit, report):
    page = visit(report)
    page.emulate_media(media="print")

    assert not page.locator(".controls").is_visible()
    assert page.locator("h1").is_visible()


def test_several_runs_are_compared_on_one_page(visit, finished_run, rft, run_config_in):
    (finished_run / "other.yaml").write_text(
        (finished_run / "run.yaml").read_text().replace("name: tiny", "name: other"), encoding="utf-8"
    )
    shutil.copytree(finished_run / "runs" / "tiny", finished_run / "runs" / "other")

    output = rft("report", "run.yaml", "other.yaml", cwd=finished_run)

    for scheme, width in (("light", 1100), ("dark", 375)):
        page = visit(finished_run / "comparison.html", scheme=scheme, width=width)
        verdict = page.locator("h1").inner_text().replace("\u00a0", " ")
        assert verdict == "No significant difference between other and tiny on train."
        assert verdict in output
        assert overflow(page) == [0]
        assert serious(page) == []
