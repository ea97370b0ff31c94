// Two maps over each other: the right one is cut off at a border that is dragged, or moved by keys.

export class Swipe {
  constructor(stage, handle, create, maps, onRight, onAlone) {
    Object.assign(this, { stage, handle, create, maps, onRight, onAlone, at: 50, open: false });
    handle.addEventListener("pointerdown", (event) => { handle.setPointerCapture(event.pointerId); this.dragging = true; });
    handle.addEventListener("pointermove", (event) => this.dragging && this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) handle.addEventListener(end, () => { this.dragging = false; });
    handle.addEventListener("keydown", (event) => this.key(event));
  }

  drag(event) {
    const box = this.stage.getBoundingClientRect();
    this.set((100 * (event.clientX - box.left)) / box.width);
  }

  key(event) {
    const step = { ArrowLeft: -2, ArrowRight: 2, PageDown: -10, PageUp: 10, Home: -100, End: 100 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    this.move(step);
  }

  move(step) {
    if (this.open) this.set(this.at + step);
  }

  set(at) {
    this.at = Math.min(100, Math.max(0, at));
    this.stage.style.setProperty("--cut", `${this.at}%`);
    this.handle.setAttribute("aria-valuenow", String(Math.round(this.at)));
  }

  toggle() {
    this.open = !this.open;
    for (const id of ["right", "handle", "sides"]) document.getElementById(id).hidden = !this.open;
    document.getElementById("compare").setAttribute("aria-pressed", String(this.open));
    if (!this.open) return this.close();
    const right = this.create();
    this.together(this.maps[0], right);
    this.onRight(right);
    right.jumpTo({ center: this.maps[0].getCenter(), zoom: this.maps[0].getZoom() });
    this.handle.focus();
  }

  close() {
    this.maps[1]?.remove();
    this.maps.length = 1;
    document.getElementsByName("side")[0].click();
    this.onAlone();
  }

  together(a, b) {
    let moving = false;
    const follow = (from, to) => from.on("move", () => {
      if (moving || !this.open || this.maps[1] !== b) return; // one that was closed is gone
      moving = true;
      to.jumpTo({ center: from.getCenter(), zoom: from.getZoom() });
      moving = false;
    });
    follow(a, b);
    follow(b, a);
  }
}
