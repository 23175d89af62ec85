// The page of one scene: its image with layers, its subjects, the model's input, the 3D view.
import { depthRange } from "./depth.js";
import { layerBar, zoomButtons } from "./layer_bar.js";
import { modelSection } from "./model.js";
import { askJson, element, json, recall, remember, showError, showMessage, toggleMark } from "./page.js";
import { loadScene } from "./picture.js";
import { openGrid } from "./state.js";
import { drawIdentities, subjectCard } from "./subject.js";
import { ImageView } from "./view.js";
import { Zoom } from "./zoom.js";

export class ScenePage {
  #place; #set; #actions; #opening = new AbortController();
  #id; #lastKey; #scene; #views = []; #zoom; #cloud; #readout; #focusedName;
  #shown = {
    layers: new Set(recall("layers", ["masks"])), opacity: recall("opacity", 0.5),
    depthOpacity: recall("depthOpacity", 0.6), highlighted: 0,
  };
  #pinned = 0;

  /** ``set``: the answer of api/set. ``actions``: ``onMark`` is called after the mark of a scene changed,
   * ``step`` to show the next (1) or previous (-1) scene. */
  constructor(place, set, actions) {
    this.#place = place;
    this.#set = set;
    this.#actions = actions;
    new ResizeObserver(() => this.#fit()).observe(place);
  }

  /** Id of the open scene, a string as in the URL; undefined if none is open. */
  get id() { return this.#id; }

  /** Key of the scene that was shown last. */
  get lastKey() { return this.#lastKey; }

  /** The Zoom of the open scene's image; undefined if none is open. */
  get zoom() { return this.#zoom; }

  close() {
    this.#opening.abort();
    this.#opening = new AbortController();
    this.#cloud?.dispose();
    this.#id = this.#scene = this.#cloud = this.#zoom = undefined;
    this.#views = [];
    this.#place.replaceChildren();
  }

  /** Show a scene. Aborts an older call that still waits, so that it cannot replace this scene later. */
  async open(id) {
    this.#focusedName = this.#place.contains(document.activeElement) ? document.activeElement.name : undefined;
    this.close();
    this.#id = id;
    this.#pinned = this.#shown.highlighted = 0;
    const { signal } = this.#opening;
    const path = `api/scenes/${id}`;
    let description, scene;
    try {
      description = await askJson(path, { signal });
      if (!description.broken) scene = await loadScene(description, path, signal);
    } catch (error) {
      description = { ...description, broken: error.message };
    }
    if (signal.aborted) return;
    this.#lastKey = description.key ?? this.#lastKey;
    if (!scene) return this.#showBroken(description, path);
    this.#show(scene, path, signal);
    await Promise.all([
      this.#draw3D(signal),
      this.#drawIdentityViews(path, signal),
      description.compared && this.#compare(`${path}/other`, signal),
    ]);
  }

  /** Switch a layer on or off. */
  toggle(layer) {
    const { layers } = this.#shown;
    layers.has(layer) ? layers.delete(layer) : layers.add(layer);
    remember("layers", [...layers]);
    this.#redraw();
    this.#fit(); // the scale of the depth comes and goes above the image
  }

  /** Highlight a subject permanently, or stop if it is pinned already; 0 unpins any subject. */
  pin(index) {
    if (!this.#scene || index > this.#scene.record.n_subjects) return;
    this.#pinned = this.#pinned === index ? 0 : index;
    this.#highlight(this.#pinned);
  }

  /** Set the review mark of the open scene, or remove it if the scene has it. */
  async markScene(mark) {
    const scene = this.#scene;
    if (!scene) return;
    await toggleMark(scene, mark);
    if (scene === this.#scene) this.#showMark();
    this.#actions.onMark();
  }

  /** Show the reason, and the image if it can be read. */
  #showBroken(description, path) {
    const missing = description.key === undefined;
    if (!missing) this.#scene = { ...description, record: { n_subjects: 0 } };
    const reason = missing
      ? description.broken
      : `Scene ${description.key} in ${description.shard} is broken: ${description.broken}`;
    this.#place.replaceChildren(this.#bar(), element("p", { class: "broken" }, reason));
    this.#refocus();
    if (missing) return;
    const image = element("img", { class: "image", src: `${path}/image.jpg`, alt: "image of the scene" });
    image.addEventListener("error", () => image.remove());
    this.#place.append(image);
  }

  #bar() {
    const { key, shard, command } = this.#scene ?? {};
    const marks = ["keep", "drop"].map((mark) => element("button",
      { name: mark, "data-flag": mark, onclick: () => this.markScene(mark).catch(showError) }, mark));
    const copy = element("button", {
      id: "copy", name: "copy", title: `the command that makes this scene: ${command}`,
      onclick: () => this.#copy(bar, command),
    }, "copy command");
    const bar = element("div", { class: "bar" },
      element("button", { name: "back", title: "Escape", onclick: openGrid }, "← all scenes"),
      this.#stepper(-1, "previous", { "aria-label": "previous scene", title: "key k" }, "‹"),
      this.#stepper(1, "next", { "aria-label": "next scene", title: "key j" }, "›"),
      ...(key ? [element("strong", { id: "key" }, key), ...marks, element("span", { class: "shard" }, shard)] : []),
      ...(command ? [copy] : []));
    this.#showMark(bar);
    return bar;
  }

  #stepper(by, name, more, sign) {
    return element("button", { name, ...more, onclick: () => this.#actions.step(by) }, sign);
  }

  /** Copy to the clipboard. Where that is not possible, show and select the text below the bar. */
  async #copy(bar, command) {
    try {
      await navigator.clipboard.writeText(command);
      showMessage(`copied: ${command}`);
    } catch {
      const shown = element("pre", { id: "command" }, command);
      this.#place.querySelector("#command")?.remove();
      bar.after(shown);
      getSelection().selectAllChildren(shown);
      showMessage("the command is selected below the buttons; copy it");
    }
  }

  /** Show the scene of the other dataset beside this one, with the same layers. */
  async #compare(path, signal) {
    const description = await askJson(path, { signal }).catch((error) => ({ broken: error.message }));
    const scene = description.broken ? undefined : await loadScene(description, path, signal).catch((error) => {
      description.broken = error.message;
    });
    if (signal.aborted) return;
    const views = this.#place.querySelector(".views");
    if (!scene) return views.append(element("p", { class: "broken" }, `${this.#set.other}: ${description.broken}`));
    views.append(this.#view(scene, "other", this.#set.other).element);
    if (description.record.prompt.full !== this.#scene.record.prompt.full)
      views.after(element("p", {}, `Prompt there: ${description.record.prompt.full}`));
    this.#redraw();
  }

  async #drawIdentityViews(path, signal) {
    const sheet = new Image();
    sheet.src = `${path}/identities.webp`;
    const failed = await sheet.decode().then(() => false, () => true);
    if (signal.aborted) return;
    if (failed) showError(new Error("the identity sheet cannot be decoded"));
    else drawIdentities(this.#place, sheet, this.#scene.record.n_subjects);
  }

  #showMark(place = this.#place) {
    for (const button of place.querySelectorAll("[data-flag]"))
      button.setAttribute("aria-pressed", String(this.#scene.flag === button.dataset.flag));
  }

  #show(scene, path, signal) {
    this.#scene = scene;
    this.#shown.depthRange = depthRange(scene.depth);
    const { record, suspicions, compared } = scene;
    this.#zoom = new Zoom();
    const layers = layerBar(this.#shown, record.depth.meters_per_unit, {
      toggle: (layer) => this.toggle(layer),
      setOpacity: (name, value) => {
        this.#shown[name] = value;
        remember(name, value);
        this.#redraw();
      },
    });
    const lighting = { highlight: (index) => this.#highlight(index || this.#pinned), pin: (index) => this.pin(index) };
    this.#readout = element("div", { id: "readout" });
    this.#place.replaceChildren(
      this.#bar(),
      ...suspicions.map((suspicion) => element("p", { class: "broken" }, suspicion)),
      this.#prompt(record.prompt.full),
      element("div", { class: compared ? "columns compared" : "columns" },
        element("div", {}, ...layers,
          element("div", { class: "under" }, zoomButtons(this.#zoom), this.#readout),
          element("div", { class: "views" }, this.#view(scene, "picture", compared && this.#set.place).element),
          this.#space(), modelSection(path, record.n_subjects, this.#set.controls, signal)),
        element("div", {}, ...record.subjects.map((subject) => subjectCard(subject, lighting)),
          element("details", {}, element("summary", {}, "full record"), element("pre", {}, json(record))))),
    );
    this.#redraw();
    this.#fit();
    this.#refocus();
  }

  /** Draw the 3D view. three.js is loaded only here, because it is large and the grid does not need it. */
  async #draw3D(signal) {
    const canvas = this.#place.querySelector("#cloud");
    try {
      const { PointCloudView } = await import("./cloud.js");
      if (!signal.aborted) this.#cloud = new PointCloudView(canvas, this.#scene);
    } catch (error) { // no WebGL: the rest of the page works without it
      canvas.replaceWith(element("p", { class: "broken" }, `3D: ${error.message}`));
    }
  }

  /** The first lines of the prompt, and a button for all of it. */
  #prompt(text) {
    const heading = element("h1", { id: "prompt", title: text }, text);
    const more = element("button", {
      id: "more", "aria-label": "full prompt", "aria-expanded": "false",
      onclick: () => more.setAttribute("aria-expanded", String(heading.classList.toggle("whole"))),
    }, "more");
    return element("div", { class: "prompt" }, heading, more);
  }

  /** An image of ``scene`` with layers, on a canvas with the id ``name``. */
  #view(scene, name, caption) {
    const view = new ImageView(scene, name, caption,
      { point: (found) => this.#point(found), pin: (index) => this.pin(index), zoom: this.#zoom });
    this.#views.push(view);
    return view;
  }

  /** The 3D view, still empty, and its buttons. */
  #space() {
    return element("section", {}, element("h2", {}, "3D view"),
      element("p", { class: "note mouse" }, "Drag to turn, wheel to zoom, drag with the right button to move; with the keyboard: arrows, + and −."),
      element("p", { class: "note touch" }, "Turn with two fingers."),
      element("canvas", { id: "cloud", tabindex: 0, role: "img", "aria-label": "points, boxes and camera; arrows turn it" }),
      element("p", { class: "note" }, "The face with a cross is the front of its box. Faint lines are behind points. The white pyramid is the camera."),
      element("div", { class: "bar" },
        element("button", { onclick: () => this.#cloud?.fromCamera() }, "view from camera"),
        element("button", { onclick: () => this.#cloud?.fromSide() }, "view from side")));
  }

  /** Limit the image's height, so that it ends where the window does, whatever is above it. */
  #fit() {
    if (!this.#views.length || !this.#place.clientWidth) return;
    const heading = this.#place.querySelector("#prompt");
    if (!heading.classList.contains("whole"))
      this.#place.querySelector("#more").hidden = heading.scrollHeight <= heading.clientHeight;
    this.#place.style.setProperty("--above", `${this.#views[0].top + this.#place.scrollTop}px`);
  }

  /** Focus the button that had the focus in the scene shown before; or the page, so that keys scroll it. */
  #refocus() {
    const same = this.#focusedName && this.#place.querySelector(`button[name="${this.#focusedName}"]`);
    if (same) same.focus();
    else if (document.activeElement === document.body) this.#place.focus();
  }

  /** Show what is under the cursor: ``found`` is {words, index} or undefined. */
  #point(found) {
    this.#readout.replaceChildren(...(found?.words ?? []));
    this.#highlight(found?.index || this.#pinned);
  }

  #highlight(index) {
    if (!this.#scene || this.#shown.highlighted === index) return;
    this.#shown.highlighted = index;
    this.#redraw();
  }

  /** Draw images, layer buttons and subject cards again after a change of what is shown. */
  #redraw() {
    if (!this.#views.length) return;
    for (const view of this.#views) view.draw(this.#shown);
    this.#place.querySelector("#depth-bar").hidden = !this.#shown.layers.has("depth");
    for (const button of this.#place.querySelectorAll("[data-layer]"))
      button.setAttribute("aria-pressed", String(this.#shown.layers.has(button.dataset.layer)));
    for (const card of this.#place.querySelectorAll("[data-subject]"))
      card.classList.toggle("highlighted", Number(card.dataset.subject) === this.#shown.highlighted);
  }
}
