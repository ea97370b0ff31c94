// A box on the map becomes fields: drawn here, mapped by the server, shown as a layer when it is done.

import { ask, corners, loadLayers, make, address } from "./map.js";

const HEADERS = { "content-type": "application/json", "x-selion": "1" };
const SOURCE = "area";
const EVERY = 700;
const STAGES = { cut: "Cutting the image", predict: "Looking at the pixels", objects: "Finding fields", outlines: "Drawing outlines" };

async function tell(path, table) {
  const answer = await fetch(address(path), { method: "POST", headers: HEADERS, body: JSON.stringify(table) });
  const text = await answer.text();
  let told = {};
  try { told = JSON.parse(text); } catch { told = { error: text }; }
  if (!answer.ok) throw new Error(told.error || `The server answered ${answer.status}.`);
  return told;
}

export class Area {
  constructor(state, place, say) {
    Object.assign(this, { state, place, say, box: null, from: null, open: false, button: document.getElementById("map-area") });
    this.button.hidden = !state.all.mapping;
    if (!state.all.mapping) return;
    this.button.addEventListener("click", () => this.toggle());
    const map = state.maps[0];
    map.on("mousedown", (event) => this.begin(event));
    map.on("mousemove", (event) => this.from && this.take(this.from, event.lngLat));
    addEventListener("mouseup", () => this.end());
    ask("api/area").then((told) => told.state === "running" && this.follow(told)); // the page was loaded again meanwhile
  }

  async toggle(wanted = !this.open) {
    this.open = wanted;
    this.button.setAttribute("aria-expanded", String(wanted));
    this.place.hidden = !wanted;
    this.state.maps[0].getCanvas().style.cursor = wanted ? "crosshair" : "";
    if (!wanted) return this.draw(null);
    if (this.running) return;
    this.shown = await ask("api/area");
    this.panel();
    this.choice.focus();
  }

  panel() {
    const on = (key) => this.state.all.rasters.some((layer) => layer.id.startsWith(`${key}-`) && this.state.list.on[0].has(layer.id));
    this.choice = make("select", { id: "area-image" }, ...Object.entries(this.shown.images).map(([key, name]) => new Option(name, key, false, on(key))));
    const view = make("button", { type: "button", textContent: "Take what is in view" });
    view.addEventListener("click", () => {
      const bounds = this.state.maps[0].getBounds();
      this.draw([bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()]);
    });
    this.go = make("button", { type: "button", className: "main", id: "area-go", textContent: "Map this area", disabled: true });
    this.go.addEventListener("click", () => this.start());
    this.place.replaceChildren(make("h2", { textContent: "Map an area" }), make("p", { textContent: "Drag a box on the map." }), make("label", {}, make("span", { textContent: "Image" }), this.choice), make("div", { className: "buttons" }, view, this.go));
    this.draw(this.box);
  }

  begin(event) {
    if (!this.open || this.running || event.originalEvent.button) return;
    event.preventDefault(); // the map stays where it is
    this.from = event.lngLat;
  }

  take(a, b) {
    this.draw([Math.min(a.lng, b.lng), Math.min(a.lat, b.lat), Math.max(a.lng, b.lng), Math.max(a.lat, b.lat)]);
  }

  end() {
    if (!this.from) return;
    this.from = null;
    this.dragged = Date.now();
  }

  // Whether a click is the end of a drag, and chooses no field.
  get busy() {
    return this.open && Date.now() - (this.dragged || 0) < 400;
  }

  draw(box) {
    this.box = box;
    const map = this.state.maps[0];
    const [[west, south], [east, north]] = box ? corners(box) : [[0, 0], [0, 0]];
    const data = { type: "FeatureCollection", features: box ? [{ type: "Feature", properties: {}, geometry: { type: "Polygon", coordinates: [[[west, south], [east, south], [east, north], [west, north], [west, south]]] } }] : [] };
    if (map.getSource(SOURCE)) map.getSource(SOURCE).setData(data);
    else if (box) {
      map.addSource(SOURCE, { type: "geojson", data });
      map.addLayer({ id: SOURCE, type: "line", source: SOURCE, paint: { "line-color": "#ff2d95", "line-width": 3, "line-dasharray": [2, 1] } });
    }
    if (map.getLayer(SOURCE)) map.moveLayer(SOURCE);
    if (this.go) this.go.disabled = !box;
  }

  async start() {
    this.go.disabled = true;
    try {
      this.follow(await tell("api/area", { raster: this.choice.value, box: this.box }));
    } catch (problem) {
      this.say(problem.message);
      this.go.disabled = false;
    }
  }

  async follow(first) {
    this.running = true;
    this.toggle(true);
    const bar = make("progress", { max: 1 });
    const text = make("p", { role: "status" });
    const stop = make("button", { type: "button", id: "area-stop", textContent: "Stop" });
    stop.addEventListener("click", () => { stop.disabled = true; tell("api/area/stop", {}).catch((problem) => this.say(problem.message)); });
    this.place.replaceChildren(make("h2", { textContent: "Mapping" }), text, bar, make("div", { className: "buttons" }, stop));
    bar.setAttribute("aria-label", "Progress");
    for (let told = first; ; told = await ask("api/area").catch(() => ({ state: "failed", why: "The server does not answer any more." }))) {
      if (told.state !== "running") return this.finish(told);
      text.textContent = `${STAGES[told.stage] || "Beginning"} …`;
      if (told.share === null) bar.removeAttribute("value");
      else bar.value = told.share;
      await new Promise((done) => setTimeout(done, EVERY));
    }
  }

  async finish(told) {
    this.running = false;
    if (told.state === "done") await this.show(told.layer);
    else this.say(told.state === "stopped" ? "Stopped; nothing is left of it." : told.why);
    if (told.state === "done") return this.toggle(false);
    if (this.open) { this.shown = told.images ? told : this.shown; this.panel(); }
  }

  async show(id) {
    const { fields } = await loadLayers();
    const layer = fields.find((each) => each.id === id);
    if (!layer) return;
    this.state.all.fields.push(layer);
    this.state.list.add(layer);
    document.getElementById("save-fields").hidden = false;
    this.say(`${layer.rows.toLocaleString("en")} fields, in ${layer.label}.`);
  }
}
