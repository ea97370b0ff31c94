// What the pointer does: lines, outlines, fills, clicks, and moving the photograph.

import { $ } from "../marks.js";
import { tintOf } from "./canvas.js";

const CLOSE = 0.35; // of the brush's reach: nearer points of a line are left out
const LONGEST = 1500; // points of one line, after which it is sent and goes on as another

export class Tools {
  constructor(canvas, act) {
    Object.assign(this, { canvas, act, tool: "brush", value: 1, size: 14, line: [], corners: [], tapped: null, held: false, drag: null, fingers: new Map(), pinching: false });
    const view = canvas.view;
    view.addEventListener("pointerdown", (event) => this.down(event));
    view.addEventListener("pointermove", (event) => this.moved(event));
    for (const kind of ["pointerup", "pointercancel"]) view.addEventListener(kind, (event) => this.up(event));
    view.addEventListener("pointerleave", () => { $("ring").hidden = true; });
    view.addEventListener("dblclick", () => this.close());
    view.addEventListener("contextmenu", (event) => event.preventDefault());
    view.addEventListener("wheel", (event) => {
      event.preventDefault();
      canvas.zoom(Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
      this.ring(event);
    }, { passive: false });
  }

  choose(tool) {
    this.end();
    this.tool = tool;
    for (const button of document.querySelectorAll("[data-tool]")) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
    if (!["brush", "erase"].includes(tool)) $("ring").hidden = true;
  }

  // Give up what is not finished.
  end() {
    this.line = [];
    this.corners = [];
    if (this.canvas.ids) this.canvas.clear();
  }

  get drawn() {
    return this.tool === "erase" ? 0 : this.value;
  }

  down(event) {
    this.canvas.view.setPointerCapture(event.pointerId);
    this.canvas.view.focus({ preventScroll: true });
    if (event.pointerType === "touch" && this.finger(event)) return;
    if (event.button !== 0 || this.held) {
      this.drag = [event.clientX, event.clientY];
      this.canvas.view.classList.add("moving");
      return;
    }
    if (!this.canvas.ids) return;
    const at = this.canvas.at(event);
    this.tapped = null;
    if (["brush", "erase"].includes(this.tool)) {
      this.line = [at];
      this.canvas.stroke(this.line, this.size, tintOf(this.drawn));
    } else if (this.tool === "polygon") {
      this.corners.push(at);
      this.canvas.outline(this.corners, tintOf(this.value));
    } else if (this.inside(at)) {
      this.tapped = { tool: this.tool, value: this.value, at }; // once it is let go: a second finger may follow
      if (event.pointerType !== "touch") this.tap();
    }
  }

  tap() {
    const { tool, value, at } = this.tapped;
    this.tapped = null;
    this.act(tool, { value, points: [rounded(at)] });
  }

  // A second finger makes a pinch of what the first one began to draw, until all are lifted.
  finger(event) {
    this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (this.fingers.size < 2) return false;
    if (!this.pinching) {
      this.pinching = true;
      this.line = [];
      this.tapped = null;
      if (this.tool === "polygon") this.corners.pop(); // which the first one has just set
      if (this.canvas.ids) this.canvas.outline(this.corners, tintOf(this.value));
    }
    $("ring").hidden = true;
    return true;
  }

  // Move and enlarge with two fingers: what lay between them stays there.
  pinch(event) {
    const before = [...this.fingers.values()];
    this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    const after = [...this.fingers.values()];
    if (after.length !== 2) return;
    const [was, is] = [before, after].map(([[ax, ay], [bx, by]]) => ({ x: (ax + bx) / 2, y: (ay + by) / 2, far: Math.hypot(ax - bx, ay - by) }));
    if (was.far > 1 && is.far > 1) this.canvas.zoom(is.far / was.far, was.x, was.y); // first, as a fitted photograph cannot be moved
    this.canvas.move(is.x - was.x, is.y - was.y);
  }

  inside([x, y]) {
    return x >= 0 && y >= 0 && x < this.canvas.width && y < this.canvas.height;
  }

  moved(event) {
    if (this.pinching) {
      if (this.fingers.has(event.pointerId)) this.pinch(event);
      return;
    }
    if (this.fingers.has(event.pointerId)) this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    this.ring(event);
    if (this.drag) {
      this.canvas.move(event.clientX - this.drag[0], event.clientY - this.drag[1]);
      this.drag = [event.clientX, event.clientY];
      return;
    }
    if (this.line.length) {
      for (const one of event.getCoalescedEvents?.() || [event]) this.add(this.canvas.at(one));
      this.canvas.stroke(this.line, this.size, tintOf(this.drawn));
      if (this.line.length > LONGEST) this.send([this.line.at(-1)]);
    } else if (this.corners.length) {
      this.canvas.outline([...this.corners, this.canvas.at(event)], tintOf(this.value));
    }
  }

  add(at) {
    const [x, y] = this.line.at(-1);
    if (Math.hypot(at[0] - x, at[1] - y) >= Math.max(CLOSE * this.size, 0.5)) this.line.push(at);
  }

  up(event) {
    this.fingers.delete(event.pointerId);
    if (this.pinching) {
      this.pinching = this.fingers.size > 0;
      return;
    }
    if (this.tapped && event.type === "pointerup") this.tap();
    this.tapped = null;
    this.drag = null;
    this.canvas.view.classList.remove("moving");
    if (this.line.length && event.type === "pointerup") {
      this.line.push(this.canvas.at(event));
      this.send([]);
    } else if (this.line.length) {
      this.end();
    }
  }

  send(rest) {
    this.act("brush", { value: this.drawn, points: this.line.map(rounded), width: this.size });
    this.line = rest;
  }

  close() {
    const corners = this.corners.filter(([x, y], k, all) => !k || Math.hypot(x - all[k - 1][0], y - all[k - 1][1]) > 0.5);
    this.end();
    if (corners.length < 3) return false;
    this.act("polygon", { value: this.value, points: corners.map(rounded) });
    return true;
  }

  resize(by) {
    this.size = Math.min(Math.max(Math.round(this.size * by) + (by > 1 ? 1 : 0), 1), 120);
    $("size").value = this.size;
    this.ring();
  }

  ring(event) {
    const ring = $("ring");
    if (event) this.last = [event.clientX, event.clientY];
    if (!this.last || !["brush", "erase"].includes(this.tool)) return;
    const box = this.canvas.view.getBoundingClientRect();
    ring.hidden = false;
    ring.style.left = `${this.last[0] - box.left}px`;
    ring.style.top = `${this.last[1] - box.top}px`;
    ring.style.width = ring.style.height = `${2 * this.size * this.canvas.scale}px`;
  }
}

const rounded = ([x, y]) => [Math.round(x * 100) / 100, Math.round(y * 100) / 100];
