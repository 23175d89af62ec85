// The filters beside the grid, each value with the number of scenes that it would leave.
import { element } from "./page.js";
import { narrow, state } from "./state.js";
import { naming } from "./names.js";

const MOST = 40;
const NO_FACETS = ["q", "order", "descending", "scene", "page"];
const unfolded = new Set(); // facets of many values that are listed whole

export function showFacets(place, counts) {
  const held = place.contains(document.activeElement) ? document.activeElement : null;
  const chosen = state();
  // What is chosen is listed even where no scene has it, so that it can be let go.
  const more = [...new Set(chosen.keys())].filter((name) => !Object.hasOwn(counts, name) && !NO_FACETS.includes(name));
  const show = () => showFacets(place, counts);
  place.replaceChildren(...[...more, ...Object.keys(counts)].flatMap((name) => {
    const known = Object.hasOwn(counts, name) ? counts[name] : {};
    const strays = [...new Set(chosen.getAll(name))].filter((value) => !Object.hasOwn(known, value));
    const values = [...Object.entries(known), ...strays.map((value) => [value, more.includes(name) ? "" : 0])];
    const some = values.some(([, count]) => count);
    return (values.length < 2 || !some) && !chosen.has(name) ? [] : group(name, values, show);
  }));
  if (!held) return;
  const same = [...place.querySelectorAll("input, button")].find(
    ({ name, value }) => name === held.name && value === held.value);
  same?.focus({ preventScroll: true });
}

function group(name, values, show) {
  const many = values.length > MOST;
  const listed = many && !unfolded.has(name) ? commonest(name, values) : values;
  const fold = () => {
    unfolded.has(name) ? unfolded.delete(name) : unfolded.add(name);
    show();
  };
  const all = element("button", { name, class: "fold", onclick: fold },
    unfolded.has(name) ? "show fewer" : `show all ${values.length}`);
  const lines = listed.map(([value, count]) => line(name, value, count));
  return [element("h2", {}, naming(name)), ...lines, ...(many ? [all] : [])];
}

/** And whatever is chosen. */
const commonest = (name, values) => values
  .toSorted((a, b) => b[1] - a[1])
  .filter(([value], i) => i < MOST || state().has(name, value));

function line(name, value, count) {
  const box = element("input", {
    type: "checkbox", checked: state().has(name, value), name, value,
    onchange: () => narrow((next) => (box.checked ? next.append(name, value) : next.delete(name, value))),
  });
  return element("label", { class: count === 0 ? "none" : null, title: value }, box,
    element("span", { class: "name" }, value), element("span", { class: "number" }, String(count)));
}
