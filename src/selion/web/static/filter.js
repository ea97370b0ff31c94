// Fields between bounds: which are drawn, how many they are, and the two controls of a layer.

import { ask, make } from "./map.js";

const SIZE = "metrics:area";
const HECTARE = 1e4;
const said = (value) => value.toLocaleString("en", { maximumFractionDigits: 0 });

export class Filters {
  constructor(onChange) {
    this.onChange = onChange;
    this.of = new Map(); // id of a layer -> { column: [lowest, highest], null where open }
    this.counts = new Map(); // id of a layer -> what the server said
  }

  bounds(layer) {
    return this.of.get(layer.id) || {};
  }

  where(layer) {
    return encodeURIComponent(JSON.stringify(this.bounds(layer)));
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
    this.later = setTimeout(() => this.count(layer), 150);
  }

  async count(layer) {
    const place = document.getElementById(`count-${layer.id}`);
    if (!place) return;
    if (!this.of.has(layer.id)) {
      place.textContent = "";
      return;
    }
    const asked = this.where(layer);
    const told = await ask(`api/count/${layer.id}?where=${asked}`).catch((problem) => ({ problem }));
    if (asked !== this.where(layer)) return;
    const area = told.area === null || told.area === undefined ? "" : `, ${said(told.area / HECTARE)} ha`;
    place.textContent = told.problem ? told.problem.message : told.count === null ? "Too many fields to count: come nearer to see them." : `${said(told.count)} of ${said(told.of)} fields${area}`;
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
