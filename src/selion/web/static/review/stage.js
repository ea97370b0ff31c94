// One field on its piece of the image: everything is in pixels of the image, the SVG's own units.

const SVG = "http://www.w3.org/2000/svg";

export function make(kind, given = {}, parent = null) {
  const made = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(given)) made.setAttribute(name, value);
  if (parent) parent.append(made);
  return made;
}

export const outline = (parts) => parts.flat().map((ring) => `M${ring.map((p) => `${p[0]} ${p[1]}`).join("L")}Z`).join("");
export const chip = (layer, box) => `chip/${layer}/${box.join("_")}.png`;

export class Stage {
  constructor(svg) {
    this.svg = svg;
    this.groups = Object.fromEntries(["picture", "ghosts", "near", "own", "handles"].map((name) => [name, document.getElementById(name)]));
    this.item = null;
    this.layer = "";
    this.drag = null;
    svg.addEventListener("wheel", (event) => { event.preventDefault(); this.zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, this.at(event)); }, { passive: false });
    addEventListener("resize", () => this.onResize?.());
  }

  show(item) {
    const same = this.item && this.item.id === item.id && String(this.item.box) === String(item.box);
    this.item = item;
    if (!same) this.fit();
    this.picture();
    this.lines();
  }

  // The image may come later than the outlines: the person sees the field at once.
  picture() {
    const [left, top, right, bottom] = this.item.box;
    const group = this.groups.picture;
    if (!this.layer) return group.replaceChildren();
    const address = chip(this.layer, this.item.box);
    if (group.dataset.shown === address) return;
    group.dataset.shown = address;
    const image = make("image", { x: left, y: top, width: right - left, height: bottom - top, preserveAspectRatio: "none", href: address });
    image.addEventListener("error", () => { group.dataset.shown = ""; });
    group.replaceChildren(image);
  }

  lines() {
    const { own, near, ghosts } = this.groups;
    near.replaceChildren(...this.item.near.map((one) => make("path", { d: outline(one.parts), "data-status": one.status, "data-id": one.id, class: one.joins ? "joins" : "" })));
    ghosts.replaceChildren(...this.item.other.map((parts) => make("path", { d: outline(parts) })));
    const d = outline(this.item.parts);
    own.replaceChildren(make("path", { d, class: "under" }), make("path", { d, "data-status": this.item.status }));
  }

  // Show outlines as they would be, before the server has said so.
  preview(parts, near) {
    for (const path of this.groups.own.children) path.setAttribute("d", outline(parts));
    for (const [id, others] of near) this.groups.near.querySelector(`[data-id="${CSS.escape(id)}"]`)?.setAttribute("d", outline(others));
  }

  fit() {
    const [left, top, right, bottom] = this.item.box;
    this.set(left, top, right - left, bottom - top);
  }

  set(x, y, width, height) {
    this.place = { x, y, width, height };
    this.svg.setAttribute("viewBox", `${x} ${y} ${width} ${height}`);
    this.onResize?.();
  }

  zoom(factor, centre = null) {
    const { x, y, width, height } = this.place;
    const [cx, cy] = centre || [x + width / 2, y + height / 2];
    const [left, , right] = this.item.box;
    const wide = Math.min(Math.max(width / factor, 8), (right - left) * 1.5);
    const real = width / wide;
    this.set(cx - (cx - x) / real, cy - (cy - y) / real, width / real, height / real);
  }

  pan(dx, dy) {
    const { x, y, width, height } = this.place;
    this.set(x - dx, y - dy, width, height);
  }

  // Image pixels of a place on the screen, and how many of them are one pixel of the screen.
  at(event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
    return [point.x, point.y];
  }

  // Width over height, so that pieces of the image fill the view.
  get aspect() {
    const { clientWidth, clientHeight } = this.svg;
    return Math.round(10 * Math.min(Math.max(clientWidth / Math.max(clientHeight, 1) || 1, 0.4), 2.5)) / 10;
  }

  get unit() {
    const matrix = this.svg.getScreenCTM();
    return matrix && matrix.a ? 1 / matrix.a : 1;
  }
}
