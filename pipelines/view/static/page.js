// What every part of the page needs: elements, answers of the server, and the state in the URL.

/** An element; what is a string becomes text, never markup. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** The answer to a request, or an Error with what the server said. */
export async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("the viewer does not answer; is `sigma view` still running?");
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw new Error(told.error ?? `${path}: status ${answer.status}`);
}

export const askJson = async (path, options) => (await ask(path, options)).json();

export const rawBytes = async (path) => (await ask(path)).arrayBuffer();

let hiding;
/** Say what went wrong, for a while. */
export function tell(error) {
  const place = document.getElementById("message");
  place.textContent = error.message ?? String(error);
  place.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => (place.hidden = true), 8000);
}

const watchers = [];

/** The state: what is filtered by, ordered by, opened. */
export const state = () => new URLSearchParams(location.search);

export const whenStateChanges = (watcher) => watchers.push(watcher);

/** Change the state by a function of its parameters. */
export function go(change) {
  const next = state();
  change(next);
  const text = next.toString();
  if (text === state().toString()) return;
  history.pushState(null, "", text ? `?${text}` : location.pathname);
  changed();
}

export const changed = () => watchers.forEach((watcher) => watcher());

// The token has done its work: a copied address should not give it away.
if (state().has("token")) {
  const rest = state();
  rest.delete("token");
  history.replaceState(null, "", rest.size ? `?${rest}` : location.pathname);
}

addEventListener("popstate", changed);
