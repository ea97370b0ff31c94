// The map, for every page that needs one: MapLibre (a global, from a classic script) over our own tiles, and nothing from elsewhere.

const EMPTY = { type: "FeatureCollection", features: [] };
const dark = matchMedia("(prefers-color-scheme: dark)");
// Words that mean the same in every file: the colours of selion change, and the field of our own class schemes.
export const WORDS = { kept: "#7fae76", moved: "#e6ab02", split: "#7b3294", merged: "#b35806", redrawn: "#e78ac3", appeared: "#1f78b4", gone: "#d7301f", gained: "#1f78b4", lost: "#d7301f", none: "#9aa3a8", field: "#5ac85a" };
const PALETTE = ["#3f7fd0", "#f08a24", "#2fa7a0", "#d84b8a", "#8d5fd3", "#b8b84a", "#c2693c", "#5ac85a", "#9aa3a8", "#ffd500"];
const UNKNOWN = "#9aa3a8";

// Tiles are asked for relative to the page that routes them, wherever the importing page lies.
const home = new URL("./", import.meta.url);
export const address = (path) => new URL(path, home).href.replaceAll("%7B", "{").replaceAll("%7D", "}");

export async function ask(path) {
  const answer = await fetch(address(path), { cache: "no-store" });
  const table = await answer.json();
  if (!answer.ok) throw new Error(table.error || `The server answered ${answer.status}.`);
  return table;
}

export const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

// Pictures and tiles are named by the run of the server that made them, so that the browser keeps none beyond it.
let run = "";
export const stamped = (path, version = "") => `${address(path)}?v=${run}${version}`;

export async function loadLayers() {
  const all = await ask("api/layers");
  run = all.run;
  return all;
}

function ink() {
  const style = getComputedStyle(document.documentElement);
  const of = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise;
  return { ground: of("--well", dark.matches ? "#0d110e" : "#e9e6da"), line: of("--grid", dark.matches ? "#46524a" : "#b9b5a3"), accent: of("--chosen", "#ff2d95") };
}

// bounds: [west, south, east, north] in degrees.  Options: controls (default true), label.
export function makeMap(container, bounds, { controls = true, label = "Map" } = {}) {
  const colours = ink();
  const map = new maplibregl.Map({
    container, attributionControl: false, maxZoom: 23, dragRotate: false, pitchWithRotate: false, touchPitch: false, fadeDuration: 0, renderWorldCopies: false,
    bounds: corners(bounds), fitBoundsOptions: { padding: 24 },
    style: {
      version: 8,
      sources: { graticule: { type: "geojson", data: EMPTY } },
      layers: [
        { id: "ground", type: "background", paint: { "background-color": colours.ground } },
        { id: "graticule", type: "line", source: "graticule", paint: { "line-color": colours.line, "line-width": 1, "line-opacity": 0.7 } },
      ],
    },
  });
  map.touchZoomRotate.disableRotation();
  map.keyboard.disableRotation();
  map.getCanvas().setAttribute("aria-label", label);
  if (controls) {
    map.addControl(new maplibregl.NavigationControl({ showCompass: false }), "top-right");
    map.addControl(new maplibregl.ScaleControl({ maxWidth: 140 }), "bottom-left");
  }
  const draw = () => map.getSource("graticule")?.setData(graticule(map.getBounds(), map.getZoom()));
  map.on("load", draw);
  map.on("moveend", draw);
  dark.addEventListener("change", () => requestAnimationFrame(() => {
    map.setPaintProperty("ground", "background-color", ink().ground);
    map.setPaintProperty("graticule", "line-color", ink().line);
  }));
  return map;
}

// A background from elsewhere lies under all.
export function addBackground(map, { tiles }, shown) {
  if (!map.getSource("background")) {
    map.addSource("background", { type: "raster", tiles: [tiles], tileSize: 256, maxzoom: 19 });
    map.addLayer({ id: "background", type: "raster", source: "background", paint: { "raster-fade-duration": 0 } }, map.getStyle().layers[1].id); // above the ground alone
  }
  map.setLayoutProperty("background", "visibility", shown ? "visible" : "none");
}

// Mark a place that was looked for, and go there.
export function goTo(map, { lat, lon }) {
  const data = { type: "Feature", properties: {}, geometry: { type: "Point", coordinates: [lon, lat] } };
  if (map.getSource("wanted")) map.getSource("wanted").setData(data);
  else {
    map.addSource("wanted", { type: "geojson", data });
    map.addLayer({ id: "wanted", type: "circle", source: "wanted", paint: { "circle-radius": 9, "circle-color": "rgba(0,0,0,0)", "circle-stroke-color": ink().accent, "circle-stroke-width": 3 } });
  }
  map.moveLayer("wanted");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  map.easeTo({ center: [lon, lat], zoom: Math.max(map.getZoom(), 14), duration: still ? 0 : 700 });
}

export const corners = ([west, south, east, north]) => [[west, south], [east, north]];

export function flyTo(map, bounds, options = {}) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  map.fitBounds(corners(bounds), { padding: 60, maxZoom: 18, duration: still ? 0 : 700, ...options });
}

// Lines of longitude and latitude, some four across the view.
function graticule(bounds, zoom) {
  const wanted = 360 / 2 ** (zoom + 1);
  const step = [30, 15, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001].find((s) => s <= wanted) || 0.001;
  const [west, east] = [Math.max(bounds.getWest(), -180), Math.min(bounds.getEast(), 180)];
  const [south, north] = [Math.max(bounds.getSouth(), -85), Math.min(bounds.getNorth(), 85)];
  const features = [];
  const line = (a, b) => features.length < 200 && features.push({ type: "Feature", properties: {}, geometry: { type: "LineString", coordinates: [a, b] } });
  for (let x = Math.ceil(west / step) * step; x <= east; x += step) line([x, south], [x, north]);
  for (let y = Math.ceil(south / step) * step; y <= north; y += step) line([west, y], [east, y]);
  return { type: "FeatureCollection", features };
}

// A raster of api/layers.  Fields stay above imagery, whatever is added first.
export function addRaster(map, layer, opacity = 1) {
  if (map.getLayer(layer.id)) return setOpacity(map, layer, opacity);
  map.addSource(layer.id, { type: "raster", tiles: [stamped(layer.tiles)], tileSize: 512, bounds: layer.bounds, minzoom: layer.minzoom, maxzoom: Math.min(layer.maxzoom, 22) });
  const sharp = layer.kind === "ids" || layer.kind === "classes";
  const above = map.getStyle().layers.find((each) => each.metadata?.fields || (layer.kind === "colour" && each.type === "raster" && each.id !== "background" && each.metadata?.kind !== "colour"));
  map.addLayer({ id: layer.id, type: "raster", source: layer.id, metadata: { kind: layer.kind }, paint: { "raster-opacity": opacity, "raster-fade-duration": 0, "raster-resampling": sharp ? "nearest" : "linear" } }, above?.id);
}

const parts = (layer) => [`${layer.id}-cells`, `${layer.id}-fill`, `${layer.id}-line`, `${layer.id}-chosen`];

// Fields of api/layers, or any vector tiles of the same form: { id, tiles, bounds, minzoom, maxzoom, inner, colourings }.
export function addFields(map, layer, { opacity = 1, colouring = null, words = [], line = null, rule = null, tiles = stamped(layer.tiles) } = {}) {
  const [cells, fill, edge, chosen] = parts(layer);
  const metadata = { fields: true };
  const source = map.getSource(layer.id);
  if (source && source.serialize().tiles[0] !== tiles) source.setTiles([tiles]);
  if (!source) {
    map.addSource(layer.id, { type: "vector", tiles: [tiles], bounds: layer.bounds, minzoom: layer.minzoom, maxzoom: layer.maxzoom });
    map.addLayer({ id: cells, type: "fill", source: layer.id, "source-layer": layer.cells || "cells", metadata, paint: {} });
    map.addLayer({ id: fill, type: "fill", source: layer.id, "source-layer": layer.inner, metadata, paint: {} });
    map.addLayer({ id: edge, type: "line", source: layer.id, "source-layer": layer.inner, metadata, paint: {} });
    map.addLayer({ id: chosen, type: "line", source: layer.id, "source-layer": layer.inner, metadata, paint: { "line-color": ink().accent, "line-width": 3.5 }, filter: ["==", ["id"], -1] });
  }
  const colour = colouring ? expression(colouring, words) : line || "#ffd500";
  map.setPaintProperty(fill, "fill-color", colouring ? colour : "#ffd500");
  map.setPaintProperty(fill, "fill-opacity", (colouring ? 0.72 : 0.06) * opacity);
  map.setPaintProperty(edge, "line-color", colouring ? "rgba(20,28,22,0.75)" : colour);
  map.setPaintProperty(edge, "line-opacity", opacity);
  map.setPaintProperty(edge, "line-width", ["interpolate", ["linear"], ["zoom"], 9, 0.3, 12, 0.8, 16, 2]);
  for (const part of [fill, edge]) map.setFilter(part, rule);
  const afar = colouring?.kind === "numbers" ? colour : amount();
  map.setPaintProperty(cells, "fill-color", ["case", ["has", "rough"], "#7d8a80", afar]);
  map.setPaintProperty(cells, "fill-opacity", ["*", opacity, ["case", ["has", "rough"], 0.25, ["interpolate", ["linear"], ["log10", ["max", COUNT, 1]], 0, 0.35, 1, 0.6, 2, 0.85]]]);
}

const COUNT = ["coalesce", ["get", "n"], ["get", "fields"], 1];
const amount = () => ["interpolate", ["linear"], ["log10", ["max", COUNT, 1]], 0, "#3b528b", 1.5, "#21918c", 3, "#5ec962", 4.5, "#fde725"];

let ramp = ["#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"];
export const setRamp = (colours) => { ramp = colours; };

// Where on the ramp a number lies: by how the values lie, where that is known.
export function stops({ domain: [low, high], log, spread }) {
  if (spread?.stops) return ramp.map((colour, k) => [spread.stops[k], colour]);
  const at = (k) => (log ? Math.exp(Math.log(low) + (Math.log(high) - Math.log(low)) * k) : low + (high - low) * k);
  return ramp.map((colour, k) => [at(k / (ramp.length - 1)), colour]);
}

export function expression(colouring, words) {
  const value = ["get", colouring.column];
  if (colouring.kind === "words") {
    const pairs = words.flatMap((word, k) => [word, colourOf(word, k)]);
    return pairs.length ? ["match", ["coalesce", value, ""], ...pairs, UNKNOWN] : UNKNOWN;
  }
  return ["case", ["==", ["typeof", value], "number"], ["interpolate", ["linear"], ["number", value, 0], ...stops(colouring).flat()], UNKNOWN];
}

export const colourOf = (word, k) => WORDS[word.toLowerCase()] || PALETTE[k % PALETTE.length];

export function setOpacity(map, layer, opacity) {
  if (map.getLayer(layer.id)) map.setPaintProperty(layer.id, "raster-opacity", opacity);
}

export function remove(map, layer) {
  for (const id of [layer.id, ...parts(layer)]) if (map.getLayer(id)) map.removeLayer(id);
  if (map.getSource(layer.id)) map.removeSource(layer.id);
}

// Draw one field thickly; row is its id in the tiles, null for none.
export function choose(map, layer, row) {
  const [, , , chosen] = parts(layer);
  if (map.getLayer(chosen)) map.setFilter(chosen, ["==", ["id"], row ?? -1]);
}

// The field under a point of the screen, topmost layer first: { layer, row, properties } or null.
export function fieldAt(map, point, layers) {
  const ids = layers.map((layer) => parts(layer)[1]).filter((id) => map.getLayer(id));
  const hits = ids.length ? map.queryRenderedFeatures([[point.x - 2, point.y - 2], [point.x + 2, point.y + 2]], { layers: ids }) : [];
  const exact = ids.length ? map.queryRenderedFeatures(point, { layers: ids }) : [];
  const hit = exact[0] || hits[0];
  return hit ? { layer: layers.find((layer) => layer.id === hit.source), row: hit.id, properties: hit.properties } : null;
}

// A photograph, flat: layers is a list of { id, url, opacity } from the lowest up.
export function addPicture(map, bounds, layers) {
  const [west, south, east, north] = bounds;
  for (const { id, url, opacity } of layers) {
    map.addSource(id, { type: "image", url: stamped(url), coordinates: [[west, north], [east, north], [east, south], [west, south]] });
    map.addLayer({ id, type: "raster", source: id, paint: { "raster-opacity": opacity, "raster-fade-duration": 0 } });
  }
}

export function removePicture(map, ids) {
  for (const id of ids) {
    if (map.getLayer(id)) map.removeLayer(id);
    if (map.getSource(id)) map.removeSource(id);
  }
}
