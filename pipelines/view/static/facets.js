// The filters beside the grid. Each value has the number of scenes that it would select.
import { element } from "./page.js";
import { changeFilters, state } from "./state.js";
import { displayName } from "./names.js";

const MAX_LISTED = 40; // values of a facet; more are folded
const NOT_FACETS = ["q", "order", "descending", "scene", "page"];
const unfolded = new Set(); // facets with many values that are listed completely

/** ``counts``: by facet and value, the number of scenes. ``offered``: the facets to show even if no selected scene has a
 * value of them. */
export function showFacets(place, counts, offered) {
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  const chosen = state();
  // A chosen value is listed even if no scene has it, so that it can be cleared.
  const more = [...new Set(chosen.keys())].filter((name) => !Object.hasOwn(counts, name) && !NOT_FACETS.includes(name));
  const show = () => showFacets(place, counts, offered);
  place.replaceChildren(...[...more, ...Object.keys(counts)].flatMap((name) => {
    const known = Object.hasOwn(counts, name) ? counts[name] : {};
    const unknown = [...new Set(chosen.getAll(name))].filter((value) => !Object.hasOwn(known, value));
    const values = [...Object.entries(known), ...unknown.map((value) => [value, more.includes(name) ? "" : 0])];
    return (values.length > 1 && offered.includes(name)) || chosen.has(name) ? group(name, values, show) : [];
  }));
  if (!focused) return;
  const same = [...place.querySelectorAll("input, button")].find(
    ({ name, value }) => name === focused.name && value === focused.value);
  same?.focus({ preventScroll: true });
}

function group(name, values, show) {
  const many = values.length > MAX_LISTED;
  const listed = many && !unfolded.has(name) ? mostFrequent(name, values) : values;
  const fold = () => {
    unfolded.has(name) ? unfolded.delete(name) : unfolded.add(name);
    show();
  };
  const all = element("button", { name, class: "fold", onclick: fold },
    unfolded.has(name) ? "show fewer" : `show all ${values.length}`);
  const lines = listed.map(([value, count]) => line(name, value, count));
  return [element("h2", {}, displayName(name)), ...lines, ...(many ? [all] : [])];
}

/** The values that most scenes have, and all chosen values. */
const mostFrequent = (name, values) => values
  .toSorted((a, b) => b[1] - a[1])
  .filter(([value], i) => i < MAX_LISTED || state().has(name, value));

function line(name, value, count) {
  const box = element("input", {
    type: "checkbox", checked: state().has(name, value), name, value,
    onchange: () => changeFilters((next) => (box.checked ? next.append(name, value) : next.delete(name, value))),
  });
  return element("label", { class: count === 0 ? "none" : null, title: value }, box,
    element("span", { class: "name" }, value), element("span", { class: "number" }, String(count)));
}
