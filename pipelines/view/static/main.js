// The page as a whole: what the state in the URL says is shown, and keys are answered.
import { AboutPage } from "./about.js";
import { showFacets } from "./facets.js";
import { Grid } from "./grid.js";
import { ask, askJson, changed, element, go, state, tell, whenStateChanges } from "./page.js";
import { ScenePage } from "./scene.js";

const $ = (id) => document.getElementById(id);
const grid = new Grid($("grid"));
const page = new ScenePage($("scene"), () => search().catch(tell));
const PAGES = ["scene", "page"]; // what of the state is no filter
let about;
let ids = [];
let searched;

const KEYS = {
  j: ["next scene", () => step(1)],
  k: ["scene before", () => step(-1)],
  m: ["masks", () => page.toggle("masks")],
  a: ["amodal masks", () => page.toggle("amodal")],
  b: ["2D boxes", () => page.toggle("boxes")],
  c: ["3D boxes (cuboids)", () => page.toggle("boxes3d")],
  d: ["depth", () => page.toggle("depth")],
  y: ["keep this scene", () => page.flag("keep").catch(tell)],
  x: ["drop this scene", () => page.flag("drop").catch(tell)],
  "/": ["search", () => $("search").focus()],
  s: ["the set as a whole", () => go((next) => { next.delete("scene"); next.set("page", "set"); })],
  Escape: ["back to all scenes", () => go((next) => PAGES.forEach((name) => next.delete(name)))],
  "?": ["these keys", () => $("help").showModal()],
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (event.target.matches("input[type=search], select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (/^[1-9]$/.test(event.key)) page.pin(Number(event.key));
  else if (KEYS[event.key]) {
    event.preventDefault();
    KEYS[event.key][1]();
  }
});

/** To the next scene of the selection, or from none to the first. */
function step(by) {
  const open = state().get("scene");
  const at = open === null ? (by > 0 ? 0 : ids.length - 1) : ids.indexOf(Number(open)) + by;
  if (at >= 0 && at < ids.length) go((next) => { next.delete("page"); next.set("scene", ids[at]); });
}

async function search() {
  const text = filters();
  const found = await askJson(`api/scenes?${text}`);
  if (text !== searched || found.ids.length !== ids.length) {
    ids = found.ids;
    grid.show(ids);
  } else grid.refresh();
  searched = text;
  showFacets($("facets"), found.facets);
  $("count").textContent = `${ids.length} of ${set.scenes} scenes`;
}

function filters() {
  const wanted = state();
  PAGES.forEach((name) => wanted.delete(name));
  return wanted.toString();
}

async function exportPage() {
  const page = await (await ask(`api/export.html?${filters()}`)).blob();
  const address = URL.createObjectURL(page);
  element("a", { href: address, download: `${set.name}.html` }).click();
  URL.revokeObjectURL(address);
}

async function show() {
  const wanted = state();
  const open = wanted.get("scene");
  $("search").value = wanted.get("q") ?? "";
  $("order").value = wanted.get("order") ?? set.orders[0];
  $("descending").checked = wanted.has("descending");
  const whole = open === null && wanted.get("page") === "set";
  $("grid").hidden = $("facets").hidden = open !== null || whole;
  $("scene").hidden = open === null;
  $("about").hidden = !whole;
  const before = page.id;
  if (open === null) page.close();
  if (!whole) about.close();
  if (filters() !== searched) await search();
  else if (open === null) grid.refresh();
  if (open !== null && Number(open) !== before) await page.open(open);
  if (whole) await about.open();
  else if (open === null && before !== undefined) grid.focus(before);
}

function listen() {
  let typing;
  $("search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => go((next) => ($("search").value ? next.set("q", $("search").value) : next.delete("q"))), 150);
  });
  $("order").append(...set.orders.map((order) => element("option", { value: order }, order)));
  $("order").addEventListener("change", () => go((next) => next.set("order", $("order").value)));
  $("descending").addEventListener("change", () =>
    go((next) => ($("descending").checked ? next.set("descending", "1") : next.delete("descending"))));
  $("filters-button").addEventListener("click", () => document.body.classList.toggle("filtering"));
  $("export-button").addEventListener("click", () => exportPage().catch(tell));
  $("about-button").addEventListener("click", KEYS.s[1]);
  $("help-button").addEventListener("click", () => $("help").showModal());
  $("help").append(
    element("dl", {}, element("dt", {}, element("kbd", {}, "1"), " … ", element("kbd", {}, "9")), element("dd", {}, "light up a subject"),
      ...Object.entries(KEYS).flatMap(([key, [what]]) => [element("dt", {}, element("kbd", {}, key)), element("dd", {}, what)])),
    element("form", { method: "dialog" }, element("button", {}, "close")));
}

let set;
try {
  set = await askJson("api/set");
  document.title = `${set.name} · sigma view`;
  $("name").textContent = set.name;
  $("name").title = set.place;
  about = new AboutPage($("about"), set, () => search().catch(tell));
  listen();
  if (set.faults.length) tell(`${set.faults.length} places could not be read; "the set" lists them`);
  whenStateChanges(() => show().catch(tell));
  changed();
} catch (error) {
  tell(error);
}
