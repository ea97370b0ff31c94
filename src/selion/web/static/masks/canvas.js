// The photograph with its mask: where it is, how large, and what its pixels look like.

import { $ } from "../marks.js";

const TINTS = [[0, 210, 255], [255, 64, 160], [255, 140, 0], [150, 90, 255], [255, 60, 60], [0, 255, 170]]; // as on overlays: neither plants nor soil have them
const UNKNOWN = [40, 90, 255];
const EDGE = [255, 232, 0];
const NEAREST = 24;

export const tintOf = (id) => (id === 255 ? UNKNOWN : id === 0 ? [138, 102, 66] : TINTS[(id - 1) % TINTS.length]);
export const css = (rgb) => `rgb(${rgb.join(" ")})`;

export class Canvas {
  constructor() {
    this.view = $("view");
    this.width = this.height = 1;
    this.ids = null;
    this.tint = 0.35;
    this.place = { zoom: 1, x: 0, y: 0 };
    addEventListener("resize", () => this.put());
  }

  // Show another photograph; kept when its pixels and its mask are there.
  async open(item) {
    const photo = $("photo");
    this.item = item;
    this.ids = null;
    const loaded = new Promise((done, failed) => { photo.onload = done; photo.onerror = () => failed(new Error(`${item.name} cannot be shown.`)); });
    photo.src = `image/${item.id}`;
    photo.alt = `Photograph ${item.name}`;
    [this.width, this.height] = [item.width, item.height];
    for (const id of ["mask", "draft"]) Object.assign($(id), { width: item.width, height: item.height });
    await Promise.all([loaded, this.refresh(item)]);
    this.fit();
  }

  // Ask for the mask as it is on the server, or for what has changed since the one that is shown.
  async refresh(item) {
    const [shown, ids] = [this.shown, this.ids];
    const since = ids ? `&since=${encodeURIComponent(shown)}` : "";
    const answer = await fetch(`mask/${item.id}?v=${item.version}${since}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(await answer.text());
    const sent = new Uint8Array(await answer.arrayBuffer());
    if (this.item?.id !== item.id) return undefined;
    const box = answer.headers.get("x-box")?.split(",").map(Number);
    if (box && (this.ids !== ids || this.shown !== shown)) return this.refresh(item); // another answer came in between
    this.shown = answer.headers.get("x-version");
    if (!box) {
      this.ids = sent;
      return this.paint();
    }
    const [top, left, bottom, right] = box;
    for (let y = top; y < bottom; y += 1) ids.set(sent.subarray((y - top) * (right - left), (y - top + 1) * (right - left)), y * this.width + left);
    return bottom > top ? this.paint(box) : this.clear();
  }

  // Paint the whole mask, or the box [top, left, bottom, right] and the outlines at its edges.
  paint(box = [0, 0, this.height, this.width]) {
    const { width, height, ids } = this;
    const [top, left] = [Math.max(box[0] - 1, 0), Math.max(box[1] - 1, 0)];
    const [bottom, right] = [Math.min(box[2] + 1, height), Math.min(box[3] + 1, width)];
    const context = $("mask").getContext("2d");
    const image = context.createImageData(right - left, bottom - top);
    const pixels = new Uint32Array(image.data.buffer);
    const colour = new Uint32Array(256);
    const pack = ([r, g, b], alpha) => ((Math.round(alpha * 255) << 24) | (b << 16) | (g << 8) | r) >>> 0;
    for (let id = 1; id < 256; id += 1) colour[id] = pack(tintOf(id), id === 255 ? Math.max(this.tint, 0.3) : this.tint);
    const edge = pack(EDGE, 0.9);
    for (let y = top, to = 0; y < bottom; y += 1) {
      for (let x = left, k = y * width + left; x < right; x += 1, k += 1, to += 1) {
        const id = ids[k];
        if (!id) continue;
        const inner = x && y && x < width - 1 && y < height - 1 && ids[k - 1] === id && ids[k + 1] === id && ids[k - width] === id && ids[k + width] === id;
        pixels[to] = inner || id === 255 || !x || !y || x === width - 1 || y === height - 1 ? colour[id] : edge;
      }
    }
    context.putImageData(image, left, top);
    this.clear();
  }

  clear() {
    $("draft").getContext("2d").clearRect(0, 0, this.width, this.height);
  }

  // Show at once what the server is about to draw.
  stroke(points, reach, rgb) {
    const context = $("draft").getContext("2d");
    this.clear();
    context.globalAlpha = 0.55;
    context.strokeStyle = context.fillStyle = css(rgb);
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = 2 * reach;
    context.beginPath();
    points.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y)));
    if (points.length === 1) context.lineTo(points[0][0] + 0.01, points[0][1]);
    context.stroke();
  }

  outline(points, rgb) {
    const context = $("draft").getContext("2d");
    this.clear();
    if (!points.length) return;
    context.globalAlpha = 1;
    context.lineWidth = 2 / this.scale;
    context.strokeStyle = "#fff";
    context.beginPath();
    points.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.closePath();
    context.stroke();
    context.globalAlpha = 0.3;
    context.fillStyle = css(rgb);
    context.fill();
  }

  // Place: screen pixels in an image pixel, and where the image's corner lies in the view

  get least() {
    return Math.min(this.view.clientWidth / this.width, this.view.clientHeight / this.height) || 1;
  }

  get scale() {
    return this.least * this.place.zoom;
  }

  at(event) {
    const box = this.view.getBoundingClientRect();
    return [(event.clientX - box.left - this.place.x) / this.scale, (event.clientY - box.top - this.place.y) / this.scale];
  }

  fit() {
    this.place = { zoom: 1, x: 0, y: 0 };
    this.put();
  }

  zoom(by, clientX, clientY) {
    const box = this.view.getBoundingClientRect();
    const [x, y] = [(clientX ?? box.left + box.width / 2) - box.left, (clientY ?? box.top + box.height / 2) - box.top];
    const before = this.scale;
    this.place.zoom = Math.min(Math.max(this.place.zoom * by, 1), Math.max(NEAREST / this.least, 1));
    const change = this.scale / before;
    this.place.x = x - (x - this.place.x) * change;
    this.place.y = y - (y - this.place.y) * change;
    this.put();
  }

  move(dx, dy) {
    this.place.x += dx;
    this.place.y += dy;
    this.put();
  }

  put() {
    const keep = (at, room, size) => (size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, at)));
    this.place.x = keep(this.place.x, this.view.clientWidth, this.width * this.scale);
    this.place.y = keep(this.place.y, this.view.clientHeight, this.height * this.scale);
    $("sheet").style.transform = `translate(${this.place.x}px, ${this.place.y}px) scale(${this.scale})`;
    $("sheet").classList.toggle("near", this.scale > 3);
  }
}
