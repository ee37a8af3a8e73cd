// A conversation: the answer streams in, its citations lead to the code.

import { events, get } from "./api.js";
import { byId, codeLink, make, number, problem } from "./dom.js";

const conversation = byId("conversation");
const form = byId("ask-form");
const question = byId("question");
const status = byId("ask-status");
const messages = [];
let running = null; // an AbortController while an answer is written
let models = null;

export async function show(parts, parameters) {
  if (parameters.get("q")) question.value = parameters.get("q");
  if (models === null) await offer();
}

async function offer() {
  try {
    models = (await get("page/models")).models;
  } catch (error) {
    status.replaceChildren(problem(error));
    return;
  }
  if (!models.length) {
    status.textContent = "No model is served, so nothing can be asked yet; Search works. Train one with homeground sft.";
    byId("ask-send").disabled = true;
    return;
  }
  const choose = make("select", { id: "ask-model", onchange: switches }, models.map((one) => make("option", {}, one.name)));
  const agent = make("label", { id: "ask-agent-label" }, make("input", { type: "checkbox", id: "ask-agent" }), " search step by step");
  byId("ask-options").replaceChildren(make("label", { hidden: models.length < 2 }, "Model ", choose), agent);
  switches();
}

function switches() {
  byId("ask-agent-label").hidden = !models[byId("ask-model").selectedIndex].agentic;
}

async function send(event) {
  event?.preventDefault();
  const asked = question.value.trim();
  if (!asked || running || !models?.length) return;
  running = new AbortController();
  question.value = "";
  busy(true);
  const turn = new Turn(asked);
  conversation.append(turn.card);
  turn.card.scrollIntoView({ block: "start" });
  const model = byId("ask-model").value;
  const agentic = byId("ask-agent").checked && !byId("ask-agent-label").hidden;
  try {
    const body = { model, agentic, messages: [...messages, { role: "user", content: asked }] };
    for await (const one of events("page/ask", body, running.signal)) turn.take(one);
    if (turn.answer) messages.push({ role: "user", content: asked }, { role: "assistant", content: turn.answer });
  } catch (error) {
    if (error.name === "AbortError") turn.stopped();
    else turn.failed(error);
  } finally {
    turn.end();
    running = null;
    busy(false);
    question.focus();
  }
}

function busy(now) {
  byId("ask-send").disabled = now;
  byId("ask-stop").hidden = !now;
  conversation.setAttribute("aria-busy", String(now));
  if (now) status.textContent = "Searching";
}

/** One question and its answer, as they grow. */
class Turn {
  constructor(asked) {
    this.answer = "";
    this.cited = new Map();
    this.steps = make("div", { class: "steps", hidden: true });
    this.text = make("div", { class: "answer busy" });
    this.notes = make("div");
    this.card = make("article", { class: "card", "aria-label": asked }, make("p", { class: "question" }, asked), this.steps, this.text, this.notes);
  }

  take(event) {
    if (event.event === "step") this.step(event);
    else if (event.event === "sources") status.textContent = event.packed ? "Writing" : "";
    else if (event.event === "cited") this.cited.set(event.number, event);
    else if (event.event === "text") {
      this.answer += event.text;
      this.text.replaceChildren(...rendered(this.answer, this.cited));
    } else if (event.event === "done") this.done(event);
    else if (event.event === "error") this.failed(Object.assign(new Error(event.error), { hint: event.hint }));
  }

  step(event) {
    this.steps.hidden = false;
    const hits = event.hits.map((hit) => make("li", {}, codeLink(hit, place(hit)), hit.symbol ? ` ${hit.symbol}` : ""));
    const head = `${event.tool}: ${event.asked}`;
    this.steps.append(hits.length ? make("details", {}, make("summary", {}, head), make("ul", {}, hits)) : make("p", {}, head));
  }

  done(event) {
    this.answer = event.answer;
    event.citations.forEach((one, at) => this.cited.set(at + 1, one));
    this.text.replaceChildren(...rendered(this.answer, this.cited));
    const sources = event.citations.map((one) => make("li", {}, codeLink(one, place(one))));
    if (sources.length) this.notes.append(make("ol", { class: "sources", "aria-label": "Sources" }, sources));
    if (event.dropped.length) this.note(`Citations that do not exist were taken out: ${event.dropped.join("; ")}`);
    if (event.by_words) this.note(`${event.by_words} of its citations were found by the words that a sentence shares with its source, not written by the model.`);
    if (event.finish_reason === "length") this.note("The answer was cut: it reached the most tokens it may have.");
    status.textContent = event.found ? "" : `Not found: the best hit is ${number(event.similarity)} like the question, ${number(event.needed)} is needed`;
  }

  note(words) {
    this.notes.append(make("p", { class: "muted" }, words));
  }

  stopped() {
    this.note("Stopped.");
    status.textContent = "";
  }

  failed(error) {
    this.notes.append(problem(error));
    status.textContent = "";
  }

  end() {
    this.text.classList.remove("busy");
  }
}

const place = ({ path, start, end }) => `${path}:${start}-${end}`;

// Blocks between ``` fences, `code`, and [n] where n was cited; anything else is plain text.
function rendered(text, cited) {
  return text.split(/^```[^\n]*\n?/m).map((part, at) => (at % 2 ? make("pre", {}, make("code", {}, part)) : make("span", {}, inline(part, cited))));
}

function inline(text, cited) {
  return text.split(/(`[^`\n]+`|\[\d+\])/).map((part) => {
    const found = /^\[(\d+)\]$/.exec(part);
    const one = found && cited.get(Number(found[1]));
    if (one) return codeLink(one, part, { class: "cite", "aria-label": `source ${found[1]}: ${place(one)}`, title: place(one) });
    if (part.length > 2 && part.startsWith("`") && part.endsWith("`")) return make("code", {}, part.slice(1, -1));
    return part;
  });
}

form.addEventListener("submit", send);
question.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
});
byId("ask-stop").addEventListener("click", () => running?.abort());
byId("ask-new").addEventListener("click", () => {
  running?.abort();
  messages.length = 0;
  conversation.replaceChildren();
  status.textContent = "";
  question.focus();
});
