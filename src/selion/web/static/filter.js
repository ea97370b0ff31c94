// Fields between bounds: which are drawn, how many they are, and the two controls of a layer.

import { ask, make, stamped } from "./map.js";

const SIZE = "metrics:area";
const HECTARE = 1e4;
const said = (value) => value.toLocaleString("en", { maximumFractionDigits: 0 });

export class Filters {
  constructor(onChange) {
    this.onChange = onChange;
    this.of = new Map(); // id of a layer -> { column: [lowest, highest], null where open }
    this.asked = new Map(); // id of a layer -> bounds that its tiles are asked for with, as where() writes them
    this.told = new Map(); // id of a layer -> what is said of its filter
    this.grown = new Map(); // id of a layer and bounds -> how much of their view from afar is gathered
  }

  bounds(layer) {
    return this.of.get(layer.id) || {};
  }

  where(layer) {
    return encodeURIComponent(JSON.stringify(this.bounds(layer)));
  }

  // Where its tiles are. Of many fields the server sifts: cells from afar hold only those between the bounds.
  tiles(layer) {
    const where = this.asked.get(layer.id) || "";
    const grown = this.grown.get(`${layer.id} ${where}`);
    return stamped(layer.tiles, grown === undefined ? "" : `-${grown}`) + (where && `&where=${where}`);
  }

  // Take what the server says of a view from afar; its tiles are asked for again as it grows.
  grow(layer, told, where = "") {
    const name = `${layer.id} ${where}`;
    const now = told.ready ? "all" : told.done;
    if (this.grown.get(name) === now) return false;
    this.grown.set(name, now);
    if ((this.asked.get(layer.id) || "") === where) this.onChange(layer);
    return true;
  }

  // Ask for tiles between the bounds, and follow how they are gathered; what they hold is counted then.
  async settle(layer) {
    const where = this.of.has(layer.id) ? this.where(layer) : "";
    if (where === (this.asked.get(layer.id) || "")) return this.tell(layer, this.told.get(layer.id) || "");
    this.asked.set(layer.id, where);
    this.onChange(layer);
    while (where && this.asked.get(layer.id) === where) {
      const told = await ask(`api/state/${layer.id}?where=${where}`).catch((problem) => ({ failed: problem.message }));
      if (this.asked.get(layer.id) !== where) return;
      if (told.failed) return this.tell(layer, told.failed);
      this.grow(layer, told, where);
      if (told.ready) return this.tell(layer, this.counted(layer, told));
      this.tell(layer, `Gathering: ${Math.round((100 * told.done) / told.of)} % of the fields.`);
      await new Promise((done) => setTimeout(done, 500));
    }
  }

  tell(layer, text) {
    this.told.set(layer.id, text);
    const place = document.getElementById(`count-${layer.id}`);
    if (place) place.textContent = text;
  }

  counted(layer, { count, area }) {
    return `${said(count)} of ${said(layer.rows)} fields${area === null || area === undefined ? "" : `, ${said(area / HECTARE)} ha`}`;
  }

  // A MapLibre filter, or null: fields without a value are between no bounds.
  rule(layer) {
    const rules = Object.entries(this.bounds(layer)).flatMap(([column, [low, high]]) => {
      const value = ["get", column];
      const number = ["number", value, 0];
      return [["==", ["typeof", value], "number"], ...(low === null ? [] : [[">=", number, low]]), ...(high === null ? [] : [["<=", number, high]])];
    });
    return rules.length ? ["all", ...rules] : null;
  }

  set(layer, column, side, value) {
    const bounds = { ...this.bounds(layer) };
    const pair = bounds[column] ? [...bounds[column]] : [null, null];
    pair[side] = Number.isFinite(value) ? value : null;
    if (pair[0] === null && pair[1] === null) delete bounds[column];
    else bounds[column] = pair;
    this.take(layer, bounds);
  }

  take(layer, bounds) {
    if (Object.keys(bounds).length) this.of.set(layer.id, bounds);
    else this.of.delete(layer.id);
    this.onChange(layer);
    clearTimeout(this.later);
    this.later = setTimeout(() => this.count(layer), 250);
  }

  async count(layer) {
    if (!this.of.has(layer.id)) this.tell(layer, "");
    if (layer.detail) return this.settle(layer);
    if (!this.of.has(layer.id)) return;
    const asked = this.where(layer);
    const told = await ask(`api/count/${layer.id}?where=${asked}`).catch((problem) => ({ problem }));
    if (asked === this.where(layer)) this.tell(layer, told.problem ? told.problem.message : this.counted(layer, told));
  }

  // The controls of a layer: confidence at least, size from and to.
  controls(layer) {
    const columns = layer.colourings.filter((each) => each.kind === "numbers" && (each.column === "confidence" || each.column === SIZE)).map((each) => each.column);
    if (!columns.length) return null;
    const box = make("details", { className: "filter", open: this.of.has(layer.id) }, make("summary", { textContent: "Filter" }));
    if (columns.includes("confidence")) box.append(this.sure(layer));
    if (columns.includes(SIZE)) box.append(this.sizes(layer));
    const clear = make("button", { type: "button", textContent: "Show all" });
    clear.addEventListener("click", () => {
      for (const input of box.querySelectorAll("input")) input.value = input.type === "range" ? 0 : "";
      const out = box.querySelector("output");
      if (out) out.textContent = "any";
      this.take(layer, {});
    });
    box.append(make("div", { className: "counted" }, make("span", { id: `count-${layer.id}`, role: "status" }), clear));
    if (this.of.has(layer.id)) setTimeout(() => this.count(layer));
    return box;
  }

  sure(layer) {
    const low = this.bounds(layer).confidence?.[0] ?? 0;
    const text = (value) => (value > 0 ? `${Math.round(100 * value)} %` : "any");
    const out = make("output", { textContent: text(low) });
    const range = make("input", { type: "range", id: `sure-${layer.id}`, min: 0, max: 1, step: 0.01, value: low });
    range.addEventListener("input", () => {
      out.textContent = text(Number(range.value));
      this.set(layer, "confidence", 0, Number(range.value) || NaN);
    });
    return make("label", {}, make("span", { textContent: "Confidence at least" }), range, out);
  }

  sizes(layer) {
    const row = make("div", { className: "sizes", role: "group", ariaLabel: `Size of ${layer.label}` });
    ["from", "to"].forEach((word, side) => {
      const known = this.bounds(layer)[SIZE]?.[side];
      const input = make("input", { type: "number", id: `size-${word}-${layer.id}`, min: 0, step: "any", value: known === null || known === undefined ? "" : known / HECTARE, inputMode: "decimal" });
      input.addEventListener("input", () => this.set(layer, SIZE, side, input.value === "" ? NaN : input.valueAsNumber * HECTARE));
      row.append(make("label", {}, make("span", { textContent: side ? "to" : "Size from" }), input));
    });
    row.append("ha");
    return row;
  }
}
