// What training tried in a step: groups, best and worst beside each other, coloured by advantage.

import { get } from "./api.js";
import { make, problem } from "./dom.js";

const STRONG = 1.5; // an advantage so large has its full colour
const FIRST_READ = 600; // characters of what a turn read that are shown at first

/** A section with the rollouts of a run, a step at a time; it follows the newest until another is chosen. */
export class RolloutViewer {
  constructor(run, step) {
    this.route = `page/runs/${encodeURIComponent(run)}/rollouts`;
    this.kept = [];
    this.chosen = step;
    this.step = make("select", { id: "rollout-step", onchange: () => this.choose(this.step.value) });
    const move = (words, to) => make("button", { class: "quiet", onclick: to }, words);
    this.bar = make(
      "div",
      { class: "row", hidden: true },
      make("label", {}, "Step ", this.step),
      move("earlier", () => this.move(-1)),
      move("later", () => this.move(1)),
      move("newest", () => this.choose(null)),
    );
    this.groups = make("div");
    this.note = make("p", { class: "muted" }, "No rollouts are kept of this run.");
    const title = make("h2", { id: "rollouts-title" }, "What training tried");
    this.box = make("section", { id: "rollouts", "aria-labelledby": "rollouts-title" }, title, this.note, this.bar, this.groups);
  }

  /** Takes the steps that are kept by now. */
  grow(kept) {
    if (kept.join() === this.kept.join()) return;
    this.kept = kept;
    this.bar.hidden = !kept.length;
    if (!kept.length) return;
    this.note.textContent = "Green was worth more than its group's mean and became likelier, red less; both the more the bolder.";
    this.step.replaceChildren(...kept.map((one) => make("option", { value: one }, String(one))));
    if (this.chosen === null) this.show(kept.at(-1));
    else if (this.shown === undefined) this.show(this.chosen);
    else this.step.value = String(this.shown);
  }

  move(by) {
    const to = this.step.selectedIndex + by;
    if (to >= 0 && to < this.step.options.length) this.choose(this.step.options[to].value);
  }

  choose(step) {
    this.chosen = step;
    return this.show(step ?? this.kept.at(-1));
  }

  async show(step) {
    this.shown = step;
    this.step.value = String(step);
    try {
      const found = await get(this.route, { step });
      if (this.shown === step) this.groups.replaceChildren(...found.groups.map(group));
    } catch (error) {
      this.groups.replaceChildren(problem(error));
    }
  }
}

function group(found) {
  const everyone = [...found.pair, ...found.others];
  const rewards = everyone.map((one) => coloured(make("span", { class: "mood" }, one.reward === null ? "failed" : one.reward.toFixed(2)), one));
  const details = make(
    "details",
    { class: "card" },
    make("summary", {}, make("b", {}, found.task), make("div", { class: "rewards" }, make("span", { class: "muted" }, `group ${found.number}, rewards`), rewards)),
  );
  // Only what is opened is drawn: a step may hold megabytes of text.
  details.addEventListener("toggle", () => {
    if (!details.open || details.childElementCount > 1) return;
    if (found.pair.length) details.append(make("div", { class: "grid two" }, found.pair.map(rollout)));
    if (!found.others.length) return;
    const words = found.pair.length ? `the other ${found.others.length}` : `no two rewards differ: ${found.others.length} rollouts, which taught nothing`;
    details.append(make("details", {}, make("summary", {}, words), make("div", { class: "grid two" }, found.others.map(rollout))));
  });
  return details;
}

function rollout(one) {
  const reward = one.reward === null ? "failed" : `reward ${one.reward.toFixed(3)}`;
  const advantage = one.advantage === null ? "" : `, advantage ${one.advantage >= 0 ? "+" : ""}${one.advantage.toFixed(2)}`;
  const parts = Object.entries(one.parts).map(([name, value]) => `${name.replaceAll("_", " ")} ${value.toFixed(2)}`);
  return coloured(
    make(
      "section",
      { class: "card rollout", "aria-label": `rollout ${one.title}` },
      make("h3", {}, one.title, make("span", { class: "total" }, reward + advantage)),
      make("p", { class: "muted path" }, `${one.id}, ${one.tokens} tokens in ${one.turns.length} turns${one.error ? `, failed: ${one.error}` : ""}`),
      one.turns.flatMap((turn, at) => turnOf(turn, at, one)),
      make("p", { class: "muted" }, parts.join(", ")),
    ),
    one,
  );
}

function turnOf(turn, at, of) {
  const read = make("div", { class: "said", tabindex: 0 }, turn.read.slice(-FIRST_READ));
  const all = () => {
    read.textContent = turn.read;
    button.remove();
  };
  const button = turn.read.length > FIRST_READ && make("button", { class: "quiet", onclick: all }, "all that it read");
  return [
    make("p", { class: "role" }, `turn ${at + 1} read ${turn.prompt_tokens} tokens${turn.new_path ? ", a new path" : ""}`),
    button,
    read,
    make("p", { class: "role" }, `wrote ${turn.tokens}, ended by ${turn.finish_reason}, weights ${turn.weights_version}`),
    coloured(make("div", { class: "said wrote mood", tabindex: 0 }, turn.wrote), of),
    turn.tool_calls.map((call) => make("p", { class: "path" }, make("code", {}, `calls ${call.name}(${call.arguments})`))),
  ];
}

function coloured(element, { advantage, mood }) {
  element.classList.add(...mood.split(" "));
  element.style.setProperty("--strength", `${Math.round(40 + 60 * Math.min(1, Math.abs(advantage ?? 0) / STRONG))}%`);
  return element;
}
