// The state lives in the URL: what is filtered by, ordered by, opened.

const PAGES = ["scene", "page"]; // what of the state is no filter
const watchers = [];

export const state = () => new URLSearchParams(location.search);

export const whenStateChanges = (watcher) => watchers.push(watcher);

export const changed = () => watchers.forEach((watcher) => watcher());

/** What of the state the selection of scenes depends on. */
export function filters() {
  const wanted = state();
  PAGES.forEach((name) => wanted.delete(name));
  return wanted.toString();
}

/** Change the state by a function of its parameters. ``replace``: Back leads to before it. */
export function go(change, { replace = false } = {}) {
  const next = state();
  change(next);
  const text = next.toString();
  if (text === state().toString()) return;
  history[replace ? "replaceState" : "pushState"](null, "", text ? `?${text}` : location.pathname);
  changed();
}

/** Change what is filtered by, and show what that leaves. */
export const narrow = (change, options) => go((next) => {
  PAGES.forEach((name) => next.delete(name));
  change(next);
}, options);

export const openScene = (id) => go((next) => {
  next.delete("page");
  next.set("scene", id);
});

export const openSet = () => go((next) => {
  next.delete("scene");
  next.set("page", "set");
});

export const openGrid = () => narrow(() => {});

/** Every scene, in their own order. */
export const clear = () => narrow((next) => [...next.keys()].forEach((name) => next.delete(name)));

// The token has done its work: a copied address should not give it away.
if (state().has("token")) {
  const rest = state();
  rest.delete("token");
  history.replaceState(null, "", rest.size ? `?${rest}` : location.pathname);
}

addEventListener("popstate", changed);
