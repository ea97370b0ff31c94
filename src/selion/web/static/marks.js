// Small things that both passes need: names, the clock of active time, what is said to the person.

export const $ = (id) => document.getElementById(id);
export const WORDS = { keep: "kept", reject: "rejected", full: "full coverage", unsure: "unsure" };
export const SIGNS = { keep: "✓", reject: "", full: "F", unsure: "?" };

// What outlives a reload, where the browser allows it; where it does not, the page works without.
function safeStorage(place) {
  const attempt = (act, otherwise) => { try { return act(window[place]); } catch { return otherwise; } };
  return {
    get: (name) => attempt((kept) => kept.getItem(name), null),
    set: (name, text) => attempt((kept) => kept.setItem(name, text)),
    drop: (name) => attempt((kept) => kept.removeItem(name)),
    names: () => attempt((kept) => Object.keys(kept), []),
  };
}
export const storage = { browser: safeStorage("localStorage"), tab: safeStorage("sessionStorage") };

export function unique() {
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  return Array.from(bytes, (b) => b.toString(36).padStart(2, "0")).join("");
}

export function picture(item, kind, edge) {
  const query = new URLSearchParams({ v: item.version });
  if (edge) query.set("edge", edge);
  return `image/${item.id}/${kind}?${query}`;
}

const PAUSE = 60; // seconds without a hand on anything after which nobody is looking

export class Clock {
  constructor() {
    this.last = performance.now();
    this.active = 0;
    for (const kind of ["pointermove", "pointerdown", "keydown", "wheel"]) addEventListener(kind, () => this.tick(), { passive: true, capture: true });
  }
  tick() {
    const now = performance.now();
    this.active += Math.min((now - this.last) / 1000, PAUSE);
    this.last = now;
  }
  take() {
    this.tick();
    const seconds = this.active;
    this.active = 0;
    return seconds;
  }
}

export class Rate {
  constructor() {
    this.seconds = this.seen = this.kept = 0;
  }
  add(seconds, seen, kept) {
    this.seconds += seconds;
    this.seen += seen;
    this.kept += kept;
    if (this.seconds < 5) return;
    const hourly = (n) => Math.round((n / this.seconds) * 3600).toLocaleString("en");
    $("rate").textContent = `${hourly(this.seen)} seen and ${hourly(this.kept)} kept per hour`;
  }
}

let silence = 0;
export function say(text, seconds = 4) {
  $("said").textContent = text;
  $("said").classList.add("on");
  clearTimeout(silence);
  silence = setTimeout(() => $("said").classList.remove("on"), seconds * 1000);
}

export function showCounts(counts) {
  if (!counts) return;
  const n = (value) => value.toLocaleString("en");
  const kept = counts.keep + counts.full;
  $("progress").max = counts.total;
  $("progress").value = counts.decided;
  $("counts").textContent = `${n(counts.decided)} of ${n(counts.total)} decided, ${n(kept)} kept` + (counts.conflicts ? `, ${n(counts.conflicts)} disagreements` : "");
}

// Go to the page on which a mask is drawn; it comes back here.
export async function correct(link, item) {
  await link.idle();
  location.assign(`../masks/?item=${item.id}`);
}

const wait = (ms) => new Promise((done) => setTimeout(done, ms));
let waking = null;

// Kept when the server answers again; all who wait for it share one question.
export function awake() {
  waking ??= (async () => {
    for (let tries = 0, here = false; !here; tries += 1) {
      await wait(Math.min(1500, 250 * 2 ** tries));
      here = await fetch("./", { method: "HEAD", cache: "no-store" }).then((answer) => answer.ok, () => false);
    }
    waking = null;
  })();
  return waking;
}

// An image that did not come (the server was stopped) is asked for again until it comes.
export function load(image, address) {
  return new Promise((done) => {
    let tries = 0;
    image.onload = () => done();
    image.onerror = async () => {
      tries += 1;
      await awake();
      image.src = `${address}&again=${tries}`;
    };
    image.src = address;
  });
}
