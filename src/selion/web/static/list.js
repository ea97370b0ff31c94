// The list of layers, for the left map or the right one, and the legend of what is on.

import { addBackground, addFields, addRaster, ask, colourOf, make, remove, setOpacity, stops } from "./map.js";

// What a layer is coloured by wherever nobody says: fields by their confidence.
const usual = (layer) => (layer.colourings?.some((each) => each.column === "confidence") ? "confidence" : "");

export class LayerList {
  constructor(state, place, legend) {
    this.state = state;
    this.place = place;
    this.legend = legend;
    this.side = 0;
    this.on = [new Map(), new Map()]; // by side: id of a layer -> { opacity, by }
    this.words = new Map(); // "layer column" -> words
    this.under = true; // whether the background is shown
    this.entries = [...state.all.fields, ...state.all.rasters];
    for (const radio of document.getElementsByName("side")) radio.addEventListener("change", () => this.turn(Number(radio.value)));
  }

  // What an address says is taken where there are such layers.
  recall(side, shown) {
    for (const [id, how] of shown) {
      const layer = this.entries.find((each) => each.id === id);
      if (layer) this.on[side].set(id, { ...how, by: layer.colourings?.some((each) => each.column === how.by) ? how.by : "" });
    }
    this.on[side].known = true;
  }

  begin() {
    if (this.on[0].known) {
      this.apply();
      return this.draw();
    }
    const first = this.state.all.rasters.find((layer) => layer.kind === "colour" && !layer.flat) || this.state.all.rasters[0];
    const fields = this.state.all.fields.find((layer) => !/truth/i.test(layer.label)) || this.state.all.fields[0];
    for (const layer of [first, fields]) if (layer) this.on[0].set(layer.id, { opacity: 1, by: usual(layer) });
    this.apply();
    this.draw();
  }

  // A second map begins as the first, with the other season where there is one.
  mirror() {
    if (!this.on[1].size && !this.on[1].known) {
      this.on[1] = new Map([...this.on[0]].map(([id, value]) => [id, { ...value }]));
      const shown = this.state.all.rasters.find((layer) => this.on[1].has(layer.id));
      const others = this.state.all.rasters.filter((layer) => layer.kind === "colour" && layer !== shown);
      const other = others.find((layer) => layer.label.split(" · ")[0] === shown?.label.split(" · ")[0]) || others[0];
      if (shown && other) {
        this.on[1].delete(shown.id);
        this.on[1].set(other.id, { opacity: 1, by: "" });
      }
      this.swap();
      this.dates = Boolean(shown && other);
    }
    if (this.on[1].known) this.before = new Map(this.state.all.fields.map((layer) => [layer.id, usual(layer)])); // as a link says
    else if (this.dates) this.outlines(); // two dates are compared: they are seen through the fields
    this.apply(1);
    this.turn(1);
  }

  outlines() {
    this.before = new Map();
    for (const side of [0, 1]) for (const layer of this.state.all.fields) {
      const how = this.on[side].get(layer.id);
      if (how && side === 0) this.before.set(layer.id, how.by);
      if (how) how.by = "";
    }
    this.apply(0);
  }

  // One map again: fields are coloured as they were, where nobody said otherwise meanwhile.
  alone() {
    for (const [id, by] of this.before || []) {
      const how = this.on[0].get(id);
      if (how && !how.by) how.by = by;
    }
    this.before = null;
    this.apply(0);
    this.draw();
  }

  // Two years or two models: the right map shows the other table of the same name.
  swap() {
    const name = (layer) => layer.label.split("/").pop();
    const shown = this.state.all.fields.find((layer) => this.on[1].has(layer.id));
    const other = shown && this.state.all.fields.find((layer) => layer !== shown && name(layer) === name(shown));
    if (!other) return;
    this.on[1].set(other.id, this.on[1].get(shown.id));
    this.on[1].delete(shown.id);
  }

  turn(side) {
    this.side = this.state.maps[side] && !document.getElementById("sides").hidden ? side : 0;
    for (const radio of document.getElementsByName("side")) radio.checked = Number(radio.value) === this.side;
    this.draw();
  }

  other() {
    this.turn(1 - this.side);
  }

  number(k) {
    const layer = this.entries[k - 1];
    if (layer) this.switch(layer, !this.on[this.side].has(layer.id));
  }

  // One that was made since; coloured by confidence as the first.
  add(layer) {
    this.entries = [layer, ...this.entries];
    this.on[this.side].set(layer.id, { opacity: 1, by: usual(layer) });
    this.apply(this.side);
    this.draw();
  }

  show(layer) {
    if (!this.on[this.side].has(layer.id)) this.switch(layer, true);
  }

  switch(layer, wanted) {
    if (wanted) this.on[this.side].set(layer.id, { opacity: 1, by: this.before ? "" : usual(layer) });
    else this.on[this.side].delete(layer.id);
    this.apply(this.side);
    this.draw();
  }

  apply(side = 0) {
    const map = this.state.maps[side];
    if (!map) return; // closed before it was there
    if (this.state.all.background) addBackground(map, this.state.all.background, this.under);
    for (const layer of this.entries) {
      const how = this.on[side].get(layer.id);
      if (!how) remove(map, layer);
      else if (layer.kind === "fields") this.paint(map, layer, how);
      else addRaster(map, layer, how.opacity);
    }
  }

  async paint(map, layer, how) {
    const colouring = layer.colourings.find((each) => each.column === how.by) || null;
    const known = this.words.get(`${layer.id} ${how.by}`);
    addFields(map, layer, { opacity: how.opacity, colouring, words: known || [], line: LINES[this.state.all.fields.indexOf(layer) % LINES.length], rule: this.state.filters.rule(layer), tiles: this.state.filters.tiles(layer) });
    if (colouring?.kind === "numbers" && layer.records && !colouring.spread) {
      colouring.spread = {};
      colouring.spread = await ask(`api/spread/${layer.id}?column=${encodeURIComponent(how.by)}`).catch(() => ({}));
      this.repaint(layer);
      return this.explain();
    }
    if (colouring?.kind !== "words" || known) return;
    const told = layer.records ? await ask(`api/values/${layer.id}?column=${encodeURIComponent(how.by)}`).catch(() => ({ values: [] })) : { values: here(map, layer, how.by) };
    this.words.set(`${layer.id} ${how.by}`, told.values);
    if (this.state.maps.includes(map)) this.paint(map, layer, how);
    this.explain();
  }

  // A PMTiles file says its words as they come into view: new ones get the colours that are left.
  learn(map) {
    for (const layer of this.state.all.fields.filter((each) => !each.records)) {
      const by = this.on[this.state.maps.indexOf(map)]?.get(layer.id)?.by;
      const known = by && this.words.get(`${layer.id} ${by}`);
      const fresh = known && known.length < MOST_WORDS ? here(map, layer, by).filter((word) => !known.includes(word)) : [];
      if (!fresh.length) continue;
      this.words.set(`${layer.id} ${by}`, [...known, ...fresh].slice(0, MOST_WORDS));
      this.repaint(layer);
      this.explain();
    }
  }

  repaint(layer) {
    this.state.maps.forEach((map, side) => {
      const how = this.on[side].get(layer.id);
      if (how && layer.kind === "fields") this.paint(map, layer, how);
    });
  }

  draw() {
    const groups = new Map();
    for (const layer of this.entries) {
      const name = layer.kind === "fields" ? "Fields" : layer.group;
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(layer);
    }
    const focused = document.activeElement?.id;
    this.place.replaceChildren(...[...groups].map(([name, layers]) => make("fieldset", {}, make("legend", { textContent: name }), ...layers.map((layer) => this.row(layer)))), ...this.background());
    if (focused) document.getElementById(focused)?.focus();
    this.explain();
  }

  background() {
    const { background } = this.state.all;
    if (!background) return [];
    const box = make("input", { type: "checkbox", id: "on-background", checked: this.under });
    box.addEventListener("change", () => {
      this.under = box.checked;
      this.state.maps.forEach((_, side) => this.apply(side));
    });
    return [make("fieldset", {}, make("legend", { textContent: "Background, from elsewhere" }), make("div", { className: "layer" }, make("label", {}, box, make("span", { textContent: background.host }))))];
  }

  row(layer) {
    const how = this.on[this.side].get(layer.id);
    const box = make("input", { type: "checkbox", id: `on-${layer.id}`, checked: Boolean(how) });
    box.addEventListener("change", () => this.switch(layer, box.checked));
    const count = layer.rows ? make("span", { className: "soft", textContent: layer.rows.toLocaleString("en") }) : "";
    const at = this.entries.indexOf(layer) + 1;
    const row = make("div", { className: "layer" }, make("label", {}, box, make("span", { textContent: layer.label }), count, at < 10 ? make("kbd", { textContent: String(at), ariaHidden: "true" }) : ""));
    if (how) row.append(this.more(layer, how));
    return row;
  }

  more(layer, how) {
    const range = make("input", { type: "range", id: `opacity-${layer.id}`, min: 0, max: 100, value: Math.round(how.opacity * 100), ariaLabel: `Opacity of ${layer.label}` });
    range.addEventListener("input", () => {
      how.opacity = range.value / 100;
      if (layer.kind === "fields") this.paint(this.state.maps[this.side], layer, how);
      else setOpacity(this.state.maps[this.side], layer, how.opacity);
    });
    const more = make("div", { className: "more" }, range);
    if (layer.kind === "fields") more.append(this.colours(layer, how));
    const filter = layer.records && this.state.filters.controls(layer);
    if (filter) more.append(filter);
    return more;
  }

  colours(layer, how) {
    const chosen = make("select", { id: `by-${layer.id}`, ariaLabel: `Colour of ${layer.label}` });
    chosen.append(new Option("outlines", ""), ...layer.colourings.map((each) => new Option(`by ${each.label}`, each.column)));
    chosen.value = how.by;
    chosen.addEventListener("change", () => {
      how.by = chosen.value;
      this.paint(this.state.maps[this.side], layer, how);
      this.explain();
    });
    return chosen;
  }

  explain() {
    const shown = this.entries.filter((layer) => this.on[this.side].has(layer.id)).flatMap((layer) => this.lines(layer));
    this.legend.hidden = !shown.length;
    this.legend.replaceChildren(...(shown.length ? [make("h2", { textContent: "Legend" }), ...shown] : []));
  }

  // For a picture: titles, colours and numbers of what is coloured.
  told() {
    return this.entries.filter((layer) => this.on[0].has(layer.id)).flatMap((layer) => {
      const colouring = layer.colourings?.find((each) => each.column === this.on[0].get(layer.id).by);
      return colouring?.kind === "numbers" ? [{ title: `${layer.label}, ${colouring.label}`.slice(-44), colours: shades(colouring), ends: labels(colouring) }] : [];
    });
  }

  lines(layer) {
    const how = this.on[this.side].get(layer.id);
    if (layer.kind !== "fields") return layer.legend.length || layer.note ? [make("p", { className: "soft", textContent: layer.label }), layer.legend.length ? list(layer.legend) : make("p", { textContent: layer.note })] : [];
    const colouring = layer.colourings.find((each) => each.column === how.by);
    const afar = (layer.records ? layer.detail > 0 : layer.cells) && colouring?.kind !== "numbers" ? [make("p", { className: "soft", textContent: "From afar, cells: the lighter, the more fields." }), patch(AFAR)] : [];
    if (!colouring) return [list([[LINES[this.state.all.fields.indexOf(layer) % LINES.length], `${layer.label}, outlines`]]), ...afar];
    const title = make("p", { className: "soft", textContent: `${layer.label}, ${colouring.label}` });
    if (colouring.kind === "words") return [title, list((this.words.get(`${layer.id} ${how.by}`) || []).map((word, k) => [colourOf(word, k), word])), ...afar];
    return [title, ...bar(colouring)];
  }
}

const LINES = ["#ffd500", "#00e5ff", "#ff7ad9", "#b6ff5c"];
const AFAR = ["#3b528b", "#21918c", "#5ec962", "#fde725"];
const MOST_WORDS = 64; // of a column that are told apart
const SVG = "http://www.w3.org/2000/svg";

// The words that the tiles in view hold.
const here = (map, layer, column) => [...new Set(map.querySourceFeatures(layer.id, { sourceLayer: layer.inner }).map((each) => each.properties[column]).filter((word) => typeof word === "string"))].sort().slice(0, MOST_WORDS);

function patch(colours) {
  const drawn = document.createElementNS(SVG, "svg");
  drawn.setAttribute("viewBox", `0 0 ${colours.length} 1`);
  drawn.setAttribute("preserveAspectRatio", "none");
  drawn.setAttribute("aria-hidden", "true");
  colours.forEach((colour, k) => {
    const piece = document.createElementNS(SVG, "rect");
    for (const [name, value] of [["x", k], ["width", 1.02], ["height", 1], ["fill", colour]]) piece.setAttribute(name, value);
    drawn.append(piece);
  });
  return drawn;
}

const list = (pairs) => make("ul", {}, ...pairs.map(([colour, word]) => make("li", {}, patch([colour]), make("span", { textContent: word }))));

function bar(colouring) {
  const ends = labels(colouring).map((text) => make("span", { textContent: text }));
  const part = colouring.spread?.part ? [make("p", { className: "soft", textContent: "Told from a part of the fields." })] : [];
  return [...bins(colouring), patch(shades(colouring)), make("div", { className: "ends" }, ...ends), ...part];
}

// Numbers along the bar; it is even in values, but of sizes, which are mostly small, in colours.
const even = (colouring) => !colouring.log && colouring.spread?.range;

export function labels(colouring) {
  const area = colouring.column === "metrics:area";
  const said = (value) => (area ? `${+(value / 1e4).toPrecision(2)} ha` : String(+value.toPrecision(2)));
  const known = stops(colouring);
  const [low, high] = even(colouring) || [];
  return (even(colouring) ? [low, (low + high) / 2, high] : [0, 2, 4].map((k) => known[k][0])).map(said);
}

const STEPS = 32;

export function shades(colouring) {
  const known = stops(colouring);
  const [low, high] = even(colouring) || [];
  return Array.from({ length: STEPS }, (_, k) => (even(colouring) ? shade(known, low + ((k + 0.5) / STEPS) * (high - low)) : between(known, (4 * (k + 0.5)) / STEPS)));
}

// The colour of a value, and of a place between the colours of the ramp.
function shade(known, value) {
  const at = known.findIndex(([stop]) => stop >= value);
  if (at <= 0) return known[at ? known.length - 1 : 0][1];
  const [low, high] = [known[at - 1], known[at]];
  return mix(low[1], high[1], high[0] > low[0] ? (value - low[0]) / (high[0] - low[0]) : 0);
}

const between = (known, at) => mix(known[Math.floor(at)][1], known[Math.floor(at) + 1][1], at % 1);

// How many fields have which value, each bin in the colour of its middle.
function bins(colouring) {
  const counts = colouring.spread?.counts || [];
  if (!counts.length || !even(colouring)) return [];
  const [low, high] = colouring.spread.range;
  const drawn = document.createElementNS(SVG, "svg");
  const most = Math.max(...counts);
  const said = `How many fields have which value, from ${+low.toPrecision(3)} to ${+high.toPrecision(3)}`;
  for (const [name, value] of [["viewBox", `0 0 ${counts.length} 100`], ["preserveAspectRatio", "none"], ["role", "img"], ["class", "bins"], ["aria-label", said]]) drawn.setAttribute(name, value);
  const known = stops(colouring);
  counts.forEach((count, k) => {
    const height = count ? Math.max(3, (100 * count) / most) : 0;
    const piece = document.createElementNS(SVG, "rect");
    const colour = shade(known, low + ((k + 0.5) / counts.length) * (high - low));
    for (const [name, each] of [["x", k], ["width", 0.9], ["y", 100 - height], ["height", height], ["fill", colour]]) piece.setAttribute(name, each);
    drawn.append(piece);
  });
  return [drawn];
}

function mix(a, b, share) {
  const parts = [1, 3, 5].map((k) => Math.round(parseInt(a.slice(k, k + 2), 16) * (1 - share) + parseInt(b.slice(k, k + 2), 16) * share));
  return `#${parts.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}
