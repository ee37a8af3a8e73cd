import pytest

from ..policy import tiny


@pytest.fixture(scope="session")
def tokenizer():
    return tiny.tokenizer()
