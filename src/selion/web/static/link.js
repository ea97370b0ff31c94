// The line to the server.  What a person decided is kept in this browser until the server says that it is on the disk; what is sent twice is written once.

import { awake, storage } from "./marks.js";

const HEADERS = { "content-type": "application/json", "x-selion": "1" };
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

export class Link {
  constructor(onState) {
    this.onState = onState;
    this.jobs = [];
    this.memory = ""; // prefix of our names in the browser's store
    this.busy = false;
    this.resting = [];
  }

  // Take up what an earlier page of the same folder could not send.
  adopt(folder) {
    this.memory = `selion:${folder}:out:`;
    const names = storage.browser.names().filter((name) => name.startsWith(this.memory)).sort();
    for (const name of names) {
      try {
        this.jobs.push({ name, ...JSON.parse(storage.browser.get(name)) });
      } catch {
        storage.browser.drop(name);
      }
    }
    this.flush();
    return names.length;
  }

  async get(path, query) {
    for (;;) {
      try {
        const answer = await fetch(`${path}?${new URLSearchParams(query)}`, { cache: "no-store" });
        if (answer.ok) {
          this.tell();
          return await answer.json();
        }
        if (answer.status < 500) throw new Refused(await reason(answer));
      } catch (problem) {
        if (problem instanceof Refused) throw problem;
      }
      this.tell("lost");
      await awake();
    }
  }

  // Send in order; the promise is kept when the server has it on the disk.
  send(path, body) {
    const name = `${this.memory}${Date.now().toString(36)}-${String(this.jobs.length).padStart(4, "0")}-${body.batch || body.id}`;
    const job = { name, path, body };
    storage.browser.set(name, JSON.stringify({ path, body }));
    const answered = new Promise((done, failed) => { job.done = done; job.failed = failed; });
    this.jobs.push(job);
    this.flush();
    return answered;
  }

  idle() {
    return this.jobs.length ? new Promise((done) => this.resting.push(done)) : Promise.resolve();
  }

  async flush() {
    if (this.busy) return;
    this.busy = true;
    for (let tries = 0; this.jobs.length; ) {
      const job = this.jobs[0];
      this.tell(tries ? "lost" : "waiting");
      let answer = null;
      try {
        answer = await fetch(job.path, { method: "POST", headers: HEADERS, body: JSON.stringify(job.body) });
        if (answer.ok) {
          const table = await answer.json();
          this.drop(job);
          tries = 0;
          job.done?.(table);
          continue;
        }
        this.problem = await reason(answer);
      } catch {
        answer = null;
        this.problem = "";
      }
      if (answer && answer.status === 400) { // never written, however often it is sent
        this.drop(job);
        job.failed?.(new Refused(this.problem));
        continue;
      }
      tries += 1;
      this.tell("lost");
      await (answer ? wait(2000) : awake());
    }
    this.busy = false;
    this.tell();
    for (const done of this.resting.splice(0)) done();
  }

  drop(job) {
    this.jobs.shift();
    storage.browser.drop(job.name);
  }

  tell(state = this.jobs.length ? "waiting" : "saved") {
    this.onState(state, this.jobs.length, state === "lost" ? this.problem || "" : "");
  }
}

export class Refused extends Error {}

async function reason(answer) {
  const text = await answer.text();
  try {
    return JSON.parse(text).error || text;
  } catch {
    return text;
  }
}
