// The card of one subject: caption, identity views, facts.
import { element, json } from "./page.js";
import { css } from "./picture.js";
import { changeFilters } from "./state.js";

/** ``highlight`` is called with the subject's index when the cursor enters the card, with 0 when it leaves;
 * ``pin`` is called with the index on a click. */
export function subjectCard(subject, { highlight, pin }) {
  const card = element("article", { class: "subject", "data-subject": subject.index },
    element("strong", {}, `${subject.index}. `, element("bdi", {}, subject.caption)),
    // Square views in a row: nothing below them moves when they are drawn.
    element("canvas", { "data-row": subject.index, width: subject.views.length, height: 1 }),
    element("dl", {}, ...Object.entries(facts(subject)).flatMap(
      ([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
    element("details", {}, element("summary", {}, "JSON"), element("pre", {}, json(subject))));
  card.style.setProperty("--mine", css(subject.index));
  card.addEventListener("pointerenter", () => highlight(subject.index));
  card.addEventListener("pointerleave", () => highlight(0));
  card.addEventListener("click", ({ target }) => {
    if (!target.closest("a, details") && getSelection().isCollapsed) pin(subject.index);
  });
  return card;
}

function facts({ asset, identity, visibility, truncation, area }) {
  const percent = (share) => `${(100 * share).toFixed(1)}%`;
  return {
    asset: linkToScenes("asset", asset.id), identity: linkToScenes("identity", identity),
    ...(asset.title && { title: asset.title }), author: asset.author, licence: asset.license,
    visible: percent(visibility), truncated: percent(truncation), area: percent(area),
  };
}

/** A link to all scenes that have this value of a facet. */
function linkToScenes(facet, value) {
  return element("a", {
    href: `?${new URLSearchParams({ [facet]: value })}`,
    onclick: (event) => {
      event.preventDefault();
      changeFilters((next) => { [...next.keys()].forEach((key) => next.delete(key)); next.set(facet, value); });
    },
  }, value);
}

/** Draw each subject's row of the identity sheet into its card below ``place``. */
export function drawIdentities(place, sheet, rows) {
  for (const canvas of place.querySelectorAll("[data-row]")) {
    const height = sheet.height / rows;
    [canvas.width, canvas.height] = [sheet.width, height];
    canvas.getContext("2d").drawImage(sheet, 0, -(canvas.dataset.row - 1) * height);
  }
}
