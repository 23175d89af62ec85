// The controls above the image of a scene: layers, opacities, and the scale of the depth; and those of its zoom.
import { depthScale } from "./depth.js";
import { element } from "./page.js";
import { LAYERS } from "./picture.js";

const KEYS = { masks: "m", amodal: "a", boxes: "b", boxes3d: "c", depth: "d" };

/** The controls, as a list of elements.
 *
 * ``shown``: {opacity of masks, depthOpacity, depthRange}. ``metresPerUnit``: of the depth. ``toggle`` is called with a
 * layer, ``setOpacity`` with a name in ``shown`` and its value. */
export function layerBar(shown, metresPerUnit, { toggle, setOpacity }) {
  const layers = Object.entries(LAYERS).map(([layer, name]) => element("button",
    { name: layer, "data-layer": layer, title: `key ${KEYS[layer]}`, onclick: () => toggle(layer) }, name));
  const slider = (name, of) => element("label", { class: "slider" }, "opacity ", element("input", {
    type: "range", min: 0, max: 1, step: 0.05, value: shown[name], name, "aria-label": `opacity of ${of}`,
    oninput: ({ target }) => setOpacity(name, Number(target.value)),
  }));
  return [
    element("div", { class: "bar" }, ...layers, slider("opacity", "masks")),
    element("div", { id: "depth-bar" }, depthScale(shown.depthRange, metresPerUnit), slider("depthOpacity", "depth")),
  ];
}

/** ``zoom``: the Zoom of the image. */
export function zoomButtons(zoom) {
  const button = (name, sign, title, onclick) => element("button", { name, title, "aria-label": title, onclick }, sign);
  const percent = button("zoom-reset", "100%", "show the whole picture (key z, or double click)", () => zoom.reset());
  zoom.onChange((scale) => (percent.textContent = `${Math.round(100 * scale)}%`));
  return element("span", { class: "zooming" },
    button("zoom-out", "−", "reduce the picture (key -)", () => zoom.out()), percent,
    button("zoom-in", "+", "enlarge the picture (key +, or the wheel)", () => zoom.in()));
}
