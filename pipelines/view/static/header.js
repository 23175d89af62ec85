// The controls above everything: search, order, export.
import { ask, element, tell } from "./page.js";
import { naming } from "./names.js";
import { filters, narrow, openSet, state } from "./state.js";

const $ = (id) => document.getElementById(id);
let typing; // a timer, while letters follow each other
let typed; // the state that typing has led to

/** What the state says, and not what was about to be typed. */
export function showHeader(set) {
  clearTimeout(typing);
  const wanted = state();
  $("search").value = wanted.get("q") ?? "";
  $("order").value = wanted.get("order") ?? set.orders[0];
  $("descending").checked = wanted.has("descending");
}

export function listen(set) {
  $("name").textContent = set.name;
  $("name").title = set.place;
  $("order").append(...set.orders.map((order) => element("option", { value: order }, naming(order))));
  $("search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(searchWords, 150);
  });
  $("search").addEventListener("blur", () => (typed = undefined));
  $("order").addEventListener("change", () => narrow((next) => next.set("order", $("order").value)));
  $("descending").addEventListener("change", () =>
    narrow((next) => ($("descending").checked ? next.set("descending", "1") : next.delete("descending"))));
  $("filters-button").addEventListener("click", () => document.body.classList.toggle("filtering"));
  $("export-button").addEventListener("click", () => exportPage(set).catch(tell));
  $("about-button").addEventListener("click", openSet);
  $("help-button").addEventListener("click", () => $("help").showModal());
}

/** One step of the history for all letters that are typed at once. */
function searchWords() {
  const words = $("search").value;
  const before = location.search;
  narrow((next) => (words ? next.set("q", words) : next.delete("q")), { replace: typed === before });
  if (location.search !== before) typed = location.search;
}

async function exportPage(set) {
  const page = await (await ask(`api/export.html?${filters()}`)).blob();
  const address = URL.createObjectURL(page);
  element("a", { href: address, download: `${set.name}.html` }).click();
  URL.revokeObjectURL(address);
}
