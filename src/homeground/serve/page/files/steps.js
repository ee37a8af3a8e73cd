// The steps of runs, followed as they are written.

import { get } from "./api.js";

const RUNNING_MS = 1000;
const RESTING_MS = 5000;

/** All rows of one run's metrics.jsonl so far. */
class Steps {
  constructor(name) {
    this.route = `page/runs/${encodeURIComponent(name)}/steps`;
    this.rows = [];
    this.at = { mark: "", skip: 0 };
  }

  /** Reads what is new; says whether anything is. */
  async read(signal) {
    let changed = false;
    for (;;) {
      const found = await get(this.route, this.at, signal);
      this.at = { mark: found.mark, skip: found.skip };
      if (found.fresh && this.rows.length) [this.rows, changed] = [[], true];
      this.rows.push(...found.rows);
      changed ||= found.rows.length > 0;
      if (!found.more) return changed;
    }
  }
}

/** Follows some runs until `stop()`; `changed` gets the rows of each, `failed` an error that ends it. */
export class Follower {
  constructor(names, changed, failed) {
    this.steps = names.map((name) => new Steps(name));
    this.stopper = new AbortController();
    this.run(changed).catch((error) => error.name === "AbortError" || failed(error));
  }

  async run(changed) {
    let grown = 0;
    for (let first = true; !this.stopper.signal.aborted; first = false) {
      const news = await Promise.all(this.steps.map((one) => one.read(this.stopper.signal)));
      if (first || news.some(Boolean)) changed(this.steps.map((one) => one.rows), first);
      if (news.some(Boolean)) grown = performance.now();
      await this.pause(performance.now() - grown < 60_000 ? RUNNING_MS : RESTING_MS);
    }
  }

  pause(wait) {
    return new Promise((resolve) => {
      this.timer = setTimeout(resolve, wait);
      this.wake = resolve;
    });
  }

  stop() {
    this.stopper.abort();
    clearTimeout(this.timer);
    this.wake?.();
  }
}

/** [step, value] of one metric of one stage. */
export function points(rows, { key, stage }) {
  return rows.filter((row) => row.stage === stage && typeof row[key] === "number").map((row, at) => [row.step ?? at + 1, row[key]]);
}

/** Metrics that the rows hold and `known` curves do not show, as curves. */
export function otherCurves(rows, known) {
  const shown = new Set(known.map((curve) => `${curve.stage}/${curve.key}`));
  const found = new Map();
  for (const row of rows) {
    for (const [key, value] of Object.entries(row)) {
      const name = `${row.stage}/${key}`;
      if (typeof value === "number" && key !== "step" && !shown.has(name)) found.set(name, { key, stage: row.stage, title: name.replaceAll("_", " "), note: "", average: 1 });
    }
  }
  return [...found.values()];
}
