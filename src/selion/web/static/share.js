// The view in words: the address holds it (a link that is opened again shows the same), a picture and a GeoPackage keep it.

import { address, make } from "./map.js";

const number = (text, low, high) => (text !== "" && Number.isFinite(Number(text)) && Number(text) >= low && Number(text) <= high ? Number(text) : null);
const words = (text) => text.split("*").map((part) => { try { return decodeURIComponent(part); } catch { return ""; } });

// What the address says, each part only if it is sound.
export function read(hash) {
  const said = new URLSearchParams(hash.replace(/^#/, ""));
  const [zoom, lat, lng] = (said.get("map") || "").split("/");
  const view = [number(zoom ?? "", 0, 24), number(lat ?? "", -90, 90), number(lng ?? "", -180, 180)];
  const shown = (name) => said.has(name) && new Map((said.get(name) || "").split("|").filter(Boolean).map(words).map(([id, opacity, by]) => [id, { opacity: number(opacity ?? "", 0, 100) === null ? 1 : Number(opacity) / 100, by: by || "" }]));
  const filters = (said.get("filter") || "").split("|").filter(Boolean).map(words).flatMap(([id, column, low, high]) => {
    const pair = [number(low ?? "", -1e15, 1e15), number(high ?? "", -1e15, 1e15)];
    return column && (pair[0] !== null || pair[1] !== null) ? [[id, column, pair]] : [];
  });
  const [layer, row] = (said.get("field") || "").split("/");
  return {
    view: view.every((each) => each !== null) ? view : null, left: shown("show"), right: shown("right"), swipe: number(said.get("swipe") ?? "", 0, 100), filters,
    field: layer && number(row ?? "", 0, 2 ** 53) !== null ? [layer, Number(row)] : null,
  };
}

export function write(state) {
  const map = state.maps[0];
  const { lng, lat } = map.getCenter();
  const shown = (side) => [...state.list.on[side]].map(([id, { opacity, by }]) => [id, Math.round(100 * opacity), by].map(encodeURIComponent).join("*")).join("|");
  const parts = [["map", [map.getZoom().toFixed(2), lat.toFixed(5), lng.toFixed(5)].join("/")], ["show", shown(0)]];
  if (state.swipe.open) parts.push(["right", shown(1)], ["swipe", String(Math.round(state.swipe.at))]);
  const filters = [...state.filters.of].flatMap(([id, bounds]) => Object.entries(bounds).map(([column, [low, high]]) => [id, column, low ?? "", high ?? ""].map(encodeURIComponent).join("*")));
  if (filters.length) parts.push(["filter", filters.join("|")]);
  if (state.chosen) parts.push(["field", `${state.chosen.layer.id}/${state.chosen.row}`]);
  return `#${parts.map(([name, text]) => `${name}=${text.replaceAll("%", "%25").replaceAll("&", "%26")}`).join("&")}`;
}

export const remember = (state) => history.replaceState(null, "", write(state));

function give(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// Maps as they are drawn now; WebGL keeps its picture only until the frame is over.
const drawn = (map) => new Promise((done) => {
  map.once("render", () => createImageBitmap(map.getCanvas()).then(done));
  map.triggerRepaint();
});

export async function picture(state, legend) {
  const [left, right] = [await drawn(state.maps[0]), state.maps[1] ? await drawn(state.maps[1]) : null];
  const scale = left.width / state.maps[0].getCanvas().clientWidth;
  const lines = legend();
  const canvas = make("canvas", { width: left.width, height: left.height + Math.round(scale * (lines.length ? 12 + 38 * lines.length : 0)) });
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(document.body);
  pen.fillStyle = style.backgroundColor;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(left, 0, 0);
  if (right) {
    const cut = (left.width * state.swipe.at) / 100;
    pen.drawImage(right, cut, 0, left.width - cut, left.height, cut, 0, left.width - cut, left.height);
    pen.fillStyle = style.color;
    pen.fillRect(cut - scale, 0, 2 * scale, left.height);
  }
  pen.translate(0, left.height);
  pen.scale(scale, scale);
  lines.forEach(({ title, colours, ends }, k) => {
    const top = 12 + 38 * k;
    pen.font = "13px system-ui, sans-serif";
    pen.fillStyle = style.color;
    pen.fillText(title, 12, top + 10);
    const each = 240 / colours.length;
    colours.forEach((colour, n) => { pen.fillStyle = colour; pen.fillRect(300 + each * n, top, each + 0.5, 12); });
    pen.fillStyle = style.color;
    pen.font = "11px system-ui, sans-serif";
    ends.forEach((text, n) => {
      pen.textAlign = n === 0 ? "left" : n === ends.length - 1 ? "right" : "center";
      pen.fillText(text, 300 + (240 * n) / Math.max(1, ends.length - 1), top + 26);
    });
    pen.textAlign = "left";
  });
  give(await new Promise((done) => canvas.toBlob(done, "image/png")), "selion-view.png");
}

// The fields of a layer that are in view and pass its filter.
export async function fields(state, layer) {
  const bounds = state.maps[0].getBounds();
  const box = [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()].map((side) => side.toFixed(7));
  const answer = await fetch(`${address(`save/${layer.id}`)}?where=${state.filters.where(layer)}&box=${box}`, { cache: "no-store" });
  if (!answer.ok) throw new Error(await answer.text());
  give(await answer.blob(), "selion-fields.gpkg");
}
