// How a plan stands: asked every few seconds, drawn as squares and lists. Nothing here changes anything.
const EVERY = 3000, SILENT = 900, SVG = 'http://www.w3.org/2000/svg';
const STATES = ['finished', 'incomplete', 'running', 'stopped', 'failed', 'waiting'];
const MEANT = {
  finished: 'finished', incomplete: 'lack blocks', running: 'running',
  stopped: 'stopped, their process is gone', failed: 'failed', waiting: 'waiting',
};
const at = id => document.getElementById(id);
const paths = new Map();
let picked = '', last = null;

const number = (value, digits = 0) =>
  value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
const clock = seconds => {
  const whole = Math.round(seconds), two = value => String(value).padStart(2, '0');
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
};
const made = (name, text, kind) => {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
};

async function asked(what) {
  const answer = await fetch(what, { cache: 'no-store' });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error || `status ${answer.status}`);
  return said;
}

function draw(squares) {
  const points = Object.values(squares).flat(2);
  if (!points.length) { at('picked').textContent = 'The places of the jobs cannot be read.'; return; }
  const low = [0, 1].map(k => points.reduce((least, point) => Math.min(least, point[k]), Infinity));
  const high = [0, 1].map(k => points.reduce((most, point) => Math.max(most, point[k]), -Infinity));
  const narrow = Math.cos((low[1] + high[1]) / 2 * Math.PI / 180);
  const size = Math.max((high[0] - low[0]) * narrow, high[1] - low[1], 1e-6);
  const place = ([east, north]) => [
    ((east - low[0]) * narrow / size * 1000).toFixed(1), ((high[1] - north) / size * 1000).toFixed(1),
  ];
  const wide = (high[0] - low[0]) * narrow / size * 1000, tall = (high[1] - low[1]) / size * 1000;
  at('map').setAttribute('viewBox', `-10 -10 ${wide + 20} ${tall + 20}`);
  for (const [name, rings] of Object.entries(squares)) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', rings.map(ring => `M${ring.map(point => place(point).join(' ')).join('L')}Z`).join(''));
    const title = document.createElementNS(SVG, 'title');
    title.textContent = name;
    path.append(title);
    path.addEventListener('click', () => { picked = name; pick(); });
    at('map').append(path);
    paths.set(name, path);
  }
}

function pick() {
  for (const [name, path] of paths) path.classList.toggle('picked', name === picked);
  if (!picked || !last) return;
  const job = last.told.find(one => one.name === picked);
  const state = last.states[picked] || 'waiting';
  at('picked').textContent = [`${picked}: ${state}`, ...(job ? facts(job) : []), ...(job ? job.last.slice(-1) : [])].join(', ');
}

function facts(job) {
  const found = [];
  if (job.seconds !== null) found.push(`${clock(job.seconds)}`);
  if (job.code) found.push(`exit code ${job.code}`);
  if (job.tries > 1) found.push(`try ${job.tries}`);
  if (job.host) found.push(`on ${job.host}`);
  if (job.silent > SILENT) found.push(`silent for ${clock(job.silent)}`);
  return found;
}

function show(state) {
  last = state;
  document.title = `${Math.floor(state.share * 100)} % of ${state.title}`;
  at('title').textContent = state.title;
  at('share').value = state.share;
  at('done').textContent = `${number(state.share * 100, 1)} % of ${number(state.km2)} km²`;
  at('rate').textContent = state.km2_per_hour === null ? 'nothing is finished yet'
    : `${number(state.km2_per_hour, 1)} km² an hour, ${number(state.at_once, 1).replace('.0', '')} at once`;
  const open = state.jobs - state.finished - state.incomplete;
  at('left').textContent = state.seconds_left !== null ? clock(state.seconds_left) : open ? 'no job runs now' : 'all is done';
  const money = value => `$${number(value, value && value < 1 ? 4 : 2)}`;
  at('cost').textContent = money(state.dollars) +
    (state.dollars_planned === null ? '' : ` of ${money(state.dollars_planned)} planned`);
  at('pace').textContent = state.km2_per_hour === null ? '-' : `${number(state.pace, 2)} × the planned time`;
  at('legend').replaceChildren(...STATES.filter(one => state[one]).map(one => {
    const item = made('li');
    item.append(made('span', '', `dot ${one}`), `${number(state[one])} ${MEANT[one]}`);
    return item;
  }));
  for (const [name, path] of paths) {
    const one = state.states[name] || 'waiting';
    path.setAttribute('class', name === picked ? `${one} picked` : one);
    path.firstChild.textContent = `${name}: ${one}`;
  }
  const lists = [];
  for (const one of ['failed', 'stopped', 'running', 'incomplete']) {
    const jobs = state.told.filter(job => job.state === one);
    if (!jobs.length) continue;
    lists.push(made('h2', `${number(state[one])} ${MEANT[one]}`));
    for (const job of jobs) {
      const card = made('article', undefined, one);
      card.append(made('h3', job.name), made('p', facts(job).join(', ')));
      const lines = one === 'running' ? job.last.slice(-1) : job.last;
      if (lines.length) card.append(made('pre', lines.join('\n')));
      lists.push(card);
    }
  }
  at('lists').replaceChildren(...lists);
  at('untold').textContent = state.untold ? `${number(state.untold)} more are not listed.` : '';
  at('seen').textContent = `as of ${new Date(state.now * 1000).toLocaleTimeString()}`;
  at('seen').className = '';
  pick();
}

async function again() {
  try {
    show(await asked('state'));
  } catch (error) {
    at('seen').textContent = error instanceof TypeError
      ? "The command was stopped: start 'selion watch' again, and this page goes on." : error.message;
    at('seen').className = 'lost';
  }
  setTimeout(again, EVERY);
}

asked('squares').then(draw).catch(() => {}).finally(again);
