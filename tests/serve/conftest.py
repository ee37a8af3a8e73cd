import pytest

from homeground.pipeline.serving import Adapter, Serving

from .serving import adapter_of, indexed, recipe_of, running, tiny_model


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    """A workspace with an index of the village."""
    return indexed(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def adapters(tmp_path_factory):
    """The base model's folder, and two adapters of it."""
    folder = tmp_path_factory.mktemp("models")
    model = tiny_model(folder / "model")
    return model, {"one": adapter_of(model, folder / "one", 1), "two": adapter_of(model, folder / "two", 2)}


@pytest.fixture(scope="module")
def server(workspace, adapters):
    """Two adapters, their base and the index, over HTTP."""
    model, folders = adapters
    with running(Serving(recipe_of(model, rows=8), workspace, {n: Adapter(f) for n, f in folders.items()})) as server:
        yield server
