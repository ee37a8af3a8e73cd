"""Planted markup is text: on every view of the page and in the reports, in a real browser."""

from __future__ import annotations

import contextlib

import pytest
import yaml
from fastapi import FastAPI
from playwright.sync_api import expect

from homeground.agents.events import Cited, Done, Sources, Step, Text
from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_jsonl
from homeground.base.http_guard import HttpGuard
from homeground.evaluate import write_metrics
from homeground.evaluate.agent_report import write_agent_report
from homeground.evaluate.report import write_report
from homeground.index import Index, Tools
from homeground.recipe import load_recipe
from homeground.runs.rolloutlog import RolloutLog
from homeground.runs.workspace import open_workspace
from homeground.serve.app import OPEN_PATHS, explain_errors, refusal
from homeground.serve.page import page_routes
from homeground.serve.retrieval import retrieval_routes
from tests.evaluate.example_run import example_group, example_metrics, example_rollouts, example_steps
from tests.evaluate.test_agent_report import RESULTS
from tests.serve.page_server import Visit, browsing
from tests.servers import listening

pytestmark = pytest.mark.timeout(120)
KEY = "a-key-for-tests-only"
PLANTED = " ".join(
    (
        "<img src=x onerror=hurt=1>",
        "<script>hurt=1</script>",
        "\"'><svg onload=hurt=1>",
        "</title></textarea></style></script><iframe srcdoc='<script>parent.hurt=1</script>'>",
        "<a href=javascript:hurt=1>x</a> [x](javascript:hurt=1) ![x](x onerror=hurt=1)",
        "{{constructor.constructor('hurt=1')()}} ${hurt=1} {% raw %} {{ 7*7 }}",
        "\x1b[31mred\x1b[0m \x1b]8;;javascript:hurt=1\x07x\x1b]8;;\x07",
        '=HYPERLINK("javascript:hurt=1") @SUM(1) &lt;b&gt; &#60;b&#62; `<b>` ```<i>``` __proto__ constructor \u202egnp',
    )
)
NAMED = PLANTED.replace("/", "\u2215")[:60] + " constructor"
"""As much of it as a file's name may hold."""
HARMLESS = """() => ({
    hurt: window.hurt ?? null,
    alien: [...document.querySelectorAll('img, iframe, object, embed, svg[onload], base')].map(one => one.outerHTML),
    scripts: [...document.scripts].filter(one => !one.src.endsWith('page/files/main.js')).length,
    handlers: [...document.querySelectorAll('*')].flatMap(one => one.getAttributeNames()).filter(n => /^on/.test(n)),
    links: [...document.links].map(one => one.protocol).filter(one => !['http:', 'file:'].includes(one)),
})"""
NOTHING = {"hurt": None, "alien": [], "scripts": 0, "handlers": [], "links": []}


class Answers:
    """Answers with what was planted, in every field of every event."""

    agentic = True

    def __init__(self, index):
        self._hits = Tools(index).search("planted", 1).hits

    async def stream(self, messages, *, agentic):
        if "break" in messages[-1]["content"]:
            raise HomegroundError(PLANTED, hint=PLANTED)
        (hit,) = self._hits
        yield Step("search", PLANTED, self._hits)
        yield Sources(self._hits, 1)
        yield Text(PLANTED)
        yield Cited(1, hit)
        place = {"path": NAMED, "start": 1, "end": 2}
        yield Done(PLANTED + " [1]", [place], True, 0.5, 0.4, dropped=[PLANTED])


class Stub:
    """The part of `Serving` that search needs."""

    def __init__(self, index):
        self._index = index

    def search(self, query, k, filters):
        return Tools(self._index).search(query, k, filters)

    def wanted_index(self):
        return self._index


async def place():
    yield


def group(step):
    found = example_group(step, 0, [0.0, 1.0], text=PLANTED)
    found["task"] = PLANTED
    for one in found["rollouts"]:
        one |= {"id": PLANTED, "error": PLANTED, "parts": {PLANTED: 0.5}}
        one["turns"] = [
            {**turn, "read": PLANTED, "finish_reason": PLANTED, "tool_calls": [{"name": PLANTED, "arguments": PLANTED}]}
            for turn in one["turns"]
        ]
    return found


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    source = folder / "source"
    source.mkdir()
    (source / NAMED).with_suffix(".md").write_text(f"# planted {PLANTED}\n\n{PLANTED}\n")
    (source / "code.py").write_text(f"def planted():\n    {PLANTED!r}\n    # {PLANTED[:-5]!r}\n")
    (source / f"{NAMED}.bin").write_bytes(b"\0\1")
    workspace = open_workspace(folder / ".homeground")
    Index.build(workspace.index, [source])[0].close()
    for name in (NAMED, "other"):
        run = workspace.run(name).create()
        steps = [{**step, "stage": "rl"} for step in example_steps()[-3:]]
        atomic_write_jsonl(run.metrics_jsonl, [{**step, PLANTED: 1.5, "warnings": [PLANTED]} for step in steps])
        metrics = example_metrics()
        metrics["run"] = metrics["commit"] = PLANTED
        write_metrics(run.metrics, metrics)
        recipe = yaml.safe_load(load_recipe(None, {}).to_yaml())
        recipe["model"]["name"] = PLANTED if name == NAMED else "none"
        run.recipe.write_text(yaml.safe_dump(recipe))
        RolloutLog(run, done=0)(1, [group(1)])
        run.finish("rl", seconds=1.0)
    return workspace


@pytest.fixture(scope="module")
def address(workspace):
    with contextlib.closing(Index.open(workspace.index)) as index:
        app = FastAPI()
        explain_errors(app)
        app.include_router(retrieval_routes(Stub(index)))
        app.include_router(page_routes(workspace, index, {PLANTED: Answers(index)}, place))
        with listening(HttpGuard(app, KEY, refusal, OPEN_PATHS)) as root:
            yield f"{root}/#key={KEY}"


@pytest.fixture(scope="module")
def browser():
    with browsing() as browser:
        yield browser


@pytest.fixture
def visit(address, browser):
    context = browser.new_context()
    context.set_default_timeout(15_000)
    visit = Visit(context.new_page(), address)
    visit.watch()
    visit.asked = []
    visit.page.on("request", lambda request: visit.asked.append(request))
    visit.page.goto(address)
    visit.page.wait_for_selector("#ask-form")
    yield visit
    visit.page.wait_for_timeout(100)  # what was planted would run now
    assert visit.page.evaluate(HARMLESS) == NOTHING
    context.close()
    # The browser itself notes every answer that is no 200.
    assert [one for one in visit.problems if not one.startswith("Failed to load resource")] == []


def shown(visit, where, text=PLANTED):
    """The element holds all of it as text."""
    visit.page.wait_for_function(
        "([where, text]) => document.querySelector(where)?.textContent.includes(text)", arg=[where, text]
    )


def test_in_hits_and_in_the_code(visit):
    visit.open("search?q=planted")
    visit.page.wait_for_selector("#hits li")
    shown(visit, "#hits", NAMED)
    for text in ("<img src=x onerror=hurt=1>", "<script>hurt=1</script>", "<svg onload=hurt=1>"):
        shown(visit, "#hits", text)
    visit.page.locator("#hits a.place").first.click()
    shown(visit, "#code-lines", "hurt=1")


def test_in_the_lists_of_the_index(visit):
    visit.open("index")
    visit.page.wait_for_selector("#index tbody a")
    shown(visit, "#index section:nth-of-type(1)", f"{NAMED}.md")
    shown(visit, "#index section:nth-of-type(2)", f"{NAMED}.bin")


def test_in_runs_their_recipes_and_rollouts(visit):
    page = visit.page
    visit.open("runs")
    page.get_by_role("link", name=NAMED).click()
    page.wait_for_selector("#rollouts details")
    shown(visit, "#runs-view h2", NAMED)
    shown(visit, "#runs-view .warned")
    shown(visit, "#runs-view details pre", "<img src=x onerror=hurt=1>")
    page.select_option("[aria-label='Further curves']", index=1)
    page.locator("#rollouts summary").first.click()
    shown(visit, "#rollouts .rollout")
    shown(visit, "#rollouts .wrote")
    shown(visit, "#rollouts summary b")


def test_in_a_comparison(visit):
    visit.open("runs")
    for name in (NAMED, "other"):
        visit.page.get_by_label(f"compare {name}", exact=True).check()
    visit.page.click("text=Compare")
    shown(visit, "#runs-view", "2 runs compared")
    shown(visit, ".legend", NAMED)
    shown(visit, "#runs-view table code", "<img src=x onerror=hurt=1>")


def test_in_a_question_its_answer_and_its_sources(visit):
    page = visit.page
    page.wait_for_selector("#ask-options select", state="attached")
    page.fill("#question", PLANTED.replace("\x1b", "").replace("\x07", ""))
    page.keyboard.press("Enter")
    page.wait_for_selector("#conversation .sources li")
    shown(visit, "#conversation .question", "<img src=x onerror=hurt=1>")
    shown(visit, "#conversation .steps")
    shown(visit, "#conversation .answer", PLANTED.partition("`")[0])
    shown(visit, "#conversation .sources", NAMED)
    shown(visit, "#conversation", f"were taken out: {PLANTED}")


def test_in_an_error(visit):
    visit.page.wait_for_selector("#ask-options select", state="attached")
    visit.page.fill("#question", "break")
    visit.page.keyboard.press("Enter")
    shown(visit, "#conversation .problem")


@pytest.mark.parametrize("view", ["constructor", "__proto__", "toString", "runs/%E0%A4%A", "%", "<script>", "?", "//"])
def test_an_address_that_is_none_opens_the_first_view(visit, view):
    visit.open(view)
    expect(visit.page.locator("main section:visible")).to_have_count(1)


def test_an_address_with_markup_names_a_run_as_text(visit):
    visit.page.evaluate("to => { location.hash = '#/runs/' + encodeURIComponent(to) }", PLANTED.replace("/", "|"))
    shown(visit, "#runs-view .problem", "<img src=x onerror=hurt=1>")


def test_the_key_reaches_no_address_no_referrer_and_no_other_tab(visit, address):
    visit.open("search?q=planted")
    visit.page.wait_for_selector("#hits li")
    assert len(visit.asked) > 8
    for request in visit.asked:
        assert KEY not in request.url.partition("#")[0]
        assert "referer" not in request.all_headers()
        assert "cookie" not in request.all_headers()
    assert visit.page.evaluate("JSON.stringify([document.cookie, {...localStorage}, location.href])").count(KEY) == 0
    other = visit.page.context.new_page()
    other.goto(address.partition("#")[0])
    other.wait_for_selector("#key-form")
    other.close()


def test_the_pages_headers_forbid_frames_sniffing_and_foreign_scripts(browser, address):
    context = browser.new_context()
    headers = context.request.get(address.partition("#")[0]).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    policy = headers["content-security-policy"]
    assert {"default-src 'none'", "frame-ancestors 'none'", "script-src 'self'", "base-uri 'none'"} <= set(
        policy.split("; ")
    )
    page = context.new_page()
    page.set_content(f"<iframe src='{address.partition('#')[0]}'></iframe>")
    page.wait_for_timeout(300)
    assert not page.frames[1].query_selector("#key-form"), "it can be framed"
    context.close()


def report_of(kind, folder):
    file, steps = folder / "report.html", [{**step, "warnings": [PLANTED]} for step in example_steps()]
    if kind == "own agent":
        answer = {"task": PLANTED, "reward": 0.0, "parts": {PLANTED: 0.5}, "error": PLANTED, "answer": PLANTED}
        results = {**RESULTS, "run": PLANTED, "commit": PLANTED, "machine": {PLANTED: PLANTED}}
        rows = {"before": [answer], "after": [{**answer, "error": None}]}
        write_agent_report(file, results, steps, [PLANTED], rows, recipe={"a": PLANTED}, groups=[group(1)])
        return file
    metrics, rollouts = example_metrics(), example_rollouts(tasks=1)
    metrics |= {"run": PLANTED, "commit": PLANTED, "machine": {PLANTED: PLANTED}}
    for one in rollouts:
        one |= {"task": PLANTED, "question": PLANTED, "gold": PLANTED, "parts": {PLANTED: 0.5}}
        one["messages"] = [{"role": PLANTED, "content": PLANTED}, {"role": "assistant", "content": PLANTED}]
    write_report(file, metrics, steps, rollouts, recipe=PLANTED, groups=[group(1)])
    return file


@pytest.mark.parametrize("kind", ["stages", "own agent"])
def test_in_a_report(kind, browser, tmp_path):
    file = report_of(kind, tmp_path)
    context = browser.new_context()
    page = context.new_page()
    problems, asked = [], []
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.on("console", lambda said: problems.append(said.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_timeout(200)
    assert page.evaluate(HARMLESS) == NOTHING
    assert problems == []
    assert asked == [file.as_uri()]
    assert page.text_content("body").count(PLANTED) >= 8
    # And were there markup, the policy of the page would not let it run.
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=hurt=1><base href=//x.invalid>')")
    page.wait_for_timeout(200)
    assert page.evaluate("window.hurt ?? null") is None
    assert page.evaluate("document.baseURI") == file.as_uri()
    context.close()
