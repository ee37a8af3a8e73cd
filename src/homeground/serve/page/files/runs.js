// The runs of the workspace: their list, one of them, or some beside each other.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { compare } from "./compare.js";
import { byId, bytes, clock, count, make, problem, table, when } from "./dom.js";
import { RolloutViewer } from "./rollouts.js";
import { Follower, otherCurves, points } from "./steps.js";

const view = byId("runs-view");
const LIST_MS = 4000;
let closing = () => {};
let request = 0;

export async function show([name], parameters) {
  hide();
  const mine = ++request;
  const still = () => mine === request;
  view.replaceChildren();
  try {
    if (name) await one(name, parameters, still);
    else if (parameters.get("compare")) closing = await compare(view, parameters.get("compare").split(","), still);
    else await list(still);
  } catch (error) {
    if (still()) view.replaceChildren(problem(error));
  }
}

export function hide() {
  request++;
  closing();
  closing = () => {};
}

async function list(still) {
  const chosen = new Set();
  const rows = make("div");
  const button = make("button", { disabled: true, onclick: () => (location.hash = `#/runs?compare=${[...chosen].map(encodeURIComponent).join(",")}`) }, "Compare");
  const choose = (name, on) => {
    if (on) chosen.add(name);
    else chosen.delete(name);
    button.disabled = chosen.size < 2;
  };
  let last = "";
  const fill = async () => {
    const { runs } = await get("page/runs");
    if (!still() || JSON.stringify(runs) === last) return;
    last = JSON.stringify(runs);
    if (!runs.length) view.replaceChildren(make("p", {}, "No run yet: homeground demo, homeground sft and homeground rl make one, and it shows here while it trains."));
    else if (!rows.isConnected) view.replaceChildren(make("p", { class: "row" }, button, make("span", { class: "muted" }, "Mark two runs or more to compare them.")), rows);
    rows.replaceChildren(table("Runs of this workspace", ["run", "compare", "state", "step", "finished", "touched"], runs.map((run) => listed(run, chosen, choose))));
  };
  await fill();
  if (!still()) return;
  const timer = setInterval(() => fill().catch(() => {}), LIST_MS);
  closing = () => clearInterval(timer);
}

function listed(run, chosen, choose) {
  const box = make("input", { type: "checkbox", "aria-label": `compare ${run.name}`, onchange: (event) => choose(run.name, event.target.checked) });
  box.checked = chosen.has(run.name);
  return [
    make("a", { href: `#/runs/${encodeURIComponent(run.name)}`, class: "path" }, run.name),
    box,
    make("span", { class: `tag ${run.state}` }, run.state),
    run.step === null ? "" : `${run.stage} ${run.step}${run.state === "running" && run.eta_s ? `, ${clock(run.eta_s)} left` : ""}`,
    run.finished.join(", "),
    when(run.at),
  ];
}

async function one(name, parameters, still) {
  const route = `page/runs/${encodeURIComponent(name)}`;
  const run = await get(route);
  if (!still()) return;
  const state = make("p", { class: "row", role: "status" });
  const results = make("div");
  const tried = new RolloutViewer(run.name, parameters.get("step"));
  const curves = new Curves(name, run.curves);
  view.replaceChildren(make("h2", {}, name), state, results, ...curves.parts, tried.box, ...made(run));
  let told = "";
  const tell = (now) => {
    state.replaceChildren(...stateOf(now));
    tried.grow(now.kept);
    if (JSON.stringify(now.measured) !== told) results.replaceChildren(...measured(now.measured));
    told = JSON.stringify(now.measured);
  };
  tell(run);
  const refresh = async () => {
    const now = await get(route);
    if (still()) tell(now);
  };
  const failed = (error) => still() && view.append(problem(error));
  const follower = new Follower([name], ([rows], first) => (curves.update(rows), first || refresh()), failed);
  // A run that stops, or is measured, writes no further step.
  const timer = setInterval(() => refresh().catch(() => {}), LIST_MS);
  closing = () => (follower.stop(), clearInterval(timer));
}

/** The curves of one run: those that every run may have, and any other that is chosen. */
class Curves {
  constructor(name, curves) {
    this.name = name;
    this.curves = [...curves];
    this.drawn = new Map();
    this.others = new Map();
    this.grid = make("div", { class: "grid", id: "curves" });
    this.warnings = make("div");
    this.more = make("select", { "aria-label": "Further curves", hidden: true, onchange: () => this.choose() }, make("option", { value: "" }, "further curves"));
    this.parts = [make("h2", {}, "Training, step by step"), this.warnings, this.grid, this.more];
  }

  update(rows) {
    this.rows = rows;
    this.curves.filter((curve) => points(rows, curve).length).forEach((curve) => this.draw(curve));
    for (const curve of otherCurves(rows, this.curves)) {
      const id = `${curve.stage}/${curve.key}`;
      if (this.others.has(id)) continue;
      this.others.set(id, curve);
      this.more.append(make("option", { value: id }, curve.title));
      this.more.hidden = false;
    }
    const none = make("p", { class: "muted" }, "No training steps were logged.");
    this.warnings.replaceChildren(...(rows.length ? warned(rows) : [none]));
  }

  choose() {
    const curve = this.others.get(this.more.value);
    if (!curve) return;
    this.curves.push(curve);
    this.more.selectedOptions[0].remove();
    this.draw(curve);
  }

  draw(curve) {
    const id = `${curve.stage}/${curve.key}`;
    if (!this.drawn.has(id)) {
      this.drawn.set(id, new Chart(curve));
      this.grid.append(this.drawn.get(id).box);
    }
    this.drawn.get(id).update([{ name: this.name, slot: 0, points: points(this.rows, curve) }]);
  }
}

function stateOf(run) {
  const left = run.state === "running" && run.eta_s ? `, about ${clock(run.eta_s)} left` : "";
  const step = run.step === null ? "" : `${run.stage}, step ${run.step}${left}; `;
  return [make("span", { class: `tag ${run.state}` }, run.state), make("span", { class: "muted" }, `${step}last changed ${when(run.at)}`)];
}

function warned(rows) {
  return rows.flatMap((row) => (row.warnings ?? []).map((words) => make("p", { class: "warned" }, `${row.stage}, step ${row.step}: ${words}`)));
}

/** The before/after table, with what it says in words. */
function measured(found) {
  if (!found) return [make("p", { class: "muted" }, "Not measured yet: homeground eval agent compares before and after.")];
  const verdict = make("div", { class: `verdict${found.gained ? " gained" : ""}` }, make("p", { class: "headline" }, found.headline), found.details.map((words) => make("p", {}, words)));
  const note = "Held-out tasks, greedy; mean and 95% interval";
  const parts = [verdict, table(`Before and after. ${note}`, found.stages[0], found.stages.slice(1))];
  if (found.pairs.length > 1) {
    const rows = found.pairs.slice(1).map(([head, count, ...cells], line) => [head, count, ...cells.map((text, at) => marked(text, found.marks[line][at]))]);
    parts.push(table("Differences on the same tasks; ▲ a gain and ▼ a loss whose interval excludes zero", found.pairs[0], rows));
  }
  return parts;
}

function marked(text, mark) {
  return make("td", { class: `interval ${mark}` }, `${text}${mark === "gain" ? " ▲" : mark === "loss" ? " ▼" : ""}`);
}

function made(run) {
  const parts = [make("h2", {}, "How it was made"), make("p", { class: "muted path" }, run.path)];
  if (run.measured?.costs.length) {
    const rows = run.measured.costs.map((one) => [one.stage, count(clock(one.seconds)), count(one.memory_mb === null ? "" : bytes(one.memory_mb * 2 ** 20))]);
    parts.push(table("What it cost; memory is the peak of all processes", ["stage", "time", "memory"], rows));
  }
  if (run.recipe) parts.push(make("details", {}, make("summary", {}, "Recipe"), make("pre", { tabindex: 0 }, run.recipe)));
  return parts;
}
