// The filters beside the grid, each value with the number of scenes that it would leave.
import { element, go, state } from "./page.js";

const TITLES = {
  subjects: "subjects", split: "split", source: "source", category: "category",
  occlusion: "most hidden subject", truncation: "most cut off", shard: "shard", flag: "flag", suspect: "suspect", compared: "beside the other set",
};
const MOST = 40;

export function showFacets(place, counts) {
  const chosen = state();
  const linked = ["asset", "identity"].filter((name) => chosen.has(name));
  place.replaceChildren(
    ...linked.flatMap((name) => group(name, chosen.getAll(name).map((value) => [value, ""]))),
    ...Object.entries(counts).flatMap(([name, values]) => {
      const all = Object.entries(values);
      const some = all.filter(([, count]) => count);
      if ((all.length < 2 || !some.length) && !chosen.has(name)) return [];
      // The commonest of many, and whatever is chosen.
      const kept = all.length <= MOST ? all : all
        .toSorted((a, b) => b[1] - a[1])
        .filter(([value], i) => i < MOST || chosen.has(name, value));
      return group(TITLES[name] ?? name, kept, name);
    }),
  );
}

function group(title, values, name = title) {
  return [element("h2", {}, title), ...values.map(([value, count]) => line(name, value, count))];
}

function line(name, value, count) {
  const box = element("input", {
    type: "checkbox", checked: state().has(name, value), name, value,
    onchange: () => go((next) => (box.checked ? next.append(name, value) : next.delete(name, value))),
  });
  return element("label", { class: count === 0 ? "none" : null, title: value }, box,
    element("span", { class: "name" }, value), element("span", { class: "number" }, String(count)));
}
