// One curve over training steps, of one run or several, redrawn as steps come in.

import { draw, make, number } from "./dom.js";

const [WIDTH, HEIGHT] = [420, 220];
const EDGE = { left: 46, right: 12, top: 10, bottom: 26 };

export class Chart {
  /** `curve`: { key, stage, title, note, average }, as the server lists them. */
  constructor(curve) {
    this.curve = curve;
    this.svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
    this.latest = make("output", { class: "muted" });
    this.numbers = make("details", {}, make("summary", { class: "muted" }, "numbers"));
    this.numbers.addEventListener("toggle", () => this.list());
    const note = make("p", { class: "muted" }, [curve.note, curve.average > 1 ? `bold: mean of ${curve.average} steps` : ""].filter(Boolean).join("; "));
    this.box = make("figure", { class: "card", "data-curve": `${curve.stage}/${curve.key}` }, make("figcaption", {}, make("h3", {}, curve.title), note), this.svg, this.latest, this.numbers);
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.rest());
  }

  /** `series`: [{ name, slot, points: [[step, value], ...] }]; those without points are left out. */
  update(series) {
    this.series = series.filter((one) => one.points.length);
    this.box.hidden = !this.series.length;
    if (this.box.hidden) return;
    const all = this.series.flatMap((one) => one.points);
    this.x = scale(all.map(([step]) => step), [EDGE.left, WIDTH - EDGE.right]);
    this.y = scale(all.map(([, value]) => value), [HEIGHT - EDGE.bottom, EDGE.top], true);
    this.here = draw("line", { class: "here", y1: EDGE.top, y2: HEIGHT - EDGE.bottom, visibility: "hidden" });
    this.svg.replaceChildren(...this.axes(), ...this.series.flatMap((one) => this.line(one)), this.here);
    this.box.dataset.points = String(Math.max(...this.series.map((one) => one.points.length)));
    this.rest();
    this.list();
  }

  axes() {
    const across = this.y.ticks.flatMap((value) => [
      draw("line", { class: "grid-line", x1: EDGE.left, x2: WIDTH - EDGE.right, y1: this.y.at(value), y2: this.y.at(value) }),
      draw("text", { x: EDGE.left - 6, y: this.y.at(value) + 4, "text-anchor": "end" }, String(value)),
    ]);
    const steps = this.x.ticks.filter(Number.isInteger);
    const along = steps.map((value) => draw("text", { x: this.x.at(value), y: HEIGHT - 8, "text-anchor": "middle" }, String(value)));
    return [...across, ...along];
  }

  line({ points, slot }) {
    const path = (some) => some.map(([step, value]) => `${this.x.at(step).toFixed(1)},${this.y.at(value).toFixed(1)}`).join(" ");
    if (points.length === 1) return [draw("circle", { class: `dot slot-${slot}`, cx: this.x.at(points[0][0]), cy: this.y.at(points[0][1]), r: 3.5 })];
    const bold = draw("polyline", { class: `bold slot-${slot}`, points: path(averaged(points, this.curve.average)) });
    if (this.curve.average === 1) return [bold];
    return [draw("polyline", { class: `thin slot-${slot}`, points: path(points) }), bold];
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) * WIDTH) / box.width;
    const steps = this.series.flatMap((one) => one.points.map(([step]) => step));
    const step = steps.reduce((near, one) => (Math.abs(this.x.at(one) - at) < Math.abs(this.x.at(near) - at) ? one : near));
    this.here.setAttribute("x1", this.x.at(step));
    this.here.setAttribute("x2", this.x.at(step));
    this.here.setAttribute("visibility", "visible");
    this.say(step, ([one]) => one === step);
  }

  rest() {
    this.here?.setAttribute("visibility", "hidden");
    const last = Math.max(...this.series.map((one) => one.points.at(-1)[0]));
    this.say(last, null);
    this.svg.setAttribute("aria-label", `${this.curve.title} over ${this.curve.stage} steps. ${this.latest.textContent}`);
  }

  say(step, which) {
    const parts = this.series.flatMap((one) => {
      const found = which ? one.points.find(which) : one.points.at(-1);
      return found ? [`${this.series.length > 1 ? `${one.name} ` : ""}${number(found[1])}`] : [];
    });
    this.latest.textContent = `step ${step}: ${parts.join(", ")}`;
  }

  // The same in words, for those who do not see the drawing.
  list() {
    if (!this.numbers.open) return;
    const lines = this.series.map((one) => make("p", {}, `${this.series.length > 1 ? `${one.name}: ` : ""}${one.points.map(([step, value]) => `${step}: ${number(value)}`).join(", ")}`));
    this.numbers.replaceChildren(this.numbers.firstElementChild, ...lines);
  }
}

function averaged(points, window) {
  return points.map(([step], at) => {
    const some = points.slice(Math.max(0, at + 1 - window), at + 1);
    return [step, some.reduce((sum, [, value]) => sum + value, 0) / some.length];
  });
}

/** From values to places between two ends, with round numbers to mark. */
function scale(values, [from, to], fromZero = false) {
  let low = Math.min(...values);
  let high = Math.max(...values);
  if (fromZero && low >= 0) low = 0;
  if (low === high) [low, high] = low === 0 ? [0, 1] : [low - Math.abs(low) * 0.1, high + Math.abs(high) * 0.1];
  if (fromZero) high += (high - low) * 0.05;
  const size = 10 ** Math.floor(Math.log10((high - low) / 4));
  const unit = size * [1, 2, 5, 10].find((times) => (high - low) / (size * times) <= 5);
  const ticks = [];
  for (let tick = Math.ceil(low / unit); tick * unit <= high + unit * 1e-9; tick++) ticks.push(Number((tick * unit).toPrecision(12)));
  return { at: (value) => from + ((value - low) / (high - low)) * (to - from), ticks };
}
