// Entry point: shows what the URL's state says, and handles keys.
import { AboutPage } from "./about.js";
import { showFacets } from "./facets.js";
import { Grid } from "./grid.js";
import { setUpHeader, showHeader } from "./header.js";
import { ask, askJson, element, expectVersion, showAfterReload, showError, showKeptMessage, toggleMark } from "./page.js";
import { ScenePage } from "./scene.js";
import { Selection } from "./selection.js";
import { clearFilters, filters, notifyWatchers, openGrid, openScene, openSet, onStateChange, state } from "./state.js";

const $ = (id) => document.getElementById(id);
const grid = new Grid($("grid"));
const selection = new Selection();
let set, page, about;
let searchedFilters; // the filters of the current selection
// Numbers of the latest calls: an older call whose answer comes later is dropped.
let lastSearch = 0, lastShow = 0;
const VERSION_CHECK = 4000; // milliseconds from one question whether the dataset was packed again to the next
let reloading = false;

const KEYS = {
  j: ["next scene", () => step(1)],
  k: ["previous scene", () => step(-1)],
  m: ["masks", () => page.toggle("masks")],
  a: ["amodal masks", () => page.toggle("amodal")],
  b: ["2D boxes", () => page.toggle("boxes")],
  c: ["3D boxes (cuboids)", () => page.toggle("boxes3d")],
  d: ["depth", () => page.toggle("depth")],
  "+": ["enlarge the picture", () => page.zoom?.in()],
  "-": ["reduce the picture", () => page.zoom?.out()],
  z: ["show the whole picture", () => page.zoom?.reset()],
  y: ["mark the scene: keep", () => markScene("keep").catch(showError)],
  x: ["mark the scene: drop", () => markScene("drop").catch(showError)],
  "/": ["search", () => $("search").focus()],
  s: ["about the dataset", openSet],
  Escape: ["back to all scenes", openGrid],
  "?": ["list of keys", () => $("help").showModal()],
};
const MORE_KEYS = [["1 … 9, 0", "highlight a subject"], ["arrows", "move in the grid"], ["Enter", "open the scene"]];

function handleKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (event.target.matches("input[type=search], select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (!$("grid").hidden && [document.body, $("grid")].includes(event.target)) grid.takeKey(event);
  if (/^\d$/.test(event.key)) page.pin(Number(event.key) || 10);
  else if (KEYS[event.key]) {
    event.preventDefault();
    KEYS[event.key][1]();
  }
}

/** Open the scene ``by`` positions further in the selection; if none is open, the first or last. */
function step(by) {
  const next = selection.from(openId(), by);
  if (next !== undefined) openScene(next);
}

/** Set or remove the mark of the open scene, or of the scene in the grid that has the focus. */
async function markScene(mark) {
  const scene = grid.focused;
  if (page.id !== undefined) return page.markScene(mark);
  if (!scene) return;
  await toggleMark(scene, mark);
  await search();
}

/** Id of the open scene, or undefined. */
function openId() {
  const open = state().get("scene");
  return open === null ? undefined : Number(open);
}

/** Select scenes by the URL's filters, and show grid, filters and count. */
async function search() {
  const text = filters();
  const call = ++lastSearch;
  let badRequest = "";
  const found = await askJson(`api/scenes?${text}`).catch(async (error) => {
    if (error.status !== 400) throw error;
    badRequest = error.message;
    return { ...await askJson("api/scenes"), ids: [] };
  });
  if (call < lastSearch || text !== filters()) return;
  selection.change(found.ids, openId());
  if (text === searchedFilters) grid.refresh(found.ids);
  else grid.show(found.ids);
  searchedFilters = text;
  showFacets($("facets"), found.facets, found.offered);
  $("count").textContent = `${found.ids.length} of ${set.scenes} scenes`;
  $("nothing").hidden = found.ids.length > 0;
  $("why").textContent = badRequest || "no scene matches";
  $("clear").hidden = $("clear-filters").hidden = !text;
  $("syntax").hidden = !state().has("q");
}

/** Show the page that the URL's state says: grid, scene or about. */
async function show() {
  const call = ++lastShow;
  const wanted = state();
  const open = wanted.get("scene");
  const shown = open !== null ? "scene" : wanted.get("page") === "set" ? "about" : "grid";
  showHeader(set);
  document.body.dataset.shows = shown;
  for (const name of ["grid", "scene", "about"]) $(name).hidden = name !== shown;
  $("facets").hidden = shown !== "grid";
  const before = page.id;
  if (shown !== "scene") page.close();
  if (shown !== "about") about.close();
  const filtersChanged = filters() !== searchedFilters;
  if (filtersChanged) await search();
  if (call < lastShow) return;
  if (shown === "scene" && open !== before) await page.open(open);
  if (shown === "about") await about.open();
  if (shown === "grid" && before !== undefined && !filtersChanged) grid.focus(Number(before));
}

/** Load the page again with the dataset as it is packed now. The open scene is found by its key, because its number
 * may be another. */
async function reload() {
  if (reloading) return;
  reloading = true;
  expectVersion(undefined);
  let notice = "the dataset was packed again, and is shown as it is now";
  if (state().has("scene")) {
    const key = page.lastKey;
    const { ids } = key ? await askJson(`api/scenes?${new URLSearchParams({ key })}`) : { ids: [] };
    if (!ids.length) notice += key ? `; scene ${key} is no longer in it` : "";
    const next = state();
    ids.length ? next.set("scene", ids[0]) : next.delete("scene");
    history.replaceState(null, "", next.size ? `?${next}` : location.pathname);
  }
  showAfterReload(notice);
  location.reload();
}

function fillHelp() {
  const kbd = (key) => element("dt", {}, element("kbd", {}, key));
  $("help").append(
    element("dl", {}, ...[...MORE_KEYS, ...Object.entries(KEYS).map(([key, [what]]) => [key, what])].flatMap(
      ([key, what]) => [kbd(key), element("dd", {}, what)])),
    element("form", { method: "dialog" }, element("button", {}, "close")));
}

try {
  set = await askJson("api/set");
  expectVersion(set.version);
  showKeptMessage();
  document.title = `${set.name} · sigma view`;
  page = new ScenePage($("scene"), set, { onMark: () => search().catch(showError), step });
  about = new AboutPage($("about"), set, () => search().catch(showError));
  setUpHeader(set);
  fillHelp();
  for (const name of ["clear", "clear-filters"]) $(name).addEventListener("click", clearFilters);
  addEventListener("keydown", handleKey);
  addEventListener("dataset-changed", () => reload().catch((error) => { reloading = false; showError(error); }));
  setInterval(() => document.hidden || ask("api/version").catch(() => {}), VERSION_CHECK);
  if (set.problems.length)
    showError(new Error(`${set.problems.length} problems while reading the dataset; the page "dataset" lists them`));
  onStateChange(() => show().catch(showError));
  notifyWatchers();
} catch (error) {
  showError(error);
}
