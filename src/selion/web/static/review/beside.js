// The map of the view page beside the field: where it lies among all others.  It is loaded when it is asked for.

export class Beside {
  constructor(place, button, say) {
    Object.assign(this, { place, button, say, item: null, map: null });
    button.onclick = () => this.toggle();
  }

  async toggle() {
    if (this.button.hidden) return;
    this.place.hidden = !this.place.hidden;
    this.button.setAttribute("aria-expanded", String(!this.place.hidden));
    if (this.place.hidden) return;
    try {
      await (this.opening ??= this.open());
    } catch (problem) {
      this.say(`The map cannot be shown: ${problem.message}`, 8);
      return;
    }
    this.map.resize();
    this.show(this.item);
  }

  async open() {
    const look = document.createElement("link");
    Object.assign(look, { rel: "stylesheet", href: "../view/maplibre-gl.css" });
    document.head.append(look);
    await new Promise((done, failed) => {
      const library = document.createElement("script");
      Object.assign(library, { src: "../view/maplibre-gl.js", onload: done, onerror: () => failed(new Error("it did not arrive.")) });
      document.head.append(library);
    });
    this.tools = await import("../../view/map.js");
    const all = await this.tools.loadLayers();
    this.map = this.tools.makeMap("map", this.item?.place || all.bounds, { controls: false, label: "Where the field lies" });
    await new Promise((done) => this.map.once("load", done));
    for (const raster of all.rasters.slice(0, 1)) this.tools.addRaster(this.map, raster, 1);
    [this.fields] = all.fields;
    if (this.fields) this.tools.addFields(this.map, this.fields, { opacity: 1 });
  }

  show(item) {
    this.item = item;
    if (!this.map?.loaded || this.place.hidden || !item?.place) return;
    const [west, south, east, north] = item.place;
    const [dx, dy] = [(east - west) * 3, (north - south) * 3];
    this.tools.flyTo(this.map, [west - dx, south - dy, east + dx, north + dy], { padding: 8 });
    if (this.fields) this.tools.choose(this.map, this.fields, item.row ?? null);
  }
}
