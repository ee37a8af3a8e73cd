// What is in the index, what is not, and why.

import { get } from "./api.js";
import { byId, bytes, codeLink, count, make, number, problem, table } from "./dom.js";

const view = byId("index-view");

export async function show() {
  try {
    const facts = await get("page/index");
    view.replaceChildren(...summary(facts), filesOf(facts), leftOutOf(facts));
  } catch (error) {
    view.replaceChildren(problem(error));
  }
}

function summary(facts) {
  const pairs = [
    ["Folders", facts.roots.join(", ")],
    ["Files", number(facts.files)],
    ["Chunks", number(facts.chunks)],
    ["Source", bytes(facts.bytes)],
  ];
  const settings = Object.entries(facts.settings).map(([name, value]) => [name, String(value)]);
  const languages = facts.languages.map((one) => [one.language || "other", count(one.files), count(one.chunks), count(bytes(one.bytes))]);
  return [
    make("dl", { class: "facts" }, pairs.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))),
    make("div", { class: "grid two" }, table("Languages", ["language", "files", "chunks", "size"], languages), table("How it is searched", ["setting", "value"], settings)),
  ];
}

function filesOf(facts) {
  const languages = facts.languages.map((one) => [one.language, `${one.language || "other"} (${one.files})`]);
  const row = (one) => [codeLink(one, one.path), one.language, count(one.chunks), count(bytes(one.size))];
  return new Listing({
    title: "Indexed files",
    heads: ["path", "language", "chunks", "size"],
    choice: ["language", "any language", languages],
    load: async (parameters) => {
      const found = await get("page/index/files", parameters);
      return { rows: found.files.map(row), total: found.total };
    },
  }).box;
}

function leftOutOf(facts) {
  const title = "Left out, and why";
  if (facts.skipped === null) {
    const words = "This index was made by an older Homeground, which did not keep what it left out: homeground index keeps it.";
    return make("section", {}, make("h2", {}, title), make("p", { class: "warned" }, words));
  }
  const reasons = facts.skipped.map((one) => [one.reason, `${one.why} (${one.count})`]);
  const why = Object.fromEntries(facts.skipped.map((one) => [one.reason, one.why]));
  return new Listing({
    title,
    heads: ["path", "why", "below"],
    choice: ["reason", "any reason", reasons],
    load: async (parameters) => {
      const found = await get("page/index/left-out", parameters);
      const rows = found.left_out.map((one) => [make("span", { class: "path" }, one.path), why[one.reason] ?? one.reason, one.root]);
      return { rows, total: found.total, note: found.whole ? "" : "Of some reasons only the first paths are kept." };
    },
  }).box;
}

/** A long table that is asked for in pieces, with a filter of its own. */
class Listing {
  constructor({ title, heads, choice, load }) {
    [this.caption, this.heads, this.load] = [`${title}: ${heads.join(", ")}`, heads, load];
    const [name, any, options] = choice;
    this.name = name;
    this.like = make("input", { type: "search", placeholder: "part of a path", "aria-label": `${title}: part of a path`, oninput: () => this.later() });
    this.chosen = make("select", { "aria-label": `${title}: ${name}`, onchange: () => this.fill() });
    this.chosen.append(make("option", { value: "" }, any), ...options.map(([value, words]) => make("option", { value }, words)));
    this.status = make("p", { class: "muted", role: "status" });
    this.rows = make("div");
    this.box = make("section", {}, make("h2", {}, title), make("div", { class: "row" }, this.like, this.chosen), this.status, this.rows);
    this.fill();
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.fill(), 200);
  }

  async fill(before = []) {
    const asked = (this.asked = {});
    try {
      const found = await this.load({ like: this.like.value, [this.name]: this.chosen.value, skip: before.length });
      if (asked !== this.asked) return;
      const rows = [...before, ...found.rows];
      this.status.textContent = [`${rows.length} of ${found.total}`, found.note].filter(Boolean).join(". ");
      const more = make("button", { class: "quiet", onclick: () => this.fill(rows) }, "more");
      this.rows.replaceChildren(table(this.caption, this.heads, rows), ...(rows.length < found.total ? [more] : []));
    } catch (error) {
      this.rows.replaceChildren(problem(error));
    }
  }
}
