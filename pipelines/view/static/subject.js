// What is known of one subject of a scene.
import { element, json } from "./page.js";
import { css } from "./picture.js";
import { narrow } from "./state.js";

/** ``light`` is called with the subject's index while the cursor is over it, else with 0; ``pin`` when it
 * is clicked. */
export function subjectCard(subject, { light, pin }) {
  const card = element("article", { class: "subject", "data-subject": subject.index },
    element("strong", {}, `${subject.index}. `, element("bdi", {}, subject.caption)),
    element("canvas", { "data-row": subject.index }),
    element("dl", {}, ...Object.entries(facts(subject)).flatMap(
      ([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
    element("details", {}, element("summary", {}, "JSON"), element("pre", {}, json(subject))));
  card.style.setProperty("--mine", css(subject.index));
  card.addEventListener("pointerenter", () => light(subject.index));
  card.addEventListener("pointerleave", () => light(0));
  card.addEventListener("click", ({ target }) => {
    if (!target.closest("a, details") && getSelection().isCollapsed) pin(subject.index);
  });
  return card;
}

function facts({ asset, identity, visibility, truncation, area }) {
  const percent = (share) => `${(100 * share).toFixed(1)}%`;
  return {
    asset: others("asset", asset.id), identity: others("identity", identity),
    author: asset.author, licence: asset.license,
    visible: percent(visibility), "cut off": percent(truncation), area: percent(area),
  };
}

/** A link to all scenes that have it. */
function others(facet, value) {
  return element("a", {
    href: `?${new URLSearchParams({ [facet]: value })}`,
    onclick: (event) => {
      event.preventDefault();
      narrow((next) => { [...next.keys()].forEach((key) => next.delete(key)); next.set(facet, value); });
    },
  }, value);
}

/** Each subject's row of the sheet of identities, into its card below ``place``. */
export function drawIdentities(place, sheet, rows) {
  for (const canvas of place.querySelectorAll("[data-row]")) {
    const height = sheet.height / rows;
    [canvas.width, canvas.height] = [sheet.width, height];
    canvas.getContext("2d").drawImage(sheet, 0, -(canvas.dataset.row - 1) * height);
  }
}
