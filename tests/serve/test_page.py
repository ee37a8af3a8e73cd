"""The page in a real browser, over the real command: no test here may leave an error in the console."""

import re
import threading

import pytest
from playwright.sync_api import expect

from homeground import GrpoConfig, train_grpo
from tests.policy import tiny
from tests.serve.page_server import ANSWER, HOSTILE, Visit, browsing, serving, write_model, write_workspace

pytestmark = pytest.mark.timeout(120)
VIEWS = ["ask", "search?q=raise%20the%20heat", "runs", "runs/measured", "runs?compare=measured,mine", "index"]
QUESTION = "how is the heat of the oven raised step by step?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def workspace(folder):
    workspace = write_workspace(folder)
    write_model(workspace, folder)
    return workspace


@pytest.fixture(scope="module")
def served(workspace):
    with serving(workspace) as announced:
        yield announced


@pytest.fixture(scope="module")
def browser():
    with browsing() as browser:
        yield browser


@pytest.fixture
def visit(served, browser):
    """A fresh tab with the key, at the first view."""
    context = browser.new_context()
    context.set_default_timeout(15_000)
    visit = Visit(context.new_page(), served["page"])
    visit.watch()
    visit.page.goto(served["page"])
    yield visit
    context.close()
    assert visit.problems == []


def ready(visit, view):
    """Opens a view and waits until it shows what it has."""
    visit.open(view)
    waits = {
        "ask": "#ask-form",
        "search": "#hits li",
        "runs": "#runs table",
        "index": "#index tbody a",
    }
    visit.page.wait_for_selector(waits[view.partition("?")[0].partition("/")[0]])
    if view == "runs/measured":
        visit.page.wait_for_selector("#curves [data-points]")
        visit.page.wait_for_selector("#rollouts details")


def test_without_the_key_the_page_shows_nothing_and_asks_for_it(served, browser):
    context = browser.new_context()
    page = context.new_page()
    page.goto(served["page"].partition("#")[0] + "#/runs")
    page.wait_for_selector("#key-form")
    assert not page.is_visible("#runs")
    page.fill("#key-field", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=wrong key")
    page.fill("#key-field", served["key"])
    page.keyboard.press("Enter")
    page.wait_for_selector("#runs table")
    context.close()


def test_the_key_does_not_stay_in_the_address(visit, served):
    visit.page.wait_for_selector("#ask-form")
    assert served["key"] not in visit.page.url
    visit.page.reload()
    visit.page.wait_for_selector("#ask-form")


def test_a_hit_shows_its_scores_and_opens_the_code_with_its_lines_marked(visit):
    page = visit.page
    visit.open("search")
    page.fill("#query", "raise the heat of the oven")
    page.keyboard.press("Enter")
    first = page.locator("#hits li").first
    first.wait_for()
    assert "Oven.heat_up" in first.inner_text()
    scores = dict(
        zip(first.locator("dt").all_inner_texts(), first.locator("dd:not(.share)").all_inner_texts(), strict=True)
    )
    assert {"dense", "lexical", "fused"} <= set(scores)
    assert 0 < float(scores["dense"]) <= 1
    place = first.locator("a.place").inner_text()
    first.locator("a.place").click()
    page.wait_for_selector("#code .marked")
    path, _, lines = place.rpartition(":")
    start, end = map(int, lines.split("-"))
    marked = page.locator("#code .line.marked")
    assert [int(n) for n in marked.evaluate_all("all => all.map(one => one.dataset.line)")] == list(
        range(start, end + 1)
    )
    assert "def heat_up" in "\n".join(page.locator("#code mark").all_inner_texts())
    assert page.inner_text("#code-title") == f"{path}:{start}-{end}"
    page.keyboard.press("Escape")
    page.wait_for_url("**/#/search?*")
    assert not page.is_visible("#code")
    assert page.locator("#hits li").count() > 1


def asked(visit, question):
    """Asks as a person does; gives the card of the answer."""
    page = visit.page
    page.wait_for_selector("#ask-options select", state="attached")
    page.fill("#question", question)
    page.keyboard.press("Enter")
    return page.locator("#conversation article").last


def test_an_answer_streams_in_piece_by_piece(visit):
    page = visit.page
    page.wait_for_selector("#ask-options select", state="attached")
    page.evaluate(
        """() => {
            window.seen = [];
            const look = () => {
                const text = document.querySelector('#conversation .answer')?.innerText ?? '';
                if (text && text !== window.seen.at(-1)) window.seen.push(text);
            };
            new MutationObserver(look).observe(
                document.getElementById('conversation'), { childList: true, subtree: true, characterData: true });
        }"""
    )
    card = asked(visit, QUESTION)
    expect(card.locator(".answer:not(.busy)")).to_contain_text("It is raised step by")
    seen = page.evaluate("window.seen")
    assert len(seen) > 3
    assert len(seen[0]) < len(seen[-1])
    expect(page.locator("#question")).to_be_focused()
    expect(page.locator("#ask-status")).to_have_text("")


def test_a_citation_opens_the_code_with_its_lines_marked(visit):
    page = visit.page
    card = asked(visit, QUESTION)
    source = card.locator(".sources li").first
    source.wait_for()
    path, start, end = re.fullmatch(r"(.+):(\d+)-(\d+)", source.inner_text().strip()).groups()
    cite = card.locator(".answer a.cite")
    expect(cite).to_have_text("[1]")
    expect(cite).to_have_attribute("title", f"{path}:{start}-{end}")
    cite.click()
    page.wait_for_selector("#code .marked")
    numbers = page.locator("#code .line.marked").evaluate_all("all => all.map(one => Number(one.dataset.line))")
    assert numbers == list(range(int(start), int(end) + 1))
    assert page.inner_text("#code-title") == f"{path}:{start}-{end}"
    page.keyboard.press("Escape")
    expect(page.locator("#code")).to_be_hidden()
    expect(card.locator(".answer")).to_contain_text("raised step by")


def test_a_made_up_citation_is_taken_out_and_said(visit):
    card = asked(visit, QUESTION)
    expect(card).to_contain_text("Citations that do not exist were taken out: [7]")
    assert "[7]" in "".join(ANSWER)
    assert "[7]" not in card.locator(".answer").inner_text()


def test_what_is_not_in_the_index_is_said(visit):
    card = asked(visit, "zxqv wjkp?")
    expect(visit.page.locator("#ask-status")).to_contain_text("Not found: the best hit is")
    expect(card.locator(".answer a.cite")).to_have_count(0)


def test_a_conversation_goes_on_until_a_new_one_is_begun(visit):
    page = visit.page
    for count in (1, 2):
        card = asked(visit, QUESTION)
        card.locator(".sources li").first.wait_for()
        expect(page.locator("#conversation article")).to_have_count(count)
    assert page.locator("#conversation").get_attribute("aria-busy") == "false"
    page.click("#ask-new")
    expect(page.locator("#conversation article")).to_have_count(0)
    expect(page.locator("#question")).to_be_focused()


def test_an_answered_question_passes_an_accessibility_check_on_a_phone(visit):
    visit.page.set_viewport_size({"width": 360, "height": 640})
    card = asked(visit, QUESTION)
    card.locator(".sources li").first.wait_for()
    assert visit.accessible() == []
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 360


def test_filters_hold_and_one_that_lets_nothing_through_says_what_there_is(visit):
    page = visit.page
    visit.open("search?q=bread&symbol=Oven.*&kind=method")
    page.wait_for_selector("#hits li")
    assert set(page.locator("#hits .tag:nth-child(3)").all_inner_texts()) == {"method"}
    page.fill("[name=kind]", "poem")
    page.click("#search-form button")
    page.wait_for_selector("#search-status .problem")
    assert "the index has: " in page.inner_text("#search-status")
    visit.problems.clear()  # the browser itself notes every answer that is no 200


def test_the_curve_of_a_training_run_grows_while_one_watches(visit, workspace, folder):
    page, permits = visit.page, threading.Semaphore(0)
    group = 4

    def reward(prompt, completion):
        permits.acquire(timeout=60)
        return completion.count("a") / (1 + len(completion))

    def train():
        policy = tiny.policy_of(folder / "tiny")
        where = workspace.runs / "live"
        config = GrpoConfig(steps=7, tasks_per_step=1, group_size=group)
        train_grpo(policy, ["a"], reward, config, folder=where, max_tokens=4, quiet=True)

    trainer = threading.Thread(target=train)
    trainer.start()
    try:
        permits.release(2 * group)
        visit.open("runs")
        page.click("text=live", timeout=30_000)
        chart = "[data-curve='rl/reward_mean']"
        page.wait_for_selector(f"{chart}[data-points='2']")
        assert page.inner_text("#runs-view .tag") == "running"
        before = page.locator(f"{chart} .bold").get_attribute("points")
        permits.release(5 * group)
        page.wait_for_selector(f"{chart}[data-points='7']")
        assert len(page.locator(f"{chart} .bold").get_attribute("points").split()) == 7 > len(before.split())
        page.wait_for_selector("#runs-view .tag.finished")
        expect(page.locator("#rollout-step")).to_have_value("7")
        expect(page.locator("#rollouts details .rewards .mood")).to_have_count(group)
    finally:
        permits.release(1000)
        trainer.join()


def test_a_finished_run_shows_its_table_its_curves_and_what_it_tried(visit):
    page = visit.page
    ready(visit, "runs/measured")
    assert "GRPO improved reward by" in page.inner_text(".headline")
    before_and_after = page.locator("table").first
    assert before_and_after.locator("tbody th").all_inner_texts() == [
        "scripted agent",
        "untrained model",
        "SFT",
        "GRPO",
    ]
    assert page.locator("td.gain").count() > 0
    shown = {one.get_attribute("data-curve") for one in page.locator("#curves figure:visible").all()}
    assert {"rl/reward_mean", "rl/kl", "sft/loss"} <= shown
    page.select_option("[aria-label='Further curves']", "rl/reward_std")
    page.wait_for_selector("[data-curve='rl/reward_std'][data-points='25']")
    page.locator("#rollouts summary").first.click()
    pair = page.locator("#rollouts .rollout:visible")
    expect(pair).to_have_count(2)
    best, worst = pair.nth(0), pair.nth(1)
    assert "advantage +" in best.inner_text()
    assert "advantage -" in worst.inner_text()
    ink = "one => getComputedStyle(one.querySelector('.wrote')).color"
    assert best.evaluate(ink) != worst.evaluate(ink)
    # What a model wrote is text, whatever it looks like.
    assert best.locator(".wrote").first.inner_text() == HOSTILE
    with page.expect_response("**/rollouts?step=2"):
        page.click("text=earlier")
    assert page.input_value("#rollout-step") == "2"


def test_runs_are_compared_in_one_drawing_with_their_recipes_differences(visit):
    page = visit.page
    visit.open("runs")
    page.check("[aria-label='compare measured']")
    page.check("[aria-label='compare mine']")
    page.click("text=Compare")
    page.wait_for_selector("text=2 runs compared")
    page.wait_for_selector("[data-curve='rl/reward_mean'][data-points]")
    differing = page.locator("table").last
    assert "rl.steps" in differing.inner_text()
    assert "model.name" in differing.inner_text()
    assert "sft.learning_rate" not in differing.inner_text()


def test_the_index_lists_its_files_and_what_was_left_out_and_why(visit):
    page = visit.page
    ready(visit, "index")
    indexed, left_out = page.locator("#index section").nth(0), page.locator("#index section").nth(1)
    assert "hidden.py" not in indexed.inner_text()
    expect(left_out.locator("tbody tr")).to_have_count(2)
    reasons = dict(
        zip(
            left_out.locator("tbody th").all_inner_texts(),
            left_out.locator("td:nth-child(2)").all_inner_texts(),
            strict=True,
        )
    )
    assert reasons["hidden.py"] == "ignored by git or .homegroundignore"
    assert reasons["icon.bin"] == "of a kind that is not read"
    indexed.locator("input").fill("onerror")
    expect(indexed.locator("tbody tr")).to_have_count(1)
    link = indexed.locator("tbody a")
    assert link.inner_text() == HOSTILE
    link.click()
    page.wait_for_selector("#code .line")
    assert HOSTILE in page.inner_text("#code-lines")
    assert page.locator("#code img").count() == 0


def test_the_keyboard_alone_is_enough(visit):
    page = visit.page
    page.wait_for_selector("#ask-form")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.evaluate("document.querySelector('.skip').focus()")
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search:not([hidden])")
    expect(page.locator("#query")).to_be_focused()
    page.keyboard.type("raise the heat")
    page.keyboard.press("Enter")
    page.wait_for_selector("#hits li")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('place')"):
            break
    place = page.locator(":focus").inner_text()
    page.keyboard.press("Enter")
    page.wait_for_selector("#code .marked")
    assert page.evaluate("document.activeElement.id") == "code-lines"
    page.keyboard.press("Escape")
    page.wait_for_url("**/#/search?*")
    page.wait_for_timeout(500)  # nothing may draw the hits anew meanwhile
    expect(page.locator(":focus")).to_have_text(place)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_passes_an_accessibility_check(visit, scheme):
    visit.page.emulate_media(color_scheme=scheme)
    for view in VIEWS:
        ready(visit, view)
        if view == "runs/measured":
            visit.page.locator("#rollouts summary").first.click()
            expect(visit.page.locator("#rollouts .rollout:visible")).to_have_count(2)
        assert (view, visit.accessible()) == (view, [])
    ready(visit, "search?q=heat")
    visit.page.locator("#hits a.place").first.click()
    visit.page.wait_for_selector("#code .marked")
    assert visit.accessible() == []


def test_nothing_is_wider_than_a_phone(visit):
    visit.page.set_viewport_size({"width": 360, "height": 640})
    for view in VIEWS:
        ready(visit, view)
        assert (view, visit.page.evaluate("document.documentElement.scrollWidth")) == (view, 360)
