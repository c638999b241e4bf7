import math
import re
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from reward_finetuning.report.comparison import as_table, compare
from reward_finetuning.report.page import render_page

HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</p></article></main></style></script><h1>owned</h1>",
    "javascript:alert(1) {{ 7 * 7 }} {% raw %}",
    "<!-- &lt;b&gt; ]]>",
]


class Parsed(HTMLParser):
    """The tags with their attributes, and the text outside of style and script."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.pieces, self.inside = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside.append(tag)

    def handle_endtag(self, tag):
        self.inside.append(f"/{tag}")

    def handle_data(self, data):
        if self.inside and self.inside[-1] not in ("style", "script"):
            self.pieces.append(data)

    @property
    def text(self):
        return "".join(self.pieces)

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


def page_of(before, after, curves=None, facts=None):
    return render_page(compare(before, after), before, after, curves or {}, facts or {}).html


@pytest.fixture
def two(make_samples):
    rewards = np.random.default_rng(0).normal(0, 0.1, 40)
    return make_samples(rewards), make_samples(rewards + 0.5, epoch=7)


def prompts_in_order(page):
    return re.findall(r'<p class="prompt" dir="auto" id="[^"]*">(.*?)</p>', gallery_of(page), flags=re.DOTALL)


def gallery_of(page):
    return page[page.index('id="gallery"') :]


def pictures(page):
    return re.findall(r'<img src="data:image/(png|jpeg);base64,([^"]+)"', gallery_of(page))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_text_wherever_it_stands(make_samples, text):
    def page(content):
        columns = {
            "prompts": [content] * 2,
            "categories": [content, "b"],
            "prompt_set": content,
            "scorers": {content: [0, 1]},
        }
        before, after = make_samples([0, 1], **columns), make_samples([1, 0], epoch=1, **columns)
        return page_of(before, after, {content: [(0, 1.0), (1, 2.0)]}, {"run": content, content: content})

    hostile, harmless = Parsed(page(text)), Parsed(page("harmless"))

    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in harmless.tags]
    assert [attributes.keys() for _, attributes in hostile.tags] == [
        attributes.keys() for _, attributes in harmless.tags
    ]
    shown = hostile.text.replace("\u00a0", " ")  # the verdict holds its percent signs together
    assert shown.count(text[:40]) == harmless.text.count("harmless") > 8


def test_a_prompt_of_ten_thousand_characters_is_shown_whole(make_samples):
    prompts = ["word " * 2000]

    page = page_of(make_samples([0], prompts=prompts), make_samples([1], prompts=prompts, epoch=1))

    assert prompts_in_order(page) == prompts


@pytest.mark.slow
@pytest.mark.parametrize(("side", "num_pairs", "fewest_shown"), [(32, 1500, 150), (512, 1500, 15)])
def test_the_page_stays_below_two_megabytes_even_with_pictures_of_noise(make_samples, side, num_pairs, fewest_shown):
    # One picture of noise for all, which cannot be compressed; a broadcast array takes no memory.
    noise = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    images = np.broadcast_to(noise, (num_pairs, side, side, 3))
    gains = np.random.default_rng(1).normal(size=num_pairs)
    before = make_samples(np.zeros(num_pairs), images=images, prompts=['"&<>' * 50] * num_pairs)
    after = replace(before, epoch=1, rewards={"reward": gains})

    page = page_of(before, after)

    assert len(page.encode()) < 2_000_000
    assert len(prompts_in_order(page)) >= fewest_shown
    assert "1,500 pairs" in page


def test_the_page_stays_below_two_megabytes_with_many_long_prompts_and_curves(make_samples):
    prompts = ["&" * 10_000] * 300
    before, after = make_samples([0] * 300, prompts=prompts), make_samples([1] * 300, prompts=prompts, epoch=1)
    noise = np.random.default_rng(0).normal(size=3000)
    curves = {f"curve {i}": list(enumerate(noise)) for i in range(8)}

    page = page_of(before, after, curves)

    assert len(page.encode()) < 2_000_000
    assert len(prompts_in_order(page)) > 10


def test_pictures_keep_their_pixels_when_small_and_shrink_when_large(make_samples):
    small = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    large = np.random.default_rng(0).integers(0, 256, (1, 512, 256, 3), dtype=np.uint8)

    page = page_of(make_samples([0], images=small), make_samples([1], images=large, epoch=1))

    (kind, left), (_, right) = pictures(page)
    assert kind == "png"
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(b64decode(left)))), small[0])
    assert Image.open(BytesIO(b64decode(right))).size == (112, 224)
    assert gallery_of(page).count('class="pixelated"') == 1


def test_pictures_that_the_page_shrinks_lie_beside_it_in_full(make_samples, tmp_path):
    small = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    large = np.random.default_rng(0).integers(0, 256, (1, 512, 256, 3), dtype=np.uint8)
    before, after = make_samples([0], images=small), make_samples([1], images=large, epoch=1)

    page = render_page(compare(before, after), before, after, {}, {})
    page.write(tmp_path / "report" / "page.html")

    (link,) = set(re.findall('href="([^"]*)"', page.html))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "report" / link)), large[0])
    assert len(list((tmp_path / "report" / "pictures").iterdir())) == 1


def test_the_page_refers_to_nothing_outside_itself(two):
    page = page_of(*two, {"reward/mean": [(0, 0.1), (1, 0.2)]}, {"run": "demo"})
    parsed = Parsed(page)

    assert not re.search(r"https?://|//cdn|@import|url\((?!#)", page)
    assert not {"link", "iframe", "object", "a", "base"} & {tag for tag, _ in parsed.tags}
    assert all(attributes["src"].startswith("data:image/") for tag, attributes in parsed.tags if tag == "img")
    assert not re.search("localStorage|sessionStorage|cookie|fetch\\(|XMLHttpRequest", page)


def test_only_the_pages_own_script_may_run(two):
    page = page_of(*two)
    script = re.search("<script>(.*?)</script>", page, flags=re.DOTALL)[1]
    digest = b64encode(sha256(script.encode()).digest()).decode()

    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]

    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; ")
    assert f"script-src 'sha256-{digest}'" in policy
    assert Parsed(page).count("script") == 1


def test_the_verdict_comes_first_and_the_tables_numbers_are_on_the_page(two):
    comparison = compare(*two)
    (_, row) = as_table(comparison)

    parsed = Parsed(page_of(*two, facts={"run": "my run", "seed": "12345"}).replace("\u00a0", " "))

    assert parsed.text.index(comparison.verdict) < parsed.text.index("Before")
    for cell in (*row[2:6], *row[6].split(" to "), *row[7:]):
        assert cell in parsed.text
    assert "my run" in parsed.text
    assert "12345" in parsed.text


def test_a_set_of_few_prompts_warns_that_it_speaks_only_of_them(make_samples, two):
    few = page_of(make_samples([0, 1]), make_samples([1, 1], epoch=1))

    assert "These intervals apply to new images of the same 2 prompts." in few
    assert "These intervals apply" not in page_of(*two)


def test_the_worst_regression_comes_first_and_the_best_gain_last(make_samples):
    names = ["gain 1", "loss 3", "loss 9", "same", "gain 5"]

    page = page_of(make_samples([0] * 5, prompts=names), make_samples([1, -3, -9, 0, 5], prompts=names, epoch=1))

    assert prompts_in_order(page) == ["loss 9", "loss 3", "same", "gain 1", "gain 5"]
    assert "5 pairs by change of the combined reward: 2 became worse, 2 became better, 1 did not change." in page


def test_when_not_all_pairs_fit_the_largest_changes_of_both_kinds_are_kept(make_samples):
    gains = np.arange(-500, 500)

    page = page_of(
        make_samples([0] * 1000, prompts=map(str, gains)), make_samples(gains, prompts=map(str, gains), epoch=1)
    )

    shown = [int(text) for text in prompts_in_order(page)]
    assert shown == [*range(-500, -380), *range(380, 500)]
    assert (
        "500 became worse, 499 became better, 1 did not change. This page shows the 240 pairs with the largest changes."
        in page
    )


def test_the_same_images_make_the_same_page_in_whatever_order_they_come(two, permute):
    curves = {"train/loss": [(0, 1.0), (1, 0.5)], "train/kl": [(0, 1.0), (1, 0.5)]}
    orders = np.random.default_rng(0).permuted([range(40)] * 2, axis=1)

    page = page_of(*(permute(samples, order) for samples, order in zip(two, orders, strict=True)), curves)

    assert page == page_of(*two, curves)


def test_no_two_elements_share_an_id(two):
    parsed = Parsed(page_of(*two, {"a": [(0, 1.0), (1, 2.0)], "b": [(0, 1.0), (1, 2.0)]}, {"seed": "0"}))

    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]

    assert len(ids) == len(set(ids)) > 4


def test_a_page_without_curves_and_facts_has_no_empty_sections(two):
    parsed = Parsed(page_of(*two, {"empty": [], "only nan": [(0, math.nan)]}))

    assert "Training" not in parsed.text
    assert "Run details" not in parsed.text


def test_the_kl_of_every_step_is_drawn_and_measures_are_explained(make_samples):
    kl = np.tile(np.array([0.5, 0.25], dtype=np.float32), (4, 1))
    before = make_samples([0] * 4, measures={"kl": np.zeros(4), "diversity": np.ones(4)}, kl=np.zeros_like(kl))
    after = make_samples([1] * 4, epoch=1, measures={"kl": kl.sum(axis=1), "diversity": np.ones(4)}, kl=kl)

    page = page_of(before, after)
    plain = page_of(make_samples([0] * 4), make_samples([1] * 4, epoch=1))

    assert "KL by denoising step, train. epoch 1: 0.75 in total, the highest at step 1 of 2 with 0.5" in page
    assert "diversity is the mean distance between images of one prompt" in page
    assert 'id="kl-steps"' not in plain
    assert "Measures that are not rewards:" not in plain
