// Photographs of the close-range side: a grid of all, in an order, or two runs side by side; and one of them flat on the map with its mask and traits.

import { addPicture, ask, flyTo, make, removePicture, stamped } from "./map.js";
import { beside, showPhoto } from "./panels.js";

const LAYERS = [["photo", "Photograph", 1], ["shade", "What is no crop, darker", 0.45], ["outline", "Outline of the mask", 1], ["difference", "Missed (pink), too much (cyan)", 0.85], ["truth", "Outline of the truth (white)", 0]];
const COMPARED = ["difference", "truth"];
const ORDERS = { doubt: "doubtful first", cover: "largest cover first", name: "by name" };
const WORST = { worst: "worst against the truth first" };
const percent = (value) => `${(100 * value).toFixed(1)} %`;

export class Photos {
  constructor(state, place, controls) {
    this.state = state;
    this.place = place;
    this.controls = controls;
    this.ids = [];
    this.begun = false;
    this.flat = document.getElementById("stage").classList.contains("flat");
    this.opacity = new Map(LAYERS.map(([kind, , value]) => [kind, value]));
    this.albums = state.all.albums;
    this.measured = this.albums.filter((album) => album.measured);
    this.pair = ["", ""];
    this.truth = this.albums.some((album) => album.truth);
    this.order = this.truth ? "worst" : this.measured.length ? "doubt" : "name";
  }

  async begin() {
    if (this.begun) return;
    this.begun = true;
    this.tools();
    await this.fill();
  }

  // Over the whole stage, or a list beside it.
  spread(wide) {
    const panel = this.place.parentElement;
    panel.classList.toggle("wide", wide);
    document.getElementById("wide").setAttribute("aria-pressed", String(wide));
    for (const map of this.state.maps) map.resize();
  }

  tools() {
    const wide = make("button", { id: "wide", type: "button", textContent: "Grid" });
    wide.setAttribute("aria-pressed", String(this.place.parentElement.classList.contains("wide")));
    wide.addEventListener("click", () => this.spread(!this.place.parentElement.classList.contains("wide")));
    const tools = [wide];
    if (this.measured.length) tools.push(this.orders());
    if (this.measured.length > 1) tools.push(this.choice(0, "Run"), this.choice(1, "beside"));
    document.getElementById("photo-tools").replaceChildren(...tools);
  }

  orders() {
    const chosen = make("select", { id: "photo-order" }, ...Object.entries(this.truth ? { ...WORST, ...ORDERS } : ORDERS).map(([value, text]) => new Option(text, value, false, value === this.order)));
    if (this.measured.length > 1) chosen.append(new Option("runs differ most first", "difference"));
    chosen.addEventListener("change", () => { this.order = chosen.value; this.fill(); });
    return make("label", {}, make("span", { textContent: "Order" }), chosen);
  }

  choice(side, text) {
    const none = new Option(side ? "none" : "all", "");
    const chosen = make("select", { id: `photo-run-${side}` }, none, ...this.measured.map((album) => new Option(album.label, album.id)));
    chosen.addEventListener("change", () => {
      this.pair[side] = chosen.value;
      const both = this.pair[0] && this.pair[1] && this.pair[0] !== this.pair[1];
      if (side && both) document.getElementById("photo-order").value = this.order = "difference";
      this.fill();
    });
    return make("label", {}, make("span", { textContent: text }), chosen);
  }

  // Two runs side by side, one of them, or all albums one after another.
  async fill() {
    const asked = this.asked = Symbol("asked");
    const current = () => asked === this.asked;
    const [one, other] = this.pair.map((id) => this.albums.find((album) => album.id === id));
    const order = this.order === "difference" && !(one && other && one !== other) ? (this.truth ? "worst" : "doubt") : this.order;
    this.place.replaceChildren();
    if (one && other && one !== other) return this.couples(one, other, order, 0, current);
    for (const album of one ? [one] : other ? [other] : this.albums) {
      if (!one && !other && this.albums.length > 1) this.place.append(make("h2", { textContent: album.label }));
      await this.more(album, order === "worst" && !album.truth ? "name" : album.measured ? order : "name", 0, current);
    }
  }

  async more(album, order, after, current) {
    const { photos, count, compared } = await ask(`api/photos/${album.id}?after=${after}&order=${order}`);
    if (!current()) return;
    if (order === "worst" && compared[0] < compared[1]) this.wait(album, compared, current);
    const rest = this.rest(count - after - photos.length, photos.length, () => this.more(album, order, after + photos.length, current));
    const shots = photos.map((photo) => this.shot(album, photo));
    if (this.next) this.next.replaceWith(...shots, ...rest);
    else this.place.append(...shots, ...rest);
    this.next = null;
  }

  // Until all are compared with their truth; then they stand in order.
  async wait(album, [done, of], current) {
    const note = make("p", { className: "soft whole", role: "status", textContent: `${done.toLocaleString("en")} of ${of.toLocaleString("en")} are compared with their truth.` });
    this.place.prepend(note);
    while (done < of) {
      await new Promise((over) => setTimeout(over, 1000));
      if (!current()) return note.remove();
      [done, of] = (await ask(`api/photos/${album.id}?after=${2 ** 50}`)).compared;
      note.textContent = `${done.toLocaleString("en")} of ${of.toLocaleString("en")} are compared with their truth.`;
    }
    this.fill();
  }

  async couples(one, other, order, after, current) {
    const { pairs, count, alone } = await ask(`api/pairs/${one.id}/${other.id}?after=${after}&order=${order}`);
    if (!current()) return;
    const lost = alone[0] + alone[1];
    const note = after || (count && !lost) ? [] : [make("p", { className: "soft whole", textContent: count ? `${lost.toLocaleString("en")} photographs are in one of the runs only.` : "The two runs have no photograph in common." })];
    const rest = this.rest(count - after - pairs.length, pairs.length, () => this.couples(one, other, order, after + pairs.length, current));
    const drawn = pairs.map((pair) => {
      const apart = pair.difference === null ? "one of them has no cover" : `cover differs by ${(100 * pair.difference).toFixed(1)} points`;
      return make("div", { className: "couple", role: "group", ariaLabel: pair.one.name }, make("p", {}, make("strong", { textContent: pair.one.name }), ` ${apart}`), this.shot(one, pair.one, one.label), this.shot(other, pair.other, other.label));
    });
    if (this.next) this.next.replaceWith(...note, ...drawn, ...rest);
    else this.place.append(...note, ...drawn, ...rest);
    this.next = null;
  }

  // A button for what is not shown yet.
  rest(left, got, load) {
    if (left <= 0 || !got) return [];
    const button = make("button", { type: "button", className: "whole", textContent: `${left.toLocaleString("en")} more` });
    button.addEventListener("click", () => { this.next = button; load(); });
    return [button];
  }

  shot(album, photo, named = photo.name) {
    const band = photo.cover_low && photo.cover_high ? ` (${Math.round(100 * photo.cover_low)} to ${Math.round(100 * photo.cover_high)} %)` : "";
    const against = !photo.truth ? "" : photo.score === null ? "no score" : `IoU ${photo.score.toFixed(3)}`;
    const traits = [against, photo.cover && `cover ${percent(photo.cover)}${band}`, photo.time].filter(Boolean).join(" · ");
    const text = make("span", {}, named, make("br"), make("span", { className: "soft", textContent: traits }));
    if (photo.trust === "no") text.append(make("br"), make("span", { className: "doubted", textContent: photo.reasons || "look at it" }));
    const image = make("img", { src: stamped(`photo/${album.id}/${photo.index}/${photo.truth && this.order === "worst" ? "compared" : "tile"}`), alt: "", loading: "lazy" });
    const button = make("button", { type: "button", className: "shot" }, image, text);
    button.addEventListener("click", () => { this.spread(false); this.aside(); this.show(album, photo.index); });
    return button;
  }

  async show(album, index) {
    const about = await ask(`api/photo/${album.id}/${index}`);
    const map = this.state.maps[0];
    this.leave();
    const layers = LAYERS.filter(([kind]) => kind === "photo" || (COMPARED.includes(kind) ? about.truth : about.mask));
    this.ids = layers.map(([kind]) => `photo-${kind}`);
    addPicture(map, about.bounds, layers.map(([kind], k) => ({ id: this.ids[k], url: `photo/${album.id}/${index}/${kind}`, opacity: this.opacity.get(kind) })));
    this.controls.replaceChildren(...layers.map(([kind, label]) => this.slider(kind, label)));
    if (about.truth) about.columns = { "IoU of the crop": about.score ?? "no score", ...about.columns };
    const note = about.bare ? {} : { note: "shown is the overlay: name the folder of the photographs too" };
    document.getElementById("stage").classList.add("flat"); // metres mean nothing there
    showPhoto({ ...about, columns: { ...note, ...about.columns } });
    flyTo(map, about.bounds, { maxZoom: 23, padding: beside(30), duration: 0 });
  }

  // On a phone the list would lie over the photograph that was chosen.
  aside() {
    const small = matchMedia("(max-width: 720px)").matches;
    this.place.parentElement.hidden = small;
    document.getElementById("show-photos").setAttribute("aria-expanded", String(!small));
    for (const map of this.state.maps) map.resize();
  }

  slider(kind, label) {
    const row = document.createElement("label");
    const range = Object.assign(document.createElement("input"), { type: "range", min: 0, max: 100, value: 100 * this.opacity.get(kind), id: `photo-opacity-${kind}` });
    range.addEventListener("input", () => {
      this.opacity.set(kind, range.value / 100);
      const map = this.state.maps[0];
      if (map.getLayer(`photo-${kind}`)) map.setPaintProperty(`photo-${kind}`, "raster-opacity", range.value / 100);
    });
    row.append(range, label);
    const line = document.createElement("div");
    line.append(row);
    return line;
  }

  leave() {
    removePicture(this.state.maps[0], this.ids);
    this.ids = [];
    document.getElementById("stage").classList.toggle("flat", this.flat);
    this.controls.replaceChildren();
  }
}
