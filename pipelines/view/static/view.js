// The image of a scene with layers and subject numbers; reports what is under the cursor.
import { element } from "./page.js";
import { anchors, draw } from "./picture.js";

const NUMBERED = ["masks", "amodal", "boxes", "boxes3d"]; // layers for which the subjects' numbers are shown

export class ImageView {
  #scene; #canvas; #frame; #numbers;

  /** ``name``: id of the canvas. ``point`` is called with what is under the cursor, {words, index}, or without
   * an argument when it leaves; ``pin`` with the index of the clicked subject, or 0. ``zoom``: the Zoom that the image
   * follows. */
  constructor(scene, name, caption, { point, pin, zoom }) {
    const { record } = scene;
    this.#scene = scene;
    this.#canvas = element("canvas", { id: name, role: "img", "aria-label": record.prompt.full });
    this.#numbers = new Map(anchors(scene).map(([index, x, y]) => {
      const number = element("span", { class: "index", "aria-hidden": "true" }, String(index));
      [number.style.left, number.style.top] = [`${100 * x}%`, `${100 * y}%`];
      return [index, number];
    }));
    const stage = element("div", { class: "stage" }, this.#canvas, ...this.#numbers.values());
    this.#frame = element("div", {
      class: "frame", tabindex: 0, role: "group", "aria-label": "picture; + and - zoom, arrows move it",
    }, stage);
    zoom.add(this.#frame, stage);
    this.#frame.style.setProperty("--ratio", record.width / record.height);
    this.element = element("figure", {}, ...(caption ? [element("figcaption", {}, caption)] : []), this.#frame);
    this.#canvas.addEventListener("pointermove", (event) => point(this.#pixelAt(event)));
    this.#canvas.addEventListener("pointerleave", () => point());
    this.#canvas.addEventListener("click", (event) => {
      const found = this.#pixelAt(event);
      point(found);
      pin(found?.index ?? 0);
    });
  }

  /** Distance from the top of the window to the image, in pixels. */
  get top() { return this.#frame.getBoundingClientRect().top; }

  draw(shown) {
    draw(this.#canvas, this.#scene, shown);
    this.#frame.classList.toggle("numbered", NUMBERED.some((layer) => shown.layers.has(layer)));
    const { highlighted } = shown;
    for (const [index, number] of this.#numbers)
      number.classList.toggle("dim", highlighted > 0 && highlighted !== index);
  }

  #pixelAt({ clientX, clientY }) {
    const { record, depth, instances } = this.#scene;
    const { left, top, width, height } = this.#canvas.getBoundingClientRect();
    const x = Math.floor(((clientX - left) / width) * record.width);
    const y = Math.floor(((clientY - top) / height) * record.height);
    if (x < 0 || y < 0 || x >= record.width || y >= record.height) return undefined;
    const at = y * record.width + x;
    const metres = depth[at] ? `${(depth[at] * record.depth.meters_per_unit).toFixed(3)} m` : "no depth";
    const subject = record.subjects[instances[at] - 1];
    const who = subject ? [`, ${subject.index}. `, element("bdi", {}, subject.caption)] : [];
    return { index: instances[at], words: [`${x}, ${y}: ${metres}`, ...who] };
  }
}
