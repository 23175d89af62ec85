// The model's input for a scene: control image and identity sheet, made by the code that training uses.
import { element, recall, remember, showError } from "./page.js";

const GRANULARITIES = { mask_depth: "mask and depth", box3d: "3D box", box2d: "2D box" };
const PANELS = {
  colors: "by subject", ascending: "routing, ascending", descending: "routing, descending", structure: "structure",
};

/** ``signal``: says when nobody looks at it any more. */
export function modelSection(path, subjects, signal) {
  const panels = element("div", { class: "panels", id: "controls" });
  const sheet = element("figure", {}, element("canvas", { id: "sheet", role: "img", "aria-label": "identity sheet" }),
    element("figcaption", {}, "identity sheet, its rows side by side"));
  const select = element("select", { "aria-label": "granularity" },
    ...Object.entries(GRANULARITIES).map(([value, name]) => element("option", { value }, name)));
  const stretch = element("input", { type: "checkbox", id: "stretch" });
  const show = () => {
    remember("granularity", select.value);
    remember("stretch", stretch.checked);
    panels.replaceChildren(...Object.keys(PANELS).map(
      (panel) => channel(path, select.value, panel, stretch.checked && subjects)));
  };
  select.value = recall("granularity", "mask_depth");
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
function channel(path, granularity, panel, stretched) {
  const image = element("img", { src: `${path}/${granularity}-${panel}.png`, alt: PANELS[panel] });
  const notes = [PANELS[panel]];
  if (stretched && panel.endsWith("scending")) {
    image.style.filter = `brightness(${255 / (10 * stretched)})`;
    notes.push("brightened");
  }
  if (panel === "structure" && granularity === "box2d") notes.push("no depth with a 2D box");
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
