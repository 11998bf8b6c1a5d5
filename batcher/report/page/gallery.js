"use strict";
// Everything from outside reaches the page as text or as a checked attribute, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const make = (tag, names, text) => {
  const element = document.createElement(tag);
  if (names) element.className = names;
  if (text !== undefined) element.textContent = text;
  return element;
};
const ORDER = ["downloaded", "succeeded", "processing", "submitted", "submitting", "pending", "unclear", "failed", "cancelled"];
const WORDS = { pending: "waiting", succeeded: "to fetch" };
const word = (status) => WORDS[status] || status;
const size = (bytes) => bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
const money = (usd) => `${data.estimated ? "≈ " : ""}$${usd.toFixed(2)}`;

// ---- picks: kept in this browser, and saved by a person as picks.json

const KEY = `batcher picks ${data.job} ${data.provider}`;
let picks = {};
try { picks = JSON.parse(localStorage.getItem(KEY)) || {}; } catch { picks = {}; }
function pick(task, what) {
  if (picks[task.external_task_id] === what) delete picks[task.external_task_id];
  else picks[task.external_task_id] = what;
  try { localStorage.setItem(KEY, JSON.stringify(picks)); } catch { /* private windows keep none */ }
  showPicks();
}
function picked() {
  const chosen = (what) => data.tasks.filter((task) => picks[task.external_task_id] === what);
  const named = (tasks) => tasks.map((task) => ({ name: task.name, edition: task.edition, external_task_id: task.external_task_id }));
  return { schema: 1, document: "picks", job: data.job, keep: named(chosen("keep")), reroll: named(chosen("reroll")) };
}
let address = "";
function showPicks() {
  for (const [task, cell] of cells) {
    cell.classList.toggle("pick-keep", picks[task.external_task_id] === "keep");
    cell.classList.toggle("pick-reroll", picks[task.external_task_id] === "reroll");
  }
  const { keep, reroll } = picked();
  $("picks").replaceChildren();
  if (keep.length + reroll.length) {
    URL.revokeObjectURL(address);
    address = URL.createObjectURL(new Blob([JSON.stringify(picked(), null, 1)], { type: "application/json" }));
    const link = make("a", "", `Save picks.json: ${keep.length} keep, ${reroll.length} reroll`);
    link.href = address;
    link.download = "picks.json";
    $("picks").append(link);
  }
  if (shown) for (const what of ["keep", "reroll"]) $(what).setAttribute("aria-pressed", picks[shown.external_task_id] === what);
}

// ---- the head

function head() {
  $("job").textContent = data.job;
  $("about").textContent = data.about.join(" · ");
  for (const [value, what] of data.totals) {
    const pair = make("div");
    pair.append(make("dt", "", what), make("dd", "", value));
    $("totals").append(pair);
  }
  const counts = ORDER.filter((status) => data.counts[status]);
  $("bar").setAttribute("aria-label", counts.map((status) => `${data.counts[status]} ${word(status)}`).join(", "));
  for (const status of counts) {
    const part = make("i", `s-${status}`);
    part.style.flexGrow = data.counts[status];
    $("bar").append(part);
    const item = make("li");
    item.append(make("i", `s-${status}`), `${data.counts[status].toLocaleString("en")} ${word(status)}`);
    $("legend").append(item);
  }
  const troubled = data.tasks.filter((task) => task.status === "failed" || task.status === "unclear");
  if (troubled.length) {
    const list = make("ul");
    for (const task of troubled.slice(0, 50)) list.append(make("li", "", `${task.name}: ${task.error || task.status}`));
    if (troubled.length > 50) list.append(make("li", "", `and ${troubled.length - 50} more`));
    const told = make("div");
    told.append(make("b", "", `${troubled.length} need a look.`), list);
    $("trouble").append(told, ...data.next.map((line) => make("code", "", line)));
    $("trouble").hidden = false;
  }
}

// ---- rows and cells

const cells = new Map();
function cellOf(task) {
  const cell = make("button", `cell${task.status === "failed" || task.status === "unclear" ? " is-failed" : ""}`);
  cell.type = "button";
  const frame = make("span", "frame");
  cell.style.width = `${Math.round(190 * Math.min(Math.max(task.shape, 0.68), 2))}px`;
  if (task.file && task.poster) {
    const image = make("img");
    image.loading = "lazy";
    image.decoding = "async";
    image.alt = "";
    image.src = task.poster;
    frame.append(image);
  } else {
    const empty = make("span", "empty");
    empty.append(make("b", "", task.file ? "clip" : word(task.status)), task.error || "");
    frame.append(empty);
  }
  if (task.seconds) frame.append(make("span", "badge", `${task.seconds.toFixed(1)} s`));
  if (data.simulated && task.file) frame.append(make("span", "badge sim", "SIMULATED"));
  const foot = make("span", "foot");
  foot.append(make("span", "", task.label), make("span", "", task.bytes ? size(task.bytes) : ""));
  cell.append(frame, foot);
  cell.setAttribute("aria-label", `${task.name}, ${word(task.status)}`);
  cell.title = task.name;
  const play = () => {
    if (!task.file || frame.querySelector("video")) return;
    const video = make("video");
    Object.assign(video, { muted: true, loop: true, playsInline: true, preload: "auto", src: task.file });
    frame.append(video);
    video.play().catch(() => {});
  };
  const rest = () => frame.querySelector("video")?.remove();
  cell.addEventListener("pointerenter", play);
  cell.addEventListener("pointerleave", rest);
  cell.addEventListener("focus", play);
  cell.addEventListener("blur", rest);
  cell.addEventListener("click", () => open(task));
  cells.set(task, cell);
  return cell;
}
function rows() {
  const groups = new Map();
  for (const task of data.tasks) {
    const key = JSON.stringify([task.edition, task.source]);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(task);
  }
  for (const tasks of groups.values()) {
    const row = make("article", "row");
    const side = make("div");
    const about = [tasks[0].source, tasks[0].edition, tasks[0].model, `${tasks.length} ${tasks.length > 1 ? "clips" : "clip"}`];
    side.append(make("h2", "", tasks[0].row), make("p", "words", tasks[0].prompt), make("p", "dim", about.filter(Boolean).join(" · ")));
    const grid = make("div", "cells");
    grid.append(...tasks.map(cellOf));
    row.append(side, grid);
    $("rows").append(row);
  }
}

// ---- search and filters

const wanted = { status: "", ratio: "", model: "" };
const matches = (task) =>
  Object.entries(wanted).every(([what, value]) => !value || task[what] === value) &&
  $("search").value.toLowerCase().split(/\s+/).every((term) => task.haystack.includes(term));
function filter() {
  let any = false;
  for (const row of $("rows").children) row.hidden = true;
  for (const [task, cell] of cells) {
    cell.hidden = !matches(task);
    if (!cell.hidden) { cell.closest(".row").hidden = false; any = true; }
  }
  $("none").hidden = any;
  for (const chip of $("chips").children) {
    const { what, value } = chip.dataset;
    chip.setAttribute("aria-pressed", what ? wanted[what] === value : Object.values(wanted).every((each) => !each));
  }
}
function chip(what, value, text) {
  const button = make("button", "", text);
  button.type = "button";
  Object.assign(button.dataset, { what, value });
  button.addEventListener("click", () => {
    if (what) wanted[what] = wanted[what] === value ? "" : value;
    else for (const each of Object.keys(wanted)) wanted[each] = "";
    filter();
  });
  $("chips").append(button);
}
function chips() {
  chip("", "", "All");
  const title = (text) => text.charAt(0).toUpperCase() + text.slice(1);
  for (const what of Object.keys(wanted)) {
    const values = [...new Set(data.tasks.map((task) => task[what]).filter(Boolean))];
    if (values.length > 1) for (const value of values) chip(what, value, what === "status" ? title(word(value)) : value);
  }
}

// ---- the player

let shown = null;
function open(task) {
  shown = task;
  const stage = $("player").querySelector(".stage");
  if (task.file) {
    const video = make("video");
    Object.assign(video, { controls: true, loop: true, muted: true, autoplay: true, playsInline: true, src: task.file });
    if (task.poster) video.poster = task.poster;
    stage.replaceChildren(video);
  } else {
    const empty = make("span", "empty");
    empty.append(make("b", "", word(task.status)), task.error || "");
    stage.replaceChildren(empty);
  }
  $("player").querySelector("h2").textContent = task.name;
  $("player").querySelector(".words").textContent = task.prompt;
  const list = $("player").querySelector(".facts dl");
  list.replaceChildren();
  for (const [name, value] of Object.entries(task.facts)) list.append(make("dt", "", name), make("dd", "", value));
  for (const what of ["keep", "reroll"]) $(what).hidden = !task.file;
  showPicks();
  if (!$("player").open) $("player").showModal();
}
function step(by) {
  const visible = data.tasks.filter((task) => !cells.get(task).hidden);
  const next = visible[visible.indexOf(shown || cellTask()) + by];
  if (!next) return;
  if ($("player").open) open(next);
  cells.get(next).focus();
  cells.get(next).scrollIntoView({ block: "nearest" });
}
const cellTask = () => [...cells].find(([, cell]) => cell === document.activeElement)?.[0];
$("player").addEventListener("close", () => {
  $("player").querySelector(".stage").replaceChildren();
  cells.get(shown)?.focus();
  shown = null;
});
$("player").addEventListener("click", (event) => { if (event.target === $("player")) $("player").close(); });
$("close").addEventListener("click", () => $("player").close());
for (const what of ["keep", "reroll"]) $(what).addEventListener("click", () => pick(shown, what));
$("search").addEventListener("input", filter);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = document.activeElement === $("search");
  if (typing && event.key === "Escape") { $("search").value = ""; $("search").blur(); filter(); }
  if (typing) return;
  const task = shown || cellTask();
  if (event.key === "/" && !shown) { event.preventDefault(); $("search").focus(); }
  else if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
    if (shown && document.activeElement?.tagName === "VIDEO") return;
    event.preventDefault();
    step(event.key === "ArrowRight" ? 1 : -1);
  } else if (task?.file && event.key === "k") pick(task, "keep");
  else if (task?.file && event.key === "r") pick(task, "reroll");
});

for (const task of data.tasks) task.haystack = `${task.name} ${task.prompt} ${task.external_task_id} ${task.status}`.toLowerCase();
head();
rows();
chips();
filter();
showPicks();
