// What is looked at: fields that were handed out, in order, some of them ahead of the person.

import { chip } from "./stage.js";

const AHEAD = 6;

export class Queue {
  constructor(link, person, aspect) {
    Object.assign(this, { link, person, aspect });
    this.show = "undecided";
    this.restart();
  }

  restart() {
    this.items = [];
    this.at = -1;
    this.after = 0;
    this.over = false;
    this.held = 0;
    this.turn = {}; // answers of an earlier queue are not ours
    this.asking = null;
  }

  get current() {
    return this.items[this.at] || null;
  }

  async next(layer) {
    if (this.at + 1 >= this.items.length) await this.more(layer);
    if (this.at + 1 >= this.items.length) return null;
    this.at += 1;
    if (this.items.length - this.at <= AHEAD / 2) this.more(layer);
    return this.current;
  }

  back() {
    if (this.at > 0) this.at -= 1;
    return this.current;
  }

  // Ask for the next ones, once at a time; their pictures begin to load.
  more(layer) {
    if (this.over) return Promise.resolve();
    const turn = this.turn;
    this.asking ??= (async () => {
      const answer = await this.link.get("api/queue", { person: this.person(), size: AHEAD, after: this.after, show: this.show, aspect: this.aspect() });
      if (turn !== this.turn) return;
      const known = new Set(this.items.map((item) => item.id));
      this.items.push(...answer.items.filter((item) => !known.has(item.id)));
      this.after = answer.after;
      this.over = answer.items.length < AHEAD;
      this.held = answer.held;
      this.onCounts?.(answer.counts);
      if (layer) for (const item of answer.items) new Image().src = chip(layer, item.box);
    })().finally(() => { if (turn === this.turn) this.asking = null; });
    return this.asking;
  }

  // Put in what the server says of fields: those that are in the queue are replaced.
  update(fields) {
    for (const item of fields) {
      for (const [place, old] of this.items.entries()) if (old.id === item.id) this.items[place] = { ...old, ...item, pending: null };
      for (const other of this.items) {
        const near = other.near.find((one) => one.id === item.id);
        if (near) Object.assign(near, { version: item.version, status: item.status }, item.parts ? { parts: item.parts } : {});
      }
    }
  }

  // Look at a field now, wherever it stands.
  visit(item) {
    const place = this.items.findIndex((one) => one.id === item.id);
    if (place >= 0) this.at = place;
    else {
      this.at = Math.max(this.at, 0);
      this.items.splice(this.at, 0, item);
    }
    return this.current;
  }
}
