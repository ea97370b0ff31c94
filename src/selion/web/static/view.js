// The page: one map or two, a list of layers, a search, the record of what was clicked.

import { ask, choose, fieldAt, flyTo, goTo, loadLayers, make, makeMap, setRamp, stamped } from "./map.js";
import { Area } from "./area.js";
import { Filters } from "./filter.js";
import { LayerList } from "./list.js";
import { beside, closeRecord, showField, showProblems } from "./panels.js";
import { Photos } from "./photos.js";
import * as share from "./share.js";
import { Swipe } from "./swipe.js";

const $ = (id) => document.getElementById(id);
const small = () => matchMedia("(max-width: 720px)").matches;
const state = { all: null, maps: [], list: null, swipe: null, photos: null, filters: null, area: null, chosen: null };

async function begin() {
  state.all = await loadLayers();
  setRamp(state.all.ramp);
  const left = makeMap("left", state.all.bounds, { label: "Map: arrow keys move it, plus and minus zoom, Enter chooses what lies under the cross" });
  state.maps = [left];
  left.on("error", async (event) => say(event.sourceId === "background" ? `The background from ${state.all.background.host} does not answer.` : (await event.error?.body?.text?.()) || event.error?.message || "A tile could not be read."));
  state.swipe = new Swipe($("stage"), $("handle"), () => makeMap("right", state.all.bounds, { controls: false, label: "Right map" }), state.maps, onRight, () => state.list.alone());
  state.filters = new Filters((layer) => { state.list.repaint(layer); keep(); });
  state.list = new LayerList(state, $("layers"), $("legend"));
  $("stage").classList.toggle("flat", [...state.all.rasters, ...state.all.fields].every((layer) => layer.flat));
  state.photos = new Photos(state, $("album"), $("picture-layers"));
  state.area = new Area(state, $("area"), say);
  showProblems(state.all.problems);
  $("show-photos").hidden = !state.all.albums.length;
  if (small()) toggle("side", "show-layers", false);
  watch(left);
  const told = share.read(location.hash);
  recall(told);
  $("save-fields").hidden = !state.all.fields.some((layer) => layer.records);
  left.once("load", () => {
    state.list.begin();
    again(told);
    if (!state.all.rasters.length && !state.all.fields.length) {
      $("photos").classList.add("wide");
      toggle("side", "show-layers", false);
      open("photos", "show-photos");
    }
    left.once("idle", ready);
    if (state.all.background) setTimeout(ready, 4000); // one from elsewhere is not waited for
  });
  follow();
}

// Take what the address says before anything is drawn ...
function recall(told) {
  if (told.view) state.maps[0].jumpTo({ zoom: told.view[0], center: [told.view[2], told.view[1]] });
  if (told.left) state.list.recall(0, told.left);
  if (told.right) state.list.recall(1, told.right);
  for (const [id, column, pair] of told.filters) {
    const layer = state.all.fields.find((each) => each.id === id && each.records && each.colourings.some((one) => one.column === column && one.kind === "numbers"));
    if (layer) state.filters.of.set(id, { ...state.filters.bounds(layer), [column]: pair });
  }
}

// ... and open what it says that was open.
async function again(told) {
  if (told.swipe !== null) {
    state.swipe.toggle();
    state.swipe.set(told.swipe);
  }
  const layer = told.field && state.all.fields.find((each) => each.id === told.field[0] && each.records);
  if (layer) await ask(`api/record/${layer.id}/${told.field[1]}`).then((record) => show(layer, told.field[1], record), (problem) => say(problem.message));
}

// The address follows the view.
function keep() {
  clearTimeout(keep.later);
  keep.later = setTimeout(() => share.remember(state), 200);
}

async function saveFields() {
  const layer = state.all.fields.find((each) => each.records && state.list.on[0].has(each.id));
  if (!layer) return say("Show a table of fields first.");
  say("Writing the fields in view ...");
  await share.fields(state, layer).then(() => say("The fields in view are saved as selion-fields.gpkg."), (problem) => say(problem.message));
}

async function copyLink() {
  share.remember(state);
  await navigator.clipboard.writeText(location.href).then(() => say("The link to this view is copied; it works on this machine while selion view runs."), () => say("The address of this page is the link to this view."));
}

function ready() {
  if (document.body.dataset.ready) return;
  document.body.dataset.ready = "1";
  performance.mark("first-map");
}

function say(text) {
  $("state").textContent = text;
  clearTimeout(say.later);
  if (text) say.later = setTimeout(() => { $("state").textContent = ""; }, 6000);
}

function onRight(map) {
  state.maps[1] = map;
  watch(map);
  map.once("load", () => { state.list.mirror(); keep(); });
}

function watch(map) {
  map.on("click", (event) => pick(map, event.point));
  map.on("moveend", keep);
  map.on("idle", () => { state.list.learn(map); document.body.dataset.idle = String(Number(document.body.dataset.idle || 0) + 1); });
  const canvas = map.getCanvas();
  canvas.addEventListener("focus", () => $("stage").classList.toggle("keyed", canvas.matches(":focus-visible")));
  canvas.addEventListener("blur", () => $("stage").classList.remove("keyed"));
  canvas.addEventListener("keydown", (event) => {
    $("stage").classList.add("keyed");
    if (event.key === "Enter") pick(map, map.project(map.getCenter()));
  });
}

async function pick(map, point) {
  if (state.area.busy) return;
  const found = fieldAt(map, point, state.all.fields);
  if (!found) return forget();
  if (!found.layer.records) return show(found.layer, found.row, { columns: found.properties });
  try {
    show(found.layer, found.row, await ask(`api/record/${found.layer.id}/${found.row}`));
  } catch (problem) {
    say(problem.message);
  }
}

function show(layer, row, record) {
  forget();
  state.chosen = { layer, row };
  for (const map of state.maps) choose(map, layer, row);
  showField(layer, record, layer.records ? dates(layer, row, record.bounds) : []);
  keep();
}

// The field in true colour at each date, of what covers it.
function dates(layer, row, bounds) {
  if (!bounds) return [];
  const [west, south, east, north] = bounds;
  const near = state.all.rasters.filter((each) => each.kind === "colour" && !each.flat && each.bounds[0] < east && each.bounds[2] > west && each.bounds[1] < north && each.bounds[3] > south);
  const natural = near.filter((each) => each.label.startsWith("True colour"));
  return (natural.length ? natural : near).slice(0, 4).map((each) => {
    const [, key, rendering] = each.tiles.split("/");
    return { url: stamped(`chip/${layer.id}/${row}/${key}/${rendering}`), label: each.label.split(" · ")[1] || each.group.split("/").pop() };
  });
}

function forget() {
  if (state.chosen) for (const map of state.maps) choose(map, state.chosen.layer, null);
  state.chosen = null;
  state.photos.leave();
  closeRecord();
  keep();
}

function travel(place) {
  offer([]);
  goTo(state.maps[0], place);
  say(place.name);
}

// Several places of that name: one is chosen.
function offer(places) {
  $("found").hidden = !places.length;
  $("found").replaceChildren(...places.map((place) => {
    const button = make("button", { type: "button" }, make("span", { textContent: place.name }), make("span", { className: "soft", textContent: ` ${place.lat.toFixed(3)}, ${place.lon.toFixed(3)}` }));
    button.addEventListener("click", () => travel(place));
    return make("li", {}, button);
  }));
  if (places.length) say(`${places.length} places.`);
}

async function search(event) {
  event.preventDefault();
  const wanted = $("wanted").value.trim();
  if (!wanted) return;
  say("Searching ...");
  offer([]);
  try {
    const { places } = await ask(`api/place?wanted=${encodeURIComponent(wanted)}`);
    if (places.length === 1) return travel(places[0]);
    if (places.length) return offer(places);
    for (const layer of state.all.fields.filter((each) => each.records)) {
      const found = await ask(`api/find/${layer.id}?id=${encodeURIComponent(wanted)}`);
      if (found.row === null) continue;
      state.list.show(layer);
      show(layer, found.row, found);
      if (found.bounds) flyTo(state.maps[0], found.bounds, { padding: beside(small() ? 40 : 140), maxZoom: 17 });
      return say("");
    }
    say(`There is no field with the id ${wanted}${state.all.names ? " and no place of that name" : ""}; coordinates are latitude, longitude.`);
  } catch (problem) {
    say(problem.message);
  }
}

// While an overview is gathered, its tiles are asked for again as it grows.
async function follow() {
  let waiting = state.all.fields.filter((layer) => !layer.ready);
  while (waiting.length) {
    await new Promise((done) => setTimeout(done, 1200));
    const told = await ask("api/state").catch(() => ({}));
    for (const layer of waiting) {
      const now = told[layer.id];
      if (!now || !state.filters.grow(layer, now)) continue;
      say(now.failed || (now.ready ? "" : `${layer.label}: the overview holds ${Math.round((100 * now.done) / now.of)} % of the fields so far.`));
    }
    waiting = waiting.filter((layer) => !told[layer.id]?.ready && !told[layer.id]?.failed);
  }
}

function toggle(panel, button, wanted) {
  const open = wanted ?? $(panel).hidden;
  $(panel).hidden = !open;
  $(button).setAttribute("aria-expanded", String(open));
  for (const map of state.maps) map.resize();
  return open;
}

function open(panel, button) {
  const opened = toggle(panel, button);
  if (opened && small()) forget();
  if (opened && small()) for (const [other, its] of [["side", "show-layers"], ["photos", "show-photos"]]) if (other !== panel) toggle(other, its, false);
  if (opened && panel === "photos") state.photos.begin();
  if (opened) [...$(panel).querySelectorAll("input, select, button")].find((each) => each.offsetParent)?.focus();
}

const KEYS = {
  "/": () => $("wanted").select(),
  l: () => open("side", "show-layers"),
  p: () => state.all.albums.length && open("photos", "show-photos"),
  c: () => { state.swipe.toggle(); keep(); },
  "[": () => { state.swipe.move(-5); keep(); },
  "]": () => { state.swipe.move(5); keep(); },
  o: () => state.list.other(),
  f: () => flyTo(state.maps[0], state.all.bounds, { padding: 24 }),
  m: () => state.maps[0].getCanvas().focus(),
  "?": () => $("keys").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    if (!$("found").hidden) return offer([]);
    return forget();
  }
  if (event.ctrlKey || event.metaKey || event.altKey || !state.all || $("keys").open) return;
  if (event.target.matches("input[type=search], input[type=number], select")) return;
  if (/^[1-9]$/.test(event.key)) return state.list.number(Number(event.key));
  const act = KEYS[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});

$("search").addEventListener("submit", search);
$("show-layers").addEventListener("click", () => open("side", "show-layers"));
$("show-photos").addEventListener("click", () => open("photos", "show-photos"));
$("compare").addEventListener("click", KEYS.c);
$("fit").addEventListener("click", KEYS.f);
$("help").addEventListener("click", KEYS["?"]);
$("save-picture").addEventListener("click", () => share.picture(state, () => state.list.told()).catch((problem) => say(problem.message)));
$("save-fields").addEventListener("click", saveFields);
$("copy-link").addEventListener("click", copyLink);
$("side").addEventListener("change", keep);
$("close").addEventListener("click", () => { forget(); state.maps[0].getCanvas().focus(); });
begin().catch((problem) => say(`The page could not be opened: ${problem.message}`));
export { state };
