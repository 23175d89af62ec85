// The model's input for a scene: control image and identity sheet, made by the code that training uses.
import { element, recall, remember, showError } from "./page.js";

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
  drawSheet(sheet.firstChild, path, subjects).catch((error) => signal.aborted || showError(error));
  return element("section", {}, element("h2", {}, "model input"),
    element("p", { class: "note" }, "Subject i has the grey value 10 i in both routing channels. In the " +
      "ascending channel, later subjects cover earlier ones; in the descending channel, earlier subjects cover later " +
      "ones: where two overlap, each is visible in one channel. Structure is the depth of the subjects where it is " +
      "known, 255 at the nearest pixel."),
    element("div", { class: "bar" }, select, element("label", {}, stretch, " brighten the routing channels")),
    panels, sheet);
}

/** ``stretched``: the number of subjects, to make the last of them white on the screen; or false. */
function channel(path, control, panel, stretched) {
  const image = element("img", { src: `${path}/${control.name}-${panel}.png`, alt: PANELS[panel] });
  const notes = [PANELS[panel]];
  if (stretched && panel.endsWith("scending")) {
    image.style.filter = `brightness(${255 / (10 * stretched)})`;
    notes.push("brightened");
  }
  if (panel === "structure" && !control.has_depth) notes.push(`no depth with a ${control.label}`);
  return element("figure", {}, image, element("figcaption", {}, notes.join(", ")));
}

/** The server's sheet has one square per subject, one below the other; draw them side by side. */
async function drawSheet(canvas, path, rows) {
  const sheet = new Image();
  sheet.src = `${path}/sheet.png`;
  await sheet.decode().catch(() => { throw new Error("the model's identity sheet cannot be made"); });
  const edge = sheet.width;
  [canvas.width, canvas.height] = [edge * rows, edge];
  const context = canvas.getContext("2d");
  for (let row = 0; row < rows; row++) context.drawImage(sheet, 0, row * edge, edge, edge, row * edge, 0, edge, edge);
}
