// Runs beside each other: their curves in one drawing each, what they measured, and where their recipes differ.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { make, problem, table } from "./dom.js";
import { Follower, points } from "./steps.js";

const COLOURS = 6;

/** Fills `view`; gives back what ends the following. */
export async function compare(view, names, still) {
  const runs = await Promise.all(names.map((name) => get(`page/runs/${encodeURIComponent(name)}`)));
  if (!still()) return () => {};
  const charts = new Map(runs[0].curves.map((curve) => [curve, new Chart(curve)]));
  view.replaceChildren(
    make("h2", {}, `${runs.length} runs compared`),
    legend(names),
    results(runs),
    make("div", { class: "grid", id: "curves" }, [...charts.values()].map((chart) => chart.box)),
    settings(runs),
  );
  const changed = (rows) => {
    for (const [curve, chart] of charts) chart.update(rows.map((some, at) => ({ name: names[at], slot: at % COLOURS, points: points(some, curve) })));
  };
  const follower = new Follower(names, changed, (error) => still() && view.append(problem(error)));
  return () => follower.stop();
}

function legend(names) {
  const item = (name, at) => make("li", {}, make("b", { class: `slot-${at % COLOURS}`, "aria-hidden": "true" }, "━ "), make("a", { href: `#/runs/${encodeURIComponent(name)}` }, name));
  return make("ul", { class: "legend", "aria-label": "Runs" }, names.map(item));
}

function results(runs) {
  const having = runs.filter((run) => run.measured);
  if (!having.length) return make("p", { class: "muted" }, "None of them was measured yet: homeground eval agent.");
  const [, , ...metrics] = having[0].measured.stages[0];
  const rows = having.flatMap((run) => run.measured.stages.slice(1).map(([stage, tasks, ...cells]) => [run.name, stage, tasks, ...cells]));
  return table("What they measured: held-out tasks, greedy; mean and 95% interval", ["run", "stage", "tasks", ...metrics], rows);
}

function settings(runs) {
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.settings)))].sort();
  const said = (run, name) => (name in run.settings ? JSON.stringify(run.settings[name]) : "");
  const rows = names
    .filter((name) => new Set(runs.map((run) => said(run, name))).size > 1)
    .map((name) => [name, ...runs.map((run) => make("code", { class: "path" }, said(run, name)))]);
  if (!rows.length) return make("p", {}, "Their recipes are the same.");
  return table("Where their recipes differ", ["setting", ...runs.map((run) => run.name)], rows);
}
