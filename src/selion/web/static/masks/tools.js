// What the pointer does: lines, outlines, fills, clicks, and moving the photograph.

import { $ } from "../marks.js";
import { tintOf } from "./canvas.js";

const CLOSE = 0.35; // of the brush's reach: nearer points of a line are left out
const LONGEST = 1500; // points of one line, after which it is sent and goes on as another

export class Tools {
  constructor(canvas, act) {
    Object.assign(this, { canvas, act, tool: "brush", value: 1, size: 14, line: [], corners: [], held: false, drag: null });
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
    if (event.button !== 0 || this.held) {
      this.drag = [event.clientX, event.clientY];
      this.canvas.view.classList.add("moving");
      return;
    }
    if (!this.canvas.ids) return;
    const at = this.canvas.at(event);
    if (["brush", "erase"].includes(this.tool)) {
      this.line = [at];
      this.canvas.stroke(this.line, this.size, tintOf(this.drawn));
    } else if (this.tool === "polygon") {
      this.corners.push(at);
      this.canvas.outline(this.corners, tintOf(this.value));
    } else if (this.inside(at)) {
      this.act(this.tool, { value: this.value, points: [rounded(at)] });
    }
  }

  inside([x, y]) {
    return x >= 0 && y >= 0 && x < this.canvas.width && y < this.canvas.height;
  }

  moved(event) {
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
