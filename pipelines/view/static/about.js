// The page of the whole set: what it holds, its histograms, and the search for suspects.
import { askJson, element, postJson, tell } from "./page.js";
import { narrow, openGrid } from "./state.js";

export class AboutPage {
  #place; #set; #searched; #timer; #opening = new AbortController();

  constructor(place, set, searched) {
    this.#place = place;
    this.#set = set;
    this.#searched = searched; // called when there are more suspects to filter by
  }

  close() {
    this.#opening.abort();
    clearTimeout(this.#timer);
    this.#place.replaceChildren();
  }

  async open() {
    this.close();
    const { signal } = this.#opening = new AbortController();
    const { name, place, scenes, shards, missing, faults, flags, other, only_there: onlyThere } = this.#set;
    const facts = {
      place, scenes, shards, flags, missing: missing.length,
      ...(other && { "compared with": other, "only there": onlyThere.length }),
    };
    const loading = element("p", { role: "status" }, "loading…");
    this.#place.replaceChildren(
      element("div", { class: "bar" }, element("button", { onclick: openGrid }, "← all scenes")),
      element("h1", {}, name),
      element("dl", { class: "facts" }, ...Object.entries(facts).flatMap(([fact, value]) =>
        [element("dt", {}, fact), element("dd", {}, String(value))])),
      ...list("scenes that were planned and are not here", missing),
      ...list("scenes that only the other set has", onlyThere ?? []),
      ...list("what could not be read", faults),
      element("h2", {}, "suspects"),
      element("p", {}, "Empty masks, boxes that do not fit, depth outside of boxes, flat images, views that are alike: every scene is read for it. What is found becomes a filter beside the grid."),
      element("div", { class: "bar" },
        element("button", { id: "look", onclick: () => this.#look(signal).catch(tell) }, "look for suspects"),
        element("span", { id: "looked", role: "status" }), element("span", { id: "found" })),
      loading,
    );
    try {
      const histograms = await askJson("api/statistics", { signal });
      loading.replaceWith(element("div", { class: "histograms" }, ...histograms.map(([title, bars]) => histogram(title, bars))));
      if ((await askJson("api/suspects", { signal })).done) await this.#follow(signal);
    } catch (error) {
      if (signal.aborted) return;
      loading.textContent = error.message;
    }
  }

  async #look(signal) {
    await postJson("api/suspects", {});
    await this.#follow(signal);
  }

  async #follow(signal) {
    const { done, total } = await askJson("api/suspects");
    if (signal.aborted) return;
    this.#place.querySelector("#looked").textContent = `${done} of ${total} scenes read`;
    this.#searched();
    if (done < total) this.#timer = setTimeout(() => this.#follow(signal).catch(tell), 500);
    else await this.#conclude(signal);
  }

  async #conclude(signal) {
    const { facets } = await askJson("api/scenes");
    if (signal.aborted) return;
    const found = Object.entries(facets.suspect).filter(([, count]) => count);
    this.#place.querySelector("#found").replaceChildren(...(found.length ? found.map(([kind, count]) => element("button",
      { onclick: () => narrow((next) => next.set("suspect", kind)) }, `${count} ${kind}`)) : ["none found"]));
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
