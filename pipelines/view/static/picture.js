// Draw a scene on a canvas: its image, and over it the layers that are switched on.
import { depthPaint } from "./depth.js";
import { rawBytes } from "./page.js";

export const LAYERS = {
  masks: "masks", amodal: "amodal masks", boxes: "2D boxes", boxes3d: "3D boxes", depth: "depth",
};
export const COLORS = [
  [240, 85, 70], [60, 145, 235], [250, 190, 45], [65, 180, 95], [165, 95, 215],
  [45, 200, 200], [245, 130, 190], [165, 120, 75], [150, 205, 60], [110, 115, 235],
];
/** CSS colour of a subject. */
export const css = (index, alpha = 1) => `rgb(${COLORS[(index - 1) % 10].join(" ")} / ${alpha})`;

// Faces of a 3D box: indices of its corners, in the order of pipelines/visualize/drawing.py.
export const FRONT = [0, 1, 5, 4];
export const BACK = [2, 3, 7, 6];

/** Fetch the image and the arrays of a scene. ``description``: its JSON; ``signal``: aborts the requests. */
export async function loadScene(description, path, signal) {
  const image = new Image();
  image.src = `${path}/image.jpg`;
  const [depth, instances, amodal] = await Promise.all([
    ...["depth", "instances", "amodal"].map((part) => rawBytes(`${path}/${part}.raw`, { signal })), image.decode(),
  ]);
  return {
    ...description, image,
    depth: new Uint16Array(depth), instances: new Uint8Array(instances), amodal: new Uint16Array(amodal),
  };
}

/** Draw on the canvas. ``shown``: {layers: Set, opacity of masks, depthOpacity, depthRange, highlighted: index of a
 * subject or 0}. */
export function draw(canvas, scene, shown) {
  const { width, height } = scene.record;
  const scale = Math.max(1, Math.round(1024 / width)); // so that lines are thin on small images
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.drawImage(scene.image, 0, 0, canvas.width, canvas.height);
  const pixels = (paint) => context.drawImage(painted(width, height, paint), 0, 0, canvas.width, canvas.height);
  if (shown.layers.has("depth")) pixels(depthPaint(scene, shown));
  if (shown.layers.has("amodal")) pixels(amodalPaint(scene, shown));
  if (shown.layers.has("masks")) pixels(maskPaint(scene, shown));
  context.scale(scale, scale);
  context.lineWidth = 2 / scale;
  for (const subject of scene.record.subjects) {
    const color = css(subject.index, !shown.highlighted || shown.highlighted === subject.index ? 1 : 0.25);
    if (shown.layers.has("boxes")) drawBoxes(context, subject, color);
    const corners = scene.boxes[subject.index - 1].pixels;
    if (shown.layers.has("boxes3d") && corners) drawBox3d(context, corners, subject.index, color);
  }
}

/** Positions for the subjects' numbers: [index, x, y], as shares of width and height. The position is the
 * subject's pixel that is nearest to the centroid, because the centroid itself may lie outside the mask. */
export function anchors({ instances, record: { width, height, n_subjects: n } }) {
  const forEachPixel = (use) => instances.forEach(
    (index, at) => index && use(index, at % width, Math.floor(at / width)));
  const sums = Array.from({ length: n + 1 }, () => [0, 0, 0]);
  forEachPixel((index, x, y) => [x, y, 1].forEach((value, i) => (sums[index][i] += value)));
  const nearest = sums.map(() => [Infinity]);
  forEachPixel((index, x, y) => {
    const [sumX, sumY, count] = sums[index];
    const distance = (x - sumX / count) ** 2 + (y - sumY / count) ** 2;
    if (distance < nearest[index][0]) nearest[index] = [distance, x, y];
  });
  return nearest.flatMap(([distance, x, y], index) => (
    distance === Infinity ? [] : [[index, (x + 0.5) / width, (y + 0.5) / height]]));
}

/** A canvas that ``paint`` fills pixel by pixel: (index of the pixel, RGBA bytes, offset of its bytes). */
function painted(width, height, paint) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  for (let at = 0; at < width * height; at++) paint(at, picture.data, 4 * at);
  context.putImageData(picture, 0, 0);
  return canvas;
}

function put(data, to, color, alpha) {
  [data[to], data[to + 1], data[to + 2]] = color;
  data[to + 3] = 255 * alpha;
}

const maskPaint = ({ instances }, { opacity, highlighted }) => (at, data, to) => {
  const index = instances[at];
  if (index) put(data, to, COLORS[(index - 1) % 10], highlighted && highlighted !== index ? opacity / 4 : opacity);
};

/** The occluded part of a subject has stripes, the visible part is plain. */
const amodalPaint = ({ amodal, instances, record }, { opacity, highlighted }) => (at, data, to) => {
  const stripe = ((at % record.width) + Math.floor(at / record.width)) % 6 < 3;
  for (let index = 1; index <= record.n_subjects; index++) {
    if (!(amodal[at] & (1 << (index - 1))) || (highlighted && highlighted !== index)) continue;
    if (instances[at] === index) put(data, to, COLORS[(index - 1) % 10], opacity / 2);
    else if (stripe) put(data, to, COLORS[(index - 1) % 10], Math.min(1, opacity * 1.5));
  }
};

function drawBoxes(context, subject, color) {
  context.strokeStyle = color;
  for (const [box, dash] of [[subject.box2d, []], [subject.box2d_amodal, [4, 3]]]) {
    context.setLineDash(dash);
    context.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
  }
  context.setLineDash([]);
}

function drawBox3d(context, corners, index, color) {
  const loop = (places) => {
    context.beginPath();
    places.forEach((place) => context.lineTo(...corners[place]));
    context.closePath();
  };
  loop(FRONT);
  context.fillStyle = css(index, 0.35);
  context.fill();
  context.strokeStyle = color;
  for (const face of [FRONT, BACK]) {
    loop(face);
    context.stroke();
  }
  FRONT.forEach((front, i) => {
    context.beginPath();
    context.moveTo(...corners[front]);
    context.lineTo(...corners[BACK[i]]);
    context.stroke();
  });
}
