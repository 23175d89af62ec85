// The page of one scene: its picture with layers, its subjects, what the model sees, space.
import { Cloud } from "./cloud.js";
import { askJson, element, go, tell } from "./page.js";
import { LAYERS, css, draw, loadScene } from "./picture.js";

const GRANULARITIES = { mask_depth: "mask and depth", box3d: "3D box", box2d: "2D box" };
const PANELS = {
  colors: "by subject", ascending: "routing, ascending", descending: "routing, descending", structure: "structure",
};
const KEYS = { masks: "m", amodal: "a", boxes: "b", boxes3d: "c", depth: "d" };

export class ScenePage {
  #place; #scene; #other; #cloud; #canvas; #readout;
  #shown = { layers: new Set(["masks"]), opacity: 0.5, lit: 0 };
  #pinned = 0;

  constructor(place, flagged) {
    this.#place = place;
    this.flagged = flagged; // called when a scene has got a flag
  }

  get id() { return this.#scene?.id; }

  close() {
    this.#cloud?.dispose();
    this.#scene = this.#other = this.#cloud = undefined;
    this.#place.replaceChildren();
  }

  async open(id) {
    this.close();
    const told = await askJson(`api/scenes/${id}`).catch((error) => {
      this.#place.replaceChildren(element("p", { class: "broken" }, error.message));
      throw error;
    });
    this.#pinned = this.#shown.lit = 0;
    if (told.broken) return this.#showBroken(told);
    const path = `api/scenes/${id}`;
    this.#scene = await loadScene(told, path).catch((error) => {
      this.#showBroken({ ...told, broken: error.message });
      throw error;
    });
    this.#show();
    if (told.compared) await this.#compare(`${path}/other`);
  }

  toggle(layer) {
    const { layers } = this.#shown;
    layers.has(layer) ? layers.delete(layer) : layers.add(layer);
    this.#redraw();
  }

  /** Light up a subject and keep it lit, or let it go again. */
  pin(index) {
    if (!this.#scene || index > this.#scene.record.n_subjects) return;
    this.#pinned = this.#pinned === index ? 0 : index;
    this.#light(this.#pinned);
  }

  async flag(flag) {
    if (this.id === undefined) return;
    const { flag: now } = await askJson(`api/scenes/${this.id}/flag`, {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ flag: this.#scene.flag === flag ? "" : flag }),
    });
    this.#scene.flag = now;
    this.#pressFlags();
    this.flagged();
  }

  #showBroken(told) {
    this.#scene = { ...told, suspicions: [], record: { n_subjects: 0, subjects: [] } };
    this.#place.replaceChildren(this.#bar(), element("p", { class: "broken" },
      `Scene ${told.key} in ${told.shard} is broken: ${told.broken}`));
  }

  #bar() {
    const flags = ["keep", "drop"].map((flag) => element("button",
      { "data-flag": flag, "aria-pressed": String(this.#scene.flag === flag), onclick: () => this.flag(flag).catch(tell) }, flag));
    return element("div", { class: "bar" },
      element("button", { onclick: () => go((next) => next.delete("scene")) }, "← all scenes"),
      element("strong", { id: "key" }, this.#scene.key), element("span", {}, this.#scene.shard), ...flags,
      ...(this.#scene.command ? [element("button", { id: "copy", title: this.#scene.command, onclick: () => this.#copy() }, "copy the command that makes it")] : []));
  }

  async #copy() {
    await navigator.clipboard.writeText(this.#scene.command).then(
      () => tell(`copied: ${this.#scene.command}`), () => tell(this.#scene.command));
  }

  /** The same scene of another set, below this one and with the same layers. */
  async #compare(path) {
    const told = await askJson(path);
    const place = element("section", {}, element("h2", {}, "the other set"));
    this.#canvas.after(place);
    if (told.broken) return place.append(element("p", { class: "broken" }, told.broken));
    const canvas = element("canvas", { id: "other", role: "img", "aria-label": told.record.prompt.full });
    this.#other = { canvas, scene: await loadScene(told, path) };
    place.append(canvas, element("p", {}, told.record.prompt.full));
    this.#redraw();
  }

  #pressFlags() {
    for (const button of this.#place.querySelectorAll("[data-flag]"))
      button.setAttribute("aria-pressed", String(this.#scene.flag === button.dataset.flag));
  }

  #show() {
    const { record } = this.#scene;
    this.#canvas = element("canvas", { id: "picture", role: "img", "aria-label": record.prompt.full });
    this.#readout = element("div", { id: "readout" });
    this.#canvas.addEventListener("pointermove", (event) => this.#point(event));
    this.#canvas.addEventListener("pointerleave", () => this.#light(this.#pinned));
    this.#place.replaceChildren(
      this.#bar(),
      ...this.#scene.suspicions.map((suspicion) => element("p", { class: "broken" }, suspicion)),
      element("h1", { id: "prompt" }, record.prompt.full),
      element("div", { class: "columns" },
        element("div", {}, this.#layerBar(), this.#canvas, this.#readout, this.#space(), this.#model()),
        element("div", {}, ...record.subjects.map((subject) => this.#subject(subject)),
          element("details", {}, element("summary", {}, "the whole record"),
            element("pre", {}, JSON.stringify(record, null, 1))))),
    );
    this.#drawIdentities();
    this.#redraw();
    try {
      this.#cloud = new Cloud(this.#place.querySelector("#cloud"), this.#scene);
    } catch (error) { // no WebGL: the rest of the page does without
      this.#place.querySelector("#cloud").replaceWith(element("p", { class: "broken" }, `3D: ${error.message}`));
    }
  }

  #layerBar() {
    const buttons = Object.entries(LAYERS).map(([layer, name]) => element("button",
      { "data-layer": layer, title: `key ${KEYS[layer]}`, onclick: () => this.toggle(layer) }, name));
    const opacity = element("input", {
      type: "range", min: 0, max: 1, step: 0.05, value: this.#shown.opacity, "aria-label": "opacity of masks",
      oninput: () => { this.#shown.opacity = Number(opacity.value); this.#redraw(); },
    });
    return element("div", { class: "bar" }, ...buttons, element("label", {}, "opacity ", opacity));
  }

  #space() {
    return element("section", {}, element("h2", {}, "space"),
      element("canvas", { id: "cloud", "aria-label": "points, boxes and camera" }),
      element("div", { class: "bar" },
        element("button", { onclick: () => this.#cloud?.fromCamera() }, "view from camera"),
        element("button", { onclick: () => this.#cloud?.fromAside() }, "view from aside")));
  }

  #model() {
    const panels = element("div", { class: "panels", id: "controls" });
    const path = `api/scenes/${this.#scene.id}`;
    const show = (granularity) => panels.replaceChildren(
      ...Object.entries(PANELS).map(([panel, name]) => figure(`${path}/${granularity}-${panel}.png`, name)),
      figure(`${path}/sheet.png`, "identity sheet"));
    const select = element("select", { "aria-label": "granularity", onchange: () => show(select.value) },
      ...Object.entries(GRANULARITIES).map(([value, name]) => element("option", { value }, name)));
    show("mask_depth");
    return element("section", {}, element("h2", {}, "what the model sees"),
      element("p", { class: "note" }, "Subject i is the grey value 10 i in both routing channels. Ascending, later subjects cover earlier ones; " +
        "descending, earlier cover later: where two overlap, each is seen in one. Structure is depth within the subjects, 255 at the nearest, where it is known."),
      element("div", { class: "bar" }, select), panels);
  }

  #subject(subject) {
    const percent = (share) => `${(100 * share).toFixed(1)}%`;
    const others = (facet, value, name) => element("a", {
      href: `?${new URLSearchParams({ [facet]: value })}`,
      onclick: (event) => {
        event.preventDefault();
        go((next) => { [...next.keys()].forEach((key) => next.delete(key)); next.set(facet, value); });
      },
    }, name);
    const facts = {
      asset: others("asset", subject.asset.id, subject.asset.id),
      identity: others("identity", subject.identity, subject.identity),
      author: subject.asset.author, licence: subject.asset.license,
      visible: percent(subject.visibility), "cut off": percent(subject.truncation), area: percent(subject.area),
    };
    const card = element("article", { class: "subject", "data-subject": subject.index },
      element("strong", {}, `${subject.index}. ${subject.caption}`),
      element("canvas", { "data-row": subject.index }),
      element("dl", {}, ...Object.entries(facts).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
      element("details", {}, element("summary", {}, "JSON"), element("pre", {}, JSON.stringify(subject, null, 1))));
    card.style.setProperty("--mine", css(subject.index));
    card.addEventListener("pointerenter", () => this.#light(subject.index));
    card.addEventListener("pointerleave", () => this.#light(this.#pinned));
    return card;
  }

  async #drawIdentities() {
    const sheet = new Image();
    sheet.src = `api/scenes/${this.#scene.id}/identities.webp`;
    const { n_subjects: rows } = this.#scene.record;
    await sheet.decode().catch(() => tell("the identity sheet cannot be decoded"));
    for (const canvas of this.#place.querySelectorAll("[data-row]")) {
      const height = sheet.height / rows;
      [canvas.width, canvas.height] = [sheet.width, height];
      canvas.getContext("2d").drawImage(sheet, 0, -(canvas.dataset.row - 1) * height);
    }
  }

  #point(event) {
    const { record, depth, instances } = this.#scene;
    // object-fit: contain leaves bars at two sides.
    const frame = this.#canvas.getBoundingClientRect();
    const scale = Math.min(frame.width / record.width, frame.height / record.height);
    const x = Math.floor((event.clientX - frame.left - (frame.width - record.width * scale) / 2) / scale);
    const y = Math.floor((event.clientY - frame.top - (frame.height - record.height * scale) / 2) / scale);
    if (x < 0 || y < 0 || x >= record.width || y >= record.height) return this.#light(this.#pinned);
    const at = y * record.width + x;
    const metres = depth[at] ? `${(depth[at] * record.depth.meters_per_unit).toFixed(3)} m` : "no depth";
    const subject = record.subjects[instances[at] - 1];
    this.#readout.textContent = `${x}, ${y}: ${metres}${subject ? `, ${subject.index}. ${subject.caption}` : ""}`;
    this.#light(instances[at] || this.#pinned);
  }

  #light(index) {
    if (!this.#scene || this.#shown.lit === index) return;
    this.#shown.lit = index;
    this.#redraw();
  }

  #redraw() {
    if (!this.#scene?.image) return;
    draw(this.#canvas, this.#scene, this.#shown);
    if (this.#other) draw(this.#other.canvas, this.#other.scene, this.#shown);
    for (const button of this.#place.querySelectorAll("[data-layer]"))
      button.setAttribute("aria-pressed", String(this.#shown.layers.has(button.dataset.layer)));
    for (const card of this.#place.querySelectorAll("[data-subject]"))
      card.classList.toggle("lit", Number(card.dataset.subject) === this.#shown.lit);
  }
}

function figure(source, name) {
  return element("figure", {}, element("img", { src: source, alt: name }), element("figcaption", {}, name));
}
