// Elements out of data. Text becomes text nodes and nothing else: what is indexed or written by a model is never markup.

const SVG = "http://www.w3.org/2000/svg";

/** make("a", { href, class: "x", onclick: f }, "text", child): null and false among the children are left out. */
export function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function draw(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Where a citation leads: the file, over the view that is open. */
export function codeLink({ path, start, end }, text, more = {}) {
  const to = new URLSearchParams({ path, ...(start ? { start, end: end ?? start } : {}) });
  return make("a", { href: `#/file?${to}`, class: "path", ...more }, text);
}

/** A table: heads, then rows whose first cell is the row's heading. */
export function table(caption, heads, rows) {
  return make(
    "div",
    // A wide table scrolls in its own box, which the keyboard must reach.
    { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    make(
      "table",
      {},
      make("caption", {}, caption),
      make("thead", {}, make("tr", {}, heads.map((head, at) => make("th", { scope: "col", class: isNumber(rows[0]?.[at]) && "number" }, head)))),
      make("tbody", {}, rows.map((row) => tableRow(row))),
    ),
  );
}

/** A cell whose numbers stand under each other. */
export const count = (value) => make("td", { class: "number" }, typeof value === "number" ? number(value) : value);

const isNumber = (cell) => cell instanceof Element && cell.classList.contains("number");

function tableRow([first, ...cells]) {
  const whole = cells.map((cell) => (cell instanceof Element && cell.tagName === "TD" ? cell : make("td", {}, cell ?? "")));
  return make("tr", {}, make("th", { scope: "row" }, first), whole);
}

/** What went wrong, and what to do about it, as the server put it. */
export function problem(error) {
  return make("p", { class: "problem", role: "alert" }, [error.message, error.hint].filter(Boolean).join("\n"));
}

export function number(value) {
  if (value === null || value === undefined) return "";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  return size >= 100 ? value.toFixed(0) : size >= 0.01 || size === 0 ? value.toPrecision(3) : value.toExponential(1);
}

export function bytes(value) {
  return value >= 1e9 ? `${(value / 1e9).toFixed(2)} GB` : value >= 1e6 ? `${(value / 1e6).toFixed(1)} MB` : value >= 1e3 ? `${(value / 1e3).toFixed(0)} KB` : `${value} B`;
}

export function clock(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** The time of day, or the day when it was another one, of seconds since 1970. */
export function when(at) {
  const then = new Date(at * 1000);
  const today = then.toDateString() === new Date().toDateString();
  return today ? then.toLocaleTimeString("en-GB") : then.toLocaleDateString("en-CA");
}
