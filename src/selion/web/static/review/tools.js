// Drawing: a line to split by, an outline, a vertex that moves, a neighbour to unite with; by pointer, by touch and by keys alike.

import { snap } from "./snap.js";
import { make } from "./stage.js";

const WORDS = {
  split: "Split: drag a line across the field, or click points and press Enter.",
  merge: "Merge: click a neighbour, or press its number.",
  edit: "Vertices: drag one, or the middle of an edge; double-click takes one out.",
  reshape: "Redraw: click the points of the whole outline, then Enter.",
  add: "Add: click the points of the missing field, then Enter.",
  paint: "Brush: paint the land that belongs to the field. [ and ] change its size.",
  erase: "Eraser: paint over what does not belong to the field. [ and ] change its size.",
};
const DRAWN = ["split", "reshape", "add"];
const BRUSHES = ["paint", "erase"];
const REACH = 10; // pixels of the screen within which a point goes to a corner or an edge
const NEAR = 0.02; // pixels of the image within which two points are one
const same = (a, b) => Math.abs(a[0] - b[0]) < NEAR && Math.abs(a[1] - b[1]) < NEAR;
const moved = (parts, at, to) => parts.map((part) => part.map((ring) => ring.map((point) => (same(point, at) ? to : point))));

export class Tools {
  constructor(stage, act, say) {
    Object.assign(this, { stage, act, say, mode: "", points: [], cursor: null, chosen: null, drag: null, brush: 14, snaps: true });
    stage.onResize = () => this.draw();
    const svg = stage.svg;
    svg.addEventListener("pointerdown", (event) => this.down(event));
    svg.addEventListener("pointermove", (event) => this.move(event));
    svg.addEventListener("pointerup", (event) => this.up(event));
    svg.addEventListener("pointercancel", () => { this.drag = null; });
    svg.addEventListener("dblclick", (event) => this.twice(event));
  }

  begin(mode) {
    this.mode = this.mode === mode ? "" : mode;
    this.points = [];
    this.chosen = this.cursor = this.drag = this.hover = null;
    if (this.stage.item) this.stage.lines();
    const place = document.getElementById("tool");
    place.hidden = !this.mode;
    place.textContent = WORDS[this.mode] || "";
    this.stage.svg.classList.toggle("drawing", [...DRAWN, "edit", ...BRUSHES].includes(this.mode));
    this.stage.svg.classList.toggle("choosing", this.mode === "merge");
    for (const button of document.querySelectorAll("#single .words button")) {
      if (button.dataset.do in WORDS) button.setAttribute("aria-pressed", button.dataset.do === this.mode);
    }
    this.draw();
  }

  end() {
    if (this.mode) this.begin(this.mode);
  }

  get corners() {
    return this.stage.item.parts.flat().flatMap((ring) => ring.map((point, k) => ({ point, next: ring[(k + 1) % ring.length] })));
  }

  get neighbours() {
    const [x, y] = centre(this.stage.item.parts);
    const angle = (one) => { const [a, b] = centre(one.parts); return Math.atan2(b - y, a - x); };
    return this.stage.item.near.filter((one) => one.joins).sort((a, b) => angle(a) - angle(b)).slice(0, 9);
  }

  draw() {
    const group = this.stage.groups.handles;
    group.replaceChildren();
    if (!this.mode || !this.stage.item) return;
    const unit = this.stage.unit;
    if (this.mode === "edit") this.drawCorners(group, unit);
    if (this.mode === "merge") this.drawNumbers(group, unit);
    const line = this.drag?.line || this.points;
    if (BRUSHES.includes(this.mode)) this.drawBrush(group, unit, line);
    else if (line.length) {
      const closed = this.mode !== "split" && line.length > 2 ? [...line, line[0]] : line;
      make("polyline", { class: "draft", points: closed.map((p) => p.join(",")).join(" ") }, group);
      for (const [x, y] of line) make("circle", { class: "middle", cx: x, cy: y, r: 4 * unit }, group);
    }
    if (this.cursor) {
      const [x, y] = this.cursor;
      make("path", { class: "cross", d: `M${x - 12 * unit} ${y}h${24 * unit}M${x} ${y - 12 * unit}v${24 * unit}` }, group);
    }
  }

  drawBrush(group, unit, line) {
    const wide = 2 * this.brush * unit;
    if (line.length) make("polyline", { class: `stroke ${this.mode}`, points: [...line, line.at(-1)].map((p) => p.join(",")).join(" "), "stroke-width": wide }, group);
    const at = this.hover || this.cursor;
    if (at) make("circle", { class: "brush", cx: at[0], cy: at[1], r: wide / 2 }, group);
  }

  drawCorners(group, unit) {
    for (const [k, { point, next }] of this.corners.entries()) {
      const middle = [(point[0] + next[0]) / 2, (point[1] + next[1]) / 2];
      if (Math.hypot(next[0] - point[0], next[1] - point[1]) > 18 * unit) {
        make("circle", { class: "middle", cx: middle[0], cy: middle[1], r: 5 * unit, "data-edge": k }, group);
      }
    }
    for (const [k, { point }] of this.corners.entries()) {
      const [x, y] = k === this.chosen && this.cursor ? this.cursor : point;
      make("circle", { class: k === this.chosen ? "vertex chosen" : "vertex", cx: x, cy: y, r: 6.5 * unit, "data-corner": k }, group);
    }
  }

  drawNumbers(group, unit) {
    for (const [k, one] of this.neighbours.entries()) {
      const { x, y, width, height } = this.stage.place;
      const [a, b] = centre(one.parts);
      const inside = [Math.min(Math.max(a, x + 0.05 * width), x + 0.95 * width), Math.min(Math.max(b, y + 0.05 * height), y + 0.95 * height)];
      make("text", { class: "number", x: inside[0], y: inside[1], "font-size": 20 * unit, "stroke-width": 4 * unit }, group).textContent = k + 1;
    }
  }

  down(event) {
    if (!this.stage.item || event.button > 0) return;
    this.stage.svg.setPointerCapture?.(event.pointerId);
    const at = this.stage.at(event);
    this.drag = { from: at, last: [event.clientX, event.clientY], far: false, pointer: event.pointerId };
    if (this.mode === "edit") Object.assign(this.drag, this.grab(event, at));
    if (BRUSHES.includes(this.mode)) this.drag.line = [...this.points, at];
  }

  // The vertex or the middle of an edge under the pointer; a finger is thick.
  grab(event, at) {
    const reach = (event.pointerType === "touch" ? 22 : 11) * this.stage.unit;
    const away = (point) => Math.hypot(point[0] - at[0], point[1] - at[1]);
    let best = null;
    for (const [k, { point, next }] of this.corners.entries()) {
      const middle = [(point[0] + next[0]) / 2, (point[1] + next[1]) / 2];
      if (away(point) < reach && !(best?.away < away(point))) best = { corner: k, away: away(point) };
      if (away(middle) < reach && Math.hypot(next[0] - point[0], next[1] - point[1]) > 18 * this.stage.unit && !(best?.away < away(middle))) best = { edge: k, away: away(middle) };
    }
    return best || {};
  }

  move(event) {
    if (BRUSHES.includes(this.mode)) return this.stroke(event);
    if (!this.drag || event.pointerId !== this.drag.pointer) return;
    const at = this.stage.at(event);
    const step = [event.clientX - this.drag.last[0], event.clientY - this.drag.last[1]];
    if (Math.hypot(...step) > 4) this.drag.far = true;
    if (!this.drag.far) return;
    if (this.drag.corner !== undefined) this.bend(this.drag.corner, this.near(at, event, this.corners[this.drag.corner].point));
    else if (this.drag.edge !== undefined) this.fold(this.drag.edge, this.near(at, event));
    else if (this.mode === "split" && !this.points.length) {
      this.drag.line = [this.drag.from, at];
      this.draw();
    } else {
      const unit = this.stage.unit;
      this.stage.pan(step[0] * unit, step[1] * unit);
      this.drag.last = [event.clientX, event.clientY];
    }
  }

  stroke(event) {
    const at = this.stage.at(event);
    this.hover = event.pointerType === "touch" ? null : at;
    const line = event.pointerId === this.drag?.pointer ? this.drag.line : null;
    const last = line?.at(-1);
    if (last && line.length < 1900 && Math.hypot(at[0] - last[0], at[1] - last[1]) > (this.brush / 4) * this.stage.unit) line.push(at);
    this.draw();
  }

  // Where a point goes that is drawn here: to a corner or an edge of another field, unless Alt is held.
  near(at, event = {}, mine = null) {
    if (!this.snaps || event.altKey) return at;
    const there = this.stage.item.near.filter((one) => one.status !== "rejected").flatMap((one) => one.parts.flat());
    const others = mine ? there.filter((ring) => !ring.some((point) => same(point, mine))) : there;
    return snap(at, others, REACH * this.stage.unit).at;
  }

  bend(corner, to) {
    const { point } = this.corners[corner];
    this.chosen = corner;
    this.cursor = to;
    const near = this.stage.item.near.filter((one) => one.touches).map((one) => [one.id, moved(one.parts, point, to)]);
    this.stage.preview(moved(this.stage.item.parts, point, to), near);
    this.draw();
  }

  fold(edge, to) {
    const { point, next } = this.corners[edge];
    this.cursor = to;
    const parts = this.stage.item.parts.map((part) => part.map((ring) => ring.flatMap((p, k) => (same(p, point) && same(ring[(k + 1) % ring.length], next) ? [p, to] : [p]))));
    this.stage.preview(parts, []);
    this.draw();
  }

  up(event) {
    const drag = this.drag;
    this.drag = null;
    if (!drag) return;
    const at = this.stage.at(event);
    if (BRUSHES.includes(this.mode)) this.finish(drag.line);
    else if (drag.far && drag.corner !== undefined) this.finishMove(drag.corner, this.near(at, event, this.corners[drag.corner].point));
    else if (drag.far && drag.edge !== undefined) this.finishInsert(drag.edge, this.near(at, event));
    else if (drag.far && drag.line) this.finish([drag.from, at]);
    else if (!drag.far) this.click(["reshape", "add"].includes(this.mode) ? this.near(at, event) : at, drag);
  }

  click(at, drag = {}) {
    if (this.mode === "edit" && drag.corner !== undefined) this.choose(drag.corner);
    else if ([...DRAWN, ...BRUSHES].includes(this.mode)) {
      this.points.push(at);
      this.draw();
    } else if (this.mode === "merge") {
      const under = this.stage.item.near.find((one) => one.joins && holds(one.parts, at));
      if (under) this.unite(under);
      else this.say("That is no neighbour that shares an edge with this field.");
    }
  }

  choose(corner) {
    this.chosen = corner;
    this.cursor = null;
    this.stage.lines();
    this.draw();
  }

  twice(event) {
    const grabbed = this.mode === "edit" ? this.grab(event, this.stage.at(event)) : {};
    if (grabbed.corner !== undefined) this.drop(grabbed.corner);
    else if (["split", "reshape", "add"].includes(this.mode)) {
      this.points.pop(); // the second click of the two
      this.finish(this.points);
    }
  }

  drop(corner) {
    const { point } = this.corners[corner];
    this.chosen = null;
    this.act("drop", { points: [point], on: () => this.touching() });
  }

  finishMove(corner, to) {
    const { point } = this.corners[corner];
    this.chosen = this.cursor = null;
    this.act("move", { points: [point, to], on: () => this.touching() });
  }

  finishInsert(edge, to) {
    const { point, next } = this.corners[edge];
    this.chosen = this.cursor = null;
    this.act("insert", { points: [point, next, to], on: () => this.touching() });
  }

  finish(points) {
    const brush = BRUSHES.includes(this.mode);
    const least = brush ? 1 : this.mode === "split" ? 2 : 3;
    if (points.length < least) return this.say(`${least} points at least: click them first.`);
    const kind = this.mode;
    const reach = this.brush * this.stage.unit;
    if (brush) this.points = [];
    else this.end();
    this.act(kind, { points, on: kind === "add" ? () => ({}) : undefined, width: brush ? [reach, reach] : undefined });
  }

  unite(other) {
    const item = this.stage.item;
    this.end();
    this.act("merge", { on: () => ({ [item.id]: item.version, [other.id]: other.version }) });
  }

  touching() {
    const item = this.stage.item;
    return Object.fromEntries([[item.id, item.version], ...item.near.filter((one) => one.touches).map((one) => [one.id, one.version])]);
  }

  // Keys of the tool in hand; says whether it took the key.
  key(event) {
    if (!this.mode) return false;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const number = this.mode === "merge" && /^[1-9]$/.test(event.key) ? this.neighbours[Number(event.key) - 1] : null;
    if (event.key === "Escape") this.end();
    else if (event.key in steps) this.steer(steps[event.key], event.shiftKey);
    else if (event.key === "Enter") this.enter();
    else if (event.key === " ") this.click(this.cursor || centre(this.stage.item.parts));
    else if (number) this.unite(number);
    else if (this.mode === "merge" && /^[1-9]$/.test(event.key)) this.say("There is no neighbour of that number.");
    else if (BRUSHES.includes(this.mode) && (event.key === "[" || event.key === "]")) this.resize(event.key === "]" ? 1.25 : 0.8);
    else if (this.mode === "edit" && (event.key === "[" || event.key === "]")) this.turn(event.key === "]" ? 1 : -1);
    else if (this.mode === "edit" && event.key === "i" && this.chosen !== null) this.halve();
    else if (this.mode === "edit" && ["Delete", "Backspace"].includes(event.key) && this.chosen !== null) this.drop(this.chosen);
    else if (event.key === "Backspace" && this.points.length) {
      this.points.pop();
      this.draw();
    } else return false;
    return true;
  }

  resize(by) {
    this.brush = Math.min(Math.max(this.brush * by, 3), 120);
    this.draw();
  }

  turn(by) {
    const count = this.corners.length;
    this.choose(((this.chosen ?? (by > 0 ? -1 : 0)) + by + count) % count);
  }

  halve() {
    const { point, next } = this.corners[this.chosen];
    this.finishInsert(this.chosen, [(point[0] + next[0]) / 2, (point[1] + next[1]) / 2]);
  }

  steer([dx, dy], fine) {
    const step = this.stage.place.width / (fine ? 400 : 60);
    if (this.mode === "edit") {
      if (this.chosen === null) return this.turn(1);
      const from = this.cursor || this.corners[this.chosen].point;
      return this.bend(this.chosen, [from[0] + dx * step, from[1] + dy * step]);
    }
    const from = this.cursor || centre(this.stage.item.parts);
    this.cursor = [from[0] + dx * step, from[1] + dy * step];
    this.draw();
  }

  enter() {
    if (this.mode === "edit" && this.chosen !== null && this.cursor) this.finishMove(this.chosen, this.cursor);
    else if (BRUSHES.includes(this.mode) && !this.points.length) this.end();
    else if ([...DRAWN, ...BRUSHES].includes(this.mode)) this.finish(this.points);
    else if (this.mode === "edit") this.end();
  }
}

function centre(parts) {
  const ring = parts[0][0];
  const xs = ring.map((p) => p[0]);
  const ys = ring.map((p) => p[1]);
  return [(Math.min(...xs) + Math.max(...xs)) / 2, (Math.min(...ys) + Math.max(...ys)) / 2];
}

function holds(parts, [x, y]) {
  let inside = false;
  for (const ring of parts.flat()) {
    for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
      const [a, b] = [ring[i], ring[j]];
      if (a[1] > y !== b[1] > y && x < ((b[0] - a[0]) * (y - a[1])) / (b[1] - a[1]) + a[0]) inside = !inside;
    }
  }
  return inside;
}
