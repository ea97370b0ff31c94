// Many fields at once, as small pictures: choose some, say one word of all, go on.  Enter opens one by itself.

import { $, unique } from "../marks.js";
import { chip, make, outline } from "./stage.js";

export const SAID = {}; // words for statuses that have others
const SIZE = 24;
const PER_ACTION = 96; // fewer than one action may name
export const VERBS = { accept: "accepted", reject: "said to be no fields", unsure: "marked as unsure" };

export class Overview {
  constructor({ link, person, clock, say, open, layer, counts }) {
    Object.assign(this, { link, person, clock, say, open, layer, counts });
    this.items = [];
    this.begins = [0]; // of the pages that were seen
    this.chosen = new Set();
    this.anchor = null;
    $("tiles").addEventListener("click", (event) => this.click(event));
    $("tiles").addEventListener("dblclick", (event) => this.openTile(event.target.closest(".tile")));
    $("tiles").addEventListener("keydown", (event) => this.key(event));
    $("all-show").onchange = $("all-order").onchange = () => this.restart();
    $("choose-all").onclick = () => this.chooseAll();
    $("page-back").onclick = () => this.turn(-1);
    $("page-next").onclick = () => this.turn(1);
    document.querySelector("#overview .words").addEventListener("click", (event) => {
      const button = event.target.closest("[data-all]");
      if (button) this.act(button.dataset.all);
    });
  }

  get shown() {
    return !$("overview").hidden;
  }

  // Width over height of a picture, as the window is now.
  get aspect() {
    const { gridTemplateColumns, gridAutoRows } = getComputedStyle($("tiles"));
    return Math.round(10 * (parseFloat(gridTemplateColumns) / parseFloat(gridAutoRows) || 1.3)) / 10;
  }

  async restart() {
    this.begins = [0];
    await this.load();
  }

  async load() {
    const query = { show: $("all-show").value, order: $("all-order").value, after: this.begins.at(-1), size: SIZE, aspect: this.aspect };
    $("tiles").setAttribute("aria-busy", "true");
    const answer = await this.link.get("api/overview", query);
    Object.assign(this, { items: answer.items, after: answer.after, total: answer.total });
    this.chosen.clear();
    this.anchor = null;
    this.counts(answer.counts);
    this.draw();
    $("tiles").removeAttribute("aria-busy");
  }

  draw() {
    const layer = this.layer();
    // Who works by keys stays at the same place, also where the tiles come anew behind an undo.
    const at = $("tiles").contains(document.activeElement) ? Number(document.activeElement.dataset.k) : -1;
    $("tiles").replaceChildren(...this.items.map((item, k) => tile(item, layer, k)));
    if (at >= 0) $("tiles").children[Math.min(at, this.items.length - 1)]?.focus();
    const first = this.items.length ? this.begins.at(-1) + 1 : 0;
    const of = this.total.toLocaleString("en");
    $("page-where").textContent = this.items.length ? `${first.toLocaleString("en")} to ${(first + this.items.length - 1).toLocaleString("en")} of ${of}` : "none of this kind";
    $("page-back").disabled = this.begins.length < 2;
    $("page-next").disabled = this.after >= this.total;
    this.mark();
  }

  mark() {
    for (const [k, place] of [...$("tiles").children].entries()) place.setAttribute("aria-pressed", String(this.chosen.has(k)));
    const n = this.chosen.size;
    $("chosen").textContent = n ? `${n} chosen` : "";
    $("choose-all").textContent = n && n === this.items.length ? "Choose none" : "Choose all";
    for (const button of document.querySelectorAll("[data-all]")) button.disabled = !n;
  }

  click(event) {
    const place = event.target.closest(".tile");
    if (!place) return;
    const k = Number(place.dataset.k);
    if (event.shiftKey && this.anchor !== null) {
      for (let j = Math.min(k, this.anchor); j <= Math.max(k, this.anchor); j += 1) this.chosen.add(j);
    } else if (!this.chosen.delete(k)) this.chosen.add(k);
    this.anchor = k;
    this.mark();
  }

  chooseAll() {
    if (this.chosen.size === this.items.length) this.chosen.clear();
    else this.items.forEach((_, k) => this.chosen.add(k));
    this.mark();
  }

  openTile(place) {
    if (place) this.open(this.items[Number(place.dataset.k)].id);
  }

  key(event) {
    const place = event.target.closest(".tile");
    if (!place) return;
    const columns = getComputedStyle($("tiles")).gridTemplateColumns.split(" ").length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (step) $("tiles").children[Number(place.dataset.k) + step]?.focus();
    else if (event.key === "Enter") this.openTile(place);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // One action for all: refused together if somebody was quicker with one of them, and shown again.
  async act(kind) {
    if (!this.chosen.size) return this.say("Choose fields first: click them, or press Space on one.");
    const items = [...this.chosen].slice(0, PER_ACTION).map((k) => this.items[k]);
    const on = Object.fromEntries(items.map((item) => [item.id, item.version]));
    try {
      const table = await this.link.send("api/act", { id: unique(), kind, person: this.person(), on, points: [], seconds: Math.round(this.clock.take() * 1000) / 1000 });
      if (table.done) this.say(`${items.length} ${VERBS[kind]}.`, 3);
      else this.say(`${table.why} Nothing was done; they are shown again.`, 8);
      await this.load();
    } catch (problem) {
      this.say(problem.message, 8);
    }
    $("tiles").firstElementChild?.focus();
  }

  async turn(by) {
    if (by > 0 && this.after < this.total) this.begins.push(this.after);
    else if (by < 0 && this.begins.length > 1) this.begins.pop();
    else return;
    await this.load();
    $("tiles").firstElementChild?.focus();
  }
}

function tile(item, layer, k) {
  const place = document.createElement("button");
  const sure = item.confidence === null ? "" : `${Math.round(100 * item.confidence)}%`;
  const size = item.unit === "m2" ? `${(item.area / 10000).toLocaleString("en", { maximumFractionDigits: 2 })} ha` : `${Math.round(item.area).toLocaleString("en")} px`;
  Object.assign(place, { className: "tile", type: "button", title: [...item.reasons, "Enter or double click opens it"].join("; ") });
  Object.assign(place.dataset, { k, id: item.id, status: item.status });
  place.setAttribute("aria-label", [`Field ${item.id}`, size, sure && `confidence ${sure}`, SAID[item.status] || item.status].filter(Boolean).join(", "));
  const [left, top, right, bottom] = item.box;
  const svg = make("svg", { viewBox: `${left} ${top} ${right - left} ${bottom - top}`, preserveAspectRatio: "xMidYMid slice", "aria-hidden": "true" });
  if (layer) make("image", { x: left, y: top, width: right - left, height: bottom - top, preserveAspectRatio: "none", href: chip(layer, item.box) }, svg);
  const d = outline(item.parts);
  make("path", { d, class: "under" }, svg);
  make("path", { d, class: "line" }, svg);
  const note = document.createElement("span");
  note.className = "note";
  note.textContent = [sure, size, item.status === "undecided" ? "" : SAID[item.status] || item.status].filter(Boolean).join(" · ");
  place.append(svg, note);
  return place;
}
