// The controls at the top of the page: search, order, export.
import { ask, element, showError } from "./page.js";
import { displayName } from "./names.js";
import { changeFilters, filters, openSet, state } from "./state.js";

const $ = (id) => document.getElementById(id);
let typingTimer; // delays the search until the user pauses
let typedState; // the URL's query string after the last search by typing

/** Show the URL's state in the controls. Drops text whose search has not started yet. */
export function showHeader(set) {
  clearTimeout(typingTimer);
  const wanted = state();
  $("search").value = wanted.get("q") ?? "";
  $("order").value = wanted.get("order") ?? set.orders[0];
  $("descending").checked = wanted.has("descending");
}

/** Fill the controls and handle their events. ``set``: the answer of api/set. */
export function setUpHeader(set) {
  $("name").textContent = set.name;
  $("name").title = set.place;
  $("order").append(...set.orders.map((order) => element("option", { value: order }, displayName(order))));
  $("search").addEventListener("input", () => {
    clearTimeout(typingTimer);
    typingTimer = setTimeout(searchWords, 150);
  });
  $("search").addEventListener("blur", () => (typedState = undefined));
  $("order").addEventListener("change", () => changeFilters((next) => next.set("order", $("order").value)));
  $("descending").addEventListener("change", () =>
    changeFilters((next) => ($("descending").checked ? next.set("descending", "1") : next.delete("descending"))));
  $("filters-button").addEventListener("click", () => document.body.classList.toggle("filtering"));
  $("export-button").addEventListener("click", () => exportPage(set).catch(showError));
  $("about-button").addEventListener("click", openSet);
  $("help-button").addEventListener("click", () => $("help").showModal());
}

/** Search for the text. Letters typed one after another are one step of the browser's history. */
function searchWords() {
  const words = $("search").value;
  const before = location.search;
  changeFilters((next) => (words ? next.set("q", words) : next.delete("q")), { replace: typedState === before });
  if (location.search !== before) typedState = location.search;
}

async function exportPage(set) {
  const page = await (await ask(`api/export.html?${filters()}`)).blob();
  const address = URL.createObjectURL(page);
  element("a", { href: address, download: `${set.name}.html` }).click();
  URL.revokeObjectURL(address);
}
