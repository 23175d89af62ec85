// The scenes as pictures. Only what is in sight is in the page, however many there are.
import { askJson, element, go, tell } from "./page.js";

const WIDTH = 190;
const CAPTION = 24;
const AROUND = 2; // rows beyond the edge that are kept ready

export class Grid {
  #place; #ids = []; #cells = new Map(); #canvas = element("div"); #asked = 0;

  constructor(place) {
    this.#place = place;
    place.append(this.#canvas);
    place.addEventListener("scroll", () => this.#draw());
    new ResizeObserver(() => this.#lay()).observe(place);
  }

  get ids() { return this.#ids; }

  show(ids) {
    this.#ids = ids;
    this.#place.scrollTop = 0;
    this.#lay();
  }

  /** Draw anew what has changed, such as a flag. */
  refresh() { this.#lay(); }

  focus(id) {
    const at = this.#ids.indexOf(id);
    if (at < 0) return;
    const { columns, height } = this.#measures();
    const top = Math.floor(at / columns) * height;
    if (top < this.#place.scrollTop || top + height > this.#place.scrollTop + this.#place.clientHeight)
      this.#place.scrollTop = top - this.#place.clientHeight / 2 + height / 2;
    this.#draw();
    this.#cells.get(at)?.focus();
  }

  #measures() {
    const columns = Math.max(2, Math.floor(this.#place.clientWidth / WIDTH));
    const width = this.#place.clientWidth / columns;
    return { columns, width, height: width + CAPTION };
  }

  #lay() {
    const { columns, height } = this.#measures();
    this.#canvas.style.height = `${Math.ceil(this.#ids.length / columns) * height}px`;
    this.#cells.forEach((cell) => cell.remove());
    this.#cells.clear();
    this.#draw();
  }

  #draw() {
    if (!this.#place.clientWidth) return; // hidden
    const { columns, width, height } = this.#measures();
    const top = this.#place.scrollTop;
    const first = Math.max(0, Math.floor(top / height) - AROUND) * columns;
    const last = (Math.ceil((top + this.#place.clientHeight) / height) + AROUND) * columns;
    for (const [at, cell] of this.#cells) {
      if (at >= first && at < last) continue;
      cell.remove();
      this.#cells.delete(at);
    }
    const fresh = [];
    for (let at = first; at < Math.min(last, this.#ids.length); at++) {
      if (this.#cells.has(at)) continue;
      const cell = this.#cell(this.#ids[at]);
      cell.style.width = `${width}px`;
      cell.style.left = `${(at % columns) * width}px`;
      cell.style.top = `${Math.floor(at / columns) * height}px`;
      this.#cells.set(at, cell);
      this.#canvas.append(cell);
      fresh.push(cell);
    }
    if (fresh.length) this.#caption(fresh).catch(tell);
  }

  #cell(id) {
    const picture = element("img", { src: `api/scenes/${id}/thumbnail.jpg`, alt: "", decoding: "async" });
    picture.addEventListener("error", async () => {
      const told = await askJson(`api/scenes/${id}`).catch((error) => ({ broken: error.message }));
      picture.replaceWith(element("span", { class: "broken" }, told.broken ?? "no picture"));
    });
    return element("button",
      { class: "cell", "data-id": id, onclick: () => go((next) => next.set("scene", id)) },
      picture, element("span", { class: "words" }, "\u00a0"));
  }

  async #caption(cells) {
    const asked = ++this.#asked;
    if (cells.length > 12) await new Promise((later) => setTimeout(later, 60)); // scrolling on
    const wanted = cells.filter((cell) => cell.isConnected);
    if (!wanted.length) return;
    const query = wanted.map((cell) => `id=${cell.dataset.id}`).join("&");
    const told = await askJson(`api/summaries?${query}`);
    if (asked > this.#asked) return;
    for (const [i, { key, text, flag }] of told.entries()) {
      wanted[i].querySelector(".words").textContent = text;
      wanted[i].title = `${key}\n${text}`;
      wanted[i].setAttribute("aria-label", `scene ${key}: ${text}`);
      wanted[i].classList.remove("keep", "drop");
      if (flag) wanted[i].classList.add(flag);
    }
  }
}
