// The page of the whole set: what it holds, its histograms, and the search for suspects.
import { askJson, element, go, tell } from "./page.js";

export class AboutPage {
  #place; #set; #searched; #timer;

  constructor(place, set, searched) {
    this.#place = place;
    this.#set = set;
    this.#searched = searched; // called when there are more suspects to filter by
  }

  close() {
    clearTimeout(this.#timer);
    this.#place.replaceChildren();
  }

  async open() {
    const histograms = await askJson("api/statistics");
    const { name, place, scenes, shards, missing, faults, flags, other, only_there: onlyThere } = this.#set;
    const facts = { place, scenes, shards, flags, missing: missing.length, ...(other && { "compared with": other, "only there": onlyThere.length }) };
    this.#place.replaceChildren(
      element("div", { class: "bar" }, element("button", { onclick: () => go((next) => next.delete("page")) }, "← all scenes")),
      element("h1", {}, name),
      element("dl", { class: "facts" }, ...Object.entries(facts).flatMap(([fact, value]) =>
        [element("dt", {}, fact), element("dd", {}, String(value))])),
      ...list("scenes that were planned and are not here", missing),
      ...list("scenes that only the other set has", onlyThere ?? []),
      ...list("what could not be read", faults),
      element("h2", {}, "suspects"),
      element("p", {}, "Empty masks, boxes that do not fit, depth outside of boxes, flat images, views that are alike: every scene is read for it. What is found becomes a filter beside the grid."),
      element("div", { class: "bar" },
        element("button", { id: "look", onclick: () => this.#look().catch(tell) }, "look for suspects"),
        element("span", { id: "looked", role: "status" })),
      element("div", { class: "histograms" }, ...histograms.map(([title, bars]) => histogram(title, bars))),
    );
    if ((await askJson("api/suspects")).done) await this.#follow();
  }

  async #look() {
    await askJson("api/suspects", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
    await this.#follow();
  }

  async #follow() {
    const { done, total } = await askJson("api/suspects");
    const place = this.#place.querySelector("#looked");
    if (!place) return;
    place.textContent = `${done} of ${total} scenes read`;
    this.#searched();
    if (done < total) this.#timer = setTimeout(() => this.#follow().catch(tell), 500);
  }
}

function list(title, lines) {
  if (!lines.length) return [];
  return [element("details", {}, element("summary", {}, `${lines.length} ${title}`), element("pre", {}, lines.join("\n")))];
}

function histogram(title, bars) {
  const most = Math.max(1, ...bars.map(([, count]) => count));
  return element("figure", {}, element("figcaption", {}, title), element("div", {}, ...bars.map(([name, count]) => {
    const bar = element("i");
    bar.style.width = `${(100 * count) / most}%`;
    return element("div", { class: "bin" }, element("span", { title: name }, name), element("span", {}, bar), element("span", {}, String(count)));
  })));
}
