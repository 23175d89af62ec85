// The grid of scenes. The document contains only the cells in view, however many scenes there are.
import { askJson, element, showError } from "./page.js";
import { openScene } from "./state.js";

const MIN_CELL_WIDTH = 190; // pixels
const CAPTION_HEIGHT = 58; // the key, and two lines of captions
const MARGIN_ROWS = 2; // rows above and below the visible ones that are kept ready
const MARKS = ["keep", "drop"];
const ARROWS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"];

export class Grid {
  #place; #ids = []; #cells = new Map(); #canvas = element("div");
  #at = 0; // position in #ids of the cell that Tab leads to; this cell is always in the document
  #top = 0; // scroll position, kept here because a hidden element loses it

  constructor(place) {
    this.#place = place;
    place.append(this.#canvas);
    place.addEventListener("scroll", () => {
      if (place.clientWidth) this.#top = place.scrollTop;
      this.#draw();
    });
    place.addEventListener("keydown", (event) => this.#moveByKey(event));
    place.addEventListener("focusin", ({ target }) => this.#setTabStop(this.#ids.indexOf(Number(target.dataset.id))));
    new ResizeObserver(() => this.#layOut()).observe(place);
  }

  /** Show a new selection, from its start. */
  show(ids) {
    this.#top = this.#at = 0;
    this.#ids = ids;
    this.#cells.forEach((cell) => cell.remove());
    this.#cells.clear();
    this.#layOut();
  }

  /** Show the same selection again, after scenes joined it, left it or got another mark. */
  refresh(ids) {
    const focused = this.#place.contains(document.activeElement);
    const at = ids.indexOf(this.#ids[this.#at]);
    this.#at = Math.max(0, Math.min(at < 0 ? this.#at : at, ids.length - 1));
    this.#ids = ids;
    this.#layOut();
    if (focused) this.#focus(this.#at);
    this.#caption([...this.#cells.values()]).catch(showError);
  }

  /** Move the keyboard focus to a scene. */
  focus(id) {
    this.#focus(this.#ids.indexOf(id));
  }

  /** The scene whose cell has the keyboard focus, {id, flag}; or undefined. */
  get focused() {
    const cell = document.activeElement?.closest(".cell");
    return cell ? { id: Number(cell.dataset.id), flag: MARKS.find((mark) => cell.classList.contains(mark)) } : undefined;
  }

  /** Focus the scene that Tab leads to, or open it. For keys that are pressed while nothing has the focus. */
  takeKey(event) {
    if (!(this.#at in this.#ids)) return;
    if (event.key === "Enter") openScene(this.#ids[this.#at]);
    else if (ARROWS.includes(event.key)) this.#focus(this.#at);
    else return;
    event.preventDefault();
  }

  #focus(at) {
    if (!(at in this.#ids)) return;
    this.#restoreScroll();
    const { columns, height } = this.#cellSize();
    const top = Math.floor(at / columns) * height;
    const { scrollTop, clientHeight } = this.#place;
    if (top < scrollTop || top + height > scrollTop + clientHeight)
      this.#place.scrollTop = top < scrollTop ? top : top + height - clientHeight;
    this.#top = this.#place.scrollTop;
    this.#setTabStop(at);
    this.#draw();
    this.#cells.get(this.#ids[at])?.focus({ preventScroll: true });
  }

  #setTabStop(at) {
    if (at < 0) return;
    this.#at = at;
    for (const [id, cell] of this.#cells) cell.tabIndex = id === this.#ids[at] ? 0 : -1;
  }

  #moveByKey(event) {
    if (!this.focused || event.ctrlKey || event.metaKey || event.altKey) return;
    const { columns } = this.#cellSize();
    const to = {
      ArrowLeft: this.#at - 1, ArrowRight: this.#at + 1, ArrowUp: this.#at - columns, ArrowDown: this.#at + columns,
      Home: 0, End: this.#ids.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#focus(to);
  }

  #cellSize() {
    const columns = Math.max(2, Math.floor(this.#place.clientWidth / MIN_CELL_WIDTH));
    const width = this.#place.clientWidth / columns;
    return { columns, width, height: width + CAPTION_HEIGHT };
  }

  #layOut() {
    if (!this.#place.clientWidth) return; // hidden
    this.#restoreScroll();
    const size = this.#cellSize();
    this.#cells.forEach((cell, id) => positionCell(cell, this.#ids.indexOf(id), size));
    this.#draw();
  }

  #restoreScroll() {
    const { columns, height } = this.#cellSize();
    this.#canvas.style.height = `${Math.ceil(this.#ids.length / columns) * height}px`;
    if (this.#place.scrollTop !== this.#top) this.#place.scrollTop = this.#top;
  }

  #draw() {
    if (!this.#place.clientWidth) return; // hidden
    const size = this.#cellSize();
    const wanted = this.#cellsInView(size);
    for (const [id, cell] of this.#cells) {
      if (wanted.has(id)) continue;
      cell.remove();
      this.#cells.delete(id);
    }
    const fresh = [];
    let next = this.#canvas.firstChild; // cells are in order; existing ones are not moved, since one may have the focus
    for (const [id, at] of wanted) {
      const known = this.#cells.get(id);
      if (known && known === next) next = next.nextSibling;
      if (known) continue;
      const cell = this.#cell(id, at);
      positionCell(cell, at, size);
      this.#cells.set(id, cell);
      this.#canvas.insertBefore(cell, next);
      fresh.push(cell);
    }
    if (fresh.length) this.#caption(fresh).catch(showError);
  }

  /** Map from the ids of the scenes in view, and of the one that Tab leads to, to their positions. */
  #cellsInView({ columns, height }) {
    const top = this.#place.scrollTop;
    const first = Math.max(0, Math.floor(top / height) - MARGIN_ROWS) * columns;
    const last = (Math.ceil((top + this.#place.clientHeight) / height) + MARGIN_ROWS) * columns;
    const wanted = new Map(this.#ids.slice(first, last).map((id, i) => [id, first + i]));
    if (this.#at in this.#ids) wanted.set(this.#ids[this.#at], this.#at);
    return wanted;
  }

  #cell(id, at) {
    const picture = element("img", { src: `api/scenes/${id}/thumbnail.jpg`, alt: "", decoding: "async" });
    picture.addEventListener("error", async () => {
      const scene = await askJson(`api/scenes/${id}`).catch((error) => ({ broken: error.message }));
      picture.replaceWith(element("span", { class: "broken" }, scene.broken ?? "no picture"));
    });
    return element("button",
      { class: "cell", "data-id": id, tabindex: at === this.#at ? 0 : -1, onclick: () => openScene(id) },
      picture, element("span", { class: "key" }, "\u00a0"), element("span", { class: "words" }));
  }

  /** Fetch keys, captions and marks of cells. */
  async #caption(cells) {
    if (cells.length > 12) await new Promise((later) => setTimeout(later, 60)); // the user may still scroll
    const wanted = cells.filter((cell) => cell.isConnected);
    if (!wanted.length) return;
    const query = wanted.map((cell) => `id=${cell.dataset.id}`).join("&");
    const summaries = await askJson(`api/summaries?${query}`);
    for (const [i, { key, text, subjects, flag }] of summaries.entries()) {
      wanted[i].querySelector(".key").textContent = key;
      // Prompts begin with the place, which says little in a grid; the subjects are what one looks for.
      wanted[i].querySelector(".words").textContent = subjects.join(", ") || text;
      wanted[i].title = `${key}\n${text}`;
      wanted[i].setAttribute("aria-label", `scene ${key}: ${text}`);
      wanted[i].classList.remove(...MARKS);
      if (flag) wanted[i].classList.add(flag);
    }
  }
}

function positionCell(cell, at, { columns, width, height }) {
  cell.style.width = `${width}px`;
  cell.style.left = `${(at % columns) * width}px`;
  cell.style.top = `${Math.floor(at / columns) * height}px`;
}
