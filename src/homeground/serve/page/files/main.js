// Which view is open: the part of the address behind the #, as in #/runs/demo?step=3.

import { hasKey, setKey, takeKey, get } from "./api.js";
import * as ask from "./ask.js";
import * as code from "./code.js";
import { byId } from "./dom.js";
import * as indexed from "./indexed.js";
import * as runs from "./runs.js";
import * as search from "./search.js";

const VIEWS = { ask, search, runs, index: indexed };
let open = null;
let address = null; // of the view that is open, below the code if that is shown

function route() {
  const hash = location.hash;
  if (hash && !hash.startsWith("#/")) return; // the link that skips to the content
  const [path, query] = hash.slice(2).split("?");
  const [name, ...parts] = path.split("/").map(decoded);
  const parameters = new URLSearchParams(query);
  if (!hasKey()) return wantKey();
  if (name === "file") {
    code.show(parameters, open);
    if (!open) show("ask", [], new URLSearchParams());
    return;
  }
  code.hide();
  if (hash === address) return; // back from the code: the view stands as it was left, focus and all
  address = hash;
  show(Object.hasOwn(VIEWS, name) ? name : "ask", parts, parameters);
}

// An address may come from anywhere: what is not encoded as it should be stands for itself.
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function show(name, parts, parameters) {
  const moved = open !== null && open !== name;
  for (const other of [...Object.keys(VIEWS), "key"]) byId(other).hidden = other !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (open !== null && moved) VIEWS[open].hide?.();
  open = name;
  document.title = `${name[0].toUpperCase()}${name.slice(1)} - Homeground`;
  VIEWS[name].show(parts, parameters);
  if (moved) byId("main").focus({ preventScroll: true });
}

function wantKey() {
  if (open !== null) VIEWS[open].hide?.();
  open = address = null;
  code.hide();
  for (const name of Object.keys(VIEWS)) byId(name).hidden = true;
  byId("key").hidden = false;
  byId("key-field").focus();
}

function theme(chosen) {
  const dark = chosen === "dark" || (chosen === "" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.classList.toggle("dark", dark);
}

function start() {
  takeKey();
  const select = byId("theme");
  select.value = localStorage.getItem("homeground-theme") ?? "";
  theme(select.value);
  select.addEventListener("change", () => {
    localStorage.setItem("homeground-theme", select.value);
    theme(select.value);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme(select.value));
  byId("key-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    setKey(byId("key-field").value.trim());
    byId("key-problem").textContent = "";
    try {
      await get("page/runs");
      byId("key-field").value = "";
      route();
    } catch (error) {
      byId("key-problem").textContent = error.message;
    }
  });
  document.addEventListener("key-wanted", wantKey);
  addEventListener("hashchange", () => {
    if (new URLSearchParams(location.hash.slice(1)).get("key")) takeKey();
    route();
  });
  route();
}

start();
