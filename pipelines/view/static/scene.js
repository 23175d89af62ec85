// The page of one scene: its picture with layers, its subjects, what the model sees, space.
import { modelSection } from "./model.js";
import { askJson, element, inform, json, recall, remember, tell, toggleFlag } from "./page.js";
import { LAYERS, loadScene } from "./picture.js";
import { openGrid } from "./state.js";
import { drawIdentities, subjectCard } from "./subject.js";
import { View } from "./view.js";

const KEYS = { masks: "m", amodal: "a", boxes: "b", boxes3d: "c", depth: "d" };

export class ScenePage {
  #place; #set; #actions; #opening = new AbortController();
  #id; #scene; #views = []; #cloud; #readout; #held;
  #shown = { layers: new Set(recall("layers", ["masks"])), opacity: recall("opacity", 0.5), lit: 0 };
  #pinned = 0;

  /** ``actions``: ``flagged`` is called when a scene has got a flag, ``step`` to show the next one or the
   * one before. */
  constructor(place, set, actions) {
    this.#place = place;
    this.#set = set;
    this.#actions = actions;
    new ResizeObserver(() => this.#fit()).observe(place);
  }

  /** Of the scene that was asked for, as the URL says it. */
  get id() { return this.#id; }

  close() {
    this.#opening.abort();
    this.#opening = new AbortController();
    this.#cloud?.dispose();
    this.#id = this.#scene = this.#cloud = undefined;
    this.#views = [];
    this.#place.replaceChildren();
  }

  /** An older call that is still under way is dropped: it must not show its scene over this one. */
  async open(id) {
    this.#held = this.#place.contains(document.activeElement) ? document.activeElement.name : undefined;
    this.close();
    this.#id = id;
    this.#pinned = this.#shown.lit = 0;
    const { signal } = this.#opening;
    const path = `api/scenes/${id}`;
    let told, scene;
    try {
      told = await askJson(path, { signal });
      if (!told.broken) scene = await loadScene(told, path, signal);
    } catch (error) {
      told = { ...told, broken: error.message };
    }
    if (signal.aborted) return;
    if (!scene) return this.#showBroken(told, path);
    this.#show(scene, path, signal);
    await Promise.all([
      this.#drawSpace(signal),
      this.#identify(path, signal),
      told.compared && this.#compare(`${path}/other`, signal),
    ]);
  }

  toggle(layer) {
    const { layers } = this.#shown;
    layers.has(layer) ? layers.delete(layer) : layers.add(layer);
    remember("layers", [...layers]);
    this.#redraw();
  }

  /** Light up a subject and keep it lit, or let it go again; 0 lets go of any. */
  pin(index) {
    if (!this.#scene || index > this.#scene.record.n_subjects) return;
    this.#pinned = this.#pinned === index ? 0 : index;
    this.#light(this.#pinned);
  }

  async flag(flag) {
    const scene = this.#scene;
    if (!scene) return;
    await toggleFlag(scene, flag);
    if (scene === this.#scene) this.#pressFlags();
    this.#actions.flagged();
  }

  /** What there is of it, if there is anything. */
  #showBroken(told, path) {
    const missing = told.key === undefined;
    if (!missing) this.#scene = { ...told, record: { n_subjects: 0 } };
    const reason = missing ? told.broken : `Scene ${told.key} in ${told.shard} is broken: ${told.broken}`;
    this.#place.replaceChildren(this.#bar(), element("p", { class: "broken" }, reason));
    this.#refocus();
    if (missing) return;
    const image = element("img", { class: "left", src: `${path}/image.jpg`, alt: "its image" });
    image.addEventListener("error", () => image.remove());
    this.#place.append(image);
  }

  #bar() {
    const { key, shard, command } = this.#scene ?? {};
    const flags = ["keep", "drop"].map((flag) => element("button",
      { name: flag, "data-flag": flag, onclick: () => this.flag(flag).catch(tell) }, flag));
    const copy = element("button", {
      id: "copy", name: "copy", title: `makes this scene: ${command}`, onclick: () => this.#copy(bar, command),
    }, "copy its command");
    const bar = element("div", { class: "bar" },
      element("button", { name: "back", title: "Escape", onclick: openGrid }, "← all scenes"),
      this.#stepper(-1, "previous", { "aria-label": "scene before", title: "key k" }, "‹"),
      this.#stepper(1, "next", { "aria-label": "next scene", title: "key j" }, "›"),
      ...(key ? [element("strong", { id: "key" }, key), ...flags, element("span", { class: "shard" }, shard)] : []),
      ...(command ? [copy] : []));
    this.#pressFlags(bar);
    return bar;
  }

  #stepper(by, name, more, sign) {
    return element("button", { name, ...more, onclick: () => this.#actions.step(by) }, sign);
  }

  /** To the clipboard, or where there is none, selected below the bar. */
  async #copy(bar, command) {
    try {
      await navigator.clipboard.writeText(command);
      inform(`copied: ${command}`);
    } catch {
      const shown = element("pre", { id: "command" }, command);
      this.#place.querySelector("#command")?.remove();
      bar.after(shown);
      getSelection().selectAllChildren(shown);
      inform("the command is selected: copy it");
    }
  }

  /** The same scene of another set, beside this one and with the same layers. */
  async #compare(path, signal) {
    const told = await askJson(path, { signal }).catch((error) => ({ broken: error.message }));
    const scene = told.broken ? undefined : await loadScene(told, path, signal).catch((error) => {
      told.broken = error.message;
    });
    if (signal.aborted) return;
    const views = this.#place.querySelector(".views");
    if (!scene) return views.append(element("p", { class: "broken" }, `${this.#set.other}: ${told.broken}`));
    views.append(this.#view(scene, "other", this.#set.other).element);
    if (told.record.prompt.full !== this.#scene.record.prompt.full)
      views.after(element("p", {}, `There: ${told.record.prompt.full}`));
    this.#redraw();
  }

  async #identify(path, signal) {
    const sheet = new Image();
    sheet.src = `${path}/identities.webp`;
    const failed = await sheet.decode().then(() => false, () => true);
    if (signal.aborted) return;
    if (failed) tell(new Error("the identity sheet cannot be decoded"));
    else drawIdentities(this.#place, sheet, this.#scene.record.n_subjects);
  }

  #pressFlags(place = this.#place) {
    for (const button of place.querySelectorAll("[data-flag]"))
      button.setAttribute("aria-pressed", String(this.#scene.flag === button.dataset.flag));
  }

  #show(scene, path, signal) {
    this.#scene = scene;
    const { record, suspicions, compared } = scene;
    const lighting = { light: (index) => this.#light(index || this.#pinned), pin: (index) => this.pin(index) };
    this.#readout = element("div", { id: "readout" });
    this.#place.replaceChildren(
      this.#bar(),
      ...suspicions.map((suspicion) => element("p", { class: "broken" }, suspicion)),
      this.#prompt(record.prompt.full),
      element("div", { class: compared ? "columns compared" : "columns" },
        element("div", {}, this.#layerBar(), this.#readout,
          element("div", { class: "views" }, this.#view(scene, "picture", compared && this.#set.place).element),
          this.#space(), modelSection(path, record.n_subjects, this.#set.controls, signal)),
        element("div", {}, ...record.subjects.map((subject) => subjectCard(subject, lighting)),
          element("details", {}, element("summary", {}, "the whole record"), element("pre", {}, json(record))))),
    );
    this.#fit();
    this.#redraw();
    this.#refocus();
  }

  /** three.js is large, and the grid, which comes first, has no use for it. */
  async #drawSpace(signal) {
    const canvas = this.#place.querySelector("#cloud");
    try {
      const { Cloud } = await import("./cloud.js");
      if (!signal.aborted) this.#cloud = new Cloud(canvas, this.#scene);
    } catch (error) { // no WebGL: the rest of the page does without
      canvas.replaceWith(element("p", { class: "broken" }, `3D: ${error.message}`));
    }
  }

  /** A few lines of it, and the whole on demand. */
  #prompt(text) {
    const heading = element("h1", { id: "prompt", title: text }, text);
    const more = element("button", {
      id: "more", "aria-label": "whole prompt", "aria-expanded": "false",
      onclick: () => more.setAttribute("aria-expanded", String(heading.classList.toggle("whole"))),
    }, "more");
    return element("div", { class: "prompt" }, heading, more);
  }

  #layerBar() {
    const buttons = Object.entries(LAYERS).map(([layer, name]) => element("button",
      { name: layer, "data-layer": layer, title: `key ${KEYS[layer]}`, onclick: () => this.toggle(layer) }, name));
    const opacity = element("input", {
      type: "range", min: 0, max: 1, step: 0.05, value: this.#shown.opacity, "aria-label": "opacity of masks",
      oninput: () => {
        this.#shown.opacity = Number(opacity.value);
        remember("opacity", this.#shown.opacity);
        this.#redraw();
      },
    });
    return element("div", { class: "bar" }, ...buttons, element("label", {}, "opacity ", opacity));
  }

  #view(scene, name, caption) {
    const view = new View(scene, name, caption, { point: (found) => this.#point(found), pin: (index) => this.pin(index) });
    this.#views.push(view);
    return view;
  }

  #space() {
    return element("section", {}, element("h2", {}, "space"),
      element("canvas", { id: "cloud", "aria-label": "points, boxes and camera" }),
      element("div", { class: "bar" },
        element("button", { onclick: () => this.#cloud?.fromCamera() }, "view from camera"),
        element("button", { onclick: () => this.#cloud?.fromAside() }, "view from aside"),
        element("span", { class: "note touch" }, "two fingers turn it")));
  }

  /** The picture ends where the window does, whatever is above it. */
  #fit() {
    if (!this.#views.length || !this.#place.clientWidth) return;
    const heading = this.#place.querySelector("#prompt");
    if (!heading.classList.contains("whole"))
      this.#place.querySelector("#more").hidden = heading.scrollHeight <= heading.clientHeight;
    this.#place.style.setProperty("--above", `${this.#views[0].top + this.#place.scrollTop}px`);
  }

  /** Where the focus was in the scene before; or here, so that keys scroll. */
  #refocus() {
    const same = this.#held && this.#place.querySelector(`button[name="${this.#held}"]`);
    if (same) same.focus();
    else if (document.activeElement === document.body) this.#place.focus();
  }

  #point(found) {
    this.#readout.replaceChildren(...(found?.words ?? []));
    this.#light(found?.index || this.#pinned);
  }

  #light(index) {
    if (!this.#scene || this.#shown.lit === index) return;
    this.#shown.lit = index;
    this.#redraw();
  }

  #redraw() {
    if (!this.#views.length) return;
    for (const view of this.#views) view.draw(this.#shown);
    for (const button of this.#place.querySelectorAll("[data-layer]"))
      button.setAttribute("aria-pressed", String(this.#shown.layers.has(button.dataset.layer)));
    for (const card of this.#place.querySelectorAll("[data-subject]"))
      card.classList.toggle("lit", Number(card.dataset.subject) === this.#shown.lit);
  }
}
