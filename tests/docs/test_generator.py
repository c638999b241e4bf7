"""The generated pages of the documentation site; tests/browser/test_site.py opens the built site."""

from pathlib import Path

from docs.generator import commands, decisions, library, links, settings
from reward_finetuning.config import RunConfig
from reward_finetuning.pipelines.cli.files.schema import FileKind
from reward_finetuning.pipelines.cli.group import COMMANDS

ROOT = Path(__file__).parents[2]


def test_a_setting_is_listed_with_type_range_default_and_meaning():
    page = settings.page(FileKind.RUN)

    assert "| `num_steps` | integer, ≥ 1, ≤ 1000 | `50` | T, denoising steps per image. |" in page
    assert "| `name` | string, matches" in page
    assert "| *required* | The run's folder under run_root" in page


def test_every_section_of_a_run_file_has_a_heading():
    page = settings.page(FileKind.RUN)
    sections = {name for name, field in RunConfig.model_fields.items() if "Config" in str(field.annotation)}

    assert "objective" in sections
    assert [name for name in sections if f"## `{name}" not in page] == []


def test_each_objective_has_a_section_of_its_own():
    page = settings.page(FileKind.RUN)

    assert [name for name in ("prdp", "ppod", "ddpo", "dpok", "rwr") if f"## `objective: {name}`" not in page] == []


def test_every_command_is_listed_with_its_options():
    page = commands.page()

    assert [name for name in COMMANDS if f"## `rft {name}`" not in page] == []
    assert "## `rft schedule create`" in page
    assert "| `-o`, `--override` | KEY=VALUE |  | Override a setting" in page
    assert "| `--utilisation` | number, ≥ 0.01, ≤ 1.0 |" in page


def test_every_component_is_in_the_reference():
    page = library.pages(ROOT)["reference/components.md"]

    assert "::: reward_finetuning.components.train_epoch" in page
    assert "def own_pipeline()" in page


def test_decisions_are_listed_by_their_titles():
    assert "(0007-gradients-in-natural-units.md)" in decisions.page(ROOT / "docs" / "decisions")


def test_links_across_the_border_of_docs_point_to_pages():
    site = {"settings.md", "decisions/index.md", "benchmarks/README.md"}

    assert links.rewrite("[b](../benchmarks/README.md#x)", "settings.md", site, ROOT) == "[b](benchmarks/README.md#x)"
    assert links.rewrite("[d](decisions)", "settings.md", site, ROOT) == "[d](decisions/index.md)"
    back = links.rewrite("[s](../docs/settings.md)", "benchmarks/README.md", site, ROOT)
    assert back == "[s](../settings.md)"


def test_a_link_to_a_file_that_is_no_page_becomes_its_path():
    text = links.rewrite("[the hooks](generator/hooks.py)", "settings.md", set(), ROOT)

    assert text == "the hooks (`docs/generator/hooks.py` in the repository)"


def test_a_broken_link_and_a_link_in_code_stay():
    text = "[gone](gone.md)\n\n```\n[x](generator/hooks.py)\n```\n"

    assert links.rewrite(text, "settings.md", set(), ROOT) == text
