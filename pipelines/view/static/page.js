// What every part of the page needs: elements, answers of the server, words to the user.

/** An element; what is a string becomes text, never markup. */
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

/** The answer to a request, or an Error with what the server said and its ``status``. */
export async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("the viewer does not answer; is `sigma view` still running?");
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(told.error ?? `${path}: status ${answer.status}`), { status: answer.status });
}

export const askJson = async (path, options) => (await ask(path, options)).json();

export const rawBytes = async (path, options) => (await ask(path, options)).arrayBuffer();

export const postJson = (path, value) => askJson(path, {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value),
});

/** Give a scene a flag, or take it back where it has it. */
export async function toggleFlag(scene, flag) {
  const { flag: now } = await postJson(`api/scenes/${scene.id}/flag`, { flag: scene.flag === flag ? "" : flag });
  scene.flag = now;
}

/** JSON to be read: what would turn the writing of the rest around is spelled out. */
export const json = (value) => JSON.stringify(value, null, 1).replace(
  /[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (mark) => `\\u${mark.charCodeAt(0).toString(16)}`);

/** What this tab keeps through reloads. */
export const remember = (name, value) => sessionStorage.setItem(name, JSON.stringify(value));
export const recall = (name, otherwise) => JSON.parse(sessionStorage.getItem(name)) ?? otherwise;

/** Say what went wrong, for a while. */
export const tell = (error) => say(error.message ?? String(error), "alert");

/** Say what went well, for a while. */
export const inform = (text) => say(text, "status");

let hiding;
function say(text, role) {
  const place = document.getElementById("message");
  place.setAttribute("role", role);
  place.textContent = text;
  place.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => (place.hidden = true), 8000);
}
