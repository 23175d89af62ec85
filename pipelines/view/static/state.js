// The page's state is the query string of the URL: filters, order, and what is open.

const NOT_FILTERS = ["scene", "page"]; // parameters that say what is open
const watchers = [];

export const state = () => new URLSearchParams(location.search);

export const onStateChange = (watcher) => watchers.push(watcher);

export const notifyWatchers = () => watchers.forEach((watcher) => watcher());

/** The parameters that the selection of scenes depends on, as a query string. */
export function filters() {
  const wanted = state();
  NOT_FILTERS.forEach((name) => wanted.delete(name));
  return wanted.toString();
}

/** Change the state. ``change`` edits its URLSearchParams. ``replace``: replaces the current step of the
 * browser's history. */
export function changeState(change, { replace = false } = {}) {
  const next = state();
  change(next);
  const text = next.toString();
  if (text === state().toString()) return;
  history[replace ? "replaceState" : "pushState"](null, "", text ? `?${text}` : location.pathname);
  notifyWatchers();
}

/** Change the filters or the order, and show the grid. */
export const changeFilters = (change, options) => changeState((next) => {
  NOT_FILTERS.forEach((name) => next.delete(name));
  change(next);
}, options);

export const openScene = (id) => changeState((next) => {
  next.delete("page");
  next.set("scene", id);
});

export const openSet = () => changeState((next) => {
  next.delete("scene");
  next.set("page", "set");
});

export const openGrid = () => changeFilters(() => {});

/** Remove all filters and the order. */
export const clearFilters = () => changeFilters((next) => [...next.keys()].forEach((name) => next.delete(name)));

// The token is in a cookie by now. Remove it from the URL, so that a copied URL does not contain it.
if (state().has("token")) {
  const rest = state();
  rest.delete("token");
  history.replaceState(null, "", rest.size ? `?${rest}` : location.pathname);
}

addEventListener("popstate", notifyWatchers);
