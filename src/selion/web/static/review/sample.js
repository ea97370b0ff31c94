// A sample instead of a map: other answers and keys, and nothing that draws, for its outlines are what is judged.

import { $ } from "../marks.js";

// Give the page the answers of a sample in place of its own words and tools.
export function ask(verdicts, { status, done, simple, keys, verbs, tiles, tools }) {
  for (const key of Object.keys(keys)) if (tools.includes(keys[key]) || ["accept", "reject"].includes(keys[key])) delete keys[key];
  for (const { kind, status: said, answer, key } of verdicts) {
    keys[key] = kind;
    status[said] = done[kind] = tiles[said] = answer;
    verbs[kind] = `marked as ${answer}`;
    if (!simple.includes(kind)) simple.push(kind);
  }
  place("do", verdicts, [...tools, "accept", "reject"]);
  place("all", verdicts, ["accept", "reject"]);
  const options = [["undecided", "undecided"], ["unsure", "unsure"], ...verdicts.map((one) => [one.answer, one.status]), ["all", "all"]];
  $("all-show").replaceChildren(...options.map(([text, value]) => new Option(text, value)));
  $("all-order").closest("label").hidden = true; // the sample's own order is the one that chance made
  $("snap").closest("label").hidden = true;
  help(verdicts);
}

// Buttons of one toolbar: those that do not fit go, the answers come in before "unsure".
function place(attribute, verdicts, gone) {
  const unsure = document.querySelector(`[data-${attribute}=unsure]`);
  for (const what of gone) document.querySelector(`[data-${attribute}=${what}]`)?.remove();
  for (const { kind, answer, key, meaning } of verdicts) {
    const button = document.createElement("button");
    const mark = document.createElement("kbd");
    mark.textContent = key;
    button.dataset[attribute] = kind;
    button.title = meaning;
    button.append(`${answer[0].toUpperCase()}${answer.slice(1)} `, mark);
    unsure.before(button);
  }
}

function help(verdicts) {
  for (const row of document.querySelectorAll("#help .drawing")) row.remove();
  $("help-what").textContent = "The yellow outline is a unit of a sample, in the order that chance made. Say what it is on the ground; its outline stays as it was mapped. Everything is written down at once and can be taken back.";
  const rows = verdicts.map(({ key, answer, meaning }) => {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.append(Object.assign(document.createElement("kbd"), { textContent: key }));
    row.append(head, Object.assign(document.createElement("td"), { textContent: `${answer}: ${meaning}` }));
    return row;
  });
  $("help-words").before(...rows);
  $("help-words").querySelector("th").replaceChildren(Object.assign(document.createElement("kbd"), { textContent: "q" }));
  $("help-words").querySelector("td").textContent = "unsure: one cannot tell, and it counts as not answered";
  $("help-chosen").textContent = "overview: many at once; Space chooses one, c all, the keys of the answers speak of the chosen, Enter opens one";
}
