"""What mkdocs does beside rendering: generated pages, the navigation's open ends, links into the repository, maths."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from maths import with_mathml
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from schema_page import schema_page
from verb_pages import options_of, page_of, verbs

ROOT = Path(__file__).resolve().parents[2]
_OUTSIDE = re.compile(r"\[([^\]]*)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2", re.MULTILINE | re.DOTALL)


def on_config(config: Any) -> Any:
    """Fill `verbs/` and `guides/` of the navigation."""
    docs = Path(config["docs_dir"])
    pages = {verb: page_of(verb) for verb in verbs() if (docs / page_of(verb)).is_file()}
    listed = set(re.findall(r"[\w/-]+\.md", str(config["nav"])))
    guides = sorted(page.name for page in docs.glob("*.md") if page.name not in listed)
    filled: dict[str, list[Any]] = {
        "verbs/": ["verbs/index.md", *({verb: page} for verb, page in pages.items())],
        "guides/": list(guides),
    }
    config["nav"] = [
        {title: filled.get(entry, entry) if isinstance(entry, str) else entry for title, entry in item.items()}
        for item in config["nav"]
    ]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the page that is generated from the schemas."""
    files.append(File.generated(config, "reference/schemas.md", content=schema_page(ROOT / "docs" / "schemas")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Append a verb's options; turn links to files of the repository that are no page into their paths."""
    source = page.file.src_uri
    if verb := next((verb for verb in verbs() if page_of(verb) == source), None):
        markdown = f"{markdown}\n\n{options_of(verb)}"
    # What looks like a link in a block of code is none.
    parts, at = [], 0
    for block in _FENCE.finditer(markdown):
        parts += [_unlinked(markdown[at : block.start()], source), block.group()]
        at = block.end()
    return "".join([*parts, _unlinked(markdown[at:], source)])


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Make MathML of the formulas: every browser shows it without a script."""
    return with_mathml(html, page.file.src_uri)


def _unlinked(markdown: str, source: str) -> str:
    def path(link: re.Match[str]) -> str:
        target = (ROOT / "docs" / source).parent.joinpath(link[2]).resolve()
        if target.is_relative_to(ROOT / "docs"):
            return link[0]
        if not target.is_relative_to(ROOT) or not target.exists():
            raise PluginError(f"{source}: the link to {link[2]} leads nowhere")
        within = f"`{target.relative_to(ROOT)}`"
        words = link[1].strip("`")
        return within if words in str(target.relative_to(ROOT)) else f"{link[1]} ({within} of the repository)"

    return _OUTSIDE.sub(path, markdown)
