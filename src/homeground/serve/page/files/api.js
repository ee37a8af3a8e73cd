// The server, with the key. The key comes behind the # of the address, so it was never sent anywhere, and is kept for
// this tab only.

const KEPT = "homeground-key";

/** What the server refused: its words, and its hint. */
export class Refused extends Error {
  constructor(message, hint, status) {
    super(message);
    this.hint = hint;
    this.status = status;
  }
}

/** Takes the key out of the address, where `homeground serve` put it. */
export function takeKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (!given) return;
  setKey(given);
  history.replaceState(null, "", location.pathname + location.search);
}

export function setKey(key) {
  sessionStorage.setItem(KEPT, key);
}

export const hasKey = () => Boolean(sessionStorage.getItem(KEPT));

/** JSON of a route; parameters that are empty are left out, lists are repeated. */
export async function get(route, parameters = {}, signal = undefined) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== "" && one !== null && one !== undefined) query.append(name, one);
  }
  const response = await answered(query.size ? `${route}?${query}` : route, { signal });
  return response.json();
}

/** The events of a stream, as they come: each is an object. */
export async function* events(route, body, signal) {
  const response = await answered(route, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  let held = "";
  for await (const piece of pieces(response.body.pipeThrough(new TextDecoderStream()))) {
    const blocks = (held + piece).split("\n\n");
    held = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data: "));
      if (data.length) yield JSON.parse(data.map((line) => line.slice(6)).join("\n"));
    }
  }
}

// Streams are async iterables in the newest browsers only.
async function* pieces(stream) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function answered(route, options) {
  const headers = { ...options.headers, Authorization: `Bearer ${sessionStorage.getItem(KEPT) ?? ""}` };
  let response;
  try {
    response = await fetch(route, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("the server does not answer", "is homeground serve still running?", 0);
  }
  if (response.status === 401) document.dispatchEvent(new Event("key-wanted"));
  if (!response.ok) {
    const said = await response.json().catch(() => ({}));
    const error = said.error?.message ?? said.error ?? said.detail ?? response.statusText;
    throw new Refused(typeof error === "string" ? error : "the request was refused", said.hint, response.status);
  }
  return response;
}
