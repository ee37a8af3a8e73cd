// Lines of an indexed file in a dialog, over whatever view is open; those that were cited are marked.

import { get } from "./api.js";
import { byId, make, problem } from "./dom.js";

const AROUND = 120; // lines shown before and behind those that are marked
const PORTION = 300;

const dialog = byId("code");
let shown = null; // { path, first, last, total }
let request = 0;
let below = null;

/** Opens the file; `from` is the address of the view that the way led from, null where this is the first. */
export async function show(parameters, from) {
  below = from;
  const [path, start, end] = [parameters.get("path"), Number(parameters.get("start")), Number(parameters.get("end"))];
  const mine = ++request;
  byId("code-title").textContent = start ? `${path}:${start}-${end}` : path;
  byId("code-note").textContent = "";
  byId("code-lines").replaceChildren();
  if (!dialog.open) dialog.showModal();
  try {
    const found = await get("page/read", { path, start: Math.max(1, start - AROUND), end: start ? end + AROUND : "" });
    if (mine !== request) return;
    shown = { path, first: found.start, last: found.end, total: found.lines, marked: [start, end] };
    byId("code-note").textContent = found.stale ? "The file has changed since it was indexed: these are the lines as indexed." : "";
    byId("code-lines").replaceChildren(...lines(found));
    more();
    byId("code-lines").querySelector(".marked")?.scrollIntoView({ block: "center" });
    byId("code-lines").focus({ preventScroll: true });
  } catch (error) {
    if (mine === request) byId("code-lines").replaceChildren(problem(error));
  }
}

export function hide() {
  request++;
  if (dialog.open) dialog.close();
}

function lines(found) {
  const [from, to] = shown.marked;
  return found.text.split("\n").map((text, at) => {
    const number = found.start + at;
    const cited = from && number >= from && number <= to;
    return make(
      "div",
      { class: cited ? "line marked" : "line", "data-line": number },
      make("span", {}, String(number)),
      make(cited ? "mark" : "code", {}, text || "\u200b"),
    );
  });
}

function more() {
  const box = byId("code-lines");
  for (const button of box.querySelectorAll("button")) button.remove();
  if (shown.first > 1) box.prepend(moreButton("Lines above", Math.max(1, shown.first - PORTION), shown.first - 1, true));
  if (shown.last < shown.total) box.append(moreButton("Lines below", shown.last + 1, shown.last + PORTION, false));
}

function moreButton(words, start, end, above) {
  const box = byId("code-lines");
  const load = async () => {
    const found = await get("page/read", { path: shown.path, start, end });
    const added = lines(found);
    const height = box.scrollHeight;
    if (above) {
      box.prepend(...added);
      shown.first = found.start;
    } else {
      box.append(...added);
      shown.last = found.end;
    }
    more();
    if (above) box.scrollTop += box.scrollHeight - height;
    box.focus({ preventScroll: true });
  };
  return make("button", { class: "quiet", onclick: load }, words);
}

byId("code-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
// Closed by Escape or the button: the address is again that of the view below.
dialog.addEventListener("close", () => {
  if (!location.hash.startsWith("#/file")) return;
  if (below !== null) history.back();
  else location.replace("#/ask");
});
