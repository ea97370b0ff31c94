// Photographs of the close-range side: a list, and one of them flat on the map with its mask and traits.

import { addPicture, ask, flyTo, removePicture, stamped } from "./map.js";
import { showPhoto } from "./panels.js";

const LAYERS = [["photo", "Photograph", 1], ["shade", "What is no crop, darker", 0.45], ["outline", "Outline of the mask", 1]];

export class Photos {
  constructor(state, place, controls) {
    this.state = state;
    this.place = place;
    this.controls = controls;
    this.ids = [];
    this.begun = false;
    this.flat = document.getElementById("stage").classList.contains("flat");
    this.opacity = new Map(LAYERS.map(([kind, , value]) => [kind, value]));
  }

  async begin() {
    if (this.begun) return;
    this.begun = true;
    for (const album of this.state.all.albums) await this.more(album, 0);
  }

  async more(album, after) {
    const { photos, count } = await ask(`api/photos/${album.id}?after=${after}`);
    this.place.append(...photos.map((photo) => this.shot(album, photo)));
    const next = after + photos.length;
    if (next >= count || !photos.length) return;
    const button = Object.assign(document.createElement("button"), { textContent: `${(count - next).toLocaleString("en")} more` });
    button.addEventListener("click", async () => { button.remove(); await this.more(album, next); });
    this.place.append(button);
  }

  shot(album, photo) {
    const button = Object.assign(document.createElement("button"), { className: "shot" });
    const image = Object.assign(document.createElement("img"), { src: stamped(`photo/${album.id}/${photo.index}/thumb`), alt: "", loading: "lazy" });
    const traits = [photo.cover && `cover ${(100 * photo.cover).toFixed(1)} %`, photo.trust === "no" && "look at it", photo.time].filter(Boolean).join(" · ");
    const text = document.createElement("span");
    text.append(photo.name, document.createElement("br"), Object.assign(document.createElement("span"), { className: "soft", textContent: traits }));
    button.append(image, text);
    button.addEventListener("click", () => this.show(album, photo.index));
    return button;
  }

  async show(album, index) {
    const about = await ask(`api/photo/${album.id}/${index}`);
    const map = this.state.maps[0];
    this.leave();
    const layers = LAYERS.filter(([kind]) => kind === "photo" || about.mask);
    this.ids = layers.map(([kind]) => `photo-${kind}`);
    addPicture(map, about.bounds, layers.map(([kind], k) => ({ id: this.ids[k], url: `photo/${album.id}/${index}/${kind}`, opacity: this.opacity.get(kind) })));
    this.controls.replaceChildren(...layers.map(([kind, label]) => this.slider(kind, label)));
    const note = about.bare ? {} : { note: "shown is the overlay: name the folder of the photographs too" };
    document.getElementById("stage").classList.add("flat"); // metres mean nothing there
    showPhoto({ ...about, columns: { ...note, ...about.columns } });
    flyTo(map, about.bounds, { maxZoom: 23, padding: 30, duration: 0 });
  }

  slider(kind, label) {
    const row = document.createElement("label");
    const range = Object.assign(document.createElement("input"), { type: "range", min: 0, max: 100, value: 100 * this.opacity.get(kind), id: `photo-opacity-${kind}` });
    range.addEventListener("input", () => {
      this.opacity.set(kind, range.value / 100);
      const map = this.state.maps[0];
      if (map.getLayer(`photo-${kind}`)) map.setPaintProperty(`photo-${kind}`, "raster-opacity", range.value / 100);
    });
    row.append(range, ` ${label}`);
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
