// Hits with the score of each stage. What is searched stands in the address, so a search can be kept and gone back to.

import { get } from "./api.js";
import { byId, codeLink, make, number, problem } from "./dom.js";

const FILTERS = ["path", "language", "kind", "symbol"];
const SHOWN_LINES = 12;
const form = byId("search-form");
const fields = form.elements;
const status = byId("search-status");
let request = null;

export async function show(parts, parameters) {
  await languages();
  fields.q.value = parameters.get("q") ?? "";
  for (const name of FILTERS) fields[name].value = parameters.get(name) ?? "";
  fields.k.value = parameters.get("k") ?? "10";
  if (FILTERS.some((name) => fields[name].value)) byId("filters").open = true;
  if (fields.q.value.trim()) await search();
  else {
    byId("hits").replaceChildren();
    status.textContent = "";
    fields.q.focus();
  }
}

async function languages() {
  if (fields.language.options.length > 1) return;
  const found = await get("page/index").catch(() => null);
  if (found === null || fields.language.options.length > 1) return;
  fields.language.append(...found.languages.map((one) => make("option", { value: one.language }, one.language)));
}

async function search() {
  request?.abort();
  request = new AbortController();
  status.textContent = "Searching";
  const words = (name) => fields[name].value.split(/[\s,]+/).filter(Boolean);
  const filters = Object.fromEntries(FILTERS.map((name) => [name, words(name)]));
  const began = performance.now();
  try {
    const found = await get("search", { q: fields.q.value, k: fields.k.value, ...filters }, request.signal);
    const seconds = ((performance.now() - began) / 1000).toFixed(2);
    status.textContent = `${found.hits.length} ${found.hits.length === 1 ? "hit" : "hits"} in ${seconds} s${(found.warnings ?? []).map((one) => `; ${one}`).join("")}`;
    byId("hits").replaceChildren(...listed(found.hits));
  } catch (error) {
    if (error.name === "AbortError") return;
    byId("hits").replaceChildren();
    status.replaceChildren(problem(error));
  }
}

function listed(hits) {
  const best = {};
  for (const hit of hits) for (const [stage, score] of Object.entries(hit.scores)) best[stage] = Math.max(best[stage] ?? 0, score);
  return hits.map((hit) => make("li", { class: "card" }, heading(hit), snippet(hit.text), scores(hit, best)));
}

function heading(hit) {
  return make(
    "div",
    { class: "row" },
    codeLink(hit, `${hit.path}:${hit.start}-${hit.end}`, { class: "path place" }),
    hit.symbol && make("code", { class: "path" }, hit.symbol),
    make("span", { class: "tag" }, hit.kind),
    make("span", { class: "tag" }, hit.language),
  );
}

function snippet(text) {
  const lines = text.split("\n");
  const first = make("pre", { tabindex: 0, "aria-label": "Lines of this hit" }, lines.slice(0, SHOWN_LINES).join("\n"));
  if (lines.length <= SHOWN_LINES) return first;
  const whole = () => {
    first.textContent = text;
    button.remove();
  };
  const button = make("button", { class: "quiet", type: "button", onclick: whole }, `all ${lines.length} lines`);
  return make("div", {}, first, button);
}

// A bar is this hit's share of the best score of its stage; the number is the score itself.
function scores(hit, best) {
  const parts = Object.entries(hit.scores).map(([stage, score]) => {
    const bar = make("i");
    bar.style.width = `${best[stage] > 0 ? Math.max(0, Math.round((100 * score) / best[stage])) : 0}%`;
    return make("div", {}, make("dt", {}, stage), make("dd", {}, number(score)), make("dd", { class: "share", "aria-hidden": "true" }, bar));
  });
  return make("dl", { class: "scores", "aria-label": "Scores of each stage" }, parts);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const to = new URLSearchParams();
  for (const name of ["q", ...FILTERS]) if (fields[name].value.trim()) to.set(name, fields[name].value.trim());
  if (fields.k.value !== "10") to.set("k", fields.k.value);
  const address = `#/search?${to}`;
  if (location.hash === address) search();
  else location.hash = address;
});
