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
    this.epoch = 0; // counts changes of outlines
    this.turn = {}; // answers of an earlier queue are not ours
    this.asking = null;
  }

  get current() {
    return this.items[this.at] || null;
  }

  async next(layer) {
    for (;;) {
      if (this.at + 1 >= this.items.length) await this.more(layer);
      if (this.at + 1 >= this.items.length) return null;
      this.at += 1;
      if (this.items.length - this.at <= AHEAD / 2) this.more(layer);
      if (await this.renew()) return this.current;
      this.items.splice(this.at, 1);
      this.at -= 1;
    }
  }

  async back() {
    while (this.at > 0) {
      this.at -= 1;
      if (await this.renew()) break;
      this.items.splice(this.at, 1);
    }
    return this.current;
  }

  // What was handed out before an outline changed may have other neighbours now, or be gone.
  async renew() {
    const item = this.current;
    if (item.epoch === this.epoch || item.status === "other") return true;
    const { epoch } = this;
    const answer = await this.link.get("api/field", { id: item.id, aspect: this.aspect() });
    if (answer.item) Object.assign(item, answer.item, { epoch });
    return Boolean(answer.item);
  }

  // Ask for the next ones, once at a time; their pictures begin to load.
  more(layer) {
    if (this.over) return Promise.resolve();
    const { turn, epoch } = this;
    this.asking ??= (async () => {
      const answer = await this.link.get("api/queue", { person: this.person(), size: AHEAD, after: this.after, show: this.show, aspect: this.aspect() });
      if (turn !== this.turn) return;
      const known = new Set(this.items.map((item) => item.id));
      this.items.push(...answer.items.filter((item) => !known.has(item.id)).map((item) => ({ ...item, epoch })));
      this.after = answer.after;
      this.over = answer.items.length < AHEAD;
      this.held = answer.held;
      this.onCounts?.(answer.counts);
      if (layer) for (const item of answer.items) new Image().src = chip(layer, item.box);
    })().finally(() => { if (turn === this.turn) this.asking = null; });
    return this.asking;
  }

  // Put in what the server says of fields.
  update(fields) {
    if (fields.some((item) => item.parts)) this.epoch += 1;
    for (const item of fields) {
      const known = this.items.find((one) => one.id === item.id);
      if (known) Object.assign(known, item, item.parts ? { epoch: this.epoch } : {});
      for (const other of this.items) {
        const near = other.near.find((one) => one.id === item.id);
        if (near) Object.assign(near, { version: item.version, status: item.status });
      }
    }
  }

  // Look at a field now, wherever it stands.
  visit(item) {
    const place = this.items.findIndex((one) => one.id === item.id);
    if (place >= 0) this.at = place;
    else {
      this.at = Math.max(this.at, 0);
      this.items.splice(this.at, 0, { ...item, epoch: this.epoch });
    }
    return this.current;
  }
}
