// Contact sheets: everything is rejected unless somebody keeps it; the next page writes the page down.

import { $, SIGNS, WORDS, correct, load, picture, say, storage, showCounts, unique } from "./marks.js";

const PAGES = 3; // the one that is shown and two whose pictures are fetched meanwhile

export class Coarse {
  constructor(link, clock, rate, person, folder) {
    Object.assign(this, { link, clock, rate, person, folder });
    this.pages = [];
    this.after = 0;
    this.filling = false;
    this.plain = false;
    this.painting = null;
    this.active = false;
    this.round = 0; // answers to what was asked before the order was changed are let go
    this.listen();
  }

  listen() {
    $("next").onclick = () => this.next();
    $("undo").onclick = () => this.undo();
    $("all").onclick = () => this.markAll("keep");
    $("none").onclick = () => this.markAll("reject");
    $("plain").onclick = () => this.togglePlain();
    $("order").onchange = () => this.restart();
    $("size").onchange = () => this.restart();
    const grid = $("grid");
    grid.addEventListener("pointerdown", (event) => this.press(event));
    grid.addEventListener("pointermove", (event) => this.drag(event));
    grid.addEventListener("click", (event) => this.click(event));
    grid.addEventListener("focusin", (event) => this.rove(event.target.closest(".tile")));
    for (const kind of ["pointerup", "pointercancel"]) addEventListener(kind, (event) => this.release(event));
    new ResizeObserver(() => this.lay()).observe(grid);
    addEventListener("keydown", (event) => this.key(event));
  }

  get page() {
    return this.pages[0];
  }

  async restart() {
    this.round += 1;
    this.pages = [];
    this.after = 0;
    this.filling = false;
    this.blank();
    await this.link.idle(); // what is on its way counts as decided
    await this.fill();
  }

  async fill() {
    if (this.filling) return;
    this.filling = true;
    const round = this.round;
    while (this.pages.length < PAGES && round === this.round) {
      const asked = this.after;
      const query = { person: this.person(), size: $("size").value, order: $("order").value, after: asked };
      const answer = await this.link.get("api/sheet", query).catch((problem) => { say(problem.message, 12); return null; });
      if (!answer || round !== this.round) break;
      showCounts(answer.counts);
      if (answer.items.length) {
        this.after = answer.after;
        this.pages.push(this.prepare(answer.items, this.draft()));
        if (this.pages.length === 1) this.show();
        continue;
      }
      if (this.pages.length) break; // asked again when these are decided
      await this.link.idle();
      if (round !== this.round) break;
      if (asked === 0) {
        this.finish(answer);
        break;
      }
      this.after = 0; // what was taken back or passed over
    }
    if (round === this.round) this.filling = false;
  }

  prepare(items, marks = {}) {
    const page = { items, marks: new Map(), images: [], ready: false };
    for (const item of items) {
      page.marks.set(item.id, item.decision || marks[item.id] || "reject");
      page.images.push(new Image());
    }
    page.loaded = Promise.all(items.map((item, k) => load(page.images[k], picture(item, "overlay"))));
    page.loaded.then(() => { page.ready = true; this.settle(); });
    return page;
  }

  blank() {
    $("grid").replaceChildren();
    this.settle();
  }

  show() {
    const page = this.page;
    $("empty").hidden = true;
    $("coarse").hidden = !this.active;
    if (!page) return this.blank();
    $("grid").replaceChildren(...page.items.map((item, k) => this.tile(page, item, k)));
    $("grid").scrollTop = 0;
    if (this.plain) this.paintPlain();
    this.lay();
    this.settle();
    if (this.active && !document.querySelector("dialog[open]")) $("grid").firstElementChild.focus({ preventScroll: true, focusVisible: false });
    this.clock.take();
  }

  tile(page, item, k) {
    const tile = document.createElement("button");
    tile.className = "tile";
    tile.dataset.id = item.id;
    tile.tabIndex = k ? -1 : 0;
    const image = page.images[k];
    image.alt = "";
    image.draggable = false;
    const mark = document.createElement("span");
    mark.className = "mark";
    mark.setAttribute("aria-hidden", "true");
    const note = document.createElement("span");
    note.className = "note";
    note.textContent = [item.quality === null ? "" : item.quality.toFixed(2), item.routed && `routed: ${item.routed}`, item.conflict && "disagreement"].filter(Boolean).join(" · ");
    note.hidden = !note.textContent;
    note.title = item.why || "";
    tile.append(image, mark, note);
    this.dress(tile, item, page.marks.get(item.id));
    return tile;
  }

  dress(tile, item, word) {
    tile.dataset.word = word;
    tile.setAttribute("aria-pressed", word !== "reject");
    const quality = item.quality === null ? "" : `, quality ${item.quality.toFixed(2)}`;
    tile.setAttribute("aria-label", `${item.key}${quality}, ${WORDS[word]}`);
    tile.querySelector(".mark").textContent = SIGNS[word];
  }

  settle() {
    const page = this.page;
    const ready = Boolean(page && page.ready);
    $("next").disabled = $("all").disabled = $("none").disabled = !ready;
    document.body.dataset.ready = this.active ? (ready ? page.items[0].id : "") : document.body.dataset.ready;
    if (!page) return;
    let kept = 0;
    for (const word of page.marks.values()) kept += word === "keep" || word === "full";
    $("kept").textContent = `${kept} of ${page.items.length} kept`;
  }

  lay() {
    const grid = $("grid");
    const count = this.page?.items.length || 0;
    const style = getComputedStyle(grid);
    const width = grid.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const height = grid.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
    if (!count || width <= 0 || height <= 0) return;
    let best = { columns: 1, side: 0 };
    const wanted = Math.max(count, Number($("size").value)); // a last, shorter sheet has tiles of the same size
    for (let columns = 1; columns <= wanted; columns += 1) {
      const side = Math.min((width - 4 * (columns - 1)) / columns, height / Math.ceil(wanted / columns) - 4);
      if (side > best.side) best = { columns, side };
    }
    if (best.side < 96) { // a phone: scroll instead
      const columns = Math.max(3, Math.floor(width / 150));
      best = { columns, side: (width - 4 * (columns - 1)) / columns };
    }
    grid.style.setProperty("--columns", best.columns);
    grid.style.setProperty("--side", `${Math.floor(best.side)}px`);
    this.columns = best.columns;
  }

  // Marking

  set(tile, word) {
    const page = this.page;
    const item = page?.items.find((each) => each.id === tile?.dataset.id);
    if (!item || page.marks.get(item.id) === word) return;
    page.marks.set(item.id, word);
    this.dress(tile, item, word);
    this.settle();
    this.keepDraft();
  }

  toggle(tile) {
    this.set(tile, tile.dataset.word === "reject" ? "keep" : "reject");
  }

  correct(tile) {
    const item = this.page?.items.find((each) => each.id === tile?.dataset.id);
    if (item && !$("correct").hidden) correct(this.link, item);
  }

  markAll(word) {
    for (const tile of $("grid").children) this.set(tile, word);
  }

  press(event) {
    const tile = event.target.closest(".tile");
    if (!tile || event.button !== 0) return;
    const word = tile.dataset.word === "reject" ? "keep" : "reject";
    this.painting = { word, tile, id: event.pointerId, x: event.clientX, y: event.clientY, begun: event.pointerType !== "touch" };
    tile.focus({ preventScroll: true, focusVisible: false });
    if (this.painting.begun) this.set(tile, word);
    if (tile.hasPointerCapture?.(event.pointerId)) tile.releasePointerCapture(event.pointerId);
  }

  drag(event) {
    const paint = this.painting;
    if (!paint || event.pointerId !== paint.id) return;
    if (!paint.begun) { // a finger may want to scroll: across paints, along scrolls
      const [across, along] = [Math.abs(event.clientX - paint.x), Math.abs(event.clientY - paint.y)];
      if (across < 14 || across < along) return;
      paint.begun = true;
      this.set(paint.tile, paint.word);
    }
    for (const point of event.getCoalescedEvents?.().concat(event) || [event]) { // a quick hand leaves no gaps
      const tile = document.elementFromPoint(point.clientX, point.clientY)?.closest?.(".tile");
      if (tile) this.set(tile, paint.word);
    }
  }

  release(event) {
    const paint = this.painting;
    if (!paint || event.pointerId !== paint.id) return;
    if (!paint.begun && event.type === "pointerup") this.set(paint.tile, paint.word);
    this.painting = null;
  }

  click(event) { // screen readers click without a pointer
    const tile = event.target.closest(".tile");
    if (tile && event.detail === 0 && event.pointerType !== "touch" && event.pointerType !== "mouse") this.toggle(tile);
  }

  // Keys

  key(event) {
    if (!this.active || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
    if (event.ctrlKey && event.key !== "z") return;
    const inside = event.target.closest?.(".tile");
    if (event.target.matches?.("select, input")) return;
    const tile = inside || $("grid").querySelector('[tabindex="0"]');
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -(this.columns || 1), ArrowDown: this.columns || 1 };
    const keys = {
      k: () => tile && this.set(tile, "keep"), r: () => tile && this.set(tile, "reject"), f: () => tile && this.set(tile, "full"), u: () => tile && this.set(tile, "unsure"),
      a: () => this.markAll("keep"), x: () => this.markAll("reject"), p: () => this.togglePlain(), z: () => this.undo(), n: () => this.next(),
      c: () => this.correct(tile),
    };
    if (event.key in steps) this.step(tile, steps[event.key], event.shiftKey);
    else if (event.key in keys) { if (!event.repeat || "krfu".includes(event.key)) keys[event.key](); }
    else if (event.key === "Enter" && (inside || event.target === document.body)) { if (!event.repeat) this.next(); }
    else if (event.key === " " && (inside || event.target === document.body)) tile && this.toggle(tile);
    else return;
    event.preventDefault();
  }

  step(tile, by, paint) {
    const tiles = [...$("grid").children];
    const from = Math.max(0, tiles.indexOf(tile));
    const to = tiles[from + by];
    if (paint && tile) this.set(tile, "keep");
    if (!to) return;
    to.focus();
    to.scrollIntoView({ block: "nearest" });
    if (paint) this.set(to, "keep");
  }

  rove(tile) {
    if (!tile) return;
    for (const other of $("grid").querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
    tile.tabIndex = 0;
  }

  togglePlain() {
    this.plain = !this.plain;
    $("plain").setAttribute("aria-pressed", this.plain);
    this.paintPlain();
  }

  paintPlain() {
    [...$("grid").children].forEach((tile, k) => {
      const item = this.page.items[k];
      const shown = tile.querySelector("img");
      if (!this.plain) return shown.replaceWith(this.page.images[k]);
      const bare = new Image();
      bare.alt = "";
      load(bare, picture(item, "photo"));
      shown.replaceWith(bare);
    });
  }

  // Pages

  next() {
    const page = this.page;
    if (!page || !page.ready) return;
    const seconds = this.clock.take();
    const items = page.items.map((item) => ({ id: item.id, version: item.version, decision: page.marks.get(item.id) }));
    const kept = items.filter((item) => item.decision === "keep" || item.decision === "full").length;
    this.link.send("api/commit", { batch: unique(), person: this.person(), pass: "coarse", seconds, items }).then((answer) => this.written(answer), (problem) => say(problem.message, 12));
    this.rate.add(seconds, items.length, kept);
    this.pages.shift();
    this.forgetDraft();
    this.show();
    this.fill();
  }

  written(answer) {
    showCounts(answer.counts);
    if (answer.stale.length) say(`${answer.stale.length} masks or photographs have changed on the disk: they will be shown again.`, 8);
    if (!this.pages.length) this.fill();
  }

  async undo() {
    if (this.undoing) return;
    this.undoing = true;
    try {
      const answer = await this.link.send("api/undo", { id: unique(), person: this.person(), pass: "coarse" });
      showCounts(answer.counts);
      if (!answer.items.length) return say("There is nothing to take back.");
      if (this.page) this.page.marks.forEach((word, id) => { this.page.items.find((item) => item.id === id).decision = word; });
      this.pages.unshift(this.prepare(answer.items));
      this.show();
      this.keepDraft();
      say("The last page is open again.");
    } catch (problem) {
      say(problem.message, 12);
    } finally {
      this.undoing = false;
    }
  }

  finish(answer) {
    this.blank();
    if (answer.held) {
      $("empty").textContent = `The last ${answer.held} images are on somebody else's screen.`;
      const round = this.round;
      setTimeout(() => { if (round === this.round && !this.pages.length) this.fill(); }, 5000);
    } else {
      $("empty").textContent = "Every mask has been looked at. Go on one by one with what was kept, or take pages back with z.";
    }
    if (this.active) {
      $("empty").hidden = false;
      document.body.dataset.ready = answer.held ? "held" : "finished";
    }
  }

  // The marks of a page that is not written yet outlive a reload.

  draft() {
    try {
      return JSON.parse(storage.browser.get(`selion:${this.folder}:draft:${this.person()}`)) || {};
    } catch {
      return {};
    }
  }

  keepDraft() {
    const marks = {};
    for (const [id, word] of this.page.marks) if (word !== "reject") marks[id] = word;
    storage.browser.set(`selion:${this.folder}:draft:${this.person()}`, JSON.stringify(marks));
  }

  forgetDraft() {
    storage.browser.drop(`selion:${this.folder}:draft:${this.person()}`);
  }

  enter() {
    this.active = true;
    this.show();
    if (!this.pages.length) this.restart();
  }

  leave() {
    this.active = false;
  }
}
