// The scenes that the filters select, in order, and how to step from one to the next.

export class Selection {
  ids = [];
  #former = []; // ids of the last selection that contained the open scene

  /** Replace the selection. ``open``: id of the open scene, which may no longer be selected. */
  change(ids, open) {
    if (this.ids.includes(open)) this.#former = this.ids;
    this.ids = ids;
  }

  /** The scene ``by`` positions after ``open``, or undefined at the end. If none is open, the first or last.
   * If the open scene is no longer selected, its former position counts. */
  from(open, by) {
    const remaining = new Set(this.ids).add(open);
    const order = this.ids.includes(open) ? this.ids : this.#former.filter((id) => remaining.has(id));
    if (open !== undefined && order.includes(open)) return order[order.indexOf(open) + by];
    return by > 0 ? this.ids[0] : this.ids.at(-1);
  }
}
