"""Whatever its own description allows, the served app answers or refuses in words: never a 500."""

import copy

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .serving import TOKEN

QUICK = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)  # fmt: skip
NAMES = ("one", "base+index", "all-minilm-l6-v2")
SMALL = {"max_tokens": 2, "max_completion_tokens": 2, "n": 1}
GENERATES = {"/v1/chat/completions", "/v1/completions"}
OPERATIONS = [
    ("GET", "/healthz"), ("GET", "/metrics"), ("GET", "/openapi.json"), ("GET", "/search"), ("GET", "/v1/models"),
    ("GET", "/v1/models/{name}"), ("POST", "/v1/chat/completions"), ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"), ("POST", "/v1/rerank"),
    ("GET", "/page/runs"), ("GET", "/page/runs/{name}"), ("GET", "/page/runs/{name}/steps"),
    ("GET", "/page/runs/{name}/rollouts"), ("GET", "/page/read"), ("GET", "/page/index"), ("GET", "/page/index/files"),
    ("GET", "/page/index/left-out"), ("GET", "/page/models"), ("POST", "/page/ask"),
]  # fmt: skip


@pytest.fixture(scope="module")
def described(server):
    with server.http() as http:
        return http.get("/openapi.json").json()


def test_every_operation_is_fuzzed(described):
    assert {(method.upper(), path) for path, what in described["paths"].items() for method in what} == set(OPERATIONS)


@QUICK
@given(data=st.data())
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_what_its_own_description_allows_is_never_a_500(server, described, method, path, data):
    schema = schemathesis.openapi.from_dict(copy.deepcopy(described))
    case = data.draw(schema[path][method].as_strategy())
    if isinstance(case.body, dict):
        # Most random names are no model's: the rest of the request would never be looked at.
        case.body["model"] = data.draw(st.sampled_from(NAMES))
        if path in GENERATES:
            case.body |= SMALL
    response = case.call(base_url=server.root, headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code in (200, 400, 404, 405), response.text
    if response.status_code != 200:
        assert response.json()["error"]
