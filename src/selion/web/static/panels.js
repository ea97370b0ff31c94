// The record of what was chosen, and what could not be opened.

const $ = (id) => document.getElementById(id);

function said(name, value) {
  if (value === null || value === undefined) return "";
  if (name === "metrics:area") return `${(value / 1e4).toFixed(2)} ha (${Math.round(value).toLocaleString("en")} m²)`;
  if (name === "metrics:perimeter") return `${Math.round(value).toLocaleString("en")} m`;
  if (/^-?\d*\.\d{4,}$/.test(value)) value = Number(value); // a table's text, with digits that say nothing
  if (/^(rule_)?cover/.test(name) && typeof value === "number" && value <= 1) return `${(100 * value).toFixed(1)} %`;
  if (typeof value === "number") return Number.isInteger(value) ? value.toLocaleString("en") : String(+value.toPrecision(5));
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

const CALLED = { "metrics:area": "size", "metrics:perimeter": "perimeter" };

function rows(columns) {
  return Object.entries(columns).filter(([, value]) => value !== null && value !== "").map(([name, value]) => {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = CALLED[name] || name.replaceAll("_", " ");
    const cell = document.createElement("td");
    cell.textContent = said(name, value);
    row.append(head, cell);
    return row;
  });
}

// Small pictures of the field; one that cannot be drawn goes away.
function pictures(shown) {
  $("dates").replaceChildren(...shown.map(({ url, label }) => {
    const image = Object.assign(document.createElement("img"), { src: url, alt: `The field, ${label}`, width: 224, height: 224 });
    const frame = document.createElement("figure");
    image.addEventListener("error", () => frame.remove());
    frame.append(image, Object.assign(document.createElement("figcaption"), { textContent: label }));
    return frame;
  }));
}

export function showField(layer, record, shown = []) {
  pictures(shown);
  $("record-title").textContent = record.columns.id ? `Field ${record.columns.id}` : `Field of ${layer.label}`;
  open(record.columns);
}

export function showPhoto(about) {
  pictures([]);
  $("record-title").textContent = about.name;
  open(about.columns);
}

function open(columns) {
  $("columns").replaceChildren(...rows(columns));
  $("record").hidden = false;
  $("record").querySelector(".scroll").scrollTop = 0;
}

// Room around what is shown, so that the record does not lie over it: below it on a phone, beside it else.
export function beside(room) {
  const { width, height } = $("record").getBoundingClientRect();
  const stage = $("stage").getBoundingClientRect();
  const small = matchMedia("(max-width: 720px)").matches;
  const more = small ? { bottom: room + Math.min(height, 0.55 * stage.height) } : { right: room + Math.min(width, 0.4 * stage.width) };
  return { top: room, bottom: room, left: room, right: room, ...($("record").hidden ? {} : more) };
}

export function closeRecord() {
  $("record").hidden = true;
}

export function showProblems(problems) {
  const place = $("problems");
  place.hidden = !problems.length;
  const title = Object.assign(document.createElement("h2"), { textContent: "Not shown" });
  place.replaceChildren(title, ...problems.map((text) => Object.assign(document.createElement("p"), { textContent: text })));
}
