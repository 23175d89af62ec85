// Helpers for all modules: DOM elements, requests, stored settings, messages.

/** Make an element. Strings among ``children`` become text, never markup. Attributes ``onEVENT`` are listeners. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

let datasetVersion; // of the dataset that the page shows; undefined before it is known

/** From now on, requests are refused once the dataset has another version. */
export const expectVersion = (version) => (datasetVersion = version);

/** Send a request. Returns the Response, or throws an Error with the server's message and ``status``. If the dataset
 * was packed again, ``window`` gets the event "dataset-changed". */
export async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(datasetVersion && { "Dataset-Version": datasetVersion }) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("the viewer does not answer; is `sigma view` still running?");
  }
  if (response.ok) return response;
  if (response.status === 409) dispatchEvent(new Event("dataset-changed"));
  const body = await response.json().catch(() => ({}));
  throw Object.assign(new Error(body.error ?? `${path}: status ${response.status}`), { status: response.status });
}

export const askJson = async (path, options) => (await ask(path, options)).json();

export const rawBytes = async (path, options) => (await ask(path, options)).arrayBuffer();

export const postJson = (path, value) => askJson(path, {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value),
});

/** Set the review mark of a scene, or remove it if the scene has it. Updates ``scene.flag``. */
export async function toggleMark(scene, mark) {
  const { flag } = await postJson(`api/scenes/${scene.id}/flag`, { flag: scene.flag === mark ? "" : mark });
  scene.flag = flag;
}

/** JSON for display. Characters that would change the direction of the text after them are escaped. */
export const json = (value) => JSON.stringify(value, null, 1).replace(
  /[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (mark) => `\\u${mark.charCodeAt(0).toString(16)}`);

/** Settings that a browser tab keeps when the page is reloaded. */
export const remember = (name, value) => sessionStorage.setItem(name, JSON.stringify(value));
export const recall = (name, otherwise) => JSON.parse(sessionStorage.getItem(name)) ?? otherwise;

/** Keep a message for after the page was loaded again, and show it then. */
export const showAfterReload = (text) => remember("notice", text);
export function showKeptMessage() {
  const text = recall("notice", "");
  sessionStorage.removeItem("notice");
  if (text) showMessage(text);
}

/** Show an error for 8 seconds. */
export const showError = (error) => show(error.message ?? String(error), "alert");

/** Show a message for 8 seconds. */
export const showMessage = (text) => show(text, "status");

let hideTimer;
function show(text, role) {
  const place = document.getElementById("message");
  place.setAttribute("role", role);
  place.textContent = text;
  place.hidden = false;
  clearTimeout(hideTimer);
  hideTimer = setTimeout(() => (place.hidden = true), 8000);
}
