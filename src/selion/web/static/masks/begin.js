// Begins the page: who draws, which photograph is shown, what is sent, and what keys do.

import { Link } from "../link.js";
import { $, say, storage, unique } from "../marks.js";
import { Canvas, css, tintOf } from "./canvas.js";
import { Tools } from "./tools.js";

const STATUS = { done: "done", skip: "skipped", "": "to draw" };
const STARTS = { model: "the model's mask", mask: "the mask as it was", colour: "colour rule (Canopeo)", "colour-otsu": "colour rule (excess green)", empty: "nothing" };

let name = "";
let items = [];
let place = 0;
let back = "";
const said = new Set(); // photographs whose word is on its way
const canvas = new Canvas();
const link = new Link(tellLink);
const tools = new Tools(canvas, act);
const item = () => items[place];

function tellLink(state, waiting, problem) {
  const shown = $("saved");
  if (state === "lost" && shown.className !== "lost") say(problem || "The server does not answer. What you draw is kept here until it does.", 8);
  shown.className = state === "saved" ? "" : state;
  shown.textContent = { saved: "saved", waiting: "saving …" }[state] || problem || `the server does not answer; ${waiting} kept here until it does`;
}

function showCounts(counts) {
  $("progress").max = counts.total;
  $("progress").value = counts.done + counts.skip;
  $("counts").textContent = `${counts.done} of ${counts.total} done` + (counts.skip ? `, ${counts.skip} skipped` : "");
  $("finish").disabled = !counts.done;
}

function showItem() {
  const one = item();
  $("undo").disabled = !one.undo;
  $("redo").disabled = !one.redo;
  $("back").disabled = place === 0;
  $("next").disabled = place === items.length - 1;
  $("about").textContent = [back ? "" : `${place + 1} of ${items.length}`, one.name, `${one.width} × ${one.height} pixels`, one.about, back ? kept(one) : STATUS[one.status]].filter(Boolean).join(" · ");
}

// Of a mask that somebody else made: what became of it.
function kept(one) {
  if (one.status === "done") return "corrected";
  return one.undo ? "not kept yet" : "";
}

async function show(number) {
  document.body.dataset.ready = "";
  tools.end();
  place = Math.min(Math.max(number, 0), items.length - 1);
  const one = item();
  $("start").replaceChildren(...one.starts.map((start) => new Option(STARTS[start] || start, start)));
  showItem();
  try {
    await canvas.open(one);
  } catch (problem) {
    say(problem.message, 12);
    return;
  }
  if (one === item()) document.body.dataset.ready = one.id;
}

// Send what was done, in order; the mask on the screen is then the server's.
async function act(kind, more = {}) {
  const one = item();
  const body = { id: unique(), person: name, item: one.id, kind, ...more };
  try {
    const answer = await link.send("api/act", body);
    Object.assign(one, answer.item);
    showCounts(answer.counts);
    if (one === item()) {
      showItem();
      if (canvas.shown !== one.version && !tools.line.length) await canvas.refresh(one);
    }
    return true;
  } catch (problem) {
    say(problem.message, 10);
    if (canvas.ids) canvas.clear();
    return false;
  }
}

// One word for each photograph, and none of it before it was there to be seen.
async function word(kind) {
  const one = item();
  if (back && kind === "skip") return leave();
  if (said.has(one.id) || (kind === "done" && document.body.dataset.ready !== one.id)) return;
  said.add(one.id);
  const kept = await act(kind);
  said.delete(one.id);
  if (!kept || one !== item()) return;
  if (back) return leave();
  const next = items.findIndex((one, k) => k > place && !one.status);
  const left = next >= 0 ? next : items.findIndex((one) => !one.status);
  if (left >= 0) show(left);
  else {
    say($("finish").hidden ? "All are done." : `All are done: press “${$("finish").textContent}”.`, 10);
    document.body.dataset.finished = "yes";
  }
}

// Back to where one came from, once all is on the disk.
async function leave() {
  await link.idle();
  location.assign(back);
}

function choose(value) {
  tools.value = value;
  for (const button of document.querySelectorAll("#classes button")) button.setAttribute("aria-pressed", String(Number(button.dataset.value) === value));
  if (tools.tool === "erase") tools.choose("brush");
}

function classButton({ id, name: label }, key) {
  const button = document.createElement("button");
  const dot = document.createElement("i");
  dot.style.background = css(tintOf(id));
  button.dataset.value = id;
  button.append(dot, `${label} `, Object.assign(document.createElement("kbd"), { textContent: key }));
  button.onclick = () => choose(id);
  return button;
}

function listen() {
  for (const button of document.querySelectorAll("[data-tool]")) button.onclick = () => tools.choose(button.dataset.tool);
  $("size").oninput = () => { tools.size = Number($("size").value); tools.ring(); };
  $("tint").oninput = () => { canvas.tint = $("tint").value / 100; if (canvas.ids) canvas.paint(); };
  $("start").onchange = () => act("start", { start: $("start").value }).then(() => $("view").focus());
  $("undo").onclick = () => act("undo");
  $("redo").onclick = () => act("redo");
  $("larger").onclick = () => canvas.zoom(1.5);
  $("smaller").onclick = () => canvas.zoom(1 / 1.5);
  $("fit").onclick = () => canvas.fit();
  $("back").onclick = () => show(place - 1);
  $("next").onclick = () => show(place + 1);
  $("skip").onclick = () => word("skip");
  $("done").onclick = () => word("done");
  $("ask").onclick = () => $("help").showModal();
  $("person").onclick = () => askName();
  $("finish").onclick = finish;
  addEventListener("keydown", key);
  addEventListener("keyup", (event) => {
    if (event.key === " ") tools.held = false;
    if (event.key === "h") document.body.classList.remove("plain");
  });
}

function key(event) {
  if (document.body.dataset.finished === "ended" || event.altKey || event.metaKey || document.querySelector("dialog[open]") || event.target.matches?.("select")) return;
  if (event.ctrlKey && !["z", "y"].includes(event.key)) return;
  const keys = {
    b: () => tools.choose("brush"), e: () => tools.choose("erase"), p: () => tools.choose("polygon"), f: () => tools.choose("fill"),
    s: () => !document.querySelector("[data-tool=click]").hidden && tools.choose("click"),
    z: () => act("undo"), y: () => act("redo"), Z: () => act("redo"), k: () => word("skip"), u: () => choose(255),
    "[": () => tools.resize(1 / 1.3), "]": () => tools.resize(1.3), "+": () => canvas.zoom(1.5), "=": () => canvas.zoom(1.5), "-": () => canvas.zoom(1 / 1.5), g: () => canvas.fit(),
    ArrowLeft: () => show(place - 1), ArrowRight: () => show(place + 1), Escape: () => tools.end(), "?": () => $("help").showModal(),
    Enter: () => (tools.corners.length ? tools.close() : event.target.matches?.("button, a, summary") ? null : word("done")),
    " ": () => { tools.held = true; }, h: () => document.body.classList.add("plain"),
  };
  const digit = /^[0-9]$/.test(event.key) && document.querySelector(`#classes [data-value="${event.key}"]`);
  if (!keys[event.key] && !digit) return;
  if ([" ", "Enter"].includes(event.key) && event.target.matches?.("button, a")) return;
  if (event.target.matches?.("input[type=range]") && event.key.startsWith("Arrow")) return;
  event.preventDefault();
  if (digit) choose(Number(event.key));
  else keys[event.key]();
}

async function finish() {
  await link.idle();
  try {
    await link.send("api/finish", { id: unique() });
    document.body.dataset.finished = "ended";
    for (const control of document.querySelectorAll("main button, main input, main select, #finish, #person")) control.disabled = true;
    say("Thank you. The command goes on where it was started; this page can be closed.", 3600);
  } catch (problem) {
    say(problem.message, 10);
  }
}

function askName() {
  $("name").value = name;
  $("who").showModal();
  return new Promise((done) => $("who").addEventListener("close", () => { setName($("name").value.trim() || name || "somebody"); done(); }, { once: true }));
}

function setName(given) {
  name = given;
  $("person").textContent = given;
  storage.tab.set("selion:person", given); // of this tab: two people may share a browser
  storage.browser.set("selion:person", given);
}

async function begin() {
  const asked = new URLSearchParams(location.search).get("item");
  const state = await link.get("api/state", asked ? { item: asked } : {});
  ({ items, back } = state);
  $("title").textContent = state.title;
  document.title = `Masks ${state.title}`;
  $("finish").textContent = state.ending;
  $("finish").hidden = !state.ending;
  document.querySelector("[data-tool=click]").hidden = !state.click;
  $("classes").append(...state.classes.map((one) => classButton(one, one.id)), classButton({ id: 255, name: "not known" }, "u"));
  if (back) {
    Object.assign($("return"), { hidden: false, href: back });
    $("return").onclick = (event) => { event.preventDefault(); leave(); };
    $("skip").firstChild.textContent = "Leave it ";
    $("done").firstChild.textContent = "Keep it ";
    for (const id of ["back", "next", "progress", "counts"]) $(id).hidden = true;
  }
  showCounts(state.counts);
  listen();
  choose(1);
  const known = storage.tab.get("selion:person") || state.person || storage.browser.get("selion:person");
  if (known) setName(known);
  else await askName();
  link.adopt(`masks:${state.folder}`);
  await link.idle();
  const wanted = items.findIndex((one) => (asked ? one.id === asked : !one.status));
  await show(Math.max(wanted, 0));
}

begin().catch((problem) => say(problem.message, 60));
