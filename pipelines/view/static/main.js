// The page as a whole: what the state in the URL says is shown, and keys are answered.
import { AboutPage } from "./about.js";
import { showFacets } from "./facets.js";
import { Grid } from "./grid.js";
import { listen, showHeader } from "./header.js";
import { askJson, element, tell, toggleFlag } from "./page.js";
import { ScenePage } from "./scene.js";
import { Selection } from "./selection.js";
import { changed, clear, filters, openGrid, openScene, openSet, state, whenStateChanges } from "./state.js";

const $ = (id) => document.getElementById(id);
const grid = new Grid($("grid"));
const selection = new Selection();
let set, page, about;
let searched; // the filters that the selection is of
let searches = 0, shows = 0; // the newest counts, whichever is answered last

const KEYS = {
  j: ["next scene", () => step(1)],
  k: ["scene before", () => step(-1)],
  m: ["masks", () => page.toggle("masks")],
  a: ["amodal masks", () => page.toggle("amodal")],
  b: ["2D boxes", () => page.toggle("boxes")],
  c: ["3D boxes (cuboids)", () => page.toggle("boxes3d")],
  d: ["depth", () => page.toggle("depth")],
  y: ["keep this scene", () => flag("keep").catch(tell)],
  x: ["drop this scene", () => flag("drop").catch(tell)],
  "/": ["search", () => $("search").focus()],
  s: ["the set as a whole", openSet],
  Escape: ["back to all scenes", openGrid],
  "?": ["these keys", () => $("help").showModal()],
};
const MORE_KEYS = [["1 … 9, 0", "light up a subject"], ["arrows", "walk in the grid"], ["Enter", "open the scene"]];

function answerKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (event.target.matches("input[type=search], select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (/^\d$/.test(event.key)) page.pin(Number(event.key) || 10);
  else if (KEYS[event.key]) {
    event.preventDefault();
    KEYS[event.key][1]();
  }
}

/** To the next scene of the selection, or from none to the first. */
function step(by) {
  const next = selection.from(openId(), by);
  if (next !== undefined) openScene(next);
}

/** What is open, or the scene in the grid that has the focus. */
async function flag(flag) {
  const scene = grid.focused;
  if (page.id !== undefined) return page.flag(flag);
  if (!scene) return;
  await toggleFlag(scene, flag);
  await search();
}

function openId() {
  const open = state().get("scene");
  return open === null ? undefined : Number(open);
}

async function search() {
  const text = filters();
  const mine = ++searches;
  let refused = "";
  const found = await askJson(`api/scenes?${text}`).catch((error) => {
    if (error.status !== 400) throw error;
    refused = error.message;
    return { ids: [], facets: {} };
  });
  if (mine < searches || text !== filters()) return;
  selection.change(found.ids, openId());
  if (text === searched) grid.refresh(found.ids);
  else grid.show(found.ids);
  searched = text;
  showFacets($("facets"), found.facets);
  $("count").textContent = `${found.ids.length} of ${set.scenes} scenes`;
  $("nothing").hidden = found.ids.length > 0;
  $("why").textContent = refused || "no scene matches";
  $("clear").hidden = !text;
}

async function show() {
  const mine = ++shows;
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
  const others = filters() !== searched;
  if (others) await search();
  if (mine < shows) return;
  if (shown === "scene" && open !== before) await page.open(open);
  if (shown === "about") await about.open();
  if (shown === "grid" && before !== undefined && !others) grid.focus(Number(before));
}

function help() {
  const kbd = (key) => element("dt", {}, element("kbd", {}, key));
  $("help").append(
    element("dl", {}, ...[...MORE_KEYS, ...Object.entries(KEYS).map(([key, [what]]) => [key, what])].flatMap(
      ([key, what]) => [kbd(key), element("dd", {}, what)])),
    element("form", { method: "dialog" }, element("button", {}, "close")));
}

try {
  set = await askJson("api/set");
  document.title = `${set.name} · sigma view`;
  page = new ScenePage($("scene"), set, { flagged: () => search().catch(tell), step });
  about = new AboutPage($("about"), set, () => search().catch(tell));
  listen(set);
  help();
  $("clear").addEventListener("click", clear);
  addEventListener("keydown", answerKey);
  if (set.faults.length) tell(new Error(`${set.faults.length} places could not be read; "the set" lists them`));
  whenStateChanges(() => show().catch(tell));
  changed();
} catch (error) {
  tell(error);
}
