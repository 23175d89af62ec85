// The scenes as pictures. Only what is in sight is in the page, however many there are.
import { askJson, element, tell } from "./page.js";
import { openScene } from "./state.js";

const WIDTH = 190;
const CAPTION = 24;
const AROUND = 2; // rows beyond the edge that are kept ready
const FLAGS = ["keep", "drop"];

export class Grid {
  #place; #ids = []; #cells = new Map(); #canvas = element("div");
  #at = 0; // the place that Tab leads to, always kept in the page
  #top = 0; // what is hidden loses how far it was scrolled

  constructor(place) {
    this.#place = place;
    place.append(this.#canvas);
    place.addEventListener("scroll", () => {
      if (place.clientWidth) this.#top = place.scrollTop;
      this.#draw();
    });
    place.addEventListener("keydown", (event) => this.#walk(event));
    place.addEventListener("focusin", ({ target }) => this.#reach(this.#ids.indexOf(Number(target.dataset.id))));
    new ResizeObserver(() => this.#lay()).observe(place);
  }

  /** Another selection, from its start. */
  show(ids) {
    this.#top = this.#at = 0;
    this.#ids = ids;
    this.#cells.forEach((cell) => cell.remove());
    this.#cells.clear();
    this.#lay();
  }

  /** The same selection, of which some may have come, left, or got a flag. */
  refresh(ids) {
    const focused = this.#place.contains(document.activeElement);
    const at = ids.indexOf(this.#ids[this.#at]);
    this.#at = Math.max(0, Math.min(at < 0 ? this.#at : at, ids.length - 1));
    this.#ids = ids;
    this.#lay();
    if (focused) this.#focus(this.#at);
    this.#caption([...this.#cells.values()]).catch(tell);
  }

  /** Where the user is. */
  focus(id) {
    this.#focus(this.#ids.indexOf(id));
  }

  /** The scene of the cell that has the focus, if one has: {id, flag}. */
  get focused() {
    const cell = document.activeElement?.closest(".cell");
    return cell ? { id: Number(cell.dataset.id), flag: FLAGS.find((flag) => cell.classList.contains(flag)) } : undefined;
  }

  #focus(at) {
    if (!(at in this.#ids)) return;
    this.#restore();
    const { columns, height } = this.#measures();
    const top = Math.floor(at / columns) * height;
    const { scrollTop, clientHeight } = this.#place;
    if (top < scrollTop || top + height > scrollTop + clientHeight)
      this.#place.scrollTop = top < scrollTop ? top : top + height - clientHeight;
    this.#top = this.#place.scrollTop;
    this.#reach(at);
    this.#draw();
    this.#cells.get(this.#ids[at])?.focus({ preventScroll: true });
  }

  #reach(at) {
    if (at < 0) return;
    this.#at = at;
    for (const [id, cell] of this.#cells) cell.tabIndex = id === this.#ids[at] ? 0 : -1;
  }

  #walk(event) {
    if (!this.focused || event.ctrlKey || event.metaKey || event.altKey) return;
    const { columns } = this.#measures();
    const to = {
      ArrowLeft: this.#at - 1, ArrowRight: this.#at + 1, ArrowUp: this.#at - columns, ArrowDown: this.#at + columns,
      Home: 0, End: this.#ids.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#focus(to);
  }

  #measures() {
    const columns = Math.max(2, Math.floor(this.#place.clientWidth / WIDTH));
    const width = this.#place.clientWidth / columns;
    return { columns, width, height: width + CAPTION };
  }

  #lay() {
    if (!this.#place.clientWidth) return; // hidden
    this.#restore();
    const measures = this.#measures();
    this.#cells.forEach((cell, id) => put(cell, this.#ids.indexOf(id), measures));
    this.#draw();
  }

  #restore() {
    const { columns, height } = this.#measures();
    this.#canvas.style.height = `${Math.ceil(this.#ids.length / columns) * height}px`;
    if (this.#place.scrollTop !== this.#top) this.#place.scrollTop = this.#top;
  }

  #draw() {
    if (!this.#place.clientWidth) return; // hidden
    const measures = this.#measures();
    const wanted = this.#wanted(measures);
    for (const [id, cell] of this.#cells) {
      if (wanted.has(id)) continue;
      cell.remove();
      this.#cells.delete(id);
    }
    const fresh = [];
    let next = this.#canvas.firstChild; // in order, and what is there is not moved: it may have the focus
    for (const [id, at] of wanted) {
      const known = this.#cells.get(id);
      if (known && known === next) next = next.nextSibling;
      if (known) continue;
      const cell = this.#cell(id, at);
      put(cell, at, measures);
      this.#cells.set(id, cell);
      this.#canvas.insertBefore(cell, next);
      fresh.push(cell);
    }
    if (fresh.length) this.#caption(fresh).catch(tell);
  }

  /** Map of the scenes in sight, and of the one that Tab leads to, to their places. */
  #wanted({ columns, height }) {
    const top = this.#place.scrollTop;
    const first = Math.max(0, Math.floor(top / height) - AROUND) * columns;
    const last = (Math.ceil((top + this.#place.clientHeight) / height) + AROUND) * columns;
    const wanted = new Map(this.#ids.slice(first, last).map((id, i) => [id, first + i]));
    if (this.#at in this.#ids) wanted.set(this.#ids[this.#at], this.#at);
    return wanted;
  }

  #cell(id, at) {
    const picture = element("img", { src: `api/scenes/${id}/thumbnail.jpg`, alt: "", decoding: "async" });
    picture.addEventListener("error", async () => {
      const told = await askJson(`api/scenes/${id}`).catch((error) => ({ broken: error.message }));
      picture.replaceWith(element("span", { class: "broken" }, told.broken ?? "no picture"));
    });
    return element("button",
      { class: "cell", "data-id": id, tabindex: at === this.#at ? 0 : -1, onclick: () => openScene(id) },
      picture, element("span", { class: "words" }, "\u00a0"));
  }

  async #caption(cells) {
    if (cells.length > 12) await new Promise((later) => setTimeout(later, 60)); // scrolling on
    const wanted = cells.filter((cell) => cell.isConnected);
    if (!wanted.length) return;
    const query = wanted.map((cell) => `id=${cell.dataset.id}`).join("&");
    const told = await askJson(`api/summaries?${query}`);
    for (const [i, { key, text, flag }] of told.entries()) {
      wanted[i].querySelector(".words").textContent = text;
      wanted[i].title = `${key}\n${text}`;
      wanted[i].setAttribute("aria-label", `scene ${key}: ${text}`);
      wanted[i].classList.remove(...FLAGS);
      if (flag) wanted[i].classList.add(flag);
    }
  }
}

function put(cell, at, { columns, width, height }) {
  cell.style.width = `${width}px`;
  cell.style.left = `${(at % columns) * width}px`;
  cell.style.top = `${Math.floor(at / columns) * height}px`;
}
