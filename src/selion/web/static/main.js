// Begins the page: who decides, what waits to be sent, which pass.

import { Coarse } from "./coarse.js";
import { Fine } from "./fine.js";
import { Link } from "./link.js";
import { $, Clock, Rate, say, storage, showCounts } from "./marks.js";

let name = "";
const person = () => name;

function tellLink(state, waiting, problem) {
  const place = $("saved");
  const lost = place.className === "lost";
  place.className = state === "saved" ? "" : state;
  if (state === "saved") place.textContent = "saved";
  else if (state === "waiting") place.textContent = "saving …";
  else {
    const kept = waiting ? `; ${waiting} ${waiting === 1 ? "page is" : "pages are"} kept here until it does` : "";
    if (!lost) say(problem || "The server does not answer. What you decide is kept here until it does.", 8);
    place.textContent = problem || `the server does not answer${kept}`;
  }
}

function askName(suggested) {
  return new Promise((done) => {
    $("name").value = suggested || "";
    $("who").addEventListener("cancel", (event) => { if (!name) event.preventDefault(); }, { once: true });
    $("who").addEventListener("close", () => done($("name").value.trim() || suggested || "me"), { once: true });
    $("who").showModal();
    $("name").select();
  });
}

function setName(given) {
  name = given;
  storage.tab.set("selion:person", name); // of this tab: two people may share a browser
  $("person").textContent = name;
}

function choose(which, passes) {
  for (const [key, pass] of Object.entries(passes)) {
    const chosen = key === which;
    $(`tab-${key}`).setAttribute("aria-selected", chosen);
    $(`tab-${key}`).tabIndex = chosen ? 0 : -1;
    $(key).hidden = !chosen;
    if (!chosen) pass.leave();
  }
  $("empty").hidden = true;
  document.body.dataset.ready = "";
  storage.tab.set("selion:pass", which);
  passes[which].enter();
}

function listen(passes) {
  for (const which of Object.keys(passes)) $(`tab-${which}`).onclick = () => choose(which, passes);
  $("ask").onclick = () => $("help").showModal();
  $("person").onclick = async () => {
    setName(await askName(name));
    passes.coarse.restart();
    if (passes.fine.active) passes.fine.restart();
  };
  addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || event.ctrlKey || event.altKey || event.metaKey || event.target.matches("select, input")) return;
    if (event.key === "?") $("help").showModal();
    else if (event.key === "1" || event.key === "2") choose(event.key === "1" ? "coarse" : "fine", passes);
    else if (event.target.role === "tab" && ["ArrowLeft", "ArrowRight"].includes(event.key)) {
      const other = event.target.id === "tab-coarse" ? "fine" : "coarse";
      choose(other, passes);
      $(`tab-${other}`).focus();
    } else return;
    event.preventDefault();
  });
}

async function begin() {
  const link = new Link(tellLink);
  const state = await link.get("api/state", { fresh: 1 });
  $("title").textContent = state.title;
  document.title = `Screening ${state.title}`;
  for (const size of state.sizes) $("size").append(new Option(size, size, size === 40, size === 40));
  if (innerWidth < 640) $("size").value = String(state.sizes[0]);
  $("order").disabled = !state.rated;
  for (const id of ["size", "order"]) { // as they were before a mask was corrected
    const kept = storage.tab.get(`selion:${id}`);
    if (kept && [...$(id).options].some((one) => one.value === kept)) $(id).value = kept;
    $(id).addEventListener("change", () => storage.tab.set(`selion:${id}`, $(id).value));
  }
  $("correct").hidden = !state.corrects;
  showCounts(state.counts);
  if (link.adopt(state.folder)) say("What could not be sent before is sent now.");
  await link.idle();
  const suggested = storage.tab.get("selion:person") || state.person;
  setName(suggested || (await askName("")));
  const clock = new Clock();
  const rate = new Rate();
  const passes = { coarse: new Coarse(link, clock, rate, person, state.folder), fine: new Fine(link, clock, rate, person) };
  listen(passes);
  choose(storage.tab.get("selion:pass") === "fine" ? "fine" : "coarse", passes);
  if (state.notes.length) say(state.notes.join(" "), 10);
}

begin().catch((problem) => say(problem.message, 60));
