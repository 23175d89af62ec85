// Depth as colours over the image, and the scale that says which colour is how many metres.
import { element } from "./page.js";

// Six stops of matplotlib's magma, from far to near.
const MAGMA = [[0, 0, 4], [59, 15, 112], [140, 41, 129], [222, 73, 104], [254, 159, 109], [252, 253, 191]];
const NO_DEPTH = [120, 140, 170];
const TICKS = 5;

/** The 0.5th and the 90th percentile of the stored depth: between them lie the colours. */
export function depthRange(depth) {
  const known = depth.filter((value) => value).sort();
  const near = known[Math.floor(known.length * 0.005)] ?? 1;
  const far = known[Math.floor(known.length * 0.9)] ?? 2;
  return { near, far: Math.max(far, near + 1) };
}

/** Paints depth on a canvas (see picture.js). ``shown``: {depthOpacity, depthRange}. */
export const depthPaint = ({ depth }, { depthOpacity, depthRange: { near, far } }) => (at, data, to) => {
  const share = (far - depth[at]) / (far - near);
  const color = depth[at] ? magma(Math.min(1, Math.max(0, share))) : NO_DEPTH;
  [data[to], data[to + 1], data[to + 2]] = color;
  data[to + 3] = 255 * depthOpacity;
};

/** The scale, from near to far in metres. */
export function depthScale({ near, far }, metresPerUnit) {
  const bar = element("i", { class: "colors" });
  const stops = MAGMA.toReversed().map((color) => `rgb(${color.join(" ")})`);
  bar.style.backgroundImage = `linear-gradient(to right, ${stops.join(", ")})`;
  const ticks = Array.from({ length: TICKS }, (_, i) => {
    const metres = ((near + ((far - near) * i) / (TICKS - 1)) * metresPerUnit).toFixed(2);
    return element("span", {}, i < TICKS - 1 ? metres : `${metres} m and more`);
  });
  const none = element("i", { class: "swatch" });
  none.style.background = `rgb(${NO_DEPTH.join(" ")})`;
  return element("div", { id: "depth-scale", role: "group", "aria-label": "scale of the depth in metres" },
    element("div", { class: "scale" }, bar, element("div", { class: "ticks" }, ...ticks)),
    element("span", {}, none, " no depth"));
}

/** ``share``: 0 is far, 1 is near. */
function magma(share) {
  const place = share * (MAGMA.length - 1);
  const low = Math.min(MAGMA.length - 2, Math.floor(place));
  return MAGMA[low].map((value, i) => value + (MAGMA[low + 1][i] - value) * (place - low));
}
