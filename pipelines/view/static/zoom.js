// Zoom and pan: which part of a picture its frame shows. Pictures that are compared show the same part.

const MOST = 16; // times the size of the whole picture
const STEP = 1.5; // of buttons and keys
const WHEEL_PIXELS = 300; // that double the size
const LINE = 16; // pixels of one line, for mice that count in lines
const DRAG = 4; // pixels; with less, a press is a click

export class Zoom {
  #scale = 1;
  #corner = [0, 0]; // of the picture, left and top, as a share of the frame's size
  #pictures = [];
  #report = () => {};

  /** Call ``report`` with the scale whenever it changes; 1 is the whole picture. */
  onChange(report) { this.#report = report; }

  /** Let ``stage``, which fills ``frame``, be zoomed. */
  add(frame, stage) {
    this.#pictures.push([frame, stage]);
    frame.addEventListener("wheel", (event) => this.#turnWheel(event), { passive: false });
    frame.addEventListener("dblclick", (event) =>
      this.#scale > 1 ? this.reset() : this.#scaleTo(2 * STEP, placeIn(frame, event)));
    frame.addEventListener("pointerdown", (event) => this.#startDrag(event));
    frame.addEventListener("keydown", (event) => this.#moveByKey(event));
    this.#show();
  }

  in() { this.#scaleTo(this.#scale * STEP); }

  out() { this.#scaleTo(this.#scale / STEP); }

  /** Show the whole picture. */
  reset() { this.#scaleTo(1); }

  /** ``at``: the place in the frame that stays where it is, as shares of its size. */
  #scaleTo(scale, at = [0.5, 0.5]) {
    const next = Math.min(MOST, Math.max(1, scale));
    const corner = this.#corner.map((edge, i) => at[i] - ((at[i] - edge) * next) / this.#scale);
    this.#scale = next;
    this.#moveTo(corner);
  }

  #moveTo(corner) {
    this.#corner = corner.map((edge) => Math.min(0, Math.max(1 - this.#scale, edge)));
    this.#show();
  }

  #show() {
    const [x, y] = this.#corner.map((edge) => `${100 * edge}%`);
    for (const [frame, stage] of this.#pictures) {
      stage.style.transform = `translate(${x}, ${y}) scale(${this.#scale})`;
      stage.style.setProperty("--zoom", this.#scale);
      frame.classList.toggle("zoomed", this.#scale > 1);
    }
    this.#report(this.#scale);
  }

  /** At the whole picture, a wheel that zooms out scrolls the page instead. */
  #turnWheel(event) {
    const pixels = event.deltaMode ? event.deltaY * LINE : event.deltaY;
    if (this.#scale === 1 && pixels > 0) return;
    event.preventDefault();
    this.#scaleTo(this.#scale * 2 ** (-pixels / WHEEL_PIXELS), placeIn(event.currentTarget, event));
  }

  #startDrag({ currentTarget: frame, pointerId, button, clientX, clientY }) {
    if (button || this.#scale === 1) return;
    const start = this.#corner;
    const { width, height } = frame.getBoundingClientRect();
    const move = (event) => {
      const [x, y] = [event.clientX - clientX, event.clientY - clientY];
      // The frame captures the pointer, so that the picture gets no click when the drag ends.
      if (!frame.hasPointerCapture(pointerId) && Math.hypot(x, y) < DRAG) return;
      frame.setPointerCapture(pointerId);
      this.#moveTo([start[0] + x / width, start[1] + y / height]);
    };
    const end = () => {
      frame.removeEventListener("pointermove", move);
      for (const kind of ["pointerup", "pointercancel"]) frame.removeEventListener(kind, end);
    };
    frame.addEventListener("pointermove", move);
    for (const kind of ["pointerup", "pointercancel"]) frame.addEventListener(kind, end);
  }

  #moveByKey(event) {
    const by = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
    if (!by || this.#scale === 1) return;
    event.preventDefault();
    this.#moveTo(this.#corner.map((edge, i) => edge + by[i]));
  }
}

function placeIn(frame, { clientX, clientY }) {
  const { left, top, width, height } = frame.getBoundingClientRect();
  return [(clientX - left) / width, (clientY - top) / height];
}
