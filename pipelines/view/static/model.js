// What the model sees of a scene, drawn by the code that trains it.
import { element, recall, remember, tell } from "./page.js";

const PANELS = {
  colors: "by subject", ascending: "routing, ascending", descending: "routing, descending", structure: "structure",
};

/** ``controls``: the kinds of control, {name, label, has_depth}, as ``api/set`` lists them. ``signal``: aborted when
 * the page of the scene is closed. */
export function modelSection(path, subjects, controls, signal) {
  const panels = element("div", { class: "panels", id: "controls" });
  const sheet = element("figure", {}, element("canvas", { id: "sheet", role: "img", "aria-label": "identity sheet" }),
    element("figcaption", {}, "identity sheet, its rows side by side"));
  const select = element("select", { "aria-label": "granularity" },
    ...controls.map(({ name, label }) => element("option", { value: name }, label)));
  const stretch = element("input", { type: "checkbox", id: "stretch" });
  const show = () => {
    const control = controls.find(({ name }) => name === select.value);
    remember("granularity", select.value);
    remember("stretch", stretch.checked);
    panels.replaceChildren(...Object.keys(PANELS).map(
      (panel) => channel(path, control, panel, stretch.checked && subjects)));
  };
  select.value = recall("granularity", controls[0].name);
  stretch.checked = recall("stretch", true);
  for (const control of [select, stretch]) control.addEventListener("change", show);
  show();
  drawSheet(sheet.firstChild, path, subjects).catch((error) => signal.aborted || tell(error));
  return element("section", {}, element("h2", {}, "what the model sees"),
    element("p", { class: "note" }, "Subject i is the grey value 10 i in both routing channels. Ascending, later subjects " +
      "cover earlier ones; descending, earlier cover later: where two overlap, each is seen in one. Structure is depth " +
      "within the subjects, 255 at the nearest, where it is known."),
    element("div", { class: "bar" }, select, element("label", {}, stretch, " stretch the routing channels to be seen")),
    panels, sheet);
}

/** ``stretched``: the number of subjects, to make the last of them white on the screen; or false. */
function channel(path, control, panel, stretched) {
  const image = element("img", { src: `${path}/${control.name}-${panel}.png`, alt: PANELS[panel] });
  const notes = [PANELS[panel]];
  if (stretched && panel.endsWith("scending")) {
    image.style.filter = `brightness(${255 / (10 * stretched)})`;
    notes.push("stretched");
  }
  if (panel === "structure" && !control.has_depth) notes.push(`no depth with a ${control.label}`);
  return element("figure", {}, image, element("figcaption", {}, notes.join(", ")));
}

/** The model has its squares one below the other. */
async function drawSheet(canvas, path, rows) {
  const sheet = new Image();
  sheet.src = `${path}/sheet.png`;
  await sheet.decode().catch(() => { throw new Error("the identity sheet of the model cannot be made"); });
  const edge = sheet.width;
  [canvas.width, canvas.height] = [edge * rows, edge];
  const context = canvas.getContext("2d");
  for (let row = 0; row < rows; row++) context.drawImage(sheet, 0, row * edge, edge, edge, row * edge, 0, edge, edge);
}
