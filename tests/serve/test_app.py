"""The served run, over real HTTP, as a subprocess of the command line."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.servers import command_server
from tests.small_demo import SmallDemo, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def served(small_demo: SmallDemo) -> Iterator[dict[str, str]]:
    with command_server("serve", "--run", "demo", env=environment(small_demo.home)) as (event, _):
        yield event


def test_search_and_chat_answer_with_the_key(served: dict[str, str]) -> None:
    root = served["url"].removesuffix("/v1")
    headers = {"Authorization": f"Bearer {served['key']}"}
    found = httpx.get(f"{root}/search", params={"q": "parse an HTTP date", "k": 3}, headers=headers)
    assert len(found.json()["hits"]) == 3
    client = openai.OpenAI(base_url=served["url"], api_key=served["key"])
    answer = client.chat.completions.create(
        model=served["model"], messages=[{"role": "user", "content": "hello"}], max_tokens=4, temperature=0
    )
    assert answer.usage is not None
    assert 1 <= answer.usage.completion_tokens <= 4


@pytest.mark.parametrize("path", ["search?q=x", "v1/models"])
def test_nothing_is_served_without_the_key(served: dict[str, str], path: str) -> None:
    root = served["url"].removesuffix("/v1")
    assert httpx.get(f"{root}/{path}").status_code == 401
    assert httpx.get(f"{root}/{path}", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert httpx.get(f"{root}/healthz").status_code == 200
