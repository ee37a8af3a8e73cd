import pytest

from homeground.index import Index
from tests.corpus.village import write_village


@pytest.fixture(scope="session")
def village_index(tmp_path_factory):
    """An index of the village that no test changes."""
    folder = tmp_path_factory.mktemp("tasks")
    index, _ = Index.build(folder / "index", [write_village(folder / "village")])
    return index
