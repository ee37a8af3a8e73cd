from pathlib import Path

from homeground.corpus import SourceFile, language_of
from homeground.tasks import TasksConfig
from homeground.tasks.contents import Contents, contents

PYTHON = 'def ride(x):\n    """Take the last bus to the town."""\n    return x\n\n\ndef walk(x):\n    return x\n'
PAGE = "<h1>Bus</h1><p>It goes to the town.</p><h2>Fare</h2><p>Two coins.</p>"


def source(path, text):
    return SourceFile(Path("/"), path, language_of(path), text.encode())


def test_definitions_and_sections_are_counted_by_language():
    files = [source("a.py", PYTHON), source("test_a.py", PYTHON), source("a.md", "# One\n\nx\n\n# Two\n\ny\n")]
    found = contents([*files, source("a.html", PAGE)], TasksConfig())
    size = len(PYTHON)
    assert found["python"] == Contents(files=2, bytes=2 * size, tests=1, definitions=2, documented=1)
    assert found["markdown"].sections == 2
    assert found["html"].sections == 2
    assert found["python"].words() == "2 files (1 of them tests), 2 definitions, 1 with a usable comment"
    assert next(iter(found)) == "python"


def test_what_is_beyond_the_limit_counts_as_files_only():
    files = [source(f"{at}.py", PYTHON) for at in range(3)]
    found = contents(files, TasksConfig(), most=2 * len(PYTHON))
    assert (found["python"].files, found["python"].definitions) == (3, 4)
    assert contents(files, TasksConfig(min_chars=100))["python"].documented == 0
