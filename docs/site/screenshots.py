"""Pictures of the page, of a workspace as it is: `python -m docs.site.screenshots --home .homeground --run NAME`.

Written to docs/pictures: a question with its answer, a search, a run, and its curves in the dark theme. Nothing in
them is made up: what is asked of is the index of that workspace, who answers is the model of that run.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tests.serve.page_server import browsing, serving

from homeground.runs.workspace import open_workspace

PICTURES = Path(__file__).resolve().parents[1] / "pictures"
ASKED = "how are the losses of a step normalised?"
SEARCHED = "where are log-probabilities of a shared prefix computed once?"
SIZE = {"width": 1000, "height": 720}


def main() -> None:
    """Serve, look, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--ask", default=ASKED)
    parser.add_argument("--search", default=SEARCHED)
    options = parser.parse_args()
    with serving(open_workspace(options.home), options.run) as announced, browsing() as browser:
        page = opened(browser, announced["page"], "light")
        ask(page, options.ask)
        page.screenshot(path=PICTURES / "page-ask.png")
        look(page, f"search?q={options.search}", "#hits li")
        page.screenshot(path=PICTURES / "page-search.png")
        look(page, f"runs/{options.run}", "#curves [data-points]")
        page.screenshot(path=PICTURES / "page-runs.png")
        page = opened(browser, announced["page"], "dark")
        look(page, f"runs/{options.run}", "#curves [data-points]")
        page.evaluate("document.querySelector('#curves').scrollIntoView(); scrollBy(0, -110)")
        page.screenshot(path=PICTURES / "page-curves.png")


def opened(browser: Any, address: str, scheme: str) -> Any:
    """The page, in the light or the dark theme."""
    page = browser.new_context(viewport=SIZE, color_scheme=scheme).new_page()
    page.set_default_timeout(180_000)
    page.goto(address)
    return page


def ask(page: Any, question: str) -> None:
    """Ask, and wait for the whole answer."""
    page.wait_for_selector("#ask-options select", state="attached")
    page.fill("#question", question)
    page.keyboard.press("Enter")
    page.wait_for_selector("#conversation .answer:not(.busy)")


def look(page: Any, view: str, shown: str) -> None:
    """Open a view and wait until it shows what it has."""
    page.evaluate("to => { location.hash = to }", f"#/{view}")
    page.wait_for_selector(shown)
    page.wait_for_timeout(500)


if __name__ == "__main__":
    main()
