// One at a time: shade and outline over the photograph, four words, zoom.

import { $, WORDS, correct, load, picture, say, showCounts, storage, unique } from "./marks.js";

const AHEAD = 4; // images whose layers are fetched while one is looked at
const NEAR = 16;

export class Fine {
  constructor(link, clock, rate, person) {
    Object.assign(this, { link, clock, rate, person });
    this.queue = [];
    this.after = 0;
    this.round = 0;
    this.filling = false;
    this.active = false;
    this.place = { zoom: 1, x: 0, y: 0 };
    this.fingers = new Map();
    this.listen();
  }

  listen() {
    $("scope").value = storage.tab.get("selion:scope") || "kept"; // as it was before a mask was corrected
    $("scope").onchange = () => { storage.tab.set("selion:scope", $("scope").value); this.restart(); };
    $("opacity").oninput = () => this.shade();
    $("outline").onchange = () => this.shade();
    $("larger").onclick = () => this.zoom(1.5);
    $("smaller").onclick = () => this.zoom(1 / 1.5);
    $("fit").onclick = () => this.fit();
    $("back").onclick = () => this.undo();
    $("skip").onclick = () => this.skip();
    $("correct").onclick = () => this.correct();
    for (const button of document.querySelectorAll(".words [data-word]")) button.onclick = () => this.decide(button.dataset.word);
    const stage = $("stage");
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
    }, { passive: false });
    stage.addEventListener("pointerdown", (event) => {
      stage.setPointerCapture(event.pointerId);
      this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    });
    stage.addEventListener("pointermove", (event) => this.move(event));
    for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, (event) => this.fingers.delete(event.pointerId));
    stage.addEventListener("dblclick", (event) => (this.place.zoom > 1 ? this.fit() : this.zoom(3, event.clientX, event.clientY)));
    addEventListener("keydown", (event) => this.key(event));
    this.shade();
  }

  get item() {
    return this.queue[0]?.item;
  }

  get stage() { // what is said of disagreements and doubts is a later word than the fine pass
    return ["conflicts", "unsure"].includes($("scope").value) ? "settle" : "fine";
  }

  async restart() {
    this.round += 1;
    this.queue = [];
    this.after = 0;
    this.filling = false;
    this.show();
    await this.link.idle();
    await this.fill();
  }

  async fill() {
    if (this.filling) return;
    this.filling = true;
    const round = this.round;
    while (this.queue.length <= AHEAD && round === this.round) {
      const asked = this.after;
      const query = { person: this.person(), scope: $("scope").value, size: AHEAD, after: asked };
      const answer = await this.link.get("api/fine", query).catch((problem) => { say(problem.message, 12); return null; });
      if (!answer || round !== this.round) break;
      showCounts(answer.counts);
      if (answer.items.length) {
        this.after = answer.after;
        const first = !this.queue.length;
        this.queue.push(...answer.items.map((item) => this.prepare(item)));
        if (first) this.show();
        continue;
      }
      if (this.queue.length) break;
      await this.link.idle();
      if (round !== this.round) break;
      if (asked === 0) {
        this.finish(answer);
        break;
      }
      this.after = 0;
    }
    if (round === this.round) this.filling = false;
  }

  prepare(item) {
    const edge = Math.min(4096, Math.ceil(Math.max($("stage").clientWidth, $("stage").clientHeight, 1000) * Math.min(devicePixelRatio, 2)));
    const entry = { item, edge, ready: false, images: {} };
    const kinds = ["large", "shade", "outline"];
    entry.loaded = Promise.all(kinds.map((kind) => load((entry.images[kind] = new Image()), picture(item, kind, edge))));
    entry.loaded.then(() => { entry.ready = true; this.settle(); });
    return entry;
  }

  show() {
    const entry = this.queue[0];
    $("empty").hidden = true;
    $("fine").hidden = !this.active;
    this.fit();
    this.tellAbout(entry?.item);
    this.settle();
    this.clock.take();
  }

  tellAbout(item) {
    const about = $("about");
    about.replaceChildren();
    if (!item) return;
    $("large").alt = `Photograph ${item.key} with its mask`;
    const said = item.words.map((word) => `${word.person}: ${WORDS[word.decision]} (${word.pass})`).join(", ");
    const facts = [item.key, item.quality === null ? "" : `quality ${item.quality.toFixed(2)}`, item.routed && `routed: ${item.routed}`, item.why, said];
    about.append(facts.filter(Boolean).join(" · "));
    if (item.conflict) {
      const strong = document.createElement("b");
      strong.textContent = " · people disagree";
      about.append(strong);
    }
  }

  settle() {
    const entry = this.queue[0];
    const ready = Boolean(entry && entry.ready);
    for (const button of document.querySelectorAll(".words [data-word], #correct")) button.disabled = !ready;
    $("layers").hidden = !ready;
    if (ready) for (const [id, kind] of [["large", "large"], ["shade", "shade"], ["edge", "outline"]]) {
      if ($(id).src !== entry.images[kind].src) $(id).src = entry.images[kind].src;
    }
    if (this.active) document.body.dataset.ready = ready ? entry.item.id : "";
  }

  decide(word) {
    const entry = this.queue[0];
    if (!entry || !entry.ready) return;
    const seconds = this.clock.take();
    const items = [{ id: entry.item.id, version: entry.item.version, decision: word }];
    const sent = this.link.send("api/commit", { batch: unique(), person: this.person(), pass: this.stage, seconds, items });
    sent.then((answer) => {
      showCounts(answer.counts);
      if (answer.stale.length) say("The mask or the photograph has changed on the disk: it will be shown again.", 8);
      if (!this.queue.length) this.fill();
    }, (problem) => say(problem.message, 12));
    this.rate.add(seconds, 1, word === "keep" || word === "full" ? 1 : 0);
    this.skip();
  }

  correct() {
    const entry = this.queue[0];
    if (entry?.ready && !$("correct").hidden) correct(this.link, entry.item);
  }

  skip() {
    if (!this.queue.length) return;
    this.queue.shift();
    this.show();
    this.fill();
  }

  async undo() {
    if (this.undoing) return;
    this.undoing = true;
    try {
      const answer = await this.link.send("api/undo", { id: unique(), person: this.person(), pass: this.stage });
      showCounts(answer.counts);
      if (!answer.items.length) return say("There is nothing to take back.");
      this.queue.unshift(...answer.items.map((item) => this.prepare(item)));
      this.show();
      say(`Taken back: it was ${WORDS[answer.items[0].decision]}.`);
    } catch (problem) {
      say(problem.message, 12);
    } finally {
      this.undoing = false;
    }
  }

  finish(answer) {
    this.show();
    const scope = $("scope").selectedOptions[0].textContent;
    $("empty").textContent = answer.held
      ? `The last ${answer.held} images are on somebody else's screen.`
      : `Nothing is left under “${scope}”. Choose another set above, or go back to the sheets.`;
    if (answer.held) {
      const round = this.round;
      setTimeout(() => { if (round === this.round && !this.queue.length) this.fill(); }, 5000);
    }
    if (this.active) {
      $("empty").hidden = false;
      document.body.dataset.ready = answer.held ? "held" : "finished";
    }
  }

  // Looking

  shade() {
    $("shade").style.opacity = $("opacity").value / 100;
    $("edge").hidden = !$("outline").checked;
  }

  fit() {
    this.place = { zoom: 1, x: 0, y: 0 };
    this.put();
  }

  zoom(by, clientX, clientY) {
    const box = $("stage").getBoundingClientRect();
    const [x, y] = [(clientX ?? box.left + box.width / 2) - box.left, (clientY ?? box.top + box.height / 2) - box.top];
    const zoom = Math.min(NEAR, Math.max(1, this.place.zoom * by));
    const change = zoom / this.place.zoom;
    this.place = { zoom, x: x - (x - this.place.x) * change, y: y - (y - this.place.y) * change };
    this.put();
  }

  move(event) {
    const before = this.fingers.get(event.pointerId);
    if (!before) return;
    const [x, y] = [event.clientX, event.clientY];
    const other = [...this.fingers.entries()].find(([id]) => id !== event.pointerId)?.[1];
    this.fingers.set(event.pointerId, [x, y]);
    if (other) {
      const change = Math.hypot(x - other[0], y - other[1]) / Math.max(1, Math.hypot(before[0] - other[0], before[1] - other[1]));
      this.zoom(change, (x + other[0]) / 2, (y + other[1]) / 2);
      return;
    }
    this.place.x += x - before[0];
    this.place.y += y - before[1];
    this.put();
  }

  put() {
    const { clientWidth: width, clientHeight: height } = $("stage");
    const { zoom } = this.place;
    this.place.x = Math.min(0, Math.max(width * (1 - zoom), this.place.x));
    this.place.y = Math.min(0, Math.max(height * (1 - zoom), this.place.y));
    $("layers").style.transform = `translate(${this.place.x}px, ${this.place.y}px) scale(${zoom})`;
    $("layers").classList.toggle("near", zoom > 3);
  }

  key(event) {
    if (!this.active || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
    if ((event.ctrlKey && event.key !== "z") || event.target.matches?.("select, input:not([type=checkbox]):not([type=range])")) return;
    const slide = (by) => { $("opacity").value = Number($("opacity").value) + by; this.shade(); };
    const keys = {
      k: () => this.decide("keep"), r: () => this.decide("reject"), f: () => this.decide("full"), u: () => this.decide("unsure"), c: () => this.correct(), z: () => this.undo(),
      o: () => { $("outline").checked = !$("outline").checked; this.shade(); }, "[": () => slide(-10), "]": () => slide(10),
      "+": () => this.zoom(1.5), "=": () => this.zoom(1.5), "-": () => this.zoom(1 / 1.5), 0: () => this.fit(), ArrowRight: () => this.skip(),
    };
    if (!(event.key in keys) || (event.key === "ArrowRight" && event.target.matches?.("input"))) return;
    if (!event.repeat || "[]+-=".includes(event.key)) keys[event.key]();
    event.preventDefault();
  }

  enter() {
    this.active = true;
    this.restart();
  }

  leave() {
    this.active = false;
  }
}
