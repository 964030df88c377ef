"use strict";

// undone: [number of the query, grades before a change], latest last; saving: requests one after the other
const state = { grades: [], queries: 0, shown: null, undone: [], saving: Promise.resolve() };

// Queries

async function show(number) {
  try {
    const query = await request(`v1/labeling/queries/${number}`);
    state.shown = query;
    element("position").textContent = `Query ${number + 1} of ${state.queries}`;
    element("asked").textContent = query.text;
    element("documents").replaceChildren(...query.documents.map(item));
    element("previous").disabled = number === 0;
    element("following").disabled = number === state.queries - 1;
    showStatus("");
    history.replaceState(null, "", `#query=${number + 1}`);
    window.scrollTo(0, 0);
    (articles().find((one) => !gradeOf(one)) ?? element("asked")).focus({ preventScroll: true });
  } catch (error) {
    showStatus(error.message, true);
  }
}

async function next() {
  await state.saving; // the server knows only then what is complete
  try {
    const { next: number } = await request(`v1/labeling/queries/${state.shown.number}`);
    if (number === null) showStatus("All documents are judged.");
    else await show(number);
  } catch (error) {
    showStatus(error.message, true);
  }
}

function item(document_, index) {
  const title = document_.title || document_.id;
  const shown = document_.passage.map(([text]) => text).join("");
  const isWhole = shown.length >= document_.text.replace(/\s+/g, " ").trim().length;
  const buttons = state.grades.map((name, grade) => make("button", {
    type: "button", "data-grade": grade, "aria-pressed": String(document_.grade === grade),
    onclick: (event) => press(event.currentTarget),
  }, `${grade} ${name}`));
  const whole = make("details", {}, make("summary", {}, "Whole text"),
    make("p", { class: "whole", dir: directionOf(document_.text) }, document_.text));
  return make("li", {}, make("article", { tabindex: "0", "data-id": document_.id, "aria-label": `Document ${index + 1}: ${title}` },
    make("h3", { dir: directionOf(title) }, title),
    make("p", { dir: directionOf(document_.text) }, ...highlighted(document_.passage)),
    isWhole ? null : whole,
    make("div", { class: "actions", role: "group", "aria-label": `Grade of document ${index + 1}` }, ...buttons)));
}

// Grades

function articles() {
  return [...document.querySelectorAll("article")];
}

function gradeOf(article) { // the grade as text, or undefined
  return article.querySelector('[aria-pressed="true"]')?.dataset.grade;
}

function setGrade(article, grade) {
  for (const button of article.querySelectorAll("[data-grade]")) {
    button.setAttribute("aria-pressed", String(grade !== null && Number(button.dataset.grade) === grade));
  }
}

function press(button) {
  const article = button.closest("article");
  const isGiven = button.getAttribute("aria-pressed") === "true";
  judge({ [article.dataset.id]: isGiven ? null : Number(button.dataset.grade) });
  return !isGiven;
}

function judge(grades) { // shown at once, and stored in the background in the order of the clicks
  const { number } = state.shown;
  const before = {};
  for (const article of articles()) {
    const id = article.dataset.id;
    if (!(id in grades)) continue;
    const grade = gradeOf(article);
    before[id] = grade === undefined ? null : Number(grade);
    setGrade(article, grades[id]);
  }
  state.undone.push([number, before]);
  element("undo").disabled = false;
  const count = Object.keys(grades).length;
  store(number, grades, count > 1 ? `Judged ${count} documents` : "");
}

function store(number, grades, message) {
  state.saving = state.saving.then(async () => {
    try {
      showProgress(await request("v1/labeling/grades", { number, grades }));
      showStatus(message);
    } catch (error) { // what is shown must be what is stored
      await show(number);
      showStatus(`Not stored: ${error.message}`, true);
    }
  });
  return state.saving;
}

async function undo() {
  const last = state.undone.pop();
  if (!last) return;
  const [number, before] = last;
  element("undo").disabled = !state.undone.length;
  await store(number, before, "");
  await show(number);
  articles().find((one) => one.dataset.id in before)?.focus();
  showStatus("Removed the last change");
}

function judgeRest() {
  const rest = articles().filter((article) => gradeOf(article) === undefined).map((article) => [article.dataset.id, 0]);
  if (rest.length) judge(Object.fromEntries(rest));
}

// Progress

function showProgress(progress) {
  const count = (number) => number.toLocaleString();
  element("progress").textContent = `${count(progress.judged)} of ${count(progress.documents)} documents judged`;
  const complete = `${count(progress.complete_queries)} of ${count(progress.queries)} queries are complete.`;
  const found = progress.comparisons;
  const used = found.length ? ` The first ${count(progress.compared_queries)} are compared.`
    : " Systems are compared when the first 5 are complete.";
  element("summary").textContent = complete + used;
  const heads = ["system", `${progress.measure}, difference from ${found[0]?.baseline}`, "95 % interval",
    "detectable now", "detectable with all", "to decide"];
  const rows = found.map((one) => make("tr", {}, make("th", { scope: "row" }, one.system),
    ...[signed(one.difference), `${signed(one.low)} to ${signed(one.high)}`, one.minimum_detectable_difference.toFixed(3),
      one.detectable_with_all.toFixed(3)].map((text) => make("td", { class: "number" }, text)),
    make("td", {}, toDecide(one, progress))));
  element("table").replaceChildren(...(found.length
    ? [make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
      make("tbody", {}, ...rows))] : []));
}

function signed(number) {
  return `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(3)}`;
}

function toDecide(one, progress) {
  if (one.low > 0 || one.high < 0) return `decided: ${one.low > 0 ? one.system : one.baseline} is better`;
  if (one.judgments_to_decide !== null) return `about ${one.judgments_to_decide.toLocaleString()} more judgments`;
  if (one.queries_to_decide === null) return "the systems are too alike";
  return `more queries: about ${one.queries_to_decide.toLocaleString()} in place of ${progress.queries.toLocaleString()}`;
}

async function download() {
  const key = sessionStorage.getItem("key");
  const response = await fetch("v1/labeling/qrels", { headers: key ? { Authorization: `Bearer ${key}` } : {} });
  if (!response.ok) {
    showStatus(`The judgments could not be read: status ${response.status}`, true);
    return;
  }
  const link = make("a", { href: URL.createObjectURL(await response.blob()), download: "qrels.txt" });
  link.click();
  URL.revokeObjectURL(link.href);
}

// Keyboard

const KEYS = {
  n: next, u: undo, r: judgeRest,
  p: () => element("previous").click(), f: () => element("following").click(),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  const all = articles();
  const at = all.indexOf(event.target.closest("article"));
  if (KEYS[event.key]) {
    KEYS[event.key]();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const to = all[event.key === "ArrowDown" ? at + 1 : at - 1];
    if (!to) return; // let the page scroll
    to.focus();
    event.preventDefault();
  } else if (at >= 0 && /^[0-9]$/.test(event.key)) {
    const button = all[at].querySelector(`[data-grade="${event.key}"]`);
    if (button && press(button)) (all[at + 1] ?? element("next")).focus();
  }
}

async function start() {
  startTheme();
  document.addEventListener("keydown", onKey);
  for (const [id, action] of Object.entries({ next, undo, rest: judgeRest, download,
    previous: () => show(state.shown.number - 1), following: () => show(state.shown.number + 1) })) {
    element(id).addEventListener("click", action);
  }
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    element("documents").focus();
  });
  try {
    const found = await request("v1/labeling");
    state.grades = found.grades;
    state.queries = found.progress.queries;
    element("rest").textContent = `The others: ${found.grades[0]}`;
    showProgress(found.progress);
    const given = Number(new URLSearchParams(location.hash.slice(1)).get("query")) - 1;
    await show(given >= 0 && given < state.queries ? given : found.first ?? 0);
  } catch (error) {
    showStatus(error.message, true);
  }
}

start();
