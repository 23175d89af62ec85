// The page about the dataset: its facts, its histograms, and the search for suspect scenes.
import { askJson, element, postJson, showError } from "./page.js";
import { changeFilters, openGrid } from "./state.js";

const MOST_BARS = 22; // a histogram with more of them scrolls

export class AboutPage {
  #place; #set; #onProgress; #timer; #opening = new AbortController();

  /** ``set``: the answer of api/set. ``onProgress`` is called when the search may have found more suspects. */
  constructor(place, set, onProgress) {
    this.#place = place;
    this.#set = set;
    this.#onProgress = onProgress;
  }

  close() {
    this.#opening.abort();
    clearTimeout(this.#timer);
    this.#place.replaceChildren();
  }

  async open() {
    this.close();
    const { signal } = this.#opening = new AbortController();
    const { name, place, scenes, shards, missing, problems, flags, other, only_there: onlyThere } = this.#set;
    const facts = {
      location: place, scenes, shards, "review marks": flags, missing: missing.length,
      ...(other && { "compared with": other, "only in the other": onlyThere.length }),
    };
    const loading = element("p", { role: "status" }, "loading…");
    this.#place.replaceChildren(
      element("div", { class: "bar" }, element("button", { onclick: openGrid }, "← all scenes")),
      element("h1", {}, name),
      element("dl", { class: "facts" }, ...Object.entries(facts).flatMap(([fact, value]) =>
        [element("dt", {}, fact), element("dd", {}, String(value))])),
      ...list("planned scenes that are missing", missing),
      ...list("scenes that only the other dataset has", onlyThere ?? []),
      ...list("problems while reading", problems),
      element("h2", {}, "suspect scenes"),
      element("p", {}, "The search reads every scene. It finds empty masks, boxes that do not fit, depth outside its box, flat images and duplicate views. Its results become a filter beside the grid."),
      element("div", { class: "bar" },
        element("button", { id: "look", onclick: () => this.#startSearch(signal).catch(showError) }, "search for suspects"),
        element("span", { id: "looked", role: "status" }), element("span", { id: "found" })),
      loading,
    );
    try {
      const histograms = await askJson("api/statistics", { signal });
      loading.replaceWith(element("div", { class: "histograms" }, ...histograms.map(([title, bars]) => histogram(title, bars))));
      if ((await askJson("api/suspects", { signal })).done) await this.#pollSearch(signal);
    } catch (error) {
      if (signal.aborted) return;
      loading.textContent = error.message;
    }
  }

  async #startSearch(signal) {
    await postJson("api/suspects", {});
    await this.#pollSearch(signal);
  }

  async #pollSearch(signal) {
    const { done, total } = await askJson("api/suspects");
    if (signal.aborted) return;
    this.#place.querySelector("#looked").textContent = `${done} of ${total} scenes read`;
    this.#onProgress();
    if (done < total) this.#timer = setTimeout(() => this.#pollSearch(signal).catch(showError), 500);
    else await this.#showResults(signal);
  }

  async #showResults(signal) {
    const { facets } = await askJson("api/scenes");
    if (signal.aborted) return;
    const found = Object.entries(facets.suspect).filter(([, count]) => count);
    this.#place.querySelector("#found").replaceChildren(...(found.length ? found.map(([kind, count]) => element("button",
      { onclick: () => changeFilters((next) => next.set("suspect", kind)) }, `${count} ${kind}`)) : ["none found"]));
  }
}

function list(title, lines) {
  if (!lines.length) return [];
  return [element("details", {}, element("summary", {}, `${lines.length} ${title}`), element("pre", {}, lines.join("\n")))];
}

function histogram(title, bars) {
  const most = Math.max(1, ...bars.map(([, count]) => count));
  const scrolls = bars.length > MOST_BARS ? { class: "many", tabindex: 0, role: "group", "aria-label": title } : {};
  return element("figure", {}, element("figcaption", {}, title), element("div", scrolls, ...bars.map(([name, count]) => {
    const bar = element("i");
    bar.style.width = `${(100 * count) / most}%`;
    return element("div", { class: "bin" }, element("span", { title: name }, name), element("span", {}, bar), element("span", {}, String(count)));
  })));
}
