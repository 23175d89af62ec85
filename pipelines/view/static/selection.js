// The scenes that the filters leave, in order, and the way from one to the next.

export class Selection {
  ids = [];
  #former = []; // the scenes when the open one was still among them

  /** ``open``: the scene that is looked at, which may be leaving. */
  change(ids, open) {
    if (this.ids.includes(open)) this.#former = this.ids;
    this.ids = ids;
  }

  /** The scene ``by`` places on from ``open``, or from none the first or last; undefined at the end.
   * From a scene that has left, on from where it was. */
  from(open, by) {
    const left = new Set(this.ids).add(open);
    const order = this.ids.includes(open) ? this.ids : this.#former.filter((id) => left.has(id));
    if (open !== undefined && order.includes(open)) return order[order.indexOf(open) + by];
    return by > 0 ? this.ids[0] : this.ids.at(-1);
  }
}
