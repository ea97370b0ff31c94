// Begins the page: who reviews, what waits to be sent, which field is shown, and what keys do.

import { Link } from "../link.js";
import { $, Clock, say, storage, unique } from "../marks.js";
import { Beside } from "./beside.js";
import { Overview, SAID, VERBS } from "./overview.js";
import { Queue } from "./queue.js";
import { ask } from "./sample.js";
import { Stage } from "./stage.js";
import { Tools } from "./tools.js";

const STATUS = { undecided: "not decided yet", accepted: "accepted", rejected: "not a field", corrected: "corrected", unsure: "unsure", added: "added", other: "in the other map only" };
const DONE = {
  accept: "accepted", reject: "not a field", unsure: "unsure", split: "split", merge: "united", move: "vertex moved", insert: "vertex added", drop: "vertex taken out",
  reshape: "redrawn", add: "added", paint: "painted", erase: "erased",
};
const SIMPLE = ["accept", "reject", "unsure"];
const TOOLS = ["split", "merge", "edit", "reshape", "add", "paint", "erase"];
const KEYS = { a: "accept", r: "reject", q: "unsure", s: "split", m: "merge", e: "edit", o: "reshape", n: "add", b: "paint", x: "erase", u: "undo", z: "undo", j: "next", k: "back" };

let name = "";
let layers = [];
let verdicts = []; // answers of a sample; a map has none
const person = () => name;
const clock = new Clock();
const stage = new Stage($("view"));
const link = new Link(tellLink);
const queue = new Queue(link, person, () => stage.aspect);
const tools = new Tools(stage, act, say);
const overview = new Overview({ link, person, clock, say, open: openOne, layer: () => stage.layer, counts: showCounts });
const beside = new Beside($("map"), $("beside"), say);
queue.onCounts = showCounts;

function tellLink(state, waiting, problem) {
  const place = $("saved");
  if (state === "lost" && place.className !== "lost") say(problem || "The server does not answer. What you do is kept here until it does.", 8);
  place.className = state === "saved" ? "" : state;
  place.textContent = { saved: "saved", waiting: "saving …" }[state] || problem || `the server does not answer; ${waiting} kept here until it does`;
}

function showCounts(counts) {
  if (!counts) return;
  const n = (value) => value.toLocaleString("en");
  $("progress").max = counts.total;
  $("progress").value = counts.decided;
  const more = (verdicts.length ? [...verdicts.map((one) => one.status), "unsure"] : ["accepted", "rejected", "corrected", "added", "unsure"])
    .filter((key) => counts[key]).map((key) => `${n(counts[key])} ${verdicts.length ? STATUS[key] : key}`);
  $("counts").textContent = `${n(counts.decided)} of ${n(counts.total)} decided` + (more.length ? `: ${more.join(", ")}` : "");
}

function show(item) {
  document.body.dataset.ready = "";
  tools.end();
  $("pair").hidden = !item;
  $("empty").hidden = Boolean(item);
  for (const button of document.querySelectorAll("#single .words button")) button.disabled = !item && !["undo", "back"].includes(button.dataset.do);
  if (!item) {
    const held = queue.held ? ` ${queue.held} are on somebody else's screen: look again later.` : "";
    $("empty").textContent = queue.show === "undecided" ? `Nothing is left to decide.${held}` : `Nothing is ${queue.show === "all" ? "left" : "unsure"}.${held}`;
    document.body.dataset.ready = "finished";
    return;
  }
  item.begun = performance.now();
  stage.show(item);
  describe(item);
  beside.show(item);
  document.body.dataset.ready = `${item.id}@${item.version}`;
}

function describe(item) {
  $("field").textContent = item.status === "other" ? "An outline of the other map" : item.id;
  $("view").setAttribute("aria-label", `Field ${item.id}, ${STATUS[item.status]}`);
  const by = item.person ? ` by ${item.person}` : "";
  $("state").textContent = `${STATUS[item.status]}${by}`;
  $("reasons").replaceChildren(...(item.reasons.length ? item.reasons : verdicts.length ? verdicts.map((one) => `${one.answer}: ${one.meaning}`) : ["nothing speaks against it"]).map((text) => element("li", text)));
  const area = item.area === undefined ? null : item.unit === "m2" ? `${(item.area / 10000).toLocaleString("en", { maximumFractionDigits: 2 })} ha` : `${Math.round(item.area).toLocaleString("en")} px`;
  const facts = [["Area", area], ["Confidence", item.confidence === null || item.confidence === undefined ? null : `${Math.round(100 * item.confidence)}%`]].filter(([, value]) => value !== null && value !== undefined);
  $("facts").replaceChildren(...facts.flatMap(([key, value]) => [element("dt", key), element("dd", value)]));
  $("past").replaceChildren(...(item.said || []).map((each) => element("li", `${each.person}: ${DONE[each.kind]}, ${each.time.slice(0, 16).replace("T", " ")}`)));
}

function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

// What was pressed before a field is on the screen was not meant for it.
let turning = 0;
async function turned(promise) {
  turning += 1;
  document.body.dataset.ready = "";
  try {
    return await promise;
  } finally {
    turning -= 1;
  }
}

async function next() {
  show(await turned(queue.next(stage.layer)));
}

async function back() {
  show(await turned(queue.back()));
}

// A word needs no answer to go on; what changes outlines is shown as the server has it.
async function act(kind, given = {}) {
  const item = queue.current;
  if (!item && kind !== "add") return;
  if (item?.pending) await item.pending;
  if (item?.status === "other" && kind !== "add") {
    if (kind === "accept") return act("add", { points: item.parts[0][0], on: () => ({}) });
    if (SIMPLE.includes(kind)) return next();
    return say("This outline is in the other map only: accept it to take it over, or draw another one.");
  }
  if (!SIMPLE.includes(kind) && link.jobs.length) {
    await turned(link.idle()); // words about neighbours that are on their way change the versions that this rests on
    if (queue.current !== item) return;
  }
  const on = given.on?.() ?? { [item.id]: item.version };
  const sent = link.send("api/act", { id: unique(), kind, person: name, on, points: given.points || [], width: given.width || [], seconds: Math.round(clock.take() * 1000) / 1000, aspect: stage.aspect });
  if (!SIMPLE.includes(kind)) return shown(kind, sent);
  item.pending = sent.then((table) => settle(kind, table, item), (problem) => { item.pending = null; say(problem.message, 8); });
  item.status = verdicts.find((one) => one.kind === kind)?.status || { accept: "accepted", reject: "rejected", unsure: "unsure" }[kind];
  await next();
}

// A word has arrived: or somebody was quicker, and the field is shown again.
function settle(kind, table, item) {
  item.pending = null;
  showCounts(table.counts);
  queue.update(table.fields);
  if (table.done) return;
  say(table.why, 8);
  const again = table.fields.find((one) => one.id === item.id) || table.fields[0];
  if (again?.parts) show(queue.visit(again)); // with what has become of it
}

async function shown(kind, sent) {
  const mode = tools.mode;
  try {
    const table = await turned(sent);
    showCounts(table.counts);
    queue.update(table.fields);
    if (!table.done) say(table.why, 8);
    else say(kind === "undo" ? "Taken back." : DONE[kind][0].toUpperCase() + DONE[kind].slice(1) + ".", 2);
    const first = table.fields.find((one) => one.parts);
    show(first ? queue.visit(first) : queue.current);
    if (mode === kind || (mode === "edit" && ["move", "insert", "drop"].includes(kind) && table.done)) tools.begin(mode);
  } catch (problem) {
    say(problem.message, 8);
    if (queue.current) show(queue.current);
    if (mode === "edit" || mode === kind) tools.begin(mode);
  }
}

async function undo() {
  await turned(link.idle());
  if (overview.shown) return undoMany();
  await shown("undo", link.send("api/act", { id: unique(), kind: "undo", person: name, on: {}, points: [], seconds: clock.take(), aspect: stage.aspect }));
}

async function undoMany() {
  try {
    const table = await link.send("api/act", { id: unique(), kind: "undo", person: name, on: {}, points: [], seconds: clock.take() });
    say(table.done ? "Taken back." : table.why, 4);
  } catch (problem) {
    say(problem.message, 8);
  }
  await overview.load();
}

// Further out than the piece that was cut: a larger one is asked for.
async function smaller() {
  const item = queue.current;
  if (!item) return;
  const [left, , right] = item.box;
  if (stage.place.width < (right - left) * 0.999) return stage.zoom(1 / 1.5);
  if (item.status === "other" || (item.wide || 1) >= 5) return;
  const answer = await link.get("api/field", { id: item.id, wide: (item.wide || 1) + 1, aspect: stage.aspect });
  if (!answer.item) return;
  queue.update([{ ...answer.item, wide: (item.wide || 1) + 1 }]);
  if (queue.current?.id === item.id) stage.show(queue.current);
}

function run(what) {
  if (turning) return;
  if (SIMPLE.includes(what)) act(what);
  else if (TOOLS.includes(what)) take(what);
  else if (what === "undo") undo();
  else if (what === "next") next();
  else if (what === "back") back();
}

function take(tool) {
  if (!queue.current) return;
  if (queue.current.status === "other" && tool !== "add") say("This outline is in the other map only: accept it to take it over, or draw another one.");
  else tools.begin(tool);
}

function look(which) {
  if (!layers[which]) return;
  stage.layer = layers[which].name;
  $("layer").selectedIndex = which;
  if (stage.item) stage.picture();
  if (overview.shown) overview.draw();
}

function view(many) {
  for (const part of document.querySelectorAll(".for-all")) part.hidden = !many;
  for (const part of document.querySelectorAll(".for-one")) part.hidden = many;
  $("many").setAttribute("aria-pressed", String(many));
}

// From one field to many, and back to the one that was opened.
async function toggleOverview() {
  const opening = !overview.shown;
  tools.end();
  await turned(link.idle());
  view(opening);
  document.body.dataset.ready = "";
  if (!opening) return restart();
  await overview.load();
  document.body.dataset.ready = "overview";
  ($("tiles").firstElementChild || $("all-show")).focus();
}

async function openOne(id) {
  const answer = await turned(link.get("api/field", { id, aspect: 1.4 }));
  if (!answer.item) return say("This field is not there any more.", 5);
  view(false);
  queue.restart();
  const whole = await turned(link.get("api/field", { id, aspect: stage.aspect }));
  show(queue.visit(whole.item));
  stage.svg.focus();
}

function bare() {
  stage.svg.classList.toggle("bare", !$("lines").checked);
}

function key(event) {
  if (document.querySelector("dialog[open]") || event.ctrlKey || event.altKey || event.metaKey || event.target.matches("select, input:not([type=checkbox])")) return;
  const press = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const onButton = event.target.matches("button") && ["Enter", " "].includes(event.key);
  if (onButton) return;
  if (overview.shown) {
    if (press === "g") toggleOverview();
    else if (SIMPLE.includes(KEYS[press]) && !event.repeat) overview.act(KEYS[press]);
    else if (press === "u" || press === "z") undo();
    else if (press === "j" || press === "k") overview.turn(press === "j" ? 1 : -1);
    else if (press === "c") overview.chooseAll();
    else if (press === "?") $("help").showModal();
    else return;
    return event.preventDefault();
  }
  if (tools.key(event)) event.preventDefault();
  else if (press === "g") toggleOverview();
  else if (KEYS[press] && !event.repeat) run(KEYS[press]);
  else if (press === "v") beside.toggle();
  else if (press === "?") $("help").showModal();
  else if (/^[1-9]$/.test(press)) look(Number(press) - 1);
  else if (press === "h") { $("lines").checked = !$("lines").checked; bare(); }
  else if (press === "+" || press === "=") stage.item && stage.zoom(1.5);
  else if (press === "-") smaller();
  else if (press === "0") stage.item && stage.fit();
  else return;
  event.preventDefault();
}

function askName(suggested) {
  return new Promise((done) => {
    $("who-name").value = suggested || "";
    $("who").addEventListener("cancel", (event) => { if (!name) event.preventDefault(); }, { once: true });
    $("who").addEventListener("close", () => done($("who-name").value.trim() || suggested || "me"), { once: true });
    $("who").showModal();
    $("who-name").select();
  });
}

function setName(given) {
  name = given;
  storage.tab.set("selion:person", name); // of this tab: two people may share a browser
  $("person").textContent = name;
}

function listen() {
  addEventListener("keydown", key);
  for (const button of document.querySelectorAll("#single .words button")) button.onclick = () => run(button.dataset.do);
  $("ask").onclick = () => $("help").showModal();
  $("person").onclick = async () => { setName(await askName(name)); restart(); };
  $("show").onchange = () => { queue.show = $("show").value; restart(); };
  $("many").onclick = toggleOverview;
  $("undo-many").onclick = undo;
  $("snap").onchange = () => { tools.snaps = $("snap").checked; };
  $("layer").onchange = () => look($("layer").selectedIndex);
  $("lines").onchange = bare;
  $("larger").onclick = () => stage.item && stage.zoom(1.5);
  $("smaller").onclick = smaller;
  $("fit").onclick = () => stage.item && stage.fit();
}

function restart() {
  queue.restart();
  next();
}

async function begin() {
  const state = await link.get("api/state", {});
  $("title").textContent = state.title;
  document.title = `Review ${state.title}`;
  layers = state.layers;
  verdicts = state.verdicts;
  if (verdicts.length) ask(verdicts, { status: STATUS, done: DONE, simple: SIMPLE, keys: KEYS, verbs: VERBS, tiles: SAID, tools: TOOLS });
  for (const layer of layers) $("layer").append(new Option(layer.title, layer.name));
  $("layer").disabled = !layers.length;
  look(0);
  for (const [page, title] of state.pages) {
    const anchor = element("a", title);
    anchor.href = `../${page}/`;
    $("pages").append(anchor);
  }
  $("beside").hidden = !state.pages.some(([page]) => page === "view");
  $("pages").hidden = !state.pages.length;
  showCounts(state.counts);
  if (link.adopt(state.folder)) say("What could not be sent before is sent now.");
  for (const job of link.jobs) job.done = (table) => { if (table && table.done === false) say(table.why, 10); };
  await link.idle();
  const suggested = storage.tab.get("selion:person") || state.person;
  setName(suggested || (await askName("")));
  listen();
  await next();
  if (state.notes.length) say(state.notes.join(" "), 10);
}

begin().catch((problem) => say(problem.message, 60));
