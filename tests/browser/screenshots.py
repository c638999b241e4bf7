"""Pictures of a finished run's report for docs/: `python tests/browser/screenshots.py PAGE FOLDER`."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright


def main() -> None:
    """Light with the first pictures and the tables, dark with an enlarged pair, and a phone."""
    page, folder = Path(sys.argv[1]).absolute(), Path(sys.argv[2])
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        opened(browser, page, "light", 1100, 1500).screenshot(path=folder / "report.png")
        pairs = opened(browser, page, "dark", 1100, 800)
        pairs.get_by_label("Order").select_option("best")
        pairs.locator(".pictures").nth(4).click()
        pairs.screenshot(path=folder / "report-pair.png")
        opened(browser, page, "light", 390, 844).screenshot(path=folder / "report-phone.png")
        kl = opened(browser, page, "light", 620, 800).locator("section[aria-labelledby=against-kl]")
        kl.locator("summary").click()  # closed on a narrow screen
        kl.screenshot(path=folder / "report-kl.png")
        browser.close()


def opened(browser: Browser, page: Path, scheme: str, width: int, height: int) -> Page:
    """The page in a window of its own."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})
    window = context.new_page()
    window.goto(page.as_uri())
    return window


if __name__ == "__main__":
    main()
